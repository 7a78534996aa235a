"""A drill's server as another process: started, awaited, stopped, started again on the same port."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import httpx
import psutil

from ..errors import InputError, WarmstallError
from .eras import DEFAULT_VERSION, ERAS
from .gpu import SimulatedGpu
from .runner import PROGRAMS, free_port

# The kernel ends a drill with the thread that started it, so one thread that lasts as long as we do starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drill")
_PATIENCE_S = 60.0


class DrillServer:
    """One server on a free port of loopback, with its log in a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, DrillServer(Path(folder)) as server:
    ...     httpx.get(server.url + "/api/version").json()
    {'version': '0.13.5'}
    """

    def __init__(
        self, folder: Path, version: str = DEFAULT_VERSION, environment: Mapping[str, str] | None = None,
        timetable: Path | None = None, seed: int = 1, runner: str = "synthetic",
        gpu: str | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.version = version
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.truth = folder / "server_truth.jsonl"
        self._environment = dict(environment or {})
        if runner == "llama":
            self._environment.setdefault("OLLAMA_MODELS", str(folder / "models"))
        self._arguments = ["--version", version, "--seed", str(seed), "--runner", runner, "--truth", str(self.truth)]
        if gpu:
            self._arguments += ["--gpu", gpu]
        if timetable:
            self._arguments += ["--timetable", str(timetable)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server; 0 while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self) -> None:
        """Start it and wait until it answers. Raises WarmstallError with the log's end when it does not."""
        self._process = _starter.submit(self._spawn).result()
        ends = time.monotonic() + _PATIENCE_S
        while True:
            try:
                # Without encryption; to read whom it would trust takes longer than the answer.
                httpx.get(f"{self.url}/api/version", timeout=2.0, trust_env=False, verify=False).raise_for_status()
                return
            except httpx.HTTPError as error:
                if self._process.poll() is not None or time.monotonic() > ends:
                    told = self.log.read_text(errors="replace")[-2000:]
                    raise WarmstallError(f"the drill's server did not start; its log ends: {told}") from error
                time.sleep(0.02)  # between two questions to a process that starts

    def _spawn(self) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("OLLAMA_")}
        environment = {**inherited, **self._environment, "OLLAMA_HOST": f"127.0.0.1:{self.port}"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "warmstall.drill.serve", *self._arguments, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip

    def runner_pids(self) -> list[int]:
        """Its runners, the newest last."""
        if not self.pid:
            return []
        try:
            children = psutil.Process(self.pid).children(recursive=True)
            return [child.pid for child in sorted(children, key=lambda child: child.create_time())]
        except psutil.Error:
            return []

    def stop(self) -> int | None:
        """SIGTERM, as an operator would; the return code. Its runners end with it."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait(5.0)

    def __enter__(self) -> DrillServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def serve_here(port: int, version: str, runner: str, gpu: str) -> int:
    """Serve in the foreground until a signal ends it; returns the exit code. Raises InputError for unknown words."""
    for given, known in ((version, list(ERAS)), (runner, list(PROGRAMS))):
        if given not in known:
            raise InputError(f"{given!r} is none of {', '.join(known)}.")
    SimulatedGpu.read(gpu)
    with tempfile.TemporaryDirectory(prefix="warmstall-drill-") as folder:
        environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{port or free_port()}"}
        if runner == "llama":
            environment.setdefault("OLLAMA_MODELS", str(Path(folder) / "models"))
        words = [sys.executable, "-m", "warmstall.drill.serve", "--version", version, "--runner", runner]
        words += ["--parent", str(os.getpid()), *(["--gpu", gpu] if gpu else [])]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()
