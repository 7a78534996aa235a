"""An outcome as an operator reads it in a terminal: what was found, what would be done, what was done."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..parse.plain_text import printable, printable_lines

_MOST_LINES = 30
_Told = Mapping[str, Any]


def outcome_text(outcome: _Told, approve: Sequence[str], undo: Sequence[str], notebook: str, width: int) -> str:
    """At most 30 lines, commands to paste not counted; every character printable.

    `approve` and `undo` are the words of the commands that act as planned and take it back.
    """
    end = _end(outcome, approve, undo, notebook, width)
    begin = _plan(outcome["plan"], bool(outcome["steps"]), width) if outcome["plan"] else []
    room = _MOST_LINES - len(end)
    if len(begin) > max(room, 4):
        begin = [*begin[: max(room, 4) - 1], "  … the rest stands in the notebook."]
    return "\n".join([*begin, *end])


def _plan(plan: _Told, acted: bool, width: int) -> list[str]:
    told = _wrapped(f"{plan['runbook']} on {plan['target']}: {printable(plan['summary'])}", width)
    open_ones = [one for one in plan["preconditions"] if one["state"] != "met"]
    if met := [one["name"] for one in plan["preconditions"] if one["state"] == "met"]:
        told += ["", *_wrapped(f"Preconditions met: {', '.join(met)}.", width)]
    if open_ones:
        told += [] if met else [""]
        for one in open_ones:
            told += _wrapped(f"Precondition {one['state']}: {one['name']}. {one['sentence']}", width)
    if plan["rows"]:
        told += ["", f"Plan {plan['id']}{'.' if acted else ':'}"]
    # Once it has acted, what each step did tells more.
    for number, row in enumerate(() if acted else plan["rows"], 1):
        told += _wrapped(f"{number:2}. {row['effect']:11}{row['does']}", width, 15)
        change = f"{row['now']} → {row['wanted']}" if row["effect"] != "already so" else row["now"]
        facts = [change] if row["effect"] == "already so" else [change, f"felt by {row['felt_by']}", row["undo"]]
        told += _wrapped(" " * 15 + " · ".join(fact for fact in facts if fact), width, 15)
    return told


def _end(outcome: _Told, approve: Sequence[str], undo: Sequence[str], notebook: str, width: int) -> list[str]:
    plan, status = outcome["plan"], outcome["status"]
    told = [""] if plan else []
    if status == "planned":
        if by_hand := [command for row in plan["rows"] for command in row["by_hand"]]:
            told += ["To be done by hand:", *_indented("\n".join(by_hand))]
        told += ["Nothing was changed. To do exactly this:", f"    {shlex.join(approve)}"]
    else:
        first, *commands = printable_lines(outcome["sentence"]).split("\n")
        told += [*_wrapped(f"{status.capitalize()}. {first}", width), *commands]
    for step, what, sentence in outcome["steps"]:
        told += _indented(sentence) if what == "by hand" else _wrapped(f"  {step}: {what}; {sentence}", width, 4)
    before, after = outcome["before"], outcome["after"]
    pairs = [f"{name} {_number(before.get(name))} → {_number(after.get(name))}"
             for name in after if (before.get(name), after[name]) != (None, None)]  # fmt: skip
    told += _wrapped(f"Before → after: {', '.join(pairs)}", width) if pairs else []
    for sentence in outcome["afterwards"]:
        told += _wrapped(f"Afterwards: {sentence}", width)
    if status == "done" and plan and plan["mode"] != "undo" and any(row["effect"] == "act" for row in plan["rows"]):
        told.append(f"To take it back: {shlex.join(undo)}")
    if outcome["run"]:
        told.append(f"Journal: {printable(outcome['journal'])} (run {outcome['run']})")
    return [*told, f"Notebook: {printable(notebook)}"]


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in printable_lines(text).split("\n")]


def _wrapped(text: str, width: int, indent: int = 4) -> list[str]:
    """Lines of at most `width`, but for words such as paths, which stay whole so that they can be copied."""
    return textwrap.wrap(printable(text), width, subsequent_indent=" " * indent, break_long_words=False,
                         break_on_hyphens=False, drop_whitespace=True)  # fmt: skip
