"""One clock: what has to be added to a host's own times to get a server's, and how that is known.

Two hosts rarely agree on the time, and a table of local times may be hours off. The offset is stated by the
user, or was measured when the evidence was collected, or follows from the requests that a client and a
server both saw (`alignment.py`); else the clocks are assumed to be equal, and that is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .alignment import align, fitting
from .errors import ParameterError
from .matching import CLOCK_SLACK_S, Request

# People state offsets in whole seconds.
_STATED_S = 0.5
ClockSource = Literal["same host", "stated", "measured at collection", "the same requests", "assumed equal"]


@dataclass(frozen=True)
class ClockOffset:
    """What to add to the times of `host` to get those of `reference`, the host of a server.

    `uncertainty_s` is None where nothing tells the offset: then it is assumed to be 0, and no trial is
    matched by it. `pairs` is how many requests the offset was found by.
    """

    host: str
    reference: str
    offset_s: float
    uncertainty_s: float | None
    pairs: int
    source: ClockSource
    sentence: str


def is_timed(trial: Mapping[str, Any]) -> bool:
    """Whether a trial tells when it started and when it ended."""
    return trial.get("started_at") is not None and trial.get("ended_at") is not None


def offsets(
    hosts: Iterable[str],
    requests: Sequence[Request],
    trials: Sequence[Mapping[str, Any]],
    stated: Mapping[str, float],
    measured: Mapping[str, Sequence[float]],
) -> list[ClockOffset]:
    """The offset of each host's clock to that of each server.

    What is stated wins over what was measured, and that over what the requests show. `stated` holds
    seconds to add by host, `measured` how far each host's clock was ahead of the observer's, and ± what.
    Raises ParameterError when a host is stated that the case does not have.
    """
    known = sorted({*hosts, *(request.host for request in requests)})
    if strange := sorted(set(stated) - set(known)):
        raise ParameterError(
            f"the clock of {strange[0]!r} is stated, but no host is called that; the case has {', '.join(known)}."
        )
    seen: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        seen[request.host].append(request)
    called: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for trial in trials:
        if is_timed(trial):
            called[trial["host"]].append(trial)
    found = []
    for host in known:
        for reference in sorted(seen):
            told = _told(host, reference, stated, measured)
            # Times of another zone, or of another machine: where nothing fits, the requests are asked.
            if told is None or (told.source != "stated" and not _fits(told, seen[reference], called[host])):
                estimated = estimate_offset(seen[reference], called[host], host, reference, len(seen))
                told = estimated if told is None or estimated.uncertainty_s is not None else told
            # Two servers need no common clock, unless one of them was the other's client.
            if told.uncertainty_s is not None or host not in seen:
                found.append(told)
    return found


def _told(
    host: str, reference: str, stated: Mapping[str, float], measured: Mapping[str, Sequence[float]]
) -> ClockOffset | None:
    """The offset of two hosts as far as it is known without looking at their requests."""
    if host in stated or (reference in stated and host != reference):
        offset_s = stated.get(host, 0.0) - (stated.get(reference, 0.0) if host != reference else 0.0)
        text = _sentence(host, reference, offset_s, 0.0, "as stated")
        return ClockOffset(host, reference, offset_s, _STATED_S, 0, "stated", text)
    if host == reference:
        return ClockOffset(host, reference, 0.0, 0.0, 0, "same host", f"{host} is the server's own host")
    if host in measured and reference in measured:
        offset_s = measured[reference][0] - measured[host][0]
        within_s = measured[reference][1] + measured[host][1]
        text = _sentence(host, reference, offset_s, within_s, "as measured when the evidence was collected")
        return ClockOffset(host, reference, offset_s, within_s, 0, "measured at collection", text)
    return None


def _fits(told: ClockOffset, requests: Sequence[Request], trials: Sequence[Mapping[str, Any]]) -> bool:
    within_s = (told.uncertainty_s or 0.0) + CLOCK_SLACK_S
    fit = fitting(requests, trials, told.offset_s - within_s, told.offset_s + within_s)
    return not trials or next(fit, None) is not None


def estimate_offset(
    requests: Sequence[Request],
    trials: Sequence[Mapping[str, Any]],
    host: str = "client",
    reference: str = "server",
    servers: int = 1,
) -> ClockOffset:
    """The offset that a client's trials and a server's requests show, or `assumed equal` with the reason why.

    >>> from datetime import datetime, timedelta
    >>> from warmstall.matching import epoch
    >>> walls, noon = [1.31, 4.08, 2.77, 9.45], datetime(2026, 1, 1, 12)
    >>> ends = [noon + timedelta(seconds=seconds) for seconds in (5, 19, 33, 71)]
    >>> seen = [Request(n, "server", "log", n, "200", "/api/chat", wall, epoch(end) - wall, epoch(end) - wall + 1,
    ...         epoch(end), epoch(end) + 1, True, False) for n, (wall, end) in enumerate(zip(walls, ends))]
    >>> ahead = timedelta(seconds=37.5)
    >>> calls = [{"started_at": end - timedelta(seconds=wall) + ahead, "ended_at": end + ahead, "status": "200"}
    ...          for wall, end in zip(walls, ends)]
    >>> found = estimate_offset(seen, calls)
    >>> abs(found.offset_s + 37.5) <= found.uncertainty_s, found.pairs, found.source
    (True, 4, 'the same requests')
    """
    timed = [trial for trial in trials if is_timed(trial)]
    if not timed or not requests:
        text = f"the clock of {host} is assumed to be that of {reference}: nothing was seen by both"
        return ClockOffset(host, reference, 0.0, None, 0, "assumed equal", text)
    aligned = align(requests, timed, servers)
    if aligned.doubt:
        text = (
            f"the clock of {host} is assumed to be that of {reference}, and no call is matched by it: {aligned.doubt}"
        )
        return ClockOffset(host, reference, 0.0, None, 0, "assumed equal", text)
    offset_s, within_s = (aligned.low_s + aligned.high_s) / 2, (aligned.high_s - aligned.low_s) / 2
    text = _sentence(host, reference, offset_s, within_s, f"by {aligned.pairs:,} calls that its log shows too")
    return ClockOffset(
        host, reference, round(offset_s, 3), round(within_s + 0.001, 3), aligned.pairs, "the same requests", text
    )


def _sentence(host: str, reference: str, offset_s: float, uncertainty_s: float, why: str) -> str:
    mine, theirs = f"the clock of {host}", f"that of {reference}"
    if host == reference:
        mine, theirs = f"the clock by which {host} recorded its calls", "that of its log"
    within = f" (± {uncertainty_s:.2f} s)" if uncertainty_s else ""
    if abs(offset_s) <= uncertainty_s:
        return f"{mine} is {theirs}{within}, {why}"
    zone = abs(offset_s) > 890 and abs(offset_s - 900 * round(offset_s / 900)) <= max(uncertainty_s, 2.0)
    why += ": as times of another zone would be" if zone else ""
    return f"{mine} is {abs(offset_s):,.2f} s {'behind' if offset_s > 0 else 'ahead of'} {theirs}{within}, {why}"
