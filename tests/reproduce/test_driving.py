"""A load is sent when it is due, whoever still waits; what ends it, what it records, and what it says of itself."""

from __future__ import annotations

import _thread
import threading
from itertools import count

import pytest

from warmstall.errors import OutputError
from warmstall.reproduce.driving import Clock, drive
from warmstall.reproduce.records import Arrival, Measurement, Sent

# Nothing here waits as long as this; it keeps a test that fails from hanging.
PATIENCE_S = 20.0


class ManualClock(Clock):
    """Stands still until everybody sleeps, then goes on to when the first of them wakes."""

    def __init__(self) -> None:
        self.at = 1000.0
        self._changed = threading.Condition()
        self._wakes: dict[int, float] = {}
        self._numbers = count()

    def now(self) -> float:
        return self.at

    def epoch(self) -> float:
        return 1_700_000_000.0 + self.at - 1000.0

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        number, wakes = next(self._numbers), self.at + seconds
        with self._changed:
            self._wakes[number] = wakes
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.at >= wakes or stop.is_set(), PATIENCE_S)
            del self._wakes[number]

    def go_on(self, until: float) -> None:
        """To a moment; who sleeps until then wakes."""
        with self._changed:
            self.at = until
            self._changed.notify_all()

    def go_on_when_asleep(self) -> None:
        """To when the next one wakes, once somebody sleeps."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(one > self.at for one in self._wakes.values()), PATIENCE_S)
            self.at = min(one for one in self._wakes.values() if one > self.at)
            self._changed.notify_all()


class Rows(list[Measurement]):
    """What was recorded, and a way to wait for so many."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def record(self, row: Measurement) -> None:
        with self._more:
            self.append(row)
            self._more.notify_all()

    def wait_for(self, rows: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self) >= rows, PATIENCE_S)


def in_background(*arguments, **options):
    """drive() in a thread; returns the thread and where its result will stand."""
    told: list = []
    thread = threading.Thread(target=lambda: told.append(drive(*arguments, **options)), daemon=True)
    thread.start()
    return thread, told


def test_a_stalled_server_makes_calls_late_for_nobody_and_all_of_them_slow() -> None:
    """The server stands still for 10 s from the first call on: each of 5 is sent when due, and waits its share."""
    clock, stalled, rows, stop = ManualClock(), threading.Event(), Rows(), threading.Event()
    begun = [threading.Event() for _ in range(5)]

    def send(arrival: Arrival) -> Sent:
        begun[arrival.number].set()
        assert stalled.wait(PATIENCE_S)
        return Sent(ok=True)

    thread, told = in_background(
        [Arrival(n, due_s=float(n)) for n in range(5)], send, rows.record, 60.0, stop, clock=clock
    )
    for number in range(5):
        assert begun[number].wait(PATIENCE_S)
        if number < 4:
            clock.go_on_when_asleep()
    clock.go_on(1010.0)
    stalled.set()
    thread.join(PATIENCE_S)
    assert sorted((row.number, row.late_s, row.latency_s) for row in rows) == [
        (0, 0.0, 10.0), (1, 0.0, 9.0), (2, 0.0, 8.0), (3, 0.0, 7.0), (4, 0.0, 6.0),
    ]  # fmt: skip
    assert (told[0].sent, told[0].failed, told[0].bottleneck) == (5, 0, "")
    assert {row.due_at for row in rows} == {f"2023-11-14T22:13:{20 + n}.000000+00:00" for n in range(5)}


def test_with_too_few_threads_the_waiting_is_in_the_latencies_and_the_generator_says_so() -> None:
    """One thread for three calls that take 4 s each: the second is sent 3 s late, the third 6 s, and it is told."""
    clock, rows = ManualClock(), Rows()

    def send(arrival: Arrival) -> Sent:
        clock.at += 4.0
        return Sent(ok=True)

    driven = drive(
        [Arrival(n, due_s=float(n)) for n in range(3)], send, rows.record, 60.0, threading.Event(),
        most_threads=1, clock=clock,
    )  # fmt: skip
    assert [(row.late_s, row.wall_s, row.latency_s) for row in rows] == [
        (0.0, 4.0, 4.0),
        (3.0, 4.0, 7.0),
        (6.0, 4.0, 10.0),
    ]
    assert driven.late_max_s == 6.0
    assert driven.bottleneck.startswith("The generator is the bottleneck: 5 % of the calls were sent 6000 ms late")
    assert "because 1 call was open" in driven.bottleneck


def test_a_closed_loop_has_as_many_clients_as_its_step_and_a_step_waits_for_the_one_before() -> None:
    """Two clients, then three: never more are open, and the second step begins when the first has ended."""
    rows, lock, open_now, most = Rows(), threading.Lock(), set(), {}
    together = {2: threading.Barrier(2), 3: threading.Barrier(3)}

    def send(arrival: Arrival) -> Sent:
        with lock:
            open_now.add((arrival.number, arrival.step))
            assert {step for _, step in open_now} == {arrival.step}
            most[arrival.step] = max(most.get(arrival.step, 0), len(open_now))
        together[arrival.clients].wait(PATIENCE_S)  # as many are open at once as there are clients
        with lock:
            open_now.remove((arrival.number, arrival.step))
        return Sent(ok=True)

    arrivals = [Arrival(n, step="two", clients=2) for n in range(6)]
    arrivals += [Arrival(n, step="three", clients=3) for n in range(6, 12)]
    driven = drive(arrivals, send, rows.record, PATIENCE_S, threading.Event())
    assert most == {"two": 2, "three": 3}
    assert sorted(row.number for row in rows) == list(range(12))
    assert all(row.late_s == 0.0 and row.latency_s == row.wall_s for row in rows)
    assert (driven.sent, driven.not_sent) == (12, 0)


def test_the_warm_up_ends_before_the_load_begins_and_due_times_count_from_there() -> None:
    """A warm-up of 30 s moves the due times of the load; its lateness is nobody's."""
    clock, rows = ManualClock(), Rows()

    def send(arrival: Arrival) -> Sent:
        clock.at += 30.0 if arrival.phase == "warm-up" else 0.0
        return Sent(ok=True)

    arrivals = [Arrival(0, phase="warm-up", clients=1), Arrival(1, due_s=0.0)]
    drive(arrivals, send, rows.record, 60.0, threading.Event(), clock=clock)
    assert [(row.phase, row.wall_s, row.late_s) for row in rows] == [("warm-up", 30.0, 0.0), ("measured", 0.0, 0.0)]
    assert rows[0].ended_at <= rows[1].due_at


def test_whatever_a_sender_raises_is_a_call_that_failed() -> None:
    """A bug in a part costs its call, not the load."""
    rows = Rows()

    def send(arrival: Arrival) -> Sent:
        if arrival.number == 1:
            raise ZeroDivisionError("one over none")
        return Sent(ok=True)

    driven = drive([Arrival(n, clients=1) for n in range(3)], send, rows.record, 60.0, threading.Event())
    assert [row.sent.error for row in rows] == ["", "ZeroDivisionError: one over none", ""]
    assert (driven.sent, driven.failed) == (3, 1)


def test_what_cannot_be_recorded_ends_the_load_and_is_raised() -> None:
    """A full disk is no reason to go on measuring."""
    sent = []

    def refuse(row: Measurement) -> None:
        raise OutputError("measurements.csv: cannot be written (no space left).")

    def send(arrival: Arrival) -> Sent:
        sent.append(arrival.number)
        return Sent(ok=True)

    with pytest.raises(OutputError, match="no space left"):
        drive([Arrival(n, clients=1) for n in range(50)], send, refuse, 60.0, threading.Event())
    assert sent == [0]


def test_after_stop_nothing_is_sent_and_open_calls_are_awaited() -> None:
    """One call is open when it is stopped: it ends and is recorded; the sleeping ones are never sent."""
    rows, stop, begun, may_end = Rows(), threading.Event(), threading.Event(), threading.Event()

    def send(arrival: Arrival) -> Sent:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        return Sent(ok=True)

    arrivals = [Arrival(0, due_s=0.0), *(Arrival(n, due_s=3600.0 + n) for n in range(1, 5))]
    thread, told = in_background(arrivals, send, rows.record, 7200.0, stop)
    assert begun.wait(PATIENCE_S)
    stop.set()
    may_end.set()
    thread.join(PATIENCE_S)
    assert [row.number for row in rows] == [0]
    assert (told[0].sent, told[0].not_sent, told[0].left_behind) == (1, 4, 0)


def test_a_call_that_fails_after_stop_is_none() -> None:
    """Ctrl-C in a terminal ends a drill's server too: that says nothing about the call, which is sent again later."""
    rows, stop = Rows(), threading.Event()

    def send(arrival: Arrival) -> Sent:
        stop.set()
        return Sent(ok=False, error="reset")

    driven = drive([Arrival(0, clients=1)], send, rows.record, 60.0, stop)
    assert (list(rows), driven.sent, driven.not_sent) == ([], 0, 1)


def test_a_call_that_never_ends_is_left_behind_as_a_failure() -> None:
    """The time is over and patience too: the slowest call is in the table, as failed."""
    clock, rows, never, begun = ManualClock(), Rows(), threading.Event(), threading.Event()

    def send(arrival: Arrival) -> Sent:
        begun.set()
        never.wait(PATIENCE_S)
        return Sent(ok=True)

    thread, told = in_background(
        [Arrival(7, due_s=0.0)], send, rows.record, 5.0, threading.Event(), patience_s=0.0, clock=clock
    )
    assert begun.wait(PATIENCE_S)
    clock.go_on(1009.0)
    thread.join(PATIENCE_S)
    never.set()
    assert [(row.number, row.sent.ok, row.latency_s) for row in rows] == [(7, False, 9.0)]
    assert rows[0].sent.error == "no answer within 9.0 s; left behind at the end of the load"
    assert told[0].left_behind == 1


def test_nothing_is_sent_after_its_time_and_it_is_counted() -> None:
    """2.5 s for calls at 0, 1, 2, 3, 4 s: three are sent."""
    rows = Rows()

    class Hurrying(ManualClock):
        def sleep(self, seconds: float, stop: threading.Event) -> None:
            self.at += seconds

    clock = Hurrying()
    driven = drive(
        [Arrival(n, due_s=float(n)) for n in range(5)], lambda _: Sent(ok=True), rows.record, 2.5, threading.Event(),
        most_threads=1, clock=clock,
    )  # fmt: skip
    assert [row.number for row in rows] == [0, 1, 2]
    assert driven.not_sent == 2


def test_ctrl_c_ends_a_load_well() -> None:
    """In the thread that drives: what was measured is told, and that it was interrupted."""
    rows, begun = Rows(), threading.Event()

    def send(arrival: Arrival) -> Sent:
        if arrival.number == 3:
            begun.set()
            _thread.interrupt_main()
        return Sent(ok=True)

    arrivals = [*(Arrival(n, due_s=0.0) for n in range(4)), Arrival(4, due_s=3600.0)]
    driven = drive(arrivals, send, rows.record, 7200.0, threading.Event(), most_threads=1)
    assert begun.is_set()
    assert driven.interrupted
    assert sorted(row.number for row in rows) == [0, 1, 2, 3]
    assert driven.not_sent == 1


def test_a_server_that_hangs_leaves_calls_without_a_thread_and_they_are_counted() -> None:
    """Forty calls are due within 2 s, eight threads hang: the other 32 are in no row, and the sentence counts them."""
    rows, never, begun = Rows(), threading.Event(), threading.Barrier(9)
    clock = ManualClock()

    def send(arrival: Arrival) -> Sent:
        begun.wait(PATIENCE_S)
        never.wait(PATIENCE_S)
        return Sent(ok=True)

    thread, told = in_background(
        [Arrival(n, due_s=0.0 if n < 8 else n / 20) for n in range(40)], send, rows.record, 2.0, threading.Event(),
        most_threads=8, patience_s=0.0, clock=clock,
    )  # fmt: skip
    begun.wait(PATIENCE_S)
    clock.go_on(1002.5)
    thread.join(PATIENCE_S)
    never.set()
    assert (len(rows), told[0].not_sent, told[0].late_max_s) == (8, 32, 0.0)
    assert "8 calls were open and it opens no more, so that 32 calls were due and never sent" in told[0].bottleneck


def test_a_call_that_hung_before_the_stop_is_a_measurement() -> None:
    """Of two calls open at the stop, one had been for 40 s, one for 5 s: the first has failed, the second is none."""
    clock, rows, stop, never, said = ManualClock(), Rows(), threading.Event(), threading.Event(), []
    begun = [threading.Event(), threading.Event()]

    def send(arrival: Arrival) -> Sent:
        begun[arrival.number].set()
        never.wait(PATIENCE_S)
        return Sent(ok=True)

    thread, _ = in_background(
        [Arrival(0, due_s=0.0), Arrival(1, due_s=35.0)], send, rows.record, 60.0, stop, patience_s=0.0, clock=clock,
        say=said.append, hung_s=30.0,
    )  # fmt: skip
    assert begun[0].wait(PATIENCE_S)
    clock.go_on_when_asleep()
    assert begun[1].wait(PATIENCE_S)
    clock.go_on(1040.0)
    stop.set()
    thread.join(PATIENCE_S)
    never.set()
    assert [(row.number, row.sent.ok, row.wall_s) for row in rows] == [(0, False, 40.0)]
    assert said == ["waiting for 2 open calls, at most 0 s; Ctrl-C leaves at once"]


def test_a_client_that_is_alone_waits_for_no_other() -> None:
    """A generator that is busy without a second client, or with refusals alone, is no bottleneck."""

    def busy(arrival: Arrival) -> Sent:
        sum(range(100_000))
        return Sent(ok=arrival.clients == 1)

    for clients in (1, 2):
        arrivals = [Arrival(n, clients=clients) for n in range(20)]
        driven = drive(arrivals, busy, Rows().record, PATIENCE_S, threading.Event())
        assert (driven.sent, driven.bottleneck) == (20, "")
