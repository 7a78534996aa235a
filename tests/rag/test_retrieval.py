"""From a question to the best chunks: how often is embedded, what runs at once, what is found, what fails."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from warmstall.errors import StepFailed
from warmstall.rag.embedders.lexical import LexicalEmbedder
from warmstall.rag.parts import VectorStore
from warmstall.rag.records import Chunk, Hit
from warmstall.rag.retrieval import merged, retrieve
from warmstall.rag.settings import CollectionSettings, EmbedderSettings, RagSettings
from warmstall.rag.stores.duckdb_store import DuckDBStore
from warmstall.rag.tracing import tracer_to

QUESTION = "Why is the model unloaded after five minutes?"
TEXTS = {
    "documentation": [
        "The model is unloaded after five minutes without a request; keep_alive says otherwise.",
        "A model that is loaded answers at once.",
        "Set the number of requests in parallel.",
    ],
    "conversations": ["Why is my model unloaded?", "What does the queue do?"],
    "faq": ["Why is the model unloaded? After five minutes nobody needs it.", "THE MODEL is unloaded,  why?"],
    "terms": ["keep_alive: minutes for which a model stays loaded.", "Unloaded: a model that is not in memory."],
    "papers": ["Models in minutes: after five requests why is the cache of a model unloaded?", "Sales of the quarter"],
}


class Counting(LexicalEmbedder):
    """Hashed words; counts its calls, and can meet others in them."""

    def __init__(self, dimensions: int, meeting: threading.Barrier | None = None) -> None:
        super().__init__(EmbedderSettings(kind="lexical", dimensions=dimensions))
        self.calls, self._meeting = 0, meeting

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        if self._meeting:
            self._meeting.wait(30)
        return super().embed(texts)


class Meeting(DuckDBStore):
    """A store in which the searches meet: none ends before all have begun."""

    meeting: threading.Barrier | None = None
    refused = ""
    asked_of: list[tuple[str, str]]

    def search(self, collection: str, vector: np.ndarray, limit: int, user: str = "") -> list[Hit]:
        self.asked_of.append((collection, user))
        if self.meeting:
            self.meeting.wait(30)
        if collection == self.refused:
            raise StepFailed("the disk is gone; put it back.")
        return super().search(collection, vector, limit, user)


@pytest.fixture
def settings() -> RagSettings:
    return RagSettings().lexical()


@pytest.fixture
def embedders(settings: RagSettings) -> dict[str, Counting]:
    return {name: Counting(one.dimensions) for name, one in settings.embedders.items()}


@pytest.fixture
def store(settings: RagSettings, embedders: dict[str, Counting]) -> Iterator[Meeting]:
    store = Meeting(Path(":memory:"))
    store.asked_of = []
    for one in settings.collections:
        embedder, texts = embedders[one.embedder], TEXTS[one.name]
        store.create(one.name, embedder)
        chunks = [Chunk(f"{one.name} {n}", text, f"{one.name}.md", user="ann") for n, text in enumerate(texts)]
        store.add(one.name, chunks, embedder.embed(texts))
    for embedder in embedders.values():
        embedder.calls = 0
    yield store
    store.close()


def traced(*arguments: object, **named: object) -> tuple[list[Hit], list[ReadableSpan]]:
    spans = InMemorySpanExporter()
    question, settings, embedders, store = arguments
    tracer = tracer_to(SimpleSpanProcessor(spans))
    with tracer.start_as_current_span("question"):
        hits = retrieve(question, settings, embedders, store, tracer, **named)
    return hits, list(spans.get_finished_spans())


def sequential(settings: RagSettings) -> RagSettings:
    return replace(settings, path=replace(settings.path, retrieval="sequential"))


def test_each_embedder_embeds_the_question_once(settings, embedders, store) -> None:
    """Two calls for five collections; one after another there are five."""
    traced(QUESTION, settings, embedders, store, user="ann")
    assert {name: one.calls for name, one in embedders.items()} == {"small": 1, "large": 1}

    traced(QUESTION, sequential(settings), embedders, store, user="ann")
    assert {name: one.calls for name, one in embedders.items()} == {"small": 1 + 3, "large": 1 + 2}


def test_embedders_work_at_once(settings, embedders, store) -> None:
    """Each waits in its call until the other is in its own."""
    meeting = threading.Barrier(2)
    meet = {name: Counting(one.dimensions, meeting) for name, one in embedders.items()}
    assert traced(QUESTION, settings, meet, store)[0]


def test_all_collections_are_searched_at_once(settings, embedders, store) -> None:
    """No search ends before all five have begun; one after another, no two spans overlap."""
    store.meeting = threading.Barrier(5)
    _, spans = traced(QUESTION, settings, embedders, store, user="ann")
    searches = [span for span in spans if span.name == "search"]
    assert len(searches) == 5
    assert max(span.start_time for span in searches) < min(span.end_time for span in searches)

    store.meeting = None
    _, spans = traced(QUESTION, sequential(settings), embedders, store, user="ann")
    steps = sorted((span for span in spans if span.name in ("embed", "search")), key=lambda span: span.start_time)
    assert [span.name for span in steps] == ["embed", "search"] * 5
    assert all(one.end_time <= other.start_time for one, other in itertools.pairwise(steps))


def test_a_search_waits_for_no_other_embedder(settings, embedders, store) -> None:
    """The large embedder is kept waiting until the collections of the small one have been searched."""
    searched = threading.Event()

    class Late(Counting):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            assert searched.wait(30)
            return super().embed(texts)

    class Telling(Meeting):
        def search(self, *arguments: object) -> list[Hit]:
            found = super().search(*arguments)
            if len(self.asked_of) == 3:
                searched.set()
            return found

    store.__class__ = Telling
    both = {**embedders, "large": Late(embedders["large"].dimensions)}
    traced(QUESTION, settings, both, store, user="ann")
    assert {name for name, _ in store.asked_of[:3]} == {"documentation", "conversations", "faq"}


def test_the_same_is_found_either_way(settings, embedders, store) -> None:
    """The same chunks with the same distances in the same order, from more than one collection, best first."""
    at_once, _ = traced(QUESTION, settings, embedders, store, user="ann")
    one_by_one, _ = traced(QUESTION, sequential(settings), embedders, store, user="ann")

    assert at_once == one_by_one
    assert len({hit.collection for hit in at_once}) >= 4
    assert [hit.distance for hit in at_once] == sorted(hit.distance for hit in at_once)
    assert "quarter" not in " ".join(hit.chunk.text for hit in at_once)


def test_what_is_too_far_is_left_and_so_is_what_is_too_many(settings, embedders, store) -> None:
    """Each embedder has its own threshold; `top_k` is of a collection, `keep` of the whole."""
    strict = {**settings.embedders, "large": replace(settings.embedders["large"], max_distance=0.0)}
    hits, spans = traced(QUESTION, replace(settings, embedders=strict), embedders, store, user="ann")
    assert {hit.collection for hit in hits} <= {"documentation", "conversations", "faq"}
    kept = {span.attributes["db.collection.name"]: span.attributes for span in spans if span.name == "search"}
    assert (kept["papers"]["db.response.returned_rows"], kept["papers"]["warmstall.kept"]) == (2, 0)

    few = replace(settings, path=replace(settings.path, top_k=1, keep=3))
    hits, _ = traced(QUESTION, few, embedders, store, user="ann")
    assert len(hits) == 3
    assert max(Counter(hit.collection for hit in hits).values()) == 1


def test_a_text_is_given_once_with_its_best_distance() -> None:
    """Spaces and capitals do not make another text; of equal ones the nearest stays."""
    hits = [
        Hit(Chunk("1", "One  Text\n", "a"), "faq", 0.3), Hit(Chunk("2", "one text", "b"), "terms", 0.2),
        Hit(Chunk("3", "STRASSE", "c"), "faq", 0.25), Hit(Chunk("4", "straße", "d"), "faq", 0.4),
    ]  # fmt: skip
    assert [hit.chunk.id for hit in merged(hits, 8)] == ["2", "3"]


def test_a_user_finds_their_own_and_no_user_none(settings, embedders, store) -> None:
    """Only the collection per user is searched for the user; where none is named it is left out, and said so."""
    for text, user in (("Why is the model unloaded, asked bob", "bob"), ("Why unloaded", "ann")):
        vector = embedders["small"].embed([text])
        store.add("conversations", [Chunk(user, text, "chat", user=user)], vector)
    hits, spans = traced(QUESTION, settings, embedders, store, user="bob")
    assert {hit.chunk.user for hit in hits if hit.collection == "conversations"} == {"bob"}
    assert set(store.asked_of) == {(one.name, "bob" if one.per_user else "") for one in settings.collections}
    (whole,) = [span for span in spans if span.name == "retrieve"]
    assert "warmstall.left_out" not in whole.attributes

    hits, spans = traced(QUESTION, settings, embedders, store)
    assert "conversations" not in {hit.collection for hit in hits}
    (whole,) = [span for span in spans if span.name == "retrieve"]
    assert whole.attributes["warmstall.left_out"] == ("conversations",)


def test_nothing_to_search_is_nothing_found(settings, embedders, store) -> None:
    """Only collections per user and no user: no embedder is asked."""
    private = replace(settings, collections=(CollectionSettings("conversations", per_user=True),))
    for arm in (private, sequential(private)):
        assert traced(QUESTION, arm, embedders, store)[0] == []
    assert embedders["small"].calls == 0


@pytest.mark.parametrize("arm", ["parallel", "sequential"])
def test_the_trace_tells_each_step(arm: str, settings, embedders, store) -> None:
    """Spans of all threads in one trace under `retrieve`, with sizes and OpenTelemetry's names, and without texts."""
    arranged = settings if arm == "parallel" else sequential(settings)
    hits, spans = traced(QUESTION, arranged, embedders, store, user="ann")

    named = {span.name: span for span in spans}
    assert len({span.context.trace_id for span in spans}) == 1
    within = [span for span in spans if span.name in ("embed", "search", "merge")]
    assert {span.parent.span_id for span in within} == {named["retrieve"].context.span_id}
    assert named["retrieve"].parent.span_id == named["question"].context.span_id
    assert named["retrieve"].attributes["warmstall.retrieval"] == arm
    assert named["merge"].attributes["warmstall.hits"] == len(hits)
    assert named["embed"].attributes == {
        "gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "lexical",
        "gen_ai.request.model": "hashed-words", "warmstall.texts": 1,
    }  # fmt: skip
    searched = {span.attributes["db.collection.name"]: span.attributes for span in spans if span.name == "search"}
    assert set(searched) == set(TEXTS)
    assert searched["faq"]["db.system.name"] == "duckdb"
    assert searched["faq"]["db.operation.name"] == "search"
    assert searched["faq"]["db.response.returned_rows"] == 2
    written = " ".join(span.to_json() for span in spans).lower()
    assert "unloaded" not in written
    assert "five minutes" not in written


@pytest.mark.parametrize("arm", ["parallel", "sequential"])
def test_a_collection_that_fails_fails_the_question(arm: str, settings, embedders, store, caplog) -> None:
    """By its name, on its span and in the log with the traceback; what the others found is no answer."""
    store.refused = "terms"
    arranged = settings if arm == "parallel" else sequential(settings)
    spans = InMemorySpanExporter()
    with caplog.at_level(logging.ERROR, "warmstall.rag"), pytest.raises(StepFailed) as failed:
        retrieve(QUESTION, arranged, embedders, store, tracer_to(SimpleSpanProcessor(spans)))
    assert str(failed.value) == "search of terms: the disk is gone; put it back."
    wrong = {span.name: span for span in spans.get_finished_spans() if span.status.status_code is StatusCode.ERROR}
    assert set(wrong) == {"retrieve", "search"}
    assert wrong["search"].attributes["db.collection.name"] == "terms"
    assert [event.name for event in wrong["search"].events] == ["exception"]
    (record,) = [record for record in caplog.records if record.name == "warmstall.rag.retrieval"]
    assert record.exc_info
    assert "unloaded" not in caplog.text


def test_an_embedder_that_fails_fails_the_question_once(settings, embedders, store, caplog) -> None:
    """By its name; the searches that needed it do not happen, and are not errors of their own."""

    class Broken(Counting):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            raise StepFailed("nothing listens there; start it.")

    broken = {**embedders, "large": Broken(768)}
    with pytest.raises(StepFailed, match=r"^embedding by large: nothing listens there; start it\.$"):
        traced(QUESTION, settings, broken, store)
    assert {name for name, _ in store.asked_of} <= {"documentation", "faq"}
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_missing_collection_is_named_with_those_that_are_there(settings, embedders, store: VectorStore) -> None:
    lacking = replace(settings, collections=(*settings.collections, CollectionSettings("wiki")))
    with pytest.raises(StepFailed, match="search of wiki: collection 'wiki' is not there; there are 'documentation'"):
        traced(QUESTION, lacking, embedders, store)
