"""Small cases for the tests of indicators: a server's log beside a client's trials and samples of a GPU."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from hypotheses.example import NOON, ServerLog
from warmstall.analysis import Analysis, analyze

_COLUMNS = ("start_ts", "end_ts", "endpoint", "model", "status", "error", "ttft_s", "total_duration", "load_duration",
            "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")  # fmt: skip


def log(*requests: tuple[float, float, int], path: str = "/api/generate", **settings: str) -> ServerLog:
    """A server that started, loaded its model, and had these requests: (seconds after noon, wall time, status)."""
    made = ServerLog().start(**settings).load(2)
    for at_s, wall_s, status in requests:
        made.request(at_s, wall_s, status, path)
    return made


def steady(count: int, wall_s: float = 2.0, first_s: float = 10, every_s: float = 10) -> list[tuple[float, float, int]]:
    """Requests one after the other that are answered."""
    return [(first_s + every_s * number, wall_s, 200) for number in range(count)]


def trial(at_s: float, wall_s: float, status: str = "200", error: str = "", tokens: int = 100, decode_s: float = 1.0,
          **more: object) -> dict[str, object]:  # fmt: skip
    """A call as its client saw it, with Ollama's final chunk where it was answered."""
    row: dict[str, object] = {
        "start_ts": _stamp(at_s), "end_ts": _stamp(at_s + wall_s), "endpoint": "/api/generate", "model": "llama3.1:8b",
        "status": status, "error": error,
    }  # fmt: skip
    if not error:
        row |= {"total_duration": int(wall_s * 1e9), "load_duration": 2 * 10**7, "prompt_eval_count": 50,
                "prompt_eval_duration": 10**8, "eval_count": tokens, "eval_duration": int(decode_s * 1e9)}  # fmt: skip
    return row | more


def gpu_looks(seconds: Iterable[float], power_w: float, gpu: str = "0") -> list[dict[str, object]]:
    """What a watch notes of one GPU."""
    return [
        {"at": _stamp(at_s), "rows": {"gpus": [{"gpu": gpu, "name": "a GPU", "vendor": "NVIDIA", "power_w": power_w}]}}
        for at_s in seconds
    ]


def case(
    folder: Path,
    logs: ServerLog | Mapping[str, ServerLog],
    trials: Iterable[Mapping[str, object]] = (),
    samples: Iterable[Mapping[str, object]] = (),
) -> Analysis:
    """The analysis of these files, in a folder of one host, or of several by their names."""
    hosts = logs if isinstance(logs, Mapping) else {"box": logs}
    for host, made in hosts.items():
        own = folder / "evidence" / host
        own.mkdir(parents=True)
        (own / "server.log").write_text(made.text(), encoding="utf-8")
    own = folder / "evidence" / next(iter(hosts))
    if rows := list(trials):
        with (own / "trials.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    if looks := list(samples):
        text = "".join(json.dumps(look) + "\n" for look in looks)
        (own / "samples-0001.jsonl").write_text(text, encoding="utf-8")
    (folder / "case.json").write_text(json.dumps({"schema": 1, "hosts": list(hosts), "zone": "+00:00"}))
    return analyze(folder)


def _stamp(at_s: float) -> str:
    return (NOON + timedelta(seconds=at_s)).isoformat(timespec="milliseconds")
