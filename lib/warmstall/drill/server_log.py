"""The server's log, as one process writes it: slog and raw lines on standard error, access lines on standard output."""

from __future__ import annotations

import json
import os
import time

from .go_text import access_duration, stamp
from .wording import Wording


class ServerLog:
    """Writes whole lines, each at once, so that lines of several processes never mix."""

    def __init__(self, wording: Wording, debug: bool) -> None:
        self.wording = wording
        self.debug = debug
        self.zone_offset_s = time.localtime().tm_gmtoff

    def say(self, section: str, **fields: object) -> None:
        """One section of the version's wording, now."""
        now = {"time": stamp(self.zone_offset_s)}
        lines = self.wording.lines(section, self.debug, {**now, **fields})
        if lines:
            _write(2, "\n".join(lines).encode() + b"\n")

    def access(self, status: int, wall_s: float, client: str, method: str, path: str) -> None:
        """GIN's line at the end of a request: local time, whole seconds."""
        ended = time.strftime("%Y/%m/%d - %H:%M:%S")
        quoted = json.dumps(path)
        text = f"[GIN] {ended} | {status:3d} | {access_duration(wall_s):>13} | {client:>15} | {method:<7}  {quoted}"
        _write(1, text.encode() + b"\n")

    def raw(self, lines: bytes) -> None:
        """What a runner wrote, passed on."""
        _write(2, lines)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
