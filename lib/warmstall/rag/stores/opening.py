"""Which store the settings want."""

from __future__ import annotations

from ...errors import ParameterError
from ..parts import VectorStore
from ..settings import StoreSettings


def open_store(settings: StoreSettings, read_only: bool = False) -> VectorStore:
    """The store of these settings, to be closed; `read_only` lets several processes search one DuckDB file.

    Raises StepFailed where it is down, held by another process or not installed, ParameterError for a kind that there
    is not.

    >>> open_store(StoreSettings(path=":memory:")).collections()
    {}
    """
    if settings.kind == "duckdb":
        from .duckdb_store import DuckDBStore

        return DuckDBStore(settings.file(), read_only)
    if settings.kind == "chroma":
        from .chroma_store import ChromaStore

        return ChromaStore(settings.url, settings.timeout_s)
    raise ParameterError(f"store {settings.kind!r} is none of duckdb, chroma.")
