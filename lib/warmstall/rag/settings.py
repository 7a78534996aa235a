"""How the path is put together: from a TOML file or from defaults, every word of it checked.

    [store]                       # duckdb (embedded, a file) or chroma (a server)
    kind = "duckdb"
    path = "knowledge.duckdb"

    [embedders.small]             # ollama, http, sentence-transformers or lexical
    model = "all-minilm"
    dimensions = 384

    [inference]                   # ollama or openai (vLLM, llama.cpp's server, OpenRouter …)
    model = "llama3.2"

    [path]
    top_k = 5

No secret stands in it: `api_key_variable` names the variable of the environment that holds one.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from ..errors import InputError, ParameterError
from ..writing import state_folder
from .server_words import refuse_user_information

_T = TypeVar("_T")
Retrieval = Literal["parallel", "sequential"]


def ollama_url() -> str:
    """Where Ollama is, as its own client would find it: OLLAMA_HOST, or 127.0.0.1:11434. Raises ParameterError."""
    given = os.environ.get("OLLAMA_HOST", "").strip()
    refuse_user_information(given, "OLLAMA_HOST")
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        standard = {"https": 443, "http": 80 if "://" in given else 11434}[parts.scheme]
        port = parts.port or standard
    except (ValueError, KeyError):
        raise ParameterError(
            f"OLLAMA_HOST is {given!r}; expected a host and a port, such as 127.0.0.1:11434 or http://[::1]:11434."
        ) from None
    host = parts.hostname or "127.0.0.1"
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(frozen=True)
class StoreSettings:
    """`path` is of duckdb, empty for the user's own; `url` is of chroma."""

    kind: str = "duckdb"
    path: str = ""
    url: str = "http://127.0.0.1:8000"
    timeout_s: float = 10.0

    def file(self) -> Path:
        return Path(os.path.expanduser(self.path)) if self.path else state_folder() / "knowledge.duckdb"


@dataclass(frozen=True)
class EmbedderSettings:
    """`max_distance` belongs to the embedder: what is near for one is far for another, and hashed words are far."""

    kind: str = "ollama"
    model: str = ""
    dimensions: int = 384
    # Of ollama: empty for OLLAMA_HOST. Of http: the address of the service's /embed.
    url: str = ""
    max_distance: float = 0.5
    timeout_s: float = 30.0
    # One instance for all threads of a process. Off only to show what happens then.
    lock: bool = True


@dataclass(frozen=True)
class InferenceSettings:
    """`model` empty: the smallest model of the server that writes text."""

    kind: str = "ollama"
    model: str = ""
    url: str = ""
    api_key_variable: str = ""
    # Sent with every call, as Ollama's `options` (num_ctx, num_predict, seed …) or as fields of an OpenAI request.
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: str = ""


@dataclass(frozen=True)
class CollectionSettings:
    """One collection, its embedder by name, and whether each user sees only their own in it."""

    name: str
    embedder: str = "small"
    per_user: bool = False


@dataclass(frozen=True)
class PathSettings:
    """What happens between question and answer."""

    top_k: int = 5
    keep: int = 8
    chunk_chars: int = 600
    temperature: float = 0.15
    attempts: int = 3
    attempt_timeout_s: float = 30.0
    # One embedding for each embedder and all collections at once; or, to show what it costs, five times one after
    # another: embed, search, embed, search …
    retrieval: Retrieval = "parallel"
    # What the path does so that an answer stays grounded; off only to show what happens then.
    say_when_nothing_found: bool = True
    strip_reasoning: bool = True


# The shape of a production system: small vectors for what is asked most, large ones where words are rare.
COLLECTIONS = (
    CollectionSettings("documentation", "small"),
    CollectionSettings("conversations", "small", per_user=True),
    CollectionSettings("faq", "small"),
    CollectionSettings("terms", "large"),
    CollectionSettings("papers", "large"),
)
EMBEDDERS = {
    "small": EmbedderSettings(model="all-minilm", dimensions=384),
    "large": EmbedderSettings(model="nomic-embed-text", dimensions=768),
}
# Two texts of which one answers the other share few words of many: most of what is related is further than 0.5.
LEXICAL_MAX_DISTANCE = 0.85


@dataclass(frozen=True)
class RagSettings:
    """All of the path."""

    store: StoreSettings = StoreSettings()
    embedders: Mapping[str, EmbedderSettings] = field(default_factory=lambda: dict(EMBEDDERS))
    inference: InferenceSettings = InferenceSettings()
    collections: tuple[CollectionSettings, ...] = COLLECTIONS
    path: PathSettings = PathSettings()

    def lexical(self) -> RagSettings:
        """The same with hashed words in place of every embedder: it needs no model, and finds only shared words."""
        plain = {
            name: replace(one, kind="lexical", model="", max_distance=LEXICAL_MAX_DISTANCE)
            for name, one in self.embedders.items()
        }
        return replace(self, embedders=plain)

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """The embedders that some collection needs, each once."""
        return tuple(dict.fromkeys(one.embedder for one in self.collections))


def read_settings(path: Path) -> RagSettings:
    """The settings of a TOML file. Raises InputError where it cannot be read, ParameterError for what it says wrong."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path.name}: it is not TOML ({error}).") from None
    return checked_settings(said, path.name)


def checked_settings(said: Mapping[str, Any], where: str) -> RagSettings:
    """The settings that a table says; raises ParameterError with one sentence for the first thing that is wrong.

    >>> checked_settings({"path": {"topk": 3}}, "rag.toml")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: rag.toml, [path]: topk: there is none of this name; did you mean top_k?
    """
    _known(said, ("store", "embedders", "inference", "collections", "path"), where)
    embedders = dict(EMBEDDERS)
    for name, table in _table(said, "embedders", where).items():
        place = f"{where}, [embedders.{name}]"
        if not isinstance(table, Mapping):
            raise ParameterError(f"{place}: got {table!r}, expected a table.")
        # Another kind of embedder has nothing of the default one.
        default = embedders.get(name, EmbedderSettings()) if "kind" not in table else EmbedderSettings()
        if table.get("kind") == "lexical":
            default = EmbedderSettings("lexical", max_distance=LEXICAL_MAX_DISTANCE)
        embedders[name] = _filled(default, table, place)
    collections: tuple[CollectionSettings, ...] = COLLECTIONS
    if "collections" in said:
        rows = said["collections"]
        if (
            not isinstance(rows, list)
            or not rows
            or not all(isinstance(row, Mapping) and "name" in row for row in rows)
        ):
            raise ParameterError(f"{where}, [[collections]]: expected tables, each with a name.")
        collections = tuple(_filled(CollectionSettings(""), row, f"{where}, [[collections]]") for row in rows)
    settings = RagSettings(
        _filled(StoreSettings(), _table(said, "store", where), f"{where}, [store]"),
        embedders,
        _filled(InferenceSettings(), _table(said, "inference", where), f"{where}, [inference]"),
        collections,
        _filled(PathSettings(), _table(said, "path", where), f"{where}, [path]"),
    )
    _consistent(settings, where)
    return settings


_KINDS = {
    "store": ("duckdb", "chroma"), "embedder": ("ollama", "http", "sentence-transformers", "lexical", "two-phase"),
    "inference": ("ollama", "openai"),
}  # fmt: skip


def _consistent(settings: RagSettings, where: str) -> None:
    kinds = [("store", settings.store.kind), ("inference", settings.inference.kind)]
    kinds += [("embedder", one.kind) for one in settings.embedders.values()]
    for part, kind in kinds:
        if kind not in _KINDS[part]:
            raise ParameterError(f"{where}: {part} {kind!r} is none of {', '.join(_KINDS[part])}.")
    if settings.path.retrieval not in ("parallel", "sequential"):
        raise ParameterError(
            f"{where}, [path]: retrieval is {settings.path.retrieval!r}; expected parallel or sequential."
        )
    for name in ("top_k", "keep", "chunk_chars", "attempts"):
        if getattr(settings.path, name) <= 0:
            raise ParameterError(f"{where}, [path]: {name} is {getattr(settings.path, name)}; expected more than 0.")
    names = [one.name for one in settings.collections]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParameterError(f"{where}, [[collections]]: {twice[0]!r} stands there {names.count(twice[0])} times.")
    for collection in settings.collections:
        if collection.embedder not in settings.embedders:
            known = ", ".join(settings.embedders)
            raise ParameterError(
                f"{where}: {collection.name} wants embedder {collection.embedder!r}; there are {known}."
            )


def _table(said: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = said.get(name, {})
    if not isinstance(table, Mapping):
        raise ParameterError(f"{where}, [{name}]: got {table!r}, expected a table.")
    return table


def _known(said: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in said:
        if name not in names:
            near = get_close_matches(name, names, 1, 0.6)
            instead = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
            raise ParameterError(f"{where}: {name}: there is none of this name; {instead}")


def _filled(default: _T, said: Mapping[str, Any], where: str) -> _T:
    """The default with what is said, each of the type that the default has."""
    _known(said, tuple(one.name for one in fields(default)), where)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in said.items():
        kind = type(getattr(default, name))
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, Mapping if kind is dict else kind) or (kind is not bool and isinstance(value, bool)):
            raise ParameterError(f"{where}: {name} is {value!r}; expected {kind.__name__}.")
        _possible(name, value, where)
        values[name] = value
    return replace(default, **values)  # type: ignore[type-var]


def _possible(name: str, value: Any, where: str) -> None:
    """Refuses what has the right type and cannot be all the same."""
    if name.endswith("_s") and not (math.isfinite(value) and value > 0):
        raise ParameterError(f"{where}: {name} is {value}; expected a number of seconds above 0.")
    if name == "url":
        refuse_user_information(value, f"{where}: url")
