"""Vectors in one DuckDB file, searched exactly.

The file is what lasts; a collection is held in memory from its first search on, as DuckDB hands it out (Arrow): 4
bytes a number, so that 10,000 vectors of 384 are 15 MB, and the texts. DuckDB's own SQL computes distances one number
at a time: it takes 10 ms where numpy takes 1 ms for those, 85 ms where it takes 11 ms for 50,000 of 768. Every
change of a collection raises its version, and a search that holds another version reads the collection again.

One process at a time can have a file open to write it; several can where all of them only read.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import StepFailed
from ..parts import Embedder, Vectors
from ..records import Chunk, Hit
from . import checks

_SCHEMA = """
CREATE TABLE IF NOT EXISTS warmstall_collections (
    number INTEGER PRIMARY KEY, name VARCHAR UNIQUE, embedder VARCHAR, dimensions INTEGER, lexical BOOLEAN,
    version BIGINT
)
"""
# A collection's name is never in SQL text: its table has a number.
_TABLE = """
CREATE TABLE warmstall_chunks_{number} (
    id VARCHAR, text VARCHAR, source VARCHAR, place VARCHAR, "user" VARCHAR, vector FLOAT[{dimensions}]
)
"""
_COLUMNS = 'id, text, source, place, "user"'
# Of this process: two writers of one file would refuse each other's transactions.
_writing = threading.RLock()


class _Kept(NamedTuple):
    """What the catalogue tells of a collection."""

    number: int
    embedder: str
    dimensions: int
    version: int

    @property
    def table(self) -> str:
        return f"warmstall_chunks_{self.number:d}"


class _Held(NamedTuple):
    """A collection in memory: its chunks, and their vectors with shape (chunks, dimensions)."""

    version: int
    chunks: pa.Table
    vectors: Vectors

    def nearest(self, vector: Vectors, limit: int, user: str) -> list[tuple[Chunk, float]]:
        """Chunks with their cosine distances, nearest first."""
        # Not `@`: its BLAS starts threads of its own for each search, which get in each other's way.
        similarities = np.vecdot(self.vectors, vector)
        if user:
            theirs = pc.equal(self.chunks["user"], user).to_numpy()
            places = np.flatnonzero(theirs)
            similarities = similarities[places]
        else:
            places = np.arange(len(similarities))
        if len(places) > limit:
            best = np.argpartition(-similarities, limit - 1)[:limit]
            places, similarities = places[best], similarities[best]
        order = np.lexsort((places, -similarities))
        rows = self.chunks.take(places[order]).to_pylist()
        # Rounding may lead a little beyond the ends.
        distances = np.clip(1.0 - similarities[order], 0.0, 2.0).tolist()
        return [(Chunk(**row), distance) for row, distance in zip(rows, distances, strict=True)]


class DuckDBStore:
    """Collections in one file, or in memory for `:memory:`; to be closed.

    >>> from ..embedders.lexical import LexicalEmbedder
    >>> from ..settings import EmbedderSettings
    >>> words = LexicalEmbedder(EmbedderSettings(kind="lexical", dimensions=64))
    >>> store = DuckDBStore(Path(":memory:"))
    >>> store.create("faq", words)
    >>> store.add("faq", [Chunk("1", "unload the model", "a.md")], words.embed(["unload the model"]))
    >>> [hit.chunk.source for hit in store.search("faq", words.embed(["unload"])[0], 5)]
    ['a.md']
    """

    system = "duckdb"

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Raises StepFailed where another process has the file open, and for what is no file of this kind."""
        self.path, self._read_only, self._process = path, read_only, os.getpid()
        self._in_memory: dict[int, _Held] = {}
        self._reading = threading.Lock()
        try:
            if str(path) != ":memory:" and not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(str(path), read_only=read_only)
            # Nothing is fetched from a network, whatever is asked.
            self._connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
            if not read_only:
                with _writing:
                    self._connection.execute(_SCHEMA)
        except (duckdb.Error, OSError) as error:
            raise StepFailed(self._sentence(error)) from error

    def collections(self) -> dict[str, int]:
        with self._cursor() as cursor:
            rows = cursor.execute("SELECT name, number FROM warmstall_collections ORDER BY number").fetchall()
            return {
                str(name): int(_one(cursor, f"SELECT count(*) FROM warmstall_chunks_{number:d}")[0])
                for name, number in rows
            }

    def create(self, collection: str, embedder: Embedder) -> None:
        name = checks.writable(collection)
        with self._changing() as cursor:
            kept = _kept(cursor, name)
            if kept:
                checks.same_embedder(collection, kept.embedder, kept.dimensions, embedder)
                return
            number = _one(cursor, "SELECT coalesce(max(number), 0) + 1 FROM warmstall_collections")[0]
            row = [number, name, embedder.name, embedder.dimensions, embedder.lexical]
            cursor.execute("INSERT INTO warmstall_collections VALUES (?, ?, ?, ?, ?, 0)", row)
            cursor.execute(_TABLE.format(number=int(number), dimensions=int(embedder.dimensions)))

    def check(self, collection: str, embedder: Embedder) -> None:
        with self._cursor() as cursor:
            kept = self._found(cursor, collection)
        checks.same_embedder(collection, kept.embedder, kept.dimensions, embedder)

    def add(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        with self._changing() as cursor:
            kept = self._found(cursor, collection)
            rows = checks.storable(collection, kept.dimensions, chunks, vectors)
            if not rows:
                return
            given = checks.directions(collection, kept.dimensions, vectors)[[row for _, row in rows.values()]]
            fields = ("id", "text", "source", "place", "user")
            table = pa.table({name: pa.array([getattr(chunk, name) for chunk, _ in rows.values()]) for name in fields})
            flat = pa.FixedSizeListArray.from_arrays(pa.array(given.ravel()), kept.dimensions)
            cursor.register("incoming", table.append_column("vector", flat))
            cursor.execute(f"DELETE FROM {kept.table} WHERE id IN (SELECT id FROM incoming)")
            cursor.execute(
                f"INSERT INTO {kept.table} ({_COLUMNS}, vector) "
                f"SELECT {_COLUMNS}, vector::FLOAT[{kept.dimensions:d}] FROM incoming"
            )
            cursor.unregister("incoming")
            _changed(cursor, kept)

    def remove(self, collection: str, source: str) -> None:
        with self._changing() as cursor:
            kept = self._found(cursor, collection)
            cursor.execute(f"DELETE FROM {kept.table} WHERE source = ?", [checks.writable(source)])
            _changed(cursor, kept)

    def sources(self, collection: str) -> dict[str, int]:
        with self._cursor() as cursor:
            table = self._found(cursor, collection).table
            rows = cursor.execute(f"SELECT source, count(*) FROM {table} GROUP BY source ORDER BY source").fetchall()
        return {str(source): int(count) for source, count in rows}

    def ids(self, collection: str, source: str) -> set[str]:
        with self._cursor() as cursor:
            table = self._found(cursor, collection).table
            rows = cursor.execute(f"SELECT id FROM {table} WHERE source = ?", [checks.writable(source)]).fetchall()
        return {str(row[0]) for row in rows}

    def search(self, collection: str, vector: Vectors, limit: int, user: str = "") -> list[Hit]:
        with self._cursor() as cursor:
            kept = self._found(cursor, collection)
            asked = checks.directions(collection, kept.dimensions, np.asarray(vector)[np.newaxis])[0]
            held = self._held(cursor, kept)
        found = held.nearest(asked, limit, checks.writable(user))
        return [Hit(chunk, collection, distance) for chunk, distance in found]

    def close(self) -> None:
        if os.getpid() == self._process:
            self._connection.close()
        self._in_memory.clear()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One of its own for each call, so that threads do not wait for each other."""
        checks.check_process(self._process)
        try:
            with self._connection.cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            raise StepFailed(self._sentence(error)) from error

    @contextmanager
    def _changing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction: all of a change, or nothing of it."""
        if self._read_only:
            raise StepFailed(f"{self.path} was opened for reading only; open it for writing to change it.")
        with _writing, self._cursor() as cursor:
            cursor.begin()
            try:
                yield cursor
            except BaseException:
                cursor.rollback()
                raise
            cursor.commit()

    def _found(self, cursor: duckdb.DuckDBPyConnection, collection: str) -> _Kept:
        kept = _kept(cursor, checks.writable(collection))
        if kept is None:
            rows = cursor.execute("SELECT name FROM warmstall_collections ORDER BY number").fetchall()
            raise checks.missing(collection, [str(row[0]) for row in rows])
        return kept

    def _held(self, cursor: duckdb.DuckDBPyConnection, kept: _Kept) -> _Held:
        held = self._in_memory.get(kept.number)
        if held is None or held.version != kept.version:
            # One thread reads it, the others take what it has read. What is read may be newer than the version that
            # was asked before: then the next search reads once more.
            with self._reading:
                held = self._in_memory.get(kept.number)
                if held is None or held.version != kept.version:
                    held = self._in_memory[kept.number] = _read(cursor, kept)
        return held

    def _sentence(self, error: Exception) -> str:
        said = str(error).splitlines()[0][:300]
        if "Conflicting lock" in said:
            holder = re.search(r"PID \d+", said)
            return (
                f"{self.path} is open in another process ({holder[0] if holder else 'unknown'}), and DuckDB lets one "
                "process at a time write a file; close it there, or keep the collections in a Chroma server."
            )
        if "different configuration" in said:
            return f"{self.path} is open in this process already, for reading where this is for writing or the reverse."
        if "Connection already closed" in said or "connection closed" in said.lower():
            return f"the store {self.path} has been closed; open it again."
        return f"the store {self.path} failed ({type(error).__name__}: {said}); try another path, or an intact copy."


def _kept(cursor: duckdb.DuckDBPyConnection, name: str) -> _Kept | None:
    wanted = "SELECT number, embedder, dimensions, version FROM warmstall_collections WHERE name = ?"
    rows = cursor.execute(wanted, [name]).fetchall()
    return _Kept(*rows[0]) if rows else None


def _changed(cursor: duckdb.DuckDBPyConnection, kept: _Kept) -> None:
    cursor.execute("UPDATE warmstall_collections SET version = version + 1 WHERE number = ?", [kept.number])


def _read(cursor: duckdb.DuckDBPyConnection, kept: _Kept) -> _Held:
    table = cursor.sql(f"SELECT {_COLUMNS}, vector FROM {kept.table}").to_arrow_table().combine_chunks()
    parts = [part.flatten().to_numpy() for part in table["vector"].chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
    return _Held(kept.version, table.drop_columns("vector"), flat.reshape(-1, kept.dimensions))


def _one(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The one row of a query that always has one."""
    return cursor.execute(sql).fetchall()[0]


def _fresh_lock() -> None:
    global _writing
    _writing = threading.RLock()


# Held at a fork by a thread that is not in the child, it would be held there for ever.
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_fresh_lock)
