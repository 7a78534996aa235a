"""The services around Ollama in a case: whose the logs, containers and processes are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pandas as pd

from ...once import once
from ..findings import Place
from .facts import Facts

# What `parse.process_roles` calls the processes around Ollama.
EMBEDDER_ROLES = ("embedding service", "gunicorn", "uvicorn")
STORE_ROLE = "vector store"
# Words in the name of an image, a container or a process; PostgreSQL is one where its image has pgvector.
STORES = ("chroma", "qdrant", "weaviate", "milvus", "pgvector")
_STORE = re.compile("|".join(STORES), re.IGNORECASE)
_EMBEDDER = re.compile(r"embed|sentence[-_]?transformers|infinity", re.IGNORECASE)
_OLLAMA = re.compile("ollama", re.IGNORECASE)

NO_SERVICE = (
    "the logs, processes and containers of the services around Ollama, if there are any: warmstall collect CASE"
)


@once
def has_services(facts: Facts) -> bool:
    """Whether anything in the case is of a service around Ollama."""
    roles = set(facts.table("processes")["role"].dropna())
    containers = facts.table("containers")
    return (
        any(key.startswith("app_") for key in facts.counts)
        or facts.has_spans
        or bool(roles & {*EMBEDDER_ROLES, STORE_ROLE})
        or any(not _OLLAMA.search(name) for name in _names(containers))
    )


def store_containers(facts: Facts) -> pd.DataFrame:
    """The last look at each container of a vector store, with `store`: which one it is."""
    found = facts.table("containers")
    found = found.assign(store=[store_of(name) for name in _names(found)])
    return found[found["store"] != ""].drop_duplicates(["host", "container"], keep="last")


def _names(containers: pd.DataFrame) -> list[str]:
    """Image and name of each container, as one text."""
    pairs = zip(containers["image"].fillna(""), containers["container"].fillna(""), strict=True)
    return [f"{image} {container}" for image, container in pairs]


def store_of(text: str) -> str:
    """The vector store that a name of an image, container or process tells, or nothing.

    >>> store_of("chromadb/chroma:1.0.20"), store_of("postgres:16")
    ('chroma', '')
    """
    match = _STORE.search(text)
    return match[0].lower() if match else ""


def service_events(facts: Facts, *keys: str) -> pd.DataFrame:
    """Events of applications with `service`, `pid` and `signal` taken out of their fields."""
    rows = facts.events(*keys)
    for name in ("service", "pid", "signal"):
        rows = rows.assign(**{name: [fields.get(name) for fields in rows["fields"]]})
    return rows


@once
def embedder_logs(facts: Facts) -> frozenset[tuple[str, str]]:
    """Host and source of the logs in which an embedder speaks, by their name or by what their events say."""
    if not any(key.startswith("app_") for key in facts.counts):
        return frozenset()
    rows = facts.case.sql(
        "SELECT DISTINCT host, source FROM events WHERE starts_with(key, 'app_') AND regexp_matches("
        f"source || ' ' || fields || ' ' || text, '{_EMBEDDER.pattern}', 'i') AND NOT regexp_matches(source, "
        f"'{_STORE.pattern}', 'i')"
    )
    return frozenset(zip(rows["host"], rows["source"], strict=True))


def where(rows: pd.DataFrame, kept: Iterable[object]) -> pd.DataFrame:
    """The rows for which a condition holds, one for each row; also where there is no row."""
    return rows[pd.Series([bool(each) for each in kept], rows.index, bool)]


def is_in(rows: pd.DataFrame, logs: frozenset[tuple[str, str]]) -> pd.Series:
    """Which rows stand in one of these logs."""
    return pd.Series([place in logs for place in zip(rows["host"], rows["source"], strict=True)], rows.index, bool)


def whole_logs(facts: Facts, logs: frozenset[tuple[str, str]]) -> tuple[Place, ...]:
    """These logs from their first line to their last."""
    return tuple(
        Place(account["host"], account["path"], 1, max(1, int(account["lines"])))
        for account in facts.case.accounts
        if (account["host"], account["path"]) in logs
    )


def covers_trouble(facts: Facts, rows: pd.DataFrame, first: str = "at", last: str = "at") -> bool:
    """Whether rows with times reach into the time in which requests were slow, failed or lost, or else of any request.

    What is not known to have been there at that time says nothing.
    """
    lost = pd.to_datetime(facts.lost_trials["ended_at"], utc=True)
    ends = [*facts.troubled["ended_at"].dropna(), *lost.dropna()] or list(facts.requests["ended_at"].dropna())
    begin, end = rows[first].min(), rows[last].max()
    return bool(ends and pd.notna(begin) and pd.notna(end) and begin <= max(ends) and end >= min(ends))


def mounts_of(container: pd.Series) -> list[dict[str, object]]:
    """The mounts of a row of the containers table."""
    found = json.loads(container["mounts"] or "[]")
    return [mount for mount in found if isinstance(mount, dict)]
