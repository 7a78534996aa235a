"""A guard for clients that make many calls: it waits while memory is short, and no call lasts longer than its deadline.

    with warmstall.guard(model="llama3:8b", trials="run/trials.csv") as guard:
        for prompt in prompts:
            guard.ready()
            answer = guard.post("/api/generate", {"model": "llama3:8b", "prompt": prompt}, deadline_s=120)

It runs on the server's machine: whose memory it looks at, and whose pause file it heeds. Looking takes milliseconds,
and happens at most every `every_s`; in between, `ready` only asks whether there is a pause file.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..errors import CannotTell, InputError, WarmstallError
from ..host import Host, LocalHost
from .bounded_call import Answer, CallFailed, CallTimedOut, call_within, post_within
from .memory_look import WINDOW_S, Look, look_at, shortage
from .pause_file import pause_path, read_pause
from .trial_file import Attempt, TrialFile, durations_of, plain_error, utc_text

_T = TypeVar("_T")
# Calls that were left behind hold their connections and their memory; with so many of them a client stops calling.
_MOST_LEFT_BEHIND = 8
# Between two attempts, as SDKs wait: twice as long each time, drawn at random so that clients do not come together.
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0


class StillPaused(WarmstallError):
    """Clients were to wait for longer than they may: memory stayed short, or the pause file stayed."""


def guard(
    port: int = 11434, model: str = "", trials: str | Path = "", *, base_url: str = "", pause_file: str = "",
    every_s: float = 2.0, most_pause_s: float = 900.0, say: Callable[[str], None] | None = None,
    host: Host | None = None,
) -> Guard:  # fmt: skip
    """A guard of the server at a port of this machine; see `Guard` for what it does.

    `model` stands in the rows of trials whose body names none. `trials` is a CSV file that rows are added to; without
    it nothing is written. `pause_file` is by default that of the port. `most_pause_s` is for the whole run.

    >>> with guard(every_s=60) as careful:
    ...     careful.call(sum, [1, 2, 3], deadline_s=5)
    6
    """
    return Guard(port, model, Path(trials) if trials else None, base_url or f"http://127.0.0.1:{port}",
                 pause_file or pause_path(port), every_s, most_pause_s, say, host or LocalHost())  # fmt: skip


class Guard:
    """Holds a client back while memory is short or a pause file holds, bounds its calls, and records its attempts."""

    def __init__(
        self, port: int, model: str, trials: Path | None, base_url: str, pause_file: str, every_s: float,
        most_pause_s: float, say: Callable[[str], None] | None, host: Host,
    ) -> None:  # fmt: skip
        if not 0 < port < 65536:
            raise InputError(f"port {port}: expected a number from 1 to 65535.")
        if every_s <= 0 or most_pause_s < 0:
            raise InputError("every_s must be more than 0, and most_pause_s not less.")
        self.base_url, self.model = base_url.rstrip("/"), model
        self.pause_file = Path(pause_file)
        self.every_s, self.most_pause_s = every_s, most_pause_s
        self.paused_s = 0.0
        self.host = host
        self._say = say or (lambda text: None)
        self._file = TrialFile(trials) if trials else None
        self._numbers = itertools.count(1)
        self._left_behind: list[Any] = []
        self._held_s = 0.0
        # The looks of the last minute, and the one that saw most available memory.
        self._looks: deque[Look] = deque()
        self._best: Look | None = None
        self._looked_s = -float("inf")
        self._short = ""
        self._blind = ""

    @property
    def cannot_see(self) -> str:
        """Why memory cannot be looked at here; empty when it can. Deadlines and the pause file hold all the same."""
        return self._blind

    def pressure(self) -> str:
        """Why memory is short, by the looks so far; empty when it is not. Looks again when the last look is old."""
        now_s = time.monotonic()
        if self._blind or now_s - self._looked_s < self.every_s:
            return self._short
        self._looked_s = now_s
        try:
            look = look_at(self.host)
        except CannotTell as error:
            self._blind = str(error)
            self._say(str(error))
            return ""
        if self._best is None or (look.available_bytes or 0.0) > (self._best.available_bytes or 0.0):
            self._best = look
        self._looks.append(look)
        while (look.at - self._looks[0].at).total_seconds() > WINDOW_S:
            self._looks.popleft()
        older = [self._best] if self._best is not self._looks[0] and self._best.at < self._looks[0].at else []
        self._short = shortage([*older, *self._looks])
        return self._short

    def hold(self) -> str:
        """Why a client should wait now, in one sentence; empty when it may go on."""
        # A look at the file each time: it costs less than a call, and an operator wants to be heeded at once.
        if self.pause_file.is_file():
            pause = read_pause(_text_of(self.pause_file))
            if pause and pause.holds(datetime.now(UTC)):
                return f"{pause.by or 'somebody'} asks clients to wait until {utc_text(pause.until)}: {pause.why}"
        return self.pressure()

    def ready(self) -> float:
        """Wait until nothing holds the client back; how many seconds that took.

        Raises StillPaused when the run has been held back for `most_pause_s` in all; call it again to go on waiting
        for as long.
        """
        reason = self.hold()
        if not reason:
            return 0.0
        began = time.monotonic()
        self._say(f"waiting: {reason}")
        while reason:
            held_s = time.monotonic() - began
            if self.paused_s + held_s >= self.most_pause_s:
                self.paused_s = 0.0
                self._held_s += held_s
                raise StillPaused(f"Held back for {self.most_pause_s:g} s in all, and still: {reason}.")
            time.sleep(min(self.every_s, self.most_pause_s - self.paused_s - held_s))
            reason = self.hold()
        held_s = time.monotonic() - began
        self.paused_s += held_s
        self._held_s += held_s
        self._say(f"going on after {held_s:.0f} s")
        return held_s

    def call(
        self, function: Callable[..., _T], *args: Any, deadline_s: float = 600.0, attempts: int = 1, **kwargs: Any
    ) -> _T:
        """What the function returns, at the latest after `deadline_s`; one trial, tried again up to `attempts` times.

        The honest limit: a function that is late cannot be ended, its thread goes on until it returns by itself.
        With eight of them alive no further call is begun. Where the call is a POST, `post` leaves nothing behind.
        Raises what the last attempt raised, CallTimedOut when that was late, StillPaused before a further attempt
        that must wait too long.
        """

        def once() -> tuple[_T, str, dict[str, Any]]:
            return call_within(deadline_s, function, *args, **kwargs), "", {}

        return self._trial(once, deadline_s, attempts, self.model, "", lambda found: "")

    def post(self, endpoint: str, body: dict[str, Any], deadline_s: float = 600.0, attempts: int = 1) -> Answer:
        """The server's answer to a JSON body; its connection is closed at the deadline, so that the server knows.

        Tried again when no answer came, after a server error (5xx), and after a stream that ended in an error.
        Returns whatever answer came last, also one that refuses; raises CallTimedOut or CallFailed without one.
        """

        def once() -> tuple[Answer, str, dict[str, Any]]:
            answer = post_within(deadline_s, self.base_url + endpoint, body)
            told = durations_of(answer.last)
            return answer, str(answer.status), told | ({"ttft_s": answer.ttft_s} if answer.ttft_s is not None else {})

        model = str(body.get("model") or self.model)
        return self._trial(once, deadline_s, attempts, model, endpoint, lambda answer: answer.error)

    def _trial(
        self, once: Callable[[], tuple[_T, str, dict[str, Any]]], deadline_s: float, attempts: int, model: str,
        path: str, fault: Callable[[_T], str],
    ) -> _T:  # fmt: skip
        """One trial: attempts until one is well, then its row, whatever came of it."""
        if deadline_s <= 0 or attempts < 1:
            raise InputError(f"deadline_s {deadline_s:g}, attempts {attempts}: expected more than 0, and 1 or more.")
        held_s, self._held_s = self._held_s, 0.0
        began_at, began_s = datetime.now(UTC), time.monotonic()
        made: list[Attempt] = []
        told: dict[str, Any] = {}
        try:
            while True:
                self._not_too_many()
                at, from_s = datetime.now(UTC), time.monotonic()
                found: _T | None = None
                raised: BaseException | None = None
                status, problem, told = "", "", {}
                try:
                    found, status, told = once()
                    problem = fault(found)
                except BaseException as error:
                    raised, problem = error, _told(error)
                    if isinstance(error, CallTimedOut) and error.thread:
                        self._left_behind.append(error.thread)
                made.append(Attempt(len(made) + 1, utc_text(at), round(time.monotonic() - from_s, 6), status,
                                    "failed" if problem else "ok", plain_error(problem)))  # fmt: skip
                # An interrupt is obeyed, and what was refused once will be again.
                final = (raised and not isinstance(raised, Exception)) or status.startswith("4")
                if not problem or final or len(made) >= attempts:
                    if raised:
                        raise raised
                    return found  # type: ignore[return-value]
                time.sleep(_wait_s(len(made)))
                self.ready()
        finally:
            ended_at, wall_s = datetime.now(UTC), time.monotonic() - began_s
            if self._file and made:
                last = made[-1]
                self._file.add(made, trial=next(self._numbers), started_at=utc_text(began_at),
                               ended_at=utc_text(ended_at), wall_s=round(wall_s, 6), model=plain_error(model),
                               path=path, status=last.status, outcome=last.outcome, error=last.error,
                               timeout_s=deadline_s, held_s=round(held_s, 3), **told)  # fmt: skip

    def _not_too_many(self) -> None:
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if len(self._left_behind) >= _MOST_LEFT_BEHIND:
            raise CallFailed(
                f"{len(self._left_behind)} calls that were late still run, and cannot be ended from outside; no "
                "further one is begun. Use guard.post, or a client with a timeout of its own."
            )

    def close(self) -> None:
        """End the table of trials; calls that were left behind go on."""
        if self._file:
            self._file.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _wait_s(attempts: int) -> float:
    return min(_FIRST_WAIT_S * 2.0 ** (attempts - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1.5)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, WarmstallError) else f"{type(error).__name__}: {error}"


def _text_of(path: Path) -> str:
    """The beginning of a small file; nothing when it cannot be read, as when it has just gone."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""
