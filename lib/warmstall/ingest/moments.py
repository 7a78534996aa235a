"""Times of log lines, as text, to moments."""

from __future__ import annotations

import re

import polars as pl

_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)")
_SECONDS = 19  # characters of 2026-11-20T20:49:03
_FARTHEST_S = 16 * 3600  # no zone is so far from Greenwich


def moments(texts: pl.Series) -> pl.DataFrame:
    """ISO times with a fraction and a zone: `at` (UTC, microseconds) and `offset_s`, the zone, seconds east of UTC.

    What is no such time is null in both.

    >>> moments(pl.Series(["2026-11-20T20:49:03.0799999+08:00", "2026-11-20T20:49:03Z", "soon", None])).rows()
    [(datetime.datetime(2026, 11, 20, 12, 49, 3, 79999), 28800), (datetime.datetime(2026, 11, 20, 20, 49, 3), 0), \
(None, None), (None, None)]
    """
    rest = texts.str.slice(_SECONDS)
    zone = rest.str.strip_chars_start(".0123456789")
    offsets = {text: _offset_s(text) for text in zone.unique().to_list()}
    offset_s = zone.replace_strict(list(offsets), list(offsets.values()), default=None, return_dtype=pl.Int32)
    fraction = rest.to_frame("rest").select(pl.col("rest").str.strip_suffix(zone)).to_series().str.slice(1, 6)
    microseconds = fraction.str.pad_end(6, "0").cast(pl.Int64, strict=False)
    local = texts.to_frame("text").select(local_moment(pl.col("text").str.head(_SECONDS), "%Y-%m-%dT%H:%M:%S"))
    at = local.to_series() + (microseconds - offset_s.cast(pl.Int64) * 1_000_000).cast(pl.Duration("us"))
    return pl.DataFrame({"at": at, "offset_s": offset_s.set(at.is_null(), None)})


def local_moment(text: pl.Expr, layout: str) -> pl.Expr:
    """Times of that layout, which ends with the seconds. A second 60, which nobody here writes, is no time: Polars
    would take it for the first of the next minute."""
    return pl.when(~text.str.ends_with(":60")).then(text.str.to_datetime(layout, time_unit="us", strict=False))


def _offset_s(zone: str | None) -> int | None:
    if zone == "Z":
        return 0
    match = _ZONE.fullmatch(zone or "")
    if match is None:
        return None
    offset_s = (-60 if match[1] == "-" else 60) * (60 * int(match[2]) + int(match[3]))
    return offset_s if abs(offset_s) < _FARTHEST_S else None
