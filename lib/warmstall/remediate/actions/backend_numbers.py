"""What a case tells of the backend that it ran on: hangs, waits, tokens, models, loads, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd

from ...analysis import analyze
from ...case import sample_incident
from ...hypotheses.facts import Facts
from ...hypotheses.facts.calls import calls_of
from ...hypotheses.facts.judged_calls import judged_calls


@dataclass(frozen=True)
class Rate:
    """So many of so many."""

    count: int
    of: int


@dataclass(frozen=True)
class BackendNumbers:
    """One case's numbers; None where its evidence does not tell. Walls are of calls that were answered.

    `api_calls` are those to Ollama's own endpoints, which no other backend has. `model_bytes` is what each model held
    in memory; `gpu_bytes` each GPU's memory.
    """

    case: str
    hangs: Rate
    hangs_by_model: dict[str, Rate] = field(default_factory=dict)
    wall_p50_s: float | None = None
    wall_p95_s: float | None = None
    input_tokens_per_call: float | None = None
    output_tokens_per_call: float | None = None
    calls_per_day: float | None = None
    busy_share: float | None = None
    models_per_run: float | None = None
    loads: Rate = field(default_factory=lambda: Rate(0, 0))
    api_calls: Rate = field(default_factory=lambda: Rate(0, 0))
    model_bytes: dict[str, int] = field(default_factory=dict)
    gpu_bytes: tuple[int, ...] = ()
    context_length: int | None = None
    versions: tuple[str, ...] = ()


def default_case() -> Path:
    """The incident that stands for a case where none is given: calls that hang on some of many models."""
    many_models = sample_incident().parent / "hangs-over-many-models"
    return many_models if many_models.is_dir() else sample_incident()  # an installed package has the one sample


def numbers_of(case: str) -> BackendNumbers:
    """The numbers of a case, a folder of captures or a log; of an incident of the project when none is given.

    Raises InputError when it cannot be used.
    """
    path = Path(case) if case else default_case()
    # A plan is looked at several times in one run; the evidence is read once.
    stamps = tuple(sorted(found.stat().st_mtime_ns for found in [path, *path.rglob("*")] if found.is_file()))
    return _numbers(path, stamps)


@lru_cache(maxsize=4)
def _numbers(path: Path, _stamps: Sequence[int]) -> BackendNumbers:
    facts = Facts(analyze(path))
    calls, judged = calls_of(facts), judged_calls(facts)
    rows = calls if len(calls) else facts.requests
    answered = rows[rows["status"].str.startswith("2")]
    walls = answered["wall_s"].dropna()
    by_model = {str(model): Rate(int(own.sum()), len(own)) for model, own in judged.groupby("model")["hung"]}
    span_s = _span_s(rows)
    residents = facts.table("resident_models").dropna(subset=["size_bytes"])
    gpus = facts.table("gpus").dropna(subset=["total_bytes"]).drop_duplicates(["host", "gpu"])
    contexts = [*residents["context_length"].dropna(), *facts.loads["context_length"].dropna()]
    return BackendNumbers(
        case=path.name,
        hangs=Rate(int(judged["hung"].sum()), len(judged)),
        hangs_by_model=by_model,
        wall_p50_s=float(walls.quantile(0.5)) if len(walls) else None,
        wall_p95_s=float(walls.quantile(0.95)) if len(walls) else None,
        input_tokens_per_call=_mean(calls["prompt_eval_count"]),
        output_tokens_per_call=_mean(calls["eval_count"]),
        calls_per_day=86400 * len(rows) / span_s if span_s else None,
        busy_share=_busy_s(facts.requests) / whole_s if (whole_s := _span_s(facts.requests)) else None,
        models_per_run=_models_per_run(calls, rows),
        loads=Rate(len(facts.loads), len(rows)),
        api_calls=Rate(int(rows["path"].str.startswith("/api/").sum()), len(rows)),
        model_bytes={str(model): int(size) for model, size in residents.groupby("model")["size_bytes"].max().items()},
        gpu_bytes=tuple(int(size) for size in gpus["total_bytes"]),
        context_length=int(max(contexts)) if contexts else None,
        versions=tuple(facts.found.versions()),
    )


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.mean()) if len(known) else None


def _span_s(rows: pd.DataFrame) -> float:
    known = rows.dropna(subset=["started_at", "ended_at"])
    return (known["ended_at"].max() - known["started_at"].min()).total_seconds() if len(known) else 0.0


def _busy_s(requests: pd.DataFrame) -> float:
    """How long at least one request was open."""
    rows = requests.sort_values("started_at")
    reach = rows["ended_at"].cummax().shift().fillna(rows["started_at"])
    from_at = rows["started_at"].where(rows["started_at"] > reach, reach)
    return float((rows["ended_at"] - from_at).dt.total_seconds().clip(lower=0).sum())


def _models_per_run(calls: pd.DataFrame, rows: pd.DataFrame) -> float | None:
    """How many models one run of the client needs, in the middle; of all calls where they are of no runs."""
    runs = calls[calls["run_id"].ne("") & calls["model"].ne("")]
    if len(runs):
        return float(runs.groupby("run_id")["model"].nunique().median())
    models = rows["model"][rows["model"].ne("")].nunique()
    return float(models) if models else None
