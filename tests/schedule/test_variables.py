"""The file with the addresses: read as systemd reads it, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstall.errors import InputError
from warmstall.schedule.variables import read_variables


def a_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "alerts.env"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_lines_comments_and_quotes(tmp_path: Path) -> None:
    path = a_file(tmp_path, '# who\n\nA=https://h/$x%20#1\nB="two words"\n; no\nC=\n')

    assert read_variables(path) == {"A": "https://h/$x%20#1", "B": "two words", "C": ""}


def test_no_file_is_no_variables(tmp_path: Path) -> None:
    assert read_variables(tmp_path / "alerts.env") == {}


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chmod 600"):
        read_variables(a_file(tmp_path, "A=1\n", 0o644))


@pytest.mark.parametrize("line", ["export A=hunter22", "hunter22", "A=hunter22\\"])
def test_a_wrong_line_is_named_and_never_shown(line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: expected NAME=value") as refused:
        read_variables(a_file(tmp_path, f"A=1\n{line}\n"))
    assert "hunter22" not in str(refused.value)
