"""How the generators write: Ollama's own line shapes, Go's durations, and a case folder with its hashes.

A generator is one module with `NAME`, and `write(case: CaseWriter) -> None`. All randomness comes from
`case.random`, seeded by the name, so the same files come out every time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

INCIDENTS = Path(__file__).parents[1] / "incidents"


def go_duration(seconds: float) -> str:
    """A duration as Go prints it in access lines: whole seconds above a minute.

    >>> go_duration(0.017), go_duration(4.1), go_duration(248.239), go_duration(0.00056)
    ('17ms', '4.1s', '4m8s', '560µs')
    """
    if seconds > 60:
        whole = int(seconds)
        hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
        return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
    if seconds == 60:
        return "1m0s"
    if seconds >= 1:
        return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    unit, size = ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{seconds * size:.6f}".rstrip("0").rstrip(".") + unit


def access(ended_at: datetime, status: int, wall_s: float, path: str, client: str = "127.0.0.1",
           method: str = "POST") -> str:  # fmt: skip
    """An access line; `ended_at` is the server's local time, as Ollama writes it."""
    stamp = f"{ended_at:%Y/%m/%d - %H:%M:%S}"
    return f'[GIN] {stamp} | {status} | {go_duration(wall_s):>13} | {client:>15} | {method:<8} "{path}"'


def slog(at: datetime, level: str, source: str, message: str, **fields: object) -> str:
    """A record of Ollama's own log. `at` has its zone. Names with two underscores stand for dots (runner__size)."""
    offset = at.utcoffset() or timedelta()
    zone = "Z" if not offset else f"{at:%z}"[:3] + ":" + f"{at:%z}"[3:]
    stamp = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}{zone}"
    pairs = "".join(f" {name.replace('__', '.')}={_value(value)}" for name, value in fields.items())
    return f"time={stamp} level={level} source={source} msg={_value(message)}{pairs}"


def _value(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' ="') else text


@dataclass
class TimedLines:
    """Lines with the moment at which they were written, to be put in order at the end; ties keep their order."""

    lines: list[tuple[datetime, str]] = field(default_factory=list)

    def add(self, at: datetime, *texts: str) -> None:
        self.lines += [(at, text) for text in texts]

    def text(self) -> str:
        return "".join(f"{text}\n" for _, text in sorted(self.lines, key=lambda pair: pair[0]))


class CaseWriter:
    """Writes one incident folder: its evidence, then case.json. README.md is written by hand and stays."""

    def __init__(self, name: str, folder: Path = INCIDENTS) -> None:
        self.folder = folder / name
        self.random = random.Random(name)
        self._hashes: dict[str, str] = {}
        shutil.rmtree(self.folder / "evidence", ignore_errors=True)

    def evidence(self, path: str, content: str) -> None:
        """Write `evidence/<path>`; a name that ends in .gz is compressed, the same bytes every time."""
        data = content.encode()
        if path.endswith(".gz"):
            packed = io.BytesIO()
            with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as handle:
                handle.write(data)
            data = packed.getvalue()
        target = self.folder / "evidence" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self._hashes[f"evidence/{path}"] = hashlib.sha256(data).hexdigest()

    def close(self, from_at: datetime, to_at: datetime, zone: str) -> None:
        """Write case.json; `zone` is the hosts' offset from UTC, as in +02:00."""
        hosts = sorted({path.split("/")[1] for path in self._hashes})
        record = {
            "schema": 1,
            "hosts": hosts,
            "zone": zone,
            "from": f"{from_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "to": f"{to_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "captured_with": "none: reconstructed from published figures (see README.md)",
            "redacted": [],
            "evidence": [{"path": path, "sha256": digest} for path, digest in sorted(self._hashes.items())],
        }
        (self.folder / "case.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
