"""The nouns of taking documents in: what lies where, what was read of it, what became of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A document in the file system, and what it is called in the store."""

    path: Path
    source: str


@dataclass(frozen=True)
class Skipped:
    """A file that was not taken in, and why, as half a sentence."""

    source: str
    reason: str


@dataclass(frozen=True)
class Section:
    """A part of a document under one heading or on one page, which `place` names; empty where there is none."""

    text: str
    place: str = ""


@dataclass(frozen=True)
class TakenIn:
    """What a run did: documents and chunks that it added, `changed` ones among them, and what it left as it was.

    >>> print(TakenIn(documents=2, chunks=9, changed=1, unchanged=3, skipped=(Skipped("old.doc", "not a kind read"),)))
    2 documents taken in as 9 chunks (1 of them had changed); 3 were there already; 1 was left out:
      old.doc: not a kind read
    """

    documents: int = 0
    chunks: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: tuple[Skipped, ...] = ()

    def __add__(self, other: TakenIn) -> TakenIn:
        return TakenIn(
            self.documents + other.documents, self.chunks + other.chunks, self.changed + other.changed,
            self.unchanged + other.unchanged, self.skipped + other.skipped,
        )  # fmt: skip

    def __str__(self) -> str:
        told = [f"{_counted(self.documents, 'document')} taken in as {_counted(self.chunks, 'chunk')}"]
        told[0] += f" ({self.changed} of them had changed)" if self.changed else ""
        told += [f"{self.unchanged} {_were(self.unchanged)} there already"] if self.unchanged else []
        told += [f"{len(self.skipped)} {_were(len(self.skipped))} left out"] if self.skipped else []
        rows = [f"\n  {one.source}: {one.reason}" for one in self.skipped]
        return "; ".join(told) + (":" if rows else ".") + "".join(rows)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
