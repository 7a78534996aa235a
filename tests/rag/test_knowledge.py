"""The knowledge base that ships: well formed, found by plain questions, taken in once, and of variables that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from warmstall.parse.ollama_settings import INSTEAD, READ
from warmstall.rag.answering import LazyEmbedders
from warmstall.rag.documents.chunking import chunk_document
from warmstall.rag.documents.knowledge import knowledge_folder, only_knowledge
from warmstall.rag.documents.reading import read_document
from warmstall.rag.documents.taking_in import take_in, take_in_knowledge
from warmstall.rag.parts import VectorStore
from warmstall.rag.retrieval import retrieve
from warmstall.rag.settings import COLLECTIONS, RagSettings, StoreSettings
from warmstall.rag.stores.opening import open_store
from warmstall.rag.tracing import tracer_to

SETTINGS = RagSettings().lexical()
TRACER = tracer_to()
EMBEDDERS = LazyEmbedders(SETTINGS.embedders, TRACER)
FILES = sorted(path for path in knowledge_folder().rglob("*.md") if path.parent != knowledge_folder())
# Asked as people ask; the document that answers is among the first three that are found.
QUESTIONS = {
    "Why is the first answer slow and the next one fast?": "faq/first-answer-slow.md",
    "How long does a model stay in memory?": "documentation/keep-alive.md",
    "How much memory does the KV cache of a context need?": "documentation/kv-cache.md",
    "Why do I get 503 server busy?": "faq/server-busy.md",
    "What does Stopping... mean in ollama ps?": "faq/stopping.md",
    "Where are the logs on macOS and Windows?": "documentation/logs.md",
    "Which GPUs does ROCm support, and what does HSA_OVERRIDE_GFX_VERSION do?": "documentation/gpu-amd.md",
    "How do I raise LimitMEMLOCK in systemd?": "documentation/systemd-limits.md",
    "What is time to first token?": "terms/ttft.md",
    "What does quantization of weights mean?": "terms/quantization.md",
    "How does PagedAttention keep the KV cache in blocks?": "papers/paged-attention.md",
    "What is coordinated omission in a load generator?": "papers/coordinated-omission.md",
    "How many dimensions have embeddings of all-minilm?": "documentation/embeddings-api.md",
    "Which timeout should a client have, and should it retry?": "faq/timeouts-and-retries.md",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    store = open_store(StoreSettings(path=str(tmp_path_factory.mktemp("store") / "knowledge.duckdb")))
    take_in_knowledge(SETTINGS, store, EMBEDDERS)
    yield store
    store.close()


def test_every_collection_has_documents(store: VectorStore) -> None:
    counts = {name: len(store.sources(name)) for name in store.collections()}

    assert set(counts) == {one.name for one in COLLECTIONS}
    assert min(counts.values()) >= 4
    assert sum(counts.values()) == len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_document_has_a_title_and_short_parts(path: Path) -> None:
    sections = read_document(path)

    assert path.read_text(encoding="utf-8").startswith("# ")
    # One part is one chunk, so that an answer is never cut from its question.
    assert len(chunk_document(sections, path.name, "faq", SETTINGS.path.chunk_chars)) == len(sections)
    assert all(section.place for section in sections)


def test_taking_it_in_again_changes_nothing(store: VectorStore) -> None:
    again = take_in_knowledge(SETTINGS, store, EMBEDDERS)

    assert (again.documents, again.unchanged, again.skipped) == (0, len(FILES), ())


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_what_answers_it(store: VectorStore, question: str) -> None:
    hits = retrieve(question, SETTINGS, EMBEDDERS, store, TRACER)

    assert QUESTIONS[question] in [hit.chunk.source for hit in hits[:3]]


def test_conversations_belong_to_roles(store: VectorStore) -> None:
    question = "The chat window loads its model anew since the nightly script sends num_ctx"
    own = retrieve(question, SETTINGS, EMBEDDERS, store, TRACER, "operator")
    of_another = retrieve(question, SETTINGS, EMBEDDERS, store, TRACER, "oncall")

    assert own[0].chunk.source == "operator/chat-window-reloads.md"
    assert not [hit for hit in of_another if hit.chunk.user == "operator"]
    assert {source.split("/")[0] for source in store.sources("conversations")} == {"operator", "oncall"}


def test_variables_that_it_names_exist() -> None:
    named = {name for path in FILES for name in re.findall(r"\bOLLAMA_[A-Z_]+", path.read_text(encoding="utf-8"))}

    assert named <= READ | INSTEAD.keys()
    assert len(named) > 10


def test_documents_of_ones_own_are_told_from_it(store: VectorStore, tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("# Own\nA note.", encoding="utf-8")
    other = open_store(StoreSettings(path=str(tmp_path / "own.duckdb")))
    assert only_knowledge(SETTINGS, store)
    assert only_knowledge(SETTINGS, other)
    take_in([tmp_path / "own.md"], "faq", SETTINGS, other, EMBEDDERS)

    assert not only_knowledge(SETTINGS, other)
    other.close()


def test_only_what_the_settings_have_a_collection_for_is_taken_in(tmp_path: Path) -> None:
    settings = replace(SETTINGS, collections=COLLECTIONS[2:3])
    store = open_store(StoreSettings(path=str(tmp_path / "faq.duckdb")))
    take_in_knowledge(settings, store, EMBEDDERS)

    assert list(store.collections()) == ["faq"]
    store.close()
