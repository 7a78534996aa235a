"""The lnav format: lnav itself accepts it and reads real logs by it. Without lnav, what can be said of it anyway."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from conftest import INCIDENTS
from warmstall.lnav import NAME, lnav_format, samples
from warmstall.lnav_commands import lnav_format as command
from warmstall.parse.log_events import EVENTS, event_in

LOG = INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "server.log"
OLD_LOG = INCIDENTS / "queue-one-slot" / "evidence" / "server" / "server.log"
needs_lnav = pytest.mark.skipif(not shutil.which("lnav"), reason="lnav is not installed (apt-get install lnav)")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the format installed by the command, and nothing else."""
    app = typer.Typer()
    app.command()(command)
    settings = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    done = CliRunner().invoke(app, ["--install"], env=settings)
    assert done.exit_code == 0, done.output
    assert (tmp_path / ".config" / "lnav" / "formats" / "warmstall" / "ollama_log.json").is_file()
    return tmp_path


def lnav(home: Path, *words: str, text: str | None = None) -> str:
    """What lnav prints; it must end well and say nothing of an error."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "TZ": "UTC", "LANG": "C.UTF-8"}
    folder = str(home / ".config" / "lnav")
    done = subprocess.run(["lnav", "-I", folder, *words], input=text, env=environment, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


def rows(home: Path, log: Path, query: str) -> list[dict[str, str]]:
    """The answer to a query over a log whose first line lnav's own logfmt format does not take for its own."""
    text = re.sub(r"\A", "= ", log.read_text(encoding="utf-8"))
    (home / "server.log").write_text(text, encoding="utf-8")
    answer = lnav(home, "-n", "-c", f";{query}", "-c", ":write-csv-to -", str(home / "server.log"))
    return list(csv.DictReader(io.StringIO(answer)))


@needs_lnav
def test_lnav_accepts_the_format(home: Path) -> None:
    """-C loads every format and checks each pattern on each sample; it is silent where all is well."""
    assert lnav(home, "-C") == ""


@needs_lnav
def test_lnav_refuses_a_broken_one(home: Path) -> None:
    path = home / ".config" / "lnav" / "formats" / "warmstall" / "ollama_log.json"
    broken = json.loads(path.read_text())
    broken[NAME]["regex"]["access"]["pattern"] = "^(?<timestamp>nothing)(?<body>.*)$"
    path.write_text(json.dumps(broken))

    with pytest.raises(AssertionError, match="sample"):
        lnav(home, "-C")


@needs_lnav
def test_every_record_of_a_real_log_is_a_row(home: Path) -> None:
    text = LOG.read_text()
    (row,) = rows(home, LOG, f"SELECT count(*) AS n, count(status) AS access, count(msg) AS slog FROM {NAME}")

    assert int(row["access"]) == len(re.findall(r"^\[GIN\] 2", text, flags=re.M)) == 99
    assert int(row["slog"]) == len(re.findall(r"^time=", text, flags=re.M))
    assert int(row["n"]) == int(row["access"]) + int(row["slog"])


@needs_lnav
def test_access_lines_have_columns(home: Path) -> None:
    found = rows(home, LOG, "SELECT log_level, status, latency, latency_s, latency_unit, client, method, path "
                            f"FROM {NAME} WHERE path = '/api/generate' LIMIT 1")  # fmt: skip

    assert found == [{
        "log_level": "info", "status": "200", "latency": "463.507587ms", "latency_s": "463.507587",
        "latency_unit": "ms", "client": "127.0.0.1", "method": "POST", "path": "/api/generate",
    }]  # fmt: skip


@needs_lnav
def test_events_are_tables_with_their_fields(home: Path) -> None:
    (loaded,) = {row["seconds"] for row in rows(home, LOG, "SELECT seconds FROM ollama_load_done_2")}
    tasks = rows(home, LOG, "SELECT slot, task FROM ollama_ls_task_start")

    assert loaded == re.findall(r"llama-server started in ([0-9.]+) seconds", LOG.read_text())[0]
    # Lines of the runner have no time of their own: they are found within the record above them.
    assert len(tasks) == LOG.read_text().count("processing task, is_child")
    assert {row["slot"] for row in tasks} == {"0"}


@needs_lnav
def test_old_wordings_are_read_as_they_are(home: Path) -> None:
    """A log of 0.3.14 begins with a line of Go's own log, which no other format takes."""
    answer = lnav(home, "-n", "-c", f";SELECT count(*) AS n, count(status) AS access FROM {NAME}",
                  "-c", ":write-csv-to -", str(OLD_LOG))  # fmt: skip

    assert answer.split() == ["n,access", "48,31"]


@needs_lnav
def test_the_documented_queries_run(home: Path) -> None:
    page = (INCIDENTS.parents[1] / "docs" / "lnav.md").read_text(encoding="utf-8")
    queries = re.findall(r"^```sql\n(.*?)^```", page, flags=re.M | re.S)

    assert len(queries) >= 3
    for query in queries:
        assert rows(home, LOG, " ".join(query.split()).rstrip(";")), query


def test_the_format_is_made_of_the_table() -> None:
    tables = lnav_format()[NAME]["search-table"]

    assert {f"ollama_{event.key}" for event in EVENTS} <= set(tables)


def test_every_pattern_finds_its_samples() -> None:
    """Python's engine reads the same patterns, so this holds where lnav is not installed, too."""
    made = lnav_format()[NAME]
    in_python = {name: re.compile(rule["pattern"].replace("(?<", "(?P<").replace("(?P<!", "(?<!"))
                 for name, rule in made["regex"].items()}  # fmt: skip
    for line in samples():
        assert [name for name, pattern in in_python.items() if pattern.search(line)], line
    for event in EVENTS:
        own = [table for name, table in made["search-table"].items() if name.startswith(f"ollama_{event.key}")]
        patterns = [table["pattern"].replace("(?<", "(?P<").replace("(?P<!", "(?<!") for table in own]
        assert any(re.search(pattern, event.sample) for pattern in patterns), event.sample
        assert event_in(event.sample)


def test_the_command_prints_json() -> None:
    app = typer.Typer()
    app.command()(command)
    printed = CliRunner().invoke(app, ["--json"])

    assert json.loads(printed.stdout) == lnav_format()
