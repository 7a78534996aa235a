"""Who is told what and when: each trouble once, its reminders and its end; nothing twice and nothing lost."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from health.receivers import web
from warmstall.errors import InputError, ParameterError
from warmstall.health.delivery import AlertSettings, deliver, read_settings
from warmstall.health.delivery.episodes import read_state
from warmstall.health.delivery.messages import Message
from warmstall.health.delivery.sending import Outcome
from warmstall.health.delivery.settings import Channel, Quiet, checked_settings
from warmstall.health.freshness import Freshness, tell

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
MEMORY = ("memory:box", "critical", "memory will be gone in 40 min")
STALL = ("cause:warm_stall:box", "degraded", "Warm stall: 3 of 40 requests")
BLIND = ("unseen:box", "could not tell", "nothing shows whether the server ran")


def verdict(*reasons: tuple[str, str, str], at: datetime = START, status: str = "", **more: Any) -> dict[str, Any]:
    """The verdict of the hour before `at`."""
    order = ("healthy", "could not tell", "degraded", "critical")
    worst = max([status for _, status, _ in reasons] or ["healthy"], key=order.index)
    return {
        "schema": 1, "status": status or worst, "sentence": f"{status or worst}.", "hosts": ["box"],
        "from": (at - timedelta(hours=1)).isoformat(), "to": at.isoformat(),
        "reasons": [dict(zip(("key", "status", "sentence"), reason, strict=True)) for reason in reasons],
        "causes": [{"id": "warm_stall", "runbook": "recover-stuck-runner"}, {"id": "other", "runbook": "free-vram"}],
        "report": "reports/2026-01-05T100000Z/report.html", "error": "",
    } | more  # fmt: skip


class Post:
    """Takes every message but those of the channels that are `down`."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.down: set[str] = set()

    def __call__(
        self, messages: Sequence[Message], addresses: Mapping[str, str], timeout_s: float, proxy: str
    ) -> Iterator[Outcome]:
        for message in messages:
            is_sent = message.channel not in self.down
            self.got += [message] if is_sent else []
            yield Outcome(message.channel, is_sent, "" if is_sent else "error=503.")

    def took(self, channel: str = "ops") -> list[Message]:
        """What came since this was asked last."""
        found = [message for message in self.got if message.channel == channel]
        self.got = [message for message in self.got if message.channel != channel]
        return found


def channel(name: str = "ops", least: Any = "could not tell") -> Channel:
    return Channel(name, url="json://127.0.0.1:1", least=least)


class Hours:
    """Hourly reports one after another into one folder."""

    def __init__(self, folder: Path, settings: AlertSettings | None = None) -> None:
        self.folder, self.post = folder, Post()
        self.settings = settings or AlertSettings(channels=(channel(),))
        self.at = START

    def report(self, *reasons: tuple[str, str, str], hours: float = 1, **more: Any) -> dict[str, list[Any]]:
        self.at += timedelta(hours=hours)
        return deliver(verdict(*reasons, at=self.at, **more), self.folder, self.settings, self.at, self.post)

    def titles(self, channel: str = "ops") -> list[str]:
        return [message.title for message in self.post.took(channel)]


@pytest.fixture
def hours(tmp_path: Path) -> Hours:
    return Hours(tmp_path)


def test_nothing_is_sent_unless_configured(tmp_path: Path) -> None:
    nothing: dict[str, list[Any]] = {"sent": [], "failed": [], "held": [], "notes": []}
    post = Post()
    for settings in (None, AlertSettings()):
        assert deliver(verdict(MEMORY), tmp_path, settings, START, post) == nothing
    assert post.got == []
    assert list(tmp_path.iterdir()) == []


def test_a_healthy_report_says_nothing(hours: Hours) -> None:
    for _ in range(30):
        assert hours.report()["sent"] == []


def test_a_trouble_is_told_once_and_so_is_its_end(hours: Hours) -> None:
    assert hours.report(MEMORY)["sent"] == [
        {"channel": "ops", "title": "warmstall: critical on box", "keys": ["memory:box"]}
    ]
    for _ in range(5):
        hours.report(MEMORY)
    hours.report()
    hours.report()
    first, last = hours.post.took()
    assert (first.title, first.severity) == ("warmstall: critical on box", "failure")
    assert (last.title, last.severity) == ("warmstall: over on box", "success")
    assert (
        "No longer seen (critical): memory will be gone in 40 min. Seen for 6 h, in reports from "
        "2026-01-05 10:00 UTC to 2026-01-05 16:00 UTC." in last.body
    )


def test_the_message_has_sentence_reasons_page_and_runbook(hours: Hours) -> None:
    hours.report(MEMORY, STALL, sentence="Memory of box runs out.")
    (message,) = hours.post.took()
    assert message.body.splitlines() == [
        "Memory of box runs out.",
        "New (critical): memory will be gone in 40 min.",
        "New (degraded): Warm stall: 3 of 40 requests.",
        f"Page: {hours.folder}/reports/2026-01-05T100000Z/report.html",
        "Runbook, which shows its plan first: warmstall runbook run recover-stuck-runner",
    ]


def test_another_number_is_the_same_trouble_and_another_trouble_is_new(hours: Hours) -> None:
    hours.report(MEMORY)
    hours.report(("memory:box", "critical", "memory will be gone in 20 min"))
    hours.report(("memory:box", "critical", "memory will be gone in 10 min"), STALL)
    _, second = hours.post.took()
    assert "gone in 10 min" not in second.body
    assert "New (degraded): Warm stall" in second.body
    assert second.title == "warmstall: degraded on box, critical still open"


def test_worse_is_told_at_once_and_better_is_not(hours: Hours) -> None:
    milder = ("memory:box", "degraded", "memory keeps falling")
    for reason in (milder, MEMORY, milder, MEMORY):
        hours.report(reason)
    assert hours.titles() == ["warmstall: degraded on box", "warmstall: critical on box"]


def test_what_goes_on_is_told_again_every_day(hours: Hours) -> None:
    for _ in range(49):
        hours.report(STALL)
    first, second, third = hours.post.took()
    assert "New (degraded)" in first.body
    assert "Still (degraded): Warm stall: 3 of 40 requests. Since 2026-01-05 10:00 UTC." in second.body
    assert "Still" in third.body


def test_a_report_that_could_not_tell_is_told_at_once_and_ends_nothing(hours: Hours) -> None:
    hours.report(MEMORY)
    hours.report(BLIND)
    hours.report(BLIND)
    hours.report(MEMORY)
    hours.report()
    titles = hours.titles()
    assert titles == [
        "warmstall: critical on box",
        "warmstall: could not tell on box, critical still open",
        "warmstall: over on box, critical still open",  # it can be told again: the memory is still falling
        "warmstall: over on box",
    ]


def test_of_another_host_an_end_can_be_told(hours: Hours) -> None:
    hours.report(MEMORY, ("memory:other", "critical", "memory of other"))
    hours.report(BLIND)
    _, second = hours.post.took()
    assert "No longer seen (critical): memory of other." in second.body
    assert "40 min" not in second.body


def test_a_failed_report_is_told(hours: Hours) -> None:
    hours.report(status="could not tell", error="KeyError: 'at'")
    (message,) = hours.post.took()
    assert message.title == "warmstall: could not tell on box"
    assert "The report failed: KeyError: 'at'." in message.body


@pytest.mark.parametrize("said", [{}, {"status": "purple"}, {"status": None, "reasons": "x", "causes": 3, "hosts": 4}])
def test_a_verdict_that_says_nothing_is_no_healthy_one(tmp_path: Path, said: dict[str, Any]) -> None:
    post = Post()
    told = deliver(said, tmp_path, AlertSettings(channels=(channel(),)), START, post)
    assert "could not tell" in told["sent"][0]["title"]


def test_could_not_tell_may_wait_for_some_reports_in_a_row(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel(),), could_not_tell_after=3))
    hours.report(BLIND)
    hours.report()
    assert hours.titles() == []
    for _ in range(3):
        hours.report(BLIND)
    assert hours.titles() == ["warmstall: could not tell on box"]


def test_a_trouble_that_comes_and_goes_is_told_ever_less(hours: Hours) -> None:
    for hour in range(48):
        hours.report(*([STALL] if hour % 3 == 0 else []))
    # New, over; new, and from then on it has to stay away for hours; a reminder a day later.
    assert len(hours.titles()) <= 8


def test_what_failed_is_sent_with_the_next_report_to_that_channel_alone(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel("ops"), channel("boss"))))
    hours.post.down = {"boss"}
    told = hours.report(MEMORY)
    assert [row["channel"] for row in told["sent"]] == ["ops"]
    assert told["failed"] == [
        {"channel": "boss", "title": "warmstall: critical on box", "keys": ["memory:box"], "why": "error=503."}
    ]
    hours.post.down = set()
    hours.report(MEMORY)
    hours.report(MEMORY)
    assert hours.titles("ops") == hours.titles("boss") == ["warmstall: critical on box"]


def test_what_was_over_before_it_could_be_told_is_told_all_the_same(hours: Hours) -> None:
    hours.post.down = {"ops"}
    hours.report(MEMORY)
    hours.report()
    hours.post.down = set()
    hours.report()
    hours.report()
    (message,) = hours.post.took()
    assert "Came and went (critical): memory will be gone in 40 min. Seen for 60 min" in message.body


def test_other_channels_are_told_of_one_that_does_not_work_and_when_it_does(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel("ops"), channel("boss"))))
    hours.post.down = {"boss"}
    for _ in range(4):
        hours.report(STALL)
    _, second = hours.post.took("ops")
    assert "Messages do not reach the channel boss since 2026-01-05 11:00 UTC: error=503." in second.body
    hours.post.down = set()
    hours.report(STALL)
    hours.report(STALL)
    assert hours.titles("ops") == ["warmstall: over on box, degraded still open"]
    assert len(hours.titles("boss")) == 1


def test_a_variable_that_is_not_set_is_a_failed_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMSTALL_ALERT_URL", raising=False)
    hours = Hours(tmp_path, AlertSettings(channels=(Channel("ops", "WARMSTALL_ALERT_URL"), channel("boss"))))
    told = hours.report(MEMORY)
    assert told["failed"][0]["why"] == "The variable WARMSTALL_ALERT_URL, which holds its address, is not set."
    assert len(told["sent"]) == 1


def test_a_channel_is_told_what_is_bad_enough_for_it(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel("ops"), channel("pager", least="critical"))))
    for reasons in ([BLIND], [STALL], [STALL, MEMORY], [STALL], []):
        hours.report(*reasons)
    assert hours.titles("pager") == ["warmstall: critical on box", "warmstall: over on box, degraded still open"]
    assert len(hours.titles("ops")) == 5


NIGHT = Quiet(time(22), time(7))


def test_a_quiet_period_holds_what_can_wait_until_it_ends(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel(),), quiet=(NIGHT,)))
    told = hours.report(STALL, hours=13)  # 23:00
    assert told["held"] == [{"channel": "ops", "keys": [STALL[0]], "until": "2026-01-06T07:00:00+00:00"}]
    hours.report(STALL, MEMORY)
    assert hours.titles() == ["warmstall: critical on box"]
    hours.report(STALL)  # critical is over, and whoever was woken may sleep
    hours.report(hours=5.5)  # 06:30
    assert hours.titles() == ["warmstall: over on box, degraded still open"]
    hours.report(hours=0.5)  # 07:00
    (message,) = hours.post.took()
    assert "Came and went (degraded): Warm stall" in message.body


def test_a_quiet_period_may_hold_everything_or_let_more_through(tmp_path: Path) -> None:
    for through, expected in (((), 0), (("could not tell", "critical"), 2)):
        folder = tmp_path / str(len(through))
        quiet = Quiet(time(22), time(7), through=through)  # type: ignore[arg-type]
        hours = Hours(folder, AlertSettings(channels=(channel(),), quiet=(quiet,)))
        hours.report(MEMORY, hours=13)
        hours.report(MEMORY, BLIND)
        assert len(hours.titles()) == expected


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-03-28T20:59:00+00:00", None),
        ("2026-03-28T21:00:00+00:00", "2026-03-29T05:00:00+00:00"),  # in summer time by then
        ("2026-03-29T04:59:00+00:00", "2026-03-29T05:00:00+00:00"),
        ("2026-03-29T05:00:00+00:00", None),
        ("2026-10-25T05:59:00+00:00", "2026-10-25T06:00:00+00:00"),  # the night of 25 hours
        ("2026-10-25T06:00:00+00:00", None),
    ],
)
def test_quiet_periods_follow_the_clocks_of_their_zone(now: str, ends: str | None) -> None:
    until = Quiet(time(22), time(7), zone="Europe/Berlin").until(datetime.fromisoformat(now))
    assert (until.astimezone(UTC).isoformat() if until else None) == ends


def test_a_check_of_freshness_alerts_once_and_the_next_report_ends_it(hours: Hours) -> None:
    stale = Freshness(False, "No report came.")
    hours.report(MEMORY)
    for _ in range(3):
        hours.at += timedelta(minutes=10)
        tell_by_post(stale, hours)
    tell_by_post(Freshness(True, "Fresh."), hours)
    hours.report(MEMORY)
    assert hours.titles() == [
        "warmstall: critical on box",
        "warmstall: could not tell on box, critical still open",
        "warmstall: over on box, critical still open",
    ]


def tell_by_post(found: Freshness, hours: Hours) -> None:
    tell(found, hours.folder, hours.settings.__class__(**vars(hours.settings) | {"host": "box"}), hours.at, hours.post)


HOSTILE = "x\x1b[31m\n\nNew (critical): forged @everyone <!channel> <b> ![i](https://t.example/?a) \u202e" + "y" * 9000


def test_log_text_stays_text_on_one_line_and_short(hours: Hours) -> None:
    hours.report(*((f"cause:c{n}:box", "degraded", HOSTILE) for n in range(40)), sentence=HOSTILE, hosts=[HOSTILE])
    (message,) = hours.post.took()
    assert len(message.body) <= 1900
    assert len(message.title) <= 120
    assert re.search(r"… and \d+ more on the page\.", message.body)
    for text in ("\x1b", "\u202e", "@everyone", "<!", "<b>", "](", "https://"):
        assert text not in message.body + message.title
    assert not any(line.startswith("New (critical)") for line in message.body.splitlines())


def test_a_state_that_cannot_be_read_or_written_costs_no_alert(hours: Hours) -> None:
    hours.report(MEMORY)
    state = hours.folder / "alerts.json"
    for broken in (
        "",
        "{",
        "[]",
        '{"schema": 99}',
        '{"schema": 1, "episodes": {"a": 3}, "failing": {}}',
        "[" * 100_000,
    ):
        state.write_text(broken)
        told = hours.report(MEMORY)
        assert len(told["sent"]) == 1, broken
        assert "could not be read" in told["notes"][0]
    state.unlink()
    state.mkdir()
    (state / "x").touch()
    told = hours.report(MEMORY)
    assert len(told["sent"]) == 1
    assert any("could not be kept" in note for note in told["notes"])


def test_where_nothing_can_be_written_messages_are_sent(hours: Hours) -> None:
    hours.folder = hours.folder / "file"
    hours.folder.touch()
    for _ in range(2):
        told = hours.report(MEMORY)
        assert len(told["sent"]) == 1
        assert any("could not be kept" in note for note in told["notes"])


def test_a_clock_that_was_wrong_silences_nothing(hours: Hours) -> None:
    """Told in 2031, and then the clock was put right."""
    hours.report(STALL, hours=24 * 365 * 5)
    hours.at = START
    hours.report(STALL)
    hours.report()
    assert len(hours.titles()) == 3


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    hours = Hours(tmp_path, AlertSettings(channels=(channel(), channel("dead"))))
    hours.post.down = {"dead"}
    for day in range(12):
        hours.report(*((f"cause:c{day}-{n}:box", "degraded", "x") for n in range(200)), hours=12)
        hours.report(hours=12)
    state, _ = read_state(tmp_path / "alerts.json")
    assert len(state.episodes) <= 500
    hours.report(hours=24 * 8)
    state, _ = read_state(tmp_path / "alerts.json")
    assert [key for key in state.episodes if key.startswith("cause:")] == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_trouble_and_its_end_is_told_and_nothing_twice(tmp_path: Path, seed: int) -> None:
    """Troubles come and go, reports could not tell, channels fail: in the end every channel knows all of it."""
    chance = random.Random(seed)
    hours = Hours(tmp_path, AlertSettings(channels=(channel(), channel("flaky")), remind_every_s=1e9))
    names = ("memory:box", "swap:box", "silent:box")
    seen: set[str] = set()
    told: dict[str, list[Message]] = {"ops": [], "flaky": []}
    for hour in range(80):
        now = [name for name in names if hour < 40 and chance.random() < 0.15]
        seen |= set(now)
        hours.post.down = {"flaky"} if hour < 60 and chance.random() < 0.5 else set()
        blind = [BLIND] if hour < 40 and chance.random() < 0.1 else []
        hours.report(*((name, "critical", f"trouble {name}") for name in now), *blind)
        for each in told:
            told[each] += hours.post.took(each)
    for each in told:
        lines = [line for message in told[each] for line in message.body.splitlines()]
        for name in seen:
            kinds = [line.split(" (")[0] for line in lines if f"trouble {name}" in line]
            assert kinds[-1] in ("No longer seen", "Came and went")
            # Never twice new without an end between, never twice over.
            assert all(one != other for one, other in pairwise(kinds) if one != "Came and went")


REPORT = """
import json, sys
from datetime import datetime, UTC
from pathlib import Path
from warmstall.health.delivery import AlertSettings, deliver
from warmstall.health.delivery.settings import Channel
folder, *urls = sys.argv[1:]
channels = tuple(Channel(f"c{n}", url=url) for n, url in enumerate(urls))
verdict = {"status": "critical", "reasons": [{"key": "memory:box", "status": "critical", "sentence": "gone"}]}
print(json.dumps(deliver(verdict, Path(folder), AlertSettings(channels), datetime.now(UTC))))
"""


def test_a_report_killed_between_sending_and_writing_tells_again_and_only_that_channel(tmp_path: Path) -> None:
    """At least once: the channel whose answer was never seen is told a second time, and no third time."""
    words = [sys.executable, "-c", REPORT, str(tmp_path)]
    with web() as quick, web("hang") as slow:
        words += [quick.address, slow.address + "/?rto=600"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as report:
            assert slow.came.wait(60)
            kept = threading.Event()
            while not kept.is_set():
                state, _ = read_state(tmp_path / "alerts.json")
                assert "c1" not in state.failing  # what is written when all is over comes too late
                if "memory:box" in state.episodes and "c0" in state.episodes["memory:box"].told:
                    kept.set()
                kept.wait(0.02)
            report.send_signal(signal.SIGKILL)
        slow.answers = 200
        slow.released.set()
        for expected in (["c1"], []):
            done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=100)
            assert [row["channel"] for row in json.loads(done.stdout)["sent"]] == expected
    assert len(quick.got) == 1
    assert len(slow.got) == 2


def test_two_deliveries_at_once_tell_once(tmp_path: Path) -> None:
    with web() as hook:
        words = [sys.executable, "-c", REPORT, str(tmp_path), hook.address]
        runs = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
        sent = [json.loads(run.communicate(timeout=100)[0])["sent"] for run in runs]
    assert sorted(map(len, sent)) == [0, 1]
    assert len(hook.got) == 1


EXAMPLE = ROOT / "data" / "alerts.toml"


def test_the_example_is_valid_with_and_without_what_is_commented_out(tmp_path: Path) -> None:
    assert read_settings(EXAMPLE) == AlertSettings(channels=(Channel("operators", "WARMSTALL_ALERT_URL"),))
    everything = re.sub(r"^# (?=[a-z_]+ = |\[\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
    plain = re.findall(r"^(?:host|page_address|proxy_variable|metrics_file) = .*\n", everything, flags=re.M)
    assert len(plain) == 4
    (tmp_path / "all.toml").write_text(everything, encoding="utf-8")
    found = read_settings(tmp_path / "all.toml")
    assert [one.name for one in found.channels] == ["operators", "on-call", "local-mail"]
    assert found.quiet == (Quiet(time(22), time(7), zone="Europe/Berlin"),)
    assert (found.host, found.proxy_variable) == ("gpu-box", "HTTPS_PROXY")


SECRET = "s3cr3t-t0ken-0123456789"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("remind_evry = '1h'", "there is no key 'remind_evry'; did you mean remind_every?"),
        ("remind_every = 24", "remind_every is 24; expected a duration"),
        ("timeout = '2h'", "timeout is '2h'; expected 10m or less"),
        ("could_not_tell_after = 0", "expected a number of reports, 1 or more"),
        ("channels = 'mail'", r"channels is no list of tables; expected \[\[channels\]\]"),
        ("[[channels]]\nname = 'a b'\nurl_variable = 'X'", "channel 1: name is 'a b'; expected letters"),
        ("[[channels]]\nname = 'a'", "channel 1: expected url_variable, or else url"),
        ("[[channels]]\nname = 'a'\nurl_variable = 'X'\nurl = 'syslog://'", "expected url_variable, or else url"),
        ("[[channels]]\nname = 'a'\nurl_variable = 'X'\nleast = 'healthy'", "least is 'healthy'; expected one of"),
        ("[[channels]]\nname = 'a'\nurl_variable = 'X'\n" * 2, "channel 2: the name a is there twice"),
        (f"[[channels]]\nname = 'a'\nurl_variable = 'slack://{SECRET}'", "the name of an environment variable"),
        (f"[[channels]]\nname = 'a'\nurl = 'slack://{SECRET}'", "its url may hold a secret"),
        (f"[[channels]]\nname = 'a'\nurl = 'json://me:{SECRET}@box'", "its url may hold a secret"),
        (f"[[channels]]\nname = 'a'\nurl = 'json://box/{SECRET}'", "its url may hold a secret"),
        (f"[[channels]]\nname = 'a'\nurl = 'json://box?+Token={SECRET}'", "its url may hold a secret"),
        (f"[[channels]]\nname = 'a'\nurl = 'mailto://box?pass={SECRET}'", "its url may hold a secret"),
        (f"proxy_variable = 'http://me:{SECRET}@proxy'", "expected the name of an environment variable"),
        ("[[quiet]]\nfrom = '22:00'\nto = '25:00'", "quiet 1: to is '25:00'; expected a time of the day"),
        ("[[quiet]]\nfrom = '22:00'\nto = '07:00'\nzone = 'Mars'", "there is no zone 'Mars'"),
        ("[[quiet]]\nfrom = '22:00'\nto = '07:00'\ndays = ['funday']", "expected a list of mon, tue"),
        ("[[quiet]]\nfrom = '22:00'\nto = '07:00'\nthrough = 'critical'", "expected a list of could not tell"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said_in_a_sentence_without_secrets(text: str, expected: str) -> None:
    with pytest.raises(ParameterError, match=expected) as told:
        checked_settings(tomllib.loads(text), "alerts.toml")
    assert SECRET not in str(told.value)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ParameterError, match=r"bad\.toml: it is not TOML"):
        read_settings(tmp_path / "bad.toml")
