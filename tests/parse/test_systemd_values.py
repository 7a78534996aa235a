"""Values as systemd reads them: words, sizes, spans, limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.parse.systemd_values import limit_of, span_s, words


@pytest.mark.parametrize(
    ("name", "value", "end"),
    [("LimitCPU", "2min", 120), ("LimitCPU", "1500ms", 2), ("LimitRTTIME", "1.5", 1), ("LimitNICE", "+5", 15),
     ("LimitMEMLOCK", "8 M", 2**23), ("MemoryMax", "33.33%", 33.33), ("CPUQuota", "200%", 200),
     ("TasksMax", "infinity", math.inf), ("LimitNOFILE", "+5", 5)],
)  # fmt: skip
def test_amounts_are_read_as_systemd_reads_them(name: str, value: str, end: float) -> None:
    limit = limit_of(name, value)
    assert limit is not None
    assert limit.hard == end


@given(st.text())
def test_values_of_any_kind_are_words_spans_and_limits_or_nothing(text: str) -> None:
    for shell in (False, True):
        found, readable = words(text, shell)
        assert isinstance(readable, bool)
        assert all(isinstance(word, str) for word in found)
    assert span_s(text) is None or span_s(text) >= 0
    limit = limit_of("LimitNOFILE", text)
    assert limit is None or (limit.soft or 0) <= (limit.hard or 0)
