"""Python tracebacks, folded: many lines become one exception with its frames and a fingerprint.

Understood are chains ("The above exception was the direct cause …"), exception groups, exceptions in threads,
in other processes and in destructors, syntax errors, and the dumps of faulthandler; lines may each carry the
prefix of a wrapper. Shapes: traceback.py, threading.py and faulthandler.c of CPython 3.8 to 3.14, and loguru.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from .traceback_block import FRAME, Block, Frame, Traceback, header_in

_THREAD = re.compile(r"Exception in thread (?P<thread>.{1,200}?):?$")
# Lines that Python prints in front of a traceback to say where it comes from.
_INTRO = re.compile(
    r"Exception in thread .|Exception ignored (?:in|while|on)\b|Exception in callback |Unhandled exception in "
    r"|Task exception was never retrieved|Process [\w-]+:$|[\w.]*RemoteTraceback: ?$"
)
_FATAL = re.compile(
    r"(?P<what>Fatal Python error: .{1,200}|Windows fatal exception: .{1,200}|Timeout \([0-9:.]+\)!)\s*$"
)
_FATAL_PART = re.compile(
    r"\s*$|Python runtime state: |(?:Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\):"
    r"|Current thread's C stack|  <(?:no Python frame|.{1,60}>)|  \.\.\.|  Binary file |Extension modules: "
)
# Words of faulthandler, signals.
FATAL_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
_OPENINGS = (
    "Traceback (most recent",
    "Exception ",
    "Task exception",
    "Unhandled ",
    "Process ",
    "Remote",
    "Fatal",
    "Timeout",
)


def fold(lines: Sequence[str], start: int, begins_record: Callable[[str], bool] = lambda _: False) -> Traceback | None:
    r"""The traceback that begins at this index, or None.

    `begins_record` tells lines that belong to something else, so that a message of several lines ends there.

    >>> text = 'Exception in thread Thread-1 (work):\nTraceback (most recent call last):\n'
    >>> text += '  File "/app/rag.py", line 12, in work\n    load()\n    ^^^^^^\nOSError: no index'
    >>> found = fold(text.split("\n"), 0)
    >>> found.exception, found.message, found.thread, [str(frame) for frame in found.frames], found.end
    ('OSError', 'no index', 'Thread-1 (work)', ['/app/rag.py:12:work'], 6)
    """
    line = lines[start]
    if not any(opening in line for opening in _OPENINGS):
        return None
    if match := _FATAL.search(line[:400]):
        prefix = line[: match.start()]
        return _fatal(Block(lines, start, prefix, begins_record), match["what"])
    intro, at = "", start
    if _INTRO.match(line):
        intro = line
        # `future: …`, `handle: …` or the quotes of a remote traceback may stand between.
        at = next((number for number in range(start + 1, min(start + 4, len(lines))) if header_in(lines[number])), -1)
        if at < 0:
            return None
    header = header_in(lines[at])
    if header is None:
        return None
    block = Block(lines, at, header["before"], begins_record)
    found = block.chain()
    if found is None:
        return None
    found.intro = intro
    thread = _THREAD.match(intro)
    found.thread = thread["thread"] if thread else ""
    return found


def _fatal(block: Block, what: str) -> Traceback:
    """A dump of faulthandler; the frames are those of the thread that failed."""
    frames: dict[str, list[Frame]] = {}
    thread = ""
    block.at += 1
    while (text := block.text(block.at)) is not None:
        if match := FRAME.match(text.lstrip()):
            frames.setdefault(thread, []).append(Frame(match["file"], int(match["line"]), match["function"] or ""))
        elif _FATAL_PART.match(text):
            if "most recent call first" in text:
                thread = "current" if text.startswith("Current thread") else text
        else:
            break
        block.at += 1
    while block.at > block.header_at + 1 and not (block.text(block.at - 1) or "").strip():
        block.at -= 1  # empty lines behind the dump are not of it
    signal = next((name for words, name in FATAL_SIGNALS.items() if words in what), "")
    failed = frames.get("current") or next(iter(frames.values()), [])
    return Traceback(what, frames=failed, signal=signal, end=block.at)


def has_traceback(lines: Sequence[str]) -> bool:
    """Whether a traceback with a frame stands in these lines: a header alone may be quoted in prose.

    >>> has_traceback(["Traceback (most recent call last):", '  File "a.py", line 1, in f']), has_traceback(["x"])
    (True, False)
    """
    return any(
        ("Traceback (most recent call last):" in line or "(most recent call first):" in line)
        and FRAME.search(following) is not None
        for line, following in pairwise(line for line in lines if line.strip())
    )
