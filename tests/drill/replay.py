"""Play a recorded scenario against a drill server: the same requests and the same deeds, in the same causal order.

    replay(Recording(folder), out, deadline_s=…)

A request that began after another one had ended waits for that end, plus the recorded time to think; requests
that overlapped overlap. Clients close their connections after the recorded time. Everything takes its real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from .recording import LEFT_OUT, Act, Recording, signal_of

TRIAL_COLUMNS = (
    "start_ts", "end_ts", "model", "endpoint", "status", "error", "total_duration", "load_duration",
    "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration",
)  # fmt: skip
# A drill may be this much slower than the recording, in all.
SLACK_S = 20.0
# The recorder gave up on a GET after this long.
_GET_TIMEOUT_S = 5.0
# A process that shall be signalled may be a moment late.
_RUNNER_WAIT_S = 3.0


class Server(Protocol):
    """What a replay needs of a server; `warmstall.drill.server_process.DrillServer` has it."""

    url: str
    pid: int
    log: Path

    def runner_pids(self) -> list[int]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


ServerMaker = Callable[[Path, Recording, Path | None], AbstractContextManager[Server]]


def drill_server(folder: Path, recording: Recording, timetable: Path | None) -> AbstractContextManager[Server]:
    """The drill's server of the recording's version and settings."""
    from warmstall.drill.server_process import DrillServer

    server: AbstractContextManager[Server] = DrillServer(
        folder, version=recording.version, environment=recording.environment, timetable=timetable, seed=1
    )
    return server


def replay(recording: Recording, folder: Path, make_server: ServerMaker = drill_server) -> Path:
    """Play it; leaves server.log, trials.csv, trials_raw.jsonl and replay.json in `folder`, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    timetable = None
    if faults := recording.stand_ins():
        timetable = folder / "timetable.json"
        timetable.write_text(json.dumps({"epoch": time.time(), "seed": 1, "faults": faults}), encoding="utf-8")
    with make_server(folder / "server", recording, timetable) as server:
        run = _Run(recording, server)
        began = time.monotonic()
        asyncio.run(run.play())
        took_s = time.monotonic() - began
        server.stop()
        shutil.copyfile(server.log, folder / "server.log")
    _write(folder, recording, run, took_s)
    return folder


@dataclass
class _Run:
    recording: Recording
    server: Server
    began: dict[int, asyncio.Event] = field(default_factory=dict)
    ended: dict[int, asyncio.Event] = field(default_factory=dict)
    moments: dict[tuple[int, str], float] = field(default_factory=dict)
    runners: dict[int, int] = field(default_factory=dict)  # recorded pid → pid of the drill
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    async def play(self) -> None:
        """Do everything; what is not done when the time is up is broken off and noted."""
        acts = self.recording.acts
        self.began = {act.number: asyncio.Event() for act in acts}
        self.ended = {act.number: asyncio.Event() for act in acts}
        self.started_at = time.monotonic()
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=False) as self.client:
            tasks = {asyncio.create_task(self._act(act)): act for act in acts}
            done, late = await asyncio.wait(tasks, timeout=self.recording.duration_s + SLACK_S)
            waiting = [tasks[task] for task in late if self.began[tasks[task].number].is_set()]
            for act in waiting:
                what = act.row.get("tag") or act.row.get("path") or act.row.get("endpoint") or ""
                self.troubles.append(f"not done in time: {act.kind} at {act.start_s:.1f} s {what}")
            if len(late) > len(waiting):
                self.troubles.append(f"not begun in time: {len(late) - len(waiting)} requests and deeds")
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in done:
                if error := task.exception():
                    self.troubles.append(f"{tasks[task].kind} at {tasks[task].start_s:.1f} s: {error!r}")

    async def _act(self, act: Act) -> None:
        try:
            await self._its_time(act)
            self.moments[act.number, "began"] = time.monotonic()
            self.began[act.number].set()
            if act.kind in ("trial", "get", "post"):
                await self._request(act)
            else:
                await getattr(self, f"_{act.kind}")(act)
        finally:
            self.moments[act.number, "ended"] = time.monotonic()
            self.began[act.number].set()
            self.ended[act.number].set()

    async def _its_time(self, act: Act) -> None:
        """Wait for all that had ended before it, then as long as the client waited after the last thing that was."""
        before = [other for other in self.recording.acts if other.number < act.number and _concerns(other, act)]
        moments = [(other.start_s, other.number, "began") for other in before]
        moments += [(other.end_s, other.number, "ended") for other in before if other.end_s <= act.start_s]
        for _, number, which in moments:
            await (self.began if which == "began" else self.ended)[number].wait()
        at_s, number, which = max(moments, default=(0.0, -1, ""))
        reference = self.moments[number, which] if moments else self.started_at
        await asyncio.sleep(max(0.0, reference + (act.start_s - at_s) - time.monotonic()))

    # --- requests -------------------------------------------------------------------------------------------

    async def _request(self, act: Act) -> None:
        row: dict[str, Any] = {"status": "", "error": "", "final": {}, "chunks": 0, "ttft_s": None, "body": ""}
        began = time.monotonic()
        start_ts = _now()
        limit_s = act.abort_s if act.kind == "trial" else _GET_TIMEOUT_S
        try:
            async with asyncio.timeout(limit_s):
                await (self._trial if act.kind == "trial" else self._look)(act, row, began)
        except TimeoutError:
            row["error"] = f"client timeout: closed connection after {limit_s:g}s"
            if act.kind == "get":
                row |= {"status": None, "error": "TimeoutError: timed out"}
        except httpx.ConnectError:
            row["error"] = "ConnectionRefusedError: [Errno 111] Connection refused"
        except httpx.HTTPError as error:
            row["error"] = row["error"] or f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            row["error"] = "the replay ended before the answer"
            raise
        finally:
            told = {"kind": act.kind, "start_ts": start_ts, "end_ts": _now()}
            if act.kind == "trial":
                row.pop("body")
                told |= {name: act.row.get(name) for name in ("tag", "request", "model", "endpoint")}
                told |= {"wall_s": round(time.monotonic() - began, 4)} | row
            else:
                told |= {"path": act.row["path"], "status": row["status"], "body": row["body"], "error": row["error"]}
                told |= {"sent": act.row["sent"]} if "sent" in act.row else {}
            self.rows[act.number] = told

    async def _look(self, act: Act, row: dict[str, Any], _: float) -> None:
        """A GET of the recording, or a POST of something that is no JSON."""
        url = self.server.url + act.row["path"]
        answer = await (
            self.client.get(url) if act.kind == "get" else self.client.post(url, content=act.row["sent"].encode())
        )
        row |= {"status": answer.status_code, "body": answer.text}

    async def _trial(self, act: Act, row: dict[str, Any], began: float) -> None:
        url, body = self.server.url + act.row["endpoint"], act.body
        async with self.client.stream("POST", url, json=body) as answer:
            if answer.headers.get("content-type", "").startswith("application/x-ndjson"):
                row["status"] = answer.status_code
                await self._read_stream(answer, row, began)
                return
            text = (await answer.aread()).decode("utf-8", "replace")
        row["status"] = answer.status_code
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        row["final"] = {name: value for name, value in said.items() if name not in LEFT_OUT}
        if answer.status_code >= 400:
            error = said.get("error", text)
            row["error"] = error if isinstance(error, str) else json.dumps(said, separators=(",", ":"))

    async def _read_stream(self, answer: httpx.Response, row: dict[str, Any], began: float) -> None:
        # The recorder's client did not tell a stream that was broken off from one that ended too early.
        row["error"] = "stream ended without done"
        async for line in answer.aiter_lines():
            if not line:
                continue
            chunk = json.loads(line)
            if row["ttft_s"] is None:
                row["ttft_s"] = round(time.monotonic() - began, 4)
            if "error" in chunk:
                row["error"] = chunk["error"]
                return
            row["chunks"] += 1
            if chunk.get("done"):
                row |= {"final": {name: value for name, value in chunk.items() if name not in LEFT_OUT}, "error": ""}
                return

    # --- what was done to processes -------------------------------------------------------------------------

    async def _signal(self, act: Act) -> None:
        pid = await self._runner(int(act.row["pid"]))
        if pid is None:
            self.troubles.append(f"no runner for {act.row['event']} at {act.start_s:.1f} s")
            return
        os.kill(pid, signal_of(act))

    async def _runner(self, recorded: int) -> int | None:
        """The drill's runner in the place of a recorded one: the newest that stands for no other."""
        ends = time.monotonic() + _RUNNER_WAIT_S
        while recorded not in self.runners and time.monotonic() < ends:
            free = [pid for pid in self.server.runner_pids() if pid not in self.runners.values() and _lives(pid)]
            if free:
                self.runners[recorded] = free[-1]
            else:
                await asyncio.sleep(0.02)  # between two looks for a process that is starting
        return self.runners.get(recorded)

    async def _stop(self, act: Act) -> None:
        if act.row["event"].startswith("SIGKILL"):
            server = psutil.Process(self.server.pid)
            server.send_signal(signal.SIGKILL)
            await asyncio.to_thread(psutil.wait_procs, [server], 10)
        else:
            await asyncio.to_thread(self.server.stop)

    async def _start(self, _: Act) -> None:
        await asyncio.to_thread(self.server.start)

    async def _second_serve(self, act: Act) -> None:
        """A second server on the same port says why it cannot be, and ends."""
        command = [sys.executable, "-m", "warmstall.drill.serve", "--version", self.recording.version]
        address = self.server.url.removeprefix("http://")
        second = await asyncio.to_thread(
            subprocess.run, command, env={**os.environ, "OLLAMA_HOST": address}, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        self.rows[act.number] = {
            "kind": "second_serve", "rc": second.returncode, "stdout": second.stdout, "stderr": second.stderr,
        }  # fmt: skip


def _concerns(other: Act, act: Act) -> bool:
    """A worker of concurrent traffic goes its own way."""
    return not (other.lane and act.lane) or other.lane == act.lane


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _write(folder: Path, recording: Recording, run: _Run, took_s: float) -> None:
    """Rows in the order of the recording, so that the one of a number answers the other of that number."""
    numbered = {id(act.row): act.number for act in recording.acts}
    rows = [run.rows.get(numbered[id(row)]) for row in recording.rows]
    lines = [json.dumps(row or {"kind": "lost"}) for row in rows]
    (folder / "trials_raw.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (folder / "trials.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, TRIAL_COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows({**row["final"], **row} for row in rows if row and row["kind"] == "trial")
    told = {
        "recorded_s": round(recording.duration_s, 3), "took_s": round(took_s, 3), "troubles": run.troubles,
        "second_serve": [row for row in run.rows.values() if row["kind"] == "second_serve"],
    }  # fmt: skip
    (folder / "replay.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
