"""Access lines to requests. GIN writes one when a request ENDS: local time, no zone, whole seconds."""

from __future__ import annotations

import polars as pl

from .distinct import each_once
from .moments import local_moment

# An access line as GIN lays it out: every piece at its place. Such a line needs no `text` of its own, because its
# columns can be written as it was (`sql/stored_requests.sql`). No event's anchor fits into one, as a test holds.
_HEAD_LENGTH, _WALL_LENGTH = 36, 13
_HEAD = r"^\[GIN\] (?<stamp>[0-9]{4}/[0-9]{2}/[0-9]{2} - [0-9]{2}:[0-9]{2}:[0-9]{2}) \| (?<status>[1-5][0-9]{2}) \| $"
_WALL = (
    r"^ *(?:[1-9][0-9]{0,2}(?:\.[0-9]{0,2}[1-9])?µ|[1-9][0-9]{0,2}(?:\.[0-9]{0,5}[1-9])?m|"
    r"(?:[1-9]|[1-5][0-9])(?:\.[0-9]{0,8}[1-9])?|(?:[1-9]|[1-5][0-9])m[1-5]?[0-9])s$"
)
_TARGET = r'^ \| +(?<client>[0-9a-f.:]{1,15}) \| (?<method>[A-Z]{3,7}) +"(?<path>[a-z0-9/_.:?=&%+,|-]{1,99})"$'
ACCESS_MARK = "[GIN] 2"
_CENTURY_S = 3e9


def plain_requests(lines: pl.DataFrame, recurring: pl.Categorical) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The access lines that are laid out as GIN does, as requests, and the lines that are not.

    Texts among their columns are `recurring` ones, by number.
    """
    text, wall = pl.col("text"), pl.col("wall")
    pieces = lines.select(
        "line",
        "wrapper_at",
        text.str.head(_HEAD_LENGTH).alias("head"),
        text.str.slice(_HEAD_LENGTH, _WALL_LENGTH).alias("wall"),
        text.str.slice(_HEAD_LENGTH + _WALL_LENGTH).alias("target"),
    )
    heads = each_once(pieces["head"], lambda heads: _of_head(heads, recurring))
    targets = each_once(pieces["target"], lambda targets: _of_target(targets, recurring))
    # Only a micro sign takes more than one byte.
    unit_s = (
        pl.when(wall.str.len_bytes() > _WALL_LENGTH).then(1e-6).when(wall.str.ends_with("ms")).then(1e-3).otherwise(1.0)
    )
    number = wall.str.strip_chars(" mµs").cast(pl.Float64, strict=False)
    found = pieces.select(
        "line",
        "wrapper_at",
        "wall",
        (number * unit_s).alias("wall_s"),
        wall.str.contains(_WALL).alias("is_plain"),
    ).hstack([*heads, *targets])
    parsed = pl.all_horizontal(pl.col("ended_local", "status", "path").is_not_null())
    is_plain = found.select(pl.col("is_plain") & parsed).to_series()
    found = found.filter(is_plain)
    of_minutes = found["wall_s"].is_null().arg_true()
    minutes, seconds = (wall.str.strip_chars(" s").str.split_exact("m", 1).struct[n].cast(pl.Float64) for n in range(2))
    wall_s = found[of_minutes].select(60 * minutes + seconds).to_series()
    found = found.with_columns(found["wall_s"].scatter(of_minutes, wall_s))
    return found.drop("wall", "is_plain").with_columns(text=pl.lit(None).cast(recurring)), lines.filter(~is_plain)


def _of_head(heads: pl.Series, recurring: pl.Categorical) -> pl.DataFrame:
    pieces = heads.str.extract_groups(_HEAD).struct.unnest()
    return pieces.select(_moment(pl.col("stamp")).alias("ended_local"), pl.col("status").cast(recurring))


def _of_target(targets: pl.Series, recurring: pl.Categorical) -> pl.DataFrame:
    """Client, method and path, where each stands in its own columns of the line."""
    target = pl.col("target")
    pieces = targets.to_frame("target").select(target, target.str.extract_groups(_TARGET).struct.unnest())
    in_place = (target.str.slice(18, 3) == " | ") & (target.str.slice(28, 3) == '  "')
    return pieces.select(pl.when(in_place).then(name).cast(recurring) for name in ("client", "method", "path"))


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
