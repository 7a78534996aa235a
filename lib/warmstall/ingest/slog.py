"""Records of slog: their times, and what recurs of them."""

from __future__ import annotations

import polars as pl

from .distinct import each_once
from .moments import SECONDS, behind_seconds, in_utc, local_seconds, moments

_MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
# A line that begins with its time as slog writes it: the time can be written again (`sql/stored_events.sql`). It is of
# the family `slog`, and no event's anchor reaches into its time, as a test holds.
_MARK = "time="
_BEHIND_SECONDS = r"^\.[0-9]{3}(?:Z|[+-](?:00:(?:0[1-9]|[1-5][0-9])|(?:0[1-9]|1[0-5]):[0-5][0-9])) level=[A-Z]"
_UTC, _ZONED, _BEHIND = 5, 10, 18  # characters behind the seconds: of a time in UTC, in a zone, and of the pattern
_TO_SECONDS = len(_MARK) + SECONDS
# Raw runner text may be glued in front of a record.
_TIME = rf"time=({_MOMENT}[0-9.]*(?:Z|[+-][0-9]{{2}}:[0-9]{{2}}))"


def cut_times(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is left of lines without the times in front of records; and all times of slog in them.

    The first in another order than the lines, as `line`, `rest` and `offset_s`, the zone of the time that was cut, null
    where none was. The second as `line`, `slog_at` (UTC) and `offset_s`, seconds east of UTC.
    """
    text, is_record, is_utc = pl.col("text"), pl.col("at").is_not_null(), pl.col("offset_s") == 0
    is_marked = lines["text"].str.starts_with(_MARK)
    marked, others = lines.filter(is_marked), lines.filter(~is_marked)
    marked = marked.hstack(_times(marked["text"]))
    records = marked.lazy().filter(is_record)
    others = pl.concat([marked.lazy().filter(~is_record).select(others.columns), others.lazy()]).collect()
    slog = records.select("line", "at", "offset_s")
    if len(glued := others.filter(text.str.contains("time=2", literal=True))):
        times = moments(glued["text"].str.extract(_TIME))
        slog = pl.concat([slog, glued.select("line").hstack(times).lazy()]).sort("line")
    rests = [(records.filter(is_utc), text.str.slice(_TO_SECONDS + _UTC + 1)),  # of all: it costs less than of each
             (records.filter(~is_utc), text.str.slice(_TO_SECONDS + _ZONED + 1)),
             (others.lazy().with_columns(offset_s=pl.lit(None, dtype=pl.Int32)), text)]  # fmt: skip
    rest = pl.concat([rows.select("line", rest.alias("rest"), "offset_s") for rows, rest in rests])
    return rest.collect(), slog.rename({"at": "slog_at"}).collect()


def _times(texts: pl.Series) -> pl.DataFrame:
    """The times in front of records; null where a line is none. They are told by pieces that recur."""
    seconds = each_once(texts.str.slice(len(_MARK), SECONDS), lambda texts: local_seconds(_fit(texts, rf"^{_MOMENT}$")))
    return in_utc(seconds, each_once(texts.str.slice(_TO_SECONDS, _BEHIND), _of_behind))


def _of_behind(texts: pl.Series) -> pl.DataFrame:
    text = pl.col("text")
    time = pl.when(text.str.slice(_UTC - 1, 1) == "Z").then(text.str.head(_UTC)).otherwise(text.str.head(_ZONED))
    return behind_seconds(_fit(texts, _BEHIND_SECONDS).to_frame("text").select(time).to_series())


def _fit(texts: pl.Series, pattern: str) -> pl.Series:
    """Null in the place of texts that do not fit."""
    return texts.set(~texts.str.contains(pattern), None)
