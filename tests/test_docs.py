"""What the README says is what happens: its commands are run, its facts compared."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from conftest import INCIDENTS, ROOT
from warmstall.records import VERDICTS
from warmstall.redact import KINDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
BLOCKS = [block for page in PAGES.values() for block in re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S)]
COMMANDS_OF_SCHEDULES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGES["schedule.md"], flags=re.M | re.S)
    for line in block.splitlines() if line.strip()
]  # fmt: skip
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
# These are run by the Makefile's own user, or are servers; the rest is run here.
ELSEWHERE = {
    "make demo": "tested below by what it runs",
    "make test": "is what runs this test",
    "make lint": "is run beside it",
    "make docs": "writes into docs/; test_hypotheses_md_is_the_catalogue compares",
    ".venv/bin/warmstall analyze ~/.ollama/logs/server.log": "needs the reader's own log",
    ".venv/bin/jupyter lab notebooks/postmortem.ipynb": "is a server; nbval runs the notebook",
    ".venv/bin/warmstall collect my-case --host ssh://me@gpu-box": "needs another machine; test_ssh.py has one",
    ".venv/bin/warmstall watch my-case --every 5s --for 10m": "takes ten minutes; run below for a second",
    ".venv/bin/warmstall analyze my-case --clock laptop=+37s": "needs a case of two hosts; run below",
    ".venv/bin/warmstall analyze my-case --trial-column started=t0 --trial-column wall_ms=took": "run below",
    ".venv/bin/warmstall drill run queue_full": "takes twenty seconds; run below",
    ".venv/bin/warmstall analyze drill-queue_full --no-report": "needs the drill; run below",
    ".venv/bin/warmstall drill serve --port 11434": "is a server; run below on a free port",
    ".venv/bin/warmstall drill serve --port 11435": "is a server; run by remediate/test_docs.py, as all that asks it",
    ".venv/bin/warmstall runbook run free-vram --port 11435": "asks that server",
    ".venv/bin/warmstall doctor": "fails where nothing can be collected; test_preflight.py has a server",
    ".venv/bin/warmstall doctor --run-plan 1000 --model llama3:8b --prompt-tokens 3000": "run on a recording",
    ".venv/bin/warmstall runbook run free-vram --port 11435 --undo": "asks that server",
    '.venv/bin/warmstall rag ask "Why is the first answer slow and the next one fast?"': "rag/test_rag_commands.py",
    ".venv/bin/warmstall analyze my-load --no-report": "needs the load; run below",
    ".venv/bin/warmstall lnav-format --install": "writes into the reader's home; test_lnav.py",
    "cp data/alerts.toml alerts.toml": "health/test_delivery.py reads the example, with all that is commented out",
    "export WARMSTALL_ALERT_URL='mailtos://me:app-password@mail.example.org?to=ops@example.org'": "is the shell's own",
    ".venv/bin/warmstall report --collect": "collects from this machine; schedule/test_docs.py",
    ".venv/bin/warmstall report --serve-metrics 9464 --out warmstall-health": "is a server; health/test_run.py",
    ".venv/bin/warmstall report --check-freshness": "fails where no report was; test_freshness.py",
    ".venv/bin/warmstall report --collect --alerts alerts.toml": "collects, and sends; health/test_sending.py",
    ".venv/bin/warmstall report --check-freshness --out warmstall-health --alerts alerts.toml": "test_freshness.py",
}
# The page of fleets is followed, on loopback, by fleet/test_docs.py.
COMMANDS_OF_FLEETS = re.findall(r"^\.venv/bin/(?:dask|warmstall|papermill) .*", PAGES["fleet.md"], flags=re.M)
ELSEWHERE |= dict.fromkeys(COMMANDS_OF_FLEETS, "fleet/test_docs.py")
# The page of schedules is followed line by line, in an empty home, by schedule/test_docs.py.
ELSEWHERE |= dict.fromkeys(COMMANDS_OF_SCHEDULES, "schedule/test_docs.py")
RUN_HERE = [command for command in dict.fromkeys(COMMANDS) if command not in ELSEWHERE]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction go where nobody else's are; `my-case` is a case that was collected before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A documented command with this environment's programs, run where its results may lie."""
    words = [
        str(Path(sys.executable).parent / word.removeprefix(".venv/bin/")) if word.startswith(".venv/bin/") else word
        for word in shlex.split(command)
    ]
    words = [str(ROOT / word) if (ROOT / word).exists() else word for word in words]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("command", RUN_HERE)
def test_documented_command_runs(command: str, tmp_path: Path) -> None:
    asked = command
    # Results of a case go into the case, so each command gets a copy of it.
    for name in re.findall(r"data/incidents/([\w-]+)", command):
        copy = tmp_path / name
        subprocess.run(["cp", "-r", str(INCIDENTS / name), str(copy)], check=True)
        command = command.replace(f"data/incidents/{name}", str(copy))
    if "analyze my-case" in command:
        assert run(".venv/bin/warmstall collect my-case", tmp_path).returncode == 0
    done = run(command, tmp_path)

    # A report's exit code says how the server is.
    assert done.returncode in ((0, 1, 2) if " report " in command else (0,)), done.stderr[-2000:]
    shown = re.search(re.escape(asked) + r"\n```\n[^`]*```text\n(.*?)```", README, flags=re.S)
    if shown and " report " in command:
        assert shown[1].strip() in done.stdout, "README.md shows something else"


def test_the_readme_shows_commands() -> None:
    assert len(RUN_HERE) >= 2
    assert set(ELSEWHERE) <= set(COMMANDS)


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The recipe of `make demo`, and the lines that the README quotes from it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n\t@\$\(BIN\)/(.+)$", makefile, flags=re.M)
    assert recipe
    done = run(f".venv/bin/{recipe[1]} --no-report", tmp_path)
    shown = re.search(r"^```text\n(.*?)^```", README, flags=re.M | re.S)
    assert shown

    for line in shown[1].strip().splitlines():
        assert line in done.stdout.splitlines()


def test_every_verdict_is_explained() -> None:
    assert all(f"`{verdict}`" in README for verdict in VERDICTS)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *INCIDENTS.rglob("README.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page}: {target}"


def test_the_case_of_a_load_is_analyzed(tmp_path: Path) -> None:
    """docs/reproduce.md: the load, then its analysis."""
    assert run(
        ".venv/bin/warmstall reproduce my-load --profile rate --rate 5 --calls 20 --target drill", tmp_path
    ).stdout
    told = run(".venv/bin/warmstall analyze my-load --no-report", tmp_path)

    assert "21 requests to models" in told.stdout, told.stdout + told.stderr


def test_the_commands_for_clocks_columns_and_a_short_watch(tmp_path: Path) -> None:
    server, laptop = (tmp_path / "my-case" / "evidence" / name for name in ("server", "laptop"))
    server.mkdir(parents=True)
    laptop.mkdir()
    source = INCIDENTS / "queue-one-slot" / "evidence" / "server"
    (server / "server.log").write_bytes((source / "server.log").read_bytes())
    rows = list(csv.DictReader((source / "trials.csv").open()))
    with (laptop / "calls.csv").open("w") as handle:  # columns whose names tell nothing, a clock that is 37 s behind
        writer = csv.writer(handle)
        writer.writerow(["t0", "took", "model", "endpoint", "status"])
        for row in rows:
            began, ended = (datetime.fromisoformat(row[name]) for name in ("start_ts", "end_ts"))
            shown = (began - timedelta(seconds=37)).isoformat()
            took = (ended - began).total_seconds() * 1000
            writer.writerow([shown, took, row["model"], row["endpoint"], row["status"]])
    columns = (
        ".venv/bin/warmstall analyze my-case --trial-column started=t0 --trial-column wall_ms=took --no-report --json"
    )
    estimated = json.loads(run(columns, tmp_path).stdout)["clocks"]
    stated = json.loads(run(columns + " --clock laptop=+37s", tmp_path).stdout)["clocks"]
    (found,) = (clock for clock in estimated if clock["host"] == "laptop")
    assert (round(found["offset_s"]), found["source"]) == (37, "the same requests")
    (found,) = (clock for clock in stated if clock["host"] == "laptop")
    assert (found["offset_s"], found["source"]) == (37.0, "stated")

    done = run(".venv/bin/warmstall watch watched --every 0.2s --for 0.6s", tmp_path)
    assert re.match(r"[1-4] samples in watched\.\n\nNext: warmstall analyze watched", done.stdout), done.stderr


def test_a_drill_is_run_and_analyzed(tmp_path: Path) -> None:
    done = run(".venv/bin/warmstall drill run queue_full", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "queue_full as Ollama 0.13.5" in done.stdout
    assert "Next: warmstall analyze drill-queue_full" in done.stdout
    answer = run(".venv/bin/warmstall analyze drill-queue_full --no-report", tmp_path).stdout
    assert "Queue (parallel_queue)" in answer


def test_the_scenario_of_the_page_runs(tmp_path: Path) -> None:
    written = re.search(r"^```toml\n(.*?)^```", PAGES["drill.md"], flags=re.M | re.S)
    assert written
    (tmp_path / "mine.toml").write_text(written[1], encoding="utf-8")
    done = run(".venv/bin/warmstall drill run mine.toml --json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [fault["fault"] for fault in json.loads(done.stdout)["faults"]] == ["stopped_runner"]


def test_a_drill_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    words = [str(Path(sys.executable).parent / "warmstall"), "drill", "serve"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr
        line = next(line for line in served.stderr if "Listening on" in line)
        port = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert port
        answer = httpx.get(f"http://127.0.0.1:{port[1]}/api/version", timeout=10)
        assert answer.json() == {"version": "0.13.5"}
        served.send_signal(signal.SIGINT)
        assert served.wait(20) in (0, 130)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port[1]}/api/version", timeout=10)


def test_the_kinds_of_redaction_are_those_of_the_program() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", PAGES["redaction.md"], flags=re.M))
    assert listed == KINDS
