"""Access lines to requests. GIN writes one when a request ENDS: local time, no zone, whole seconds."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl

from .decimals import Decimals
from .distinct import each_once, numbered
from .moments import local_moment

# An access line as GIN lays it out: every piece at its place. Such a line needs no `text` of its own, because its
# columns can be written as it was (`sql/stored_requests.sql`). No event's anchor fits into one, as a test holds.
_HEAD_LENGTH, _WALL_LENGTH = 36, 13
_HEAD = r"^\[GIN\] [0-9]{4}/[0-9]{2}/[0-9]{2} - [0-9]{2}:[0-9]{2}:[0-9]{2} \| [1-5][0-9]{2} \| $"
_STAMP, _STATUS = (6, 21), (30, 3)  # where they begin, and their lengths
_MINUTES = r"^ *(?<minutes>[1-9]|[1-5][0-9])m(?<seconds>[1-5]?[0-9])s$"
_TARGET = r'^ \| +(?<client>[0-9a-f.:]{1,15}) \| (?<method>[A-Z]{3,7}) +"(?<path>[a-z0-9/_.:?=&%+,|-]{1,99})"$'
ACCESS_MARK = "[GIN] 2"
_CENTURY_S = 3e9
_MICRO = "µ".encode()
# What is computed of so many stays in the cache, and is kept where small things are: new memory costs more than both.
_AT_ONCE = 8_192
# Of microseconds, milliseconds and seconds.
_UNIT_S, _MOST_WHOLE, _MOST_PLACES = np.array([1e-6, 1e-3, 1.0]), np.array([999, 999, 59]), np.array([3, 6, 9])


def plain_requests(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The access lines that are laid out as GIN does, as requests with `numbered` texts, and the lines that are not."""
    text = pl.col("text")
    has_mark = text.str.starts_with(ACCESS_MARK)
    is_long = lines.select(has_mark & (text.str.len_bytes() > _HEAD_LENGTH + _WALL_LENGTH)).to_series()
    some, others = lines.filter(is_long), lines.filter(~is_long)
    texts = some["text"]
    heads = each_once(texts.str.head(_HEAD_LENGTH), _of_head)
    targets = each_once(texts.str.slice(_HEAD_LENGTH + _WALL_LENGTH), _of_target)
    wall_s = _plain_latencies(texts)
    of_minutes = wall_s.is_null().arg_true()
    wall_s = wall_s.scatter(of_minutes, _minutes_s(texts[of_minutes]))
    found = some.select("line", "wrapper_at").hstack([wall_s, *heads, *targets])
    parsed = pl.all_horizontal(pl.col("wall_s", "ended_local", "status", "path").is_not_null())
    is_plain = found.select(parsed).to_series()
    others = pl.concat([others, some.filter(~is_plain)])
    no_text = pl.lit(None, dtype=pl.Enum([]))
    return found.filter(is_plain).with_columns(text=no_text), others


def _plain_latencies(texts: pl.Series) -> pl.Series:
    """Latencies below a minute in seconds; null where one is none."""
    walls = _walls(texts)
    some = (walls[begin : begin + _AT_ONCE] for begin in range(0, len(texts), _AT_ONCE))
    seconds = [_plain_seconds(np.ascontiguousarray(rows.T)) for rows in some]
    # By their bytes: before it takes an array, Polars imports something that takes as long as to read a megabyte.
    data = pl.Series("wall_s", [b"".join(each.data for each in seconds)])
    kind = pl.Array(pl.Float64, len(texts))
    return data.bin.reinterpret(dtype=kind, endianness=sys.byteorder).explode().fill_nan(None)


def _walls(texts: pl.Series) -> np.ndarray:
    """The bytes of the latencies, a row for each; a micro sign makes one a byte longer."""
    width = _WALL_LENGTH + 1
    wall = pl.col("text").cast(pl.Binary).bin.slice(_HEAD_LENGTH, width)
    kind = pl.Array(pl.UInt8, width)
    pieces = texts.to_frame("text").select(wall.bin.reinterpret(dtype=kind, endianness="little")).to_series()
    return pieces.to_numpy().reshape(-1, width)


def _plain_seconds(wall: np.ndarray) -> np.ndarray:
    """Latencies, by columns, as Go prints them below a minute: 560.083µs, 17.1ms, 4.2s. What is none is no number."""
    is_micro = (wall[-3] == _MICRO[0]) & (wall[-2] == _MICRO[1]) & (wall[-1] == ord("s"))
    is_milli = (wall[-3] == ord("m")) & (wall[-2] == ord("s"))
    is_second = (wall[-2] == ord("s")) & ~is_milli
    # What is in front of the unit: with one character less where that has two. (`where` guesses, and often wrongly.)
    shifted = np.concatenate((np.full_like(wall[:1], ord(" ")), wall[:-3]))
    number = Decimals(shifted ^ ((shifted ^ wall[:-2]) & -is_second.view(np.uint8)))
    unit = is_milli + 2 * is_second.view(np.uint8)
    is_plain = number.is_plain & (is_micro | is_milli | is_second)
    is_plain &= (number.whole <= _MOST_WHOLE.take(unit)) & (number.places <= _MOST_PLACES.take(unit))
    return np.where(is_plain, number.value * _UNIT_S.take(unit), np.nan)


def _minutes_s(texts: pl.Series) -> pl.Series:
    pieces = texts.str.slice(_HEAD_LENGTH, _WALL_LENGTH).str.extract_groups(_MINUTES).struct.unnest().cast(pl.Float64)
    return pieces.select(60 * pl.col("minutes") + pl.col("seconds")).to_series()


def _of_head(heads: pl.Series) -> pl.DataFrame:
    head = pl.when(pl.col("head").str.contains(_HEAD)).then("head")
    moment, status = _moment(head.str.slice(*_STAMP)), head.str.slice(*_STATUS)
    return numbered(heads.to_frame("head").select(ended_local=moment, status=status))


def _of_target(targets: pl.Series) -> pl.DataFrame:
    """Client, method and path, where each stands in its own columns of the line."""
    target = pl.col("target")
    pieces = targets.to_frame("target").select(target, target.str.extract_groups(_TARGET).struct.unnest())
    in_place = (target.str.slice(18, 3) == " | ") & (target.str.slice(28, 3) == '  "')
    return numbered(pieces.select(pl.when(in_place).then(name) for name in ("client", "method", "path")))


def other_requests(lines: pl.DataFrame) -> pl.DataFrame:
    """The columns of all other access lines. The path is what is left, because it may hold a `|` itself."""
    after_mark = pl.col("text").str.splitn(ACCESS_MARK, 2).struct[1]
    parts = lines.select("line", "wrapper_at", "text", after_mark.str.splitn("|", 5).struct.unnest())
    stamp, status, wall, client, target = (pl.col(f"field_{n}").str.strip_chars() for n in range(5))
    wall_s = _seconds(wall)
    return parts.select(
        "line",
        "wrapper_at",
        _moment("2" + stamp).alias("ended_local"),
        status.alias("status"),
        client.fill_null("").alias("client"),
        target.fill_null("").str.split(" ").list.first().alias("method"),
        target.str.extract(r'"((?:[^"\\]|\\.)*)"', 1).fill_null("").alias("path"),
        pl.col("text").str.head(300),
        # A latency of more than a century is no latency.
        pl.when(wall_s < _CENTURY_S).then(wall_s).alias("wall_s"),
    )


def _moment(text: pl.Expr) -> pl.Expr:
    return local_moment(text, "%Y/%m/%d - %H:%M:%S")


def _seconds(wall: pl.Expr) -> pl.Expr:
    """Seconds of Go's Duration: 560.083µs, 17.1ms, 4.2s, 1m2s, 1h2m3s. Go prints no unit but µs that starts with
    something other than m, n or a digit, so a micro sign broken by an encoding is still one."""

    def number(pattern: str) -> pl.Expr:
        return wall.str.extract(pattern, 1).cast(pl.Float64, strict=False)

    unit_s = (
        pl.when(wall.str.ends_with("ms")).then(1e-3).when(wall.str.ends_with("ns")).then(1e-9)
        .when(wall.str.contains(r"[0-9.]s$")).then(1.0).otherwise(1e-6)
    )  # fmt: skip
    parts = 3600 * number("([0-9]+)h").fill_null(0) + 60 * number("([0-9]+)m").fill_null(0)
    return (
        pl.when(wall.str.contains(r"^[0-9.]+[^0-9.]{0,4}s$")).then(number(r"^([0-9.]+)") * unit_s)
        .when(wall.str.contains(r"^(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9.]+s)?$") & (wall != ""))
        .then(parts + number("([0-9.]+)s").fill_null(0))
    )  # fmt: skip
