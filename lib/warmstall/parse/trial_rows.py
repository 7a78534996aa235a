"""One record of a client's table as a row of the trials table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

from .trial_columns import INFERENCE_PATH, Columns
from .trial_roles import OLLAMA_NAMES
from .trial_values import moment, number, seconds, text_of, whole

LONGEST_ERROR = 500
Reading = Literal["start", "end", "assumed end"]
_STATUS = re.compile(r"([1-5]\d\d)(?:\.0)?(?: [A-Za-z ]{0,40})?")
_FLAG_NAMES = re.compile(r"ok|success\w*|succeeded|passed|is_success", re.I)
_FLAGS = {"true": "ok", "1": "ok", "false": "failed", "0": "failed"}
_RETRIED = re.compile(r"LiteLLM Retried: (\d{1,4}) times")
# What guidellm calls the endpoints (`request_type`).
_REQUEST_TYPES = {"chat_completions": "/v1/chat/completions", "text_completions": "/v1/completions"}
_TIMEOUT = re.compile(
    r"(?:timed out after|timeout: closed connection after) "
    r"((?:\d{1,9}(?:\.\d{1,9})?(?:ms|h|m|s)){1,3}|\d{1,9}(?:\.\d{1,9})? ?(?:seconds?|secs?|minutes?|mins?))\b"
    r"|Timeout passed=(\d{1,9}(?:\.\d{1,9})?)"
)


def timeout_in(error: str) -> float | None:
    """The client's timeout in seconds that an error text names, as Go, LiteLLM and our recorder write it.

    >>> timeout_in("trial 3 timed out after 1m0s"), timeout_in("Timeout passed=600.0, time taken=600.1 seconds")
    (60.0, 600.0)
    >>> timeout_in("timed out after 3 attempts") is None
    True
    """
    match = _TIMEOUT.search(error)
    return seconds(match[1] or match[2], 1.0) if match else None


def reading_of_single_times(records: Sequence[Mapping[str, Any]], columns: Columns) -> Reading:
    """Whether a table's only time is the start of each call or its end.

    Calls of one client that follow one another tell it: under the wrong reading they overlap, under the right
    one they do not. Ollama's own `created_at`, beside its durations, is the end. Else the end is assumed,
    because what is written once a call is over is usually dated then.

    >>> columns = Columns({"at": "at", "wall": "s"}, {"wall": 1.0})
    >>> spaced = [{"at": f"2026-11-20T20:{minute}:30.5Z", "s": 5.2} for minute in (10, 11, 12, 13)]
    >>> close = [{"at": f"2026-11-20T20:49:{at}Z", "s": s} for at, s in (("10.1", 9.2), ("40.2", 29.5), ("41.5", 1.2))]
    >>> close += [{"at": f"2026-11-20T20:50:{at}Z", "s": s} for at, s in (("30.1", 48.2), ("31.2", 1.0))]
    >>> reading_of_single_times(spaced, columns), reading_of_single_times(close, columns)
    ('assumed end', 'end')
    """
    of = columns.of
    if "at" not in of:
        return "assumed end"
    if of["at"].endswith("created_at") and of.get("total_duration", "").rpartition(".")[2] in OLLAMA_NAMES:
        return "end"
    calls = []
    for record in records:
        at = moment(record.get(of["at"]), "at" in columns.utc)
        wall_s = seconds(record.get(of.get("wall", "")), columns.unit_s.get("wall"), columns.decimal_comma)
        if at and wall_s is not None:
            calls.append((at[0], wall_s))
    calls.sort()
    # Times and walls may be cut to whole seconds.
    slack_s = 0.1 + all(not at.microsecond for at, _ in calls) + all(wall_s.is_integer() for _, wall_s in calls)
    pairs = [
        ((later[0] - sooner[0]).total_seconds() + slack_s, sooner[1], later[1]) for sooner, later in pairwise(calls)
    ]
    as_starts = sum(gap_s < wall_s for gap_s, wall_s, _ in pairs)
    as_ends = sum(gap_s < wall_s for gap_s, _, wall_s in pairs)
    few = len(pairs) * 0.02
    if as_starts > max(1, 5 * few) and as_ends <= few:
        return "end"
    if as_ends > max(1, 5 * few) and as_starts <= few:
        return "start"
    return "assumed end"


def row_of(record: Mapping[str, Any], columns: Columns, reading: Reading) -> dict[str, Any] | None:
    """The row of a record, its columns those of the trials table; None when it tells nothing of a call.

    >>> columns = Columns({"started": "t", "wall": "ms", "status": "code"}, {"wall": 0.001})
    >>> row = row_of({"t": "2026-11-20T20:49:03Z", "ms": "1500", "code": "200"}, columns, "assumed end")
    >>> str(row["ended_at"]), row["time_from"], row["status"], row["outcome"]
    ('2026-11-20 20:49:04.500000', 'start + wall', '200', '')
    """

    def cell(role: str) -> Any:
        if role not in columns.of:
            return None
        cells = (record.get(column) for column in (columns.of[role], *columns.also.get(role, ())))
        return next((cell for cell in cells if cell not in (None, "")), None)

    def duration(role: str) -> float | None:
        return seconds(cell(role), columns.unit_s.get(role), columns.decimal_comma)

    roles = ("started", "ended", "at", "queued_at", "first_token_at")
    read = {role: found for role in roles if (found := moment(cell(role), role in columns.utc))}
    times = {role: found[0] for role, found in read.items()}
    total_s, wall_s = duration("total_duration"), duration("wall")
    started, ended, time_from = _span(times, total_s if wall_s is None else wall_s, reading)
    if wall_s is None:
        wall_s = _between(started, ended) if time_from == "start and end" else total_s
    if (started or ended) and not all(zoned for _, zoned in read.values()):
        time_from += ", zone unknown"
    if "wall: seconds assumed" in columns.notes:
        time_from += ", seconds assumed"
    error = text_of(cell("error"), LONGEST_ERROR)
    error = "" if error == "False" else error
    status = _STATUS.fullmatch(text_of(cell("status")))
    ttft_s, queued_s, timeout_s = duration("ttft"), duration("queued"), duration("timeout")
    if ttft_s is None and times.get("first_token_at") != ended:  # LiteLLM: equal where nothing was streamed
        ttft_s = _between(started, times.get("first_token_at"))
    path = _path(text_of(cell("path"), 500))
    row = {
        "started_at": started,
        "ended_at": ended,
        "time_from": time_from,
        "wall_s": wall_s,
        "run_id": text_of(cell("run_id")),
        "model": text_of(cell("model")),
        "path": path,
        "status": status[1] if status else "",
        "outcome": _outcome(cell, columns) or ("" if status else text_of(cell("status"))),
        "error": error,
        "attempts": _attempts(cell("attempts"), cell("retries"), error),
        "queued_s": _between(times.get("queued_at"), started) if queued_s is None else queued_s,
        "ttft_s": ttft_s,
        "total_duration_s": total_s,
        "load_duration_s": duration("load_duration"),
        "prompt_eval_duration_s": duration("prompt_eval_duration"),
        "eval_duration_s": duration("eval_duration"),
        "prompt_eval_count": whole(cell("prompt_tokens")),
        "eval_count": whole(cell("output_tokens")),
        "tokens_per_s": number(cell("tokens_per_s"), columns.decimal_comma),
        "finish_reason": text_of(cell("finish_reason")),
        "timeout_s": timeout_in(error) if timeout_s is None else timeout_s,
    }
    # A chunk of a streamed answer is no call, nor is a question that the server answers about itself.
    if record.get("done") is False or (path and not row["model"] and not INFERENCE_PATH.match(path)):
        return None
    told = ("started_at", "ended_at", "wall_s", "ttft_s", "tokens_per_s", "status", "outcome", "error")
    return row if any(row[name] not in (None, "") for name in told) else None


def _span(
    times: Mapping[str, datetime], wall_s: float | None, reading: Reading
) -> tuple[datetime | None, datetime | None, str]:
    started, ended, at = times.get("started"), times.get("ended"), times.get("at")
    if started and ended:
        # An end before its start says that one of them is something else.
        return (started, ended, "start and end") if started <= ended else (None, None, "none")
    if wall_s is None:
        if started or ended:
            return started, ended, "start only" if started else "end only"
        return (at, None, "start only") if reading == "start" else (None, at, reading if at else "none")
    long = timedelta(seconds=wall_s)
    if started or (at and not ended and reading == "start"):
        started = started or at
        return started, started + long if started else None, "start + wall"
    if ended or at:
        ended = ended or at
        sure = reading != "assumed end" or "ended" in times
        return ended - long if ended else None, ended, "end - wall" if sure else "assumed end - wall"
    return None, None, "none"


def _between(one: datetime | None, other: datetime | None) -> float | None:
    return (other - one).total_seconds() if one and other and one <= other else None


def _outcome(cell: Any, columns: Columns) -> str:
    text = text_of(cell("outcome"), 100)
    flag = _FLAG_NAMES.fullmatch(columns.of.get("outcome", "")) or text.lower() in ("true", "false")
    return _FLAGS.get(text.lower(), text) if flag else text


def _path(text: str) -> str:
    """The path of an endpoint, which clients write as a path, as a URL or as a word; empty when it names none."""
    if "://" in text:
        try:
            text = urlsplit(text).path
        except ValueError:
            return ""
    text = _REQUEST_TYPES.get(text, text).partition("?")[0]
    if text.startswith(("api/", "v1/")):
        text = "/" + text
    return text if text.startswith("/") else ""


def _attempts(attempts: Any, retries: Any, error: str) -> int | None:
    """How often a call was sent: as counted, as a list of attempts, or one more than it was repeated."""
    if isinstance(attempts, list):
        return len(attempts) or None
    if isinstance(retries, list):
        return len(retries) + 1
    if count := whole(attempts):
        return count
    repeated = whole(retries)
    if repeated is None and (match := _RETRIED.search(error)):
        repeated = int(match[1])
    return None if repeated is None else repeated + 1
