"""The history loses no report and counts none twice, whatever comes between its steps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.errors import OutputError
from warmstall.health import history
from warmstall.health.records import Cause, Exhaustion, HealthReport, Objective, ObjectiveResult, Sli

START = datetime(2026, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUSE = Path(__file__).resolve().parents[1]


def report(begins: datetime, value: float = 1.0, length: timedelta = HOUR, **parts: object) -> HealthReport:
    ends = begins + length
    made: dict[str, object] = {
        "slis": (Sli("wall_p50_s", "", value, "s", None, 100),), "objectives": (), "memory": (), "causes": (),
        "configuration": {}, **parts,
    }  # fmt: skip
    return HealthReport("healthy", "All is well.", (), begins, ends, ends, ends + HOUR, ("a",), (), comparisons=(),
                        drift=(), residency=(), not_observed=(), **made)  # type: ignore[arg-type]  # fmt: skip


def told(folder: Path) -> dict[datetime, float]:
    """What the history says of wall_p50_s, by the time each report begins; a report that is there twice is an error."""
    rows, notes = history.read(folder, kinds=["sli"])
    assert not [note for note in notes if "cannot be read" in note]
    assert not rows["report_from"].duplicated().any()
    return {row.report_from.to_pydatetime(): row.value for row in rows.itertuples()}


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    objective = ObjectiveResult(Objective("availability", 0.99, "at least"), "missed", 0.9, 10, 100)
    look = Exhaustion("a", "memory", "falling", START, 5e9, 64e9, -1e9, 18000, None, None, 4, "It falls.")
    given = report(
        START, objectives=(objective,), memory=(look,),
        slis=(Sli("availability", "a", 0.9, "share", 90, 100), Sli("ttft_p50_s", "", None, "s", why="nobody saw it")),
        causes=(Cause("memory_pressure", "Memory", "confirmed", "critical", "new", "It swaps."),),
        configuration={"a|setting|OLLAMA_NUM_PARALLEL": "4", "a|model|x|y:7b \ud800<b>": "=1+1"},
    )  # fmt: skip

    part = history.append(tmp_path / "history", given)
    rows, notes = history.read(tmp_path / "history")

    assert part.name == "2026-01-30T000000Z.parquet"
    assert notes == []
    assert set(rows["report_from"]) == {START}
    assert set(rows["report_to"]) == {START + HOUR}
    shown = rows[["host", "kind", "name", "value", "count", "of", "text"]].astype(object)
    assert shown.where(shown.notna(), None).to_numpy().tolist() == [
        ["", "status", "healthy", 0, None, 0, "All is well."],
        ["a", "sli", "availability", 0.9, 90, 100, ""],
        ["", "sli", "ttft_p50_s", None, None, 0, "nobody saw it"],
        ["", "objective", "availability", 0.9, 10, 100, "at least 0.99"],
        ["a", "memory", "memory", 5e9, None, 64_000_000_000, START.isoformat()],
        ["", "cause", "memory_pressure", None, None, 0, "confirmed"],
        ["a", "configuration", "setting|OLLAMA_NUM_PARALLEL", None, None, 0, "4"],
        ["a", "configuration", "model|x|y:7b ?<b>", None, None, 0, "=1+1"],
    ]


class Killed(BaseException):
    """The process is gone: no file operation works after it."""


class _Death:
    """Counts the file operations within a folder, and lets the process die before the one asked for."""

    def __init__(self) -> None:
        self.folder, self.left, self.watching = "", 0, False
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.watching or event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if path.startswith(self.folder) and not path.endswith("/lock"):
            self.left -= 1
            if self.left < 0:
                raise Killed

    def within(self, folder: Path, after: int) -> None:
        self.folder, self.left, self.watching = str(folder), after, True


@pytest.fixture(scope="module")
def death() -> Iterator[_Death]:
    hook = _Death()  # an audit hook stays for good; it does nothing unless it is watching
    yield hook
    hook.watching = False


_STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "append", "append", "again", "compact"]), st.integers(0, 12)), max_size=25
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS, most=st.integers(0, 6))
def test_no_report_is_lost_or_counted_twice(
    death: _Death, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], most: int
) -> None:
    """Appends, repeated periods and compactions in any order, each of them perhaps killed before its n-th operation."""
    folder = tmp_path_factory.mktemp("history")
    wanted: dict[datetime, float] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_PARTS", most)
        for number, (step, lives_for) in enumerate(steps):
            # Eight hours apart, so that the steps go through several months' ends.
            count = len(wanted)
            begins = START + 8 * HOUR * (max(0, count - 1) if step == "again" else count)
            before = wanted.get(begins)
            death.within(folder, lives_for)
            try:
                if step == "compact":
                    history.compact(folder, START + 8 * HOUR * count)
                else:
                    history.append(folder, report(begins, float(number)))
                    wanted[begins] = float(number)
            except Killed:
                pass
            finally:
                death.watching = False
            found = told(folder)
            if step != "compact" and begins not in wanted:
                # Killed before or after its part was there whole; a scheduled report would do the period again.
                assert found.pop(begins, float(number)) == float(number)
                history.append(folder, report(begins, float(number)))
                wanted[begins] = float(number)
                found = told(folder)
            elif step == "again" and found.get(begins) not in (None, before):
                wanted[begins] = float(number)
            assert found == wanted
    shutil.rmtree(folder)


_CHILD = """
import os, signal, sys
from pathlib import Path
import filelock, pyarrow.compute, pyarrow.parquet  # once, for all the children
from health.test_history import HOUR, START, report
from warmstall.health import history
given, left = report(START + 80 * HOUR, 99.0), 0
def hook(event, arguments):
    global left
    if left and event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(sys.argv[1]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
for number, folder in enumerate(sys.argv[2:], 1):
    child = os.fork()
    if not child:
        sys.addaudithook(hook)
        left = number
        history.append(Path(folder), given)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_killed_process_leaves_a_whole_history(tmp_path: Path) -> None:
    """SIGKILL before each file operation of an append that compacts a month: the next append goes on from there."""
    wanted = {START + hour * HOUR: float(hour) for hour in range(4)}
    folders = [tmp_path / f"{dies_at:02}" for dies_at in range(1, 30)]
    for begins, value in wanted.items():
        history.append(folders[0], report(begins, value))
    for folder in folders[1:]:
        shutil.copytree(folders[0], folder)
    command = [sys.executable, "-c", _CHILD, str(tmp_path), *map(str, folders)]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
    ends = [int(line) for line in done.stdout.split()]

    assert ends.count(-9) > 10
    assert ends == [-9] * ends.count(-9) + [0] * ends.count(0)
    assert ends[-1] == 0  # every operation was reached
    for folder in folders[: ends.count(-9) + 1]:
        found = told(folder)
        assert found in (wanted, {**wanted, START + 80 * HOUR: 99.0}), folder.name
        history.append(folder, report(START + 80 * HOUR, 99.0))
        assert told(folder) == {**wanted, START + 80 * HOUR: 99.0}, folder.name
        assert sorted(path.name for path in folder.glob("*.p*")) == ["2026-01.parquet", "2026-02-02T080000Z.parquet"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 half of a part", None])
def test_a_damaged_file_is_left_out_and_told(tmp_path: Path, damage: bytes | None) -> None:
    for hour in range(3):
        history.append(tmp_path, report(START + hour * HOUR, float(hour)))
    part = tmp_path / "2026-01-30T010000Z.parquet"
    if damage is None:
        pd.DataFrame({"another": ["table"]}).to_parquet(part)
    else:
        part.write_bytes(damage)
    (tmp_path / "2026-01-30T020000Z.parquet.partial").write_bytes(b"PAR1 by a report that was killed")

    rows, notes = history.read(tmp_path, kinds=["sli"])
    history.compact(tmp_path, START + timedelta(days=40))

    assert list(rows["value"]) == [0.0, 2.0]
    assert len(notes) == 1
    assert "2026-01-30T010000Z.parquet" in notes[0]
    assert list(history.read(tmp_path, kinds=["sli"]).rows["value"]) == [0.0, 2.0]
    assert sorted(path.name for path in tmp_path.glob("*.p*")) == ["2026-01-30T010000Z.parquet", "2026-01.parquet"]


def test_a_damaged_month_is_not_written_over(tmp_path: Path) -> None:
    """Its parts stay parts: a person may still mend the file."""
    month = tmp_path / "2026-01.parquet"
    month.write_bytes(b"damaged")
    history.append(tmp_path, report(START, 7.0))
    history.compact(tmp_path, START + timedelta(days=40))

    assert month.read_bytes() == b"damaged"
    rows, notes = history.read(tmp_path, kinds=["sli"])
    assert list(rows["value"]) == [7.0]
    assert ["2026-01.parquet" in note for note in notes] == [True]


def test_a_year_of_hours_is_a_dozen_files_and_one_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each append puts together what is over, and more parts than a reader wants to open."""
    monkeypatch.setattr(history, "MOST_PARTS", 5)
    for step in range(92):
        history.append(tmp_path, report(START + timedelta(days=4 * step), float(step)))

    names = {path.name for path in tmp_path.glob("*.parquet")}
    assert {name[:7] for name in names} == {f"2026-{month:02}" for month in range(1, 13)} | {"2027-01"}
    assert len(names) <= 13 + 6
    assert list(told(tmp_path).values()) == [float(step) for step in range(92)]


def _kept(folder: Path, *periods: tuple[float, float]) -> list[tuple[float, float]]:
    """Which of these periods count, in hours after START; written in this order."""
    for begins, ends in periods:
        history.append(folder, report(START + begins * HOUR, length=(ends - begins) * HOUR))
    pairs = history.read(folder).rows[["report_from", "report_to"]].drop_duplicates()
    return [((one - START) / HOUR, (two - START) / HOUR) for one, two in pairs.itertuples(index=False)]


@pytest.mark.parametrize(
    ("periods", "wanted"),
    [
        ([(9, 10), (9, 13)], [(9, 13)]),  # killed before its verdict, and begun where it had begun
        ([(9, 10), (9.25, 10.25), (10.25, 11.25)], [(9.25, 10.25), (10.25, 11.25)]),  # killed, and no verdict before
        ([(0, 1), (1, 2), (2, 3), (3, 4), (0.5, 3.5)], [(0, 1), (1, 2), (2, 3), (3, 4)]),  # a look back by hand
        ([(0, 1), (0.8, 1)], [(0, 1)]),  # a short one within it
        ([(0, 1), (1 - 0.5 / 3600, 2)], [(0, 1), (1 - 0.5 / 3600, 2)]),  # a verdict tells its times to the second
    ],
)
def test_no_second_is_told_by_two_reports(
    tmp_path: Path, periods: list[tuple[float, float]], wanted: list[tuple[float, float]]
) -> None:
    assert _kept(tmp_path, *periods) == [pytest.approx(pair) for pair in wanted]


def test_the_last_report_is_the_one_that_ended_last(tmp_path: Path) -> None:
    assert history.last_report(tmp_path / "none").empty
    for day in (0, 1, 2, 3):
        history.append(
            tmp_path, report(START + timedelta(days=day), float(day), configuration={"a|limit|nofile": "64"})
        )
    (tmp_path / "2026-02-02T090000Z.parquet").write_bytes(b"")

    last = history.last_report(tmp_path)

    assert last["value"].max() == 3.0
    assert list(last.loc[last["kind"] == "configuration", "text"]) == ["64"]


def test_a_reader_may_ask_for_less(tmp_path: Path) -> None:
    for day in range(5):
        history.append(tmp_path, report(START + timedelta(days=day), float(day)))

    rows, _ = history.read(tmp_path, kinds=["sli"], since=START + timedelta(days=1, hours=12))

    assert list(rows["value"]) == [2.0, 3.0, 4.0]
    assert set(rows["kind"]) == {"sli"}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file where the folder should be")

    with pytest.raises(OutputError, match="history"):
        history.append(tmp_path / "history", report(START))


def test_a_control_group_is_kept_apart_from_its_machine(tmp_path: Path) -> None:
    look = Exhaustion("a", "memory", "falling", START, 5e9, 64e9, -1e9, 18000, None, None, 4, "It falls.")
    history.append(tmp_path, report(START, memory=(look, replace(look, group="/ollama"))))
    rows = history.read(tmp_path, kinds=("memory",)).rows
    assert sorted(rows["name"]) == ["memory", "memory|/ollama"]
