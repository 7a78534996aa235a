"""`warmstall runbook`: what an operator sees, pastes and gets; and what Ctrl-C leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from typer.testing import CliRunner

from drill.awaiting import until
from warmstall.cli import app
from warmstall.drill.server_process import DrillServer
from warmstall.parse.plain_text import markdown_escaped
from warmstall.remediate.catalogue import NAMES, runbook
from warmstall.remediate.run import Outcome
from warmstall.remediate.step import Plan, Planned, Precondition
from warmstall.remediate.terminal import outcome_text

from .stuck import post, resident, stuck_runner

NAME = "recover-stuck-runner"
WARMSTALL = str(Path(sys.executable).with_name("warmstall"))
TESTS = Path(__file__).parents[1]
FAST = ["-p", "look_s=1", "-p", "leave_s=0.3", "-p", "deadline_s=30"]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of whoever runs the tests stays as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as started:
        yield started


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_look_paste_the_line_look_again(server: DrillServer, tmp_path: Path) -> None:
    """What is printed is enough: the plan, the line that approves it, the outcome, where it is recorded."""
    case = tmp_path / "the case"
    (case / "evidence").mkdir(parents=True)
    words = [WARMSTALL, "runbook", "run", NAME, "--port", str(server.port), "--case", str(case), *FAST]
    with stuck_runner(server) as pid:
        processes = {pid, server.pid, *server.runner_pids()}
        looked = run(words, tmp_path)
        assert looked.returncode == 0, looked.stderr
        assert "Nothing was changed. To do exactly this:" in looked.stdout
        assert len(looked.stdout.splitlines()) <= 30
        # Nothing but the record of having looked, and every process as it was.
        (notebook,) = files(tmp_path)
        assert re.fullmatch(rf"the case/out/runbooks/{NAME}-\d{{8}}T\d{{6}}\.\d{{3}}Z\.ipynb", notebook)
        assert all(psutil.pid_exists(one) for one in processes)

        stale = run([*words, "--no-dry-run", "--approved-plan", "0123456789ab"], tmp_path)
        assert stale.returncode == 2
        assert "read it again" in " ".join(stale.stdout.split())
        assert psutil.pid_exists(pid)

        line = next(line for line in looked.stdout.splitlines() if "--approved-plan" in line)
        acted = run(shlex.split(line), tmp_path)
        assert acted.returncode == 0, acted.stdout + acted.stderr
        assert len(acted.stdout.splitlines()) <= 30
        until(lambda: not psutil.pid_exists(pid))
    assert "Done." in acted.stdout
    assert "mid:latest" in resident(server)
    journal = re.search(r"^Journal: (.+) \(run (\w+)\)$", acted.stdout, flags=re.M)
    assert journal
    entries = [json.loads(line) for line in Path(journal[1]).read_text().splitlines()]
    assert entries[-1]["event"] == "run_finished"
    assert {entry["run"] for entry in entries} == {journal[2]}
    kept = [json.loads(line) for line in (case / "out" / "journal.jsonl").read_text().splitlines()]
    assert [(one["at"], one["event"]) for one in kept] == [(one["at"], one["event"]) for one in entries]

    again = run(shlex.split(line), tmp_path)
    assert again.returncode == 0
    assert "Nothing to do." in again.stdout


def test_what_cannot_be_told_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    done = run([WARMSTALL, "runbook", "run", NAME, "--port", "9", *FAST, "--json"], tmp_path)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["exit_code"] == 3
    assert Path(tmp_path / told["notebook"]).exists()


def test_ctrl_c_while_it_looks_changes_nothing(server: DrillServer, tmp_path: Path) -> None:
    post(server, model="mid", prompt="hello", options={"num_predict": 1}, keep_alive="0.5s")
    words = [WARMSTALL, "runbook", "run", NAME, "--port", str(server.port), "-p", "look_s=300", "-p", "model=mid"]
    with stuck_runner(server) as pid, subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as asked:
        until(lambda: list(tmp_path.rglob("*.ipynb")))  # papermill saves before it starts the first cell
        asked.send_signal(signal.SIGINT)
        assert asked.wait(60) == 130
        assert asked.stderr
        assert "interrupted; nothing was changed" in asked.stderr.read()
        assert psutil.pid_exists(pid)
        os.kill(pid, signal.SIGKILL)
    assert not (tmp_path / "state").exists()


WORK = """\
import time
from pathlib import Path
from remediate.files_runbook import runner, step
from warmstall.remediate.run import one_interrupt

def slowly(target):
    Path(folder, "begun").touch()
    time.sleep(120)

def undone_slowly(target, remembered):
    Path(folder, "undoing").touch()
    while not Path(folder, "pressed again").exists():
        time.sleep(0.02)
    return restore_file(target, remembered)

from warmstall.remediate import rollbacks
from warmstall.remediate.files import restore_file
rollbacks.ROLLBACKS["undone_slowly"] = undone_slowly
work = runner(Path(folder), steps=(
    step(Path(folder, "first"), "one", rollback=undone_slowly), step(Path(folder, "second"), "two", apply=slowly)))
with one_interrupt():
    work.run(False, work.plan().id)
"""


def test_ctrl_c_while_it_acts_takes_back_what_it_began(tmp_path: Path) -> None:
    """However often it is pressed; and the notebook saved tells it."""
    cells = [nbformat.v4.new_code_cell('folder: str = ""', metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(WORK), nbformat.v4.new_code_cell("open(folder + '/later', 'w')")]  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "work.ipynb")
    folder, executed = tmp_path / "folder", tmp_path / "executed.ipynb"
    folder.mkdir()
    program = (
        "import sys; from pathlib import Path; from warmstall.report import execute\n"
        "execute(Path(sys.argv[1]), Path(sys.argv[2]), {'folder': sys.argv[3]}, takes_back=True)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "work.ipynb"), str(executed), str(folder)]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True) as acting:
        until((folder / "begun").exists)
        assert (folder / "first").exists()
        acting.send_signal(signal.SIGINT)
        until((folder / "undoing").exists)
        acting.send_signal(signal.SIGINT)
        (folder / "pressed again").touch()
        assert acting.stderr
        assert "KeyboardInterrupt" in acting.stderr.read()
    assert not (folder / "first").exists()
    assert not (folder / "later").exists()
    events = [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert events[-2:] == ["undo_done", "run_finished"]
    assert "It was interrupted by the operator. Taken back:" in executed.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["recover-stuck-runer"], "did you mean recover-stuck-runner?"),
        ([NAME, "-p", "model"], "expected name=value"),
        ([NAME, "-p", "modle=x"], "no such parameter"),
        ([NAME, "-p", "dry_run=False"], "an option, --dry-run"),
        ([NAME, "-p", "ssh_options=-oProxyCommand=x"], "an option, --ssh-option"),
        ([NAME, "-p", "look_s=long"], "expected float"),
        ([NAME, "-p", "end_busy=yes"], "expected True or False"),
        ([NAME, "--case", "nowhere"], "no such folder"),
        ([NAME, "--out", "file/there"], "cannot be kept"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(words, told, tmp_path):
    (tmp_path / "file").touch()
    done = run([WARMSTALL, "runbook", "run", *words], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("warmstall: ")
    assert told in done.stderr
    assert list(files(tmp_path)) == ["file"]


def test_what_the_library_refuses_is_told_as_on_any_command(tmp_path: Path) -> None:
    done = run([WARMSTALL, "runbook", "run", NAME, "--target", "there", "--unit", "x"], tmp_path)
    assert done.returncode == 2, done.stderr
    assert "expected local, ssh://user@box[:port] or recorded:NAME" in done.stderr


def test_list_and_show() -> None:
    listed = CliRunner().invoke(app, ["runbook", "list"])
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(NAMES)
    (found,) = [one for one in json.loads(CliRunner().invoke(app, ["runbook", "list", "--json"]).stdout)
                if one["name"] == NAME]  # fmt: skip
    shown = CliRunner().invoke(app, ["runbook", "show", NAME])
    assert "stopping_deadlock" in found["causes"]
    assert {one["name"]: one["default"] for one in found["parameters"]} == dict(runbook(NAME).settings)
    assert all(one["meaning"] for one in found["parameters"])
    assert found["may_do"]
    assert all(markdown_escaped(step["does"]) in shown.stdout for step in found["may_do"])
    assert "**Do not use it when**" in shown.stdout
    assert json.loads(CliRunner().invoke(app, ["runbook", "show", NAME, "--json"]).stdout) == found


def told(rows: int = 1, status: Any = "planned", sentence: str = "", by_hand: tuple[str, ...] = ()) -> dict[str, Any]:
    row = Planned("\x1b[2Jstep", "does \u202ethis\x07", "now\nthen", "wanted", "act", "nobody", "taken back", by_hand)
    plan = Plan("free-vram", "local:11434", {}, "found \x9bit", (Precondition("one", "met", "yes"),), (row,) * rows)
    return {**asdict(Outcome(status, sentence, plan)), "journal": "j"}


def test_nothing_of_the_target_steers_the_terminal() -> None:
    text = outcome_text(told(), ["warmstall", "a'b; c"], [], "n", 100)
    assert re.sub(r"[\n→·…]", "", text).isprintable()
    assert shlex.split(next(line for line in text.splitlines() if "a'" in line)) == ["warmstall", "a'b; c"]


def test_a_long_plan_never_hides_how_to_approve_it_nor_what_to_do_by_hand() -> None:
    lines = outcome_text(told(60), ["warmstall", "approve"], [], "n", 100).splitlines()
    assert len(lines) == 30
    assert "    warmstall approve" in lines
    assert "  … the rest stands in the notebook." in lines
    commands = tuple(f"kubectl {number}" for number in range(50))
    sentence = "Run:" + "".join(f"\n    {command}" for command in commands)
    lines = outcome_text(told(60, "by hand", sentence, commands), [], [], "n", 100).splitlines()
    assert [line.strip() for line in lines if "kubectl" in line] == list(commands)
