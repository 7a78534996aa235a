"""Part files under provisional names: the tables stay as they were until a whole run has gone well."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from .manifest import SCHEMA, part_of, table_digest

if TYPE_CHECKING:
    import polars

_PROVISIONAL = ".partial"


def write_part(tables: Path, table: str, part: str, rows: polars.DataFrame) -> Path:
    """Write one part of a table and return its provisional name. Raises OutputError when it cannot be written."""
    provisional = tables / f"{table}-{part}{_PROVISIONAL}"
    content = io.BytesIO()  # Polars hides what the file system says behind an error of its own
    with writing(tables):
        # What zstd makes is a third smaller, and takes longer to write and to read.
        rows.write_parquet(content, compression="snappy", statistics=False)
        provisional.write_bytes(content.getbuffer())
    return provisional


class Staging:
    """The parts that a run has written, until they take the place of the old ones."""

    def __init__(self, tables: Path) -> None:
        self.tables = tables
        self.written: list[Path] = []
        for left_over in tables.glob(f"*{_PROVISIONAL}"):  # by a run that was killed
            left_over.unlink()

    def add(self, *provisional: Path) -> None:
        """Take over parts that `write_part` has written."""
        self.written += provisional

    def commit(self, sources: dict[str, dict[str, Any]], trial_columns: dict[str, str]) -> None:
        """Put the new parts in the place of the old ones. While that lasts there is no manifest: a run that
        is killed here leaves tables that the next one makes anew."""
        manifest = self.tables / "ingest.json"
        provisional = manifest.with_suffix(_PROVISIONAL)
        text = json.dumps({"schema": SCHEMA, "rows": table_digest(trial_columns), "sources": sources}, indent=1)
        kept = {part for account in sources.values() for part in account["parts"]}
        kept -= {part_of(path) for path in self.written}
        with writing(self.tables):
            self.add(provisional)
            provisional.write_text(text)
            manifest.unlink(missing_ok=True)
            for path in self.tables.glob("*.parquet"):
                if part_of(path) not in kept:
                    path.unlink()
            for path in self.written:
                path.replace(manifest if path == provisional else path.with_suffix(".parquet"))

    def discard(self) -> None:
        """Leave nothing of this run; the tables are as they were."""
        for provisional in [*self.written, *self.tables.glob(f"*{_PROVISIONAL}")]:
            provisional.unlink(missing_ok=True)


@contextmanager
def writing(tables: Path) -> Iterator[None]:
    """Whatever the file system says against it, as an OutputError of one sentence."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise OutputError(f"{tables}: cannot write the tables ({reason}).") from error
