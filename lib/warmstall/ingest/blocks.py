"""A log in pieces: blocks of whole lines, read one after the other and parsed side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ..evidence import Evidence
from ..parse.encodings import decode
from ..parse.wrappers import end_of_whole_lines, is_powershell_capture, join_powershell_lines
from .counts import Counts
from .manifest import part_name
from .parts import Staging

BLOCK_BYTES = 12 * 1024 * 1024
LONGEST_LINE_BYTES = 32 * 1024 * 1024
MOST_LINES = 1_000_000
_REST_BYTES = 64 * 1024
_AHEAD = 2
_COUNTED_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: their bytes, the number of the first, and the wrappers at the head of the file."""

    evidence: Evidence
    part: str
    first_line: int
    data: bytes
    encoding: str
    wrappers: list[str]


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

    def block(part: str, data: bytes) -> Block:
        return Block(item, part_name(item, part), lines + 1, data, account["encoding"], account["wrappers"])

    buffer = memoryview(bytearray(BLOCK_BYTES))  # memory that is used again costs less than new one
    readinto = cast(BufferedIOBase, handle).readinto
    carry, fresh = b"", buffer
    while fresh:
        fresh, head = memoryview(head[:BLOCK_BYTES]) or buffer[: readinto(buffer)], head[BLOCK_BYTES:]
        # To the end of a line: the whole of it is then a block, and is not copied again.
        data = b"".join((carry, fresh, b"" if head else handle.readline(_REST_BYTES)))
        cut = end_of_whole_lines(data, "cri" in account["wrappers"])
        if not cut and len(data) >= LONGEST_LINE_BYTES:
            cut = data.rfind(b"\n") + 1 or len(data)
        if cut and (len(data) >= BLOCK_BYTES or not fresh):
            for whole, count in _of_few_lines(data[:cut]):
                yield block(str(offset), whole), offset + len(whole), True
                offset += len(whole)
                lines += count or 1
            carry = data[cut:]
        else:
            carry = data
    if carry:
        yield block("tail", carry), offset + len(carry), False


def _of_few_lines(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The same in pieces of not too many lines, with their number: what is known of a line takes more memory than an
    empty one."""
    count = _count_newlines(data)
    middle = data.rfind(b"\n", 0, len(data) // 2) + 1
    if count <= MOST_LINES or not middle:
        yield data, count
    else:
        yield from _of_few_lines(data[:middle])
        yield from _of_few_lines(data[middle:])


def _count_newlines(data: bytes) -> int:
    """`bytes.count` takes four times as long where it finds many."""
    numbers = np.frombuffer(data, np.uint8)
    starts = range(0, len(numbers), _COUNTED_BYTES)
    return sum(int(np.count_nonzero(numbers[start : start + _COUNTED_BYTES] == ord("\n"))) for start in starts)


def in_order(
    pool: Executor, blocks: Iterator[tuple[Block, int, bool]], staging: Staging
) -> Iterator[tuple[Block, int, bool, Counts]]:
    """Parse blocks side by side, a few at a time, and give them back in the order of the file."""
    from .block import parse_block

    waiting: deque[tuple[Block, int, bool, Future[tuple[Counts, list[Path]]]]] = deque()

    def first() -> tuple[Block, int, bool, Counts]:
        block, end, complete, future = waiting[0]
        counts, written = future.result()
        waiting.popleft()  # not before: what is interrupted here is still waited for
        staging.add(*written)
        return block, end, complete, counts

    try:
        for block, end, complete in blocks:
            waiting.append((block, end, complete, pool.submit(parse_block, block, staging.tables)))
            # A line of many megabytes makes a block that is parsed with nothing beside it.
            while len(waiting) > (_AHEAD if len(block.data) <= 2 * BLOCK_BYTES else 0):
                yield first()
        while waiting:
            yield first()
    finally:  # nothing may still be written when the run is given up
        wait([future for *_, future in waiting if not future.cancel()])
