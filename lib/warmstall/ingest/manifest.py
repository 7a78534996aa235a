"""What `tables/ingest.json` remembers: per file, how far it was read and what stood there."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..evidence import Evidence
from ..schema import STORED, TABLES

SCHEMA = 4
_FINGERPRINT_BYTES = 4096
_FINGERPRINT_SPOTS = 16


def read_manifest(tables: Path, trial_columns: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What was read before; nothing when the tables are of another version or not all there."""
    try:
        saved = json.loads((tables / "ingest.json").read_text())
        if saved["schema"] != SCHEMA or saved["rows"] != table_digest(trial_columns):
            return {}
        sources: dict[str, dict[str, Any]] = saved["sources"]
        wanted = {part for account in sources.values() for part in account["parts"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # derived data, made anew
    return sources if wanted <= {part_of(path) for path in tables.glob("*.parquet")} else {}


def table_digest(trial_columns: dict[str, str]) -> str:
    """Changes when the code that makes tables does, so that tables made with older code are not mixed with new ones."""
    digest = hashlib.sha256(json.dumps([TABLES, STORED, trial_columns]).encode())
    for folder in ("parse", "ingest"):
        for file in sorted((files("warmstall") / folder).iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".sql")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def is_continued(item: Evidence, before: dict[str, Any]) -> bool:
    """Whether the file still begins with the bytes that were read before, and means the same."""
    same = all(before[name] == getattr(item, name) for name in ("kind", "host", "stream", "age"))
    return same and not item.is_stdin and fingerprint(item.path, before["size"]) == before["fingerprint"]


def stat_of(path: Path) -> list[int]:
    """What the file system says of a file; a change of its bytes changes one of these."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def fingerprint(path: Path, size: int) -> str:
    """A digest of samples of the first `size` bytes: has what was read stayed as it was?"""
    digest = hashlib.sha256()
    last = max(0, size - _FINGERPRINT_BYTES)
    with path.open("rb") as handle:
        for spot in range(_FINGERPRINT_SPOTS + 1):
            handle.seek(last * spot // _FINGERPRINT_SPOTS)
            digest.update(handle.read(min(_FINGERPRINT_BYTES, size)))
    return digest.hexdigest()[:24]


def part_name(item: Evidence, suffix: str) -> str:
    """Part files are named by a digest, because a path of the evidence may hold anything."""
    return f"{hashlib.sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-{suffix}"


def part_of(path: Path) -> str:
    return path.stem.partition("-")[2]
