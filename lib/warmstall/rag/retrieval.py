"""From a question to the chunks that may answer it: embed, search every collection, merge.

In parallel, each embedder embeds the question once and each collection is searched as soon as its own vector is
there: the whole takes little longer than its slowest step. One after another (`sequential`), each collection embeds
for itself: that is what the path shows to be slow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from opentelemetry import context
from opentelemetry.trace import Span, Tracer

from ..errors import StepFailed
from .parts import Embedder, Vectors, VectorStore
from .records import Hit
from .settings import CollectionSettings, RagSettings

_log = logging.getLogger(__name__)


def retrieve(
    question: str, settings: RagSettings, embedders: Mapping[str, Embedder], store: VectorStore, tracer: Tracer,
    user: str = "",
) -> list[Hit]:  # fmt: skip
    """The nearest chunks of all collections, best first, at most `settings.path.keep`, no text twice.

    A collection that is kept per user is searched for `user` alone, and not at all where none is named. Raises
    StepFailed when any collection or embedder fails: half of an answer would look like a whole one.
    """
    asked = [one for one in settings.collections if user or not one.per_user]
    with tracer.start_as_current_span("retrieve") as span:
        span.set_attribute("warmstall.retrieval", settings.path.retrieval)
        if left_out := [one.name for one in settings.collections if one not in asked]:
            span.set_attribute("warmstall.left_out", left_out)
        step = _Steps(question, settings, embedders, store, tracer, user)
        found = step.one_after_another(asked) if settings.path.retrieval == "sequential" else step.at_once(asked)
        with tracer.start_as_current_span("merge") as merging:
            hits = merged(found, settings.path.keep)
            merging.set_attribute("warmstall.hits", len(hits))
        return hits


def merged(found: Iterable[Hit], keep: int) -> list[Hit]:
    """The nearest first, each text once, whatever its spaces and capitals.

    >>> from .records import Chunk
    >>> near, far = Hit(Chunk("1", "A text", "a"), "faq", 0.1), Hit(Chunk("2", "a  text", "b"), "terms", 0.2)
    >>> [hit.chunk.id for hit in merged([far, near], 8)]
    ['1']
    """
    once: dict[str, Hit] = {}
    for hit in sorted(found, key=lambda hit: hit.distance):
        once.setdefault(" ".join(hit.chunk.text.split()).casefold(), hit)
    return list(once.values())[:keep]


class _Steps:
    """The steps of one question, each with its span."""

    def __init__(
        self, question: str, settings: RagSettings, embedders: Mapping[str, Embedder], store: VectorStore,
        tracer: Tracer, user: str,
    ) -> None:  # fmt: skip
        self._question, self._settings, self._embedders = question, settings, embedders
        self._store, self._tracer, self._user = store, tracer, user

    def one_after_another(self, collections: Iterable[CollectionSettings]) -> list[Hit]:
        return [hit for one in collections for hit in self._search(one, self._embed(one.embedder))]

    def at_once(self, collections: list[CollectionSettings]) -> list[Hit]:
        names = list(dict.fromkeys(one.embedder for one in collections))
        # Threads of another context would begin traces of their own.
        parent = context.get_current()

        def embed(name: str) -> Vectors:
            with _attached(parent):
                return self._embed(name)

        def search(collection: CollectionSettings, vector: Future[Vectors]) -> list[Hit]:
            given = vector.result()
            with _attached(parent):
                return self._search(collection, given)

        if not collections:
            return []
        # One thread for each step, so that no search waits for a thread, and no embedding behind a search.
        with ThreadPoolExecutor(len(names) + len(collections), thread_name_prefix="retrieve") as pool:
            vectors = {name: pool.submit(embed, name) for name in names}
            searches = [pool.submit(search, one, vectors[one.embedder]) for one in collections]
            return [hit for one in searches for hit in one.result()]

    def _embed(self, name: str) -> Vectors:
        with self._step("embed", f"embedding by {name}") as span:
            embedder = self._embedders[name]
            span.set_attribute("gen_ai.operation.name", "embeddings")
            span.set_attribute("gen_ai.provider.name", embedder.provider)
            span.set_attribute("gen_ai.request.model", embedder.model)
            span.set_attribute("warmstall.texts", 1)
            return np.asarray(embedder.embed([self._question])[0], np.float32)

    def _search(self, collection: CollectionSettings, vector: Vectors) -> list[Hit]:
        nearest = self._settings.embedders[collection.embedder].max_distance
        with self._step("search", f"search of {collection.name}") as span:
            span.set_attribute("db.system.name", self._store.system)
            span.set_attribute("db.collection.name", collection.name)
            span.set_attribute("db.operation.name", "search")
            user = self._user if collection.per_user else ""
            found = self._store.search(collection.name, vector, self._settings.path.top_k, user)
            kept = [hit for hit in found if hit.distance <= nearest]
            span.set_attribute("db.response.returned_rows", len(found))
            span.set_attribute("warmstall.kept", len(kept))
            return kept

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[Span]:
        """A span; what goes wrong in it stands on it and in the log, and names the part that failed."""
        with self._tracer.start_as_current_span(name) as span:
            try:
                yield span
            except StepFailed as error:
                _log.exception("%s failed", what)
                raise StepFailed(f"{what}: {error}") from error
            except Exception:
                _log.exception("%s failed", what)
                raise


@contextmanager
def _attached(parent: context.Context) -> Iterator[None]:
    token = context.attach(parent)
    try:
        yield
    finally:
        context.detach(token)
