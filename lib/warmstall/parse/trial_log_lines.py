"""Calls that a client's own log tells of: timeouts, and what the OpenAI library and httpx write of a request.

Lines and their sources: openai-python `_base_client.py` ("Retrying request to %s in %f seconds"; the waits are
0.5 s doubled up to 8 s, less up to a quarter), httpx ("HTTP Request: POST … "HTTP/1.1 200 OK""), LiteLLM
("litellm.Timeout: … Timeout passed=600.0, time taken=600.1 seconds"), and runners of trials ("trial 3 timed
out after 1m0s"). A log does not say which lines belong to one call: calls side by side are not told apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ..schema import TABLES
from .parsed import Parsed
from .trial_columns import INFERENCE_PATH
from .trial_rows import LONGEST_ERROR, timeout_in
from .trial_values import moment, seconds, text_of

_LONGEST_LINE = 20_000
_TELLING = re.compile(r"timed out after|litellm\.|Retrying request to|HTTP Request: |<!--")
_TIME = re.compile(
    r"(?<![\d.])(\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)( ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?!\d))?"
)
_TRIAL = re.compile(
    r"\b(?:trial|run|request|call|query|prompt)\b(?: #?([\w./-]{1,60}))?:? timed out after "
    r"((?:\d{1,9}(?:\.\d{1,9})?(?:ms|h|m|s)){1,3}|\d{1,9}(?:\.\d{1,9})? ?(?:seconds?|secs?|minutes?|mins?))\b",
    re.I,
)
_LITELLM = re.compile(r"litellm\.(?:exceptions\.)?Timeout\b")
_TAKEN = re.compile(r"time taken=(\d{1,9}(?:\.\d{1,9})?) seconds")
_MARKER = re.compile(r"^\s*<!--(.{1,300}?)-->")
_PAIR = re.compile(r"\b\w{1,40}=\S{1,60}")
_RETRY = re.compile(r"Retrying request to (/[\w/.-]{1,80}) in (\d{1,4}(?:\.\d{1,9})?) seconds")
_HTTP = re.compile(r'HTTP Request: POST (https?://\S{1,300}) \\?"HTTP/[\d.]{1,3} ([1-5]\d\d)')
_REPEATED = ("408", "409", "429", "5")
# The n-th wait of the OpenAI library, less up to a quarter.
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
_EMPTY: dict[str, Any] = {
    name: "" if kind == "VARCHAR" else None for name, kind in TABLES["trials"].items()
    if name not in ("host", "source", "line")
}  # fmt: skip


@dataclass
class _Call:
    """A request that is repeated until it is answered: the lines of its attempts so far."""

    path: str
    lines: list[int] = field(default_factory=list)
    waits: int = 0
    waits_until: datetime | None = None
    status: str = ""
    at: tuple[datetime, bool] | None = None


def add_log_lines(lines: Sequence[str], parsed: Parsed) -> None:
    """Add the calls that lines of a client's log tell of, where no table has taken them already."""
    timeouts, calls = _Timeouts(parsed), _Calls(parsed)
    for number, raw in enumerate(lines, 1):
        if number in parsed.lines or not _TELLING.search(raw, 0, _LONGEST_LINE):
            continue
        line = raw[:_LONGEST_LINE].strip()
        if not timeouts.read(number, line):
            calls.read(number, line)
    calls.finish()


def _time_in(line: str) -> tuple[datetime, bool] | None:
    match = _TIME.search(line, 0, 200)
    return moment(match[1].replace(",", ".") + (match[2] or "").strip()) if match else None


def _from(text: str, at: tuple[datetime, bool] | None) -> str:
    return text if at is None or at[1] else f"{text}, zone unknown"


class _Timeouts:
    """Lines that say that a call timed out. Markers are comments with a time that others wrote between them."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.markers: list[tuple[int, str, tuple[datetime, bool]]] = []
        self.told_by: object = None

    def read(self, number: int, line: str) -> bool:
        """Take the line, if it is one of these."""
        if (marker := _MARKER.match(line)) and (at := _time_in(marker[1])):
            self.markers = [*self.markers[-1:], (number, marker[1], at)]
            return True
        if match := _TRIAL.search(line):
            wall_s, at = seconds(match[2], None), _time_in(line[: match.start()])
            if at is None and not any(map(str.isdigit, match[1] or "")):  # prose says such things too
                return False
            self._add(number, line, at, wall_s, run_id=text_of(match[1]), timeout_s=wall_s)
            return True
        if _LITELLM.search(line):
            self._litellm(number, line)
            return True
        return False

    def _litellm(self, number: int, line: str) -> None:
        taken = _TAKEN.search(line)
        own = _time_in(line)
        # One exception is printed several times: in its traceback, and by whoever caught it.
        identity = own or (self.markers[-1][0] if self.markers else taken and taken[1])
        if identity is None:
            return
        if identity == self.told_by:
            self.parsed.understood([number])
            return
        self.told_by = identity
        wall_s = seconds(taken[1], 1.0) if taken else None
        if own or not self.markers:
            self._add(number, line, own, wall_s)
            return
        (last, text, ended), before = self.markers[-1], self.markers[:-1]
        self.parsed.understood([last])
        began = [marker for marker in before if _PAIR.findall(marker[1]) == _PAIR.findall(text)]
        if began and began[0][2][0] <= ended[0]:
            first, _, started = began[0]
            self.parsed.understood([first])
            wall_s = (ended[0] - started[0]).total_seconds() if wall_s is None else wall_s
            self._add(number, line, ended, wall_s, started_at=started[0], time_from=_from("start and end", ended))
        else:
            self._add(number, line, ended, wall_s)

    def _add(self, number: int, line: str, at: tuple[datetime, bool] | None, wall_s: float | None, **more: Any) -> None:
        ended = at[0] if at else None
        row = _EMPTY | {"ended_at": ended, "wall_s": wall_s, "outcome": "timeout", "timeout_s": timeout_in(line)}
        row |= {"error": text_of(line, LONGEST_ERROR), "time_from": _from("end only", at) if ended else "none"}
        if ended and wall_s is not None:
            row |= {"started_at": ended - timedelta(seconds=wall_s), "time_from": _from("end - wall", at)}
        self.parsed.add("trials", number, **(row | more))


class _Calls:
    """Requests as httpx and the OpenAI library write them, one call at a time."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.open: _Call | None = None
        # Two were repeated at once: from here on no attempt can be given to a call.
        self.side_by_side = False

    def read(self, number: int, line: str) -> None:
        """Take the line, if it is one of these."""
        if match := _RETRY.search(line):
            self._retry(number, match[1], float(match[2]), _time_in(line))
        elif match := _HTTP.search(line):
            try:
                path = urlsplit(match[1]).path
            except ValueError:
                return
            if INFERENCE_PATH.search(path):
                self._answer(number, path, match[2], _time_in(line))

    def _retry(self, number: int, path: str, wait_s: float, at: tuple[datetime, bool] | None) -> None:
        call = self.open
        if not INFERENCE_PATH.search(f"/v1{path}") and not INFERENCE_PATH.search(path):
            return
        order = next((n for n, most_s in enumerate(_WAITS_S, 1) if 0.74 * most_s <= wait_s <= most_s + 0.01), 0)
        first_again = order == 1 and call is not None and call.waits > 0
        if call and first_again and at and call.waits_until and at[0] < call.waits_until:
            self.side_by_side = True
        if call is None or first_again or not call.path.endswith(path):
            self.finish()
            call = self.open = _Call(path)
        call.lines.append(number)
        call.waits, call.status, call.at = call.waits + 1, "", None
        call.waits_until = at[0] + timedelta(seconds=wait_s) if at else None

    def _answer(self, number: int, path: str, status: str, at: tuple[datetime, bool] | None) -> None:
        call = self.open
        if call is None or not path.endswith(call.path) or call.status:
            self.finish()
            call = self.open = _Call(path)
        call.path, call.status, call.at = path, status, at
        call.lines.append(number)
        if not status.startswith(_REPEATED):  # else it may be repeated
            self.finish()

    def finish(self) -> None:
        """The open call is over: answered, given up, or at the end of the log."""
        call, self.open = self.open, None
        if call is None:
            return
        self.parsed.understood(call.lines)
        row = _EMPTY | {"path": call.path if call.path.startswith(("/v1/", "/api/")) else f"/v1{call.path}"}
        row |= {"status": call.status, "ended_at": call.at[0] if call.at else None}
        row |= {"time_from": _from("end only", call.at) if call.at else "none"}
        if not self.side_by_side:
            row["attempts"] = call.waits + 1
        if not call.status:
            row |= {"outcome": "no answer", "error": f"no answer after {call.waits} repeated attempts"}
        if call.status or not self.side_by_side:
            self.parsed.add("trials", call.lines[-1], **row)
