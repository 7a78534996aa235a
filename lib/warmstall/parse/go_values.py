"""Values as Go prints them: durations, byte sizes, slog key=value pairs, `map[…]` and `{Key:value …}`."""

from __future__ import annotations

import math
import re

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([\d.]+)(ms|[^\d.\s]{0,4}s|h|m)")
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
# Values are quoted by strconv.Quote where they need it; so are keys ("model layers"=33).
_PAIR = re.compile(r'(?<!\S)("(?:[^"\\]|\\.)*"|[^\s="]+)=("(?:[^"\\]|\\.)*"|\S*)')
_ESCAPE = re.compile(r'\\(["\\nrt])')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def duration_s(text: str) -> float | None:
    """Seconds of a Go `Duration` as text, or None when it is not one.

    The micro sign is often broken by a wrong encoding; whatever stands before the `s` and is not
    `m` or `n` is taken for it, because Go prints no other unit there.

    >>> duration_s("1m41s"), duration_s("17.1ms"), duration_s("560.083µs"), duration_s("0s")
    (101.0, 0.0171, 0.000560083, 0.0)
    >>> duration_s("104.9┬╡s"), duration_s("soon") is None
    (0.0001049, True)
    """
    total, seen = 0.0, 0
    text = text.strip()
    for part in _DURATION_PART.finditer(text):
        if part.start() != seen:
            return None
        seen = part.end()
        try:
            total += float(part[1]) * _UNIT_S.get(part[2], 1e-6)
        except ValueError:
            return None
    return round(total, 9) if seen and seen == len(text) and math.isfinite(total) else None


def size_bytes(text: str) -> int | None:
    """Bytes of a size such as `20.0 GiB`, `4765.5 MiB` or `0 B`; None when it is not one.

    >>> size_bytes("20.0 GiB"), size_bytes("0 B"), size_bytes("many")
    (21474836480, 0, None)
    """
    number, _, unit = text.strip().partition(" ")
    try:
        return int(float(number) * _BYTES[unit.strip().upper()])
    except (ValueError, KeyError, OverflowError):
        return None


def unquote(text: str) -> str:
    r"""The text inside a Go-quoted value; anything else comes back as it is.

    >>> unquote('"a \\"b\\""'), unquote("plain")
    ('a "b"', 'plain')
    """
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return _ESCAPE.sub(lambda m: _ESCAPED[m[1]], text[1:-1])
    return text


def pairs(text: str) -> dict[str, str]:
    """The key=value pairs of a slog line; of a repeated key the first is kept.

    >>> pairs('level=INFO msg="loading model" "model layers"=9 requested=-1')
    {'level': 'INFO', 'msg': 'loading model', 'model layers': '9', 'requested': '-1'}
    """
    found: dict[str, str] = {}
    for name, value in _PAIR.findall(text):
        if name[0] == '"':
            name = unquote(name)
        if name not in found:
            found[name] = unquote(value) if value[:1] == '"' else value
    return found


_MAP_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z0-9_]*):")


def go_map(text: str) -> dict[str, str]:
    """The entries of a Go `map[K:V …]` or `{K:V …}` whose values may hold spaces and colons.

    Keys of the `server config` map are upper-case names (proxies also lower-case), keys of a load
    request start with a capital; a word of a value that looks like a key, such as `http:`, is not one
    because it is followed by `//` or stands inside brackets.

    >>> go_map("map[OLLAMA_HOST:http://127.0.0.1:11434 OLLAMA_ORIGINS:[http://a https://b] no_proxy:]")
    {'OLLAMA_HOST': 'http://127.0.0.1:11434', 'OLLAMA_ORIGINS': '[http://a https://b]', 'no_proxy': ''}
    """
    text = text.strip().removeprefix("map")
    if text[:1] in "[{" and text[-1:] in "]}":
        text = text[1:-1]
    depth, starts = 0, []
    depths = []
    for char in text:
        if char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        depths.append(depth)
    for match in _MAP_KEY.finditer(text):
        if depths[match.start()] == 0 and not text.startswith("//", match.end()):
            starts.append(match)
    entries = {}
    for match, following in zip(starts, [*starts[1:], None], strict=False):
        end = following.start() if following else len(text)
        entries[match[1]] = text[match.end() : end].strip()
    return entries
