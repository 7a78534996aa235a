"""The nouns of a case as frozen dataclasses. Times are naive UTC datetimes, durations seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Verdict = Literal[
    "warm_ok", "cold_start", "queue_wait", "slow_prefill", "slow_decode", "warm_stall",
    "load_failure", "runner_crash", "client_abort", "rejected", "unknown",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = Verdict.__args__  # type: ignore[attr-defined]

LoadOutcome = Literal["completed", "failed", "abandoned", "timed_out", "unfinished"]


@dataclass(frozen=True)
class ServerRun:
    """One life of `ollama serve`: from its first line to the next start."""

    host: str
    source: str
    line: int
    started_at: datetime | None
    version: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """One model load: spawn → ready, failed, or given up. `ended_at` is when it came to its outcome.

    A runner may be spawned to measure its model and then wait until others have left memory: the load
    itself runs from `began_at`.
    """

    host: str
    source: str
    line: int
    model: str
    spawned_at: datetime
    ended_at: datetime | None
    load_s: float | None
    outcome: LoadOutcome
    reload: bool
    reason: str
    parallel: int | None
    context_length: int | None
    embedding: bool
    began_at: datetime
    evicted: bool = False

    @property
    def ready_at(self) -> datetime | None:
        return self.ended_at if self.outcome == "completed" else None


@dataclass(frozen=True)
class Residency:
    """A model in memory: from the end of its load to the first sign that it is gone (None: still there)."""

    host: str
    source: str
    line: int
    model: str
    loaded_at: datetime
    unloaded_at: datetime | None
    unload_evidence: str


@dataclass(frozen=True)
class SlotTask:
    """One completion inside llama-server, from its slot lines (Ollama ≥ 0.30).

    `finished_line` is where its timing stands, 0 when it never printed one: then it was cancelled by its
    client, or its runner died.
    """

    host: str
    source: str
    line: int
    slot: int
    task: int
    started_from: datetime | None
    started_to: datetime | None
    finished_line: int
    released_line: int
    cancelled: bool
    prefill_s: float | None
    prefill_tokens: int | None
    decode_s: float | None
    decode_tokens: int | None
    total_s: float | None
    truncated: bool


@dataclass(frozen=True)
class Window:
    """A span that is unlike its baseline, found by the program."""

    host: str
    kind: Literal["failure", "slow", "silence", "throughput"]
    from_at: datetime
    to_at: datetime
    requests: int
    failed: int
    sentence: str
