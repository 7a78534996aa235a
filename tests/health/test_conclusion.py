"""How a report ends: the verdict is last and whole, an error is told, and what cannot be read is no verdict."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from warmstall.errors import InputError, OutputError
from warmstall.health import conclusion
from warmstall.health.conclusion import conclude, failed_verdict, read_assessment, read_verdict, save, verdict_of
from warmstall.health.plain import plain, report_of
from warmstall.health.records import (
    Cause,
    Comparison,
    Drift,
    Exhaustion,
    HealthReport,
    Number,
    Objective,
    ObjectiveResult,
    Reason,
    Sli,
)  # fmt: skip

FROM = datetime(2026, 4, 7, 15, tzinfo=UTC)
TO = FROM + timedelta(hours=1)


def report(**changes: object) -> HealthReport:
    """A critical report that has one of everything."""
    objective = Objective("availability", 0.99, "at least")
    made = HealthReport(
        status="critical", sentence="Critical: 47 of 1,041 requests were given up after 60 s.",
        numbers=(Number("requests", "1,041, 47 failed"),), from_at=FROM, to_at=TO, written_at=TO,
        due_at=TO + timedelta(hours=1), hosts=("mac",),
        reasons=(Reason("objective:availability:", "critical", "47 of 1,041 failed."),),
        slis=(Sli("availability", "", 0.955, "share", 994, 1041),),
        objectives=(ObjectiveResult(objective, "missed", 0.955, 47, 1041, 4.5, 0.01),),
        comparisons=(Comparison("wall_p95_s", "", 14.0, 6.1, 4.0, 9.2, 8, True),),
        memory=(Exhaustion("mac", "memory", "falling", TO, 3.8e9, 64e9, -4e10, 2400.0, 1800.0, None, 4, "It falls."),),
        drift=(Drift("mac", "version", "Ollama", "0.20.2", "0.20.4", "Ollama was upgraded."),),
        causes=(Cause("warm_stall", "Warm stall", "supported", "critical", "new", "They stood still."),),
        residency=({"model": "gemma4", "loads": 1, "in_memory_share": 1.0},), not_observed=("GPUs.",),
        notes=("A note.",), configuration={"mac|version|Ollama": "0.20.4"},
    )  # fmt: skip
    return replace(made, **changes)


def test_what_is_saved_is_read_back_as_it_was(tmp_path):
    assert save(report(), tmp_path).name == "assessment.json"
    assert read_assessment(tmp_path) == report()
    assert [path.name for path in tmp_path.iterdir()] == ["assessment.json"]


def test_no_number_is_null_and_not_a_word_that_json_has_not(tmp_path):
    sli = Sli("wall_p95_s", "", math.nan, "s", of=0)
    text = save(report(slis=(sli, replace(sli, value=math.inf))), tmp_path).read_text()
    assert [row["value"] for row in json.loads(text, parse_constant=pytest.fail)["slis"]] == [None, None]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"critical"', "[" * 9999),
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace("2026-04-07T15:00:00Z", "yesterday"),
    ],
)
def test_a_file_that_is_no_assessment_is_none(tmp_path, damage):
    path = save(report(), tmp_path)
    path.write_text(damage(path.read_text()), encoding="utf-8")
    assert read_assessment(tmp_path) is None


def test_values_of_another_form_are_refused_with_what_is_missing():
    with pytest.raises(InputError, match="hosts"):
        report_of({name: value for name, value in ({"schema": 1} | plain(report())).items() if name != "hosts"})


def test_a_verdict_says_everything_that_was_promised():
    verdict = verdict_of(report(), {"sent": []}, page="reports/x/report.html")
    promised = {"schema", "status", "exit_code", "sentence", "colour", "numbers", "from", "to", "written_at", "due_at",
                "hosts", "reasons", "slis", "objectives", "memory", "drift", "causes", "not_observed", "notes",
                "configuration", "delivery", "report", "error"}  # fmt: skip
    assert promised <= set(verdict)
    assert (verdict["status"], verdict["exit_code"], verdict["colour"]) == ("critical", 2, "red")
    assert (verdict["from"], verdict["to"]) == ("2026-04-07T15:00:00Z", "2026-04-07T16:00:00Z")
    assert verdict["report"] == "reports/x/report.html"


def test_an_error_after_the_assessment_hides_neither_itself_nor_what_was_found():
    verdict = verdict_of(report(), error="ValueError: \x1b[31mno figure\nat all")
    assert (verdict["status"], verdict["exit_code"]) == ("could not tell", 3)
    assert verdict["error"] == "ValueError:  [31mno figure at all"
    assert "no figure" in verdict["sentence"]
    assert "47 of 1,041" in verdict["sentence"]
    assert [reason["key"] for reason in verdict["reasons"]] == ["report:error", "objective:availability:"]


def test_a_report_that_came_to_nothing_has_a_verdict_that_the_next_one_goes_on_from(tmp_path):
    """Nothing is skipped: the next report covers its period again, and knows what the one before knew."""
    from warmstall.health.spans import period_for

    failed = failed_verdict(FROM, TO, "KeyError: 'x'", verdict_of(report()), written_at=TO)
    verdict = conclude(tmp_path, None, failed=failed, now=TO)
    assert (verdict["status"], verdict["exit_code"], verdict["colour"]) == ("could not tell", 3, "grey")
    assert verdict["configuration"] == {"mac|version|Ollama": "0.20.4"}
    assert [cause["id"] for cause in verdict["causes"]] == ["warm_stall"]
    covered = period_for(read_verdict(tmp_path), TO + timedelta(hours=1), 3600, 86400)
    assert covered.from_at == FROM


def test_the_verdict_is_written_last(tmp_path, monkeypatch):
    """Whoever sees a verdict finds history, delivery and the run's own copy done; killed before it, there is none."""
    order = []
    write = conclusion._write

    def killed_at_last(path, values):
        order.append(path)
        if path == tmp_path / "verdict.json":
            assert next(tmp_path.glob("history/*.parquet"), None)
            raise KeyboardInterrupt
        write(path, values)

    monkeypatch.setattr(conclusion, "_write", killed_at_last)
    run = tmp_path / "reports" / "run"
    with pytest.raises(KeyboardInterrupt):
        conclude(tmp_path, report(), run, now=TO)
    assert order == [run / "verdict.json", tmp_path / "verdict.json"]
    assert read_verdict(tmp_path) is None


def test_concluded_twice_is_one_report_in_the_history(tmp_path):
    conclude(tmp_path, report(), now=TO)
    verdict = conclude(tmp_path, report(), now=TO)
    assert verdict == read_verdict(tmp_path)
    assert len(list(tmp_path.glob("history/*.parquet"))) == 1


def test_a_history_that_cannot_be_written_costs_nobody_the_verdict(tmp_path):
    (tmp_path / "history").write_text("not a folder")
    verdict = conclude(tmp_path, report(), now=TO)
    assert read_verdict(tmp_path)["status"] == verdict["status"] == "critical"
    assert any("History was not written" in note for note in verdict["notes"])


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "verdict.json").mkdir()
    with pytest.raises(OutputError, match=r"verdict\.json: cannot be written"):
        conclude(tmp_path, report(), now=TO)


NO_VERDICTS = ("", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "status": "fine"}', "[" * 99999,
               '{"schema": 1, "status": "healthy", "from": 1, "to": 2}')  # fmt: skip


@pytest.mark.parametrize("text", NO_VERDICTS)
def test_what_is_no_verdict_is_none(tmp_path, text):
    (tmp_path / "verdict.json").write_text(text)
    assert read_verdict(tmp_path) is None


def test_bytes_that_are_no_text_are_no_verdict(tmp_path):
    (tmp_path / "verdict.json").write_bytes(b"\xff\xfe\x00{")
    assert read_verdict(tmp_path) is None
    assert read_verdict(tmp_path / "nowhere") is None
