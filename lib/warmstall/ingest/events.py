"""Lines that hold an event: which one, by the table of log events, many lines at a time."""

from __future__ import annotations

from functools import cache

import polars as pl

from ..parse.log_events import ANCHORS, LogEvent, event_in, rows_of

# An event stands at the head of its line, behind progress dots or a glued record at most.
_REACH = 20_000
_SHOWN = 2000


def found_events(lines: pl.DataFrame) -> pl.DataFrame:
    """The first event of every line that has one: `line`, `key`, `anchor`, `text`, `whole_text`.

    `whole_text` is null where `text` is the whole line. Fields are read from it when someone asks for them.
    """
    reach = pl.col("text").str.head(_REACH)
    anchor = reach.str.extract_many(list(ANCHORS), leftmost=True).list.first().alias("anchor")
    marked = lines.select("line", reach, anchor).filter(pl.col("anchor").is_not_null())
    found = [_of_anchor(str(anchor), rows) for (anchor,), rows in marked.partition_by("anchor", as_dict=True).items()]
    columns = ("line", "key", "anchor", "text")
    empty = pl.DataFrame(schema={"line": pl.Int64, **dict.fromkeys(columns[1:], pl.String)})
    text = pl.col("text")
    return pl.concat([empty, *(rows.select(columns) for rows in found)]).sort("line").with_columns(
        text.str.head(_SHOWN), pl.when(text.str.len_bytes() > _SHOWN).then(text).alias("whole_text")
    )  # fmt: skip


def _of_anchor(anchor: str, lines: pl.DataFrame) -> pl.DataFrame:
    """The events of lines in which the same anchor comes first: of a row of the table that it belongs to, or, where
    none of those fits, whatever event comes later in the line."""
    found = []
    for row in rows_of(anchor):
        matches = _matches(row, lines["text"])
        found.append(lines.filter(matches).with_columns(key=pl.lit(row.key)))
        lines = lines.filter(~matches)
    others = [event_in(text) for text in lines["text"]]
    keys = pl.Series([event.key if event else None for event in others], dtype=pl.String)
    later = lines.with_columns(key=keys).filter(pl.col("key").is_not_null())
    return pl.concat([*found, later])


def _matches(row: LogEvent, texts: pl.Series) -> pl.Series:
    if not row.pattern:  # its anchor is proof enough
        return pl.repeat(True, len(texts), eager=True)
    if _is_for_polars(row.pattern):
        return texts.str.contains(row.pattern)
    return pl.Series([row.regex.search(text) is not None for text in texts], dtype=pl.Boolean)


@cache
def _is_for_polars(pattern: str) -> bool:
    """Whether its engine knows all that the pattern asks for: it cannot look ahead."""
    return "(?!" not in pattern
