"""States from findings, and causes at once: what decides, what a missing source does, which step changes most."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from warmstall.analysis import analyze
from warmstall.case import sample_incident
from warmstall.hypotheses import catalogue, stacked
from warmstall.hypotheses.facts import Facts
from warmstall.hypotheses.findings import (
    Finding,
    Place,
    excludes,
    hints,
    proves,
    refutes,
    state_of,
    supports,
    unseen,
    weakens,
)
from warmstall.hypotheses.judging import BROKEN, Judgement, judge, judge_one

HERE = Place("box", "server.log", 12)
KINDS = (proves, supports, hints, weakens, refutes, excludes)
findings = st.lists(st.sampled_from([*(kind("1 of 2.", HERE) for kind in KINDS), unseen("vm_stat")]), max_size=6)


def test_what_decides() -> None:
    for_it, against = supports("8 of 40 hung.", HERE), refutes("0 of 40 hung.", HERE)
    assert state_of([]) == "not_observable"
    assert state_of([hints("1 of 40 hung.", HERE), weakens("2 ended well.", HERE)]) == "not_observable"
    assert state_of([for_it, against]) == "supported"
    assert state_of([for_it, proves("9 of 40 stood still.", HERE)]) == "confirmed"
    assert state_of([against]) == "ruled_out"
    assert state_of([against, unseen("vm_stat")]) == "not_observable"
    assert state_of([proves("9 of 40 stood still.", HERE), excludes("It was not running.", HERE)]) == "ruled_out"


@given(findings, findings)
def test_a_source_that_becomes_unseen_rules_nothing_out(stays: list[Finding], goes: list[Finding]) -> None:
    """What a missing source yielded is gone, and `unseen` stands in its place."""
    whole = state_of([*stays, *goes])
    left = state_of([*stays, unseen("that source")])
    assert left != "ruled_out" or whole == "ruled_out"


def found(name: str, severity: str = "", leads_to: tuple[str, ...] = ()) -> Judgement:
    page = replace(catalogue()[name], leads_to=leads_to)
    evidence = (proves("8 of 40 hung.", HERE),)
    return Judgement(page, "confirmed", severity or page.severity, evidence, ())  # type: ignore[arg-type]


def test_the_step_that_changes_most_is_where_the_causes_begin() -> None:
    lock = found("memlock_limit", "critical", ("warm_stall",))
    vulkan = found("vulkan_backend", "warning", ("warm_stall",))
    stall = found("warm_stall", "critical", ("gpu_idle_but_held",))
    idle = found("gpu_idle_but_held", "critical")
    apart = found("vector_store_mount", "warning")
    stack = stacked([vulkan, stall, idle, apart, lock])
    assert [done.judgement.id for done in stack.mitigations] == [
        "memlock_limit", "vulkan_backend", "vector_store_mount",
    ]  # fmt: skip
    best = stack.mitigations[0]
    assert (best.prevents, best.shortens) == ((), ("warm_stall",))
    assert set(best.leaves) == {"vulkan_backend", "gpu_idle_but_held", "vector_store_mount"}
    assert "Memory lock limit leads to warm stall." in stack.sentences
    assert any(sentence.startswith("Independent of the others: vector store mount") for sentence in stack.sentences)


def test_without_its_only_cause_a_chain_is_prevented() -> None:
    stack = stacked([found("rocm_mismatch", "warning", ("cpu_fallback",)), found("cpu_fallback", "warning")])
    assert stack.mitigations[0].prevents == ("cpu_fallback",)
    assert "would have prevented ROCm mismatch and CPU instead of GPU" in stack.steps[0]


def test_causes_in_a_circle_have_steps_all_the_same() -> None:
    one, other = (
        found("warm_stall", "critical", ("retry_amplification",)),
        found("retry_amplification", "warning", ("warm_stall",)),
    )
    assert len(stacked([one, other]).mitigations) == 2


def test_what_is_ordinary_is_no_cause_of_an_incident() -> None:
    assert stacked([found("cold_start", "info")]).causes == ()


def test_a_fault_in_one_hypothesis_costs_only_its_own_answer(monkeypatch) -> None:
    from warmstall.hypotheses import warm_stall

    def broken(facts: Facts) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(warm_stall, "findings_in", broken)
    judged = {one.id: one for one in judge(analyze(sample_incident()))}
    assert judged["warm_stall"].state == "not_observable"
    assert BROKEN in judged["warm_stall"].collect[0]
    assert judged["cold_start"].found
    assert judge_one(Facts(analyze(sample_incident())), "cold_start").found
