"""The lines of a block: bytes to text, without what a journal, a container or a terminal wrote around them."""

from __future__ import annotations

import codecs

import polars as pl

from ..parse.encodings import decode
from ..parse.wrappers import (
    ANSI,
    PIECE_LENGTH,
    WRAPPERS,
    Wrapper,
    is_csv_wrapped,
    is_json_wrapped,
    join_cri_lines,
    learned_prefix,
    named,
    prefixes_in,
    unwrap_csv_lines,
    unwrap_json_lines,
)
from .blocks import BLOCK_BYTES, Block
from .moments import moments

_HEAD_LINES = 50
_HALF_CHARACTER = r"\\u[dD][89a-fA-F]"  # JSON can escape halves of characters
# The beginnings of what Polars would take for gzip, zlib or zstd and unpack; a line may begin with an x.
_LOOKS_COMPRESSED = (b"\x1f\x8b", b"x", b"\x28\xb5\x2f\xfd")
# Characters of a line that are looked at where it is longer than a block: each copy of it would be as long.
_SEEN = 4_000_000
_SAMPLED_LINES = 2000
_SAMPLED_CHARACTERS = 400
_ANY_WRAPPER = "|".join(wrapper.pattern for wrapper in WRAPPERS)


def read_lines(block: Block) -> pl.DataFrame:
    """The lines of a block as `line` (its number), `text`, and `wrapper_at`, the time (UTC) of what stood around it."""
    texts, times = _texts(block)
    at = moments(times)["at"] if times is not None else pl.lit(None, dtype=pl.Datetime("us"))
    if len(block.data) > 2 * BLOCK_BYTES:
        texts = texts.str.head(_SEEN)
    lines = pl.DataFrame({"text": texts}).with_columns(wrapper_at=at)
    if _may_hold_escapes(block) or times is not None:
        # Colours come off first: compose paints its prefix.
        lines = lines.with_columns(pl.col("text").str.replace_all(ANSI, ""))
    # A block may hold no line whose content is known; it is then wrapped as the head of its file.
    wrappers = wrappers_of(lines["text"]) or named(block.wrappers)
    if any(wrapper.name == "cri" for wrapper in wrappers):
        lines = lines.with_columns(text=pl.Series(join_cri_lines(lines["text"].to_list()), dtype=pl.String))
    for wrapper in wrappers:
        lines = _without(wrapper, lines)
    return lines.select(pl.int_range(block.first_line, block.first_line + pl.len()).alias("line"), "text", "wrapper_at")


def _may_hold_escapes(block: Block) -> bool:
    """As they are, or as `less` shows them. (What is looked for byte by byte is found in a tenth of the time.)"""
    data = block.data
    return (block.has_controls and b"\x1b" in data) or (b"^" in data and b"^[[" in data)


def wrappers_of(texts: pl.Series) -> list[Wrapper]:
    """The wrappers of a log, outermost first, judged by a sample of its lines."""
    text = pl.col("text")
    bare = text.str.starts_with("[GIN] ") | text.str.starts_with("time=")
    painted = text.str.head(_SAMPLED_CHARACTERS).str.replace_all(ANSI, "")  # compose paints its prefix
    every = max(1, len(texts) // _SAMPLED_LINES)
    sample = texts.gather_every(every).to_frame("text")
    others = sample.lazy().filter(~bare).select(painted).filter(~bare)
    dressed = others.select(text, known=text.str.contains(_ANY_WRAPPER)).collect()
    if len(dressed) < len(sample):  # then nothing of an unknown form stands in front of every line
        return prefixes_in(dressed["text"].filter(dressed["known"]).to_list())
    rest = dressed["text"]
    known = prefixes_in(rest.to_list())
    for wrapper in known:
        rest = rest.str.replace(wrapper.pattern, "")
    return known + learned_prefix(rest.to_list())


def _without(wrapper: Wrapper, lines: pl.DataFrame) -> pl.DataFrame:
    rest = lines["text"].str.replace(wrapper.pattern, "")
    if wrapper.is_timed:
        stamp = lines["text"].str.split_exact(" ", 1).struct[0]
        at = moments(stamp.zip_with(rest != lines["text"], pl.Series([None], dtype=pl.String)))["at"]
        lines = lines.with_columns(wrapper_at=pl.coalesce(pl.col("wrapper_at"), at))
    return lines.with_columns(text=rest)


def _texts(block: Block) -> tuple[pl.Series, pl.Series | None]:
    """The text of every line, and the times of lines that were wrapped in JSON."""
    texts = _split(block)
    head = texts.head(_HEAD_LINES).to_list()
    if is_json_wrapped(head):
        if (unwrapped := _docker_lines(texts)) is not None:
            return unwrapped
        unwrapped_texts, times = unwrap_json_lines(texts.to_list())
        return pl.Series(unwrapped_texts, dtype=pl.String).str.strip_chars_end("\r"), pl.Series(times, dtype=pl.String)
    if is_csv_wrapped(head):
        return pl.Series(unwrap_csv_lines(texts.str.strip_chars_end("\r").to_list()), dtype=pl.String), None
    if block.has_controls and b"\r" in block.data:
        texts = texts.str.strip_chars_end("\r")
    return texts, None


def _docker_lines(texts: pl.Series) -> tuple[pl.Series, pl.Series] | None:
    """Texts and times of docker's JSON lines, where every line is a whole one; None where some need a closer look."""
    whole = texts.str.starts_with('{"log":"') & (texts.str.len_bytes() < PIECE_LENGTH)
    if not whole.all() or texts.str.contains(_HALF_CHARACTER).any():
        return None
    try:
        found = texts.str.json_decode(pl.Struct({"log": pl.String, "time": pl.String})).struct
    except pl.exceptions.ComputeError:
        return None
    log = found.field("log").str.strip_suffix("\n").str.replace_all("\0", "", literal=True)
    return log.str.strip_chars_end("\r"), found.field("time")


def _split(block: Block) -> pl.Series:
    """The text between newlines; zeros vanish, and bytes that mean nothing become U+FFFD."""
    data = block.data.removeprefix(codecs.BOM_UTF8) if block.first_line == 1 else block.data
    # Before the zeros go: a line of nothing else is empty then.
    if block.line_count is None and not data.endswith(b"\n"):
        data += b"\n"
    if block.has_controls and b"\0" in data:
        data = data.replace(b"\0", b"")
    try:
        texts = _between_newlines(data)
    except pl.exceptions.ComputeError:  # not UTF-8
        texts = _between_newlines(decode(data, block.encoding).encode())
    return texts if block.line_count is None else texts.head(block.line_count)


def _between_newlines(data: bytes) -> pl.Series:
    if data.startswith(_LOOKS_COMPRESSED):
        return pl.Series([data.removesuffix(b"\n")]).cast(pl.String).str.split("\n").explode()
    return pl.read_lines(data).to_series().rechunk()
