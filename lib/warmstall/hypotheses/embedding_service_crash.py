"""Embedding service crash: native code of the embedding service broke, and the kernel ended its processes.

Tokenizers, OpenMP and the math libraries each start a thread for every core, in every worker. Workers that are forked
after those threads were started inherit locks that nobody holds and memory that nobody owns, and sooner or later die by
SIGSEGV or SIGABRT, without a traceback. Every question that was in a worker is lost.

Shown by:
    - workers ended by SIGSEGV, SIGABRT, SIGBUS, SIGILL or SIGFPE: in the words of gunicorn, systemd, docker or a shell
    - the kernel's lines on a segfault of Python in libtorch, libgomp or a tokenizer
    - a container of the service that exited with code 139 or 134
    - beside one of these: embeddings in the application's trace that failed because the connection was refused or reset
Ruled out by:
    - the log of the service and of who supervises it, over the time of the trouble, without such an end
Mistaken for it:
    - SIGKILL: memory that ran out, or a supervisor that gave up a slow worker
    - an exception, which has a traceback
    - a crash of Ollama's own runner
Severity: critical
Runbook: stabilise-embedding-service
Mitigation: Load the model after the fork, and limit its threads (OMP_NUM_THREADS=1, TOKENIZERS_PARALLELISM=false).
Leads to: ungrounded_answers, retry_amplification
References:
    - https://github.com/huggingface/sentence-transformers/issues/2228 (SIGSEGV in encode, by faulthandler)
    - https://github.com/huggingface/sentence-transformers/issues/1867 (models used from several threads)
    - https://github.com/benoitc/gunicorn/issues/2850 (workers ended by signal 11)
    - https://github.com/ogx-ai/ogx/pull/3879 (one OpenMP thread ends the crashes)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, seconds_text, size_text
from .facts import span as span_of
from .facts.services import (
    EMBEDDER_ROLES,
    NO_SERVICE,
    covers_trouble,
    embedder_logs,
    has_services,
    is_in,
    service_events,
    store_of,
    where,
    whole_logs,
)
from .findings import Finding, hints, proves, refutes, supports, unseen, weakens

_NATIVE = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
# Docker and shells add 128 to the signal.
_NATIVE_CODES = (139, 134, 135, 132, 136)
_KERNEL = ("kernel_segfault", "kernel_general_protection", "kernel_trap")
# The kernel cuts a name to 15 characters; PyTorch names threads pt_…
_PYTHON = re.compile(r"(?i)^(?:python|gunicorn|uvicorn|text-embed|infinity|pt_|celery)")
# What embedders compute with.
_LIBRARY = re.compile(r"torch|omp|tokenizers|onnx|mkl|blas|sentencepiece|faiss|c10", re.IGNORECASE)
# As operating systems and HTTP clients say it.
_CUT_OFF = r"(?i)connection (?:was )?(?:refused|reset|aborted)|was reset|reset by peer|broken pipe|disconnected|econn"
_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM")
_COLLECT_KERNEL = "the kernel's log of that time, which names the library: journalctl -k (warmstall collect CASE)"
_COLLECT_LOG = "the embedding service's log with that of its supervisor (gunicorn, systemd, docker): --app-log PATH"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Ends by a native signal, in the words of whoever saw them."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    ended = service_events(facts, "app_worker_crash", "app_traceback")
    # A service's log that calls it by name is the embedder's; others are of some service beside Ollama.
    logs = embedder_logs(facts)
    native = ended[ended["signal"].isin(_NATIVE)]
    # A worker that was given up by its master was sent SIGABRT: no crash.
    native = where(native, (not fields.get("after_timeout") for fields in native["fields"]))
    # What faulthandler dumped, the supervisor tells as well.
    if native["key"].eq("app_worker_crash").any():
        native = native[native["key"].eq("app_worker_crash")]
    kernel = facts.events(*_KERNEL)
    kernel = where(kernel, (_PYTHON.match(str(fields.get("process", ""))) for fields in kernel["fields"]))
    own = _pids(facts)
    near = where(kernel, (fields.get("pid") in own or _LIBRARY.search(str(fields.get("library"))) for fields in
                          kernel["fields"]))  # fmt: skip
    gone = facts.table("containers")
    gone = gone[gone["exit_code"].isin(_NATIVE_CODES) & ~gone["image"].fillna("").str.contains("ollama")]
    gone = where(gone, (not store_of(str(image)) for image in gone["image"]))
    if native.empty and near.empty and len(kernel):
        yield hints(
            f"The kernel tells of {counted(len(kernel), 'crash', 'crashes')} of Python; whose is not told.",
            *places(kernel),
        )
        yield unseen(_COLLECT_LOG)
    if native.empty and near.empty and gone.empty:
        yield from _lost_calls(facts, hints)
        yield from _no_crash(facts, ended, logs)
        return
    yield from _lost_calls(facts, supports)
    yield from _crashes(native, near, gone, logs)
    yield from _threads(facts, native if len(native) else kernel)
    if not facts.counts.get("kernel_segfault") and "kernel-log" not in facts.kinds:
        yield unseen(_COLLECT_KERNEL)


def _lost_calls(facts: Facts, show: Callable[..., Finding]) -> Iterator[Finding]:
    """Embeddings that the application's own trace shows cut off: what a crash costs, and no sign of one alone."""
    calls = facts.spans("operation = 'embeddings'")
    calls = where(calls, (fields.get("gen_ai.provider.name") != "ollama" for fields in calls["fields"]))
    lost = calls[calls["error"].str.contains(_CUT_OFF)]
    if len(lost):
        yield show(f"{len(lost):,} of {counted(len(calls), 'call')} of embedders in the trace failed because the "
                   f"connection was refused or reset, the first at {clock_text(lost['started_at'].iloc[0])}.",
                   *places(lost), span=span_of(lost))  # fmt: skip


def _pids(facts: Facts) -> set[object]:
    """Processes of the services, as their own logs and the samples name them."""
    rows = facts.table("processes")
    told = service_events(facts, "app_worker_start", "app_worker_crash", "app_traceback", "app_start")
    return {*rows["pid"][rows["role"].isin(EMBEDDER_ROLES)].dropna().astype(int), *told["pid"].dropna()}


def _crashes(
    native: pd.DataFrame, kernel: pd.DataFrame, gone: pd.DataFrame, logs: frozenset[tuple[str, str]]
) -> Iterator[Finding]:
    """The number of ends, how far apart, and where in the code."""
    # One end is told by the supervisor and by the kernel: the writer who tells most tells how many there were.
    most = max((native, kernel), key=lambda rows: rows.groupby(["host", "source"]).size().max() if len(rows) else 0)
    count = int(most.groupby(["host", "source"]).size().max()) if len(most) else 0
    times = most["at"].dropna().sort_values()
    span = (times.iloc[0].to_pydatetime(), times.iloc[-1].to_pydatetime()) if len(times) else (None, None)
    if count:
        signals = ", ".join(sorted(native["signal"].unique())) or "SIGSEGV"
        sentence = f"{signals} ended {counted(count, 'process', 'processes')} of a service beside Ollama"
        if len(times):
            sentence += f", the first at {clock_text(times.iloc[0])}"
        if len(times) > 1:
            sentence += f", one every {seconds_text(times.diff().median().total_seconds())} (median)"
        pids = {fields.get("pid") for fields in kernel["fields"]} & set(native["pid"].dropna())
        if pids:
            same = counted(len(pids), "process", "processes")
            sentence += f"; the kernel and the service's log tell it of the same {same}"
        show = proves if pids or is_in(native, logs).any() else supports
        yield show(f"{sentence}.", *places(native, 2), *places(kernel, 2), span=span)
    libraries = pd.Series([str(fields.get("library") or "") for fields in kernel["fields"]], dtype=str)
    if (named := libraries[libraries != ""].value_counts()).size:
        shown = ", ".join(f"{printable(name)[:40]} {times}" for name, times in list(named.items())[:3])
        yield hints(f"Where they broke, by the kernel: {shown} of {counted(len(kernel), 'time')}.", *places(kernel))
    for row in gone.to_dict("records"):
        restarts = counted(int(row["restarts"] or 0), "restart")
        yield supports(f"Container {printable(str(row['container']))[:60]} exited with code {row['exit_code']:.0f}, "
                       f"after {restarts}.", *places([row]))  # fmt: skip


def _threads(facts: Facts, deaths: pd.DataFrame) -> Iterator[Finding]:
    """Whether threads were limited, where the environment of the service was captured, and what that changed."""
    rows = facts.table("processes")
    rows = rows[rows["role"].isin(EMBEDDER_ROLES)]
    busy = rows.dropna(subset=["threads"]).sort_values("threads", ascending=False)
    if len(busy):
        processes = counted(int(rows["pid"].nunique()), "process", "processes")
        yield hints(f"{processes} of the service, up to {busy['threads'].iloc[0]:.0f} threads "
                    f"and {size_text(busy['rss_bytes'].max())} in one.", *places(busy, 2))  # fmt: skip
    settings = facts.table("settings")
    pids = set(rows["pid"].dropna().astype(int).astype(str))
    named = settings["subject"].fillna("").str.contains("(?i)embed|infinity|unicorn")
    own = settings[settings["subject"].isin(pids) | named]
    if own.empty:
        yield unseen("the environment of the embedding service: tr '\\0' '\\n' < /proc/PID/environ | grep -E "
                     "'THREADS|PARALLELISM'")  # fmt: skip
    starts = facts.table("containers").dropna(subset=["started_at"]).sort_values("started_at")
    for (host, source, subject), captured in own.groupby(["host", "source", "subject"], sort=True):
        limits = captured[captured["name"].isin(_THREAD_LIMITS)]
        shown = ", ".join(f"{row['name']}={printable(row['value'])[:20]}" for row in limits.to_dict("records"))
        shown = shown or "of " + ", ".join(_THREAD_LIMITS)
        sentence = f"{counted(len(limits), 'limit')} of threads ({shown}) set for {subject}"
        container = starts[starts["container"].eq(subject) & starts["host"].eq(host)].drop_duplicates("started_at")
        began = container["started_at"][container["source"].eq(source)]
        if len(began):
            after = container["started_at"][container["started_at"] > began.iloc[0]]
            ends = deaths["at"][deaths["at"] >= began.iloc[0]]
            count = (ends < after.iloc[0]).sum() if len(after) else len(ends)
            sentence += (
                f", started at {clock_text(began.iloc[0])}: {count:,} of {counted(len(deaths), 'end')} came after that"
            )
            sentence += " and before its next start" if len(after) else ""
        yield hints(f"{sentence}.", *places(captured, 2))


def _no_crash(facts: Facts, ended: pd.DataFrame, logs: frozenset[tuple[str, str]]) -> Iterator[Finding]:
    killed = ended[ended["signal"].eq("SIGKILL")]
    if len(killed):
        yield weakens(f"SIGKILL ended {counted(len(killed), 'worker')}: by memory or by their supervisor, not by "
                      "their own code.", *places(killed))  # fmt: skip
    watched = service_events(facts, "app_start", "app_worker_start", "app_restart", "app_request", "app_worker_crash")
    watched = watched[is_in(watched, logs)]
    supervised = watched[watched["key"].ne("app_request")]
    seen = "kernel-log" in facts.kinds
    if not seen:
        yield unseen(_COLLECT_KERNEL)
    if supervised.empty or not covers_trouble(facts, watched):
        yield unseen(_COLLECT_LOG)
    elif seen:
        yield refutes("0 ends of workers in the embedder's log are by a signal of the processor or allocator "
                      f"({len(ended[is_in(ended, logs)]):,} are by something else), and none is in the kernel's log.",
                      *whole_logs(facts, logs), *facts.whole("kernel-log"))  # fmt: skip
