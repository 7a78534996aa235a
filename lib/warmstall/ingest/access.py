"""Access lines to requests. GIN writes one when a request ENDS: local time, no zone, whole seconds."""

from __future__ import annotations

import polars as pl

# An access line as GIN lays it out, every field at its own width: it needs no `text` of its own, because its columns
# can be written as it was (`sql/access_line_text.sql`). No event's anchor can stand in one, as a test holds.
_DURATION = (
    r"(?:[1-9][0-9]{0,2}(?:\.[0-9]{0,2}[1-9])?µ|[1-9][0-9]{0,2}(?:\.[0-9]{0,5}[1-9])?m|"
    r"[1-5]?[1-9](?:\.[0-9]{0,8}[1-9])?|[1-5]0(?:\.[0-9]{0,8}[1-9])?|[1-5]?[1-9]m(?:[1-5]?[0-9])|[1-5]0m[1-5]?[0-9])s"
)
PLAIN = (
    r"^\[GIN\] [0-9]{4}/[0-9]{2}/[0-9]{2} - [0-9]{2}:[0-9]{2}:[0-9]{2} \| [1-5][0-9]{2} \| +"
    + _DURATION
    + r' \| +[0-9.]{7,15} \| [A-Z]{3,7} {2,6}"[a-z0-9/_.:-]{1,99}"$'
)
ACCESS_MARK = "[GIN] 2"
_CENTURY_S = 3e9


def is_plain(text: pl.Expr) -> pl.Expr:
    """Whether a line is an access line with every field in its place."""
    in_place = (text.str.slice(49, 3) == " | ") & (text.str.slice(67, 3) == " | ") & (text.str.slice(77, 3) == '  "')
    return text.str.contains(PLAIN) & in_place


def plain_requests(lines: pl.DataFrame) -> pl.DataFrame:
    """The columns of plain access lines, each cut out at its place."""
    text, wall = pl.col("text"), pl.col("wall")
    found = lines.select(
        "line",
        "wrapper_at",
        _moment(text.str.slice(6, 21)).alias("ended_local"),
        text.str.slice(30, 3).alias("status"),
        text.str.slice(36, 13).str.strip_chars_start(" ").alias("wall"),
        text.str.slice(52, 15).str.strip_chars_start(" ").alias("client"),
        text.str.slice(70, 7).str.strip_chars_end(" ").alias("method"),
        text.str.slice(80).str.strip_suffix('"').alias("path"),
        pl.lit(None, dtype=pl.String).alias("text"),
    )
    divisor = pl.when(wall.str.ends_with("ms")).then(1e3).when(wall.str.ends_with("µs")).then(1e6).otherwise(1.0)
    found = found.with_columns((_number(wall.str.strip_chars_end("mµs")) / divisor).alias("wall_s"))
    if found["wall_s"].has_nulls():  # of a minute or more
        found = found.with_columns(
            pl.when(pl.col("wall_s").is_null()).then(_seconds(wall)).otherwise("wall_s").alias("wall_s")
        )
    return found.drop("wall")


def other_requests(lines: pl.DataFrame) -> pl.DataFrame:
    """The columns of all other access lines. The path is what is left, because it may hold a `|` itself."""
    after_mark = pl.col("text").str.splitn("[GIN] ", 2).struct[1]
    parts = lines.select("line", "wrapper_at", "text", after_mark.str.splitn("|", 5).struct.unnest())
    stamp, status, wall, client, target = (pl.col(f"field_{n}").str.strip_chars(" ") for n in range(5))
    wall_s = _seconds(wall)
    return parts.select(
        "line",
        "wrapper_at",
        _moment(stamp).alias("ended_local"),
        status.alias("status"),
        client.fill_null("").alias("client"),
        target.fill_null("").str.split(" ").list.first().alias("method"),
        target.str.extract(r'"((?:[^"\\]|\\.)*)"', 1).fill_null("").alias("path"),
        pl.col("text").str.head(300),
        # A latency of more than a century is no latency.
        pl.when(wall_s < _CENTURY_S).then(wall_s).alias("wall_s"),
    )


def _moment(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime("%Y/%m/%d - %H:%M:%S", time_unit="us", strict=False)


def _number(text: pl.Expr) -> pl.Expr:
    return text.cast(pl.Float64, strict=False)


def _seconds(wall: pl.Expr) -> pl.Expr:
    """Seconds of Go's Duration: 560.083µs, 17.1ms, 4.2s, 1m2s, 1h2m3s. Go prints no unit but µs that starts with
    something other than m, n or a digit, so a micro sign broken by an encoding is still one."""

    def part(pattern: str) -> pl.Expr:
        return _number(wall.str.extract(pattern, 1)).fill_null(0)

    return (
        pl.when(wall.str.contains(r"^[0-9.]+s$")).then(_number(wall.str.head(-1)))
        .when(wall.str.contains(r"^[0-9.]+ms$")).then(_number(wall.str.head(-2)) / 1e3)
        .when(wall.str.contains(r"^[0-9.]+ns$")).then(_number(wall.str.head(-2)) / 1e9)
        .when(wall.str.contains(r"^(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9.]+s)?$") & (wall != ""))
        .then(3600 * part("([0-9]+)h") + 60 * part("([0-9]+)m") + part("([0-9.]+)s"))
        .when(wall.str.contains(r"^[0-9.]+[^0-9.]{1,4}s$")).then(_number(wall.str.extract("^([0-9.]+)", 1)) / 1e6)
    )  # fmt: skip
