"""Every hypothesis judged on one case: its state, with what speaks for and against it and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ..analysis import Analysis
from .catalogue import Page, catalogue, modules
from .facts import Facts
from .findings import SEVERITIES, STATES, Evidence, Finding, Severity, State, Unseen, state_of, unseen

# How the order begins that stands where a hypothesis could not be judged for a fault of its own.
BROKEN = "a fault of warmstall's own while judging"
_STRENGTHS = ("decisive", "strong", "weak")


@dataclass(frozen=True)
class Judgement:
    """One hypothesis on one case. Evidence comes strongest first; `collect` is what would tell more."""

    page: Page
    state: State
    severity: Severity
    evidence: tuple[Evidence, ...]
    collect: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.page.id

    @property
    def found(self) -> bool:
        """Whether the evidence speaks for it: confirmed or supported."""
        return self.state in ("confirmed", "supported")

    @property
    def supporting(self) -> tuple[Evidence, ...]:
        return tuple(item for item in self.evidence if item.direction == "for")

    @property
    def opposing(self) -> tuple[Evidence, ...]:
        return tuple(item for item in self.evidence if item.direction == "against")


# An answer, its summary and a report ask for the same judgements.
_judged_before: WeakKeyDictionary[Analysis, list[Judgement]] = WeakKeyDictionary()


def judge(found: Analysis) -> list[Judgement]:
    """All hypotheses on an analysis: what is found first, the most severe of it first.

    >>> from warmstall.analysis import analyze
    >>> from warmstall.case import sample_incident
    >>> judge(analyze(sample_incident()))[0].id
    'warm_stall'
    """
    if found in _judged_before:
        return list(_judged_before[found])
    facts = Facts(found)
    judged = [judge_one(facts, name) for name in catalogue()]
    _judged_before[found] = sorted(judged, key=_rank)
    return list(_judged_before[found])


def judge_one(facts: Facts, name: str) -> Judgement:
    """One hypothesis, by its id."""
    return _judged(catalogue()[name], _findings(name, facts))


def _rank(one: Judgement) -> tuple[int, int, int, str]:
    """What is found first, the most severe of it first; then what is ruled out, then what could not be seen."""
    state = STATES.index(one.state)
    return 0 if one.found else state, -SEVERITIES.index(one.severity), state, one.id


def _findings(name: str, facts: Facts) -> list[Finding]:
    """What the file of one hypothesis yields; its fault must not cost the reader all other answers."""
    try:
        return list(modules()[name].findings_in(facts))
    except Exception as error:
        return [unseen(f"{BROKEN} {name} ({type(error).__name__}: {error}); please report it")]


def _judged(page: Page, findings: list[Finding]) -> Judgement:
    state = state_of(findings)
    evidence = [item for item in findings if isinstance(item, Evidence)]
    evidence.sort(key=lambda item: _STRENGTHS.index(item.strength))
    telling = [item for item in evidence if item.direction == "for" and item.strength != "weak"]
    found = state in ("confirmed", "supported")
    severities = [item.severity or page.severity for item in telling] if found else []
    severity = max(severities, key=SEVERITIES.index, default=page.severity)
    collect = dict.fromkeys(item.collect for item in findings if isinstance(item, Unseen))
    return Judgement(page, state, severity, tuple(evidence), tuple(collect) if state != "ruled_out" else ())
