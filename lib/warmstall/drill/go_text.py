"""Numbers and times in the writing of Go and of llama.cpp."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone


def stamp(zone_offset_s: int, now: float | None = None) -> str:
    """slog's time: milliseconds, cut, and `Z` in UTC.

    >>> stamp(0, 1_790_000_000.9876), stamp(-18_000, 1_790_000_000.9876)
    ('2026-09-21T14:13:20.987Z', '2026-09-21T09:13:20.987-05:00')
    """
    moment = datetime.fromtimestamp(time.time() if now is None else now, timezone(timedelta(seconds=zone_offset_s)))
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    return text + ("Z" if not zone_offset_s else moment.strftime("%z")[:3] + ":" + moment.strftime("%z")[3:])


def nanoseconds_text(moment: float, zone_offset_s: int = 0) -> str:
    """RFC 3339 with nanoseconds, trailing zeros dropped, as Go's JSON has it."""
    zone = UTC if not zone_offset_s else timezone(timedelta(seconds=zone_offset_s))
    whole = datetime.fromtimestamp(int(moment), zone)
    fraction = f"{int((moment - int(moment)) * 1e9):09d}".rstrip("0")
    text = whole.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "")
    return text + ("Z" if not zone_offset_s else whole.strftime("%z")[:3] + ":" + whole.strftime("%z")[3:])


def go_duration(seconds: float) -> str:
    """A duration as `String()` of Go has it.

    >>> [go_duration(s) for s in (0.000063114, 0.0171, 4.217936083, 300, 62.4)]
    ['63.114µs', '17.1ms', '4.217936083s', '5m0s', '1m2.4s']
    """
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return _trim(nanoseconds, 1e3, 3) + "µs"
    if nanoseconds < 1_000_000_000:
        return _trim(nanoseconds, 1e6, 6) + "ms"
    whole, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(whole, 60)
    text = _trim(rest, 1e9, 9) + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def access_duration(seconds: float) -> str:
    """A latency as GIN prints it: whole seconds beyond one minute."""
    return go_duration(float(int(seconds)) if seconds > 60 else seconds)


def binary_size(size_bytes: float) -> str:
    """`97.2 MiB`, as Ollama's log has sizes: three figures, one digit after the point at most.

    >>> [binary_size(n) for n in (0, 8_388_608, 25_232_932_864)]
    ['0 B', '8.0 MiB', '23.5 GiB']
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{int(size_bytes)} B"


def _trim(nanoseconds: float, unit: float, digits: int) -> str:
    text = f"{nanoseconds / unit:.{digits}f}"
    return text.rstrip("0").rstrip(".")
