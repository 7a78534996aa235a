"""Units that systemd's own checker passes, and that it reads back word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.wishes import NASTY, paths, schedule
from warmstall.parse.systemd_values import words
from warmstall.schedule.jobs import jobs
from warmstall.schedule.records import Schedule
from warmstall.schedule.systemd import command_line, print_units

needs_checker = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
WISHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"alerts": "/srv/a.toml", "objectives": "/srv/o.toml", "watch": True, "paths": ("/srv/a.log",)},
    "nasty": {"out": NASTY, "alerts": f"{NASTY}/alerts.toml", "watch": True},
    "every 15 minutes": {"every_s": 900.0, "longest_s": 120.0},
    "weekly": {"every_s": 604800.0},
}  # fmt: skip


def written(wished: Schedule, folder: Path) -> list[Path]:
    files = print_units(wished)
    for file in files:
        (folder / file.name).write_text(file.text, encoding="utf-8")
    return [folder / file.name for file in files]


def analyze(folder: Path, *words_: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_COLORS": "0"}
    return subprocess.run(["systemd-analyze", *map(str, words_)], env=environment, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip


def a_program(folder: Path) -> str:
    program = folder / "bin" / "warmstall"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@needs_checker
@pytest.mark.parametrize("user", ["", "daemon"], ids=["user unit", "system unit"])
@pytest.mark.parametrize("wished", WISHES.values(), ids=WISHES)
def test_systemd_has_nothing_to_say_against_the_units(wished: dict[str, Any], user: str, tmp_path: Path) -> None:
    units = written(schedule(program=(a_program(tmp_path),), user=user, **wished), tmp_path)
    manager = "--system" if user else "--user"
    done = analyze(tmp_path, manager, "verify", "--man=no", "--recursive-errors=no", *units)

    assert done.returncode == 0, done.stderr
    # Words about units of this machine are not about these.
    assert not [line for line in done.stderr.splitlines() if "warmstall" in line]


@needs_checker
def test_the_checker_would_say_something(tmp_path: Path) -> None:
    service, *_ = written(schedule(program=(a_program(tmp_path),)), tmp_path)
    service.write_text(service.read_text(encoding="utf-8").replace("Type=oneshot", "Type=once"), encoding="utf-8")
    done = analyze(tmp_path, "--user", "verify", "--man=no", service)

    assert "warmstall" in done.stderr


@needs_checker
def test_a_system_unit_is_exposed_little(tmp_path: Path) -> None:
    """systemd's own measure: below 5 of 10 is "OK" in its words; a service without any of it has 9.6."""
    units = written(schedule(program=(a_program(tmp_path),), user="daemon", watch=True), tmp_path)
    for unit in units:
        if unit.suffix == ".service":
            done = analyze(tmp_path, "security", "--offline=true", "--threshold=35", unit)
            assert done.returncode == 0, done.stdout[-300:]


@given(st.lists(paths() | paths().map("\\".join), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_command_is_read_back_word_for_word(command: list[str]) -> None:
    """By the project's own reader of unit files, which knows real ones."""
    line = command_line(tuple(command))
    assert "\n" not in line
    found, whole = words(line.removeprefix(":"))
    assert whole
    specifiers = [re.findall(r"%(.)", word) for word in found]
    assert all(set(each) <= {"%"} for each in specifiers)  # none but %%
    assert [word.replace("%%", "%") for word in found] == command
    assert line.startswith(":") == ("$" in line)  # no variable is ever put in


@pytest.fixture
def folder_of_nobody_else() -> Iterator[Path]:
    """A folder for systemd's test mode, which refuses to be run by root: it belongs to daemon then."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            shutil.chown(name, "daemon")
        yield Path(name)


@pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="systemd is not installed")
@pytest.mark.parametrize("path", [NASTY, "/back\\slash\\\\x", "/plain"])
def test_systemd_itself_reads_back_the_command(path: str, folder_of_nobody_else: Path) -> None:
    """Its test mode prints every unit as it understood it, quoted as for a shell."""
    folder = folder_of_nobody_else
    program = a_program(folder)
    wished = schedule(program=(program,), out=path, alerts=f"{path}/alerts.toml")
    service, *_ = written(wished, folder)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_UNIT_PATH": f"{folder}:", "HOME": str(folder)}
    done = subprocess.run(["/lib/systemd/systemd", "--user", "--test", f"--unit={service.name}"], env=environment,
                          user="daemon" if os.geteuid() == 0 else None, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    unit = done.stdout.partition("Unit warmstall-report.service:")[2].partition("-> Unit ")[0]
    if not unit:
        pytest.skip(f"systemd cannot be run in test mode here: {done.stderr[-200:]}")
    shown = re.search(r"Command Line: (.*)", unit)
    file = re.search(r"EnvironmentFile: -(.*)", unit)
    assert shown
    assert file
    found, whole = words(shown[1], shell=True)
    assert (found, whole) == ([program, *jobs(wished)[0].words], True)
    assert re.sub(r"\\(.)", r"\1", file[1]) == f"{path}/alerts.env"  # of glob(7)


def directives(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, flags=re.M))


def test_no_report_overlaps_lasts_or_swells() -> None:
    for file in print_units(schedule(watch=True, memory_bytes=2**30)):
        if file.name.endswith(".service"):
            found = directives(file.text)
            assert {"MemoryMax", "MemorySwapMax", "TasksMax", "TimeoutStopSec", "NoNewPrivileges"} <= set(found)
            if file.jobs != ("watch",):
                assert found["Type"] == "oneshot"  # a second start waits for the first
                assert int(found["TimeoutStartSec"]) <= 600


def test_a_report_is_caught_up_after_a_sleep_and_the_check_waits_for_it() -> None:
    units = {file.name: directives(file.text) for file in print_units(schedule())}
    report, check = units["warmstall-report.timer"], units["warmstall-freshness.timer"]

    assert report["Persistent"] == "true"
    assert int(report["RandomizedDelaySec"]) > 0
    assert "OnCalendar" not in check  # it would be due at the moment of waking, before the report
    latest_s = int(report["RandomizedDelaySec"]) + int(units["warmstall-report.service"]["TimeoutStartSec"])
    assert int(check["OnActiveSec"]) > latest_s
    assert units["warmstall-freshness.service"]["After"] == "warmstall-report.service"


def test_answers_are_no_failures_and_a_stale_verdict_is_one() -> None:
    units = {file.name: directives(file.text) for file in print_units(schedule())}

    assert units["warmstall-report.service"]["SuccessExitStatus"] == "1 2"
    assert "SuccessExitStatus" not in units["warmstall-freshness.service"]


def test_a_system_unit_can_read_the_journal_and_write_its_folder_only() -> None:
    service = print_units(schedule(user="warmstall", out="/data/my health"))[0].text
    found = directives(service)

    assert (found["User"], found["SupplementaryGroups"]) == ("warmstall", "systemd-journal")
    assert (found["ProtectSystem"], found["ReadWritePaths"]) == ("strict", '"-/data/my health"')
    below = directives(print_units(schedule(user="warmstall", out="/var/lib/warmstall/health"))[0].text)
    assert (below["StateDirectory"], below.get("ReadWritePaths")) == ("warmstall warmstall/health", None)
    counted = directives(print_units(schedule(user="warmstall", out="/data", metrics="/srv/node/w.prom"))[0].text)
    assert counted["ReadWritePaths"] == "-/data -/srv/node"
