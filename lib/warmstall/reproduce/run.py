"""One reproduction from beginning to end: target, parts, case, load, and what is left of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..rag.settings import RagSettings
from .case import ReproductionCase
from .driving import Driven, Record, drive
from .profiles import arrivals_of, remaining
from .records import Arrival, Measurement
from .senders import (
    Inferences,
    Questions,
    Sender,
    asked_in_turn,
    call_sender,
    embed_sender,
    question_sender,
    questions_of,
    word_prompts,
    word_texts,
)
from .summary import Reproduced, reproduced
from .targets import Target, answers, open_target, pick_model, settings_for
from .wanted import Wanted, embedder_of

__all__ = ["Reproduced", "Wanted", "reproduce"]

Say = Callable[[str], None]


def reproduce(
    wanted: Wanted, say: Say = lambda text: None, stop: threading.Event | None = None,
    done: Callable[[int, int], None] = lambda done, of: None,
) -> Reproduced:  # fmt: skip
    """Send the load that is wanted and leave a case; the same plan in the same folder is gone on with.

    `done` is told after each call how many of those that were left have ended, and how many these are.
    Ctrl-C ends it well: what was measured is there, and `interrupted` is set. Raises ParameterError and InputError for
    what cannot be, OutputError for the folder, StepFailed where the target or a part does not answer at the beginning.
    """
    wanted.check()
    planned = sum(arrival.phase == "measured" for arrival in arrivals_of(wanted.profile))
    notes: list[str] = []

    def tell(text: str) -> None:
        notes.append(text[:1].upper() + text[1:] + ".")
        say(text)

    with ReproductionCase(wanted.case, wanted.plan(), wanted.keep) as case, ExitStack() as opened:
        before = case.measurements.numbers()
        target, model, driven = Target(""), "", Driven()
        if left := planned - sum(number > 0 for number in before):
            say(f"{left} call{'s' * (left > 1)}" + (f"; measured before: {planned - left}" if before else ""))
            address = wanted.target or wanted.settings.inference.url
            target = opened.enter_context(open_target(address, case.scratch, tell, **wanted.drill))
            settings, model = _settings(wanted, target, case)
            arrivals = remaining(arrivals_of(wanted.profile), before)
            record = _recorder(case, left, done)
            driven = _load(wanted, settings, target, case, arrivals, record, tell, say, stop)
            for path in (*filter(None, (target.log,)), *map(Path, wanted.logs)):
                case.add_log(path)
        else:
            tell("all calls of this plan were measured before; nothing was sent")
        rows = case.measurements.read()
        whole = reproduced(wanted.case, _named(target), wanted.what, model, planned, driven, rows, len(before))
        if left:
            facts = {"target": target.url, "drill": target.is_drill, "model": model, "what": wanted.what}
            case.note({"reproduce": facts | {"bottleneck": driven.bottleneck, "missing": whole.missing}})
        say("looking whether a secret is left in the case …")
        case.close()
        if wanted.collect and left and not whole.interrupted:
            _collect(wanted, target, tell)
    if not whole.missing:
        case.forget_scratch()
    return replace(whole, notes=tuple(notes))


def _named(target: Target) -> str:
    return f"a drill at {target.url}" if target.is_drill else target.url


def _settings(wanted: Wanted, target: Target, case: ReproductionCase) -> tuple[RagSettings, str]:
    """The settings for this target, and the model that writes; empty where none does."""
    answers(target)
    settings = settings_for(wanted.settings, target, wanted.model, wanted.lexical)
    if wanted.what == "embed":
        return settings, embedder_of(settings, wanted.model).model
    if settings.inference.kind == "ollama" and not settings.inference.model:
        settings = settings_for(settings, target, pick_model(target))
    limit = "num_predict" if settings.inference.kind == "ollama" else "max_tokens"
    options = {limit: wanted.output_tokens, **settings.inference.options}
    settings = replace(settings, inference=replace(settings.inference, options=options))
    if settings.store.kind == "duckdb" and not settings.store.path and (target.is_drill or wanted.lexical):
        # A drill's vectors have no place among the user's own.
        settings = replace(settings, store=replace(settings.store, path=str(case.scratch / "knowledge.duckdb")))
    return settings, settings.inference.model


def _recorder(case: ReproductionCase, left: int, done: Callable[[int, int], None]) -> Record:
    """Writes each measurement, and then tells how many there are; one after another, whoever sends."""
    ended, lock = 0, threading.Lock()

    def record(row: Measurement) -> None:
        nonlocal ended
        case.measurements.append(row)
        if row.phase == "measured":
            with lock:
                ended += 1
                done(ended, left)

    return record


def _load(
    wanted: Wanted, settings: RagSettings, target: Target, case: ReproductionCase, arrivals: Iterator[Arrival],
    record: Record, tell: Say, say: Say, stop: threading.Event | None,
) -> Driven:  # fmt: skip
    watched = case.watched(target.port, wanted.watch_every_s) if target.is_local else nullcontext()
    if not target.is_local:
        tell(f"{target.url} is on another machine, which was not watched; run there: warmstall watch")
    with _sender(wanted, settings, case, tell) as send, watched:
        return drive(
            arrivals, send, record, wanted.profile.seconds, stop or threading.Event(), say=say,
            hung_s=_attempt_s(wanted, settings),
        )  # fmt: skip


def _attempt_s(wanted: Wanted, settings: RagSettings) -> float:
    """How long an attempt may take before the server has failed it."""
    if wanted.what == "embed":
        return embedder_of(settings, wanted.model).timeout_s
    return settings.path.attempt_timeout_s


@contextmanager
def _sender(wanted: Wanted, settings: RagSettings, case: ReproductionCase, tell: Say) -> Iterator[Sender]:
    """What sends a call; everything that can be refused before the load begins is."""
    seed, tracer = wanted.profile.seed, case.trace()
    if wanted.what == "call":
        inferences = Inferences(settings.inference, settings.path.temperature, bool(wanted.model))
        inferences.of(Arrival(0))
        yield call_sender(inferences, settings.path, tracer, word_prompts(seed, wanted.prompt_tokens))
    elif wanted.what == "embed":
        from ..rag.embedders.opening import open_embedder

        embedder = open_embedder(embedder_of(settings, wanted.model))
        yield embed_sender(embedder, tracer, word_texts(seed, wanted.prompt_tokens))
    else:
        from ..rag.answering import RagPath
        from ..rag.documents.taking_in import take_in_knowledge

        case.scratch.mkdir(parents=True, exist_ok=True)
        with RagPath(settings, tracer) as path:
            if not any(path.store.collections().values()):
                tell("the store is empty: the knowledge that ships is taken in")
                take_in_knowledge(settings, path.store, path.embedders)
            yield question_sender(path, _questions(wanted), wanted.user)


def _questions(wanted: Wanted) -> Questions:
    if not wanted.questions:
        from ..rag.documents.knowledge import knowledge_folder

        return asked_in_turn(questions_of(knowledge_folder() / "faq"), wanted.profile.seed)
    lines = Path(wanted.questions).read_text(encoding="utf-8", errors="replace").splitlines()
    if not (asked := [line.strip() for line in lines if line.strip()]):
        raise InputError(f"{wanted.questions}: holds no questions; expected one a line.")
    return asked_in_turn(asked, wanted.profile.seed)


def _collect(wanted: Wanted, target: Target, tell: Say) -> None:
    if not target.is_local:
        tell(f"{target.url} is on another machine, which was not collected; run there: warmstall collect")
        return
    from ..collect.collection import Wanted as ToCollect
    from ..collect.run import collect
    from ..host import LocalHost

    collected = collect(LocalHost(), wanted.case, ToCollect(port=target.port, hours=1.0), wanted.keep)
    tell(f"{len(collected.files)} files of this host were collected")
