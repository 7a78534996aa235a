"""The table of log lines of the services around Ollama: how a record begins, and what its message means.

A record's head is one of `HEADS`; what it says is one of `MESSAGES`, tried in order where the message begins.
Named groups of a message become fields of the event: `pid`, `exit_code`, `signal` (name or number) and the like.
Wordings were read from the sources of gunicorn 19 to 27, uvicorn 0.11 to 0.54, supervisord 3 and 4, uWSGI 2, celery 5,
systemd, docker, nginx, chroma 0.4 to 1.x, qdrant and text-embeddings-inference, and from public captures of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_LEVEL = "TRACE|DEBUG|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|CRIT|FATAL|SUCCESS"
_DATE = r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}-[0-9]{2}-[0-9]{4})[ T][0-9]{2}:[0-9]{2}:[0-9]{2}"
_TIME = rf"(?P<time>{_DATE}(?:[.,][0-9]{{1,9}})?(?:Z| ?[+-][0-9]{{2}}:?[0-9]{{2}})?)"
# What may stand between time and level: a logger, a process, a separator. No prose: three words at most.
_WORDS = r"(?: {0,8}(?:[-|]|\[[^\[\] ]{1,60}\]|[A-Za-z0-9_.$/@-]{1,80}) {1,8}){0,3}?"


@dataclass(frozen=True)
class Head:
    """How a record begins. Groups: time, level, pid, logger. `telling`: only a log record begins like this."""

    name: str
    pattern: str
    sample: str
    telling: bool = True

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


@dataclass(frozen=True)
class Message:
    """One wording of one message; `key` is its name in the events table, empty where it makes no event.

    A `telling` message shows by itself that an application speaks; others count only behind a head or in a journal.
    """

    key: str
    pattern: str
    sample: str
    telling: bool = True
    service: str = ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


HEADS: tuple[Head, ...] = (
    Head(
        "gunicorn",
        rf"\[{_TIME}\] \[(?P<pid>[0-9]{{1,9}})\] \[(?P<level>[A-Z]{{4,9}})\] ",
        "[2026-11-21 09:00:00 +0000] [12] [INFO] Booting worker with pid: 12",
    ),
    Head(
        "celery",
        rf"\[{_TIME}: (?P<level>{_LEVEL})/(?P<logger>[\w-]{{1,60}})\] ",
        "[2026-11-21 09:00:00,123: ERROR/MainProcess] Process 'ForkPoolWorker-1' pid:31 exited with 'exitcode 1'",
    ),
    # The level with its colon is padded to ten characters. Chroma before 1.0 writes a time behind it.
    Head(
        "uvicorn",
        r"(?P<level>INFO(?=: {5})|DEBUG(?=: {4})|TRACE(?=: {4})|ERROR(?=: {4})|WARNING(?=: {2})|CRITICAL(?=: ))"
        rf": {{1,5}}(?:\[?{_TIME}\]? )?",
        "INFO:     Started server process [12]",
    ),
    Head(
        "nginx error",
        r"(?P<time>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) \[(?P<level>[a-z]{4,6})\] "
        r"(?P<pid>[0-9]{1,9})#[0-9]{1,9}: ",
        "2026/11/21 09:00:00 [error] 22#22: *7 upstream timed out (110: Connection timed out) while reading upstream",
    ),
    Head(
        "loguru",
        rf"{_TIME} \| (?P<level>{_LEVEL}) {{0,8}}\| (?P<logger>[\w.<>:-]{{1,200}}) - ",
        "2026-11-21 09:00:00.123 | ERROR    | app.rag:load:12 - no index",
    ),
    Head(
        "structlog",
        rf"{_TIME} \[(?P<level>debug|info|warning|error|critical|exception) {{0,8}}\] ",
        "2026-11-21T09:00:00.123456Z [error    ] no index                       [app.rag] collection=docs",
    ),
    # tracing-subscriber of Rust: chroma 1.x, qdrant, text-embeddings-inference.
    Head(
        "tracing",
        r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3,9}Z) {1,2}"
        r"(?P<level>TRACE|DEBUG|INFO|WARN|ERROR) (?=[a-z][\w-]{0,80}(?:::[\w-]{1,80}){0,8}(?:: |\{))",
        "2026-11-21T09:00:00.123456Z  INFO qdrant::actix: TLS disabled for REST API",
    ),
    # Whatever an application made of Python's logging, as long as time and level are there.
    Head(
        "stamped",
        rf"\[?{_TIME}\]?(?! std(?:out|err) [FP] ){_WORDS} {{0,8}}[\[<(]?"
        rf"(?P<level>{_LEVEL})\b(?!=)[\])>]?[ :|-]{{0,12}}",
        "2026-11-21 09:00:00,123 - app.rag - ERROR - no index",
        telling=False,
    ),
    Head(
        "basic config",
        r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>[A-Za-z_][\w.-]{0,120}):",
        "ERROR:app.rag:no index",
        telling=False,
    ),
)

_PID = r"(?P<pid>[0-9]{1,9})"
_CODE = r"(?P<exit_code>[0-9]{1,3})"
_SIGNAL = r"(?P<signal>SIG[A-Z0-9]{2,9}|[0-9]{1,3})"
# What Ollama's own unit and container do is the server log's matter.
_NAME = r"(?P<service>(?!ollama)[\w@.:\\-]{1,120})"
_UNIT = rf"{_NAME}\.service"
_DIED = r"container die [0-9a-f]{12,64} \((?=.{0,2000}\bname=(?P<service>(?!ollama)[^,)]{1,120}))"
# Signals that ask for an end in good order.
_ORDERLY = "(?P<signal>SIGTERM|SIGINT|SIGQUIT|SIGHUP)"

MESSAGES: tuple[Message, ...] = (
    # --- gunicorn -------------------------------------------------------------------------------------------
    Message("app_start", r"Starting gunicorn (?P<version>[\w.]{1,20})$", "Starting gunicorn 23.0.0"),
    Message("app_stop", r"Shutting down: Master$", "Shutting down: Master"),
    Message("app_worker_start", rf"Booting worker with pid: {_PID}$", "Booting worker with pid: 12"),
    Message("app_worker_stop", rf"Worker exiting \(pid: {_PID}\)", "Worker exiting (pid: 12)"),
    Message("app_worker_stop", rf"Worker \(pid:{_PID}\) was sent {_ORDERLY}!", "Worker (pid:12) was sent SIGTERM!"),
    Message("app_worker_timeout", rf"WORKER TIMEOUT \(pid:{_PID}\)", "WORKER TIMEOUT (pid:12)"),
    Message(
        "app_worker_crash",
        rf"Worker \(pid:{_PID}\) was sent (?:signal )?{_SIGNAL}!",
        "Worker (pid:12) was sent SIGKILL! Perhaps out of memory?",
    ),
    # 20.1 to 23 print the raw status of waitpid where it is the number of no signal: that of a core dump.
    Message(
        "app_worker_crash",
        rf"Worker \(pid:{_PID}\) was sent code (?P<wait_status>[0-9]{{1,5}})!",
        "Worker (pid:12) was sent code 139!",
    ),
    Message(
        "app_worker_crash",
        rf"Worker with pid {_PID} was terminated due to signal {_SIGNAL}",
        "Worker with pid 12 was terminated due to signal 9",
    ),
    Message(
        "app_worker_crash", rf"Worker \(pid:{_PID}\) exited with code {_CODE}", "Worker (pid:12) exited with code 3."
    ),
    # --- uvicorn, hypercorn, flask ----------------------------------------------------------------------------
    Message(
        "app_start",
        r"(?:Uvicorn r| \* R|R)unning on (?P<address>https?://\S{1,200}|unix socket \S{1,200})",
        "Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
    ),
    Message("app_stop", r"Shutting down$", "Shutting down", telling=False),
    Message("app_worker_start", rf"Started server process \[{_PID}\]", "Started server process [12]"),
    Message(
        "app_worker_stop", rf"(?:Finished server|Terminated child) process \[{_PID}\]", "Finished server process [12]"
    ),
    Message("app_worker_crash", rf"Child process \[{_PID}\] (?:died|failed to start)", "Child process [12] died"),
    # --- supervisord ------------------------------------------------------------------------------------------
    Message("app_start", rf"spawned: '(?P<service>[^']{{1,120}})' with pid {_PID}", "spawned: 'embedder' with pid 17"),
    Message(
        "app_stop",
        rf"(?:exited|stopped): {_NAME} \((?:exit status 0;|terminated by {_ORDERLY})",
        "stopped: embedder (terminated by SIGTERM)",
    ),
    Message(
        "app_worker_crash",
        rf"(?:exited|stopped): {_NAME} \(terminated by {_SIGNAL}(?P<core_dumped> \(core dumped\))?",
        "exited: embedder (terminated by SIGSEGV (core dumped); not expected)",
    ),
    Message(
        "app_worker_crash",
        rf"exited: {_NAME} \(exit status {_CODE}",
        "exited: embedder (exit status 1; not expected)",
    ),
    # --- uWSGI, celery ----------------------------------------------------------------------------------------
    Message(
        "app_start",
        r"\*\*\* Starting uWSGI (?P<version>\S{1,20})",
        "*** Starting uWSGI 2.0.21 (64bit) on [Sat Nov 21 09:00:00 2026] ***",
    ),
    Message(
        "app_worker_start",
        rf"(?:spawned|Respawned) uWSGI worker [0-9]{{1,6}} \((?:new )?pid: {_PID}",
        "spawned uWSGI worker 1 (pid: 8, cores: 1)",
    ),
    Message(
        "app_worker_crash",
        rf"DAMN ! worker [0-9]{{1,6}} \(pid: {_PID}\) died(?:, killed by signal {_SIGNAL})?",
        "DAMN ! worker 1 (pid: 8) died, killed by signal 11 :( trying respawn ...",
    ),
    Message(
        "app_worker_crash",
        rf"Process '(?P<process>[^']{{1,80}})' pid:{_PID} exited with '(?:signal {_SIGNAL}|exitcode {_CODE})",
        "Process 'ForkPoolWorker-1' pid:31 exited with 'signal 11 (SIGSEGV)'",
    ),
    # --- systemd ----------------------------------------------------------------------------------------------
    Message(
        "app_stop",
        rf"{_UNIT}: [Mm]ain process exited, code=(?:exited, status=0/|killed, status=(?P<signal>15|2|1)/)",
        "embedder.service: Main process exited, code=killed, status=15/TERM",
    ),
    Message(
        "app_worker_crash",
        rf"{_UNIT}: [Mm]ain process exited, code=exited, status={_CODE}",
        "embedder.service: Main process exited, code=exited, status=1/FAILURE",
    ),
    Message(
        "app_worker_crash",
        rf"{_UNIT}: [Mm]ain process exited, code=(?:killed|(?P<core_dumped>dumped)), status={_SIGNAL}",
        "embedder.service: Main process exited, code=dumped, status=11/SEGV",
    ),
    Message(
        "app_restart",
        rf"{_UNIT}: (?:Scheduled restart job|Service .{{1,60}} scheduling restart)"
        r"(?:, restart counter is at (?P<count>[0-9]{1,9}))?",
        "embedder.service: Scheduled restart job, restart counter is at 3.",
    ),
    Message(
        "app_oom_kill",
        rf"{_UNIT}: A process of this unit has been killed by the OOM killer",
        "embedder.service: A process of this unit has been killed by the OOM killer.",
    ),
    Message("app_start", rf"Started {_UNIT}\b", "Started embedder.service - Embedding service.", telling=False),
    Message("app_stop", rf"Stopped {_UNIT}\b", "Stopped embedder.service - Embedding service.", telling=False),
    Message(
        "",
        rf"{_UNIT}: (?:Failed with result |Deactivated successfully|Consumed |Start request repeated too quickly)",
        "embedder.service: Failed with result 'core-dump'.",
        telling=False,
    ),
    # --- docker, docker compose, shells -----------------------------------------------------------------------
    Message(
        "app_stop",
        rf"{_NAME} exited with code (?P<exit_code>0|130|143)(?: \(restarting\))?$",
        "embedder-1 exited with code 0",
    ),
    Message(
        "app_worker_crash",
        rf"{_NAME} exited with code {_CODE}(?P<restarting> \(restarting\))?$",
        "embedder-1 exited with code 139 (restarting)",
    ),
    Message(
        "app_oom_kill",
        _DIED.replace("die", "oom"),
        "container oom 0123456789abcdef (image=embedder, name=embedder-1)",
    ),
    Message(
        "app_stop",
        rf"{_DIED}.{{0,2000}}\bexitCode=(?P<exit_code>0|130|143)\b",
        "container die 0123456789abcdef (exitCode=0, image=embedder, name=embedder-1)",
    ),
    Message(
        "app_worker_crash",
        rf"{_DIED}.{{0,2000}}\bexitCode={_CODE}\b",
        "container die 0123456789abcdef (exitCode=137, image=embedder, name=embedder-1)",
    ),
    Message(
        "app_worker_crash",
        rf"\S{{1,200}}:(?: line [0-9]{{1,7}}:)? {{1,9}}{_PID} (?P<signal>Segmentation fault|Killed|Aborted|Bus error"
        r"|Illegal instruction) +(?P<core_dumped>\(core dumped\) +)?(?P<process>.{1,200})$",
        "/entrypoint.sh: line 5:    17 Segmentation fault      (core dumped) python app.py",
    ),
    # --- vector stores and embedding servers --------------------------------------------------------------------
    Message(
        "app_start",
        r"Connect to [Cc]hroma at: (?P<address>\S{1,200})",
        "Connect to Chroma at: http://localhost:8000",
        service="chroma",
    ),
    Message(
        "app_start",
        r"qdrant::actix: Qdrant HTTP listening on (?P<address>\S{1,200})",
        "qdrant::actix: Qdrant HTTP listening on 6333",
        service="qdrant",
    ),
    Message(
        "app_start",
        r"text_embeddings_router::http::server: \S{1,200}: Starting HTTP server: (?P<address>\S{1,200})",
        "text_embeddings_router::http::server: router/src/http/server.rs:1778: Starting HTTP server: 0.0.0.0:80",
        service="text-embeddings-inference",
    ),
    # --- something that a service itself calls slow: asyncio's debug mode, any logger -----------------------------
    Message(
        "app_slow_request",
        r"Executing (?P<what><.{1,400}>) took (?P<duration>[0-9]{1,9}(?:\.[0-9]{1,9})? seconds)$",
        "Executing <Handle index() at /app/rag.py:12> took 1.250 seconds",
        telling=False,
    ),
    Message(
        "app_slow_request",
        r"(?P<what>(?:\S{1,40} {1,4}){0,3}(?i:slow) (?i:request|query|search|response|operation|endpoint)\b.{0,200}?)"
        r"(?P<duration>\b[0-9]{1,9}(?:\.[0-9]{1,9})? ?(?:ms|µs|us|s|secs?|seconds?)\b)",
        "Slow request: POST /embed took 12.5s",
        telling=False,
    ),
)


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """All patterns at once, without the names of their groups: to see in one step that none matches.

    >>> bool(any_of(["(?P<x>a)", "(?P<x>b)"]).match("b"))
    True
    """
    return re.compile("|".join(f"(?:{re.sub('[?]P<[a-z_]+>', '', pattern)})" for pattern in patterns))


ANY_HEAD = any_of(head.pattern for head in HEADS)
ANY_MESSAGE = any_of(row.pattern for row in MESSAGES)

# Numbers as on Linux; what faulthandler and the shell call them.
SIGNALS = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGBUS": 7, "SIGFPE": 8,
    "SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15,
    "SIGXCPU": 24, "SIGXFSZ": 25, "SIGSYS": 31,
}  # fmt: skip
_NAMES = {number: name for name, number in SIGNALS.items()}
_DEATHS = {
    "Segmentation fault": "SIGSEGV",
    "Killed": "SIGKILL",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
}


def ending(groups: dict[str, str | None]) -> dict[str, object]:
    """How a process ended, from the groups of a message: signal and its number, exit_code, core_dumped.

    An exit code above 128 is how docker and shells tell a signal.

    >>> ending({"exit_code": "139"})
    {'exit_code': 139, 'signal': 'SIGSEGV', 'signal_number': 11}
    >>> ending({"wait_status": "139"})
    {'signal': 'SIGSEGV', 'signal_number': 11, 'core_dumped': True}
    """
    found: dict[str, object] = {}
    number: int | None = None
    name = groups.get("signal") or ""
    if code := groups.get("exit_code"):
        found["exit_code"] = int(code)
        number = int(code) - 128 if int(code) - 128 in _NAMES else None
    if status := groups.get("wait_status"):
        number = int(status) & 0x7F
    if name.isdecimal():
        number = int(name)
    elif name:
        name = _DEATHS.get(name, name)
        number = SIGNALS.get(name)
    if number is not None or name:
        shown = name if name and not name.isdecimal() else f"signal {number}"
        found |= {"signal": _NAMES.get(number or 0, shown), "signal_number": number}
    if groups.get("core_dumped") or (status and int(status) & 0x80):
        found["core_dumped"] = True
    return found
