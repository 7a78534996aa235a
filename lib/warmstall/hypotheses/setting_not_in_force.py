"""Setting not in force: what was configured is not what the server runs with.

A variable can be written into a file that the service does not read, be overridden by a drop-in whose name sorts
later, wait for a daemon-reload or a restart, be of a name that no version of Ollama reads (OLLAMA_NUM_CTX), or hold
a value that it does not understand. The server then runs with another setting, and says so in one line at the most.

Shown by:
    - a value in the unit's files, or in what systemd shows, beside another in `server config` or the live process
    - a variable that no version reads, or a value that falls back to the default
    - drop-ins that assign different values to one variable: the last file name wins
    - `invalid environment variable, using default` in the log
Ruled out by:
    - every setting of the unit and its drop-ins found in force, in the printed settings or the process's environment
Mistaken for it:
    - `OLLAMA_FLASH_ATTENTION:false` and `NUM_PARALLEL:0`, which `server config` prints for variables that are unset
    - an option that a request or a Modelfile sets, which wins over the server's default
    - a soft limit that the server raised itself
Severity: warning
Runbook: raise-service-limits
Mitigation: Put the setting into one drop-in, reload systemd, restart the service and compare with `server config`.
Leads to: memlock_limit, nofile_limit, context_truncation, parallel_queue, flash_attention_cpu_spill, vulkan_backend
References:
    - https://github.com/ollama/ollama/issues/9519 (OLLAMA_NUM_CTX, which is not read)
    - https://github.com/ollama/ollama/issues/14027 (a variable of the shell does not reach the service)
    - https://raw.githubusercontent.com/systemd/systemd/v257/man/standard-conf.xml (the last file name wins)
    - https://docs.ollama.com/faq (how settings reach the server on each platform)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pandas as pd

from ..parse.ollama_settings import INSTEAD, fault, same
from ..parse.plain_text import printable
from .facts import Facts, counted, places
from .findings import Finding, Place, proves, refutes, supports, unseen

# Limits that change how Ollama serves; others, such as TasksMax, have defaults that nobody chose.
_LIMITS = ("MEMLOCK", "NOFILE", "MemoryMax", "MemoryHigh")
# What a client may send as the name of an option; lines of two writers that ran into each other give longer ones.
_OPTION = re.compile(r"[a-z][a-z0-9]{0,15}(?:_[a-z0-9]{1,15}){0,3}")
# How `overrode` lists what lost: "file: value, file: value".
_ONE_OVERRODE = re.compile(
    r"(?P<file>[^\s:]+\.(?:conf|service)): (?P<value>.*?)(?:, (?=[^\s:]+\.(?:conf|service): )|$)"
)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Settings and limits, intended beside in force, and what the server itself refused."""
    intended, limits = _of_ollama(facts.settings), _of_ollama(facts.limits)
    intended = intended[intended["intended"].notna()]
    limits = limits[limits["resource"].isin(_LIMITS) & limits["intended_hard"].notna()]
    wrong = intended[intended["differs"].eq(True) & ~intended["ineffective"].eq(True)]
    lower = limits[limits["differs"].eq(True)]
    for row in [*wrong.to_dict("records"), *lower.to_dict("records")]:
        yield proves(_counted(row["sentence"]), *_where(facts, row))
    for row in facts.settings[facts.settings["ineffective"].eq(True)].to_dict("records"):
        value = str(row["intended"] if pd.notna(row["intended"]) else row["in_force"])
        # A name that people take for another one, or a value that is not understood: it was meant to do something.
        meant = row["name"] in INSTEAD or bool(fault(row["name"], value)) or not row["name"].startswith("OLLAMA_")
        yield proves(_counted(row["sentence"]), *_where(facts, row), severity="warning" if meant else "info")
    overridden = list(_overridden(facts, intended))
    yield from overridden
    refused = facts.events("env_invalid")
    if len(refused):
        fields = refused["fields"].iloc[0]
        named = printable(f"{fields.get('key', '')}={fields.get('value', '')}")[:80]
        yield proves(f"The server refused {counted(len(refused), 'value')} of its environment and took its default "
                     f"instead, the first {named}.", *places(refused))  # fmt: skip
    ignored = facts.events("option_invalid")
    if len(ignored):
        sent = {str(fields.get("option", "")) for fields in ignored["fields"]}
        options = sorted(option for option in sent if _OPTION.fullmatch(option))
        named = f": {', '.join(options[:3])}{', …' * (len(options) > 3)}" if options else ""
        yield proves(f"This version ignored options that it does not know {counted(len(ignored), 'time')}{named}.",
                     *places(ignored), severity="info")  # fmt: skip
    # What is to be unlimited is so by default.
    finite = limits[limits["intended_hard"].lt(math.inf)]
    open_ones = [*intended["name"][intended["differs"].isna()], *finite["resource"][finite["differs"].isna()]]
    if not facts.has("settings") or intended.empty:
        yield unseen("what is intended: systemctl cat ollama; systemctl show ollama (docker inspect for a container)")
    if limits.empty:
        yield unseen("the unit's limits and those in force: systemctl show ollama, /proc/PID/limits of the server")
    if open_ones:
        yield unseen(f"what is in force of {', '.join(sorted(set(open_ones))[:4])}: the server's log with its start, "
                     "/proc/PID/environ and /proc/PID/limits of the server")  # fmt: skip
    elif not facts.has_starts:
        yield unseen("the server's log from its start on: it prints its settings, and warns of values it refuses")
    if len(intended) and facts.has_starts and not open_ones and not (len(wrong) or len(lower) or overridden):
        every = len(intended) + len(limits)
        yield refutes(f"In force: {every:,} of {every:,} settings and limits of the unit that were captured.",
                      *places(facts.table("settings")), *places(facts.printed_settings, 1))  # fmt: skip


def _of_ollama(frame: pd.DataFrame) -> pd.DataFrame:
    """Without what belongs to containers and units of other services: where one is named, it is Ollama's or none."""
    named = frame["unit"].fillna("").str.lower()
    return frame[named.eq("") | named.str.contains("ollama")]


def _overridden(facts: Facts, intended: pd.DataFrame) -> Iterator[Finding]:
    """Drop-ins that contradict one another; a drop-in that overrides the unit itself is what drop-ins are for."""
    for row in intended.dropna(subset=["overrode"]).to_dict("records"):
        lost = [
            (each["file"], each["value"])
            for each in _ONE_OVERRODE.finditer(row["overrode"])
            if each["file"].endswith(".conf") and not same(row["name"], each["value"], str(row["intended"]))
        ]
        if lost:
            values = ", ".join(f"{printable(value)[:40]} of {printable(file)[:60]}" for file, value in lost[:3])
            count = f"{len(lost)} other drop-in{'s' * (len(lost) > 1)}"
            yield supports(f"{row['name']} is {printable(str(row['intended']))[:40]}: it overrides {count} ({values}).",
                           *_where(facts, row))  # fmt: skip


def _where(facts: Facts, row: dict[str, object]) -> tuple[Place, ...]:
    """Where a setting or limit is stated, else where the server shows it."""
    if "resource" in row:
        limits = facts.table("limits")
        return places(limits[limits["host"].eq(row["host"]) & limits["resource"].eq(row["resource"])])
    stated, printed = facts.table("settings"), facts.printed_settings
    stated = stated[stated["host"].eq(row["host"]) & stated["name"].isin([row["name"], "Environment"])]
    return places(stated) or places(printed[printed["name"].eq(row["name"])])


def _counted(sentence: object) -> str:
    """The sentence in short; every sentence that is told has a number, and one without says of how many it speaks."""
    text = printable(str(sentence))[:400]
    return text if re.search(r"\d", text) else f"1 setting: {text}"
