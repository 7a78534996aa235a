"""What cannot be carried by a unit or a crontab is refused before anything is printed."""

from __future__ import annotations

from typing import Any

import pytest

from schedule.wishes import schedule
from warmstall.errors import InputError
from warmstall.schedule.jobs import jobs
from warmstall.schedule.records import HOUR_S


@pytest.mark.parametrize(
    ("wished", "said"),
    [
        ({"out": "health"}, "absolute path"),
        ({"out": "/a\nExecStart=/bin/evil"}, "control character"),
        ({"paths": ("/a\x85b",)}, "control character"),
        ({"out": "/\udce9"}, "no UTF-8"),
        ({"longest_s": HOUR_S}, "less than the time to the next report"),
        ({"longest_s": 1.0}, "at least 30s"),
        ({"memory_bytes": 2**20}, "384M at least"),
        ({"user": "root"}, "name another user"),
        ({"user": "a b"}, "name of a user"),
        ({"namespace": "Main"}, "small letters"),
        ({"image": "x y"}, "name of an image"),
        ({"image": "-x"}, "name of an image"),
    ],
)
def test_is_refused_with_what_to_do(wished: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        schedule(**wished)


def test_the_check_is_a_job_of_its_own_and_looks_once_an_hour_at_least() -> None:
    report, check = jobs(schedule(every_s=24 * HOUR_S, alerts="/etc/alerts.toml"))

    assert "--check-freshness" not in report.words
    assert check.words == ("report", "--check-freshness", "--out", "/srv/health", "--alerts", "/etc/alerts.toml")
    assert (check.every_s, check.outcomes) == (HOUR_S, (0,))
    assert (report.every_s, report.outcomes) == (24 * HOUR_S, (0, 1, 2))


def test_the_report_reads_what_was_watched() -> None:
    report, _, watch = jobs(schedule(watch=True, paths=("/var/log/ollama.log",)))

    assert report.words[:4] == ("report", "/var/log/ollama.log", "/srv/health/watch", "--collect")
    assert watch.words[:2] == ("watch", "/srv/health/watch")
