"""Intended settings beside those in force: what won, what it overrode, and what a server made of it."""

from __future__ import annotations

import pandas
import pytest

from unit_captures import FOLDER, by_name, config, drop_in, environment, frame, show
from warmstall.observed.limits import settings_compared
from warmstall.parse.systemctl_show import parse_systemctl_show
from warmstall.parse.unit_files import parse_unit_files


def test_the_winning_drop_in_is_named_with_what_it_overrode() -> None:
    captures = [
        drop_in(f"{name}.conf", f"Environment=OLLAMA_NUM_PARALLEL={value}") for name, value in ("a4", "c2", "b1")
    ]
    row = by_name(*captures, environment(1436, "OLLAMA_NUM_PARALLEL=2"))["OLLAMA_NUM_PARALLEL"]
    assert (row["intended"], row["intended_file"], row["overrode"]) == ("2", f"{FOLDER}/c.conf", "a.conf: 4, b.conf: 1")
    assert (row["in_force"], row["in_force_from"], row["differs"]) == ("2", "process 1436", False)
    assert row["sentence"] == (
        "OLLAMA_NUM_PARALLEL: c.conf says 2, and it is in force; it overrides a.conf: 4, b.conf: 1."
    )


def test_a_setting_that_is_not_in_force() -> None:
    kept = drop_in("a.conf", "Environment=OLLAMA_NUM_PARALLEL=4 OLLAMA_KEEP_ALIVE=-1 OLLAMA_MAX_QUEUE=9")
    found = by_name(kept, environment(1436, "OLLAMA_NUM_PARALLEL=1"), printed=config(OLLAMA_KEEP_ALIVE="5m0s"))
    assert [found[name]["differs"] for name in sorted(found)] == [True, True, True]
    assert "the server printed 5m0s" in found["OLLAMA_KEEP_ALIVE"]["sentence"]
    assert "process 1436 has 1" in found["OLLAMA_NUM_PARALLEL"]["sentence"]
    assert "process 1436 does not have it" in found["OLLAMA_MAX_QUEUE"]["sentence"]


def test_a_drop_in_whose_variables_systemd_has_not_loaded() -> None:
    row = by_name(drop_in("a.conf", "Environment=TZ=UTC"), show("Environment=PATH=/bin OLLAMA_DEBUG=1"))["TZ"]
    assert row["differs"] is True
    assert "systemd has not loaded it: systemctl daemon-reload is missing" in row["sentence"]


def test_nothing_captured_beside_it_leaves_it_open() -> None:
    row = by_name(drop_in("a.conf", "Environment=OLLAMA_DEBUG=1"))["OLLAMA_DEBUG"]
    assert row["differs"] is None
    assert "may not be in force" in row["sentence"]
    assert by_name(environment(7, "OLLAMA_DEBUG=1"))["OLLAMA_DEBUG"]["differs"] is None


def test_unset_values_that_the_server_prints_are_explained() -> None:
    printed = config(
        OLLAMA_FLASH_ATTENTION="false", OLLAMA_NUM_PARALLEL="0", OLLAMA_CONTEXT_LENGTH="0", OLLAMA_MAX_QUEUE="512"
    )
    found = by_name(show("Environment=PATH=/bin"), printed=printed)
    assert set(found) == {"OLLAMA_FLASH_ATTENTION", "OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH"}
    assert "does not mean off" in found["OLLAMA_FLASH_ATTENTION"]["sentence"]
    assert all("unset" in row["sentence"] for row in found.values())
    assert all(row["differs"] is None for row in found.values())
    off = by_name(drop_in("a.conf", "Environment=OLLAMA_FLASH_ATTENTION=0"), printed=printed)["OLLAMA_FLASH_ATTENTION"]
    assert (off["differs"], off["sentence"]) == (False, "OLLAMA_FLASH_ATTENTION: a.conf says 0, and it is in force.")


@pytest.mark.parametrize("name", ["OLLAMA_NUM_CTX", "OLLAMA_NUM_THREADS", "OLLAMA_NUM_GPU", "OLLAMA_TIMEOUT",
                                  "OLLAMA_REQUEST_TIMEOUT", "OLLAMA_MADE_UP"])  # fmt: skip
def test_names_that_no_version_reads(name: str) -> None:
    row = by_name(drop_in("a.conf", f"Environment={name}=8"), environment(1436, f"{name}=8"))[name]
    assert (row["differs"], row["ineffective"]) == (False, True)
    assert "it is read by no version of Ollama" in row["sentence"]


def test_a_version_that_does_not_know_the_setting_yet() -> None:
    old = config(OLLAMA_DEBUG="false", OLLAMA_MAX_QUEUE="512", OLLAMA_ORIGINS="[]")
    found = by_name(drop_in("a.conf", "Environment=OLLAMA_CONTEXT_LENGTH=8192 OLLAMA_API_X=1"), printed=old)
    assert "its version does not read it" in found["OLLAMA_CONTEXT_LENGTH"]["sentence"]


def test_a_graphics_version_wants_dots() -> None:
    row = by_name(drop_in("a.conf", "Environment=HSA_OVERRIDE_GFX_VERSION=gfx1030"))["HSA_OVERRIDE_GFX_VERSION"]
    assert row["ineffective"] is True
    assert "such as 10.3.0" in row["sentence"]


def test_lines_that_systemd_ignores_are_rows_of_their_own() -> None:
    text = (
        f"# {FOLDER}/a.conf\n[Unit]\nEnvironment=OLLAMA_DEBUG=1\n[Service]\nMemoryMax=12g\n"
        "Environment=OLLAMA_HOST 0.0.0.0\n"
    )
    captured = ("u.txt", parse_unit_files(text))
    found = settings_compared(frame("settings", captured))
    assert found["ineffective"].all()
    assert found["sentence"].tolist() == [
        "[Unit] Environment: systemd ignores 'OLLAMA_DEBUG=1' of a.conf: it stands in the section [Unit].",
        "MemoryMax: systemd ignores '12g' of a.conf: it does not take this value.",
        "Environment: systemd ignores 'OLLAMA_HOST' of a.conf: that is no NAME=value.",
        "Environment: systemd ignores '0.0.0.0' of a.conf: that is no NAME=value.",
    ]


def test_two_units_on_one_host_do_not_share_a_log_or_a_process() -> None:
    other = (
        "o.txt",
        parse_unit_files("# /etc/systemd/system/o2.service.d/a.conf\n[Service]\nEnvironment=OLLAMA_DEBUG=1\n"),
    )
    captures = (drop_in("a.conf", "Environment=OLLAMA_DEBUG=0"), other, environment(7, "OLLAMA_DEBUG=1"))
    found = settings_compared(frame("settings", *captures), config(OLLAMA_DEBUG="INFO"))
    assert found["differs"].isna().all()
    named = settings_compared(
        frame("settings", *captures, ("s.txt", parse_systemctl_show("Id=o2.service\nMainPID=7\n")))
    )
    assert dict(zip(named["unit"], named["differs"], strict=True)) == {"o2.service": False, "ollama.service": None}


def test_hosts_are_kept_apart() -> None:
    here, there = (
        frame("settings", drop_in("a.conf", "Environment=TZ=UTC")),
        frame("settings", environment(7, "TZ=CET"), host="b"),
    )
    found = settings_compared(pandas.concat([here, there]))
    assert dict(zip(found["host"], found["differs"], strict=True)) == {"a": None, "b": None}


def test_specifiers_are_systemds_to_fill_in() -> None:
    row = by_name(
        drop_in("a.conf", "Environment=OLLAMA_MODELS=%h/models"), environment(7, "OLLAMA_MODELS=/srv/models")
    )["OLLAMA_MODELS"]
    assert row["differs"] is None
