"""Runner crash: the process that runs the model died, and the requests that it served with it.

The server starts another one for the next request, so what is left is a broken answer (a stream keeps its 200), an
error and a reload. How it died tells why: SIGSEGV, SIGABRT and failed assertions are faults of the runner, its
libraries or its driver; SIGKILL came from outside, most often from the kernel when memory ran out; SIGTERM is a
request to end from somebody else.

Shown by:
    - a crash dump, a failed assertion or a device error in the log, or a runner gone by such a signal
    - a segfault of the runner, or a fault of the GPU under it (Xid, ring timeout, reset), in the kernel's log
    - the server's words to the client that its runner stopped
    - requests that fail when their runner is ended by SIGTERM: from outside, no crash of its own (warning)
Ruled out by:
    - a log in which every load came to its end and nothing of a crash stands
Mistaken for it:
    - an ordinary unload: 0.32 logs "llama-server terminated … signal: killed" for it
    - SIGTERM from a supervisor, a script or an operator, with which no request fails
    - a runner that a runbook ended, by the journal of its run
    - a load that fails with an error of its own: the model cannot be read, or does not fit
    - another program of the host that crashes
Severity: critical
Runbook: recover-stuck-runner
Mitigation: Update Ollama and the GPU's driver, and report the dump upstream with the model and the request.
Leads to: cold_start, retry_amplification
References:
    - https://docs.ollama.com/troubleshooting
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ..mitigations import explaining
from ..parse.exit_statuses import in_words
from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, span
from .facts.calls import calls_of
from .findings import Finding, Place, hints, proves, refutes, supports, unseen, weakens

_DUMPS = ("crash_signal", "crash_assert", "crash_device", "crash_panic", "crash_fatal", "device_lost")
_ENDS = ("runner_gone", "runner_died_load", "runner_terminated")
_FAULTS = ("kernel_segfault", "kernel_general_protection", "kernel_trap")
_RUNNERS = re.compile(r"ollama|llama[-_]|runner", re.I)
# Signals by which a process ends for what it did itself.
_OWN = re.compile(
    r"signal: (?:segm|abort|bus|floating|illegal|trace|quit)|SIG(?:SEGV|ABRT|BUS|FPE|ILL)|status 0x[ce]0", re.I
)
# A runner of Ollama's own engine panics when its model cannot be read or does not fit: a failed load.
_NOT_LOADED = re.compile(r"unable to (?:load|allocate|create)|failed to (?:load|allocate|create)|error loading", re.I)
_KILLED, _ASKED = re.compile(r"signal: killed"), re.compile(r"signal: (?:terminated|interrupt|hangup)")
_STATUS = re.compile(r"exit status (?:0x[0-9a-f]+|\d+)|terminated: %!w\(<nil>\)")
# The first line of a dump says what went wrong; the runner aborts on it.
_ABORTS_ON = re.compile(r"^\.*(?:CUDA|ROCm) error: ")
# Of a source file its name tells where; so much of what the log says is quoted.
_FOLDERS, _SHOWN = re.compile(r"\S*[/\\](?=[^\s/\\]+:[0-9]+:)"), 80
# Lines of one death come within this of each other; loading anew takes longer.
_ONE_DEATH_S = 2.0
# A debugger that may not attach says so between a device's complaint and the abort.
_COMPLAINT_LINES = 8
_DIED_SAID = r"unexpectedly stopped|error was encountered while running the model|process has terminated: signal: [^t]"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the log, the kernel and the clients tell of runners that died."""
    found = [*_by_the_log(facts), *_by_the_kernel(facts)]
    yield from found
    said = calls_of(facts)
    said = said[said["error"].str.contains(_DIED_SAID, case=False)]
    said = said[~facts.by_a_runbook(said, "ended_at")]
    if len(said):
        yield supports(f"The server told {counted(len(said), 'call')} that the runner had died: "
                       f"{printable(said['error'].iloc[0])[:80]}.", *places(said), span=span(said))  # fmt: skip
    broken = facts.with_verdict("runner_crash")
    broken = broken[~facts.by_a_runbook(broken, "ended_at")]
    if len(broken) and not any(_is_for(item) for item in found) and said.empty:
        reason = printable(facts.found.reasons(broken.head(1))[0])[:80]
        yield hints(f"Cut short, {len(broken):,} of {counted(len(facts.requests), 'request')}: {reason}.",
                    *places(broken), span=span(broken))  # fmt: skip
        yield unseen("the server's lines of that moment, or its own end (journalctl -u ollama): they tell why")
    if not facts.has_server_log or not (facts.has_starts or len(facts.loads)):
        yield unseen("the server's whole log: a runner that dies leaves its dump or its signal there")
        return
    if facts.loads.empty or facts.requests.empty:
        yield unseen("the server's log of a time with requests and loads: only a runner at work can die")
        return
    unknown = facts.with_verdict("unknown", columns=["host", "ended_at", "status"])
    unknown = unknown[~facts.by_a_runbook(unknown, "ended_at")]
    if unknown["status"].str.startswith("5").any() or len(facts.lost_trials):
        yield unseen("the clients' errors, and journalctl -k over that time: some requests failed without a reason")
    if not len(broken) + len(said) and not any(_is_for(item) for item in found):
        yield refutes(f"0 of {counted(len(facts.requests), 'request')} lost the runner, and 0 dumps or signals of a "
                      "crash stand in the log.", *facts.whole_log())  # fmt: skip


def _is_for(item: Finding) -> bool:
    return getattr(item, "direction", "") == "for"


def _by_the_log(facts: Facts) -> Iterator[Finding]:
    dumps = facts.events(*_DUMPS, "device_error", "device_oom")
    dumps = dumps[dumps["key"].isin(_DUMPS) | dumps["text"].str.contains(_ABORTS_ON)]
    dumps = dumps[~dumps["text"].str.contains(_NOT_LOADED)]
    dumps = _timed(facts, dumps)
    ends = facts.events(*_ENDS)
    on_purpose = facts.by_a_runbook(ends)
    yield from _on_purpose(facts, ends[on_purpose])
    ends = ends[~on_purpose]
    own = ends[ends["text"].str.contains(_OWN)]
    crashes = pd.concat([part for part in (dumps, own) if len(part)]) if len(dumps) + len(own) else dumps
    broken = facts.with_verdict("runner_crash", "load_failure")
    if len(crashes):
        deaths = _deaths(crashes)
        every = counted(len(facts.requests), "request")
        yield proves(f"A runner crashed {len(deaths):,}×, first at {clock_text(deaths['at'].iloc[0])}: "
                     f"{_words(_told_by_device(facts, deaths.iloc[0]))}; {len(broken):,} of {every} failed with it.",
                     *places(deaths), span=span(deaths, "at", "at"))  # fmt: skip
    asked = _deaths(ends[ends["text"].str.contains(_ASKED)])
    if len(asked):
        failed = _failed_with(facts, asked)
        told = (
            f"A runner was ended by SIGTERM {len(asked):,}×, first at {clock_text(asked['at'].iloc[0])}: that comes "
            f"from outside and is no crash of its own; {counted(failed, 'request')} failed with it."
        )
        when = span(asked, "at", "at")
        yield supports(told, *places(asked), span=when, severity="warning") if failed else hints(told, *places(asked))
        yield unseen("who sent SIGTERM: the log of the supervisor, container or script that starts Ollama")
    # 0.32 logs runner_terminated with "signal: killed" for an ordinary unload; the other lines are of real ends.
    killed = ends[ends["text"].str.contains(_KILLED) & ends["key"].ne("runner_terminated")]
    if len(killed):
        yield supports(f"By {counted(len(killed), 'line')} of the log a runner was killed (SIGKILL), first at "
                       f"{clock_text(killed['at'].iloc[0])}; that comes from outside, as a rule from the kernel.",
                       *places(killed), span=span(killed, "at", "at"))  # fmt: skip
    status = ends[ends["text"].str.contains(_STATUS) & ~ends["text"].str.contains(_OWN)]
    if len(status) and crashes.empty:
        yield hints(f"By {counted(len(status), 'line')} of the log a runner ended: {_words(status.iloc[0])}.",
                    *places(status))  # fmt: skip
        yield unseen("the lines around it: the server's log with OLLAMA_DEBUG=1, and the system's own log over that "
                     "time (journalctl -k; on Windows the Event Viewer)")  # fmt: skip


def _on_purpose(facts: Facts, ends: pd.DataFrame) -> Iterator[Finding]:
    """Runners that a runbook ended: told, and no crash."""
    for row in _deaths(ends).to_dict("records"):
        act = explaining(facts.acts, row["host"], row["at"].tz_localize(None))
        if act:
            yield weakens(f"The runner that ended at {clock_text(row['at'])} was ended on purpose, by {act.sentence}.",
                          *places([row]), Place(act.host, act.source, act.line))  # fmt: skip


def _deaths(rows: pd.DataFrame) -> pd.DataFrame:
    """The first line of each death: it leaves several, a dump, its signal, the request's error."""
    rows = rows.sort_values(["at", "line"])
    same = rows["at"].diff().dt.total_seconds().lt(_ONE_DEATH_S)
    # A dump has no time of its own: the end that the server notes after it may seem to come much later.
    before = rows[["host", "source", "key"]].shift()
    noted = rows["key"].isin(_ENDS) & ~before["key"].isin(_ENDS)
    noted &= rows["source"].eq(before["source"]) & rows["host"].eq(before["host"])
    return rows[~(same | noted)]


def _timed(facts: Facts, dumps: pd.DataFrame) -> pd.DataFrame:
    """Dumps with what access lines tell of their time, as they have none and the record before may be old: when the
    request behind them ended that was lost with them, else when one had ended before."""
    parts = [dumps.head(0)]
    requests = facts.requests[["source", "line", "ended_at", "verdict"]].dropna(subset="ended_at").sort_values("line")
    for source, own in dumps.groupby("source", sort=False):
        some = requests[requests["source"].eq(source)]
        ended_at = some["ended_at"].astype(own["at"].dtype).reset_index(drop=True)
        lost_at = ended_at.where(some["verdict"].isin(["runner_crash", "load_failure"]).to_numpy())
        place = np.searchsorted(some["line"], own["line"])
        before = ended_at.cummax().reindex(place - 1).set_axis(own.index)
        told = lost_at.reindex(place).set_axis(own.index).fillna(before)
        parts.append(own.assign(at=own["at"].mask(own["at"] < told, told)))
    return pd.concat(parts)


def _failed_with(facts: Facts, deaths: pd.DataFrame) -> int:
    """How many requests were answered with an error when a runner ended."""
    failed = facts.requests[facts.requests["status"].str.startswith("5")].sort_values("ended_at")
    ends = failed["ended_at"].astype("datetime64[us, UTC]").to_frame()
    times = deaths["at"].dropna().astype("datetime64[us, UTC]").sort_values().to_frame()
    within = pd.Timedelta(seconds=_ONE_DEATH_S)
    near = pd.merge_asof(ends, times, left_on="ended_at", right_on="at", direction="nearest", tolerance=within)
    return int(near["at"].notna().sum())


def _told_by_device(facts: Facts, death: pd.Series) -> pd.Series:
    """What the device complained of right before an abort, which itself says only SIGABRT; else the death."""
    rows = facts.events("device_oom", "device_error")
    before = death["line"] - rows["line"]
    rows = rows[rows["source"].eq(death["source"]) & before.gt(0) & before.le(_COMPLAINT_LINES)]
    memory = rows[rows["key"].eq("device_oom")]
    return (memory if len(memory) else rows).iloc[-1] if len(rows) else death


def _words(row: pd.Series) -> str:
    """The words of the log that tell it, in short."""
    fields = row["fields"]
    names = () if "GGML_ASSERT(" in row["text"] else ("reason", "error", "string", "signal")
    text = next((str(fields[name]) for name in names if fields.get(name)), row["text"])
    text = in_words(_FOLDERS.sub("", printable(text))).strip()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _by_the_gpu(facts: Facts) -> Iterator[Finding]:
    """Faults of a GPU: under a runner they end it; whose one is that names no process, nobody knows."""
    gpu = facts.events("kernel_gpu_fault")
    process = pd.Series([str(fields.get("process") or "") for fields in gpu["fields"]], gpu.index, dtype=object)
    ours, unnamed = gpu[process.str.contains(_RUNNERS)], gpu[process.eq("")]
    for rows, show, whose in ((ours, supports, "under a runner"), (unnamed, hints, "by lines that name no process")):
        if len(rows):
            fault = _fault(rows["fields"].iloc[0])
            yield show(f"The kernel tells {counted(len(rows), 'time')} that a GPU failed, {whose}: {fault}.",
                       *places(rows), span=span(rows, "at", "at"))  # fmt: skip
            return


def _fault(fields: Mapping[str, object]) -> str:
    """What befell a GPU, in the kernel's words."""
    xid = f"Xid {fields['xid']}" if fields.get("xid") else ""
    words = str(fields.get("detail") or str(fields.get("fault") or "").replace("_", " ")).rstrip(".")
    return printable(", ".join(filter(None, (xid, words))) or "a fault")[:_SHOWN]


def _by_the_kernel(facts: Facts) -> Iterator[Finding]:
    faults = facts.events(*_FAULTS)
    ours = faults[[bool(_RUNNERS.search(str(fields.get("process", "")))) for fields in faults["fields"]]]
    yield from _by_the_gpu(facts)
    if len(ours):
        first = ours["fields"].iloc[0]
        yield proves(f"The kernel logged {counted(len(ours), 'fault')} of {printable(str(first.get('process')))[:40]} "
                     f"({str(ours['key'].iloc[0]).removeprefix('kernel_')}).", *places(ours),
                     span=span(ours, "at", "at"))  # fmt: skip
