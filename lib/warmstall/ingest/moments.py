"""Times of log lines, as text, to moments."""

from __future__ import annotations

import re
from datetime import datetime

import polars as pl

from .distinct import each_once

_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)")
SECONDS = 19  # characters of 2026-11-20T20:49:03
_YEARS = datetime(1, 1, 1), datetime(9999, 12, 31)  # Python knows no others
_FARTHEST_S = 16 * 3600  # no zone is so far from Greenwich


def moments(texts: pl.Series) -> pl.DataFrame:
    """ISO times with a fraction and a zone: `at` (UTC, microseconds) and `offset_s`, the zone, seconds east of UTC.

    What is no such time is null in both.

    >>> moments(pl.Series(["2026-11-20T20:49:03.0799999+08:00", "2026-11-20T20:49:03Z", "soon", None])).rows()
    [(datetime.datetime(2026, 11, 20, 12, 49, 3, 79999), 28800), (datetime.datetime(2026, 11, 20, 20, 49, 3), 0), \
(None, None), (None, None)]
    """
    return in_utc(
        each_once(texts.str.head(SECONDS), local_seconds), each_once(texts.str.slice(SECONDS), behind_seconds)
    )


def local_seconds(texts: pl.Series) -> pl.DataFrame:
    """Times without fraction and zone, for `in_utc`."""
    return texts.to_frame("text").select(local_moment(pl.col("text"), "%Y-%m-%dT%H:%M:%S").alias("local"))


def in_utc(local: pl.DataFrame, behind: pl.DataFrame) -> pl.DataFrame:
    """Moments as `at` and `offset_s`, of `local_seconds` and `behind_seconds`."""
    return local.hstack(behind).select(_AT, _OFFSET)


def behind_seconds(rests: pl.Series) -> pl.DataFrame:
    """Fractions and zones: what they add to a local time, and the zone; for `in_utc`."""
    zone = pl.col("zone")
    pieces = rests.to_frame("rest").with_columns(pl.col("rest").str.strip_chars_start(".0123456789").alias("zone"))
    offsets = {zone: _offset_s(zone) for zone in pieces["zone"].unique()}
    offset_s = zone.replace_strict(offsets, default=None, return_dtype=pl.Int32)
    fraction = pl.col("rest").str.strip_suffix(zone).str.slice(1, 6)
    microseconds = fraction.str.pad_end(6, "0").cast(pl.Int64, strict=False)
    more = (microseconds - offset_s.cast(pl.Int64) * 1_000_000).cast(pl.Duration("us"))
    return pieces.select(more.alias("more"), offset_s.alias("offset_s"))


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


_IS_KNOWN = (pl.col("local") + pl.col("more")).is_between(*_YEARS)
_AT = pl.when(_IS_KNOWN).then(pl.col("local") + pl.col("more")).alias("at")
_OFFSET = pl.when(_IS_KNOWN).then("offset_s")
