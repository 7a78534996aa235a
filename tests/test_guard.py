"""The guard: it waits when it should, its deadlines hold, and what it records says how often each trial was sent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import count

import psutil
import pytest

import warmstall
from conftest import ROOT
from drill.awaiting import until
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable
from warmstall.errors import OutputError
from warmstall.guarding import memory_look, pressure_guard
from warmstall.guarding.bounded_call import CallFailed, CallTimedOut
from warmstall.guarding.memory_look import look_at
from warmstall.guarding.pause_file import pause_text, read_pause
from warmstall.host import LocalHost, RecordedHost
from warmstall.observed import memory
from warmstall.parse.trials import parse_trials

# As on a machine with 16 GB and pages of 4 KiB; the names of vmstat tell the page size.
MEMINFO = """\
MemTotal:       16000000 kB
MemFree:          900000 kB
MemAvailable:   {available} kB
AnonPages:       5000000 kB
Mapped:           400000 kB
SwapTotal:       8000000 kB
SwapFree:        7000000 kB
"""
VMSTAT = "nr_free_pages 225000\nnr_anon_pages 1250000\nnr_mapped 100000\npswpin 10\npswpout {swapouts}\n"
PSI = "some avg10={some} avg60=0.00 avg300=0.00 total=100\nfull avg10={full} avg60=0.00 avg300=0.00 total=100\n"
VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               60000.
Pages active:                            200000.
Pages purgeable:                           1000.
File-backed pages:                       150000.
Swapins:                                     10.
Swapouts:                                 90000.
"""
SYSCTL = "hw.memsize: 17179869184\nhw.pagesize: 16384\nkern.memorystatus_vm_pressure_level: {level}\n"


def machine(available: int = 8_000_000, swapouts: int = 500, some: str = "0.00", full: str = "0.00") -> RecordedHost:
    return RecordedHost(contents={
        "/proc/meminfo": MEMINFO.format(available=available), "/proc/vmstat": VMSTAT.format(swapouts=swapouts),
        "/proc/pressure/memory": PSI.format(some=some, full=full),
    })  # fmt: skip


def mac(level: int) -> RecordedHost:
    from warmstall.collect.commands import COMMANDS

    settings = " ".join(COMMANDS["macOS memory settings"].argv)
    return RecordedHost(system="Darwin", outputs={"vm_stat": VM_STAT, settings: SYSCTL.format(level=level)})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server; of the requests to tiny2 all hang until their client leaves, to mid a half."""
    folder = tmp_path_factory.mktemp("guard")
    timetable = folder / "timetable.json"
    Timetable(0.0, (Fault("hang_rate", "tiny2"), Fault("hang_rate", "mid", rate=0.5)), seed=13).save(timetable)
    with DrillServer(folder, timetable=timetable) as running:
        yield running


@pytest.fixture
def calm(tmp_path):
    """A guard of a machine that has memory, with a pause file of its own."""
    with warmstall.guard(every_s=0.01, host=machine(), pause_file=str(tmp_path / "pause"), most_pause_s=30) as guard:
        yield guard


def generate(model: str) -> dict[str, object]:
    return {"model": model, "prompt": "Is it warm?", "options": {"num_predict": 8}}


# Looking


def test_its_thresholds_are_those_of_the_full_judgement():
    ours = (memory_look.SWAPPED_SHARE, memory_look.AVAILABLE_SHARE, memory_look.FALL, memory_look.STALLED_PERCENT / 100)
    assert ours == (memory._SWAPPED_SHARE, memory._SHARE, memory._ORDER, memory._STALLED_SHARE)


def test_this_machine_can_be_looked_at():
    look = look_at(LocalHost())
    told = psutil.virtual_memory()
    assert look.total_bytes == told.total
    assert 0 < look.available_bytes <= look.total_bytes
    assert abs((look.at - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("first", "then", "short"),
    [
        (machine(), machine(), ""),
        (machine(some="62.10", full="0.00"), machine(some="62.10", full="0.00"), ""),
        (machine(), machine(some="62.10", full="23.40"), "stood still 23 %"),
        (machine(), machine(swapouts=500 + 20), ""),
        (machine(), machine(swapouts=500 + 50_000), "204.8 MB went to swap"),
        (machine(), machine(available=1_500_000), ""),
        (machine(), machine(available=700_000), "fell from 8.2 GB to 716.8 MB"),
        (machine(available=700_000), machine(available=600_000), ""),
        (mac(1), mac(1), ""),
        (mac(1), mac(2), "level 2"),
    ],
    ids=["calm", "some stall", "all stall", "a few pages", "swaps", "loads a model", "falls", "little all along",
         "mac calm", "mac warns"],
)  # fmt: skip
def test_pressure_is_what_moves_not_what_was(first, then, short, tmp_path):
    with warmstall.guard(every_s=1e-6, host=first, pause_file=str(tmp_path / "pause")) as guard:
        guard.pressure()
        guard.host = then
        assert short in guard.pressure()
        assert bool(guard.pressure()) is bool(short)


def test_a_slow_leak_is_measured_against_the_best_that_was_seen():
    looks = []
    for minutes, available in ((0, 8_000_000), (59, 900_000), (60, 750_000)):
        look = look_at(machine(available=available), datetime(2026, 9, 25, 17, tzinfo=UTC) + timedelta(minutes=minutes))
        looks.append(look)
    assert memory_look.shortage(looks[1:]) == ""
    assert "fell" in memory_look.shortage(looks)


def test_where_memory_cannot_be_seen_clients_are_not_held_back(tmp_path):
    said = []
    host = RecordedHost(system="Windows")
    with warmstall.guard(every_s=1e-6, host=host, pause_file=str(tmp_path / "p"), say=said.append) as guard:
        assert (guard.ready(), guard.ready()) == (0.0, 0.0)
        assert "Windows" in guard.cannot_see
    assert said == [guard.cannot_see]


def test_it_does_not_look_more_often_than_told(tmp_path):
    host = machine()
    with warmstall.guard(every_s=3600, host=host, pause_file=str(tmp_path / "p")) as guard:
        for _ in range(50):
            guard.ready()
    assert len(host.asked) == 3  # the three files, once


# Waiting


def test_it_waits_while_memory_is_short_and_goes_on_after(tmp_path):
    said = []
    pressed, held = machine(full="40.00"), threading.Event()
    with warmstall.guard(every_s=0.01, host=pressed, pause_file=str(tmp_path / "p"), say=lambda text: (
        said.append(text), held.set()
    )) as guard:  # fmt: skip
        waited = []
        client = threading.Thread(target=lambda: waited.append(guard.ready()))
        client.start()
        assert held.wait(30)
        assert client.is_alive()
        guard.host = machine()
        client.join(30)
    assert waited[0] > 0
    assert guard.paused_s == waited[0]
    assert said[0].startswith("waiting: tasks stood still 40 %")
    assert said[1].startswith("going on")


def test_a_pause_file_is_heeded_until_it_is_gone(calm):
    calm.pause_file.write_text(pause_text(datetime.now(UTC), 600, "ana", "memory is short"))
    assert "ana asks clients to wait until" in calm.hold()
    waited = []
    client = threading.Thread(target=lambda: waited.append(calm.ready()))
    client.start()
    calm.pause_file.unlink()
    client.join(30)
    assert len(waited) == 1


@pytest.mark.parametrize("text", [
    "", "stop", "[]", "{}", '{"pause": 1, "at": "x", "until": "y"}', '{"until": "2999-01-01T00:00:00Z"}',
    '{"at": "2998-12-31T23:30:00Z", "until": "2999-01-01T00:00:00Z"}', "[" * 5000, "\0\x1b[2J",
])  # fmt: skip
def test_what_is_no_pause_holds_nobody(text, calm):
    calm.pause_file.write_text(text)
    assert calm.hold() == ""


def test_a_pause_of_a_run_that_was_killed_ends_by_itself(calm):
    calm.pause_file.write_text(pause_text(datetime.now(UTC), 0.2, "ana", "a run that is no more"))
    calm.ready()
    assert calm.hold() == ""
    assert calm.pause_file.exists()


def test_no_pause_is_longer_than_an_hour():
    now = datetime(2026, 9, 25, 18, tzinfo=UTC)
    pause = read_pause(pause_text(now, 1e9, "ana", "for ever"))
    assert pause.until == now + timedelta(hours=1)
    by_hand = json.dumps({"at": "2026-09-25T18:00:00Z", "until": "2027-01-01T00:00:00Z"})
    assert read_pause(by_hand).until == now + timedelta(hours=1)


def test_the_words_of_a_pause_file_steer_no_terminal(calm):
    calm.pause_file.write_text(pause_text(datetime.now(UTC), 600, "\x1b[2Jeve", "\x1b]0;x\x07"))
    assert "\x1b" not in calm.hold()


def test_a_folder_or_a_pipe_in_its_place_holds_nobody(calm):
    import os

    os.mkfifo(calm.pause_file)
    assert calm.hold() == ""


def test_all_waiting_together_is_bounded(tmp_path):
    with (
        warmstall.guard(
            every_s=0.01, host=machine(full="40.00"), pause_file=str(tmp_path / "p"), most_pause_s=0.2
        ) as guard,
        pytest.raises(pressure_guard.StillPaused, match=r"tasks stood still 40 %"),
    ):
        guard.ready()


# Calling


def test_a_function_returns_what_it_returns_and_raises_what_it_raises(calm):
    assert calm.call(divmod, 7, 2, deadline_s=30) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        calm.call(divmod, 7, 0, deadline_s=30)


def test_a_function_that_hangs_is_left_behind_and_no_more_than_eight_are(calm):
    release = threading.Event()
    try:
        for _ in range(8):
            with pytest.raises(CallTimedOut):
                calm.call(release.wait, deadline_s=0.01)
        with pytest.raises(CallFailed, match=r"8 calls that were late still run"):
            calm.call(sum, [1], deadline_s=30)
    finally:
        release.set()
    until(lambda: not any(thread.is_alive() for thread in calm._left_behind))
    assert calm.call(sum, [1], deadline_s=30) == 1


def test_an_answer_in_lines_and_one_in_one_piece(server, tmp_path):
    with warmstall.guard(server.port, host=machine(), pause_file=str(tmp_path / "p"),
                         trials=tmp_path / "trials.csv") as guard:  # fmt: skip
        streamed = guard.post("/api/generate", generate("tiny"), deadline_s=60)
        whole = guard.post("/api/generate", {**generate("tiny"), "stream": False}, deadline_s=60)
        absent = guard.post("/api/generate", generate("no-such-model"), deadline_s=60, attempts=3)
    assert streamed.status == whole.status == 200
    assert streamed.last["eval_count"] == whole.last["eval_count"] == 8
    assert 0 < streamed.ttft_s <= streamed.wall_s
    assert whole.ttft_s is None
    assert absent.status == 404
    rows = parse_trials((tmp_path / "trials.csv").read_text()).tables["trials"]
    assert [row["attempts"] for row in rows] == [1, 1, 1]  # what is refused is not tried again
    assert [row["status"] for row in rows] == ["200", "200", "404"]
    assert [row["eval_count"] for row in rows] == [8, 8, None]
    assert rows[0]["total_duration_s"] == pytest.approx(streamed.last["total_duration"] / 1e9)


def test_no_server_is_a_failure_with_its_reason(tmp_path):
    from warmstall.drill.runner import free_port

    with (
        warmstall.guard(free_port(), host=machine(), pause_file=str(tmp_path / "p")) as guard,
        pytest.raises(CallFailed, match="ConnectionRefusedError"),
    ):
        guard.post("/api/generate", generate("tiny"), deadline_s=30)


def test_the_deadline_holds_and_the_server_sees_the_client_leave(server, tmp_path):
    with warmstall.guard(server.port, host=machine(), pause_file=str(tmp_path / "p")) as guard:
        began = time.monotonic()
        with pytest.raises(CallTimedOut):
            guard.post("/api/generate", {**generate("tiny2"), "stream": False}, deadline_s=1.0)
        assert time.monotonic() - began < 30  # of a request that would hang for ever
    # A hung request leaves its access line when its client is gone, and only then.
    until(lambda: '"/api/generate"' in server.log.read_text().rpartition("500 |")[2])


def test_a_server_that_trickles_is_late_too(tmp_path):
    """One byte of the head a moment: no read ever waits long."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            client, _ = listener.accept()
            with client:
                for letter in count():
                    try:
                        client.send(b"HTTP/1.1 200 OK\r\nX: " if not letter else b"a")
                    except OSError:
                        return
                    time.sleep(0.02)

        threading.Thread(target=trickle, daemon=True).start()
        with warmstall.guard(listener.getsockname()[1], host=machine(), pause_file=str(tmp_path / "p")) as guard:
            began = time.monotonic()
            with pytest.raises(CallTimedOut):
                guard.post("/api/generate", {}, deadline_s=0.5)
            assert time.monotonic() - began < 30


def test_an_answer_that_is_cut_off_is_no_answer(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

        threading.Thread(target=cut, daemon=True).start()
        with (
            warmstall.guard(listener.getsockname()[1], host=machine(), pause_file=str(tmp_path / "p")) as guard,
            pytest.raises(CallFailed),
        ):
            guard.post("/api/generate", {}, deadline_s=30)


# Recording


def test_retries_are_attempts_of_their_trial_and_the_analysis_finds_them(server, tmp_path, monkeypatch):
    monkeypatch.setattr(pressure_guard, "_FIRST_WAIT_S", 0.01)
    table = tmp_path / "run" / "trials.csv"
    with warmstall.guard(server.port, trials=table, host=machine(), pause_file=str(tmp_path / "p")) as guard:
        for _ in range(8):
            guard.ready()
            try:
                guard.post("/api/generate", generate("mid"), deadline_s=1.0, attempts=3)
            except CallTimedOut:
                continue
    rows = parse_trials(table.read_text()).tables["trials"]
    assert len(rows) == 8
    again = [row for row in rows if row["attempts"] > 1]
    assert again  # half of the requests hang
    assert all(row["timeout_s"] == 1.0 and row["model"] == "mid" for row in rows)
    told = [json.loads(line["attempt_list"]) for line in _rows(table)]
    assert [len(attempts) for attempts in told] == [row["attempts"] for row in rows]
    for attempts in told:
        assert [one["attempt"] for one in attempts] == list(range(1, len(attempts) + 1))
        assert all(one["error"] == "timed out after 1s" for one in attempts[:-1])
    # The server saw every attempt as a request of its own.
    sent = sum(row["attempts"] for row in rows)
    lines = [line for line in server.log.read_text().splitlines() if '"/api/generate"' in line]
    assert len(lines) >= sent
    out = tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "warmstall.cli", "analyze", str(table), "--out", str(out), "--no-report"],
        cwd=ROOT, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    found = {one["id"]: one for one in summary["hypotheses"]}["retry_amplification"]
    assert found["state"] == "confirmed"
    assert f"sent {len(again)} of 8 calls more than once" in " ".join(map(str, found["for"]))


def test_a_table_of_something_else_is_not_written_into(tmp_path):
    (tmp_path / "trials.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="holds something else"):
        warmstall.guard(trials=tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text() == "a,b\n1,2\n"


def test_a_second_run_adds_to_the_table_and_no_error_is_a_formula(tmp_path):
    table = tmp_path / "trials.csv"
    for _ in range(2):
        with (
            warmstall.guard(trials=table, host=machine(), pause_file=str(tmp_path / "p")) as guard,
            pytest.raises(CallFailed),
        ):
            guard.call(_fail, deadline_s=30)
    rows = _rows(table)
    assert [(row["error"], row["outcome"]) for row in rows] == [("HYPERLINK(1)", "failed")] * 2


def _fail() -> None:
    raise CallFailed("=HYPERLINK(1)")


def _rows(table) -> list[dict[str, str]]:
    import csv

    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_warmstall_and_its_guard_import_nothing_heavy():
    heavy = ["duckdb", "pandas", "numpy", "httpx", "psutil"]
    code = f"import sys, warmstall; warmstall.guard; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
