"""`warmstall reproduce` on a terminal: options to a load, one sentence for what is wrong, and Ctrl-C."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from warmstall.drill.server_process import DrillServer
from warmstall.errors import WarmstallError
from warmstall.reproduce_commands import reproduce

APP = typer.Typer()
APP.command()(reproduce)
COMMAND = """
import typer
from warmstall.reproduce_commands import reproduce
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(reproduce)
app()
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction go where nobody else's are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


def plan_of(case: Path) -> dict:
    return json.loads((case / "plan.json").read_text())["plan"]


def test_options_become_the_plan(tmp_path, drill) -> None:
    """Every option that a plan is made of stands in plan.json; the answer names the case and what is next."""
    case = tmp_path / "case"
    options = "--profile rate --rate 8 --calls 4 --for 2m --warm-up 2 --seed 9 --prompt-tokens 30 --output-tokens 5"
    ran = CliRunner().invoke(
        APP, [str(case), *options.split(), "--target", drill.url, "--model", "tiny", "--every", "500ms", "--lexical"],
        catch_exceptions=False,
    )  # fmt: skip
    assert ran.exit_code == 0
    assert ran.stdout.endswith(f"Next: warmstall analyze {case}\n")
    plan = plan_of(case)
    profile = plan.pop("profile")
    asked = ("kind", "rate_per_s", "calls", "seconds", "warm_up", "seed")
    assert [profile[name] for name in asked] == ["rate", 8.0, 4, 120.0, 2, 9]
    assert (plan["target"], plan["model"], plan["what"], plan["lexical"]) == (drill.url, "tiny", "call", True)
    assert (plan["prompt_tokens"], plan["output_tokens"]) == (30, 5)


def test_json_is_all_that_is_printed(tmp_path, drill) -> None:
    """One document with the figures, for a program."""
    words = [str(tmp_path / "case"), "--calls", "2", "--target", drill.url, "--json"]
    ran = CliRunner().invoke(APP, words, catch_exceptions=False)
    told = json.loads(ran.stdout)
    assert (told["figures"]["calls"], told["missing"], told["driven"]["interrupted"]) == (2, 0, False)


def test_a_time_that_is_given_is_the_bound_of_a_rate(tmp_path, drill) -> None:
    """--for without --calls: as many as fit; neither: twenty."""
    options = ["--profile", "rate", "--rate", "10", "--for", "500ms", "--json", "--target", drill.url]
    ran = CliRunner().invoke(APP, [str(tmp_path / "case"), *options], catch_exceptions=False)
    told = json.loads(ran.stdout)
    assert (told["wanted_calls"], plan_of(tmp_path / "case")["profile"]["calls"]) == (5, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--profile steady", "profile 'steady': there is none of this name; there are sequential, concurrency"),
        ("--for soon", "--for soon: expected a duration such as 5s"),
        ("--profile sweep --levels 1,two", "--levels 1,two: expected numbers of clients"),
        ("--profile replay", "a replay needs a table"),
        ("--settings none.toml", "none.toml: cannot be read"),
        ("--target ftp://x", "target 'ftp://x': expected an address"),
        ("--experiment retries --collect", "--experiment retries with --collect: an experiment has a load of its own"),
        ("--experiment retries --profile rate", "collects nothing; leave --profile out."),
        ("--what embed --model tiny", "no embedder of the settings has it"),
        ("--clients 0 --profile concurrency", "concurrency (--clients) is 0; expected 1 to 512"),
        ("--what sing", "what is 'sing'; expected question, call, embed"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, words, told) -> None:
    """As an exception of the project, which the command line tells with exit code 2."""
    with pytest.raises(WarmstallError) as refused:
        CliRunner().invoke(APP, [str(tmp_path / "case"), *words.split()], catch_exceptions=False)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_experiments_are_listed_without_a_case(tmp_path) -> None:
    """Eight names with what each asks."""
    ran = CliRunner().invoke(APP, [str(tmp_path / "case"), "--experiment", "list"], catch_exceptions=False)
    lines = ran.stdout.splitlines()
    assert (ran.exit_code, len(lines), (tmp_path / "case").exists()) == (0, 8, False)
    assert lines[6].split(maxsplit=1) == [
        "embedder_lock", "Does the first use of an embedder fail when many threads come at once?",
    ]  # fmt: skip


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path) -> None:
    """What was measured is kept and told; the sentence is on stderr."""
    case = tmp_path / "case"
    options = ["--target", "drill", "--calls", "500", "--output-tokens", "200"]
    words = [sys.executable, "-c", COMMAND, str(case), *options]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    tick = threading.Event()
    while not (case / "measurements.csv").exists() or (case / "measurements.csv").read_bytes().count(b"\n") < 4:
        assert child.poll() is None, child.communicate()
        tick.wait(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert err == f"warmstall: interrupted; what was measured is in {case}, and the same command goes on with it.\n"
    assert "of 500 calls were not measured." in out
    with (case / "measurements.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) >= 3
    assert {row["ok"] for row in rows} == {"True"}
    assert json.loads((case / "case.json").read_text())["reproduce"]["missing"] > 0


def test_the_command_line_stays_light() -> None:
    """To import the command reads no table library, no numbers and no tracing."""
    heavy = "{'numpy', 'pandas', 'duckdb', 'opentelemetry', 'httpx'}"
    code = f"import sys, warmstall.reproduce_commands; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
