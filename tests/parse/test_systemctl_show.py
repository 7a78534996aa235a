"""What systemd shows of a unit or of itself, whole or in excerpts; nothing of a unit file's text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.systemctl_show import FACTS, is_systemctl_show, parse_systemctl_show

UNIT = """\
Restart=always
NRestarts=2
MainPID=1436
ExecMainStatus=0
MemoryCurrent=5368709120
CPUQuotaPerSecUSec=2s
MemoryHigh=10737418240
MemoryMax=infinity
TasksMax=18446744073709551615
Environment=PATH=/usr/bin OLLAMA_HOST=0.0.0.0 "OLLAMA_ORIGINS=http://a b" "QUOTED=say \\"hi\\" \\$x"
LimitMEMLOCK=8388608
LimitMEMLOCKSoft=65536
LimitCPU=infinity
OOMScoreAdjust=-500
Id=ollama.service
NeedDaemonReload=no
"""
MANAGER = "Version=252\nDefaultLimitMEMLOCK=8388608\nDefaultLimitMEMLOCKSoft=8388608\nDefaultTasksMax=9003\n"
UNIT_FILE = "[Unit]\nDescription=x\n\n[Service]\nExecStart=/bin/true\nEnvironment=A=1\n\nLimitMEMLOCK=infinity\n"
# Expected names of the captures: table, column that names the row, its name, column of the value.
EXPECTED = {
    "LimitMEMLOCK": ("limits", "MEMLOCK", "hard"),
    "LimitNOFILESoft": ("limits", "NOFILE", "soft"),
    "MemoryMax": ("limits", "MemoryMax", "hard"),
    "DefaultLimitMEMLOCK": ("limits", "MEMLOCK", "hard"),
    "DefaultTasksMax": ("limits", "TasksMax", "hard"),
}


def limits_of(text: str) -> dict[str, tuple[float | None, float | None]]:
    return {row["resource"]: (row["soft"], row["hard"]) for row in parse_systemctl_show(text).tables["limits"]}


def settings_of(text: str) -> dict[str, str]:
    return {row["name"]: row["value"] for row in parse_systemctl_show(text).tables["settings"]}


def test_every_expected_value_of_the_captures(shared: Path) -> None:
    proven = 0
    for line in (shared / "corpus" / "index.jsonl").read_text().splitlines():
        capture = json.loads(line)
        if not capture["file"].startswith("limits/") or "show" not in capture["file"]:
            continue
        text = (shared / "corpus" / capture["file"]).read_text()
        assert is_systemctl_show(text.split("\n")), capture["file"]
        parsed = parse_systemctl_show(text)
        default = "default" in capture["file"]
        assert {row["origin"] for row in parsed.tables["limits"]} <= {"manager default" if default else "unit"}
        for name, value in capture["expected"].items():
            if name in EXPECTED:
                table, resource, end = EXPECTED[name]
                (row,) = (row for row in parsed.tables[table] if row["resource"] == resource)
                assert row[end] == (math.inf if value == "infinity" else value), (capture["file"], name)
            elif name == "drop_ins":
                assert len(settings_of(text)["DropInPaths"].split()) == value
            else:
                assert settings_of(text)[name] == str(value), (capture["file"], name)
            proven += 1
    assert proven == 10


def test_soft_and_hard_come_from_a_pair_and_the_largest_number_is_infinity() -> None:
    limits = limits_of(UNIT)
    assert limits["MEMLOCK"] == (65536.0, 8388608.0)
    assert limits["CPU"] == (None, math.inf)
    assert limits["MemoryMax"] == limits["TasksMax"] == (math.inf, math.inf)
    assert limits["OOMScoreAdjust"] == (-500.0, -500.0)


def test_cpu_time_per_second_is_a_share_in_percent() -> None:
    assert limits_of(UNIT)["CPUQuota"] == (200.0, 200.0)
    assert limits_of("Id=a.service\nCPUQuotaPerSecUSec=infinity")["CPUQuota"] == (math.inf, math.inf)


def test_the_environment_is_split_as_a_shell_would() -> None:
    found = settings_of(UNIT)
    assert found["OLLAMA_HOST"] == "0.0.0.0"
    assert found["OLLAMA_ORIGINS"] == "http://a b"
    assert found["QUOTED"] == 'say "hi" $x'
    assert (found["MainPID"], found["NRestarts"], found["NeedDaemonReload"]) == ("1436", "2", "no")


def test_rows_name_the_unit_their_line_and_that_systemd_shows_it() -> None:
    parsed = parse_systemctl_show(UNIT)
    rows = [*parsed.tables["limits"], *parsed.tables["settings"]]
    assert {row["subject"] for row in rows} == {"ollama.service"}
    assert {row["origin"] for row in parsed.tables["settings"]} == {"systemctl show"}
    lines = UNIT.split("\n")
    assert all(row["name"] in lines[row["line"] - 1] for row in parsed.tables["settings"])
    assert all(row["in_force"] for row in parsed.tables["settings"])
    assert parsed.lines == set(range(1, len(lines)))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("$ systemctl show ollama\nMainPID=7\n", "ollama.service"),
        ("[root@box ~]# systemctl show -p MainPID -p Environment o2.service | cat\nMainPID=7\n", "o2.service"),
        ("FragmentPath=/usr/lib/systemd/system/a.service\nMainPID=7", "a.service"),
        ("DropInPaths=/etc/systemd/b.service.d/x.conf /etc/systemd/b.service.d/y.conf\nMainPID=7", "b.service"),
        ("MainPID=7", ""),
    ],
)  # fmt: skip
def test_the_unit_is_known_by_what_names_it(text: str, unit: str) -> None:
    rows = parse_systemctl_show(text).tables["settings"]
    assert {row["subject"] for row in rows} == {unit}
    assert "MainPID" in settings_of(text)


def test_units_shown_one_after_the_other_stay_apart() -> None:
    rows = parse_systemctl_show("$ systemctl show a b\nMainPID=1\n\nMainPID=2\n").tables["settings"]
    assert [(row["subject"], row["value"]) for row in rows] == [("a.service", "1"), ("b.service", "2")]


def test_the_managers_defaults_are_not_a_units() -> None:
    parsed = parse_systemctl_show(MANAGER)
    assert {(row["origin"], row["subject"]) for row in parsed.tables["limits"]} == {("manager default", "")}
    assert limits_of(MANAGER) == {"MEMLOCK": (8388608.0, 8388608.0), "TasksMax": (9003.0, 9003.0)}
    assert not parsed.tables["settings"]


def test_an_excerpt_whose_list_was_broken_into_lines_is_one_list() -> None:
    text = "$ systemctl show -p Environment ollama | tr ' ' '\\n'\nEnvironment=PATH=/bin\nOLLAMA_DEBUG=1\n"
    assert settings_of(text) == {"PATH": "/bin", "OLLAMA_DEBUG": "1"}


def test_an_excerpt_is_found_between_other_things() -> None:
    text = f"# Incident\n\nWe looked at it:\n\n```\n$ systemctl show ollama\n{UNIT}```\n\nand then restarted it.\n"
    parsed = parse_systemctl_show(text)
    assert settings_of(text)["OLLAMA_HOST"] == "0.0.0.0"
    assert parsed.lines == set(range(6, 7 + len(UNIT.splitlines())))


@pytest.mark.parametrize(
    "text",
    ["", UNIT_FILE, "Environment=production\n", "MemoryMax is 8G", "export OLLAMA_HOST=0.0.0.0", "OLLAMA_HOST=0.0.0.0",
     "[GIN] 2026/11/20 - 20:49:02 | 200 | 1.5s | 127.0.0.1 | POST \"/api/chat\"",
     "Set `LimitMEMLOCK=infinity`, then:\n\n```\nEnvironment=OLLAMA_HOST=0.0.0.0\n```\n",
     "Id=\nMainPID\n=7\n", "==> /proc/7/environ <==\nMainPID=7\n"],
)  # fmt: skip
def test_other_text_is_not_taken(text: str) -> None:
    assert not is_systemctl_show(text.split("\n"))
    assert not parse_systemctl_show(text).tables


PIECES = st.sampled_from(
    [*UNIT.split("\n"), *MANAGER.split("\n"), *UNIT_FILE.split("\n"), "$ systemctl show a", "```", "==> a <==",
     "Environment=\"", "Environment=A='\\", "LimitCPU=" + "9" * 400, "CPUQuotaPerSecUSec=1y", "\x00=\ud800",
     *(f"{fact}=\ud800" for fact in FACTS)]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text()).map("\n".join))
def test_no_text_is_too_strange(text: str) -> None:
    parsed = parse_systemctl_show(text)
    assert parsed.lines <= set(range(1, len(text.split("\n")) + 1))
    assert any(parsed.tables.values()) == is_systemctl_show(text.split("\n"))
    for rows in parsed.tables.values():
        pyarrow.Table.from_pylist(rows)
