"""Taking documents in: what is there is left alone, and a run that is killed ends as one that was not disturbed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from warmstall.errors import InputError, ParameterError, StepFailed
from warmstall.rag.documents.records import TakenIn
from warmstall.rag.documents.taking_in import BATCH, take_in
from warmstall.rag.embedders.opening import open_embedder
from warmstall.rag.parts import Embedder, Vectors, VectorStore
from warmstall.rag.settings import CollectionSettings, RagSettings, StoreSettings
from warmstall.rag.stores.opening import open_store

from .chroma_server import chroma_server

SETTINGS = replace(
    RagSettings().lexical(), collections=(CollectionSettings("notes"), CollectionSettings("own", per_user=True))
)
# Takes a folder in, and stands still after the embedder's call of that number, until it is killed.
PROGRAM = """
import sys
from pathlib import Path
from warmstall.rag.documents.taking_in import take_in
from warmstall.rag.settings import StoreSettings
from warmstall.rag.stores.opening import open_store
from rag.test_taking_in import SETTINGS, Listening
kind, path, url, folder, stop = sys.argv[1:]
embedder = Listening()
plain = embedder.embed
def embed(texts):
    vectors = plain(texts)
    if embedder.calls == int(stop):
        print("standing", flush=True)
        sys.stdin.read()
    return vectors
embedder.embed = embed
take_in([Path(folder)], "notes", SETTINGS, open_store(StoreSettings(kind, path, url)), {"small": embedder})
"""


class Listening:
    """The lexical embedder, which remembers what it was given."""

    def __init__(self) -> None:
        inner = open_embedder(SETTINGS.embedders["small"])
        self.name, self.dimensions, self.provider = inner.name, inner.dimensions, inner.provider
        self.model, self.lexical, self._inner = inner.model, inner.lexical, inner
        self.texts: list[str] = []
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        assert len(texts) <= BATCH
        self.calls += 1
        self.texts += texts
        return self._inner.embed(texts)


@pytest.fixture
def embedder() -> Listening:
    return Listening()


@pytest.fixture
def embedders(embedder: Listening) -> Mapping[str, Embedder]:
    return {"small": embedder}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    store = open_store(StoreSettings(path=str(tmp_path / "kept.duckdb")))
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six documents of eleven chunks each: batches end in the middle of documents."""
    folder = tmp_path / "manual"
    folder.mkdir()
    for number in range(6):
        write(folder / f"{number}.md", f"document{number}")
    return folder


def write(path: Path, word: str) -> None:
    parts = [f"## Part {part}\n{word} part{part} says what it says." for part in range(11)]
    path.write_text("\n".join(parts), encoding="utf-8")


def content(store: VectorStore, collection: str = "notes") -> dict[str, dict[str, object]]:
    """Every chunk of a collection by its id, vectors aside."""
    vector = open_embedder(SETTINGS.embedders["small"]).embed(["part"])[0]
    count = store.collections()[collection]
    hits = store.search(collection, vector, count + 100)
    assert len(hits) == count
    return {hit.chunk.id: asdict(hit.chunk) for hit in hits}


def test_what_is_there_already_is_left_alone(store, embedders, embedder, folder) -> None:
    first = take_in([folder], "notes", SETTINGS, store, embedders)
    embedded = len(embedder.texts)
    again = take_in([folder], "notes", SETTINGS, store, embedders)

    assert first == TakenIn(documents=6, chunks=66)
    assert again == TakenIn(unchanged=6)
    assert len(embedder.texts) == embedded == 66
    assert store.sources("notes") == {f"manual/{number}.md": 11 for number in range(6)}


def test_a_document_that_has_changed_is_replaced(store, embedders, embedder, folder) -> None:
    take_in([folder], "notes", SETTINGS, store, embedders)
    (folder / "2.md").write_text("Short now.", encoding="utf-8")
    embedder.texts.clear()
    again = take_in([folder], "notes", SETTINGS, store, embedders)

    assert again == TakenIn(documents=1, chunks=1, changed=1, unchanged=5)
    assert embedder.texts == ["Short now."]
    assert store.sources("notes")["manual/2.md"] == 1


def test_another_size_of_chunks_is_a_change(store, embedders, folder) -> None:
    take_in([folder], "notes", SETTINGS, store, embedders)
    smaller = replace(SETTINGS, path=replace(SETTINGS.path, chunk_chars=20))
    again = take_in([folder], "notes", smaller, store, embedders)

    assert again.changed == 6
    assert all(len(str(chunk["text"])) <= 20 for chunk in content(store).values())


def test_a_bad_document_stops_no_other(store, embedders, folder) -> None:
    (folder / "0.pdf").write_bytes(b"not a PDF")
    (folder / "9.docx").write_bytes(b"PK")
    said: list[str] = []
    done = take_in([folder], "notes", SETTINGS, store, embedders, say=said.append)

    assert done.documents == 6
    assert {one.source: one.reason[:7] for one in done.skipped} == {
        "manual/0.pdf": "damaged",
        "manual/9.docx": "not a k",
    }
    assert [line.split(": left out")[0] for line in said] == ["manual/9.docx", "manual/0.pdf"]


def test_documents_of_users_are_their_own(store, embedders, folder) -> None:
    for user in ("operator", "oncall"):
        take_in([folder / "0.md"], "own", SETTINGS, store, embedders, user)
    vector = embedders["small"].embed(["part"])[0]

    assert store.sources("own") == {"operator/manual/0.md": 11, "oncall/manual/0.md": 11}
    assert {hit.chunk.user for hit in store.search("own", vector, 50, "oncall")} == {"oncall"}


@pytest.mark.parametrize(
    ("collection", "user", "said"),
    [
        ("nots", "", "There is no collection 'nots'; there are notes, own."),
        ("notes", "operator", "notes: got user 'operator', expected no user: everybody sees what is in it."),
        ("own", "", "own: got user '', expected whose documents these are."),
        ("own", "../x", r"user '\.\./x': expected letters, digits"),
    ],
)
def test_a_collection_or_user_that_cannot_be_is_an_error(store, embedders, folder, collection, user, said) -> None:
    with pytest.raises(ParameterError, match=said):
        take_in([folder], collection, SETTINGS, store, embedders, user)


def test_a_path_that_is_not_there_leaves_the_store_as_it_was(store, embedders, folder) -> None:
    with pytest.raises(InputError):
        take_in([folder, folder / "none"], "notes", SETTINGS, store, embedders)

    assert store.collections() == {}


def test_an_embedder_that_fails_in_the_middle_is_gone_on_with(store, embedders, embedder, folder) -> None:
    plain, said = embedder.embed, []

    def failing(texts: Sequence[str]) -> Vectors:
        if embedder.calls == 1:
            raise StepFailed("the server is down.")
        return plain(texts)

    embedder.embed = failing  # type: ignore[method-assign]
    with pytest.raises(StepFailed):
        take_in([folder], "notes", SETTINGS, store, embedders, say=said.append)
    embedder.embed = plain  # type: ignore[method-assign]
    done = take_in([folder], "notes", SETTINGS, store, embedders)

    assert said == ["stopped in the middle of 6 documents; the same command goes on from there."]
    assert (done.unchanged, done.documents, done.chunks) == (2, 4, 66 - BATCH)


@pytest.fixture(scope="module")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as server:
        yield server.url


@pytest.mark.parametrize("kind", ["duckdb", "chroma"])
def test_a_killed_run_is_gone_on_with(kind: str, tmp_path: Path, folder: Path, request) -> None:
    """SIGKILL with the second of three batches embedded and not yet added.

    What is there in the end is what an undisturbed run gives, and nothing was embedded that was already there.
    """
    url = request.getfixturevalue("chroma_url") if kind == "chroma" else ""
    settings = StoreSettings(kind, str(tmp_path / "killed.duckdb"), url)
    killed_at_call(2, settings, folder)
    embedder = Listening()
    store = open_store(settings)
    there = {str(chunk["text"]) for chunk in content(store).values()}
    done = take_in([folder], "notes", SETTINGS, store, {"small": embedder})

    assert len(there) == BATCH
    assert (done.unchanged, done.documents, done.chunks) == (2, 4, 66 - BATCH)
    assert there.isdisjoint(embedder.texts)
    assert content(store) == undisturbed(tmp_path, folder)
    store.close()


def test_a_run_that_is_killed_while_it_replaces_is_gone_on_with(store, embedders, embedder, folder, tmp_path) -> None:
    """SIGKILL when the old form of a document has been taken out and the new one is not yet in."""
    take_in([folder], "notes", SETTINGS, store, embedders)
    store.close()
    embedder.texts.clear()
    write(folder / "5.md", "another")
    settings = StoreSettings(path=str(tmp_path / "kept.duckdb"))
    killed_at_call(1, settings, folder)
    again = open_store(settings)
    done = take_in([folder], "notes", SETTINGS, again, embedders)

    assert (done.unchanged, done.documents, len(embedder.texts)) == (5, 1, 11)
    assert content(again) == undisturbed(tmp_path, folder)
    again.close()


def killed_at_call(stop: int, settings: StoreSettings, folder: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, settings.kind, settings.path, settings.url, str(folder), str(stop)]
    tests = Path(__file__).resolve().parents[1]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tests) as child:
        assert child.stdout
        assert child.stdout.readline() == "standing\n"
        child.kill()


def undisturbed(tmp_path: Path, folder: Path) -> dict[str, dict[str, object]]:
    store = open_store(StoreSettings(path=str(tmp_path / "undisturbed.duckdb")))
    take_in([folder], "notes", SETTINGS, store, {"small": Listening()})
    found = content(store)
    store.close()
    return found
