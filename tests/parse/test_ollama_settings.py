"""What values of Ollama's variables come to, and which variables there are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.parse.go_values import go_map
from warmstall.parse.ollama_settings import READ, duration_s, fault, is_read, meaning, same


def test_every_name_that_a_server_printed_is_one_that_is_read(shared: Path) -> None:
    for version in sorted((shared / "real-ollama").glob("v*")):
        with next(version.glob("*/server.log")).open() as lines:
            printed = go_map(next(line for line in lines if "server config" in line).split('env="')[1].rstrip('"\n'))
        assert len(printed) > 20
        assert all(is_read(name) for name in printed), version


@pytest.mark.parametrize(
    ("value", "wanted"), [("gfx1100", "11.0.0"), ("gfx90a", "9.0.10"), ("906", "9.0.6"), ("10.3", "10.3.0")]
)
def test_the_right_graphics_version_is_named(value: str, wanted: str) -> None:
    assert f" {wanted}, " in fault("HSA_OVERRIDE_GFX_VERSION", value)
    assert not fault("HSA_OVERRIDE_GFX_VERSION", wanted)


@pytest.mark.parametrize(
    ("name", "intended", "printed", "agree"),
    [
        ("OLLAMA_KEEP_ALIVE", "5m", "5m0s", True),
        ("OLLAMA_KEEP_ALIVE", "300", "5m0s", True),
        ("OLLAMA_KEEP_ALIVE", "-1", "2562047h47m16.854775807s", True),
        ("OLLAMA_KEEP_ALIVE", "-1", "-1ns", True),
        ("OLLAMA_KEEP_ALIVE", "-1m", "-1s", True),
        ("OLLAMA_KEEP_ALIVE", "0", "0s", True),
        ("OLLAMA_KEEP_ALIVE", "0", "5m0s", False),
        ("OLLAMA_KEEP_ALIVE", "24h", "24h0m0s", True),
        ("OLLAMA_KEEP_ALIVE", "10m", "5m0s", False),
        ("OLLAMA_KEEP_ALIVE", "1d", "5m0s", True),
        ("OLLAMA_LOAD_TIMEOUT", "0", "2562047h47m16.854775807s", True),
        ("OLLAMA_HOST", "0.0.0.0", "http://0.0.0.0:11434", True),
        ("OLLAMA_HOST", ":8080", "http://:8080", True),
        ("OLLAMA_HOST", "http://127.0.0.1", "http://127.0.0.1:80", True),
        ("OLLAMA_HOST", "127.0.0.1", "http://0.0.0.0:11434", False),
        ("OLLAMA_HOST", "[::]:11434", "http://[::]:11434", True),
        ("OLLAMA_DEBUG", "1", "DEBUG", True),
        ("OLLAMA_DEBUG", "0", "INFO", True),
        ("OLLAMA_DEBUG", "2", "DEBUG-4", True),
        ("OLLAMA_DEBUG", "1", "false", False),
        ("OLLAMA_FLASH_ATTENTION", "1", "true", True),
        ("OLLAMA_FLASH_ATTENTION", "yes", "true", True),
        ("OLLAMA_FLASH_ATTENTION", "false", "true", False),
        ("OLLAMA_ORIGINS", "http://a,*", "[http://a * http://localhost]", True),
        ("OLLAMA_ORIGINS", "http://b", "[http://a]", False),
        ("OLLAMA_KV_CACHE_TYPE", '"q8_0"', "q8_0", True),
        ("OLLAMA_NUM_PARALLEL", "04", "4", True),
        ("CUDA_VISIBLE_DEVICES", "0", "", False),
    ],
)
def test_values_are_compared_by_what_they_come_to(name: str, intended: str, printed: str, agree: bool) -> None:
    assert same(name, intended, printed) is agree


@given(st.sampled_from([*READ, "HSA_OVERRIDE_GFX_VERSION", "TZ"]), st.text())
def test_values_of_any_kind_have_a_meaning(name: str, value: str) -> None:
    hash(meaning(name, value))
    assert isinstance(fault(name, value), str)
    assert same(name, value, value)
    seconds = duration_s(value)
    assert seconds is None or not math.isnan(seconds)
