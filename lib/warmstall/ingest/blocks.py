"""A log in pieces: blocks of whole lines, read one after the other and parsed side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ..evidence import Evidence
from ..parse.encodings import decode
from ..parse.wrappers import end_of_whole_lines, is_powershell_capture, join_powershell_lines
from .counts import Counts
from .manifest import part_name
from .parts import Staging

BLOCK_BYTES = 11 * 1024 * 1024
_LEAST_BYTES = 4 * 1024 * 1024
_MARGIN_BYTES = 64 * 1024  # for the line that a block begins and the next one holds
LONGEST_LINE_BYTES = 32 * 1024 * 1024
MOST_LINES = 1_000_000
_AHEAD = 2
_LOOKED_AT_BYTES = 512 * 1024  # so many stay in the cache


@dataclass(frozen=True)
class Block:
    """Lines of one file: their bytes, the number of the first, and the wrappers at the head of the file.

    Where `line_count` is told, what is behind so many lines is none of this block. `has_controls` is whether the lines
    may hold control characters.
    """

    evidence: Evidence
    part: str
    first_line: int
    data: bytes
    encoding: str
    wrappers: list[str]
    line_count: int | None = None
    has_controls: bool = True


def one_block(
    item: Evidence, handle: IO[bytes], head: bytes, account: dict[str, Any]
) -> Iterator[tuple[Block, int, bool]]:
    """The whole of a capture that cannot be cut at its newlines."""
    text = decode(head + handle.read(), account["encoding"])
    if text:
        lines = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
        joined = join_powershell_lines(lines) if is_powershell_capture(lines) else lines
        data = "".join(line + "\n" for line in joined).encode()
        yield Block(item, part_name(item, "0"), 1, data, "utf-8", account["wrappers"]), len(data), True


def blocks_of(
    item: Evidence, handle: IO[bytes], head: bytes, account: dict[str, Any]
) -> Iterator[tuple[Block, int, bool]]:
    """Blocks with the offset where each ends and whether it ends with a complete line."""
    offset, lines = account["whole"]["offset"], account["whole"]["lines"]

    def block(part: str, data: bytes, line_count: int | None = None, has_controls: bool = True) -> Block:
        name = part_name(item, part)
        return Block(item, name, lines + 1, data, account["encoding"], account["wrappers"], line_count, has_controls)

    buffers: deque[BytesIO] = deque()
    block_bytes = _block_bytes(account["size"] - offset) if offset else BLOCK_BYTES
    carry, at_end = b"", False
    while not at_end:
        buffer = _free_buffer(buffers, block_bytes, len(carry))
        with buffer.getbuffer() as view:
            size = len(view)
            view[: len(carry)] = carry
            used = len(carry) + _filled(view[len(carry) :], head, handle)
        head = head[used - len(carry) :]
        at_end = used < size
        data = buffer.getvalue()[:used]  # neither is a copy where the buffer is full
        cut = end_of_whole_lines(data, "cri" in account["wrappers"])
        if not cut and used >= LONGEST_LINE_BYTES:
            cut = data.rfind(b"\n") + 1 or used
        for whole, length, count, has_controls in _of_few_lines(data, cut):
            yield block(str(offset), whole, count, has_controls), offset + length, True
            offset += length
            lines += count or 1
        carry = data[cut:]
        del data  # a buffer that someone looks at is copied before it is written to
    if carry:
        yield block("tail", carry), offset + len(carry), False


def _block_bytes(appended: int) -> int:
    """What was appended makes two blocks at least, even if it is little: they are parsed side by side."""
    return min(BLOCK_BYTES, max(_LEAST_BYTES, appended // 2 + _MARGIN_BYTES))


def _free_buffer(buffers: deque[BytesIO], size: int, carried: int) -> BytesIO:
    """Memory that is used again, in turn, as new one costs more than to fill it; new one for a line that is longer."""
    if carried >= size:
        return BytesIO(bytes(carried + size))
    buffers.append(BytesIO(bytes(size)) if len(buffers) < _AHEAD + 2 else buffers.popleft())
    return buffers[-1]


def _filled(view: memoryview, head: bytes, handle: IO[bytes]) -> int:
    """Put the head of a file there, and what is behind it; how many bytes that were. Less than all is the end of it."""
    used = min(len(view), len(head))
    view[:used] = head[:used]
    while used < len(view) and (more := cast(BufferedIOBase, handle).readinto(view[used:])):
        used += more
    return used


def _of_few_lines(data: bytes, end: int) -> Iterator[tuple[bytes, int, int | None, bool]]:
    """The lines before `end` in pieces of not too many, with their bytes and number, and whether they hold control
    characters: what is known of a line takes more memory than an empty one."""
    count, others = _count_controls(data, end)
    middle = data.rfind(b"\n", 0, end // 2) + 1
    if count > MOST_LINES and middle:
        yield from _of_few_lines(data[:middle], middle)
        yield from _of_few_lines(data[middle:end], end - middle)
    elif end:
        yield data, end, count or None, others > 0


def _count_controls(data: bytes, end: int) -> tuple[int, int]:
    """How many newlines, and how many other control characters.

    `bytes.count` takes four times as long where it finds many, and to look for one character after the other takes
    longer as well.

    >>> _count_controls(b"[GIN]\\n\\x1b[0m\\r\\n\\n", 12)
    (2, 2)
    """
    numbers = np.frombuffer(data, np.uint8, end)
    newlines = controls = 0
    for start in range(0, end, _LOOKED_AT_BYTES):
        some = numbers[start : start + _LOOKED_AT_BYTES]
        newlines += int(np.count_nonzero(some == ord("\n")))
        controls += int(np.count_nonzero(some < ord(" ")))
    return newlines, controls - newlines


def in_order(
    pool: Executor, blocks: Iterator[tuple[Block, int, bool]], staging: Staging
) -> Iterator[tuple[Block, int, bool, Counts]]:
    """Parse blocks side by side, a few at a time, and give them back in the order of the file."""
    waiting: deque[tuple[Block, int, bool, Future[tuple[Counts, list[Path]]]]] = deque()

    def first() -> tuple[Block, int, bool, Counts]:
        block, end, complete, future = waiting[0]
        counts, written = future.result()
        waiting.popleft()  # not before: what is interrupted here is still waited for
        staging.add(*written)
        return block, end, complete, counts

    try:
        for block, end, complete in blocks:
            waiting.append((block, end, complete, pool.submit(_parsed, block, staging.tables)))
            # A line of many megabytes makes a block that is parsed with nothing beside it.
            while len(waiting) > (_AHEAD if len(block.data) <= 2 * BLOCK_BYTES else 0):
                yield first()
        while waiting:
            yield first()
    finally:  # nothing may still be written when the run is given up
        wait([future for *_, future in waiting if not future.cancel()])


def _parsed(block: Block, tables: Path) -> tuple[Counts, list[Path]]:
    """What parses is imported where it runs, while the next block is read: a run that finds nothing new needs none."""
    from .block import parse_block

    return parse_block(block, tables)
