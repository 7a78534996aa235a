"""Events as the hypotheses read them: the fields are those of the table, however they were come by."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import analyze
from warmstall.hypotheses.facts import Facts
from warmstall.hypotheses.facts import events as events_of_kinds

COMPOSED = "".join(
    [
        'ollama-1  | time=2026-11-20T21:00:00.100Z level=INFO source=routes.go:1 msg="Listening on [::]:11434 '
        '(version 0.13.5)"\n',
        "app-1     | INFO:     Started server process [1]\n",
        'ollama-1  | time=2026-11-20T21:00:01.100Z level=WARN source=types.go:801 msg="invalid option provided" '
        "option=use_mlock\n",
        'ollama-1  | time=2026-11-20T21:00:02.100Z level=WARN source=types.go:801 msg="invalid option provided" '
        "option=use_mlock\n",
        '[GIN] 2026/11/20 - 21:00:03 | 200 |  1.5s |       127.0.0.1 | POST     "/api/generate"\n',
    ]
)
CASES = sorted(path.name for path in INCIDENTS.iterdir() if path.is_dir())


def assert_fields_are_the_tables(facts: Facts) -> None:
    rows = facts.events(*facts.counts)
    asked = facts.case.sql("SELECT source, line, key, fields FROM events")
    told = {(row.source, row.line, row.key): json.loads(row.fields or "{}") for row in asked.itertuples()}

    assert len(rows) == sum(facts.counts.values())
    for row in rows.itertuples():
        wanted = told[row.source, row.line, row.key]
        assert dict(row.fields) == {name: value for name, value in wanted.items() if name in row.fields}
        assert wanted.keys() - row.fields.keys() <= {"time"}


@pytest.mark.parametrize("name", CASES)
def test_fields_are_those_of_the_table_but_for_the_time(name: str) -> None:
    assert_fields_are_the_tables(Facts(analyze(INCIDENTS / name)))


def test_events_of_other_programs_in_a_servers_log_keep_their_fields(tmp_path: Path) -> None:
    (tmp_path / "compose.log").write_text(COMPOSED)
    facts = Facts(analyze(tmp_path / "compose.log"))

    assert any(key.startswith("app_") for key in facts.counts)
    assert_fields_are_the_tables(facts)


def test_kinds_that_are_read_one_after_another_are_in_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = analyze(INCIDENTS / "hangs-over-many-models")
    at_once = Facts(found).events(*Facts(found).counts)
    monkeypatch.setattr(events_of_kinds, "_READ_AT_ONCE", 0)
    facts = Facts(found)
    for key in facts.counts:
        facts.events(key)

    pd.testing.assert_frame_equal(facts.events(*facts.counts).drop(columns="key"), at_once.drop(columns="key"))


def test_of_kinds_that_do_not_occur_there_is_no_row() -> None:
    assert Facts(analyze(INCIDENTS / "queue-one-slot")).events("device_lost", "no_such_key").empty
