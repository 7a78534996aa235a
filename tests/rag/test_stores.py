"""The contract of a vector store, held by DuckDB and by a real Chroma server alike; and what is each one's own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pytest

from warmstall.errors import ParameterError, StepFailed
from warmstall.rag.parts import VectorStore
from warmstall.rag.records import Chunk
from warmstall.rag.settings import StoreSettings
from warmstall.rag.stores.opening import open_store

from .chroma_server import ChromaServer, chroma_server

_numbers = itertools.count()
HOSTILE = [
    "a'); DROP TABLE warmstall_collections; --", '"; DELETE FROM x', "../../etc/passwd", "with spaces", "né·日本語",
    "x" * 600, "a\x00b", "warmstall-faq", "{number}", "%s ? $1", "", "half \ud800 of a pair",
]  # fmt: skip


class Named:
    """An embedder as a store sees it: a name and a dimension."""

    provider = model = "named"
    lexical = False

    def __init__(self, name: str = "small", dimensions: int = 4) -> None:
        self.name, self.dimensions = name, dimensions

    def embed(self, texts: object) -> np.ndarray:
        raise AssertionError("a store embeds nothing")


SMALL = Named()


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


EAST, NORTH, NORTH_EAST = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    with chroma_server(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture(params=["duckdb", "chroma"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], VectorStore]:
    """Opens the same store again and again."""
    if request.param == "duckdb":
        return lambda: open_store(StoreSettings("duckdb", path=str(tmp_path / "kept.duckdb")))
    url = request.getfixturevalue("chroma").url
    return lambda: open_store(StoreSettings("chroma", url=url))


@pytest.fixture
def store(opened: Callable[[], VectorStore]) -> Iterator[VectorStore]:
    store = opened()
    yield store
    store.close()


@pytest.fixture
def faq(store: VectorStore) -> str:
    """A collection of its own for each test, of which some share a server."""
    name = f"faq {next(_numbers)}"
    store.create(name, SMALL)
    return name


def test_the_nearest_come_first_with_their_distance(store: VectorStore, faq: str) -> None:
    """Cosine distance, nearest first, every field of the chunk as it was given."""
    chunks = [Chunk("1", "north", "n.md", "top"), Chunk("2", "east", "e.md", "p. 2", "ann"), Chunk("3", "both", "b.md")]
    store.add(faq, chunks, rows(NORTH, EAST, NORTH_EAST))

    hits = store.search(faq, rows(EAST)[0], 2)

    assert [hit.chunk for hit in hits] == [chunks[1], chunks[2]]
    assert [hit.distance for hit in hits] == pytest.approx([0.0, 1 - 0.5**0.5], abs=1e-5)
    assert {hit.collection for hit in hits} == {faq}


def test_length_does_not_count(store: VectorStore, faq: str) -> None:
    """A vector ten times as long has the same direction."""
    store.add(faq, [Chunk("1", "far along", "a"), Chunk("2", "near", "b")], rows([10, 10, 0, 0], EAST))

    assert [hit.chunk.id for hit in store.search(faq, rows([5, 0, 0, 0])[0], 2)] == ["2", "1"]


def test_an_empty_collection_answers_with_nothing(store: VectorStore, faq: str) -> None:
    assert store.search(faq, rows(EAST)[0], 5) == []
    assert store.sources(faq) == {}
    assert store.collections()[faq] == 0


def test_an_id_given_again_replaces(store: VectorStore, faq: str) -> None:
    """Also twice in one call, where the later one stays; a search that went before does not keep the old one."""
    store.add(faq, [Chunk("1", "old", "a"), Chunk("2", "other", "b")], rows(NORTH, NORTH))
    assert store.search(faq, rows(NORTH)[0], 5)

    store.add(faq, [Chunk("1", "newer", "a"), Chunk("1", "newest", "a")], rows(NORTH, EAST))

    assert store.collections()[faq] == 2
    nearest = store.search(faq, rows(EAST)[0], 1)[0]
    assert (nearest.chunk.text, nearest.distance) == ("newest", pytest.approx(0.0, abs=1e-6))


def test_a_source_can_be_taken_out(store: VectorStore, faq: str) -> None:
    chunks = [Chunk("1", "one", "a.md"), Chunk("2", "two", "a.md"), Chunk("3", "three", "b'.md")]
    store.add(faq, chunks, rows(EAST, EAST, NORTH))
    assert store.sources(faq) == {"a.md": 2, "b'.md": 1}
    assert store.ids(faq, "a.md") == {"1", "2"}

    store.remove(faq, "a.md")
    store.remove(faq, "never there")

    assert store.sources(faq) == {"b'.md": 1}
    assert store.ids(faq, "a.md") == set()
    assert [hit.chunk.id for hit in store.search(faq, rows(EAST)[0], 5)] == ["3"]


def test_a_user_sees_only_their_own(store: VectorStore, faq: str) -> None:
    """The nearest of that user, though all the nearest are another's; nothing for one who has nothing."""
    others = [Chunk(f"o{n}", f"other {n}", "o", user="bob") for n in range(30)]
    store.add(faq, [*others, Chunk("mine", "mine", "m", user="ann' OR 1=1")], rows(*[EAST] * 30, NORTH))

    assert [hit.chunk.id for hit in store.search(faq, rows(EAST)[0], 5, "ann' OR 1=1")] == ["mine"]
    assert store.search(faq, rows(EAST)[0], 5, "eve") == []
    assert len(store.search(faq, rows(EAST)[0], 5)) == 5


def test_another_embedder_is_refused(store: VectorStore, faq: str) -> None:
    """By name or by dimension; the same one may come again."""
    store.create(faq, Named())
    with pytest.raises(StepFailed, match=r"holds vectors of small \(4 numbers\), not of large \(4\)"):
        store.create(faq, Named("large"))
    with pytest.raises(StepFailed, match=r"not of small \(8\)"):
        store.create(faq, Named(dimensions=8))


def test_a_missing_collection_names_those_that_are_there(store: VectorStore, faq: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.search("fqa", rows(EAST)[0], 5),
        lambda: store.add("fqa", [Chunk("1", "t", "s")], rows(EAST)),
        lambda: store.remove("fqa", "s"),
        lambda: store.sources("fqa"),
        lambda: store.ids("fqa", "s"),
    ]
    for call in calls:
        with pytest.raises(StepFailed, match=f"'fqa' is not there; there are .*{faq}"):
            call()
    assert "fqa" not in store.collections()


def test_a_wrong_dimension_is_refused(store: VectorStore, faq: str) -> None:
    with pytest.raises(StepFailed, match=r"vectors of 4 numbers, got 3"):
        store.search(faq, np.ones(3, np.float32), 5)
    with pytest.raises(StepFailed, match=r"vectors of 4 numbers, got 8"):
        store.add(faq, [Chunk("1", "t", "s")], np.ones((1, 8), np.float32))
    with pytest.raises(StepFailed, match="1 chunks and 2 vectors"):
        store.add(faq, [Chunk("1", "t", "s")], rows(EAST, EAST))
    assert store.collections()[faq] == 0


@pytest.mark.parametrize("wrong", [[np.nan, 1, 0, 0], [np.inf, 1, 0, 0], [0, 0, 0, 0]])
def test_what_has_no_direction_is_refused(store: VectorStore, faq: str, wrong: list[float]) -> None:
    """NaN, infinite numbers and zeros, added or searched; of a batch with one such vector nothing is kept."""
    with pytest.raises(StepFailed, match="no direction"):
        store.search(faq, rows(wrong)[0], 5)
    with pytest.raises(StepFailed, match="no direction"):
        store.add(faq, [Chunk("1", "t", "s"), Chunk("2", "t", "s")], rows(EAST, wrong))
    assert store.collections()[faq] == 0


def test_hostile_names_and_texts_are_only_names_and_texts(store: VectorStore) -> None:
    """A collection, a source, a user and a text may be called anything, and nothing else changes."""
    for name in HOSTILE:
        store.create(name, SMALL)
    for name in HOSTILE:
        store.add(name, [Chunk(f"id {name}", f"text {name}", name, name, name)], rows(EAST))
    for name in HOSTILE:
        (hit,) = store.search(name, rows(EAST)[0], 5, name)
        clean = name.replace("\ud800", "?")
        assert hit.chunk == Chunk(f"id {clean}", f"text {clean}", clean, clean, clean)
        assert hit.collection == name
        assert store.sources(name) == {clean: 1}
        store.remove(name, name)
        assert store.search(name, rows(EAST)[0], 5) == []
    assert {name.replace("\ud800", "?") for name in HOSTILE} <= set(store.collections())


def test_what_was_kept_is_there_when_it_is_opened_again(store: VectorStore, faq: str, opened) -> None:
    store.add(faq, [Chunk("1", "text", "s")], rows(EAST))
    store.close()
    again = opened()
    try:
        assert again.search(faq, rows(EAST)[0], 5)[0].chunk == Chunk("1", "text", "s")
        with pytest.raises(StepFailed, match="not of large"):
            again.create(faq, Named("large"))
    finally:
        again.close()


def test_threads_search_while_one_adds(store: VectorStore, faq: str) -> None:
    """Eight threads find what was there from the beginning, whatever is added and taken out meanwhile."""
    store.add(faq, [Chunk("fixed", "fixed", "fixed")], rows(EAST))
    begin = threading.Barrier(9)

    def search(_: int) -> list[str]:
        begin.wait(30)
        return [store.search(faq, rows(EAST)[0], 1)[0].chunk.id for _ in range(15)]

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(search, range(8))
        begin.wait(30)
        for number in range(5):
            store.add(faq, [Chunk(f"{number}", "text", "moving")], rows(NORTH))
            store.remove(faq, "moving")
        assert {one for thread in found for one in thread} == {"fixed"}


def test_several_thousand_chunks_are_searched_as_exactly_as_by_hand(store: VectorStore) -> None:
    """At 2,400 vectors of 384, near which the question lies, both stores find the eight nearest."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((40, 384))
    vectors = (centres[random.integers(0, 40, 2400)] + random.standard_normal((2400, 384))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    name = f"papers {next(_numbers)}"
    store.create(name, Named(dimensions=384))
    store.add(name, [Chunk(str(n), f"text {n}", f"{n % 3}.md") for n in range(2400)], vectors)
    assert store.sources(name) == {"0.md": 800, "1.md": 800, "2.md": 800}
    assert len(store.ids(name, "1.md")) == 800

    asked = vectors[100] + 0.01 * random.standard_normal(384).astype(np.float32)
    nearest = np.argsort(-(vectors @ asked))[:8]

    assert [hit.chunk.id for hit in store.search(name, asked, 8)] == [str(n) for n in nearest]


def test_a_store_of_another_kind_is_a_parameter_error() -> None:
    with pytest.raises(ParameterError, match="'faiss' is none of duckdb, chroma"):
        open_store(StoreSettings("faiss"))


# DuckDB alone.


def test_duckdb_tells_who_holds_the_file(tmp_path: Path) -> None:
    """Another process that has it open is named by its id, and what to do is said."""
    file = tmp_path / "kept.duckdb"
    program = f"import duckdb; held = duckdb.connect({str(file)!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(StepFailed, match=rf"open in another process \(PID {holder.pid}\).*Chroma"):
            open_store(StoreSettings(path=str(file)))
        holder.stdin.close()
    open_store(StoreSettings(path=str(file))).close()


def test_duckdb_opened_for_reading_is_searched_by_several_processes_and_changed_by_none(tmp_path: Path) -> None:
    settings = StoreSettings(path=str(tmp_path / "kept.duckdb"))
    store = open_store(settings)
    store.create("faq", SMALL)
    store.add("faq", [Chunk("1", "text", "s")], rows(EAST))
    store.close()
    reader = open_store(settings, read_only=True)
    program = (
        "import sys, numpy as np; from warmstall.rag.stores.opening import open_store; "
        "from warmstall.rag.settings import StoreSettings; store = open_store(StoreSettings(path=sys.argv[1]), True); "
        "print(store.search('faq', np.array([1, 0, 0, 0]), 1)[0].chunk.text)"
    )
    told = subprocess.run([sys.executable, "-c", program, settings.path], capture_output=True, text=True, check=True)
    assert told.stdout == "text\n"
    assert reader.search("faq", rows(EAST)[0], 1)
    with pytest.raises(StepFailed, match="for reading only"):
        reader.remove("faq", "s")
    reader.close()


def test_duckdb_says_what_is_no_file_of_its_own(tmp_path: Path) -> None:
    """Another format, a folder, nothing to read, a file that was opened otherwise, a store that was closed."""
    text = tmp_path / "text.duckdb"
    text.write_text("no database\n" * 500)
    with pytest.raises(StepFailed, match="not a valid DuckDB database file"):
        open_store(StoreSettings(path=str(text)))
    with pytest.raises(StepFailed, match=re.escape(str(tmp_path))):
        open_store(StoreSettings(path=str(tmp_path)))
    with pytest.raises(StepFailed, match="does not exist"):
        open_store(StoreSettings(path=str(tmp_path / "absent.duckdb")), read_only=True)
    store = open_store(StoreSettings(path=str(tmp_path / "kept.duckdb")))
    with pytest.raises(StepFailed, match="open in this process already"):
        open_store(StoreSettings(path=str(tmp_path / "kept.duckdb")), read_only=True)
    store.close()
    with pytest.raises(StepFailed, match="has been closed"):
        store.collections()


def test_duckdb_two_stores_of_one_file_see_each_others_changes(tmp_path: Path) -> None:
    """The matrix of a search is never older than the file."""
    settings = StoreSettings(path=str(tmp_path / "kept.duckdb"))
    one, other = open_store(settings), open_store(settings)
    one.create("faq", SMALL)
    assert other.search("faq", rows(EAST)[0], 5) == []
    one.add("faq", [Chunk("1", "text", "s")], rows(EAST))
    assert len(other.search("faq", rows(EAST)[0], 5)) == 1
    other.remove("faq", "s")
    assert one.search("faq", rows(EAST)[0], 5) == []
    one.close()
    other.close()


def test_duckdb_a_failed_change_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the old chunk was taken out brings it back."""
    store = open_store(StoreSettings(path=str(tmp_path / "kept.duckdb")))
    store.create("faq", SMALL)
    store.add("faq", [Chunk("1", "old", "s")], rows(EAST))

    def fail(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr("warmstall.rag.stores.duckdb_store._changed", fail)
    with pytest.raises(StepFailed, match="No space left"):
        store.add("faq", [Chunk("1", "new", "s")], rows(NORTH))
    assert [hit.chunk.text for hit in store.search("faq", rows(EAST)[0], 5)] == ["old"]
    store.close()


def _search_in_child(store: VectorStore, told: object) -> None:
    try:
        store.search("faq", rows(EAST)[0], 1)
    except StepFailed as error:
        told.put(str(error))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_store_does_not_survive_a_fork_and_says_so(store: VectorStore) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    child = context.Process(target=_search_in_child, args=(store, told))
    child.start()
    assert f"opened in process {os.getpid()}" in told.get(timeout=30)
    child.join(30)


# Chroma alone.


def test_chroma_that_is_down_fails_at_once_and_says_how_to_start_it(tmp_path: Path) -> None:
    """At the opening, and at every call after it was killed."""
    with chroma_server(tmp_path) as server:
        store = open_store(StoreSettings("chroma", url=server.url))
        store.create("faq", SMALL)
        store.add("faq", [Chunk("1", "text", "s")], rows(EAST))
        server.kill()
        calls: list[Callable[[], object]] = [
            lambda: store.search("faq", rows(EAST)[0], 1),
            lambda: store.add("faq", [Chunk("2", "text", "s")], rows(EAST)),
            store.collections,
            lambda: open_store(StoreSettings("chroma", url=server.url)),
        ]
        for call in calls:
            with pytest.raises(StepFailed, match=rf"{server.url} is down .*chroma run --path FOLDER --port \d+"):
                call()


def test_chroma_that_hangs_fails_when_the_deadline_comes(chroma: ChromaServer) -> None:
    """A server that takes the connection and says nothing, at the opening and in the middle."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(StepFailed, match=rf"no answer from Chroma at http://127.0.0.1:{port} within 0.3 s"):
            open_store(StoreSettings("chroma", url=f"http://127.0.0.1:{port}", timeout_s=0.3))
    store = open_store(StoreSettings("chroma", url=chroma.url))
    store.create("hanging", SMALL)
    store.timeout_s = 0.3
    chroma.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StepFailed, match=r"within 0\.3 s"):
            store.search("hanging", rows(EAST)[0], 1)
    finally:
        chroma.process.send_signal(signal.SIGCONT)
    store.timeout_s = 20.0
    assert store.search("hanging", rows(EAST)[0], 1) == []
    store.close()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1:eight"])
def test_chroma_needs_an_address(url: str) -> None:
    with pytest.raises(StepFailed, match="is no address of a Chroma server"):
        open_store(StoreSettings("chroma", url=url))


def test_chroma_of_another_program_is_searched_where_its_distances_are_cosine(chroma: ChromaServer) -> None:
    """A user's own collection needs no name of an embedder; one with other distances is refused."""
    import chromadb

    client = chromadb.HttpClient("127.0.0.1", int(chroma.url.rsplit(":", 1)[1]))
    own = client.create_collection("own", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    own.add(ids=["1"], embeddings=rows(EAST), documents=["a text"])
    client.create_collection("squared", configuration={"hnsw": {"space": "l2"}}, embedding_function=None)
    store = open_store(StoreSettings("chroma", url=chroma.url))

    assert store.search("own", rows(EAST)[0], 5)[0].chunk == Chunk("1", "a text", "1")
    with pytest.raises(StepFailed, match="measures distances as l2, expected cosine"):
        store.search("squared", rows(EAST)[0], 5)
    with pytest.raises(StepFailed, match="an embedder that it does not name"):
        store.create("own", SMALL)
    store.check("own", SMALL)
    assert store.sources("own") == {"": 1}

    client.delete_collection("own")
    client.create_collection("own", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    assert store.search("own", rows(EAST)[0], 5) == []
    store.close()


def test_a_proxy_of_the_environment_is_not_asked_for_chroma(
    chroma: ChromaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    monkeypatch.setenv("no_proxy", "")
    store = open_store(StoreSettings("chroma", url=chroma.url))
    assert isinstance(store.collections(), dict)
    store.close()


def test_chroma_that_is_not_installed_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chromadb", None)
    with pytest.raises(StepFailed, match=r"pip install 'warmstall\[chroma\]'"):
        open_store(StoreSettings("chroma"))


def test_no_store_is_imported_before_it_is_opened() -> None:
    program = "import sys, warmstall.rag.stores.opening; print('chromadb' in sys.modules, 'duckdb' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "False False\n"


def test_a_password_in_the_address_of_chroma_is_refused_and_not_told() -> None:
    with pytest.raises(ParameterError, match="names a user or a password") as raised:
        open_store(StoreSettings("chroma", url="http://ann:hushed@127.0.0.1:9"))
    assert "hushed" not in str(raised.value)
