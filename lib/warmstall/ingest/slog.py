"""Records of slog: their times, and what recurs of them."""

from __future__ import annotations

import polars as pl

from .moments import moments

_MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
# A line that begins with its time as slog writes it: the time can be written again (`sql/stored_events.sql`). It is of
# the family `slog`, and no event's anchor reaches into its time, as a test holds.
_RECORD = rf"^time={_MOMENT}\.[0-9]{{3}}(?:Z|[+-](?:00:(?:0[1-9]|[1-5][0-9])|(?:0[1-9]|1[0-5]):[0-5][0-9])) level=[A-Z]"
_BEGIN, _END_OF_UTC, _END_OF_ZONED = 5, 29, 34
# Raw runner text may be glued in front of a record.
_TIME = rf"time=({_MOMENT}[0-9.]*(?:Z|[+-][0-9]{{2}}:[0-9]{{2}}))"


def cut_times(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is left of lines without the times in front of records; and all times of slog in them.

    The first in another order than the lines, with `rest` in the place of `text`, and `offset_s`, the zone of the time
    that was cut, null where none was. The second as `line`, `slog_at` (UTC) and `offset_s`, seconds east of UTC.
    """
    is_record = lines["text"].str.contains(_RECORD)
    records, others = lines.filter(is_record), lines.filter(~is_record)
    is_utc = records["text"].str.slice(_END_OF_UTC - 1, 1) == "Z"
    records = pl.concat([_cut(records.filter(is_utc), _END_OF_UTC), _cut(records.filter(~is_utc), _END_OF_ZONED)])
    glued = others.filter(others["text"].str.contains("time=2", literal=True))
    times = pl.concat([records["time"], glued["text"].str.extract(_TIME)])
    found = moments(times)
    slog = pl.concat([records["line"], glued["line"]]).to_frame().hstack(found).sort("line").rename({"at": "slog_at"})
    found = found.head(len(records))
    rest = pl.when(found["at"].is_not_null()).then("rest").otherwise("text")
    records = records.drop("time").with_columns(rest.alias("rest"), found["offset_s"])
    others = others.with_columns(rest="text", offset_s=pl.lit(None, dtype=pl.Int32))
    return pl.concat([records, others]).drop("text"), slog


def _cut(records: pl.DataFrame, end: int) -> pl.DataFrame:
    """Records whose time ends there, with it and what is behind it. (Columns of all cost less than ends of each.)"""
    text = pl.col("text")
    return records.with_columns(time=text.str.slice(_BEGIN, end - _BEGIN), rest=text.str.slice(end + 1))
