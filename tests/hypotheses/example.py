"""What an example of a hypothesis is: a few small files of evidence, and the state that they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from generate.writing import TimedLines, access, slog

from warmstall.analysis import analyze
from warmstall.hypotheses import Judgement
from warmstall.hypotheses.facts import Facts
from warmstall.hypotheses.judging import judge_one

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-" + "ab" * 32


@dataclass(frozen=True)
class Example:
    """Files by name, the state they must lead to, and words that some sentence or order must hold."""

    name: str
    state: str
    files: dict[str, str]
    says: tuple[str, ...] = field(default=())
    severity: str = ""


def judgement(name: str, folder: Path, files: dict[str, str]) -> Judgement:
    """Write the files into a folder and judge one hypothesis on them."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return judge_one(Facts(analyze(folder)), name)


class ServerLog(TimedLines):
    """A small server log: `start`, `load` and `request` write what Ollama 0.13 writes; `add` writes any line.

    Moments are seconds after noon, UTC.
    """

    def start(self, at_s: float = 0, version: str = "0.13.5", device: str = "CUDA", **settings: str) -> ServerLog:
        at = NOON + timedelta(seconds=at_s)
        values = {"OLLAMA_DEBUG": "INFO", "OLLAMA_KEEP_ALIVE": "5m0s", "OLLAMA_NUM_PARALLEL": "1",
                  "OLLAMA_ORIGINS": "[http://localhost]"} | settings  # fmt: skip
        env = "map[" + " ".join(f"{name}:{value}" for name, value in sorted(values.items())) + "]"
        self.add(at, slog(at, "INFO", "routes.go:1554", "server config", env=env))
        self.add(at, slog(at, "INFO", "routes.go:1607", f"Listening on 127.0.0.1:11434 (version {version})"))
        if device == "cpu":
            fields = {"id": "cpu", "library": "cpu", "compute": "", "name": "cpu", "total": "31.1 GiB",
                      "available": "28.4 GiB"}  # fmt: skip
        else:
            fields = {"id": "GPU-0", "library": device, "compute": "8.9", "name": f"{device}0",
                      "description": "a GPU", "total": "24.0 GiB", "available": "23.5 GiB"}  # fmt: skip
        self.add(at, slog(at, "INFO", "types.go:42", "inference compute", **fields))
        return self

    def load(self, at_s: float, load_s: float = 2.0, blob: str = BLOB, port: int = 40001) -> ServerLog:
        at = NOON + timedelta(seconds=at_s)
        ready = at + timedelta(seconds=load_s)
        cmd = f"/usr/local/bin/ollama runner --ollama-engine --model {blob} --port {port}"
        self.add(at, slog(at, "INFO", "server.go:392", "starting runner", cmd=cmd))
        self.add(ready, slog(ready, "INFO", "server.go:1376", f"llama runner started in {load_s:.2f} seconds"))
        return self

    def request(self, at_s: float, wall_s: float, status: int = 200, path: str = "/api/chat") -> ServerLog:
        """A request that began `at_s` seconds after noon."""
        ended = NOON + timedelta(seconds=at_s + wall_s)
        self.add(ended, access(ended, status, wall_s, path))
        return self
