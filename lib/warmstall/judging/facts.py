"""The facts that the rules weigh, by columns: the parts of each request, what is usual, and what happened around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np

from .around import Around
from .matched import Matched
from .parts import Parts
from .requests import places
from .words import Mask, Numbers, Rows, Words

T = TypeVar("T")
# Of these bits is made which sources a budget has: each has its own word.
_SOURCES = tuple(
    " ".join(word for word in (
        ("load=log" * load, "load=log" * load + " prefill=slot decode=slot", "load=api prefill=api decode=api")[kind],
        "queue=" + ("log", "slot", "api")[kind] if queue else "",
        "decode=baseline" if baseline else "",
    ) if word).strip()
    for kind in range(3) for load in range(2) for queue in range(2) for baseline in range(2)
)  # fmt: skip


class Facts:
    """Facts of some requests by name, each worked out when it is first asked for. NaN is what is not known.

    `lone` are requests of which no load that they caused or waited for is known, no task, no trial and no event that
    ended them: what those would tell is the same of all of them, and may be a column of one entry.
    """

    def __init__(self, matched: Matched, around: Around, rows: Rows, lone: bool = False) -> None:
        self._matched, self._around, self._rows, self._lone = matched, around, rows, lone
        self._requests = matched.requests
        self._parts = Parts(matched, rows, lone)

    def __len__(self) -> int:
        return len(self.wall_s)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    # --- the access line

    @cached_property
    def host(self) -> Words:
        return self._requests.host[self._rows]

    @cached_property
    def status(self) -> Words:
        return self._requests.status[self._rows]

    @cached_property
    def wall_s(self) -> Numbers:
        return self._parts.wall_s

    @cached_property
    def has_wall(self) -> Mask:
        return self._requests.has_wall(self._rows)

    @cached_property
    def started(self) -> Numbers:
        return self._requests.started(self._rows)

    @cached_property
    def ended(self) -> Numbers:
        return self._requests.ended(self._rows)

    @cached_property
    def uncertainty_s(self) -> Numbers:
        return self._requests.uncertainty_s(self._rows)

    @cached_property
    def inference(self) -> Mask:
        return self._requests.inference[self._rows]

    @cached_property
    def ran(self) -> Mask:
        return self._requests.ran[self._rows]

    @cached_property
    def access_lines_only(self) -> Mask:
        return self._requests.source[self._rows].where(self._matched.access_lines_only.__contains__)

    @cached_property
    def model(self) -> Words:
        return Words(self._matched.model[self._rows], self._matched.models.names)

    # --- where the seconds went

    @cached_property
    def _baseline(self) -> Mask:
        """Whether what such a request usually takes stands for the time in which it was answered."""
        answered = self.ran & (self.status == "200")
        baseline: Mask = answered & ~np.isnan(self.usual_s) & ~self.measured
        return baseline

    @cached_property
    def queue_s(self) -> Numbers:
        return self._parts.queue_s

    @cached_property
    def load_s(self) -> Numbers:
        return self._parts.load_s

    @cached_property
    def prefill_s(self) -> Numbers:
        return self._parts.prefill_s

    @cached_property
    def decode_s(self) -> Numbers:
        return np.where(self._baseline, np.fmin(self._parts.unexplained_s, self.usual_s), self._parts.decode_s)

    @cached_property
    def unexplained_s(self) -> Numbers:
        unexplained_s: Numbers = self._parts.unexplained_s - np.where(self._baseline, self.decode_s, 0.0)
        return unexplained_s

    @cached_property
    def rest_s(self) -> Numbers:
        rest_s: Numbers = np.maximum(0.0, self.wall_s - self.load_s - self.queue_s)
        return rest_s

    @cached_property
    def sources(self) -> Words:
        kind = np.where(self._parts.by_api, 2, self._parts.by_slot)
        load = self._parts.load_told & (kind < 2)
        return Words(8 * kind + 4 * load + 2 * self._parts.queue_told + self._baseline, _SOURCES)

    @cached_property
    def measured(self) -> Mask:
        return self._parts.measured

    @cached_property
    def prompt_tokens(self) -> Numbers:
        return self._parts.prompt_tokens

    @cached_property
    def decode_tokens(self) -> Numbers:
        return self._parts.decode_tokens

    @cached_property
    def in_flight(self) -> Numbers:
        return self._parts.in_flight

    @cached_property
    def beside(self) -> Numbers:
        return self._parts.beside

    # --- what is usual

    @cached_property
    def _kind(self) -> Numbers:
        return self._matched.kind(self._rows)

    @cached_property
    def usual_s(self) -> Numbers:
        return self._around.walls.middle[self._kind]

    @cached_property
    def usual_limit_s(self) -> Numbers:
        return self._around.walls.limit[self._kind]

    @cached_property
    def usual_n(self) -> Numbers:
        return self._around.walls.n[self._kind]

    @cached_property
    def decode_factor(self) -> Numbers:
        return self._speed("decode", "factor", np.nan)

    @cached_property
    def prefill_factor(self) -> Numbers:
        return self._speed("prefill", "factor", np.nan)

    @cached_property
    def decode_excess_s(self) -> Numbers:
        return self._speed("decode", "excess_s", 0.0)

    @cached_property
    def prefill_excess_s(self) -> Numbers:
        return self._speed("prefill", "excess_s", 0.0)

    @cached_property
    def decode_beyond(self) -> Mask:
        return self._speed("decode", "beyond", False)

    @cached_property
    def prefill_beyond(self) -> Mask:
        return self._speed("prefill", "beyond", False)

    def _speed(self, phase: Literal["decode", "prefill"], asked: str, otherwise: float) -> Numbers:
        """What `Speeds` says of a phase of those requests of which it was measured."""
        some, speeds = np.flatnonzero(self.measured), getattr(self._around, phase)
        found = np.full(len(self.measured), otherwise)
        if not len(some):
            return found
        seconds = getattr(self._parts, f"{phase}_s")[some]
        tokens = self.decode_tokens if phase == "decode" else self.prompt_tokens
        found[some] = getattr(speeds, asked)(seconds, tokens[some], self._kind[some] // 2)
        return found

    @cached_property
    def decode_usual_rate(self) -> Numbers:
        return np.where(np.isnan(self.decode_factor), np.nan, 1 / self._around.decode.usual.middle[self._kind // 2])

    @cached_property
    def prefill_usual_rate(self) -> Numbers:
        return np.where(np.isnan(self.prefill_factor), np.nan, 1 / self._around.prefill.usual.middle[self._kind // 2])

    @cached_property
    def alone(self) -> Mask:
        return self._marked(self._around.alone)

    @cached_property
    def prefill_sure(self) -> Mask:
        """Before it reaches a slot's own timing, a prompt's count includes what the cache already held."""
        return self._parts.by_slot

    # --- its loads

    @cached_property
    def loads_seen(self) -> Numbers:
        return self._parts.loads_seen

    @cached_property
    def triggered(self) -> Mask:
        return self._parts.triggered

    @cached_property
    def waited(self) -> Mask:
        return self._parts.waited

    @cached_property
    def _load(self) -> Numbers:
        return self._parts.of_wait("load", -1)

    @cached_property
    def load_line(self) -> Numbers:
        return self._parts.of_load(self._matched.loads.line, self._load, 0)

    @cached_property
    def reload(self) -> Mask:
        return self._parts.of_load(self._matched.loads.reload, self._load, False)

    @cached_property
    def queued_first(self) -> Mask:
        began = self._parts.of_load(self._matched.loads.began, self._load, -np.inf)
        first: Mask = began - self.started >= self.queue_s / 2
        return first

    @cached_property
    def _failed(self) -> Numbers:
        return self._parts.of_wait("failed", -1)

    @cached_property
    def failed_line(self) -> Numbers:
        return self._parts.of_load(self._matched.loads.line, self._failed, 0)

    @cached_property
    def failed_load(self) -> Words:
        return self._of_failed("outcome")

    @cached_property
    def failed_reason(self) -> Words:
        return self._of_failed("reason")

    def _of_failed(self, name: str) -> Words:
        different, codes = np.unique(self._failed, return_inverse=True)
        loads = self._matched.loads.loads
        return Words(codes, [getattr(loads[load], name) if load >= 0 else "" for load in different.tolist()])

    # --- its task

    @cached_property
    def task_line(self) -> Numbers:
        return self._parts.of_task("line")

    @cached_property
    def task_cut(self) -> Mask:
        cut: Mask = (self._parts.task < len(self._matched.tasks)) & ~self._parts.by_slot
        return cut

    @cached_property
    def task_released(self) -> Mask:
        released: Mask = self._parts.of_task("released_line") != 0
        return released

    @cached_property
    def task_cancelled(self) -> Mask:
        return self._parts.of_task("cancelled")

    @cached_property
    def truncated(self) -> Mask:
        return self._parts.of_task("truncated")

    # --- what its client says

    @cached_property
    def trial_error(self) -> Words:
        return self._matched.trial_errors[self._parts.trial]

    @cached_property
    def whole(self) -> Mask:
        """Its client has the final chunk: what the log says of a task that was cut was another request's."""
        decode_s = self._parts.of_trial("eval_duration_s")
        whole: Mask = ~np.isnan(decode_s) & (decode_s != 0) & (self.trial_error == "")
        return whole

    @cached_property
    def retried(self) -> Mask:
        return self._marked(np.array(sorted(self._matched.retried), dtype=np.int64))

    # --- what happened meanwhile

    @cached_property
    def stopped_s(self) -> Numbers:
        idle = self._covered_s(self._matched.idle, self.measured) if self.measured.any() else 0.0
        return np.where(self.measured, idle, self._covered_s(self._matched.stopped, ~self.measured))

    @cached_property
    def idle_s(self) -> Numbers:
        return self._covered_s(self._matched.idle, np.ones(len(self), dtype=bool))

    def _covered_s(self, spans: Any, of: Mask) -> Numbers:
        """Seconds of some requests that spans of time on their host cover."""
        covered_s = np.zeros(len(self))
        for host, own in spans.items():
            some = np.flatnonzero((self.host == host) & of) if own else ()
            if not len(some):
                continue
            begins, ends = (np.array(edge) for edge in zip(*own, strict=True))
            started, ended = self.started[some], self.ended[some]
            first, beyond = np.searchsorted(ends, started, "right"), np.searchsorted(begins, ended, "left")
            for number in range(max(0, int((beyond - first).max()))):
                still = np.flatnonzero(beyond - first > number)
                span = first[still] + number
                part_s = np.minimum(ends[span], ended[still]) - np.maximum(begins[span], started[still])
                covered_s[some[still]] += np.maximum(0.0, part_s)
        return covered_s

    @cached_property
    def crash_line(self) -> Numbers:
        return self._ended(self._around.crashes.line)

    @cached_property
    def crash_text(self) -> Words:
        return self._ended(self._around.crashes.text)

    @cached_property
    def stop_line(self) -> Numbers:
        return self._around.stops.line(self._rows, len(self._requests), len(self))

    @cached_property
    def abort_line(self) -> Numbers:
        return self._ended(self._around.aborts.line)

    @cached_property
    def abort_alone(self) -> Mask:
        return self._around.aborts.alone(self._rows, len(self._requests), len(self))

    @cached_property
    def abort_text(self) -> Words:
        return self._ended(self._around.aborts.text)

    def _ended(self, told: Callable[[Rows, int, int], T]) -> T:
        """What is told of the events that ended some of the rows."""
        return told(slice(0), 0, 1) if self._lone else told(self._rows, len(self._requests), len(self))

    @cached_property
    def shared_timeout_s(self) -> Numbers:
        known, seconds = self._around.shared_timeouts
        found = np.zeros(len(self))
        at, which = places(known, self._rows, len(self._requests))
        found[at] = seconds[which]
        return found

    def _marked(self, marked: Numbers) -> Mask:
        found = np.zeros(len(self), dtype=bool)
        found[places(marked, self._rows, len(self._requests))[0]] = True
        return found
