"""A generated log, made in a process of its own: what measures holds as little memory as it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def fresh_log(log: Path, *options: str) -> dict[str, Any]:
    """Generate it with these options of server_log.py; gives its truth. It is on disk then, and in memory too."""
    generator = Path(__file__).with_name("server_log.py")
    # OUT stands first: an option that takes several values would take it for one of them.
    subprocess.run([sys.executable, str(generator), str(log), *options], check=True, stdout=subprocess.DEVNULL)
    os.sync()  # who comes first should not wait for the disk
    with log.open("rb") as handle:
        while handle.read(2**24):
            pass
    truth: dict[str, Any] = json.loads(log.with_name(log.name + ".truth.json").read_text(encoding="utf-8"))
    return truth
