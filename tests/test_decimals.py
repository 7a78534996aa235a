"""Numbers that stand right-aligned in columns are those that a pattern finds, with the value that Python reads."""

from __future__ import annotations

import re

import numpy
from hypothesis import example, given
from hypothesis import strategies as st

from warmstall.ingest.decimals import Decimals

WIDTH = 12
PLAIN = re.compile(r" *[1-9][0-9]*(?:\.[0-9]*[1-9])?")


@given(st.lists(st.text(" .0159/:x", max_size=WIDTH).map(lambda text: text.rjust(WIDTH)), min_size=1))
@example(
    ["333.15615615", "999999999999", "9.9999999999", "          1.", "          .1", "        1 .1", "            "]
)
def test_plain_numbers_are_found_with_their_nearest_value(texts):
    found = Decimals(numpy.array([list(text.encode()) for text in texts], numpy.uint8).T)
    for number, text in enumerate(texts):
        assert bool(found.is_plain[number]) == bool(PLAIN.fullmatch(text)), text
        if found.is_plain[number]:
            whole, _, places = text.strip().partition(".")
            assert found.value[number] == float(text)
            assert (found.whole[number], found.places[number]) == (int(whole), len(places))
