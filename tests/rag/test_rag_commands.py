"""`warmstall rag` from a terminal: on real stores, offline by hashed words, and against a drill server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from conftest import ROOT
from warmstall.drill.server_process import DrillServer
from warmstall.errors import InputError, ParameterError, StepFailed
from warmstall.rag.documents.knowledge import knowledge_folder
from warmstall.rag.embedders.opening import open_embedder
from warmstall.rag.settings import EmbedderSettings, PathSettings, read_settings
from warmstall.rag_commands import rag_app

from .scripted_server import chat, serving

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def run(state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with a state folder of its own; what a user is told of is raised, as `warmstall` catches it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))

    def run(*words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(rag_app, [str(word) for word in words])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


def test_search_works_without_any_server(run: Run) -> None:
    """The first question takes in what ships, and says so; the second finds it there. Hashed words are named so."""
    first = run("search", "--lexical", "Why is the first answer slow and the next one fast?")
    second = run("search", "--lexical", "Why is the first answer slow and the next one fast?")

    assert "faq: faq/first-answer-slow.md, Why is the first answer slow?" in first.stdout.splitlines()[0]
    assert "Embedded by hashed words (lexical: nothing is learned)." in first.stdout
    assert "what ships with warmstall: 45 documents taken in" in first.stderr
    assert second.stderr == ""
    assert second.stdout.splitlines()[:3] == first.stdout.splitlines()[:3]


def test_documents_of_ones_own_are_all_that_is_searched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("# Cooling\nThe pump of the cooling has a red valve.", encoding="utf-8")
    (tmp_path / "own.xlsx").write_bytes(b"PK")
    taken = run("take-in", tmp_path, "--lexical", "--collection", "faq")
    found = json.loads(run("search", "--lexical", "--json", "Which valve has the cooling pump?").stdout)
    again = json.loads(run("take-in", tmp_path / "own.md", "--lexical", "--collection", "faq", "--json").stdout)

    assert taken.stdout.startswith("1 document taken in as 1 chunk; 1 was left out:\n")
    assert [row["source"] for row in found["sources"]] == [f"{tmp_path.name}/own.md"]
    assert found["empty_collections"] == ["documentation", "conversations", "terms", "papers"]
    assert again["unchanged"] == 1


def test_show_counts_what_is_there(run: Run, state: Path) -> None:
    empty = run("show", "--lexical")
    run("take-in", knowledge_folder() / "faq", "--lexical", "--collection", "faq")
    told = json.loads(run("show", "--lexical", "--json").stdout)

    assert "Nothing has been taken in yet" in empty.stdout
    (faq,) = (row for row in told["collections"] if row["collection"] == "faq")
    assert (faq["documents"], faq["chunks"]) == (8, 23)
    assert "lexical" in faq["embedder"]
    assert told["store"] == str(state / "warmstall" / "knowledge-lexical.duckdb")


def test_what_is_found_cannot_steer_a_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.md").write_bytes(b"# Pump\x1b[31m\nThe \x1b]0;title\x07pump \xe2\x80\xae is red.")
    run("take-in", tmp_path, "--lexical")
    shown = run("search", "--lexical", "Is the pump red?").output

    assert "pump" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


def test_nothing_taken_in_is_no_success(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"no PDF")

    assert "a.pdf: damaged" in run("take-in", tmp_path, "--lexical", code=2).stdout


def test_what_a_user_can_put_right_is_one_sentence(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        run("take-in", tmp_path / "none", "--lexical")
    with pytest.raises(ParameterError, match="There is no collection 'notes'"):
        run("take-in", tmp_path, "--lexical", "--collection", "notes")
    with pytest.raises(InputError, match="The question is empty"):
        run("search", "--lexical", " ")
    (tmp_path / "rag.toml").write_text("[path]\ntopk = 3\n", encoding="utf-8")
    with pytest.raises(ParameterError, match="did you mean top_k"):
        run("search", "--settings", tmp_path / "rag.toml", "x")


def test_a_question_is_answered_with_its_sources_and_times(run: Run, drill: DrillServer, monkeypatch) -> None:
    """By the default settings: two embedding models of the server, five collections, and its smallest model."""
    monkeypatch.setenv("OLLAMA_HOST", drill.url)
    told = json.loads(run("ask", "--json", "Why is the first answer slow and the next one fast?").stdout)
    shown = run("ask", "Why is the first answer slow and the next one fast?").stdout

    assert told["answer"]
    assert told["sources"]
    assert {"small", "large"} == set(told["embedders"])
    assert not any("lexical" in label for label in told["embedders"].values())
    assert [row["step"] for row in told["steps"]][-5:] == ["search", "merge", "prompt", "generate", "cite"]
    # Once for each embedder; conversations are nobody's without a user, so four collections are searched.
    assert {row["step"]: row["times"] for row in told["steps"]}["embed"] == 2
    assert {row["step"]: row["times"] for row in told["steps"]}["search"] == 4
    assert "\nSources:\n  [1] " in shown
    assert "generate " in shown.splitlines()[-1]


def test_what_another_program_keeps_in_chroma_is_searched_and_nothing_is_made_there(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("chromadb")
    import chromadb

    from .chroma_server import chroma_server

    words = open_embedder(EmbedderSettings("lexical"))
    with chroma_server(tmp_path) as server:
        client = chromadb.HttpClient("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        own = client.create_collection("faq", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
        text = "The pump of the cooling has a red valve."
        own.add(ids=["1"], embeddings=words.embed([text]), documents=[text])
        settings = tmp_path / "rag.toml"
        embedders = "".join(f'[embedders.{name}]\nkind = "lexical"\n' for name in ("small", "large"))
        settings.write_text(f'{embedders}[store]\nkind = "chroma"\nurl = "{server.url}"\n', encoding="utf-8")
        found = json.loads(run("search", "--json", "--settings", settings, "Which valve has the cooling pump?").stdout)

        assert [row["text"] for row in found["sources"]] == [text]
        assert "faq" not in found["empty_collections"]
        assert [one.name for one in client.list_collections()] == ["faq"]


def test_vectors_of_another_embedder_are_not_searched(run: Run, tmp_path: Path, state: Path) -> None:
    (tmp_path / "own.md").write_text("A note.", encoding="utf-8")
    run("take-in", tmp_path / "own.md", "--lexical", "--store", state / "k.duckdb")
    with pytest.raises(StepFailed, match="holds vectors of hashed words"):
        run("search", "--store", state / "k.duckdb", "A note?")


def test_what_to_know_of_an_answer_is_told(run: Run, tmp_path: Path) -> None:
    answers = [chat("It is <think>not sure"), chat("It is <think>not sure")]
    with serving(*answers) as server:
        settings = tmp_path / "rag.toml"
        embedders = "".join(f'[embedders.{name}]\nkind = "lexical"\n' for name in ("small", "large"))
        store = f'[store]\npath = "{tmp_path}/k.duckdb"\n'
        settings.write_text(f'{embedders}{store}[inference]\nmodel = "m"\nurl = "{server.url}"\n', encoding="utf-8")
        shown = run("ask", "--settings", settings, "Why?").stdout
        told = json.loads(run("ask", "--json", "--settings", settings, "Why?").stdout)

    (note,) = told["notes"]
    assert "reasoning that was not closed" in note
    assert note in shown


def test_lexical_vectors_are_kept_apart_from_a_models(run, drill, monkeypatch, tmp_path, state) -> None:
    monkeypatch.setenv("OLLAMA_HOST", drill.url)
    (tmp_path / "own.md").write_text("A note.", encoding="utf-8")
    run("take-in", tmp_path / "own.md")
    run("take-in", tmp_path / "own.md", "--lexical")
    with pytest.raises(StepFailed):
        run("take-in", tmp_path / "own.md", "--lexical", "--store", state / "warmstall/knowledge.duckdb")


def test_a_server_that_is_down_is_told(run: Run, monkeypatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(StepFailed, match=r"127\.0\.0\.1:9"):
        run("ask", "Why?")


def test_the_settings_of_the_page_are_read_and_its_defaults_are_those_of_the_path(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "rag.md").read_text(encoding="utf-8")
    written = re.search(r"^```toml\n(.*?)^```", page, flags=re.M | re.S)
    assert written
    (tmp_path / "rag.toml").write_text(written[1], encoding="utf-8")
    settings = read_settings(tmp_path / "rag.toml")
    table = dict(re.findall(r"^\| `(\w+)` \| (\S+) \| .* \|$", page.split("`[path]`:")[1], flags=re.M))

    assert [one.name for one in settings.collections] == ["handbook", "conversations"]
    defaults = asdict(PathSettings())
    assert table == {name: str(default).lower() for name, default in defaults.items()}
