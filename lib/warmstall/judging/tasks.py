"""Which slot task of llama-server belongs to which request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..matching import CLOCK_SLACK_S, epoch
from ..records import SlotTask
from .requests import Requests
from .words import Mask, Numbers

# An access line follows the timing of its task at once; a client that is slow to take its answer delays it.
LATE_LINE_S = 5.0
# Access lines and timings are written by two processes: one may come among the three lines of the other, which
# another slot may have stretched.
CROSSED_LINES = 6
# How many lines after its release a task that printed no timing may still be a request's.
_RELEASED_LINES = 200


def match_tasks(requests: Requests, rows: range, tasks: Sequence[SlotTask]) -> Iterator[tuple[int, int]]:
    """Give each generating request of a file its llama-server task, by the order of the lines and their times.

    `rows` are the requests of one file, `tasks` its tasks in the order of their lines; yields the row of a
    request and the number of its task. A task that printed its timing belongs to the next access line that is
    long enough for it, of a request that was there when it began and ended when it did; where lines of two
    writers crossed, to the one just before. A task whose request is not found so is nobody's. One that never
    printed a timing was cut short: its access line comes while it is open.
    """
    if tasks and len(rows):
        yield from _File(requests, rows, tasks).matched()


class _File:
    """The requests and tasks of one file. A request is called by its place among those that may have a task."""

    def __init__(self, requests: Requests, rows: range, tasks: Sequence[SlotTask]) -> None:
        whole = slice(rows.start, rows.stop)
        line, ended_from, ended_to = requests.line[whole], requests.ended_from(whole), requests.ended_to(whole)
        ran, embedding = requests.ran[whole], requests.embedding(whole)
        these = np.flatnonzero(ran & ~embedding)
        self.row = these + rows.start
        self.line, self.wall_s, self.ended_from = line[these], requests.wall_s[self.row], ended_from[these]
        self.ended_to, self.started_from = ended_to[these], requests.started_from(self.row)
        self.answered = requests.status[self.row] == "200"
        self.left = requests.status[self.row] == "499"  # before its model was there: no task can be its
        # Whole seconds above a minute: the true wall may be up to a second more.
        self.room_s = self.wall_s + np.where(self.wall_s >= 60, 1.0, 0.05)

        def between(lines: Numbers) -> tuple[Numbers, Numbers]:
            """When lines were written: between the access lines around them, which have times where they have none."""
            after = np.searchsorted(line, lines, "right")
            from_at = np.concatenate([[-np.inf], ended_from])[after]
            return from_at, np.maximum(from_at, np.concatenate([ended_to, [np.inf]])[after])

        timed = [number for number, task in enumerate(tasks) if task.total_s is not None]
        timed.sort(key=lambda number: tasks[number].finished_line)
        self.timed = np.array(timed, dtype=np.int64)
        self.task_line = np.array([tasks[number].line for number in timed], dtype=np.int64)
        self.finished_line = np.array([tasks[number].finished_line for number in timed], dtype=np.int64)
        self.total_s = np.array([tasks[number].total_s or 0.0 for number in timed], dtype=float)
        began_from, began_to = between(self.task_line)
        own = [(tasks[number].started_from, tasks[number].started_to) for number in timed]
        self.began_from = np.maximum(began_from, [epoch(at) if at else -np.inf for at, _ in own]) if own else began_from
        self.began_to = np.minimum(began_to, [epoch(at) if at else np.inf for _, at in own]) if own else began_to
        self.finished_to = between(self.finished_line)[1]

        # An embedding's tasks are released without a timing; they are nobody else's.
        embedded = line[ran & embedding]
        lines = [task.line for task in tasks]
        following = np.searchsorted(embedded, lines, "right")
        over = np.concatenate([embedded, [np.iinfo(np.int64).max]])[following].tolist()
        self.cut = [
            (number, task.line, epoch(task.started_to) if task.started_to else np.inf, task.released_line,
             over[number] if task.released_line else np.iinfo(np.int64).max)
            for number, task in enumerate(tasks) if task.total_s is None
        ]  # fmt: skip

    def fits(self, task: Numbers | int, at: Numbers | int) -> Mask:
        """Whether timed tasks may be those of requests: short enough, and begun while the request was there."""
        met = (self.began_to[task] >= self.started_from[at] - CLOCK_SLACK_S) & (
            self.began_from[task] <= self.ended_to[at]
        )
        short: Mask = self.total_s[task] <= self.room_s[at]
        return short & met

    def crossed(self, task: Numbers | int, at: Numbers | int) -> Mask:
        """Whether the access line of a request stands among the lines of a timing that may be its."""
        line = self.line[at]
        among = (self.task_line[task] < line) & (line < self.finished_line[task])
        there: Mask = among & (self.finished_line[task] <= line + CROSSED_LINES) & self.answered[at]
        return there & self.fits(task, at)

    def matched(self) -> Iterator[tuple[int, int]]:
        """Row and task of each request that has one.

        Nearly every request has the one timing just before it. Those are found at once; only where it is not so
        simple, requests are gone through one by one until no timing is left over.
        """
        count = len(self.line)
        arrives = np.searchsorted(self.line, self.finished_line, "right")
        first = np.searchsorted(arrives, np.arange(count))
        beyond = np.searchsorted(arrives, np.arange(count), "right")
        single = np.flatnonzero(beyond - first == 1)
        task = first[single]
        simple = self.fits(task, single) & ~self.left[single]
        simple &= self.finished_to[task] >= self.ended_from[single] - LATE_LINE_S
        odd = beyond > first
        odd[single[simple]] = False
        for ahead in (0, 1):  # its line may stand among those of its own timing
            some = np.flatnonzero(beyond + ahead < len(self.timed))
            odd[some] |= self.crossed(beyond[some] + ahead, some) & (first[some] == beyond[some])
        odd[first == beyond] |= self._while_open()[first == beyond]
        visited = np.zeros(count, dtype=bool)
        yield from self._one_by_one(first, beyond, arrives, odd, visited)
        simple &= ~visited[single]
        yield from zip(self.row[single[simple]].tolist(), self.timed[task[simple]].tolist(), strict=True)

    def _while_open(self) -> Mask:
        """Which requests ended when a task that printed no timing may have been open."""
        if not self.cut:
            return np.zeros(len(self.line), dtype=bool)
        lines = np.array([line for _, line, *_ in self.cut])
        latest = np.maximum.accumulate([started_to for _, _, started_to, *_ in self.cut])
        far = np.iinfo(np.int64).max - _RELEASED_LINES
        released = np.maximum.accumulate([min(line, far) if line else far for *_, line, _ in self.cut])
        before = np.searchsorted(lines, self.line, "right") - 1
        may: Mask = (latest[before] >= self.started_from - 1) & (released[before] >= self.line - _RELEASED_LINES)
        return may & (before >= 0)

    def _one_by_one(
        self, first: Numbers, beyond: Numbers, arrives: Numbers, odd: Mask, visited: Mask
    ) -> Iterator[tuple[int, int]]:
        """Go through the odd requests, and on from each until no timing waits for its request; notes the `visited`."""
        waiting: list[int] = []
        crossed: set[int] = set()
        at = 0
        while at < len(odd):
            if not waiting and not odd[at]:
                at += int(np.argmax(odd[at:]))
                if not odd[at]:
                    return
            visited[at] = True
            waiting += [task for task in range(first[at], beyond[at]) if task not in crossed]
            waiting = [task for task in waiting if self.finished_to[task] >= self.ended_from[at] - LATE_LINE_S]
            fitting = [task for task in waiting if self.fits(task, at)]
            if not fitting:
                following = range(beyond[at], min(beyond[at] + 2, len(self.timed)))
                fitting = [task for task in following if task not in crossed and self.crossed(task, at)]
                if fitting:
                    crossed.add(fitting[0])
                    if arrives[fitting[0]] < len(odd):  # it is missing there
                        odd[arrives[fitting[0]]] = True
            if fitting and not self.left[at]:
                waiting = [task for task in waiting if task != fitting[0]]
                yield int(self.row[at]), int(self.timed[fitting[0]])
            elif (number := self._open_at(at)) is not None:
                yield int(self.row[at]), number
            at += 1

    def _open_at(self, at: int) -> int | None:
        """The first task that was cut short, is nobody's yet, and may have been open when a request ended."""
        line, started_from = int(self.line[at]), float(self.started_from[at])
        over = []
        found = None
        for place, (number, task_line, started_to, released_line, embedded_line) in enumerate(self.cut):
            if task_line > line:
                break
            if embedded_line < line or 0 < released_line < line - _RELEASED_LINES:
                over.append(place)  # for this request and all after it
            elif started_to >= started_from - 1:
                over.append(place)
                found = number
                break
        for place in reversed(over):
            del self.cut[place]
        return found
