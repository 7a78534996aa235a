"""Vector store mount: the vector store writes where no volume is mounted.

The data then live in the container's own layer. They survive a restart and are gone with the container: after the next
`docker compose up` with another image, `down`, or `rm`, all collections are empty, without an error. Chroma moved its
directory from /chroma/chroma to /data with 1.0, and a volume at the old place holds nothing.

Shown by:
    - docker inspect: no mount at, or above, the directory where this version of the image writes
Ruled out by:
    - docker inspect: a writable volume or a folder of the host at that directory
Mistaken for it:
    - an empty collection that was never filled
    - an anonymous volume: the data survive the container, but nothing finds them again
Severity: warning
Runbook: persist-vector-store
Mitigation: Copy the data out, and mount a named volume where this version of the image writes.
Leads to: ungrounded_answers
References:
    - https://github.com/odysseus-dev/odysseus/issues/6132 (volume at /chroma/chroma, data at /data, all lost)
    - https://cookbook.chromadb.dev/running/running-chroma (0.6: /chroma/chroma, PERSIST_DIRECTORY)
    - https://cookbook.chromadb.dev/core/configuration (1.x: persist_path /data in the image, CHROMA_ variables)
    - https://github.com/chroma-core/chroma/issues/4330 (a config file of one's own moves it to /chroma)
    - https://qdrant.tech/documentation/installation/ (/qdrant/storage)
    - https://docs.weaviate.io/deploy/configuration/persistence (PERSISTENCE_DATA_PATH)
    - https://milvus.io/docs/configure-docker.md (/var/lib/milvus)
    - https://github.com/docker-library/docs/pull/2582 (PostgreSQL from 18 on: /var/lib/postgresql)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, counted, places, version_numbers
from .facts.services import has_services, mounts_of, store_containers
from .findings import Finding, hints, proves, refutes, supports, unseen

_COLLECT = "docker inspect of the vector store's container, with its mounts: warmstall collect CASE"
_TAG = re.compile(r":v?(?P<version>\d+(?:\.\d+){0,3})(?![\w.]*[@/])")
_ANONYMOUS = re.compile(r"/volumes/[0-9a-f]{64}/_data$")
# Where chroma wrote before 1.0, and writes since; where PostgreSQL wrote before 18, and writes since.
_CHROMA = ("/chroma/chroma", "/data")
_POSTGRES = ("/var/lib/postgresql/data", "/var/lib/postgresql")
_OTHERS = {"qdrant": "/qdrant/storage", "weaviate": "/var/lib/weaviate", "milvus": "/var/lib/milvus"}
# Mounts that hold something else than data.
_NO_DATA = re.compile(r"\.(?:ya?ml|json|toml|conf|sock|pem|crt|key|sql|sh)$|^/(?:etc|run|var/run|tmp)(?:/|$)")


def findings_in(facts: Facts) -> Iterator[Finding]:
    """For each container of a vector store: where it writes, and what is mounted there."""
    found = store_containers(facts)
    if found.empty:
        yield unseen(_COLLECT if has_services(facts) else f"{_COLLECT} (if there is a vector store)")
        return
    for _, container in found.iterrows():
        yield from _judged(facts, container)


def _judged(facts: Facts, container: pd.Series) -> Iterator[Finding]:
    name, place = printable(str(container["container"]))[:60], places([container.to_dict()])
    mounts = mounts_of(container)
    if not mounts and "/" in str(container["container"]):
        # A pod's mounts are in its specification, which may have been left out of the capture.
        yield unseen(f"the volumes of the pod {name}: kubectl get pod -o json, unabridged")
        return
    stated = _stated(facts, container)
    where = _directories(container, stated, mounts)
    data = [str(mount.get("destination")) for mount in mounts if _may_hold_data(mount)]
    told = f"Container {name} ({printable(str(container['image']))[:60]})"
    shown = ", ".join(printable(path)[:60] for path in data[:3]) or "nothing"
    held = {path: mount for path in where for mount in mounts if _covers(mount, path)}
    if not held:
        sentence = f"{told} writes to {' or '.join(where)}, and none of its mounts ({len(mounts):,}) is there"
        # A variable or an argument that no capture has may have moved the data to the mount that is there.
        known = not data or (container["store"] == "chroma" and bool(stated) and set(data) <= set(_CHROMA))
        show = proves if known else supports if container["store"] == "chroma" and stated else hints
        yield show(f"{sentence}; mounted is {shown}.", *place)
        if not known:
            yield unseen(f"the environment and the arguments of {name}, unabridged: docker inspect {name}")
    elif len(held) < len(where):
        yield hints(f"{told} has {counted(len(mounts), 'mount')} ({shown}); whether it writes to "
                    f"{' or to '.join(where)} "
                    "depends on its version or configuration, which are not told.", *place)  # fmt: skip
        yield unseen(f"where {name} writes: docker logs {name} | grep -iE 'saving data to|persist_path'")
    else:
        path, mount = next(iter(held.items()))
        of = f"where something is mounted (1 of {len(mounts):,})"
        if mount.get("rw") is False:
            yield supports(f"{told} writes to {path}, {of} and read-only.", *place)
        elif mount.get("type") == "tmpfs" or _ANONYMOUS.search(str(mount.get("source"))):
            kind = "a tmpfs" if mount.get("type") == "tmpfs" else "an anonymous volume"
            yield supports(f"{told} writes to {path}, {of} and {kind}: the next container does not find it.", *place)
        else:
            yield refutes(f"{told} writes to {path}, {of}.", *place)


def _stated(facts: Facts, container: pd.Series) -> dict[str, str]:
    """The variables of a container that were captured."""
    settings = facts.table("settings")
    own = settings[settings["origin"].eq("container") & settings["subject"].eq(container["container"])]
    return dict(zip(own["name"], own["value"], strict=True))


def _directories(
    container: pd.Series, stated: dict[str, str], mounts: list[dict[str, object]]
) -> tuple[str, ...]:  # fmt: skip
    """Where this image writes; several where its version or a file decides and is not told."""
    if container["store"] == "chroma":
        old = stated.get("PERSIST_DIRECTORY") or _CHROMA[0]
        new = stated.get("CHROMA_PERSIST_PATH") or _CHROMA[1]
        if any(str(mount.get("destination")).endswith("config.yaml") for mount in mounts):
            return (new, "/chroma")
        tag = _TAG.search(str(container["image"]))
        return (old, new) if not tag else (old,) if version_numbers(tag["version"]) < (1,) else (new,)
    if container["store"] == "pgvector":
        major = re.search(r"pg(\d+)", str(container["image"]))
        return _POSTGRES if not major else _POSTGRES[1:] if int(major[1]) >= 18 else _POSTGRES[:1]
    return (_OTHERS[container["store"]],)


def _may_hold_data(mount: dict[str, object]) -> bool:
    destination = str(mount.get("destination") or "")
    return destination.startswith("/") and not _NO_DATA.search(destination)


def _covers(mount: dict[str, object], path: str) -> bool:
    """Whether a mount is at a directory or above it, and can hold data."""
    destination, wanted = PurePosixPath(str(mount.get("destination") or "")), PurePosixPath(path)
    return _may_hold_data(mount) and (destination == wanted or destination in wanted.parents)
