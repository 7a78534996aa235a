"""A table that nothing was captured for is the one that DuckDB would give, without asking it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from warmstall.case import Case, open_case, sample_incident
from warmstall.observed.captured import captured_table, is_captured
from warmstall.schema import TABLES

EMPTY = Case(Path("/nonexistent"), [])


@pytest.mark.parametrize("name", [name for name in TABLES if name != "requests"])
def test_the_columns_of_a_table_without_rows_are_as_duckdb_gives_them(name: str) -> None:
    asked = EMPTY.sql(f"FROM {name}")
    for column, kind in TABLES[name].items():
        if kind == "TIMESTAMP":
            asked[column] = pd.to_datetime(asked[column], utc=True)

    assert not is_captured(EMPTY, name)
    pd.testing.assert_frame_equal(captured_table(EMPTY, name), asked)


def test_who_changes_a_table_without_rows_changes_no_one_elses() -> None:
    own = captured_table(EMPTY, "gpus")
    own["own"] = 1

    assert "own" not in captured_table(EMPTY, "gpus")


def test_the_sample_has_samples_of_processes() -> None:
    case = open_case(sample_incident())

    assert is_captured(case, "processes") == bool(len(captured_table(case, "processes")))


def test_who_changes_a_captured_table_changes_no_one_elses() -> None:
    case = open_case(sample_incident())
    own = captured_table(case, "processes")
    own["own"] = 1

    assert "own" not in captured_table(case, "processes")
