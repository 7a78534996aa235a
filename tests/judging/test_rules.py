"""The table of rules: many requests at once are judged as each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_verdicts import LONG, MEASURED, SLOW_DECODE, UNEXPLAINED
from warmstall.judging.rules import EVERY_RULE, rules_that_hold, verdict_of
from warmstall.judging.words import Words

SECONDS = st.sampled_from([0.0, 0.02, 0.4, 0.9, 1.0, 2.0, 5.0, 29.0, 30.0, 400.0])
MAYBE_SECONDS = st.one_of(st.none(), SECONDS)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(["200", "200", "200", "500", "499", "503", "404", "501", ""]),
    "model": st.sampled_from(["", "m"]),
    "failed_load": st.sampled_from(["", "", "failed", "abandoned"]),
    "trial_error": st.sampled_from(["", "", "ReadTimeout", "unexpected EOF", "error loading model"]),
    **dict.fromkeys(("in_flight", "beside", "loads_seen", "crash_line", "abort_line"), st.integers(0, 3)),
    **dict.fromkeys(("usual_s", "usual_limit_s"), MAYBE_SECONDS),
    **dict.fromkeys(("decode_factor", "prefill_factor"), st.sampled_from([None, 1.0, 4.0, 6.0])),
}


def value(name: str) -> st.SearchStrategy[Any]:
    if name in VALUES:
        return VALUES[name]
    if isinstance(UNEXPLAINED[name], bool):
        return st.booleans()
    return SECONDS if name.endswith("_s") else st.just(UNEXPLAINED[name])


FACTS = st.one_of(
    st.sampled_from([UNEXPLAINED, UNEXPLAINED | LONG, MEASURED, SLOW_DECODE]),
    st.fixed_dictionaries({name: value(name) for name in UNEXPLAINED}),
)


class Together:
    """The facts of several requests as columns."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Any:
        values = [row[name] for row in self.rows]
        if isinstance(values[0], str):
            return Words.of(values)
        return np.array([np.nan if value is None else value for value in values])


@settings(max_examples=200)
@given(st.lists(FACTS, min_size=1, max_size=20))
def test_many_at_once_are_judged_as_each_by_itself(rows: list[dict[str, Any]]) -> None:
    """No request's verdict may hang on which others are judged with it."""
    together = [EVERY_RULE[number].verdict for number in rules_that_hold(Together(rows)).tolist()]

    assert together == [verdict_of(row)[0] for row in rows]


@pytest.mark.parametrize("number", range(len(EVERY_RULE)))
def test_a_rule_tells_a_mask_of_as_many_rows_as_there_are(number: int) -> None:
    mask = EVERY_RULE[number].when(Together([UNEXPLAINED, MEASURED, SLOW_DECODE]))

    assert (mask.dtype, mask.shape) == (np.dtype(bool), (3,))
