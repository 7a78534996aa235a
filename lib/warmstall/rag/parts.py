"""The three parts of the path that may be exchanged, as protocols: embedder, vector store, inference.

Every part fails with StepFailed, one sentence that says what was given, what was expected and what to do; none waits
longer than its deadline, and none answers nothing in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .records import Chunk, Hit, Piece, Prompt

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors of length one. Safe to call from several threads at once."""

    # Shown wherever its vectors are: "all-minilm by Ollama", "hashed words (lexical: nothing is learned)".
    name: str
    dimensions: int
    # What the trace calls it: gen_ai.provider.name and gen_ai.request.model.
    provider: str
    model: str
    # True where nothing is learned: distances mean shared words, not meaning.
    lexical: bool

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions), float32, each row of length one. Raises StepFailed, also for NaN."""
        ...


class VectorStore(Protocol):
    """Keeps chunks with their vectors in named collections. Safe to search from several threads at once."""

    # What the trace calls it: db.system.name ("duckdb", "chroma").
    system: str

    def collections(self) -> dict[str, int]:
        """The collections that exist, with the number of chunks in each."""
        ...

    def create(self, collection: str, embedder: Embedder) -> None:
        """Make it where it is not there. Raises StepFailed where it holds vectors of another embedder or dimension."""
        ...

    def check(self, collection: str, embedder: Embedder) -> None:
        """Raises StepFailed where a collection is missing, or tells that it holds vectors of another embedder."""
        ...

    def add(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Add or replace chunks by their ids. Raises StepFailed for a missing collection or a wrong dimension."""
        ...

    def remove(self, collection: str, source: str) -> None:
        """Take out all chunks of one source."""
        ...

    def sources(self, collection: str) -> dict[str, int]:
        """The sources in a collection, with the number of chunks of each."""
        ...

    def ids(self, collection: str, source: str) -> set[str]:
        """The ids of one source's chunks: an id tells its content, so taking in again knows what is there already."""
        ...

    def search(self, collection: str, vector: Vectors, limit: int, user: str = "") -> list[Hit]:
        """The nearest chunks to one vector (shape (dimensions,)), nearest first; only that user's where one is named.

        Raises StepFailed for a missing collection, a wrong dimension, and a store that is down.
        """
        ...

    def close(self) -> None: ...


class Inference(Protocol):
    """Writes the answer to a prompt, streamed."""

    # gen_ai.provider.name ("ollama", "openai"), the path that is asked ("/api/chat"), and the model.
    provider: str
    path: str
    model: str
    # host:port of the server.
    server: str

    def stream(self, prompt: Prompt, timeout_s: float) -> Iterator[Piece]:
        """The pieces as they arrive, the last one with `final`; `timeout_s` is for the whole answer.

        Raises StepFailed when the server is down, the model absent, the prompt too long, the stream cut or late.
        Closing the iterator closes the connection. `final` has Ollama's names and nanoseconds where Ollama answers,
        and `done_reason`, `prompt_eval_count` and `eval_count` whoever does.
        """
        ...
