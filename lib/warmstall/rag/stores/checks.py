"""What every store checks before it keeps or searches, and the sentences for what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ...errors import StepFailed
from ..parts import Embedder, Vectors
from ..records import Chunk


def missing(collection: str, existing: Iterable[str]) -> StepFailed:
    """
    >>> missing("fqa", ["faq", "terms"])
    StepFailed("collection 'fqa' is not there; there are 'faq', 'terms': correct its name, or take documents into it.")
    """
    there = ", ".join(repr(name) for name in existing)
    told = f"there are {there}" if there else "the store has none yet"
    return StepFailed(f"collection {collection!r} is not there; {told}: correct its name, or take documents into it.")


def same_embedder(collection: str, name: str, dimensions: int, embedder: Embedder) -> None:
    """Raises StepFailed where a collection holds vectors of another embedder, or of another dimension."""
    if (name, dimensions) != (embedder.name, embedder.dimensions):
        raise StepFailed(
            f"collection {collection!r} holds vectors of {name} ({dimensions} numbers), not of {embedder.name} "
            f"({embedder.dimensions}); choose that embedder, or take its documents into another collection."
        )


def directions(collection: str, dimensions: int, vectors: Vectors) -> Vectors:
    """Rows of length one, float32; raises StepFailed for another dimension, NaN, and zeros.

    >>> directions("faq", 2, np.array([[3.0, 4.0]], np.float32)).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimensions:
        got = rows.shape[-1] if rows.ndim else 0
        raise StepFailed(
            f"collection {collection!r} holds vectors of {dimensions} numbers, got {got}; "
            "use the embedder with which its documents were taken in."
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise StepFailed(
            f"collection {collection!r}: a vector has NaN, an infinite number or nothing but zeros; no direction can "
            "be kept or searched: look at the embedder that made it."
        )
    return np.asarray(rows / lengths, np.float32)


def storable(
    collection: str, dimensions: int, chunks: Sequence[Chunk], vectors: Vectors
) -> dict[str, tuple[Chunk, int]]:
    """Each id once, with its chunk and the row of its vector: of two chunks with one id the later one stays."""
    if len(chunks) != len(vectors):
        raise StepFailed(
            f"collection {collection!r}: got {len(chunks)} chunks and {len(vectors)} vectors; one for each."
        )
    found = {}
    for row, chunk in enumerate(chunks):
        if not chunk.id:
            raise StepFailed(f"collection {collection!r}: chunk {row + 1} of {len(chunks)} has no id; give it one.")
        clean = replace(chunk, **{name: writable(str(value)) for name, value in vars(chunk).items()})
        found[clean.id] = (clean, row)
    return found


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: half of a surrogate pair becomes a question mark.

    >>> writable("caf\\u00e9 \\ud800")
    'café ?'
    """
    return text.encode("utf-8", "replace").decode()


def check_process(opened_by: int) -> None:
    """Raises StepFailed in a process that was forked after a store was opened: its sockets and locks do not survive."""
    if os.getpid() != opened_by:
        raise StepFailed(
            f"the store was opened in process {opened_by} and is used in {os.getpid()}, which was forked from it; "
            "open a store in each process, after the fork."
        )
