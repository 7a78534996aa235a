"""Sentences that differ in their numbers alone are found without making all of them."""

from __future__ import annotations

import re

import pytest

from conftest import INCIDENTS
from warmstall.analysis import analyze

CASES = sorted(path.name for path in INCIDENTS.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", CASES)
def test_requests_are_alike_exactly_where_their_sentences_are_but_for_numbers(name: str) -> None:
    found = analyze(INCIDENTS / name)
    rows = found.verdicts()
    sentences = [re.sub(r"[\d.,]+", "#", reason) for reason in found.reasons(rows)]
    gists = found.gists(rows).tolist()

    assert len(set(zip(gists, sentences, strict=True))) == len(set(gists)) == len(set(sentences))
