"""Values as Go prints them are read back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.go_values import duration_s, go_map, pairs, size_bytes, unquote


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("1ns", 1e-9), ("560.083µs", 560.083e-6), ("560.083μs", 560.083e-6), ("17.1ms", 0.0171), ("4.2s", 4.2),
     ("59.999999999s", 59.999999999), ("1m0s", 60), ("1m2s", 62), ("1h2m3s", 3723), ("12h0m3s", 43203), (" 5s ", 5)],
)  # fmt: skip
def test_a_duration_is_read(text, seconds):
    assert duration_s(text) == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize("broken", ["\ufffd", "Âµ", "┬╡", "?"])
def test_a_broken_micro_sign_is_still_micro(broken):
    assert duration_s(f"62.954{broken}s") == pytest.approx(62.954e-6)


@pytest.mark.parametrize("text", ["", "s", "5", "soon", "1.2.3s", "5s later", "x5s", "-5s", "9" * 400 + "s", "1e5s"])
def test_what_is_no_duration_is_none(text):
    assert duration_s(text) is None


@settings(deadline=None)
@given(st.text())
def test_a_duration_is_finite_or_none(text):
    seconds = duration_s(text)
    assert seconds is None or math.isfinite(seconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0 B", 0), ("1 KB", 1000), ("1 KiB", 1024), ("20.0 GiB", 20 * 2**30), ("1.5 TiB", 3 * 2**39), ("2 gib", 2**31)],
)
def test_a_size_is_read(text, count):
    assert size_bytes(text) == count


@pytest.mark.parametrize("text", ["", "5", "GiB", "nan GiB", "inf GiB", "1e999 B", "five GiB", "5 parsecs"])
def test_what_is_no_size_is_none(text):
    assert size_bytes(text) is None


def test_quoted_keys_and_values_are_read():
    text = r'time=1 msg="a \"b\" c=d" "model layers"=33 path="C:\\a b" raw=C:\a empty="" runner.name=x'
    assert pairs(text) == {
        "time": "1", "msg": 'a "b" c=d', "model layers": "33", "path": r"C:\a b", "raw": r"C:\a", "empty": "",
        "runner.name": "x",
    }  # fmt: skip


def test_of_a_repeated_key_the_first_is_kept():
    assert pairs('msg=mlx-runner msg="what it said"') == {"msg": "mlx-runner"}


@settings(deadline=None)
@given(st.text(st.sampled_from('a"\\= \n')))
def test_any_text_can_be_searched_for_pairs(text):
    assert all(isinstance(value, str) for value in pairs(text).values())
    assert isinstance(unquote(text), str)


def test_a_map_inside_a_struct_keeps_its_brackets():
    assert go_map("{Operation:commit LoraPath:[] GPULayers:37[ID:GPU-1 Layers:37(0..36)] KvCacheType: Parallel:1}") == {
        "Operation": "commit", "LoraPath": "[]", "GPULayers": "37[ID:GPU-1 Layers:37(0..36)]", "KvCacheType": "",
        "Parallel": "1",
    }  # fmt: skip


@settings(deadline=None)
@given(st.text(st.sampled_from("Aa:[]{} /")))
def test_any_text_can_be_searched_for_a_map(text):
    assert isinstance(go_map(text), dict)
