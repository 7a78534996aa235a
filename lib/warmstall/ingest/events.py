"""Lines that hold an event: which one, by the table of log events, many lines at a time."""

from __future__ import annotations

from functools import cache

import polars as pl

from ..parse.log_events import ANCHORS, LogEvent, rows_of

# An event stands at the head of its line, behind progress dots or a glued record at most.
_REACH = 20_000  # characters; less than `event_in` reads, because here every line is read
_SHOWN = 2000
# Polars compiles a pattern anew for every block; so few lines are looked at by Python before it is done.
_FEW = 500


def found_events(lines: pl.DataFrame) -> pl.DataFrame:
    """The first event of every line that has one: `line`, `key`, `anchor`, `text`, `whole_text`.

    `whole_text` is null where `text` is the whole line. Fields are read from it when someone asks for them.
    """
    reach = pl.col("text").str.head(_REACH)
    anchor = reach.str.extract_many(list(ANCHORS), leftmost=True).list.first().alias("anchor")
    marked = lines.select("line", reach, anchor).filter(pl.col("anchor").is_not_null())
    found = _of_anchors(marked)
    others = marked.join(found, on="line", how="anti")
    text = pl.col("text")
    return pl.concat([found, _of_later_anchors(others)]).sort("line").with_columns(
        text.str.head(_SHOWN), pl.when(text.str.len_bytes() > _SHOWN).then(text).alias("whole_text")
    )  # fmt: skip


def _of_later_anchors(lines: pl.DataFrame) -> pl.DataFrame:
    """The events of lines in which the first anchor led to none: of the next one that leads to some, even if it
    begins inside another."""
    anchors = list(ANCHORS)
    text = pl.col("text")
    places = lines.select(
        "line",
        "text",
        text.str.extract_many(anchors, overlapping=True).alias("anchor"),
        text.str.find_many(anchors, overlapping=True).alias("start"),
    ).explode("anchor", "start")
    # Where two begin at the same place, the longer one knows of the rows of the shorter.
    places = places.sort("line", "start", pl.col("anchor").str.len_bytes(), descending=[False, False, True])
    once = places.unique(["line", "anchor"], keep="first", maintain_order=True).with_row_index("order")
    return _of_anchors(once).sort("order").unique("line", keep="first").drop("order", "start")


def _of_anchors(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines that fit a row of the table that their `anchor` belongs to, with the `key` of the first such row."""
    found = [lines.clear().with_columns(key=pl.lit(None, dtype=pl.String))]
    for (anchor,), rest in lines.partition_by("anchor", as_dict=True).items():
        for row in rows_of(str(anchor)):
            matches = _matches(row, rest["text"])
            found.append(rest.filter(matches).with_columns(key=pl.lit(row.key)))
            rest = rest.filter(~matches)
    return pl.concat(found)


def _matches(row: LogEvent, texts: pl.Series) -> pl.Series:
    if not row.pattern:  # its anchor is proof enough
        return pl.repeat(True, len(texts), eager=True)
    if len(texts) > _FEW and _is_for_polars(row.pattern):
        return texts.str.contains(row.pattern)
    return pl.Series([row.regex.search(text) is not None for text in texts], dtype=pl.Boolean)


@cache
def _is_for_polars(pattern: str) -> bool:
    """Whether its engine knows all that the pattern asks for: it cannot look ahead."""
    return "(?!" not in pattern
