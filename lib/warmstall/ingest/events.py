"""Texts that hold an event: which one, by the table of log events, many texts at a time."""

from __future__ import annotations

import polars as pl

from ..parse.log_events import ANCHORS, rows_of
from ..schema import TEXT_CHARACTERS

# An event stands at the head of its line, behind progress dots or a glued record at most.
_REACH = 20_000  # characters; less than `event_in` reads, because here every line is read
_FIRST_ANCHOR = pl.col("text").str.extract_many(list(ANCHORS), leftmost=True).list.first().alias("anchor")
# The keys of anchors that are proof enough.
_SURE = pl.DataFrame(
    [(anchor, rows[0].key) for anchor in ANCHORS if not (rows := rows_of(anchor))[0].pattern],
    schema={"anchor": pl.String, "key": pl.String}, orient="row",
)  # fmt: skip
# Polars compiles a pattern anew for every block; so few texts are looked at by Python before it is done.
_FEW, _VERY_FEW = 800, 20


def found_events(texts: pl.Series) -> pl.DataFrame:
    """The first event of each text: `key`, `anchor`, `text` and `whole_text`; null where there is none.

    `whole_text` is null where `text` is the whole one. Fields are read from it when someone asks for them.
    """
    text = pl.col("text")
    found = texts.to_frame("text").select(text.str.head(_REACH)).with_columns(_FIRST_ANCHOR)
    found = found.join(_SURE, on="anchor", how="left", maintain_order="left")
    if len(unsure := _unsure(found)):
        found = _with_events(found, _with_keys(unsure))
    if len(rest := _unsure(found)):
        later = [_first_event(*row) for row in zip(rest["text"], _held(rest["text"]), strict=True)]
        events = pl.DataFrame(later, schema={"anchor": pl.String, "key": pl.String}, orient="row")
        found = _with_events(found, rest.with_columns(events))
    is_event = pl.col("key").is_not_null()
    return found.select(
        "key",
        "anchor",
        pl.when(is_event).then(text.str.head(TEXT_CHARACTERS)).alias("text"),
        pl.when(is_event & (text.str.len_bytes() > TEXT_CHARACTERS)).then(text).alias("whole_text"),
    )


def _unsure(found: pl.DataFrame) -> pl.DataFrame:
    """The texts whose anchor has led to no event so far, each with its `place`."""
    return found.with_row_index("place").filter(pl.col("key").is_null() & pl.col("anchor").is_not_null())


def _with_events(found: pl.DataFrame, some: pl.DataFrame) -> pl.DataFrame:
    return found.with_columns(found[name].scatter(some["place"], some[name]) for name in ("anchor", "key"))


def _with_keys(texts: pl.DataFrame) -> pl.DataFrame:
    """Texts with the keys of the first row of their anchor that each fits."""
    if len(texts) <= _FEW:
        keys = [_key_of(*row) for row in texts.select("anchor", "text").iter_rows()]
        return texts.with_columns(pl.Series("key", keys, dtype=pl.String))
    parts = texts.partition_by("anchor")
    return pl.concat(part.with_columns(_keys_of(part["anchor"][0], part["text"])) for part in parts)


def _keys_of(anchor: str, texts: pl.Series) -> pl.Series:
    rows = rows_of(anchor)
    if any("(?!" in row.pattern for row in rows):  # Polars cannot look ahead
        return pl.Series("key", [_key_of(anchor, text) for text in texts], dtype=pl.String)
    fitting = (pl.when(pl.col("text").str.contains(row.pattern)).then(pl.lit(row.key)) for row in rows)
    return texts.to_frame("text").select(pl.coalesce(fitting).alias("key")).to_series()


def _key_of(anchor: str, text: str) -> str | None:
    return next((row.key for row in rows_of(anchor) if row.regex.search(text)), None)


def _held(texts: pl.Series) -> list[list[str]]:
    """All anchors in each text. Polars makes one automaton of them, which takes as long as to look through a few."""
    if len(texts) <= _VERY_FEW:
        return [[anchor for anchor in ANCHORS if anchor in text] for text in texts]
    held = pl.col("text").str.extract_many(list(ANCHORS), overlapping=True)
    return texts.to_frame("text").select(held).to_series().to_list()


def _first_event(text: str, anchors: list[str]) -> tuple[str | None, str | None]:
    """Anchor and key of the first event in a text that holds these anchors, even if one begins inside another.

    Where two begin at the same place, the longer one knows of the rows of the shorter.
    """
    for anchor in sorted(set(anchors), key=lambda anchor: (text.find(anchor), -len(anchor))):
        if key := _key_of(anchor, text):
            return anchor, key
    return None, None
