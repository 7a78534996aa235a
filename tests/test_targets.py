"""Files of targets are read alike: what is wrong is named by its place, with the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstall.errors import InputError, ParameterError
from warmstall.health.objectives import read_objectives
from warmstall.reproduce.criteria import read_criteria
from warmstall.targets import checked_direction, checked_target, read_toml, shipped_file

READERS = [(read_criteria, "criteria", "criterion", "latency_avg_s"),
           (read_objectives, "objectives", "objective", "wall_p95_s")]  # fmt: skip


@pytest.mark.parametrize(("read", "table", "one", "metric"), READERS)
def test_both_kinds_of_files_say_the_same_of_the_same_mistakes(read, table, one, metric, tmp_path: Path) -> None:
    row = f'[[{table}]]\nmetric = "{metric}"\ntarget = 5\n'
    path = tmp_path / "mine.toml"
    for text, told in (
        (row + row, f"mine.toml, {one} 2: {metric} at most is there twice"),
        (row.replace("target", "tarhet"), f"{one} 1: there is no key 'tarhet'; did you mean target?"),
        (row.replace(metric, f"{metric}ec"), f"there is no metric '{metric}ec'; did you mean {metric}?"),
        (row.replace("= 5", "= true"), f"the target of {metric} is True; expected a number"),
        (row + 'direction = "above"\n', "direction is 'above'; expected at most or at least"),
        (row.replace(table, "goals"), f"there is no table 'goals'; there are {table}"),
        (f'{table} = ["{metric}"]', f"expected [[{table}]], each with a metric and a target"),
        ("= 5", "mine.toml: it is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ParameterError) as refused:
            read(path)
        assert told in str(refused.value)
    path.write_text(row)
    assert [found.target for found in read(path)] == [5.0]


def test_what_cannot_be_read_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_toml(tmp_path)
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match="it is not TOML"):
        read_toml(tmp_path / "mine.toml")


@pytest.mark.parametrize("target", [None, True, "5", float("nan"), float("inf")])
def test_a_target_is_a_finite_number(target: object) -> None:
    with pytest.raises(ParameterError, match="expected a number"):
        checked_target("wall_p95_s", target, "mine.toml")


def test_directions_are_two() -> None:
    assert [checked_direction(each, "mine.toml") for each in ("at most", "at least")] == ["at most", "at least"]


@pytest.mark.parametrize("name", ["acceptance.toml", "objectives.toml"])
def test_files_that_ship_are_found(name: str) -> None:
    assert shipped_file(name).is_file()
