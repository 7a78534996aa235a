"""The nouns of the reference path: what is searched, what is found, what is asked and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Chunk:
    """A piece of a document. `source` is the document as its reader knows it, `place` the heading or page in it."""

    id: str
    text: str
    source: str
    place: str = ""
    # Whose it is, in a collection that is kept per user; empty in the shared ones.
    user: str = ""


@dataclass(frozen=True)
class Hit:
    """A chunk that a search found. `distance` is cosine distance, 0 (the same direction) to 2 (the opposite one)."""

    chunk: Chunk
    collection: str
    distance: float

    @property
    def relevance(self) -> float:
        """1 for the same direction, 0 for nothing in common.

        >>> Hit(Chunk("1", "a text", "faq.md"), "faq", 0.25).relevance
        0.75
        """
        return max(0.0, 1.0 - self.distance)


@dataclass(frozen=True)
class Prompt:
    """What is sent to the model: the rules, and the question with its sources."""

    system: str
    user: str


@dataclass(frozen=True)
class Piece:
    """A part of a streamed answer as it arrives. The last one has `final`: what the server tells of the whole call."""

    text: str = ""
    # What the server itself has set apart as reasoning (Ollama's `thinking`, `reasoning_content`).
    reasoning: str = ""
    final: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Generated:
    """One call to a model, retries included. Durations are the client's; `final` is what the server told."""

    text: str
    reasoning: str
    finish_reason: str
    wall_s: float
    ttft_s: float | None
    # Times between two pieces of text, in the order in which they came.
    gaps_s: tuple[float, ...] = ()
    attempts: int = 1
    final: Mapping[str, object] = field(default_factory=dict)
    # What whoever reads the answer should know of it, a sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a question got. `cited` and `unfounded` are numbers of sources, from 1, as the text cites them."""

    question: str
    text: str
    hits: tuple[Hit, ...]
    cited: tuple[int, ...]
    # Cited, though no source of that number was in the prompt.
    unfounded: tuple[int, ...]
    generated: Generated
    wall_s: float
    # Under which its steps stand in the trace.
    trace_id: str = ""
