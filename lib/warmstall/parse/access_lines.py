"""Access lines of web servers: method, path, status, client, and how long the request took where the log says so.

Understood are the common and combined formats of gunicorn, nginx, Apache, werkzeug, Django and actix in any order of
their fields, uvicorn's, Envoy's and HAProxy's. What stands behind status and size is the request time: with a unit; as
a decimal of seconds (`$request_time`, `%(L)s`); or as a bare number whose unit (`%(T)s`, `%(M)s`, `%(D)s`) only the
whole log can tell, and often not even that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from .log_times import NO_TIME, LogTime, read_time

_REQUEST = re.compile(
    r'"(?P<method>GET|POST|PUT|DELETE|PATCH|HEAD|OPTIONS) (?P<path>[^" ]{1,8000})(?: HTTP/[0-9.]{1,3})?" '
    r"(?P<status>[1-5][0-9]{2})(?![0-9.])(?P<rest>.*)"
)
_CLIENT = re.compile(r"(?:^|[\s(])(?P<client>(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]{1,5})?)(?![\w.])")
_STAMP = re.compile(r"\[(?=[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}[: ]|[0-9]{4}-[0-9]{2}-[0-9]{2}T)")
# HAProxy writes when the request came, its five times in milliseconds, and how it ended before the request itself.
_HAPROXY = re.compile(
    r"(?P<client>\S{1,60}:[0-9]{1,5}) \[(?P<began>[^\]]{20,30})\] \S{1,100} \S{1,200} (?:-?[0-9]{1,9}/){4}"
    r"\+?(?P<wall_ms>[0-9]{1,9}) (?P<status>[1-5][0-9]{2}) [^\"]{0,400}"
    r"\"(?P<method>[A-Z]{3,7}) (?P<path>[^\" ?]{1,1000})"
)
_TOKEN = re.compile(r'"[^"]*"|[^\s"]+')
_KEYED = re.compile(
    r"\b(?P<key>rt|request_time|duration|took|elapsed|latency|time)[=:] ?\"?"
    r"(?P<value>[0-9]{1,12}(?:\.[0-9]{1,9})?)(?P<unit>ms|µs|us|s)?\b"
)
_NUMBER = re.compile(r"(?P<value>[0-9]{1,12}(?:\.[0-9]{1,9})?)(?P<unit>ms|µs|us|ns|s)?")
# One line for each call: text-embeddings-inference.
_SPAN = re.compile(r'(?P<name>[a-z_]{1,40})\{total_time="(?P<value>[0-9.]{1,20})(?P<unit>ns|µs|us|ms|s)"')
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# nginx writes three decimals, gunicorn and actix six; fewer are some other figure, such as a compression ratio.
_FEWEST_DECIMALS = 3
# Nothing answers a request in less; nobody waits longer for one.
_SHORTEST_US = 50
_LONGEST_S = 6 * 3600.0


@dataclass
class Access:
    """One answered request. `bare` is a request time whose unit the line does not tell; `wall_s` is then None."""

    method: str
    path: str
    status: str
    client: str
    wall_s: float | None = None
    bare: int | None = None
    time: LogTime = NO_TIME


def seconds(value: str, unit: str) -> float | None:
    """A duration in seconds, None for what is no number or unit.

    >>> seconds("12.5", "ms"), seconds("3", "seconds"), seconds("x", "s")
    (0.0125, 3.0, None)
    """
    factor = _SECONDS.get(unit, 1.0 if unit.startswith("sec") else None)
    try:
        return None if factor is None else float(value) * factor
    except ValueError:
        return None


def access_in(message: str) -> Access | None:
    """The request that a line reports as answered by this service, or None.

    The path comes without its query: that may hold prompts and keys.

    >>> line = '127.0.0.1 - - [21/Nov/2026:09:00:02 +0000] "POST /embed?q=x HTTP/1.1" 200 12 "-" "-" 1.250000'
    >>> found = access_in(line)
    >>> found.method, found.path, found.status, found.client, found.wall_s, str(found.time.at)
    ('POST', '/embed', '200', '127.0.0.1', 1.25, '2026-11-21 09:00:02')
    """
    match = _REQUEST.search(message)
    if match is None and (proxied := _HAPROXY.search(message[:2000])):
        return _of_haproxy(proxied)
    if match is None:
        span = _SPAN.match(message)
        return Access("", f"/{span['name']}", "", "", seconds(span["value"], span["unit"])) if span else None
    before = message[: match.start()]
    if "://" in before:  # a client's log of what it asked another server
        return None
    client = _CLIENT.search(before)
    first = before.split(" ", 1)[0]
    shown = client["client"] if client else first if not first.startswith("[") and first != "-" else ""
    stamp = _STAMP.search(before)
    found = Access(
        match["method"],
        match["path"].partition("?")[0][:1000],
        match["status"],
        shown[:100],
        time=read_time(before[stamp.end() :]) if stamp else NO_TIME,
    )
    _set_duration(found, match["rest"][:4000])
    return found


def _of_haproxy(match: re.Match[str]) -> Access:
    wall_s = int(match["wall_ms"]) / 1e3
    came = read_time(match["began"])
    ended = LogTime(local_at=came.local_at + timedelta(seconds=wall_s)) if came.local_at else NO_TIME
    return Access(match["method"], match["path"], match["status"], match["client"], wall_s, time=ended)


def _set_duration(access: Access, rest: str) -> None:
    if match := _KEYED.search(rest):
        # nginx's own names are of seconds; others tell their unit or are decimals of seconds.
        if match["unit"] or match["key"] in ("rt", "request_time") or "." in match["value"]:
            access.wall_s = seconds(match["value"], match["unit"] or "s")
        return
    tokens = [token.strip('",;()') for token in _TOKEN.findall(rest)]
    if tokens and (tokens[0].isdecimal() or tokens[0] == "-"):
        tokens = tokens[1:]  # the size
    whole: list[int] = []
    for token, following in pairwise([*tokens, ""]):
        for part in token.split("/") if re.fullmatch(r"[0-9]{1,12}/[0-9]{1,12}", token) else [token]:
            match = _NUMBER.fullmatch(part)
            if match is None:
                continue
            unit = match["unit"] or (following if following in _SECONDS else "")
            decimals = len(match["value"].partition(".")[2])
            if unit or decimals >= _FEWEST_DECIMALS:
                access.wall_s = seconds(match["value"], unit or "s")
                return
            if not decimals:
                whole.append(int(match["value"]))
    if len(whole) == 2 and whole[0] > 0 and whole[1] // 1_000_000 == whole[0]:
        access.wall_s = whole[1] / 1e6  # seconds and microseconds side by side
    elif len(whole) == 1:
        access.bare = whole[0]


def unit_of(bare: Sequence[int], ages_s: Sequence[float | None]) -> str:
    """The one unit in which bare request times of a log make sense (`s`, `ms`, `us`), or `` where several do.

    `ages_s`: how long the service had been running when it answered each request, as far as its log tells. No
    request is answered in under 50 µs, lasts over six hours, or began before its service did.

    >>> unit_of([812, 2_000_345], [5.0, 9.0]), unit_of([0, 2], [5.0, 9.0]), unit_of([350, 900], [None, None])
    ('us', '', '')
    """
    possible = []
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        too_old = any(age is not None and value * factor > age + 2 for value, age in zip(bare, ages_s, strict=True))
        too_long = max(bare, default=0) * factor > _LONGEST_S
        too_short = unit == "us" and min(bare, default=0) < _SHORTEST_US
        if not (too_old or too_long or too_short):
            possible.append(unit)
    return possible[0] if len(possible) == 1 else ""
