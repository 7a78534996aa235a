"""The columns of requests: times as they were read, however far apart."""

from __future__ import annotations

import numpy as np
import pytest

from judging.made import ZERO, columns, request


@pytest.mark.parametrize("unsure_s", [0.0, 1.0, 3000.0, 1e9])
def test_both_ends_of_a_time_are_kept(unsure_s: float) -> None:
    """The later one is stored by how much later it is, which most often is a second."""
    requests = columns([request(0, 0, 5), request(1, 10, 2, unsure_s=unsure_s)])

    assert requests.ended_to_us().tolist() == [round(1e6 * (ZERO + at)) for at in (5, 12 + unsure_s)]
    assert requests.ended_to(np.array([1])).tolist() == [ZERO + 12 + unsure_s]
