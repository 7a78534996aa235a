"""Bytes become text whatever a shell, an editor or a disk did to them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.encodings import decode, detect_encoding, encodable

TEXT = "[GIN] 2026/11/20 - 20:49:03 | 200 | 333.156µs | 日本 |\n"


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8-sig", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"),
     ("utf-16-le", b""), ("utf-16-be", b"")],
)  # fmt: skip
def test_text_comes_back_from_each_encoding(encoding, mark):
    data = mark + TEXT.encode(encoding.removesuffix("-sig"))
    assert detect_encoding(data) == encoding
    assert decode(data, encoding) == TEXT


@pytest.mark.parametrize(
    "data", [b"", b"\0", bytes(5000), b"a\0b\0\0c" + b"text" * 99, TEXT.encode("latin-1", "replace")]
)
def test_zeros_and_broken_bytes_do_not_make_utf_16(data):
    assert detect_encoding(data) == "utf-8"


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_become_text_that_parquet_can_hold(data):
    text = decode(data, detect_encoding(data))
    assert "\0" not in text
    text.encode("utf-8")


@settings(deadline=None)
@given(st.binary())
def test_decoding_utf_8_keeps_every_newline(data):
    assert decode(data, "utf-8").count("\n") == data.count(b"\n")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_encodable_text_can_be_encoded(text):
    encodable(text).encode("utf-8")
    assert "\0" not in encodable(text)
