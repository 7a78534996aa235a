"""Which requests a crash or an abort ended, and which ended together by a client's timeout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..matching import epoch
from ..timeline import Event, Stop
from .matched import Matched
from .requests import Requests, places
from .words import Mask, Numbers, Rows, Words, in_parts, spread

# A model that has to be loaded again sooner than this after a request did not leave by its keep_alive of
# five minutes (the default of every version): its runner may have died.
_SHORTEST_KEEP_S = 240.0
# How late a server notices that a client has hung up: a round trip and a scheduling delay.
_TIMEOUT_LATE_S = 0.05
# From here on the log keeps whole seconds only.
_WHOLE_FROM_S = 60
# The share of failures near a round number that have to agree on it.
_MOST_OF_THEM = 0.8
# So many lines after its access line the abort of a request may stand.
_LINES_AFTER = 3
# Who lost a runner is told so at once; the time of an event may be known to so many seconds.
_SOON_S = 32.0
# Among so many requests that came after it, one of the same model is looked for.
_FOLLOWING = 20


@dataclass(frozen=True)
class Ended:
    """The requests that events ended: rows in order, and the number of the event of each."""

    rows: Numbers
    numbers: Numbers
    events: Sequence[Event]

    def line(self, rows: Rows, total: int, count: int) -> Numbers:
        """The line of the event that ended each of the rows; 0 where none did."""
        found = np.zeros(count, dtype=np.int64)
        at, which = places(self.rows, rows, total)
        found[at] = [self.events[number].line for number in self.numbers[which].tolist()]
        return found

    def alone(self, rows: Rows, total: int, count: int) -> Mask:
        """Whether the event that ended each of the rows ended no other; without an event, no."""
        found = np.zeros(count, dtype=bool)
        at, which = places(self.rows, rows, total)
        _, of_event, ended = np.unique(self.numbers, return_inverse=True, return_counts=True)
        found[at] = (ended[of_event] == 1)[which]
        return found

    def text(self, rows: Rows, total: int, count: int) -> Words:
        """What the event that ended each of the rows says."""
        codes = np.zeros(count, dtype=np.int32)
        at, which = places(self.rows, rows, total)
        different, codes[at] = np.unique(self.numbers[which], return_inverse=True)
        codes[at] += 1
        return Words(codes, ["", *(_said(self.events[number]) for number in different.tolist())])


def cut_by_stops(requests: Requests, stops: Sequence[Stop]) -> Ended:
    """The requests that were there when the server was told to stop: it ends what is open, then it exits."""
    cut = [_open_at(requests, stop) for stop in stops]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *cut])
    numbers = np.repeat(np.arange(len(stops)), [len(each) for each in cut])
    order = np.argsort(rows, kind="stable")
    return Ended(rows[order], numbers[order], [stop.event for stop in stops])


def _open_at(requests: Requests, stop: Stop) -> Numbers:
    """Rows of requests of the log of a stop whose access lines stand behind it, before the server started again."""
    own = requests.source == stop.event.source  # a stretch of rows, in which lines rise
    begin = int(own.argmax()) if len(own) else 0
    until_line = stop.until_line or np.iinfo(np.int64).max
    lines = requests.line[begin : begin + np.count_nonzero(own)]
    first, beyond = begin + np.searchsorted(lines, [stop.event.line, until_line])
    rows: Numbers = first + np.flatnonzero(requests.ran[first:beyond])
    return rows


def _said(event: Event) -> str:
    return (event.fields.get("error") or event.fields.get("msg") or event.text)[:200]


def ended_by(matched: Matched, events: Sequence[Event], name: Literal["crash", "abort"]) -> Ended:
    """The requests that each event ended: there when it was written, over within two seconds.

    A request whose access line stands before a crash was over by then, and one whose own load came after the event
    survived it.
    """
    events = [event for event in events if event.at is not None]
    rows, numbers = _there(matched, events, name) if events else (np.empty(0, dtype=np.int64),) * 2
    answered = matched.requests.status[rows].where(lambda status: status[:1] == "2").tolist()
    ended: dict[int, int] = {}
    by_event: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for row, number, ok in zip(rows.tolist(), numbers.tolist(), answered, strict=True):
        by_event[number].append((row, ok))
    for number, found in by_event.items():
        left = [(row, ok) for row, ok in found if row not in ended]
        # A stream keeps its 200 when it breaks, but so does one that was just done: only a lone one is it.
        failed = [row for row, ok in left if not ok]
        for row in failed or ([row for row, _ in left] if len(left) == 1 else ()):
            ended[row] = number
    known = sorted(ended)
    return Ended(np.array(known, dtype=np.int64), np.array([ended[row] for row in known], dtype=np.int64), events)


def _there(matched: Matched, events: Sequence[Event], name: str) -> tuple[Numbers, Numbers]:
    """Requests and numbers of events that may have ended them, in the order of the events, then of their ends."""
    requests = matched.requests
    order = np.flatnonzero(requests.ran).astype(np.int32)
    ends = in_parts(requests.ended_to, order, len(requests))
    by_end = np.argsort(ends, kind="stable")
    order, ends = order[by_end], ends[by_end]
    code_of_source = {text: code for code, text in enumerate(requests.source.names)}
    sources = np.array([code_of_source.get(event.source, -1) for event in events])
    lines = np.array([event.line for event in events], dtype=np.int64)
    earliest, latest = _written(requests, events, sources, lines)
    first = np.searchsorted(ends, earliest - 0.5)
    number, at = spread(first, np.searchsorted(ends, latest + 2, "right"))
    row = order[at]
    source, line = requests.source.codes[row], requests.line[row]
    code_of_host = {text: code for code, text in enumerate(requests.host.names)}
    hosts = np.array([code_of_host.get(event.host, -1) for event in events])
    same_file = source == sources[number]
    there = (requests.host.codes[row] == hosts[number]) & (requests.started_from(row) <= latest[number])
    there &= ~(same_file & (_load_line(matched, row) > lines[number]))
    # Runner and server write side by side: an abort's line may come just after the access line of who left.
    before = same_file & (line < lines[number])
    just_before = (lines[number] - line <= _LINES_AFTER) & (requests.ended_to(row) >= earliest[number] - 1)
    there &= ~before | (just_before if name == "abort" else False)
    # Too short for its whole second to tell whether it was there.
    following = _first_after(matched, sources, lines)[number]
    comes_next = same_file & (line == following)
    there &= (requests.started_to(row) <= earliest[number]) | comes_next
    # Long after what is known of the event, only a failure in the very next line is of it.
    failed = requests.status[row].where(lambda status: status[:1] == "5")
    there &= (ends[at] <= earliest[number] + _SOON_S) | (comes_next & failed)
    return row[there], number[there]


def _written(requests: Requests, events: Sequence[Event], sources: Numbers, lines: Numbers) -> tuple[Numbers, Numbers]:
    """When each event was written, at the earliest and at the latest; of one without a time of its own the access
    lines before and after it tell that too."""
    earliest = np.array([epoch(event.at) for event in events if event.at])
    latest = np.array([epoch(event.at_latest) if event.at_latest else np.inf for event in events])
    for code in np.unique(sources[latest > earliest]).tolist():
        own = np.flatnonzero(requests.source.codes == code)
        some = np.flatnonzero((sources == code) & (latest > earliest))
        place = np.searchsorted(requests.line[own], lines[some])
        ended_from = np.concatenate([[-np.inf], requests.ended_from(own)])[place]
        ended_to = np.concatenate([requests.ended_to(own), [np.inf]])[place]
        # A clock of its own may be behind either; it is believed only where the two agree.
        agree = (ended_from <= latest[some]) & (ended_to >= earliest[some])
        earliest[some] = np.where(agree, np.maximum(earliest[some], ended_from), earliest[some])
        latest[some] = np.where(agree, np.minimum(latest[some], ended_to), latest[some])
    return earliest, np.where(np.isinf(latest), earliest + 2, latest)


def _load_line(matched: Matched, row: Numbers) -> Numbers:
    """The line of the load that each request caused or waited for; 0 where there is none."""
    waits = matched.waits
    found = np.zeros(len(row), dtype=np.int64)
    at, which = places(waits.row, row, len(matched.requests))
    some = waits.load[which] >= 0
    found[at[some]] = matched.loads.line[waits.load[which[some]]]
    return found


def _first_after(matched: Matched, sources: Numbers, lines: Numbers) -> Numbers:
    """The first line after each of these of a request that ran, in the same file; -1 where there is none."""
    requests = matched.requests
    found = np.full(len(lines), -1, dtype=np.int64)
    for code in np.unique(sources[sources >= 0]).tolist():
        own = requests.line[(requests.source.codes == code) & requests.ran]
        some = np.flatnonzero(sources == code)
        found[some] = np.concatenate([own, [-1]])[np.searchsorted(own, lines[some], "right")]
    return found


def shared_timeouts(matched: Matched, crashed: Numbers) -> tuple[Numbers, Numbers]:
    """Rows of failures that agree on a round number of seconds and left their runner alive, and that number: a client's
    timeout.

    A server knows no timeout for inference. One failure at 60.0 s may be chance; two there, and hardly any
    near by, are a setting. Beyond a minute the log cuts off what is not a whole second, and a client's clock starts
    before the server's: 29m59s may be half an hour, but then three have to agree. Where a runner died, or had to be
    loaded again for the next request, the number says nothing.
    """
    requests = matched.requests
    failed = np.flatnonzero(
        requests.ran & ((requests.status == "500") | (requests.status == "400")) & (requests.wall_s >= 1)
    )
    if not len(failed):
        return failed, np.empty(0)
    wall_s = requests.wall_s[failed]
    # Above a minute the log keeps whole seconds only, so the number must be rounder to mean something.
    nearest = np.where(wall_s < _WHOLE_FROM_S, np.rint(wall_s), 30 * np.rint(wall_s / 30))
    late_s = wall_s - nearest
    numbers = requests.source.codes[failed] * (nearest.max() + 1) + nearest  # one of each file and number of seconds
    near = np.unique(numbers, return_inverse=True)[1]
    a_second_short = (nearest > _WHOLE_FROM_S) & (late_s == -1)
    agreeing = ((late_s >= 0) & (late_s <= _TIMEOUT_LATE_S)) | a_second_short
    needed = np.where(np.bincount(near, a_second_short), 3, 2)
    agreed = np.bincount(near, agreeing) >= np.maximum(needed, _MOST_OF_THEM * np.bincount(near))
    some = np.flatnonzero(agreed[near])
    lost = _reloaded_soon(matched, failed[some])
    lost[places(crashed, failed[some], len(requests))[0]] = True
    agreed[near[some[lost]]] = False
    agreeing &= agreed[near]
    return failed[agreeing], nearest[agreeing]


def _reloaded_soon(matched: Matched, failed: Numbers) -> Numbers:
    """Whether the next request of the same model after each of these met a load, too soon for a keep_alive to end."""
    requests = matched.requests
    if not len(failed):
        return np.zeros(0, dtype=bool)
    ended = requests.ended(failed)
    from_at = ended - requests.uncertainty_s(failed)
    order, starts = _coming_next(requests, from_at)
    after = np.searchsorted(starts, from_at)
    following = np.full(len(failed), -1)
    for ahead in range(_FOLLOWING):
        at = after + ahead
        some = np.flatnonzero((following < 0) & (at < len(order)))
        other = order[at[some]]
        fits = (other != failed[some]) & (matched.model[other] == matched.model[failed[some]])
        following[some[fits]] = other[fits]
    reloaded = np.zeros(len(failed), dtype=bool)
    reloaded[places(matched.waits.row, following, len(requests))[0]] = True
    soon = requests.started(np.maximum(following, 0)) - ended < _SHORTEST_KEEP_S
    return (following >= 0) & reloaded & soon


def _coming_next(requests: Requests, from_at: Numbers) -> tuple[Numbers, Numbers]:
    """Rows and starts of requests that ran, by their starts: at least those _FOLLOWING that start next after each of
    these times."""
    order = np.flatnonzero(requests.ran).astype(np.int32)
    starts = in_parts(requests.started, order, len(requests))
    by_start = np.sort(starts)
    from_at = np.sort(from_at)
    until = by_start[np.minimum(np.searchsorted(by_start, from_at) + _FOLLOWING, len(starts)) - 1]
    del by_start
    # The sort of a few is all that is needed of the sort of all of them.
    latest = np.maximum.accumulate(np.concatenate([[-np.inf], until]))
    near = in_parts(lambda some: starts[some] <= latest[np.searchsorted(from_at, starts[some], "right")], slice(None),
                    len(starts))  # fmt: skip
    order, starts = order[near], starts[near]
    # Within a file, lines rise.
    one_file = len(requests.source.names) == 1
    by_start = np.argsort(starts, kind="stable") if one_file else np.lexsort((requests.line[order], starts))
    return order[by_start], starts[by_start]
