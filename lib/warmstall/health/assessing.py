"""One period judged: measured, held against objectives, the usual and the last report, and told in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis import Analysis
from ..parse.plain_text import printable
from ..period import within
from . import reasons as why
from .drift import audit, configuration, drifted
from .exhaustion import exhaustions
from .failures import failures
from .history import last_report
from .objectives import default_objectives_path, judge_objectives, read_objectives
from .records import SEVERITY_ORDER, HealthReport, Objective, ObjectiveResult, Reason, Sli, Status
from .residency import churn
from .seasons import compared
from .seen_causes import gone_causes, seen_causes
from .signs import serving_hosts, signs_of_life
from .slis import Samples, measured, sampled
from .telling import Told, numbers
from .telling import sentence as head_sentence
from .unobserved import unobserved
from .words import sentence

if TYPE_CHECKING:
    import pandas as pd


def assess(
    found: Analysis, from_at: datetime, to_at: datetime, objectives: Sequence[Objective] | None = None,
    history: pd.DataFrame | None = None, previous: Mapping[str, Any] | None = None, every_s: float = 3600.0,
    notes: Iterable[str] = (), written_at: datetime | None = None, period: Analysis | None = None,
) -> HealthReport:  # fmt: skip
    """What the evidence says of the time after `from_at` up to `to_at`.

    `found` is the whole evidence, `history` what earlier reports measured (`history.read`), `previous` the last
    verdict, `every_s` how far apart reports are. Without `objectives` those of the project hold. `period` is `found`
    narrowed to that time, where the caller has it.
    """
    written_at = written_at or datetime.now(UTC)
    history = last_report(Path()) if history is None else history
    objectives = read_objectives(default_objectives_path()) if objectives is None else objectives
    period = period or within(found, from_at, to_at)
    hosts = serving_hosts(found)
    samples = sampled(period)
    slis = measured(period, samples)
    results = judge_objectives(objectives, slis, samples, history, from_at, to_at)
    missed_by = missed_by_hosts(objectives, slis, samples, history, from_at, to_at)
    failed = failures(period, slis)
    comparisons = compared(history, slis, from_at, to_at)
    memory = exhaustions(found, history, to_at)
    missed = [*results, *(one for ones in missed_by.values() for one in ones)]
    unexplained = any(one.judged == "missed" for one in missed) or (failed.bad > 0 and not _allowed(results))
    seen = seen_causes(found, period, from_at, to_at, hosts, previous, unexplained)
    gone = gone_causes(period, seen, previous)
    configured = configuration(period)
    before = (previous or {}).get("configuration") or {}
    reasons = [
        *why.by_signs(signs_of_life(found, period, from_at)),
        *why.by_objectives(results, missed_by),
        *why.by_memory(memory, from_at, to_at, every_s, len(hosts) > 1),
        *why.by_causes(seen, why.failing(missed)),
        *why.by_comparisons(comparisons),
        *why.by_audit(audit(period), hosts, seen),
    ]
    status = status_of(reasons)
    recovered = (previous or {}).get("status") in ("degraded", "critical") and all(
        one.state == "ruled_out" for one in gone
    )
    told = Told(status, reasons, failed, seen, slis, results, comparisons, memory, from_at, to_at, recovered)
    return HealthReport(
        status=status,
        sentence=head_sentence(told),
        numbers=numbers(told),
        from_at=from_at,
        to_at=to_at,
        written_at=written_at,
        due_at=written_at + timedelta(seconds=every_s),
        hosts=hosts,
        reasons=tuple(replace(one, sentence=printable(sentence(one.sentence))) for one in reasons),
        slis=tuple(slis),
        objectives=tuple(results),
        comparisons=tuple(comparisons),
        memory=tuple(memory),
        drift=tuple(drifted(before, configured)),
        causes=(*(one.cause for one in seen), *gone),
        residency=tuple(churn(period, from_at, to_at)),
        not_observed=tuple(unobserved(period, from_at, slis)),
        notes=tuple(notes),
        configuration={**before, **configured},
    )


def status_of(reasons: Iterable[Reason]) -> Status:
    """The worst of the reasons; healthy where there is none.

    >>> status_of([]), status_of([Reason("memory:box", "degraded", ""), Reason("unseen:box", "could not tell", "")])
    ('healthy', 'degraded')
    """
    return max((one.status for one in reasons), key=SEVERITY_ORDER.index, default="healthy")


def _allowed(results: Iterable[ObjectiveResult]) -> bool:
    """Whether what failed is within the objective."""
    return any(one.objective.sli == "availability" and one.judged == "met" for one in results)


def missed_by_hosts(
    objectives: Sequence[Objective], slis: Sequence[Sli], samples: Mapping[tuple[str, str], Samples],
    history: pd.DataFrame, from_at: datetime, to_at: datetime,
) -> dict[str, list[ObjectiveResult]]:  # fmt: skip
    """What each of several hosts misses by its own requests: a small one that fails is lost in the sum of all."""
    missed = {}
    for host in dict.fromkeys(one.host for one in slis if one.host):
        results = judge_objectives(objectives, slis, samples, history, from_at, to_at, host)
        missed[host] = [one for one in results if one.judged == "missed"]
    return missed
