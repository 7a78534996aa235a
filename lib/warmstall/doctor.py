"""`warmstall doctor`: can this machine be observed, and may a long run begin?

Every collector is tried as `warmstall collect` would, and nothing of what it finds is kept. With `--run-plan` the
preflight follows. Only reads.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .errors import InputError
from .parse.plain_text import printable

if TYPE_CHECKING:
    from .host import Host

# Without these a case says little: what the server did, who was there, and what memory did.
ESSENTIAL = ("processes", "server logs", "memory")
_HOURS = 0.25
_MOST_LOG_BYTES = 256 * 1024
_GRACE_S = 1.0


@dataclass(frozen=True)
class Ability:
    """What one collector captured here, and why not the rest."""

    collector: str
    state: Literal["works", "in part", "nothing"]
    captured: tuple[str, ...]
    reasons: tuple[str, ...]


def abilities(host: Host, port: int = 0, unit: str = "ollama.service") -> list[Ability]:
    """What each collector can capture on a host; all of them run, side by side, each with its deadline."""
    from .collect import processes
    from .collect.collection import Collection, Collector, Wanted
    from .collect.run import COLLECTORS

    wanted = Wanted(unit, _HOURS, port, most_log_bytes=_MOST_LOG_BYTES)
    collection = Collection(host, wanted)

    def attempt(name: str, module: Any) -> None:
        desk = Collector(name, collection, module.DEADLINE_S)
        try:
            module.collect(desk)
        except Exception as error:  # one collector's trouble is its own
            desk.note("all of it", "", "failed", f"{type(error).__name__}: {error}")

    attempt("processes", processes)  # first, because the others ask who is there
    waiting = []
    for name, module in COLLECTORS.items():
        thread = threading.Thread(target=attempt, args=(name, module), daemon=True)
        thread.start()
        waiting.append((thread, time.monotonic() + module.DEADLINE_S + _GRACE_S))
    for thread, ends in waiting:
        thread.join(max(0.0, ends - time.monotonic()))
    return [_ability(name, collection) for name in ("processes", *COLLECTORS)]


def _ability(name: str, collection: Any) -> Ability:
    steps = [step for step in list(collection.steps) if step.collector == name]
    captured = tuple(dict.fromkeys(step.file for step in steps if step.file))
    reasons = tuple(dict.fromkeys(f"{step.step}: {step.reason}" for step in steps if step.reason))
    if not steps:
        reasons = ("there is nothing of it here, or it did not come back in time",)
    return Ability(name, "nothing" if not captured else "in part" if reasons else "works", captured, reasons)


def doctor(
    run_plan: Annotated[
        int, typer.Option("--run-plan", min=0, help="May a run of so many requests to --model begin?")
    ] = 0,
    model: Annotated[str, typer.Option(help="The model of that run.")] = "",
    prompt_tokens: Annotated[int, typer.Option(min=0, help="Tokens of its longest prompt.")] = 0,
    answer_tokens: Annotated[int, typer.Option(min=0, help="Tokens of its longest answer.")] = 0,
    target: Annotated[str, typer.Option(help="local, ssh://user@box[:port], or recorded:NAME.")] = "local",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0 for Ollama's usual one.")] = 0,
    unit: Annotated[str, typer.Option(help="The systemd unit of the server.")] = "ollama.service",
    folder: Annotated[Path, typer.Option(help="Where the run's records will lie.")] = Path(),
    ssh_option: Annotated[
        list[str] | None, typer.Option("--ssh-option", help="Passed to ssh, as -oIdentityFile=KEY.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say what can be collected here and, with --run-plan, whether a long run may begin. Only reads.

    Exit code 0: yes; 1: no; 3: cannot tell.
    """
    from .preflight import preflight
    from .remediate.target import open_target

    if bool(run_plan) != bool(model):
        raise InputError("A plan is --run-plan N together with --model MODEL.")
    opened = open_target(target, port, unit, ssh_options=tuple(ssh_option or ()))
    try:
        able = abilities(opened.host, port, unit) if not opened.recording else []
        planned = preflight(opened, run_plan, model, prompt_tokens, answer_tokens, folder=folder) if run_plan else None
    finally:
        opened.close()
    missing = [one.collector for one in able if one.collector in ESSENTIAL and one.state == "nothing"]
    if as_json:
        told = {"collectors": [asdict(one) for one in able], "missing": missing,
                "preflight": planned.as_json() if planned else None}  # fmt: skip
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print("\n".join([*_lines(able, missing), *([str(planned)] if planned else [])]))
    code = planned.exit_code if planned else int(bool(missing))
    if code:
        raise typer.Exit(code)


def _lines(able: list[Ability], missing: list[str]) -> list[str]:
    lines = []
    for one in able:
        lines.append(f"  {one.state:<10}{one.collector}: {', '.join(map(printable, one.captured)) or 'nothing'}")
        lines += [f"            {printable(reason)}" for reason in one.reasons]
    if not able:
        return []
    head = f"This machine shows no {', no '.join(missing)}: a case of it would say little." if missing else (
        "What matters can be collected here: warmstall collect CASE."
    )  # fmt: skip
    return [head, *lines]
