"""`warmstall lnav-format`: the lnav format of Ollama's logs, printed or installed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def lnav_format(
    install: Annotated[bool, typer.Option("--install", help="Write it where lnav looks for formats.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it; it always is JSON.")] = False,
) -> None:
    """Print the lnav format of Ollama's logs, or install it for this user. See docs/lnav.md."""
    from .lnav import lnav_format as format_of_the_table
    from .writing import whole_file

    text = json.dumps(format_of_the_table(), indent=1, ensure_ascii=False) + "\n"
    if as_json or not install:
        print(text, end="")
    if install:
        path = formats_folder() / "warmstall" / "ollama_log.json"
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
        print(f"installed: {path}", file=sys.stderr)


def formats_folder() -> Path:
    """Where lnav looks for this user's formats: ~/.lnav if it is there, else below $XDG_CONFIG_HOME or ~/.config."""
    old, configuration = Path.home() / ".lnav", os.environ.get("XDG_CONFIG_HOME")
    folder = old if old.is_dir() else Path(configuration or Path.home() / ".config") / "lnav"
    return folder / "formats"
