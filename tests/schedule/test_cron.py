"""Lines that cron reads, and that its shell reads back word for word."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.wishes import NASTY, paths, schedule
from warmstall.errors import InputError
from warmstall.schedule.cron import command_line, print_crontab
from warmstall.schedule.jobs import jobs


def as_cron_does(command: str) -> str:
    r"""crontab(5): a % that no backslash precedes ends the command, and \% is %."""
    assert not re.search(r"(?<!\\)%", command)
    return command.replace("\\%", "%")


@given(st.lists(paths("\\"), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_shell_of_cron_gets_every_word_as_it_is(command: list[str]) -> None:
    line = as_cron_does(command_line(tuple(command)))
    printed = subprocess.run(["/bin/sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout

    assert printed.decode().split("\0")[:-1] == command


def lines_of(text: str) -> list[tuple[str, str]]:
    found = [line.split(maxsplit=5) for line in text.splitlines() if not line.startswith("#")]
    return [(" ".join(parts[:5]), parts[5]) for parts in found]


def test_each_job_has_a_line_with_times_and_bounds() -> None:
    wished = schedule(watch=True, out=NASTY, alerts=f"{NASTY}/alerts.toml")
    lines = lines_of(print_crontab(wished)[0].text)

    assert len(lines) == 3
    for (times, command), job in zip(lines, jobs(wished), strict=True):
        assert croniter.is_valid(times)
        words = shlex.split(as_cron_does(command))
        assert words[:3] == ["/opt/warmstall/.venv/bin/warmstall", "schedule", "run"]
        assert {"--quiet", "--longest", "--memory"} <= set(words)
        if job.name != "watch":
            assert tuple(words[words.index("--") + 1 :]) == job.words


def test_a_line_of_the_system_names_its_user() -> None:
    (_, command), *_ = lines_of(print_crontab(schedule(user="warmstall"))[0].text)

    assert command.startswith("warmstall /opt/warmstall/.venv/bin/warmstall schedule run")


@pytest.mark.parametrize(("out", "said"), [("/a\\b", "backslash"), ("/" + "x" * 990, "cron reads 990")])
def test_what_crons_read_differently_is_refused(out: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        print_crontab(schedule(out=out))


@pytest.mark.skipif(not shutil.which("crontab"), reason="crontab is not installed")
def test_crontab_itself_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "warmstall"
    path.write_text(print_crontab(schedule(watch=True, out=NASTY))[0].text, encoding="utf-8")
    tries = [subprocess.run(["crontab", option, str(path)], capture_output=True, text=True, check=False)
             for option in ("-T", "-n")]  # cronie, Debian  # fmt: skip

    assert any(done.returncode == 0 for done in tries), [done.stderr for done in tries]
