"""Unit files and drop-ins as text: what they assign, and what of it holds after the last line."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit_captures import CAT, TRICKY, captures_of_limits, in_force, limits_of, rows_of
from warmstall.parse.ollama_settings import fault
from warmstall.parse.unit_files import effective_settings, is_unit_files, parse_unit_files


def test_every_expected_value_of_the_drop_ins(shared: Path) -> None:
    proven = 0
    for path, expected in captures_of_limits(shared):
        if path.suffix != ".conf":
            continue
        assert is_unit_files(path.read_text().split("\n"))
        rows = rows_of(path.read_text())
        assert {row["origin"] for row in rows} == {"drop-in"}
        found = dict(in_force(rows))
        for name, value in expected.items():
            if name == "valid_value_would_be":
                assert f" {value}, " in fault("HSA_OVERRIDE_GFX_VERSION", str(found["HSA_OVERRIDE_GFX_VERSION"]))
            else:
                assert found[name] == value, (path.name, name)
            proven += 1
    assert proven == 7


def test_the_excerpt_of_a_unit_after_a_command(shared: Path) -> None:
    text = (shared / "corpus" / "limits" / "a380-show-environment.txt").read_text()
    (row,) = (row for row in rows_of(text) if row["name"] == "OLLAMA_VULKAN")
    assert (row["value"], row["subject"], row["origin"], row["in_force"]) == ("1", "ollama.service", "unit", True)


def test_files_of_systemctl_cat_are_told_apart_and_the_last_wins() -> None:
    assert is_unit_files(CAT.split("\n"))
    rows = rows_of(CAT)
    alive = [row for row in rows if row["name"] == "OLLAMA_KEEP_ALIVE"]
    assert [(row["origin"], str(row["file"]).rpartition("/")[2], row["value"], row["in_force"]) for row in alive] == [
        ("unit", "ollama.service", "5m", False),
        ("drop-in", "10-limits.conf", "-1", False),
        ("drop-in", "20-more.conf", "10m", True),
    ]
    assert {row["subject"] for row in rows} == {"ollama.service"}
    assert dict(in_force(rows))["OLLAMA_ORIGINS"] == "http://a b"
    lines = CAT.split("\n")
    assert all(str(row["value"]) in lines[row["line"] - 1] for row in rows)
    assert parse_unit_files(CAT).lines == {n for n, line in enumerate(lines, 1) if line}


def test_limits_have_soft_and_hard_ends() -> None:
    assert limits_of(CAT) == {
        "MEMLOCK": (math.inf, math.inf),
        "NOFILE": (1024.0, 65536.0),
        "MemoryMax": (12 * 2.0**30,) * 2,
    }
    assert {row["origin"] for row in parse_unit_files(CAT).tables["limits"]} == {"drop-in"}


def test_sections_of_tail_are_files_too() -> None:
    text = (
        "==> /usr/lib/systemd/system/a.service <==\n[Service]\nEnvironment=A=1 B=1\n\n"
        "==> /etc/systemd/system/a.service.d/x.conf <==\n[Service]\nEnvironment=A=2\n\n"
        "==> /etc/hosts <==\n127.0.0.1 localhost\n"
    )
    assert in_force(rows_of(text)) == [("B", "1"), ("A", "2")]
    assert 9 not in parse_unit_files(text).lines


def test_empty_assignments_reset_lists_and_the_environment() -> None:
    text = (
        "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\nExecStartPost=/a\nExecStartPost=/b\n"
        "ExecStartPost=\nExecStartPost=/c\nExecStartPost=/d\nNice=1\nNice=2\nEnvironmentFile=-/x\nPassEnvironment=C\n"
    )
    assert in_force(rows_of(text)) == [
        ("B", "2"), ("ExecStartPost", "/c"), ("ExecStartPost", "/d"), ("Nice", "2"), ("EnvironmentFile", "-/x"),
        ("PassEnvironment", "C"),
    ]  # fmt: skip
    assert in_force(rows_of("[Service]\nEnvironment=A=1\nEnvironment=\n")) == [("Environment", "")]


def test_a_comment_amid_a_continued_line_is_no_part_of_it() -> None:
    text = "[Service]\nExecStart=/bin/a \\\n# why\n  --b \\\n\nNice=1\n"
    assert in_force(rows_of(text)) == [("ExecStart", "/bin/a  --b"), ("Nice", "1")]
    assert {2, 3, 4} <= parse_unit_files(text).lines


def test_dependencies_cannot_be_taken_back() -> None:
    assert in_force(rows_of("[Unit]\nAfter=a.service\nAfter=\nAfter=b.service\n")) == [
        ("After", "a.service"),
        ("After", "b.service"),
    ]


def test_unset_environment_takes_variables_away() -> None:
    text = "[Service]\nEnvironment=A=1 B=2 C=3\nUnsetEnvironment=A B=7 C=3\n"
    assert in_force(rows_of(text)) == [("B", "2"), ("UnsetEnvironment", "A B=7 C=3")]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("LimitMEMLOCK=unlimited", "LimitMEMLOCK"), ("LimitMEMLOCK=infinity # all of it", "LimitMEMLOCK"),
        ("MemoryMax=12g", "MemoryMax"), ("LimitNOFILE=64K", "LimitNOFILE"), ("Environment=\"A=::", "Environment"),
        ("Environment=OLLAMA_HOST 0.0.0.0", "Environment"), ("After=network.target", "[Service] After"),
    ],
)  # fmt: skip
def test_what_systemd_ignores_is_kept_and_not_in_force(line: str, name: str) -> None:
    text = f"[Service]\nLimitMEMLOCK=1M\nLimitNOFILE=5\nMemoryMax=1M\nEnvironment=OLLAMA_HOST=a\n{line}\n"
    ignored = [row for row in rows_of(text) if row["line"] == 6]
    assert [row["name"] for row in ignored if not row["in_force"]][-1:] == [name]
    assert not any(row["in_force"] for row in ignored)
    assert limits_of(text) == {"MEMLOCK": (2**20,) * 2, "NOFILE": (5,) * 2, "MemoryMax": (2**20,) * 2}


def test_an_environment_in_the_wrong_section_is_none() -> None:
    rows = rows_of("[Unit]\nEnvironment=A=1\nLimitMEMLOCK=infinity\n[Service]\nNice=1\n")
    assert in_force(rows) == [("Nice", "1")]
    assert [row["name"] for row in effective_settings(rows)][:2] == ["[Unit] Environment", "[Unit] LimitMEMLOCK"]


def test_the_managers_configuration_gives_defaults() -> None:
    text = (
        "# /etc/systemd/system.conf\n[Manager]\n#DefaultLimitNOFILE=9\nDefaultLimitMEMLOCK=64M\nDefaultTasksMax=15%\n"
    )
    rows = parse_unit_files(text).tables["limits"]
    assert [(row["origin"], row["resource"], row["hard"], row["unit"]) for row in rows] == [
        ("manager default", "MEMLOCK", 64 * 2.0**20, "bytes"),
        ("manager default", "TasksMax", 15.0, "percent"),
    ]


def test_a_warning_that_files_changed_is_a_setting() -> None:
    warning = "# Warning: ollama.service changed on disk, the version systemd has loaded is outdated.\n"
    (row,) = (row for row in parse_unit_files(warning + CAT).tables["settings"] if row["name"] == "NeedDaemonReload")
    assert (row["subject"], row["value"], row["origin"]) == ("ollama.service", "yes", "systemctl show")


def test_commands_and_fences_may_stand_around_the_files() -> None:
    text = f"Here it is:\n\n```\n$ systemctl cat ollama\n{CAT}```\n\n[GIN] 2026/11/20 | 200 |\n$ ls\nA=1\n"
    assert in_force(rows_of(text)) == in_force(rows_of(CAT))


@pytest.mark.parametrize(
    "text",
    ["", "Environment=production", "[Service] is a section.", "[service]\nport=1", "[Service]\nport = 80",
     "Write this:\n\n```ini\n[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0\n```\nand restart.",
     "MainPID=7\nEnvironment=A=1\nNRestarts=0", "OLLAMA_HOST=0.0.0.0", "==> /proc/1/environ <==\n[Service]\nNice=1"],
)  # fmt: skip
def test_other_text_is_not_taken(text: str) -> None:
    assert not is_unit_files(text.split("\n"))
    assert not any(parse_unit_files(text).tables.values())


PIECES = st.sampled_from(
    [*CAT.split("\n"), *TRICKY.split("\n"), "==> /etc/systemd/system/a.service <==", "$ systemctl cat a", "```",
     "Environment=\\", "Environment=\"\ud800=", "LimitCPU=" + "9" * 400, "MemoryMax=" + "1 " * 90, "\x00", "[Manager]",
     "# /a.service", "DefaultLimitCPU=1", "UnsetEnvironment='", "Environment=A=\\UFFFFFFFF"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text()).map("\n".join))
def test_no_text_is_too_strange(text: str) -> None:
    parsed = parse_unit_files(text)
    assert parsed.lines <= set(range(1, len(text.split("\n")) + 1))
    if any(parsed.tables.values()):
        assert is_unit_files(text.split("\n")) or "outdated" in text
    for rows in parsed.tables.values():
        pyarrow.Table.from_pylist(rows)
    rows = parsed.tables["settings"]
    assert effective_settings(rows) == rows
