"""Values as systemd reads and prints them: quoted words, sizes, time spans, and the limits made of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# By systemd's name without "Limit": the unit that /proc/PID/limits prints, and how a unit file may write the value.
RLIMITS: dict[str, tuple[str, str]] = {
    "CPU": ("seconds", "seconds"), "FSIZE": ("bytes", "size"), "DATA": ("bytes", "size"), "STACK": ("bytes", "size"),
    "CORE": ("bytes", "size"), "RSS": ("bytes", "size"), "NPROC": ("processes", "count"), "NOFILE": ("files", "count"),
    "MEMLOCK": ("bytes", "size"), "AS": ("bytes", "size"), "LOCKS": ("locks", "count"),
    "SIGPENDING": ("signals", "count"), "MSGQUEUE": ("bytes", "size"), "NICE": ("", "nice"), "RTPRIO": ("", "count"),
    "RTTIME": ("us", "microseconds"),
}  # fmt: skip
# Limits of the control group: their unit and how a unit file may write the value.
PROPERTIES: dict[str, tuple[str, str]] = {
    "MemoryMax": ("bytes", "memory"), "MemoryHigh": ("bytes", "memory"), "MemorySwapMax": ("bytes", "memory"),
    "MemoryLimit": ("bytes", "memory"), "TasksMax": ("tasks", "tasks"), "CPUQuota": ("percent", "percent"),
    "OOMScoreAdjust": ("", "adjustment"),
}  # fmt: skip

_SIZE_PART = re.compile(r"\s*\+?(\d{1,20}(?:\.\d{0,20})?)\s*([EPTGMKB]?)")
_SIZES: dict[str, float] = {"E": 2**60, "P": 2**50, "T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10, "B": 1, "": 1}
_SPAN_PART = re.compile(r"\s*\+?(\d{1,20}(?:\.\d{1,20})?|\.\d{1,20})\s*([A-Za-zµμ]{0,8})")
_SPANS_S = {
    **dict.fromkeys(("us", "usec", "µs", "μs"), 1e-6), **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0), **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0), **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0), **dict.fromkeys(("M", "month", "months"), 2629800.0),
    **dict.fromkeys(("y", "year", "years"), 31557600.0),
}  # fmt: skip
_SHARE = re.compile(r"(\d{1,9}(?:\.\d{1,2})?)%|(\d{1,9})‰|(\d{1,9})‱")
# As C reads numbers: a leading zero means octal.
_COUNT = re.compile(r"\+?(?:(0[xX][0-9a-fA-F]{1,16})|0([0-7]{1,21})|([1-9]\d{0,19}|0))")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " ",
            "\\": "\\", '"': '"', "'": "'"}  # fmt: skip
_CODED = re.compile(r"x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")


@dataclass(frozen=True)
class Limit:
    """A limit: systemd's name without "Limit", or the property; infinity where there is none."""

    resource: str
    soft: float | None
    hard: float | None
    unit: str


def words(text: str, shell: bool = False) -> tuple[list[str], bool]:
    r"""Words in quotes as systemd reads them, and whether all could be read; the good ones before a bad one count.

    `shell` is the way `systemctl show` prints lists: a backslash makes any next character itself.

    >>> words('"A=b c" D=e\\x41 F="g"h')
    (['A=b c', 'D=eA', 'F=gh'], True)
    >>> words('A=b "C=d'), words('"A=\\$x"', shell=True)
    ((['A=b'], False), (['A=$x'], True))
    """
    found: list[str] = []
    word: list[str] | None = None
    quote, at = "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            replaced, used = _escape(text, at)
            if replaced is None and not shell:
                return found, False
            word = word if word is not None else []
            word.append(text[at : at + 1] if replaced is None else replaced)
            at += used or 1
        elif quote:
            if char == quote:
                quote = ""
            else:
                assert word is not None
                word.append(char)
        elif char in "\"'":
            quote, word = char, word if word is not None else []
        elif char in " \t\n\r":
            if word is not None:
                found.append("".join(word))
            word = None
        else:
            word = word if word is not None else []
            word.append(char)
    if quote:
        return found, False
    if word is not None:
        found.append("".join(word))
    return found, True


def _escape(text: str, at: int) -> tuple[str | None, int]:
    """What the characters after a backslash stand for, and how many they are."""
    if known := _ESCAPES.get(text[at : at + 1]):
        return known, 1
    if coded := _CODED.match(text, at):
        base = 8 if coded[2] else 16
        number = int(coded[coded.lastindex or 1], base)
        # Zero ends a C string, and there is nothing above the last code point.
        return (chr(number), len(coded[0])) if 0 < number < 0x110000 else (None, 0)
    return None, 0


def size_bytes(text: str) -> float | None:
    """Bytes of a size in a unit file, to the base 1024; None when systemd refuses it.

    >>> size_bytes("12G"), size_bytes("2.5K"), size_bytes("infinity"), size_bytes("unlimited")
    (12884901888.0, 2560.0, inf, None)
    """
    amount = _sum(text, _SIZE_PART, _SIZES, falling=True)
    return amount if amount is None or math.isinf(amount) else float(int(amount))


def span_s(text: str, bare_s: float = 1.0) -> float | None:
    """Seconds of a time span; `bare_s` is what a number without a unit counts.

    >>> span_s("1min 30s"), span_s("200ms"), span_s("2", bare_s=1e-6), span_s("soon")
    (90.0, 0.2, 2e-06, None)
    """
    return _sum(text, _SPAN_PART, _SPANS_S | {"": bare_s}, falling=False)


def _sum(text: str, part: re.Pattern[str], units: dict[str, float], falling: bool) -> float | None:
    text = text.strip()
    if text == "infinity":
        return math.inf
    total, at, last = 0.0, 0, math.inf
    if not text or len(text) > 200:
        return None
    while at < len(text):
        match = part.match(text, at)
        scale = units.get(match[2]) if match else None
        if match is None or scale is None or (falling and scale >= last):
            return None
        total += float(match[1]) * scale
        at, last = match.end(), scale
    return total if total < 2**64 - 1 else None


def number(text: str) -> float | None:
    """A whole number as systemd prints it; the largest of 64 bits is how old versions print infinity.

    >>> number("infinity"), number("18446744073709551615"), number("8388608"), number("[not set]")
    (inf, inf, 8388608.0, None)
    """
    if text == "infinity":
        return math.inf
    if not re.fullmatch(r"[0-9]{1,20}", text):
        return None
    return math.inf if int(text) >= 2**64 - 1 else float(text)


def limit_of(name: str, value: str) -> Limit | None:
    """The limit that a directive of a unit file sets; None when it sets none or systemd refuses the value.

    >>> limit_of("LimitNOFILE", "1024:4096")
    Limit(resource='NOFILE', soft=1024.0, hard=4096.0, unit='files')
    >>> limit_of("LimitMEMLOCK", "unlimited"), limit_of("MemoryMax", "50%")
    (None, Limit(resource='MemoryMax', soft=50.0, hard=50.0, unit='percent'))
    """
    if name in PROPERTIES:
        unit, kind = PROPERTIES[name]
        found = _property(kind, value.strip())
        if found is None:
            return None
        amount, in_percent = found
        return Limit(name, amount, amount, "percent" if in_percent else unit)
    resource = name.removeprefix("Limit")
    if resource == name or resource not in RLIMITS:
        return None
    unit, kind = RLIMITS[resource]
    first, colon, second = value.strip().partition(":")
    soft = _rlimit(kind, first)
    hard = _rlimit(kind, second) if colon else soft
    return None if soft is None or hard is None or soft > hard else Limit(resource, soft, hard, unit)


def is_refused(name: str, value: str) -> bool:
    """Whether systemd ignores this assignment of a limit because of its value.

    An empty value resets MemoryMax= and its like, but is refused for LimitX=.

    >>> is_refused("LimitMEMLOCK", "unlimited"), is_refused("MemoryMax", "12g"), is_refused("MemoryMax", "")
    (True, True, False)
    """
    if name in PROPERTIES:
        return bool(value) and limit_of(name, value) is None
    return name.startswith("Limit") and name.removeprefix("Limit") in RLIMITS and limit_of(name, value) is None


def _rlimit(kind: str, text: str) -> float | None:
    if text == "infinity":
        return math.inf if kind != "nice" else None
    if kind == "size":
        return size_bytes(text)
    if kind == "seconds":  # whole seconds, rounded up
        found = span_s(text)
        return None if found is None else float(math.ceil(found))
    if kind == "microseconds":
        found = span_s(text, bare_s=1e-6)
        return None if found is None else float(int(found * 1e6 + 1e-6))
    if kind == "nice" and (signed := re.fullmatch(r"([+-])(\d{1,2})", text)):
        # A nice value with its sign is turned round: the kernel counts from 0 (nice 19) to 39 (nice -20).
        nice = int(signed[1] + signed[2])
        return float(20 - nice) if -20 <= nice <= 19 else None
    plain = _count(text)
    return None if kind == "nice" and plain is not None and plain > 40 else plain


def _count(text: str) -> float | None:
    match = _COUNT.fullmatch(text)
    if not match:
        return None
    amount = int(match[1], 16) if match[1] else int(match[2], 8) if match[2] else int(match[3])
    return float(amount) if amount < 2**64 - 1 else None


def _property(kind: str, text: str) -> tuple[float, bool] | None:
    if kind == "adjustment":
        adjustment = _count(text.removeprefix("-"))
        if adjustment is None or adjustment > 1000 or text.startswith("-+"):
            return None
        return -adjustment if text.startswith("-") else adjustment, False
    if share := _SHARE.fullmatch(text):
        percent = float(share[1] or 0) + float(share[2] or 0) / 10 + float(share[3] or 0) / 100
        return (percent, True) if percent and (kind == "percent" or percent <= 100) else None
    if kind == "percent":
        return None
    amount = math.inf if text == "infinity" else size_bytes(text) if kind == "memory" else _count(text)
    return (amount, False) if amount else None
