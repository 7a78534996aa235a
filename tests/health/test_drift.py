"""What changed between two reports is told; what one of them did not see is not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.health.drift import audit, configuration, drifted
from warmstall.period import within


@pytest.fixture(scope="module")
def memlock() -> Analysis:
    return analyze(INCIDENTS / "silent-hangs-memlock")


def test_a_period_long_after_the_start_knows_what_was_started(memlock):
    at = memlock.newest_at
    last = configuration(within(memlock, at - timedelta(minutes=10), at))
    whole = configuration(memlock)
    assert drifted(whole, last) == []
    assert last["ragbox|version|Ollama"] == "0.17.7"
    assert last["ragbox|setting|OLLAMA_VULKAN"] == "true"
    assert last["ragbox|device|found"] == "rocm AMD Radeon RX 7900 XTX"
    assert last["ragbox|offload|gemma3:4b-it-fp16"] == "35 of 35 layers"
    assert whole["ragbox|limit|MEMLOCK of a runner (ollama.service)"] == "8,388,608 bytes"


def test_another_backend_after_a_restart_is_drift(memlock):
    """The first start of that log found the GPU through Vulkan, later ones through ROCm."""
    at = datetime(2026, 3, 14, 17, 30, tzinfo=UTC)
    early = configuration(within(memlock, at - timedelta(hours=1), at))
    (found,) = (each for each in drifted(early, configuration(memlock)) if each.kind == "device")
    assert found.before == "vulkan AMD Radeon RX 7900 XTX (RADV NAVI31)"
    assert found.now == "rocm AMD Radeon RX 7900 XTX"
    assert found.sentence == f"ragbox: the devices that the server found changed from {found.before} to {found.now}."


def replaced(tmp_path: Path, old: str, new: str) -> Analysis:
    """The sample incident with another text in its server's log."""
    folder = tmp_path / "case"
    shutil.copytree(INCIDENTS / "warm-stall-runner-stopped", folder)
    log = folder / "evidence" / "server" / "server.log"
    text = log.read_text(encoding="utf-8")
    assert old in text
    log.write_text(text.replace(old, new), encoding="utf-8")
    return analyze(folder)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("version 0.32.15", "version 0.32.9", "server: Ollama was downgraded from 0.32.15 to 0.32.9."),
        ("version 0.32.15", "version 0.33.0", "server: Ollama was upgraded from 0.32.15 to 0.33.0."),
        ("OLLAMA_FLASH_ATTENTION:false", "OLLAMA_FLASH_ATTENTION:true",
         "server: OLLAMA_FLASH_ATTENTION changed from false to true."),
        ("OLLAMA_KV_CACHE_TYPE: ", "OLLAMA_KV_CACHE_TYPE:q8_0 ",
         "server: OLLAMA_KV_CACHE_TYPE changed from nothing to q8_0."),
    ],
)  # fmt: skip
def test_a_change_in_the_log_is_one_drift_with_its_direction(stall, tmp_path, old, new, sentence):
    found = drifted(configuration(stall), configuration(replaced(tmp_path, old, new)))
    assert [each.sentence for each in found] == [sentence]


def test_a_proxy_with_a_password_is_set_and_no_more(tmp_path):
    found = configuration(replaced(tmp_path, "HTTPS_PROXY: ", "HTTPS_PROXY:http://me:hunter2@proxy:3128 "))
    assert found["server|setting|HTTPS_PROXY"] == "set"
    assert "hunter2" not in str(found)


def test_what_one_side_did_not_capture_is_no_drift():
    before = {"a|version|Ollama": "0.20.2", "a|captured|models": "yes", "a|model|phi4:14b": "ac896e5b8b34"}
    assert drifted(before, {}) == []
    assert drifted({}, before) == []
    assert drifted(before, {"b|version|Ollama": "0.13.0"}) == []


def test_models_come_go_and_change_under_their_name():
    listed = {"a|captured|models": "yes"}
    before = listed | {"a|model|old:1b": "1", "a|model|same:2b": "2", "a|model|kept:3b": "3"}
    now = listed | {"a|model|same:2b": "9", "a|model|kept:3b": "3", "a|model|new:4b": "4"}
    assert [each.sentence for each in drifted(before, now)] == [
        "a: the model new:4b was added.",
        "a: the model old:1b was removed.",
        "a: the model same:2b is another one under the same name (digest 2 before, 9 now).",
    ]


@pytest.mark.parametrize(
    ("name", "was", "now"), [("OLLAMA_KEEP_ALIVE", "5m", "5m0s"), ("OLLAMA_HOST", "0.0.0.0", "http://0.0.0.0:11434")]
)
def test_the_same_setting_in_other_words_is_no_drift(name, was, now):
    assert drifted({f"a|setting|{name}": was}, {f"a|setting|{name}": now}) == []


def test_fewer_layers_on_the_gpu_are_drift():
    (found,) = drifted({"a|offload|phi4:14b": "41 of 41 layers"}, {"a|offload|phi4:14b": "30 of 41 layers"})
    assert found.sentence == "a: phi4:14b has 30 of 41 layers on the GPU, it had 41 of 41 layers."


def test_hostile_names_stay_on_their_line():
    (found,) = drifted({"a|version|x\x1b[31m\n<b>": "1"}, {"a|version|x\x1b[31m\n<b>": "2"})
    assert "\x1b" not in found.sentence
    assert "\n" not in found.sentence


@pytest.mark.parametrize("name", ["cpu-by-rocm-mismatch", "silent-hangs-memlock", "warm-stall-apple-silicon"])
def test_nothing_drifts_from_itself(name):
    found = configuration(analyze(INCIDENTS / name))
    assert drifted(found, dict(found)) == []
    assert all(key.count("|") >= 2 for key in found)


def test_the_audit_names_what_is_not_in_force(tmp_path):
    """A drop-in that was written after the start holds only in its file."""
    folder = tmp_path / "evidence" / "box"
    folder.mkdir(parents=True)
    show = "Id=ollama.service\nMainPID=4321\nLimitMEMLOCK=infinity\nLimitMEMLOCKSoft=infinity\n"
    limits = (
        "==> /proc/4321/limits <==\n"
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max locked memory         8388608              8388608              bytes     \n"
    )
    (folder / "systemctl-show.txt").write_text(show, encoding="utf-8")
    (folder / "limits.txt").write_text(limits, encoding="utf-8")
    told = audit(analyze(tmp_path))
    assert len(told) == 1
    assert told[0].startswith("box: MEMLOCK: the unit says infinity, the live process 4321 has 8 MiB")
