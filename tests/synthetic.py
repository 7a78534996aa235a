"""Invented requests in any number, in the shape of `Analysis.requests()`, for the tests of figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

STARTED_AT = pd.Timestamp("2026-01-05T10:15:00Z")
HOSTILE_PATH = "/<img src=x onerror=alert(1)>"
HOSTILE_MODEL = "</script><script>alert(2)</script>"
# For each verdict its share of the requests and its typical wall time in seconds.
VERDICTS = {
    "warm_ok": (0.80, 1.5),
    "cold_start": (0.02, 9.0),
    "queue_wait": (0.04, 6.0),
    "slow_prefill": (0.02, 20.0),
    "slow_decode": (0.02, 25.0),
    "warm_stall": (0.02, 180.0),
    "load_failure": (0.005, 300.0),
    "runner_crash": (0.005, 12.0),
    "client_abort": (0.01, 60.0),
    "rejected": (0.02, 0.02),
    "unknown": (0.04, 4.0),
}
FAILED = {"load_failure": "500", "runner_crash": "500", "client_abort": "499", "rejected": "503"}


def requests(count: int, seed: int = 1, hostile: bool = False) -> pd.DataFrame:
    """`count` requests, one every two seconds on average, a tenth of them not inference."""
    random = np.random.default_rng(seed)
    started_at = STARTED_AT + pd.to_timedelta(np.sort(random.uniform(0, 2.0 * count, count)), unit="s")
    verdicts = random.choice(list(VERDICTS), count, p=[share for share, _ in VERDICTS.values()])
    inference = random.random(count) > 0.1
    wall_s = np.array([VERDICTS[verdict][1] for verdict in verdicts]) * random.lognormal(0, 0.6, count)
    wall_s = np.where(inference, wall_s, 0.0004).round(6)
    parts = _parts(verdicts, wall_s, random)
    frame = pd.DataFrame(
        {
            "host": "gpu-1",
            "source": "server.log",
            "line": np.arange(count) * 3 + 40,
            "started_at": started_at,
            "ended_at": started_at + pd.to_timedelta(wall_s, unit="s"),
            "uncertainty_s": 0.5,
            "wall_s": wall_s,
            "status": [FAILED.get(verdict, "200") for verdict in verdicts],
            "method": np.where(inference, "POST", "GET"),
            "path": np.where(inference, "/api/chat", "/api/tags"),
            "client": "192.0.2.17",
            "model": random.choice(["llama3.1:8b-instruct-q4_K_M", "nomic-embed-text:latest", "qwen3:32b"], count),
            "verdict": np.where(inference, verdicts, ""),
            "flags": "",
            **parts,
            "reason": [
                f"wall time {wall:.2f} s; the model was resident and no load overlaps; its warm baseline is 1.5 s "
                f"over 200 requests, so this one is {verdict}"
                for wall, verdict in zip(wall_s, verdicts, strict=True)
            ],
            "inference": inference,
        }
    )
    frame["text"] = [
        f'[GIN] {start:%Y/%m/%d - %H:%M:%S} | {status} | {wall:>12.6f}s | 192.0.2.17 | {method:<8} "{path}"'
        for start, status, wall, method, path in zip(
            frame.ended_at, frame.status, frame.wall_s, frame.method, frame.path, strict=True
        )
    ]
    if hostile and count:
        frame.loc[frame.index % 2 == 0, "path"] = HOSTILE_PATH
        frame.loc[frame.index % 3 == 0, "model"] = HOSTILE_MODEL
        frame["reason"] = frame["reason"] + "\x1b[31m $x^2$ \u2028 <script>alert(3)</script>"
        frame["text"] = frame["text"] + HOSTILE_MODEL
    return frame


def _parts(verdicts: np.ndarray, wall_s: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Time budgets whose largest part suits the verdict; a third of the requests has none."""
    names = ["queue_s", "load_s", "prefill_s", "decode_s", "unexplained_s"]
    main = {"cold_start": 1, "load_failure": 1, "queue_wait": 0, "slow_prefill": 2, "warm_stall": 4}
    shares = random.dirichlet(np.ones(5) * 0.3, len(wall_s))
    for row, verdict in enumerate(verdicts):
        shares[row] *= 0.3
        shares[row, main.get(verdict, 3)] += 0.7
    seconds = (shares * wall_s[:, None]).round(3)
    seconds[random.random(len(wall_s)) < 0.3] = np.nan
    return {name: seconds[:, column] for column, name in enumerate(names)}


def residencies(of: pd.DataFrame) -> pd.DataFrame:
    """Each model resident for most of the span in turns; the last one still so at the end."""
    rows = []
    first, last = (of.started_at.min(), of.ended_at.max()) if len(of) else (STARTED_AT, STARTED_AT)
    edges = pd.date_range(first, last, periods=7)
    models = sorted(of.model.unique()) if len(of) else []
    for index, model in enumerate(models):
        for turn in range(index % 2, 6, 2):
            unloaded_at = pd.NaT if turn == 5 else edges[turn + 1]
            rows.append(("gpu-1", model, edges[turn], unloaded_at, "runner stopped" if turn < 5 else "", 7 * turn))
    frame = pd.DataFrame(rows, columns=["host", "model", "loaded_at", "unloaded_at", "unload_evidence", "line"])
    return frame.astype({"loaded_at": "datetime64[ns, UTC]", "unloaded_at": "datetime64[ns, UTC]"})


def windows(of: pd.DataFrame) -> pd.DataFrame:
    """Three spans unlike the rest: failure, slow, silence."""
    columns = ["kind", "from_at", "to_at", "requests", "failed", "sentence"]
    if of.empty:
        return pd.DataFrame(columns=columns)
    edges = pd.date_range(of.started_at.min(), of.ended_at.max(), periods=21)
    rows = [
        ("failure", edges[4], edges[6], 40, 12, "12 of 40 requests failed, against 1 of 100 before"),
        ("slow", edges[9], edges[13], 80, 2, "the median wall time rose from 1.5 s to 20 s"),
        ("silence", edges[17], edges[18], 0, 0, "no request was answered for <b>long</b>"),
    ]
    return pd.DataFrame(rows, columns=columns)
