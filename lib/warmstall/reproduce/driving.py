"""Sends arrivals when they are due, whoever still waits, and records each call as it ends.

A thread takes the next arrival, sleeps until it is due, sends it and takes another. Some always sleep ahead of those
that send, and more are started as calls pile up: nothing is handed over at the due time, and no call's lateness moves
the ones behind it. Calls without a due time wait for a free thread instead: a closed loop.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, groupby

from .records import Arrival, Measurement, Sent

_logger = logging.getLogger(__name__)

MOST_THREADS = 512
# Who still waits this long after the end of the load is left behind. Every part has a deadline of its own.
PATIENCE_S = 120.0
# A call that was open as long as this has hung, whatever ended it; the caller knows how long an attempt may take.
HUNG_S = 30.0
# Later than this is late: a thread wakes within a few milliseconds where it may.
LATE_S = 0.02
# Of one core; what runs under one lock can use no more.
_BUSY_SHARE = 0.85
# And later than this share of the time between two calls: less does not change the load.
_LATE_SHARE = 0.1
_MANY = 200
# Threads that sleep ahead, each with an arrival of its own.
_SPARE = 8
_CHECK_S = 0.2

Send = Callable[[Arrival], Sent]
Record = Callable[[Measurement], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Driven:
    """What became of a load: how many calls, how punctually, and whether it was the generator that could not follow.

    `not_sent` were due, or would have been, when the time was over; `left_behind` were still open when nobody waited
    any longer. Lateness is of calls with a due time, `processor_share` of one core.
    """

    sent: int = 0
    failed: int = 0
    not_sent: int = 0
    left_behind: int = 0
    interrupted: bool = False
    wall_s: float = 0.0
    late_p50_s: float = 0.0
    late_p99_s: float = 0.0
    late_max_s: float = 0.0
    processor_share: float = 0.0
    threads: int = 0
    # One sentence; empty where the load was the one that was wanted.
    bottleneck: str = ""


class Clock:
    """The time; a test has one of its own."""

    def now(self) -> float:
        """Seconds that only ever go on."""
        return time.monotonic()

    def epoch(self) -> float:
        """Seconds since 1970, as the clock on the wall shows them."""
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Until then, or until it is stopped."""
        stop.wait(seconds)


def drive(
    arrivals: Iterable[Arrival], send: Send, record: Record, seconds: float, stop: threading.Event,
    most_threads: int = MOST_THREADS, patience_s: float = PATIENCE_S, clock: Clock | None = None,
    say: Say = lambda text: None, hung_s: float = HUNG_S,
) -> Driven:  # fmt: skip
    """Send finitely many arrivals, warm-up first, and record each as it ends; returns when the last one has ended.

    `due_s` counts from the end of the warm-up, and `seconds` is for the warm-up and for the load, each. Arrivals
    without a due time go step by step: the next step begins when the last call of this one has ended. After `stop` or
    Ctrl-C nothing more is sent, and calls that are open have `patience_s` to end, which `say` is told. One that fails
    then is none, and is sent again when the load is resumed, unless it was open for `hung_s` before: that was the
    server. Ctrl-C while open calls are waited for leaves at once.
    Whatever `send` raises is a measurement that failed; what `record` raises ends the load and is raised.
    """
    load = _Load(send, record, stop, clock or Clock(), say, hung_s)
    load.begin(seconds)
    for (phase, _, _), calls in groupby(arrivals, _stage_of):
        if load.phase != phase:
            load.phase = phase
            load.begin(seconds)
        _Stage(load, calls, most_threads).run(patience_s)
    return load.driven()


def _stage_of(arrival: Arrival) -> tuple[str, str, int]:
    """What must have ended before the next may begin; calls that are due at a time wait for nobody."""
    if arrival.due_s is not None:
        return arrival.phase, "", -1
    return arrival.phase, arrival.step, arrival.clients


class _Load:
    """What is known of a whole load: its clock, and what came of its calls."""

    def __init__(
        self, send: Send, record: Record, stop: threading.Event, clock: Clock, say: Say, hung_s: float
    ) -> None:
        self.send, self.stop, self.clock, self.say = send, stop, clock, say
        self.phase = ""
        # Of those not sent, `without_thread` were due while the load went on.
        self.not_sent = self.without_thread = self.left_behind = self.threads = 0
        self.interrupted = self.exhausted = False
        self.problem: BaseException | None = None
        self._record, self._lock = record, threading.Lock()
        self._late: list[float] = []
        self._hung_s, self._stopped_at = hung_s, math.inf
        self._sent = self._failed = 0

    def begin(self, seconds: float) -> None:
        """From here on due times count; wall times are those of one look at the clock on the wall."""
        self.began, self._epoch, self._processor_s = self.clock.now(), self.clock.epoch(), time.process_time()
        self.ends = self.began + seconds

    def due(self, arrival: Arrival) -> float:
        """When it is to be sent, by the clock that only goes on: now, where it tells no time."""
        return self.clock.now() if arrival.due_s is None else self.began + arrival.due_s

    def is_due(self, arrival: Arrival) -> bool:
        """Whether it had a time of its own, within that of the load."""
        return arrival.due_s is not None and self.due(arrival) < self.ends

    def note_stop(self) -> None:
        """From here on calls that fail tell nothing."""
        if self.stop.is_set():
            self._stopped_at = min(self._stopped_at, self.clock.now())

    def is_none(self, started: float) -> bool:
        """Whether a call that failed, or did not end, tells nothing, because the load was stopped before it hung."""
        return self.stop.is_set() and min(self._stopped_at, self.clock.now()) - started < self._hung_s

    def note(self, arrival: Arrival, due: float, started: float, ended: float, sent: Sent) -> None:
        """Record a call that has ended."""
        due = started if arrival.due_s is None else due
        late_s = max(0.0, started - due)
        self._record(
            Measurement(
                arrival.number, arrival.phase, arrival.step, arrival.arm, self._text(due), self._text(started),
                self._text(ended), ended - started, late_s, ended - due, sent,
            )
        )  # fmt: skip
        with self._lock:
            self._sent += 1
            self._failed += not sent.ok
            if arrival.due_s is not None and arrival.phase == "measured":
                self._late.append(late_s)

    def _text(self, moment: float) -> str:
        return datetime.fromtimestamp(self._epoch + moment - self.began, UTC).isoformat(timespec="microseconds")

    def driven(self) -> Driven:
        wall_s = max(self.clock.now() - self.began, 1e-9)
        share = (time.process_time() - self._processor_s) / wall_s
        late = sorted(self._late)
        return Driven(
            self._sent, self._failed, self.not_sent, self.left_behind, self.interrupted, wall_s, quantile(late, 0.5),
            quantile(late, 0.99), late[-1] if late else 0.0, share, self.threads, self._bottleneck(late, wall_s, share),
        )  # fmt: skip

    def _bottleneck(self, late: list[float], wall_s: float, share: float) -> str:
        """Why calls were not sent when they were due, as far as it was not the server."""
        if self.exhausted and self.without_thread and not self.stop.is_set():
            return (
                f"The generator is the bottleneck: {_calls_were(self.threads)} open and it opens no more, so that "
                f"{_calls_were(self.without_thread)} due and never sent; these are in no row and in no latency."
            )
        if not late:
            # One client waits for nobody, and what is refused at once keeps any generator busy.
            if share <= _BUSY_SHARE or self.threads < 2 or self._failed == self._sent:
                return ""
            return (
                f"The generator is the bottleneck: it used {share:.0%} of a core, and its clients waited for each "
                "other; send fewer at once, or from several processes."
            )
        # One call that was late is a chance, not a bottleneck.
        few = 1 if len(late) >= _MANY else 5
        late_s = quantile(late, 1 - few / 100)
        if late_s <= max(LATE_S, _LATE_SHARE * wall_s / len(late)):
            return ""
        told = f"{few} % of the calls were sent {1000 * late_s:.0f} ms late or later"
        if self.exhausted:
            return (
                f"The generator is the bottleneck: {told}, because {_calls_were(self.threads)} open and it opens no "
                "more; latencies count the waiting, but the server met fewer calls at once than were due."
            )
        if share > _BUSY_SHARE:
            return (
                f"The generator is the bottleneck: {told}, and it used {share:.0%} of a core; ask for a lower rate, "
                "or send from several processes."
            )
        return (
            f"The generator's machine is the bottleneck: {told}, though the generator used only {share:.0%} of a "
            "core; others kept it from running, or the server shares its processor."
        )


def _calls_were(count: int) -> str:
    return "1 call was" if count == 1 else f"{count:,} calls were"


class _Stage:
    """Calls that may be open side by side, and the threads that send them."""

    def __init__(self, load: _Load, calls: Iterator[Arrival], most_threads: int) -> None:
        self._load = load
        first = next(calls)
        self._calls = chain((first,), calls)
        self._most = min(first.clients or most_threads, most_threads)
        # Who waits for a due time of its own before it sends; the clients of a closed loop all send at once.
        self._spare = self._most if first.due_s is None else min(_SPARE, self._most)
        self._lock = threading.Lock()
        self._threads = self._free = 0
        self._open: dict[int, tuple[Arrival, float, float]] = {}
        # Set when a thread is missing, and when the last one has ended.
        self._changed = threading.Event()
        self._ended = self._abandoned = self._waiting = False

    def run(self, patience_s: float) -> None:
        """Returns when the last call has ended or was left behind."""
        load = self._load
        try:
            self._start_threads()
            while not self._ended and not load.stop.is_set() and load.clock.now() <= load.ends:
                self._changed.wait(_CHECK_S)
                self._changed.clear()
                self._start_threads()
            self._await_open(patience_s)
        except KeyboardInterrupt:
            load.interrupted = True
            load.stop.set()
            try:
                if not self._waiting:
                    self._await_open(patience_s)
            except KeyboardInterrupt:
                _logger.warning("interrupted twice: open calls are left behind")
        self._leave_behind()
        if load.problem:
            raise load.problem

    def _await_open(self, patience_s: float) -> None:
        load, self._waiting = self._load, True
        load.note_stop()
        with self._lock:
            left = len(self._open)
        if left and not self._ended:
            load.say(
                f"waiting for {left:,} open call{'s' * (left > 1)}, at most {patience_s:g} s; "
                f"Ctrl-C{' again' * load.interrupted} leaves at once"
            )
        gives_up = time.monotonic() + patience_s
        while not self._ended and (left_s := gives_up - time.monotonic()) > 0:
            self._changed.wait(left_s)
            self._changed.clear()

    def _start_threads(self) -> None:
        """As many as are missing. To start one takes its time, so nobody does who has a call to send."""
        while True:
            with self._lock:
                if self._ended or self._free >= self._spare or self._threads >= self._most:
                    return
                self._threads += 1
                self._free += 1
                self._load.threads = max(self._load.threads, self._threads)
            threading.Thread(target=self._work, name=f"load-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        load = self._load
        try:
            while arrival := self._next():
                due = load.due(arrival)
                while (early_s := due - load.clock.now()) > 0 and not load.stop.is_set():
                    load.clock.sleep(early_s, load.stop)
                if early_s > 0:
                    self._not_sent()
                    break
                self._one(arrival, due)
        except BaseException as problem:  # of `record`: a disk that is full ends the load
            load.problem = problem
            load.stop.set()
        with self._lock:
            self._threads -= 1
            self._free -= 1
            self._spare = 0  # there is nothing left to begin
            self._ended = self._threads == 0
        self._changed.set()

    def _next(self) -> Arrival | None:
        load = self._load
        with self._lock:
            if self._abandoned or load.stop.is_set() or load.clock.now() >= load.ends:
                return None
            arrival = next(self._calls, None)
            if arrival and arrival.due_s is not None and load.due(arrival) >= load.ends:
                load.not_sent += 1
                return None
            return arrival

    def _not_sent(self) -> None:
        with self._lock:
            self._load.not_sent += 1

    def _one(self, arrival: Arrival, due: float) -> None:
        load = self._load
        with self._lock:
            self._free -= 1
            if self._threads >= self._most:
                load.exhausted |= self._free == 0 and arrival.due_s is not None
            elif self._free < self._spare:
                self._changed.set()
            started = load.clock.now()
            self._open[arrival.number] = (arrival, due, started)
        try:
            sent = load.send(arrival)
        except Exception as error:
            _logger.exception("call %s could not be sent", arrival.number)
            sent = Sent(ok=False, error=f"{type(error).__name__}: {error}")
        ended = load.clock.now()
        with self._lock:
            self._free += 1
            if self._abandoned:  # it was told already
                return
            del self._open[arrival.number]
            if not sent.ok and load.is_none(started):  # Ctrl-C in a terminal ends a drill's server as well
                load.not_sent += 1
                return
        load.note(arrival, due, started, ended, sent)

    def _leave_behind(self) -> None:
        """Calls that did not end are failures as well: without them the slowest would be missing.

        Not where the load was stopped before they hung: they tell nothing then, and are sent again when it is resumed.
        """
        load = self._load
        with self._lock:
            self._abandoned = True
            left = list(self._open.values())
            load.left_behind += len(left)
            unsent = [load.is_due(arrival) for arrival in self._calls]
            load.not_sent += len(unsent)
            load.without_thread += sum(unsent)
        load.note_stop()
        now = load.clock.now()
        for arrival, due, started in left:
            if load.is_none(started):
                continue
            error = f"no answer within {now - started:.1f} s; left behind at the end of the load"
            load.note(arrival, due, started, now, Sent(ok=False, error=error))


def quantile(ordered: Sequence[float], share: float) -> float:
    """By the nearest rank; 0 of nothing.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([], 0.99)
    (2.0, 0.0)
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
