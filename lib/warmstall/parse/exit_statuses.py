"""What the number means with which a process ended: of Windows its NTSTATUS, of Linux the few that have a name."""

from __future__ import annotations

import re

_MEANINGS = {
    "127": "a shared library or the program itself was not found",
    "0xc0000005": "access violation",
    "0xc0000017": "out of memory",
    "0xc000001d": "an instruction that this processor does not have",
    "0xc0000022": "access denied",
    "0xc00000fd": "stack overflow",
    "0xc000012d": "out of memory: the commit limit",
    "0xc0000135": "a DLL was not found",
    "0xc0000139": "a DLL of another version",
    "0xc0000142": "a DLL could not be initialized",
    "0xc0000374": "heap corruption",
    "0xc0000409": "aborted",
    "0xe06d7363": "an uncaught C++ exception",
}
_STATUS = re.compile(r"exit status (0x[0-9a-f]{8}|\d+)(?: *:? *NTSTATUS 0x[0-9a-f]{8})?")
# Go prints so where a process ended with status 0 and an error was expected.
_NO_ERROR = "%!w(<nil>)"


def in_words(text: str) -> str:
    """The text with the meaning behind each exit status that has one.

    >>> in_words("exit status 0xc0000135")
    'exit status 0xc0000135 (a DLL was not found)'
    >>> in_words("exit status 2"), in_words("%!w(<nil>)")
    ('exit status 2', 'no error was given')
    """
    return _STATUS.sub(_told, text.replace(_NO_ERROR, "no error was given"))


def _told(match: re.Match[str]) -> str:
    meaning = _MEANINGS.get(match[1])
    return f"exit status {match[1]} ({meaning})" if meaning else match[0]
