"""Vectors in one DuckDB file, searched exactly.

The file is what lasts; the vectors of a collection are held in memory as one matrix from its first search on (4 bytes
a number: 10,000 vectors of 384 are 15 MB), because DuckDB computes distances one number at a time: 10 ms in its SQL
against 0.4 ms for those, 85 ms against 8 ms for 50,000 of 768. Every change of a collection raises its version, and
a search whose matrix has another version reads it again, in the same transaction as the texts.

One process at a time can have a file open to write it; several can where all of them only read.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from ...errors import StepFailed
from ..parts import Embedder, Vectors
from ..records import Chunk, Hit
from . import checks

_SCHEMA = """
CREATE SEQUENCE IF NOT EXISTS warmstall_numbers;
CREATE TABLE IF NOT EXISTS warmstall_collections (
    number INTEGER PRIMARY KEY, name VARCHAR UNIQUE, embedder VARCHAR, dimensions INTEGER, lexical BOOLEAN,
    version BIGINT
)
"""
# A collection's name is never in SQL text: its table has a number.
_TABLE = """
CREATE TABLE warmstall_chunks_{number} (
    number BIGINT PRIMARY KEY DEFAULT nextval('warmstall_numbers'), id VARCHAR, text VARCHAR, source VARCHAR,
    place VARCHAR, "user" VARCHAR, vector FLOAT[{dimensions}]
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


@dataclass(frozen=True)
class _Matrix:
    """A collection's vectors, shape (chunks, dimensions), with each chunk's number and its user's place in `users`."""

    version: int
    numbers: NDArray[np.int64]
    vectors: Vectors
    user_of: NDArray[np.int64]
    users: dict[str, int]

    def nearest(self, vector: Vectors, limit: int, user: str) -> tuple[list[int], list[float]]:
        """Numbers and cosine distances, nearest first."""
        numbers, similarities = self.numbers, self.vectors @ vector
        if user:
            theirs = self.user_of == self.users.get(user, -1)
            numbers, similarities = numbers[theirs], similarities[theirs]
        if len(numbers) > limit:
            best = np.argpartition(-similarities, limit - 1)[:limit]
            numbers, similarities = numbers[best], similarities[best]
        order = np.lexsort((numbers, -similarities))
        # Rounding may lead a little beyond the ends.
        return numbers[order].tolist(), np.clip(1.0 - similarities[order], 0.0, 2.0).tolist()


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
        self._matrices: dict[int, _Matrix] = {}
        self._loading = threading.Lock()
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
        with self._transaction() as cursor:
            rows = cursor.execute("SELECT name, number FROM warmstall_collections ORDER BY number").fetchall()
            return {
                str(name): int(_one(cursor, f"SELECT count(*) FROM warmstall_chunks_{number:d}")[0])
                for name, number in rows
            }

    def create(self, collection: str, embedder: Embedder) -> None:
        name = checks.writable(collection)
        with self._transaction(writing=True) as cursor:
            kept = _kept(cursor, name)
            if kept:
                checks.same_embedder(collection, kept.embedder, kept.dimensions, embedder)
                return
            number = _one(cursor, "SELECT coalesce(max(number), 0) + 1 FROM warmstall_collections")[0]
            row = [number, name, embedder.name, embedder.dimensions, embedder.lexical]
            cursor.execute("INSERT INTO warmstall_collections VALUES (?, ?, ?, ?, ?, 0)", row)
            cursor.execute(_TABLE.format(number=int(number), dimensions=int(embedder.dimensions)))

    def add(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        with self._transaction(writing=True) as cursor:
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
        with self._transaction(writing=True) as cursor:
            kept = self._found(cursor, collection)
            cursor.execute(f"DELETE FROM {kept.table} WHERE source = ?", [checks.writable(source)])
            _changed(cursor, kept)

    def sources(self, collection: str) -> dict[str, int]:
        with self._transaction() as cursor:
            table = self._found(cursor, collection).table
            rows = cursor.execute(f"SELECT source, count(*) FROM {table} GROUP BY source ORDER BY source").fetchall()
        return {str(source): int(count) for source, count in rows}

    def ids(self, collection: str, source: str) -> set[str]:
        with self._transaction() as cursor:
            table = self._found(cursor, collection).table
            rows = cursor.execute(f"SELECT id FROM {table} WHERE source = ?", [checks.writable(source)]).fetchall()
        return {str(row[0]) for row in rows}

    def search(self, collection: str, vector: Vectors, limit: int, user: str = "") -> list[Hit]:
        with self._transaction() as cursor:
            kept = self._found(cursor, collection)
            asked = checks.directions(collection, kept.dimensions, np.asarray(vector)[np.newaxis])[0]
            numbers, distances = self._matrix(cursor, kept).nearest(asked, limit, checks.writable(user))
            rows = cursor.execute(
                f"SELECT number, {_COLUMNS} FROM {kept.table} SEMI JOIN (SELECT unnest(?::BIGINT[]) AS number) "
                "USING (number)",
                [numbers],
            ).fetchall()
        chunks = {row[0]: Chunk(*row[1:]) for row in rows}
        return [Hit(chunks[number], collection, distance) for number, distance in zip(numbers, distances, strict=True)]

    def close(self) -> None:
        if os.getpid() == self._process:
            self._connection.close()
        self._matrices.clear()

    @contextmanager
    def _transaction(self, writing: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for each call, so that threads do not wait for each other."""
        checks.check_process(self._process)
        if writing and self._read_only:
            raise StepFailed(f"{self.path} was opened for reading only; open it for writing to change it.")
        try:
            with _writing if writing else nullcontext(), self._connection.cursor() as cursor:
                cursor.begin()
                try:
                    yield cursor
                except BaseException:
                    cursor.rollback()
                    raise
                cursor.commit()
        except duckdb.Error as error:
            raise StepFailed(self._sentence(error)) from error

    def _found(self, cursor: duckdb.DuckDBPyConnection, collection: str) -> _Kept:
        kept = _kept(cursor, checks.writable(collection))
        if kept is None:
            rows = cursor.execute("SELECT name FROM warmstall_collections ORDER BY number").fetchall()
            raise checks.missing(collection, [str(row[0]) for row in rows])
        return kept

    def _matrix(self, cursor: duckdb.DuckDBPyConnection, kept: _Kept) -> _Matrix:
        found = self._matrices.get(kept.number)
        if found is None or found.version != kept.version:
            # One thread reads it, the others take what it has read.
            with self._loading:
                found = self._matrices.get(kept.number)
                if found is None or found.version != kept.version:
                    found = self._matrices[kept.number] = _read(cursor, kept)
        return found

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


def _read(cursor: duckdb.DuckDBPyConnection, kept: _Kept) -> _Matrix:
    table = cursor.sql(f'SELECT number, vector, "user" FROM {kept.table}').to_arrow_table()
    users = pa.compute.dictionary_encode(table["user"].combine_chunks())
    parts = [part.flatten().to_numpy() for part in table["vector"].chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return _Matrix(
        kept.version,
        table["number"].to_numpy(),
        flat.reshape(-1, kept.dimensions),
        users.indices.to_numpy().astype(np.int64),
        {name: place for place, name in enumerate(users.dictionary.to_pylist())},
    )


def _one(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The one row of a query that always has one."""
    return cursor.execute(sql).fetchall()[0]
