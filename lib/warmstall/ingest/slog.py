"""Records of slog: their times, and what recurs of them."""

from __future__ import annotations

import polars as pl

from .moments import moments

_MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
# A line that begins with its time as slog writes it: the time can be written again (`sql/stored_events.sql`). It is of
# the family `slog`, and no event's anchor reaches into its time, as a test holds.
_RECORD = rf"^time={_MOMENT}\.[0-9]{{3}}(?:Z|[+-](?:00:(?:0[1-9]|[1-5][0-9])|(?:0[1-9]|1[0-5]):[0-5][0-9])) level=[A-Z]"
# Raw runner text may be glued in front of a record.
_TIME = rf"time=({_MOMENT}[0-9.]*(?:Z|[+-][0-9]{{2}}:[0-9]{{2}}))"


def cut_times(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is left of lines without the times in front of records; and all times of slog in them.

    The first in another order than the lines, with `rest` in the place of `text`, and `offset_s`, the zone of the time
    that was cut, null where none was. The second as `line`, `slog_at` (UTC) and `offset_s`, seconds east of UTC.
    """
    text = pl.col("text")
    is_record = lines["text"].str.contains(_RECORD)
    records, others = lines.filter(is_record), lines.filter(~is_record)
    end = text.str.find(" ", literal=True)
    pieces = records.select(text.str.slice(5, end - 5).alias("time"), text.str.slice(end + 1).alias("rest"))
    found = moments(pieces["time"])
    rest = pl.when(found["at"].is_not_null()).then(pieces["rest"]).otherwise(text)
    records = records.with_columns(rest.alias("rest"), found["offset_s"])
    glued = others.filter(others["text"].str.contains("time=2", literal=True))
    times = [frame.select("line").hstack(at) for frame, at in (
        (records, found), (glued, moments(glued["text"].str.extract(_TIME)))
    )]  # fmt: skip
    others = others.with_columns(rest="text", offset_s=pl.lit(None, dtype=pl.Int32))
    return pl.concat([records, others]).drop("text"), pl.concat(times).sort("line").rename({"at": "slog_at"})
