"""`warmstall reproduce`: a load from a terminal; thin, because notebooks/reproduce.ipynb shows what is done."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .errors import InputError
from .parse.plain_text import printable, printable_lines

if TYPE_CHECKING:
    from .reproduce.wanted import Wanted

_INTERRUPTED = 130
_CALLS = 20
_LIST = "list"


def reproduce(
    case: Annotated[Path, typer.Argument(help="Folder of the case to be written or gone on with.")] = Path(
        "warmstall-reproduced"
    ),
    profile: Annotated[
        str, typer.Option(help="sequential, concurrency, rate, ramp, sweep, soak or replay; see docs/reproduce.md.")
    ] = "sequential",
    calls: Annotated[
        int | None, typer.Option(min=0, help="At most so many; of a sweep, for each level. 0: as many as fit.")
    ] = None,
    seconds: Annotated[str, typer.Option("--for", help="At most so long, as 30s or 10m.")] = "",
    clients: Annotated[int, typer.Option(help="Of concurrency: who send one after another, side by side.")] = 4,
    rate: Annotated[float, typer.Option(help="Calls a second, whoever still waits; of a ramp, at first.")] = 1.0,
    to_rate: Annotated[float, typer.Option(help="Of a ramp: calls a second at the end.")] = 10.0,
    levels: Annotated[str, typer.Option(help="Of a sweep: numbers of clients.")] = "1,2,4,8",
    table: Annotated[str, typer.Option(help="Of a replay: a table of trials, a log, or a case.")] = "",
    pace: Annotated[float, typer.Option(help="Of a replay: how many times as fast.")] = 1.0,
    warm_up: Annotated[int, typer.Option(help="Calls before the load that are told apart.")] = 1,
    seed: Annotated[int, typer.Option(help="Another one asks other things.")] = 1,
    target: Annotated[str, typer.Option(help="A server's address, or drill; else OLLAMA_HOST, else a drill.")] = "",
    model: Annotated[str, typer.Option(help="Without one: the smallest that writes text.")] = "",
    what: Annotated[str, typer.Option(help="question (the whole path), call (a model alone) or embed.")] = "call",
    settings: Annotated[Path | None, typer.Option(help="The path's parts, as TOML; see docs/rag.md.")] = None,
    lexical: Annotated[bool, typer.Option("--lexical", help="Hashed words in place of embedding models.")] = False,
    prompt_tokens: Annotated[int, typer.Option(help="About so many, of call and embed.")] = 100,
    output_tokens: Annotated[int, typer.Option(help="At most so many are written.")] = 64,
    questions: Annotated[str, typer.Option(help="A file with one question a line.")] = "",
    user: Annotated[str, typer.Option(help="Whose conversations a question may find.")] = "",
    every: Annotated[str, typer.Option(help="Time from one sample of the host to the next.")] = "2s",
    collect: Annotated[bool, typer.Option("--collect", help="Capture this host at the end, as collect does.")] = False,
    log: Annotated[list[str] | None, typer.Option(help="A log of the server, copied into the case.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Do not redact this kind; see docs/redaction.md.")] = None,
    experiment: Annotated[
        str, typer.Option(help="In place of a load, compare what this one compares; list names them all.")
    ] = "",
    second_target: Annotated[str, typer.Option(help="Of an experiment with two servers: the other one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Send a described load through the path, sample the host meanwhile, and leave a case; Ctrl-C ends it well."""
    from .rag.settings import RagSettings, read_settings
    from .reproduce.profiles import OPEN
    from .reproduce.records import Profile
    from .reproduce.wanted import Wanted

    if experiment == _LIST:
        _list_experiments(as_json)
        return
    if experiment and (collect or profile != "sequential"):
        given = "--collect" if collect else f"--profile {profile}"
        raise InputError(
            f"--experiment {experiment} with {given}: an experiment has a load of its own and collects nothing; leave "
            f"{given.split()[0]} out."
        )
    if calls is None:  # a time that is given is the bound then, and so is a table
        calls = 0 if profile in ("soak", "replay") or (profile in OPEN and seconds) else _CALLS
    load = Profile(
        profile, calls, _seconds(seconds or "5m", "--for"), clients, rate, to_rate, _levels(levels), table, pace,  # type: ignore[arg-type]
        warm_up, seed,
    )  # fmt: skip
    wanted = Wanted(
        case, load, target, model, what, read_settings(settings) if settings else RagSettings(), lexical,  # type: ignore[arg-type]
        prompt_tokens, output_tokens, questions, user, _seconds(every, "--every"), collect, tuple(log or ()),
        tuple(keep or ()),
    )  # fmt: skip
    try:
        told, interrupted = _run(wanted, experiment, second_target)
    except KeyboardInterrupt:
        _interrupted(case)
    print(json.dumps(told.as_json(), indent=1, ensure_ascii=False) if as_json else printable_lines(str(told)))
    if interrupted:
        sys.stdout.flush()
        _interrupted(case)


def _run(wanted: Wanted, experiment: str, second_target: str) -> tuple[Any, bool]:
    """What came of it, and whether Ctrl-C ended it."""
    if experiment:
        from .reproduce.experiments.running import run_experiment

        with _bar("trial") as done:
            result = run_experiment(experiment, wanted, second_target, _say, done=done)
        return result, result.interrupted
    from .reproduce.run import reproduce as run

    with _bar("call") as done:
        reproduced = run(wanted, _say, done=done)
    return reproduced, reproduced.interrupted


def _list_experiments(as_json: bool) -> None:
    from .reproduce.experiments.catalogue import EXPERIMENTS

    asks = {one.name: one.question for one in EXPERIMENTS.values()}
    width = max(map(len, asks))
    print(json.dumps(asks, indent=1) if as_json else "\n".join(f"{name:<{width}}  {asks[name]}" for name in asks))


def _say(text: str) -> None:
    """Progress, on a terminal only: a pipe wants the answer and nothing else."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(printable(text), file=sys.stderr)  # above a bar


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """What is told how many are done, and of how many; a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(unit=unit, disable=None, leave=False, file=sys.stderr) as bar:

        def done(count: int, of: int) -> None:
            bar.total = of
            bar.update(count - bar.n)

        yield done


def _interrupted(case: Path) -> NoReturn:
    shown = printable(shlex.quote(str(case)))
    print(
        f"warmstall: interrupted; what was measured is in {shown}, and the same command goes on with it.",
        file=sys.stderr,
    )
    sys.exit(_INTERRUPTED)


def _seconds(text: str, option: str) -> float:
    from .parse.go_values import duration_s

    seconds = duration_s(text)
    if not seconds or seconds <= 0:
        raise InputError(f"{option} {text}: expected a duration such as 5s, 10m or 24h.")
    return seconds


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--levels {text}: expected numbers of clients such as 1,2,4,8.") from None
