"""Intended limits beside those in force: one row per limit, with a sentence that is true."""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit_captures import (
    FOLDER,
    SERVE_AND_RUNNER,
    SHOW,
    by_name,
    by_resource,
    config,
    drop_in,
    environment,
    frame,
    live,
    show,
)
from warmstall.observed.limits import limits_compared, settings_compared
from warmstall.parse.containers import parse_containers
from warmstall.parse.environment import parse_environment
from warmstall.parse.ollama_settings import is_read
from warmstall.parse.parsed import Parsed
from warmstall.parse.process_limits import parse_process_limits
from warmstall.parse.systemctl_show import parse_systemctl_show
from warmstall.parse.unit_files import parse_unit_files

MEMLOCK_8M = "Max locked memory 8388608 8388608 bytes"


def test_a_limit_that_the_process_did_not_get() -> None:
    row = by_resource(show("LimitMEMLOCK=infinity", "LimitMEMLOCKSoft=infinity"), live(1436, MEMLOCK_8M))["MEMLOCK"]
    assert row["differs"] is True
    assert (row["intended_soft"], row["serve_soft"], row["serve_pid"], row["measure"]) == (
        math.inf,
        2**23,
        "1436",
        "bytes",
    )
    assert row["sentence"] == (
        "MEMLOCK: the unit says infinity, the live process 1436 has 8 MiB: the service was not restarted since that "
        "was written, or the process does not run under this unit."
    )


def test_what_is_known_of_the_process_makes_the_reason_sharper() -> None:
    unit = show("LimitMEMLOCK=infinity", "LimitMEMLOCKSoft=infinity", "InvocationID=aa")
    assert (
        "was not restarted since that was written."
        in by_resource(unit, live(1436, MEMLOCK_8M), facts=True)["MEMLOCK"]["sentence"]
    )
    other = environment(1436, "INVOCATION_ID=bb")
    assert (
        "not started by this unit's current start"
        in by_resource(unit, other, live(1436, MEMLOCK_8M), facts=True)["MEMLOCK"]["sentence"]
    )
    stale = show("LimitMEMLOCK=infinity", "LimitMEMLOCKSoft=infinity", "NeedDaemonReload=yes")
    assert "daemon-reload" in by_resource(stale, live(1436, MEMLOCK_8M), facts=True)["MEMLOCK"]["sentence"]
    stranger = pandas.DataFrame([{"host": "a", "pid": 77, "parent_pid": 1, "role": "serve"}])
    captures = (unit, live(77, MEMLOCK_8M))
    found = limits_compared(frame("limits", *captures), stranger, frame("settings", *captures))
    assert "does not run under this unit, whose main process is 1436" in found["sentence"][0]


def test_serve_and_runner_are_told_apart() -> None:
    row = by_resource(
        show("LimitNOFILE=4096", "LimitNOFILESoft=1024"), live(1436, "Max open files 4096 4096 files"),
        live(1440, "Max open files 512 512 files"), facts=True,
    )["NOFILE"]  # fmt: skip
    assert (row["serve_pid"], row["serve_soft"], row["runner_pid"], row["runner_soft"]) == ("1436", 4096, "1440", 512)
    assert row["differs"] is True
    assert "the runner 1440 has 512: the server that started it has what is intended" in row["sentence"]


def test_the_unit_may_start_a_shell_around_the_server() -> None:
    captures = (
        show("LimitNOFILE=4096", "LimitNOFILESoft=1024"),
        live(1436, "Max open files 1024 4096 files"),
        live(1440, "Max open files 256 4096 files"),
    )
    roles = SERVE_AND_RUNNER.assign(role=["", "serve"])
    found = limits_compared(frame("limits", *captures), roles, frame("settings", *captures))
    assert (found["serve_pid"][0], found["serve_soft"][0], found["runner_pid"][0]) == ("1440", 256, None)
    assert found["differs"][0]
    assert "the live process 1440 has 256 (hard limit 4096)" in found["sentence"][0]


def test_a_process_may_raise_its_soft_limit_as_go_programs_do() -> None:
    row = by_resource(
        show("LimitNOFILE=524288", "LimitNOFILESoft=1024"), live(1436, "Max open files 524288 524288 files")
    )["NOFILE"]
    assert row["differs"] is False
    assert "it may raise its soft limit itself" in row["sentence"]


def test_the_last_drop_in_by_name_is_what_is_intended() -> None:
    captures = [
        (f"{FOLDER}/{name}", parse_unit_files(f"[Service]\nLimitNOFILE={amount}\n"))
        for name, amount in (("b.conf", 2), ("a.conf", 1))
    ]
    row = by_resource(*captures)["NOFILE"]
    assert (row["intended_hard"], row["intended_from"], row["unit"]) == (2, f"{FOLDER}/b.conf", "ollama.service")
    assert row["differs"] is None


def test_a_drop_in_that_systemd_has_not_read() -> None:
    row = by_resource(
        drop_in("memlock.conf", "LimitMEMLOCK=infinity"), show("LimitMEMLOCK=8388608", "LimitMEMLOCKSoft=8388608"),
        live(1436, MEMLOCK_8M), facts=True,
    )["MEMLOCK"]  # fmt: skip
    assert row["differs"] is True
    assert "the drop-in memlock.conf says infinity, but systemd has 8 MiB loaded" in row["sentence"]


def test_a_value_that_systemd_ignores_is_said_so() -> None:
    captures = (drop_in("m.conf", "LimitMEMLOCK=unlimited"), show("LimitMEMLOCK=8388608", "LimitMEMLOCKSoft=8388608"))
    row = by_resource(*captures, live(1436, MEMLOCK_8M), facts=True)["MEMLOCK"]
    assert row["differs"] is True
    assert "systemd ignores LimitMEMLOCK=unlimited of m.conf" in row["sentence"]


def cgroup(path: str, name: str, amount: float) -> tuple[str, Parsed]:
    parsed = Parsed()
    parsed.add("limits", 1, origin="cgroup", subject=path, resource=name, soft=amount, hard=amount, unit="bytes")
    return f"cgroup{path.replace('/', '-')}.txt", parsed


def test_the_control_group_enforces_the_narrowest_of_its_levels() -> None:
    captures = [
        drop_in("m.conf", "MemoryMax=12G", "MemoryHigh=10G", "MemorySwapMax=50%"),
        cgroup("/system.slice/ollama.service", "MemoryMax", 12 * 2.0**30 - 4096),
        cgroup("/system.slice/ollama.service", "MemorySwapMax", 2.0**30),
        cgroup("/system.slice", "MemoryHigh", 4 * 2.0**30), cgroup("/user.slice", "MemoryHigh", 1.0),
        cgroup("/system.slice/ollama.service", "MemoryHigh", 10 * 2.0**30),
    ]  # fmt: skip
    found = by_resource(*captures)
    assert found["MemoryMax"]["differs"] is False
    assert found["MemoryHigh"]["differs"] is True
    assert found["MemoryHigh"]["cgroup"] == 4 * 2.0**30
    assert "says 10 GiB, the control group has 4 GiB" in found["MemoryHigh"]["sentence"]
    assert found["MemorySwapMax"]["differs"] is None  # a share cannot be compared with an amount


def test_without_one_side_it_cannot_be_told() -> None:
    assert by_resource(show("LimitMEMLOCK=1"))["MEMLOCK"]["differs"] is None
    alone = by_resource(live(7, MEMLOCK_8M))["MEMLOCK"]
    assert alone["differs"] is None
    assert "no unit was captured" in alone["sentence"]
    default = ("manager.txt", parse_systemctl_show("DefaultLimitMEMLOCK=65536\nDefaultLimitMEMLOCKSoft=65536\n"))
    row = by_resource(default, live(7, MEMLOCK_8M))["MEMLOCK"]
    assert (row["differs"], row["default_hard"]) == (None, 65536)


def test_ulimits_of_a_container_are_intentions_too() -> None:
    inspected = [{"Name": "/ollama", "State": {"Status": "running", "Pid": 7}, "HostConfig": {
        "Memory": 0, "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}]}}]  # fmt: skip
    row = by_resource(("c.json", parse_containers(json.dumps(inspected))), live(7, MEMLOCK_8M))["MEMLOCK"]
    assert "the container ollama says infinity, the live process 7 has 8 MiB" in row["sentence"]


def test_a_process_really_started_with_other_limits_than_its_unit() -> None:
    prlimit = shutil.which("prlimit")
    if not prlimit or not Path("/proc/self/limits").exists():
        pytest.skip("prlimit (util-linux) and /proc are needed")
    code = "print(open('/proc/self/limits').read())"
    command = [prlimit, "--memlock=65536", "--nofile=512:1024", "--", sys.executable, "-c", code]
    read = parse_process_limits(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    mine = parse_process_limits(Path("/proc/self/limits").read_text())
    intended = drop_in("l.conf", "LimitMEMLOCK=64K", "LimitNOFILE=1024:2048")
    found = by_resource(intended, ("limits.txt", read))
    assert found["MEMLOCK"]["differs"] is False
    assert found["NOFILE"]["differs"] is True
    assert "has 512 (hard limit 1024)" in found["NOFILE"]["sentence"]
    soft, hard = (
        math.inf if end == resource.RLIM_INFINITY else end for end in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    own = by_resource(intended, ("limits.txt", mine))["NOFILE"]
    assert (own["serve_soft"], own["serve_hard"]) == (soft, hard)


def test_every_setting_of_the_two_folders_of_drop_ins_has_its_sentence(shared: Path) -> None:
    """The limits and settings of real, contradicting drop-ins, given as files that were captured one by one."""
    for line in (shared / "corpus" / "index.jsonl").read_text().splitlines():
        capture = json.loads(line)
        folder = shared / "corpus" / capture["file"]
        if not capture["file"].startswith("limits/") or not folder.is_dir():
            continue
        files = [(f"limits/{folder.name}/{path.name}", parse_unit_files(path.read_text())) for path in folder.iterdir()]
        found = by_name(*files)
        for name, value in capture["expected"]["effective_ollama_env"].items():
            assert found[name]["intended"] == value
            assert found[name]["ineffective"] is not is_read(name)
            history = capture["expected"]["assignments"].get(name, [])
            overrode = ", ".join(f"{file}: {value}" for file, value in history[:-1])
            assert found[name]["overrode"] == overrode
        memory = by_resource(*files)
        for name, value in capture["expected"]["memory"].items():
            assert memory[name]["intended_hard"] == int(value[:-1]) * 2**30
            assert f"{value[:-1]} GiB" in memory[name]["sentence"]


def test_empty_frames_give_empty_tables_with_their_columns() -> None:
    assert list(limits_compared(pandas.DataFrame()).columns)[:3] == ["host", "unit", "resource"]
    assert list(settings_compared(pandas.DataFrame()).columns)[:3] == ["host", "unit", "name"]


PIECES = st.sampled_from([
    SHOW, "LimitNOFILE=1", "LimitNOFILESoft=1", "Environment=OLLAMA_DEBUG=1 TZ=", "MemoryMax=5", "[Service]", "[Unit]",
    f"# {FOLDER}/a.conf", "# /etc/systemd/system/o.service", "==> /proc/7/limits <==",
    "Max open files 1 unlimited files",
    "==> /proc/7/environ <==", "OLLAMA_DEBUG=2", "Environment=OLLAMA_KEEP_ALIVE=x", "LimitNOFILE=x", "", "MainPID=7",
    "DefaultLimitNOFILE=2", "Environment=", "UnsetEnvironment=TZ",
])  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(PIECES, max_size=8).map("\n".join), max_size=4))
def test_no_combination_is_too_strange(texts: list[str]) -> None:
    parsers = (parse_unit_files, parse_systemctl_show, parse_process_limits, parse_environment)
    captures = [(f"{number}.txt", parse(text)) for number, text in enumerate(texts) for parse in parsers]
    found = limits_compared(frame("limits", *captures), SERVE_AND_RUNNER, frame("settings", *captures))
    assert found["sentence"].str.endswith(".").all()
    compared = settings_compared(frame("settings", *captures), config(OLLAMA_DEBUG="INFO"), SERVE_AND_RUNNER)
    assert compared["sentence"].str.endswith(".").all()
    assert not compared.duplicated(["host", "unit", "name", "sentence"]).any() or compared["ineffective"].any()
