"""The embedding service beside Ollama: its process, who starts it, how its workers are made, and how they ended.

gunicorn takes its settings from WEB_CONCURRENCY, then from a configuration file, then from its command line
(https://gunicorn.org/configure), uvicorn from WEB_CONCURRENCY and then from its command line: what is said there wins
over any variable.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import CannotTell
from ...host import Command
from ...parse.application_log import parse_application_log
from ..processes import Process, process_of
from ..services import manifests, systemd
from ..services.wanted import Service
from ..target import Target

_TIMEOUT_S = 10.0
_ROLES = ("embedding service", "gunicorn", "uvicorn")
# Native code that broke; SIGKILL is the kernel's for want of memory.
_BAD = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGKILL")
JOURNAL = Command("what a unit wrote", ("journalctl", "--no-pager", "--output", "cat", "--lines", "50000", "--since",
                                        "{since}", "--unit", "{unit}"))  # fmt: skip
CHILDREN = Command("children of a process", ("ps", "-ww", "-o", "pid=,rss=,args=", "--ppid", "{pid}"))
_ARGUMENTS = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")


@dataclass(frozen=True)
class EmbeddingService:
    """One service: its master process, what starts it, what systemd says of its unit, and its command line's words.

    There are no words where the master shows a title and no unit tells how it was started, or where they hold control
    characters.
    """

    main: Process
    service: Service
    shown: dict[str, str]
    words: tuple[str, ...]
    port: int

    @property
    def name(self) -> str:
        return self.service.unit or self.service.facts.get("container", "") or f"process {self.main.pid}"

    @property
    def is_gunicorn(self) -> bool:
        return bool(re.search(r"(?:^|[ /])gunicorn(?:$|[ :])", " ".join(self.words[:4]) or self.main.command))

    @property
    def forks_after_loading(self) -> bool:
        """Whether the application is loaded before the workers are forked."""
        return "--preload" in self.words or "--preload-app" in self.words

    @property
    def workers_on_command_line(self) -> int | None:
        told = _option(self.words, "--workers", "-w")
        return int(told) if told.isdigit() else None


def find_service(target: Target, unit: str, port: int) -> EmbeddingService:
    """The service of a unit, or the only one that listens on a port, or the only one that there is.

    Raises CannotTell when there is none, or there are several.
    """
    if unit:
        shown = systemd.shown(target, unit)
        pid = shown.get("MainPID", "0")
        main = process_of(target.host, int(pid)) if pid.isdigit() and int(pid) else None
        if not main:
            raise CannotTell(f"{unit[:80]} has no process now, or systemd knows no such unit: systemctl status says "
                             "more.")  # fmt: skip
        return _told(target, main, Service("systemd", unit, {"named": "yes"}), shown, port)
    rows = [row for row in target.processes() if row["role"] in _ROLES]
    pids = {row["pid"] for row in rows}
    masters = [process_of(target.host, int(row["pid"])) for row in rows if row["parent_pid"] not in pids]
    found = [_told(target, main, _started_by(target, main), {}, 0) for main in masters if main]
    if port:
        found = [one for one in found if one.port == port]
    if len(found) != 1:
        there = "; ".join(f"{one.main.command[:60]} (port {one.port or 'unknown'})" for one in found) or "none"
        raise CannotTell(f"Found {len(found)} embedding services (gunicorn, uvicorn, text-embeddings, infinity), "
                         f"expected one; name it with service_unit= or service_port=. There is {there}.")  # fmt: skip
    one = found[0]
    return replace(one, shown=systemd.shown(target, one.service.unit)) if one.service.unit else one


def _told(target: Target, main: Process, service: Service, shown: dict[str, str], port: int) -> EmbeddingService:
    # A master may show a title instead of its command line; systemd knows what it started.
    started = _ARGUMENTS.search(shown.get("ExecStart", ""))
    text = target.host.read(f"/proc/{main.pid}/cmdline", _TIMEOUT_S).text.rstrip("\0")
    words = tuple(text.split("\0")) if "\0" in text else tuple(started[1].split()) if started else ()
    if not all(word.isprintable() for word in words):
        words = ()  # nothing that could be taken for another line of a unit file is printed into one
    listens = _option(words, "--port") or _option(words, "--bind", "-b").rpartition(":")[2]
    return EmbeddingService(main, service, shown, words, port or (int(listens) if listens.isdigit() else 0))


def _started_by(target: Target, main: Process) -> Service:
    """The unit or container of a process, by its control group."""
    groups = target.host.read(f"/proc/{main.pid}/cgroup", _TIMEOUT_S).text
    if "kubepods" in groups:
        return Service("kubernetes", facts=manifests.pod_facts(target, main.pid, target.environment(main.pid)))
    if container := manifests.container_of(groups):
        return Service("compose", facts=manifests.container_facts(target, container))
    for unit in re.findall(r"/([^/\n]+\.service)$", groups, re.MULTILINE):
        if systemd.shown(target, unit).get("MainPID") == str(main.pid):
            return Service("systemd", unit, {"named": "yes"})
    return Service("none")


def workers_of(target: Target, main: Process) -> list[dict[str, Any]]:
    """The processes that a master has started: pid and rss_bytes of each; none where ps cannot ask so (macOS)."""
    output = target.host.run(CHILDREN, _TIMEOUT_S, pid=str(main.pid))
    rows = [re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S.*)", line) for line in output.text.splitlines()]
    # multiprocessing keeps a process of its own for what is shared; it answers nobody.
    return [{"pid": int(row[1]), "rss_bytes": int(row[2]) * 1024} for row in rows
            if row and "resource_tracker" not in row[3]]  # fmt: skip


def signals_of(target: Target, service: EmbeddingService, hours: float) -> dict[str, int] | None:
    """How many workers ended by each bad signal, as the unit's journal tells; None where it does not."""
    unit = service.service.unit
    output = target.host.run(JOURNAL, 30.0, since=f"{hours:g} hours ago", unit=unit) if unit else None
    if output is None or output.outcome != "captured":
        return None
    found: Counter[str] = Counter()
    for row in parse_application_log(output.text).tables.get("events", []):
        fields = json.loads(row["fields"])
        # Whom its master gives up gets a signal too: that is no crash.
        if row["key"] == "app_worker_crash" and fields.get("signal") in _BAD and not fields.get("after_timeout"):
            found[fields["signal"]] += 1
    return dict(found)


def ends_of(target: Target, service: EmbeddingService, hours: float) -> dict[str, int]:
    """How often processes of the service ended badly, by how: signals in its log, restarts and results by systemd.

    Raises CannotTell where neither the journal nor systemd tells.
    """
    signals, restarts = signals_of(target, service, hours), service.shown.get("NRestarts", "")
    if signals is None and not restarts.isdigit():
        raise CannotTell(f"How processes of {service.name} ended is not told here, by journalctl nor by systemctl. "
                         "Look at its own log, and at the kernel's (journalctl -k); act all the same with "
                         "without_crash=True.")  # fmt: skip
    found = dict(signals or {})
    if restarts.isdigit() and int(restarts):
        found["restarts by systemd"] = int(restarts)
    if (result := service.shown.get("Result", "success")) in ("signal", "core-dump", "oom-kill"):
        found[f"last result {result}"] = 1
    return found


def words_wanted(service: EmbeddingService, workers: int, max_requests: int) -> tuple[str, ...]:
    """Its command line with the application loaded after the fork, so many workers, each for so many requests."""
    words = [word for word in service.words if word not in ("--preload", "--preload-app")]
    if workers and service.workers_on_command_line not in (None, workers):
        words = _with_option(words, str(workers), "--workers", "-w")
    if max_requests and service.is_gunicorn:
        words = _with_option(words, str(max_requests), "--max-requests")
        words = _with_option(words, str(max(1, max_requests // 10)), "--max-requests-jitter")
    elif max_requests:
        words = _with_option(words, str(max_requests), "--limit-max-requests")
    return tuple(words)


def exec_start(words: Sequence[str]) -> str:
    r"""A drop-in that starts a unit with this command line instead of its own.

    >>> print(exec_start(["/usr/bin/gunicorn", "a b", "100%"]))
    [Service]
    ExecStart=
    ExecStart=/usr/bin/gunicorn "a b" 100%%
    """
    told = []
    for word in words:
        text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        told.append(text if re.fullmatch(r"[\w./:@%=,+-]+", text) else f'"{text}"')
    return "[Service]\nExecStart=\nExecStart=" + " ".join(told)


def shown_words(words: Sequence[str]) -> str:
    return shlex.join(words)[:500]


def _option(words: Sequence[str], *names: str) -> str:
    """The value of an option, in either form; empty where it is not there."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(words[position + 1 :]), "")
    return ""


def _with_option(words: Sequence[str], value: str, *names: str) -> list[str]:
    """The words with an option's value set, in its place or, before the application's name, at the end."""
    made = list(words)
    for position, word in enumerate(made):
        name, equals, _ = word.partition("=")
        if name in names:
            if equals:
                made[position] = f"{name}={value}"
            else:
                made[position + 1 : position + 2] = [value]
            return made
    return [*made, names[0], value]
