"""The draft: all its sections, numbers with their places, and nothing of a log that becomes markup."""

from __future__ import annotations

import re
from pathlib import Path

from nbconvert.filters.markdown import markdown2html

from conftest import INCIDENTS
from hypotheses.examples.stopping_deadlock import STUCK
from warmstall import causes
from warmstall.analysis import analyze
from warmstall.hypotheses import judge
from warmstall.postmortem import draft

SECTIONS = ["Impact", "Timeline", "Contributing factors", "What was ruled out", "What we could not see",
            "Mitigations", "Follow-ups"]  # fmt: skip


def section(text: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_the_draft_of_a_stack_of_causes() -> None:
    text = draft(analyze(INCIDENTS / "warm-stall-apple-silicon"))
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    assert "372 of 12,827 requests failed (2.90 %)" in section(text, "Impact")
    times = re.findall(r"^\| (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \|", section(text, "Timeline"), flags=re.MULTILINE)
    assert len(times) >= 6
    assert times == sorted(times)
    factors = section(text, "Contributing factors")
    for name in ("memory_pressure", "stopping_deadlock", "flash_attention_cpu_spill", "warm_stall"):
        assert f"`{name}`" in factors
    assert "The single step that changes most" in factors
    assert "`cold_start`" in section(text, "What was ruled out")
    assert "recover-stuck-runner" in section(text, "Mitigations") or "flash-attention-off" in section(
        text, "Mitigations"
    )
    assert "- [ ]" in section(text, "Follow-ups")


def test_a_case_without_trouble_has_a_draft_too(tmp_path: Path) -> None:
    (tmp_path / "vm_stat.txt").write_text(
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 3.\n"
    )
    text = draft(analyze(tmp_path))
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    assert "No request to a model stands in the evidence" in text


def test_nothing_from_a_log_becomes_markup(tmp_path: Path) -> None:
    """A model's name comes from outside, and stands in the sentences about it."""
    hostile = "<img src=x onerror=alert(1)>[x](javascript:alert(2))**m**|"
    for name, text in STUCK.items():
        (tmp_path / name).write_text(text.replace("m:latest", hostile), encoding="utf-8")
    found = analyze(tmp_path)
    for text in (draft(found), causes.markdown(judge(found))):
        assert "stood in /api/ps past" in text
        page = markdown2html(text)
        assert "<img" not in page
        assert 'href="javascript' not in page
        assert "<strong>m</strong>" not in page
