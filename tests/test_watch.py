"""Watching: bounded, whole after a kill, honest about gaps, and careful with its canary."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from live import live_server
from warmstall.case import open_case
from warmstall.collect.case_folder import CaseFolder
from warmstall.collect.samples import Sampler
from warmstall.collect.watch import Canary, Clock, SampleFiles, watch
from warmstall.errors import InputError
from warmstall.host import LocalHost, RecordedHost

ROOM = 2_000_000


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class SimulatedClock(Clock):
    """An hour passes in the time that its samples take to write."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, 9, tzinfo=UTC)
        self.set_by = timedelta()

    def now(self) -> datetime:
        return self.at + self.set_by

    def elapsed_s(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def opened(case: Path, host: LocalHost | RecordedHost | None = None) -> CaseFolder:
    folder = CaseFolder(case, host or LocalHost())
    folder.reserve()
    return folder


def lines_of(folder: CaseFolder) -> list[dict[str, object]]:
    return [
        json.loads(line) for path in SampleFiles(folder.folder, ROOM).files() for line in path.read_text().splitlines()
    ]


def test_an_hour_stays_within_its_room_on_disk_and_in_memory(tmp_path):
    table = "PID PPID USER ELAPSED STAT NLWP %CPU TIME RSS VSZ COMMAND\n" + "".join(
        f"{pid} 1 me 100 S 5 0.1 1 2000 9000 /usr/bin/ollama runner --model /m/{'x' * 300} --port 4000\n"
        for pid in range(40)
    )

    class Crowded(RecordedHost):
        is_remote = True

    from warmstall.collect.commands import COMMANDS

    host = Crowded(name="box", outputs={" ".join(COMMANDS["processes"].argv): table})
    folder = opened(tmp_path / "case", host)
    sampler = Sampler(host, 9)
    watch(folder, sampler, Canary(()), 5, 60, ROOM, SimulatedClock())
    before = psutil.Process().memory_info().rss
    taken = watch(folder, sampler, Canary(()), 5, 3600, ROOM, SimulatedClock(), lambda text: host.asked.clear())
    after = psutil.Process().memory_info().rss
    assert taken == 720
    sizes = [path.stat().st_size for path in SampleFiles(folder.folder, ROOM).files()]
    assert len(sizes) > 1  # more was written than one file holds
    assert sum(sizes) <= ROOM + 256 * 1024
    assert after - before < 20_000_000  # what was written is more than that would hold twice over
    assert sum(sizes) > 10 * 100_000


def test_the_oldest_samples_make_way(tmp_path):
    files = SampleFiles(tmp_path, 8 * 256 * 1024)
    for number in range(40):
        files.append(json.dumps({"at": "2026-11-21T09:00:00Z", "number": number, "fill": "x" * 100_000}))
    kept = [json.loads(line)["number"] for path in files.files() for line in path.read_text().splitlines()]
    assert kept[-1] == 39
    assert kept == list(range(kept[0], 40))
    assert kept[0] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="kills with a signal")
def test_a_kill_in_the_middle_loses_at_most_the_sample_in_hand(tmp_path):
    program = (
        "import sys; from warmstall.cli import app; "
        f"app(['watch', {str(tmp_path / 'case')!r}, '--every', '0.1s', '--for', '10m', '--port', '9'])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 60
        while _samples_in(tmp_path / "case") < 12:
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.02)  # until it has written some
        before = _samples_in(tmp_path / "case")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    (path,) = tmp_path.glob("case/evidence/*/samples-0001.jsonl")
    whole = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            whole.append(json.loads(line))
    assert len(whole) >= before
    assert len(path.read_text().splitlines()) - len(whole) <= 1
    # The case can be read as it is.
    assert len(open_case(tmp_path / "case").sql('SELECT DISTINCT "at" FROM memory')) == len(whole)


def _samples_in(case: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in case.glob("evidence/*/samples-*.jsonl"))


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path):
    folder = opened(tmp_path / "case")
    files = SampleFiles(folder.folder, ROOM)
    files.append('{"at": "2026-11-21T09:00:00Z", "rows": {}}')
    with files.files()[0].open("ab") as handle:
        handle.write(b'{"at": "2026-11-21T09:00:05Z", "ro')
    clock = SimulatedClock()
    watch(folder, Sampler(LocalHost(), 9), Canary(()), 5, 5, ROOM, clock)
    text = files.files()[0].read_text().splitlines()
    assert text[1] == '{"at": "2026-11-21T09:00:05Z", "ro'
    assert json.loads(text[2])["at"].startswith("2026-11-21T09:00:00")


def test_the_time_between_two_watches_is_a_gap(tmp_path):
    folder = opened(tmp_path / "case")
    clock = SimulatedClock()
    sampler = Sampler(LocalHost(), 9)
    watch(folder, sampler, Canary(()), 5, 10, ROOM, clock)
    clock.sleep(600)
    watch(folder, sampler, Canary(()), 5, 10, ROOM, clock)
    gaps = [line["gap"] for line in lines_of(folder) if "gap" in line]
    assert [gap["reason"] for gap in gaps] == ["watch was not running"]
    assert gaps[0]["seconds"] == pytest.approx(600)


def test_a_sample_that_takes_too_long_is_a_gap(tmp_path):
    folder = opened(tmp_path / "case")
    clock = SimulatedClock()

    class Slow(Sampler):
        def sample(self, timeout_s: float = 2.0):
            clock.sleep(30)
            return {}, []

    watch(folder, Slow(LocalHost(), 9), Canary(()), 5, 60, ROOM, clock)
    gaps = [line["gap"] for line in lines_of(folder) if "gap" in line]
    assert {gap["reason"] for gap in gaps} == {"the sample before took so long"}
    assert [gap["seconds"] for gap in gaps] == [25]


def test_a_clock_that_is_set_back_is_a_gap_and_stops_nothing(tmp_path):
    folder = opened(tmp_path / "case")
    clock = SimulatedClock()

    class SetBack(Sampler):
        def sample(self, timeout_s: float = 2.0):
            clock.set_by = timedelta(hours=-1) if clock.at.minute or clock.at.second > 14 else timedelta()
            return {}, []

    assert watch(folder, SetBack(LocalHost(), 9), Canary(()), 5, 60, ROOM, clock) == 12
    gaps = [line["gap"] for line in lines_of(folder) if "gap" in line]
    assert gaps == [{"seconds": -3600, "reason": "the host's clock was set"}]


@pytest.mark.skipif(sys.platform != "linux", reason="ends the server by its pid")
def test_it_survives_the_death_of_the_server(tmp_path):
    folder = opened(tmp_path / "case")
    with live_server(tmp_path / "home") as live:
        sampler = Sampler(LocalHost(), live.port)
        watch(folder, sampler, Canary(()), 0.1, 0.2, ROOM)
        os.kill(live.pid, signal.SIGKILL)
        watch(folder, sampler, Canary(()), 0.1, 0.2, ROOM)
    folder.finish([])
    case = open_case(tmp_path / "case")
    probes = case.sql("SELECT status, error FROM probes WHERE endpoint = '/api/ps' ORDER BY source, line")
    assert probes.status.iloc[0] == "200"
    assert probes.error.iloc[-1]
    assert case.sql("SELECT DISTINCT model FROM resident_models").model.tolist() == ["tiny:latest"]
    runner = case.sql(f"SELECT cpu_percent FROM processes WHERE pid = {live.runner_pid} ORDER BY line")
    assert runner.cpu_percent.notna().any()  # from the second look on


@pytest.mark.skipif(sys.platform != "linux", reason="a live tree of processes")
def test_a_canary_sings_one_at_a_time_and_only_to_models_in_memory(tmp_path):
    with live_server(tmp_path / "home") as live:
        url = f"http://127.0.0.1:{live.port}"
        now = datetime(2026, 11, 21, 9, tzinfo=UTC)
        resident = [{"model": "tiny:latest", "context_length": 4096}]
        canary = Canary(("tiny",))
        unknown = canary.look(url, [{"model": "tiny:latest"}], now)["probes"][0]["error"]
        assert unknown.startswith("not sent: this version does not tell with which context")
        assert (
            canary.look(url, [], now)["probes"][0]["error"]
            == "not sent: it is not in memory, and a canary loads nothing"
        )
        canary.look(url, resident, now)
        canary._thread.join(20)
        rows = canary.look(url, resident, now)
        assert rows["trials"][0]["status"] == "200"
        assert rows["trials"][0]["total_duration_s"] == 0.005
        canary._thread.join(20)
        asked = [json.loads(line) for line in (live.folder / "generated.jsonl").read_text().splitlines()]
        assert asked[0]["options"] == {"num_predict": 1, "num_ctx": 4096}  # another context would load it anew
        # While one is out, none is sent; how long it has been out is told.
        (live.folder / "hang").touch()
        canary.look(url, resident, now)
        later = canary.look(url, resident, now + timedelta(seconds=12.5))
        assert later["probes"][0]["error"] == "no answer yet after 12.5 s"
        assert canary.look(url, resident, now + timedelta(seconds=20))["trials"] == []
        sent = len((live.folder / "generated.jsonl").read_text().splitlines())
        assert sent <= 3


def test_a_canary_is_not_sent_to_a_model_that_embeds(tmp_path, monkeypatch):
    monkeypatch.setattr("warmstall.collect.watch.probe", lambda *words: {"body": {"capabilities": ["embedding"]}})
    resident = [{"model": "embedder:latest", "context_length": 512}]
    rows = Canary(("embedder",)).look("http://127.0.0.1:9", resident, datetime.now(UTC))
    assert rows["probes"][0]["error"] == "not sent: it does not generate text"


def test_a_pace_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a pace"):
        watch(opened(tmp_path / "case"), Sampler(LocalHost(), 9), Canary(()), 60, 5, ROOM, SimulatedClock())
