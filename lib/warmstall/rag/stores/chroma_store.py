"""Vectors in a Chroma server, over HTTP: `chroma run --path FOLDER` starts one.

Vectors are always given, so Chroma embeds nothing and downloads no model. Its index is approximate (HNSW).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np

from ...errors import StepFailed
from ..parts import Embedder, Vectors
from ..records import Chunk, Hit
from ..server_words import refuse_user_information
from . import checks

_T = TypeVar("_T")
# What Chroma takes as a collection's name; any other stands in the metadata, under a name made of its hash.
_PREFIX = "warmstall-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,510}[A-Za-z0-9]")
_BATCH = 500
_PAGE = 1000


class ChromaStore:
    """Collections of one server; to be closed."""

    system = "chroma"

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        """Raises StepFailed where nothing answers there in time, and where chromadb is not installed."""
        try:
            import chromadb
            from chromadb.config import Settings
            from chromadb.errors import NotFoundError
        except ImportError as error:
            raise StepFailed(
                "the store is chroma, and its client is not installed; run: pip install 'warmstall[chroma]'."
            ) from error
        self.url, self.timeout_s, self._process = url.rstrip("/"), timeout_s, os.getpid()
        self._handles: dict[str, Any] = {}
        self._not_found: type[Exception] = NotFoundError
        host, port, encrypted = _address(self.url)

        _reach_directly(host)

        def connect() -> Any:
            client: Any = chromadb.HttpClient(host, port, encrypted, settings=Settings(anonymized_telemetry=False))
            # The client waits for ever and offers no setting for it: a thread that nobody waits for ends by this one.
            client._server._session.timeout = httpx.Timeout(timeout_s)
            return client

        self._client = self._within(connect)

    def collections(self) -> dict[str, int]:
        return self._within(
            lambda: {_called(handle): int(handle.count()) for handle in sorted(self._all(), key=_called)}
        )

    def create(self, collection: str, embedder: Embedder) -> None:
        kept = {
            "embedder": embedder.name, "dimensions": embedder.dimensions, "lexical": embedder.lexical,
            "collection": checks.writable(collection),
        }  # fmt: skip
        made = self._within(
            lambda: self._client.get_or_create_collection(
                _chroma_name(collection),
                metadata=kept,
                configuration={"hnsw": {"space": "cosine"}},
                embedding_function=None,
            )
        )
        told: dict[str, Any] = made.metadata or {}
        name = str(told.get("embedder", "an embedder that it does not name"))
        checks.same_embedder(collection, name, int(told.get("dimensions", 0)), embedder)

    def check(self, collection: str, embedder: Embedder) -> None:
        told: dict[str, Any] = self._handle(collection).metadata or {}
        if "embedder" in told:  # another program need not say whose vectors it keeps; the server checks their dimension
            checks.same_embedder(collection, str(told["embedder"]), int(told.get("dimensions", 0)), embedder)

    def add(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        dimensions = _dimensions(self._handle(collection), vectors)
        rows = list(checks.storable(collection, dimensions, chunks, vectors).values())
        given = checks.directions(collection, dimensions, vectors) if rows else vectors
        for begin in range(0, len(rows), _BATCH):
            self._on(collection, partial(_upsert, rows[begin : begin + _BATCH], given))

    def remove(self, collection: str, source: str) -> None:
        self._on(collection, lambda handle: handle.delete(where={"source": checks.writable(source)}))

    def sources(self, collection: str) -> dict[str, int]:
        pages = self._pages(collection, include=["metadatas"])
        return dict(
            sorted(Counter(str((told or {}).get("source", "")) for page in pages for told in page["metadatas"]).items())
        )

    def ids(self, collection: str, source: str) -> set[str]:
        pages = self._pages(collection, include=[], where={"source": checks.writable(source)})
        return {str(one) for page in pages for one in page["ids"]}

    def search(self, collection: str, vector: Vectors, limit: int, user: str = "") -> list[Hit]:
        row = np.asarray(vector)[np.newaxis]
        asked = checks.directions(collection, _dimensions(self._handle(collection), row), row)
        found = self._on(
            collection,
            lambda handle: handle.query(
                query_embeddings=asked, n_results=limit, where={"user": checks.writable(user)} if user else None,
                include=["documents", "metadatas", "distances"],
            ),
        )  # fmt: skip
        return [
            Hit(_chunk(one, text, told or {}), collection, min(2.0, max(0.0, float(distance))))
            for one, text, told, distance in zip(
                found["ids"][0], found["documents"][0], found["metadatas"][0], found["distances"][0], strict=True
            )
        ]

    def close(self) -> None:
        self._handles.clear()
        if os.getpid() == self._process:
            self._client.close()

    def _all(self) -> Iterator[Any]:
        offset = 0
        while page := self._client.list_collections(limit=_PAGE, offset=offset):
            yield from page
            offset += len(page)

    def _pages(self, collection: str, **wanted: Any) -> Iterator[Any]:
        offset = 0
        while True:
            page = self._on(collection, partial(_got, limit=_PAGE, offset=offset, **wanted))
            yield page
            offset += len(page["ids"])
            if len(page["ids"]) < _PAGE:
                return

    def _handle(self, collection: str) -> Any:
        """What the client knows a collection by: fetched once, and again when the server knows it no more."""
        if collection not in self._handles:
            self._handles[collection] = self._fetched(collection)
        return self._handles[collection]

    def _fetched(self, collection: str) -> Any:
        try:
            handle = self._within(
                lambda: self._client.get_collection(_chroma_name(collection), embedding_function=None)
            )
        except self._not_found:
            raise checks.missing(collection, self.collections()) from None
        space = (handle.configuration_json.get("hnsw") or {}).get("space", "cosine")
        if space != "cosine":
            raise StepFailed(
                f"collection {collection!r} measures distances as {space}, expected cosine; take its documents into "
                "another one."
            )
        return handle

    def _on(self, collection: str, call: Callable[[Any], _T]) -> _T:
        """Call something of a collection; of its namesake, where it was deleted and made again meanwhile."""
        handle = self._handle(collection)
        try:
            return self._within(lambda: call(handle))
        except self._not_found:
            again = self._handles[collection] = self._fetched(collection)
            return self._within(lambda: call(again))

    def _within(self, call: Callable[[], _T]) -> _T:
        """What the call returns, or StepFailed when the deadline comes, whatever the server sends until then."""
        checks.check_process(self._process)
        came: list[_T] = []
        wrong: list[Exception] = []

        def run() -> None:
            try:
                came.append(call())
            except Exception as error:  # whatever it is, the thread that waits is told
                wrong.append(error)

        # A thread, because a server that sends a byte now and then never lets a socket's own deadline come.
        thread = threading.Thread(target=run, name="call of chroma", daemon=True)
        thread.start()
        thread.join(self.timeout_s + 0.2)
        if came:
            return came[0]
        error = wrong[0] if wrong else TimeoutError()
        if isinstance(error, (StepFailed, self._not_found)):
            raise error
        raise StepFailed(self._sentence(error)) from error

    def _sentence(self, error: Exception) -> str:
        # The client tells some of what goes wrong in another exception, raised from httpx's.
        match error.__context__ if isinstance(error, ValueError) else error:
            case TimeoutError() | httpx.TimeoutException():
                return (
                    f"no answer from Chroma at {self.url} within {self.timeout_s:g} s; look at its load, or raise the "
                    "store's timeout_s."
                )
            case httpx.TransportError():
                return (
                    f"Chroma at {self.url} is down ({type(error).__name__}); start it with: chroma run --path FOLDER "
                    f"--port {_address(self.url)[1]}."
                )
        said = " ".join(str(error).split())[:200] or "nothing more"
        return f"Chroma at {self.url} refused ({type(error).__name__}: {said}); read its log."


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether it is encrypted.

    >>> _address("http://127.0.0.1:8000")
    ('127.0.0.1', 8000, False)
    """
    refuse_user_information(url, "[store] url")
    try:
        parts = urlsplit(url)
        encrypted = {"http": False, "https": True}[parts.scheme]
        if parts.hostname:
            return parts.hostname, parts.port or (443 if encrypted else 8000), encrypted
    except (KeyError, ValueError):
        pass
    raise StepFailed(f"{url!r} is no address of a Chroma server; expected one like http://127.0.0.1:8000.")


def _reach_directly(host: str) -> None:
    """No proxy of the environment for this host: the client has no setting for it, and asks as soon as it is made.

    It stays so in this process: a client that hangs while it is made may not be waited for.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if host not in given.split(","):
        os.environ["no_proxy"] = f"{given},{host}".lstrip(",")


def _upsert(batch: list[tuple[Chunk, int]], vectors: Vectors, handle: Any) -> None:
    handle.upsert(
        ids=[chunk.id for chunk, _ in batch],
        embeddings=vectors[[row for _, row in batch]],
        documents=[chunk.text for chunk, _ in batch],
        metadatas=[{name: getattr(chunk, name) for name in ("source", "place", "user")} for chunk, _ in batch],
    )


def _got(handle: Any, **wanted: Any) -> Any:
    return handle.get(**wanted)


def _chroma_name(collection: str) -> str:
    if _NAME.fullmatch(collection) and not collection.startswith(_PREFIX):
        return collection
    return _PREFIX + hashlib.sha256(checks.writable(collection).encode()).hexdigest()


def _called(handle: Any) -> str:
    return str((handle.metadata or {}).get("collection", handle.name))


def _dimensions(handle: Any, vectors: Vectors) -> int:
    """Of the collection; where another program made it, the server checks."""
    told: dict[str, Any] = handle.metadata or {}
    return int(told.get("dimensions") or vectors.shape[-1])


def _chunk(one: str, text: str | None, told: dict[str, Any]) -> Chunk:
    return Chunk(one, text or "", str(told.get("source", one)), str(told.get("place", "")), str(told.get("user", "")))
