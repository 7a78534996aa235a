"""Requests, loads and tasks made for tests, in seconds from a zero hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from warmstall.judging.requests import Requests
from warmstall.judging.words import Words
from warmstall.matching import Request, epoch
from warmstall.records import Load, SlotTask

START = datetime(2026, 1, 1)
ZERO = epoch(START)


def request(
    row: int, start: float, wall_s: float, status: str = "200", unsure_s: float = 0.0, model: str = "m"
) -> Request:
    begin, end = ZERO + start, ZERO + start + wall_s
    return Request(
        row, "box", "server.log", row + 1, status, "/api/chat", wall_s, begin, begin + unsure_s, end, end + unsure_s,
        True, False, model=model,
    )  # fmt: skip


def columns(requests: Sequence[Request]) -> Requests:
    """The same requests as columns, rows in the order given."""
    texts = {name: Words.of([getattr(one, name) for one in requests]) for name in ("host", "source", "status", "path")}
    posted = Words.of(["POST"] * len(requests))
    numbers = {
        "line": np.array([one.line for one in requests], dtype=np.int64),
        "wall_s": np.array([one.wall_s for one in requests], dtype=float),
        "ended_from": np.array([1e6 * one.ended_from for one in requests], dtype=np.int64),
        "ended_to": np.array([1e6 * one.ended_to for one in requests], dtype=np.int64),
    }
    found = Requests(numbers, texts | {"method": posted, "client": posted}, np.empty(0, dtype=np.int64))
    for row, one in enumerate(requests):
        one.row = row
    found.refine(requests)
    return found


def load(start: float, seconds: float, model: str = "m", outcome: Any = "completed") -> Load:
    began, ended = START + timedelta(seconds=start), START + timedelta(seconds=start + seconds)
    return Load("box", "server.log", 1, model, began, ended, seconds, outcome, False, "", None, None, False, began)


def task(line: int, finished_line: int, total_s: float) -> SlotTask:
    """A task of slot 0; its lines have no stamps, as those of llama-server have none."""
    return SlotTask(
        "box", "server.log", line, 0, line, None, None, finished_line, finished_line + 2, False, total_s / 4, 40,
        3 * total_s / 4, 60, total_s, False,
    )  # fmt: skip
