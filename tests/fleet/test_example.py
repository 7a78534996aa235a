"""The example fleet, by way of the command: what was done to it is what is found, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from warmstall import cli
from warmstall.fleet import effects, open_fleet, unlike
from warmstall.fleet.example import ALONE, RECONFIGURED, SERVERS, UPGRADED, WITHOUT_GPU, write_example
from warmstall.records import VERDICTS


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | None:
    monkeypatch.setattr(sys, "argv", ["warmstall", *words])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over the example, made by the command."""
    folder = tmp_path_factory.mktemp("example")
    write_example(folder / "hosts")
    with pytest.MonkeyPatch.context() as patch:
        words = ["fleet", "analyze", str(folder / "hosts"), "--out", str(folder / "out"), "--workers", "2"]
        assert run(patch, *words) in (0, None)
    return folder / "out"


def test_what_was_done_to_the_fleet_is_what_is_found(example: Path) -> None:
    with open_fleet(example) as fleet:
        found = {(effect.change, effect.outcome): effect for effect in effects(fleet)}
        odd = unlike(list(fleet.summaries()))
    upgraded = found["version 0.13.5 → 0.14.0", "failed requests"]

    assert {key: effect.told for key, effect in found.items() if effect.told != "within chance"} == {
        ("version 0.13.5 → 0.14.0", "failed requests"): "worse",
        ("OLLAMA_FLASH_ATTENTION not set → true", "failed requests"): "cannot tell",
        ("OLLAMA_FLASH_ATTENTION not set → true", "wall time of answers"): "cannot tell",
    }
    assert (upgraded.changed, upgraded.untouched) == (len(UPGRADED), SERVERS - 8)
    assert upgraded.low < 0.33 < upgraded.high
    assert WITHOUT_GPU in odd.odd_hosts
    assert {one.host for one in odd.findings if one.name == "failed"} <= set(UPGRADED)
    assert set(odd.odd_hosts) <= {*UPGRADED, *RECONFIGURED, ALONE, WITHOUT_GPU}


def test_versions_are_those_that_answered(example: Path) -> None:
    with open_fleet(example) as fleet:
        rows = fleet.view("fleet_versions").set_index("version")
        total = fleet.sql("SELECT count(*) AS n FROM requests WHERE inference")["n"][0]

    assert rows["servers"].to_dict() == {"0.13.5": SERVERS, "0.14.0": len(UPGRADED)}
    assert rows["requests"].sum() == total
    assert list(rows.columns)[3:] == list(VERDICTS)
    assert rows[list(VERDICTS)].sum(axis=1).round(9).tolist() == [1.0, 1.0]


def test_the_command_says_what_came_of_it(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts, out = example.parent / "hosts", ["--out", str(example), "--workers", "1"]
    (hosts / "evil\x1b[31m.log").write_text("nothing of Ollama's\n")
    run(monkeypatch, "fleet", "analyze", str(hosts), *out)
    told = capsys.readouterr().out
    run(monkeypatch, "fleet", "analyze", str(hosts), *out, "--json")
    plain = json.loads(capsys.readouterr().out)

    assert told.startswith(f"17 hosts: 0 analyzed, 16 as they were, 1 not read; {plain['requests']:,} requests")
    assert "evil [31m was not read: " in told
    assert "\x1b" not in told
    assert "Next: papermill notebooks/fleet.ipynb" in told
    assert (plain["hosts"], plain["failed"], plain["out"]) == (17, 1, str(example))


def test_what_cannot_be_run_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "fleet", "analyze", str(tmp_path / "none"), "--out", str(tmp_path / "out")) == 2
    assert capsys.readouterr().err.endswith("there is no such file or folder.\n")


def test_without_the_extra_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_text("x")
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["fleet", "analyze", str(tmp_path), "--engine", "dask://127.0.0.1:9", "--out", str(tmp_path / "out")]

    assert run(monkeypatch, *words) == 2
    assert 'install "warmstall[fleet]"' in capsys.readouterr().err
