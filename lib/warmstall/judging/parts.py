"""Where each request's seconds went, by columns.

    queue_s + load_s + prefill_s + decode_s + unexplained_s = wall_s

Each part comes from the best source there is, named in `sources`: `api` (the client kept Ollama's final
chunk), `slot` (llama-server's timing lines), `log` (overlap with a load, or with other requests), or
`baseline` (what a warm, unhindered request of the same model usually takes). What no source explains
stays unexplained.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .matched import Matched
from .requests import places
from .words import Mask, Numbers, Rows


class Parts:
    """The time budgets of some requests, before anything is known of what is usual. NaN is what nothing tells.

    Of `lone` requests (`Facts`) nothing is known but their access lines, and how many loads they met: what a wait, a
    task or a trial would tell is the same of all of them, and its columns have one entry.
    """

    def __init__(self, matched: Matched, rows: Rows, lone: bool = False) -> None:
        self.matched, self.rows, self.requests = matched, rows, matched.requests
        self.wall_s = self.requests.wall_s[rows]
        self.count = 1 if lone else len(self.wall_s)
        # For each of the rows: which entry of the waits, tasks and trials is its own; the last one is nobody's.
        self.wait = self._entries(matched.waits.row, lone)
        self.task = self._entries(matched.task_rows, lone, matched.task_numbers, len(matched.tasks))
        self.trial = self._entries(matched.trial_rows, lone)
        self._fill()

    def _entries(self, known: Numbers, lone: bool, numbers: Numbers | None = None, none: int | None = None) -> Numbers:
        entries = np.full(self.count, len(known) if none is None else none, dtype=np.int32)
        if not lone:
            at, which = places(known, self.rows, len(self.requests))
            entries[at] = which if numbers is None else numbers[which]
        return entries

    @cached_property
    def loads_seen(self) -> Numbers:
        waits = self.matched.waits
        found = np.zeros(len(self.wall_s), dtype=waits.count.dtype)
        at, which = places(waits.row, self.rows, len(self.requests))
        found[at] = waits.count[which]
        return found

    def of_wait(self, name: str, none: object) -> Numbers:
        """What a column of `Waits` says of each of the rows."""
        values: Numbers = getattr(self.matched.waits, name)
        found = np.full(self.count, none, dtype=values.dtype)
        some = np.flatnonzero(self.wait < len(values))
        found[some] = values[self.wait[some]]
        return found

    def of_task(self, name: str) -> Numbers:
        return self.matched.task_columns[name][self.task]

    def of_trial(self, name: str) -> Numbers:
        return self.matched.trial_columns[name][self.trial]

    def of_load(self, column: Numbers, load: Numbers, none: object) -> Numbers:
        """What a column of loads says of the load of each of the rows (-1: it has none)."""
        found = np.full(self.count, none, dtype=column.dtype)
        some = np.flatnonzero(load >= 0)
        found[some] = column[load[some]]
        return found

    def _fill(self) -> None:
        queues, rows, wall_s = self.matched.queues, self.rows, self.wall_s
        self.in_flight, self.beside = queues.in_flight[rows], queues.beside[rows]
        self.load_s = self.of_wait("overlap_s", 0.0)
        self.waited, self.triggered = self.of_wait("waited", False), self.of_wait("triggered", False)
        self.prefill_s, self.decode_s = np.full(self.count, np.nan), np.full(self.count, np.nan)
        self.prompt_tokens, self.decode_tokens = np.full(self.count, np.nan), np.full(self.count, np.nan)
        self.by_slot = self.by_api = np.zeros(self.count, dtype=bool)
        self.queue_s: Numbers = np.minimum(queues.queue_s[rows], np.maximum(0.0, wall_s - self.load_s))
        if self.triggered.any():
            self._wait_before_load(np.flatnonzero(self.triggered))
        self.unexplained_s = np.maximum(0.0, wall_s - self.load_s - self.queue_s)
        self.queue_told = self.queue_s != 0
        # Before it got a slot: the scheduler, or another task on the slot.
        crowded = self.in_flight > queues.slots[rows]
        self.load_told = self.load_s != 0
        if len(self.matched.task_rows):
            self.by_slot = ~np.isnan(self.of_task("total_s"))
            self._by_slot(np.flatnonzero(self.by_slot), crowded)
        if len(self.matched.trial_rows):
            total_s, load_s = self.of_trial("total_duration_s"), self.of_trial("load_duration_s")
            self.by_api = ~np.isnan(total_s) & (total_s != 0) & ~np.isnan(load_s)
            self._by_api(np.flatnonzero(self.by_api), crowded)
        self.measured: Mask = self.by_slot | self.by_api

    def _wait_before_load(self, some: Numbers) -> None:
        """Before its runner was spawned, a request waited for the scheduler."""
        wait = self.wait[some]
        waits = self.matched.waits
        before_s = waits.began[wait] - self.requests.started_to(self._at(some))
        held_up = (self.in_flight[some] > 1) | (waits.count[wait] > 1) | waits.evicted[wait]
        room_s = np.maximum(0.0, self.wall_s[some] - self.load_s[some])
        queue_s = np.minimum(np.maximum(np.maximum(self.queue_s[some], before_s), 0.0), room_s)
        self.queue_s[some] = np.where(held_up, queue_s, self.queue_s[some])

    def _at(self, some: Numbers) -> Numbers:
        """Row numbers of some of the rows."""
        if isinstance(self.rows, slice):
            return some + self.rows.indices(len(self.requests))[0]
        return self.rows[some]

    def _by_slot(self, some: Numbers, crowded: Mask) -> None:
        for name, told in (("prefill_s", "prefill_s"), ("decode_s", "decode_s")):
            getattr(self, name)[some] = np.nan_to_num(self.of_task(told)[some])
        self.prompt_tokens[some] = self.of_task("prefill_tokens")[some]
        self.decode_tokens[some] = self.of_task("decode_tokens")[some]
        rest_s = self.wall_s[some] - self.load_s[some] - self.prefill_s[some] - self.decode_s[some]
        self._settle(some, np.maximum(0.0, rest_s), np.zeros(len(some)), crowded[some] | self.waited[some])

    def _by_api(self, some: Numbers, crowded: Mask) -> None:
        """load_duration runs from the handler's start until the runner is there: scheduler waits included."""
        api_load_s, wall_s = self.of_trial("load_duration_s")[some], self.wall_s[some]
        load_s = np.minimum(self.load_s[some], api_load_s)
        queue_s = np.maximum(0.0, api_load_s - load_s)
        # Looking up a warm runner: milliseconds, nobody's wait.
        nobodys = ~self.waited[some] & (queue_s < np.maximum(0.1, wall_s / 10))
        load_s[nobodys] = queue_s[nobodys] = 0.0
        self.load_s[some] = load_s
        self.prefill_s[some] = np.nan_to_num(self.of_trial("prompt_eval_duration_s")[some])
        self.decode_s[some] = np.nan_to_num(self.of_trial("eval_duration_s")[some])
        self.prompt_tokens[some] = np.where(
            self.by_slot[some], self.of_task("prefill_tokens")[some], self.of_trial("prompt_eval_count")[some]
        )
        self.decode_tokens[some] = self.of_trial("eval_count")[some]
        slot_wait_s = np.maximum(0.0, wall_s - queue_s - load_s - self.prefill_s[some] - self.decode_s[some])
        self._settle(some, slot_wait_s, queue_s, crowded[some])

    def _settle(self, some: Numbers, rest_s: Numbers, queue_s: Numbers, queued: Mask) -> None:
        """What is left is more of the wait where there was one, else nothing explains it."""
        self.queue_s[some] = np.where(queued, queue_s + rest_s, queue_s)
        self.unexplained_s[some] = np.where(queued, 0.0, rest_s)
        self.queue_told[some] = queued
