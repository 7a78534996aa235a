"""`warmstall rag take-in|ask|search|show`: the reference path from a terminal."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import InputError

if TYPE_CHECKING:
    from .rag.parts import Embedder, VectorStore
    from .rag.records import Hit
    from .rag.settings import RagSettings
    from .rag.step_times import StepTimes

_INTERRUPTED = 130

rag_app = typer.Typer(
    no_args_is_help=True, help="The reference path: documents taken in, questions answered from them, every step timed."
)

_Settings = Annotated[Path | None, typer.Option(help="The path's parts, as TOML; see docs/rag.md.")]
_Lexical = Annotated[bool, typer.Option("--lexical", help="Hashed words in place of embedding models; needs none.")]
_Store = Annotated[Path | None, typer.Option(help="File of the store; without it the settings', or the user's own.")]
_Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
_User = Annotated[str, typer.Option(help="Whose conversations; the other collections are everybody's.")]
_Question = Annotated[str, typer.Argument(help="In plain words.")]


@rag_app.command("take-in")
def take_in_documents(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: txt, md, html, pdf.")],
    collection: Annotated[str, typer.Option(help="Where they go, as `rag show` names it.")] = "documentation",
    user: _User = "",
    settings: _Settings = None,
    lexical: _Lexical = False,
    store: _Store = None,
    as_json: _Json = False,
) -> None:
    """Take documents into the store. Run it again after a stop or a change: what is there already is left alone."""
    from .rag.documents.taking_in import take_in

    with _opened(settings, lexical, store) as (chosen, kept, embedders, _):
        try:
            done = take_in(paths, collection, chosen, kept, embedders, user, _say)
        except KeyboardInterrupt:
            print("warmstall: stopped; the same command goes on where this one was.", file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from None
    _print(json.dumps(asdict(done), indent=1, ensure_ascii=False) if as_json else str(done))
    if not done.documents and not done.unchanged:
        raise typer.Exit(2)


@rag_app.command("ask")
def ask(
    question: _Question,
    user: _User = "",
    settings: _Settings = None,
    lexical: _Lexical = False,
    store: _Store = None,
    as_json: _Json = False,
) -> None:
    """Answer a question from the documents, with its sources, their relevance, and what each step took."""
    from .rag.answering import RagPath
    from .rag.step_times import StepTimes
    from .rag.tracing import tracer_to

    _quiet_logs()
    chosen, times = _chosen(settings, lexical, store), StepTimes()
    with RagPath(chosen, tracer_to(times)) as path:
        path.settings, empty = _ready(chosen, path.store, path.embedders)
        times.forget()
        answer = path.ask(question, user)
        labels = _labels(chosen, path.embedders)
    if as_json:
        told = {
            "question": question, "answer": answer.text, "sources": _rows(answer.hits, answer.cited),
            "cited": answer.cited, "unfounded": answer.unfounded, "model": path.inference.model, "embedders": labels,
            "empty_collections": empty, "steps": times.as_json(), "wall_s": answer.wall_s,
            "ttft_s": answer.generated.ttft_s, "attempts": answer.generated.attempts, "notes": answer.generated.notes,
        }  # fmt: skip
        _print(json.dumps(told, indent=1, ensure_ascii=False))
        return
    _print(answer.text.strip() + "\n")
    _print("Sources:" if answer.hits else "Sources: none; nothing was near enough to the question.")
    for number, hit in enumerate(answer.hits, 1):
        _print(f"  [{number}] {_attribution(hit)}{'' if number in answer.cited else ' · not cited'}")
    if answer.unfounded:
        _print(f"Cited without being a source: {', '.join(f'[{number}]' for number in answer.unfounded)}.")
    _print("\n" + _footer(labels, empty, times, answer.wall_s, answer.generated.notes))


@rag_app.command("search")
def search(
    question: _Question,
    user: _User = "",
    settings: _Settings = None,
    lexical: _Lexical = False,
    store: _Store = None,
    as_json: _Json = False,
) -> None:
    """Only find what is near a question, without asking a model; with --lexical it needs no server at all."""
    from .rag.retrieval import retrieve
    from .rag.tracing import tracer_to

    if not question.strip():
        raise InputError("The question is empty; expected some words.")
    with _opened(settings, lexical, store) as (chosen, kept, embedders, times):
        there, empty = _ready(chosen, kept, embedders)
        times.forget()
        hits = retrieve(question, there, embedders, kept, tracer_to(times), user)
        labels = _labels(chosen, embedders)
    if as_json:
        told = {
            "question": question, "sources": _rows(hits), "embedders": labels, "empty_collections": empty,
            "steps": times.as_json(),
        }  # fmt: skip
        _print(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for number, hit in enumerate(hits, 1):
        text = textwrap.fill(" ".join(hit.chunk.text.split()), 110, initial_indent="    ", subsequent_indent="    ")
        _print(f"[{number}] {_attribution(hit)}\n{text}\n")
    if not hits:
        _print("Nothing was found: no text is near enough to this question.\n")
    _print(_footer(labels, empty, times, times.total_s()))


@rag_app.command("show")
def show(settings: _Settings = None, lexical: _Lexical = False, store: _Store = None, as_json: _Json = False) -> None:
    """Tell what has been taken in: collections, their documents and chunks, and who embedded them."""
    with _opened(settings, lexical, store) as (chosen, kept, embedders, _):
        labels, there = _labels(chosen, embedders), kept.collections()
        rows = [
            {
                "collection": one.name, "documents": len(kept.sources(one.name)) if one.name in there else 0,
                "chunks": there.get(one.name, 0), "per_user": one.per_user, "embedder": labels[one.embedder],
            }
            for one in chosen.collections
        ]  # fmt: skip
    where = chosen.store.url if chosen.store.kind == "chroma" else str(chosen.store.file())
    if as_json:
        _print(json.dumps({"store": where, "kind": chosen.store.kind, "collections": rows}, indent=1))
        return
    _print(f"{chosen.store.kind} at {where}")
    _print(f"{'collection':16}{'documents':>10}{'chunks':>8}  embedder")
    for row in rows:
        own = ", each user's own" if row["per_user"] else ""
        _print(f"{row['collection']:16}{row['documents']:>10}{row['chunks']:>8}  {row['embedder']}{own}")
    if not any(there.values()):
        _print("Nothing has been taken in yet; the first question takes in what ships with warmstall.")


def _chosen(settings: Path | None, lexical: bool, store: Path | None) -> RagSettings:
    from .rag.settings import RagSettings, StoreSettings, read_settings

    chosen = read_settings(settings) if settings else RagSettings()
    if lexical:
        # Vectors of words and of a model cannot lie in one collection.
        own = StoreSettings().file().with_name("knowledge-lexical.duckdb")
        chosen = replace(chosen.lexical(), store=StoreSettings(path=str(own)))
    return replace(chosen, store=StoreSettings(path=str(store))) if store else chosen


@contextmanager
def _opened(
    settings: Path | None, lexical: bool, store: Path | None
) -> Iterator[tuple[RagSettings, VectorStore, Mapping[str, Embedder], StepTimes]]:
    from .rag.answering import LazyEmbedders
    from .rag.step_times import StepTimes
    from .rag.stores.opening import open_store
    from .rag.tracing import tracer_to

    _quiet_logs()
    chosen, times = _chosen(settings, lexical, store), StepTimes()
    kept = open_store(chosen.store)
    try:
        yield chosen, kept, LazyEmbedders(chosen.embedders, tracer_to(times)), times
    finally:
        kept.close()


def _ready(
    settings: RagSettings, store: VectorStore, embedders: Mapping[str, Embedder]
) -> tuple[RagSettings, list[str]]:  # fmt: skip
    """Take in what ships where no other documents are; else nothing is made in a store that is only asked.

    Returns the settings of the collections that are there, and the names of those that are empty or not there.
    """
    from .rag.documents.knowledge import only_knowledge
    from .rag.documents.taking_in import take_in_knowledge

    there = store.collections()
    for one in settings.collections:
        if one.name in there:
            store.check(one.name, embedders[one.embedder])
    if only_knowledge(settings, store):
        done = take_in_knowledge(settings, store, embedders, _say)
        if done.documents:
            print(f"No documents of yours are in the store; what ships with warmstall: {done}", file=sys.stderr)
        there = store.collections()
    known = tuple(one for one in settings.collections if one.name in there)
    return replace(settings, collections=known), [one.name for one in settings.collections if not there.get(one.name)]


def _labels(settings: RagSettings, embedders: Mapping[str, Embedder]) -> dict[str, str]:
    return {name: embedders[name].name for name in settings.embedder_names}


def _rows(hits: Sequence[Hit], cited: Sequence[int] = ()) -> list[dict[str, object]]:
    return [
        {
            "number": number, "source": hit.chunk.source, "place": hit.chunk.place, "collection": hit.collection,
            "relevance": round(hit.relevance, 4), "cited": number in cited, "text": hit.chunk.text,
        }
        for number, hit in enumerate(hits, 1)
    ]  # fmt: skip


def _attribution(hit: Hit) -> str:
    place = f", {hit.chunk.place}" if hit.chunk.place else ""
    return f"{hit.relevance:.2f} {hit.collection}: {hit.chunk.source}{place}"


def _footer(
    labels: Mapping[str, str], empty: Sequence[str], times: StepTimes, wall_s: float, notes: Sequence[str] = ()
) -> str:
    told = [*notes, f"Embedded by {'; '.join(dict.fromkeys(labels.values()))}."]
    told += [f"Nothing has been taken into {', '.join(empty)}."] if empty else []
    return "\n".join([*told, f"Took {wall_s:.2f} s: {times}."])


def _quiet_logs() -> None:
    """What fails is told once, in one sentence, by whoever called the command: not as a traceback as well."""
    logging.getLogger("warmstall.rag").addHandler(logging.NullHandler())
    logging.getLogger("warmstall.rag").propagate = False


def _print(text: str) -> None:
    from .parse.plain_text import printable_lines

    print(printable_lines(text))


def _say(text: str) -> None:
    if sys.stderr.isatty():
        from .parse.plain_text import printable_lines

        print(printable_lines(text), file=sys.stderr)
