"""Times of cron, launchd and systemd that are equally far apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from croniter import croniter

from warmstall.errors import InputError
from warmstall.schedule.due_times import _ALLOWED_S, due_times


@pytest.mark.parametrize("every_s", _ALLOWED_S)
@pytest.mark.parametrize("shift", [0, 17, 59])
def test_the_fields_of_cron_are_as_far_apart_as_was_asked(every_s: float, shift: int) -> None:
    fields = due_times(every_s, shift).cron()
    times = croniter(fields, datetime(2026, 3, 1, tzinfo=UTC))
    found = [times.get_next(datetime) for _ in range(30)]

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(seconds=every_s)}


@pytest.mark.parametrize("every_s", _ALLOWED_S)
def test_launchd_starts_it_at_the_same_times_as_cron(every_s: float) -> None:
    due = due_times(every_s, 17)
    times = croniter(due.cron(), datetime(2026, 3, 1, tzinfo=UTC))
    by_cron = {times.get_next(datetime) for _ in range(60)}

    def matches(at: datetime, wanted: dict[str, int]) -> bool:
        told = {"Minute": at.minute, "Hour": at.hour, "Weekday": at.isoweekday()}
        return all(told[name] == value for name, value in wanted.items())

    assert all(any(matches(at, wanted) for wanted in due.intervals()) for at in by_cron)
    assert len(due.intervals()) == len(due.minutes) * max(1, len(due.hours))


@pytest.mark.parametrize(("every_s", "named"), [(420, "6m or 10m"), (45 * 60, "30m or 1h"), (5 * 3600, "4h or 6h")])
def test_a_time_that_divides_nothing_is_refused_with_the_nearest_ones(every_s: float, named: str) -> None:
    with pytest.raises(InputError, match=named):
        due_times(every_s)
