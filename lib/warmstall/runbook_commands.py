"""`warmstall runbook list|show|run`: the notebooks of runbooks/ from a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InputError, ParameterError

runbook_app = typer.Typer(
    no_args_is_help=True, help="Remediation that checks, plans, asks, acts, verifies, rolls back and records."
)


@runbook_app.command("list")
def list_runbooks(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole catalogue, as docs/runbooks.md.")] = False,
) -> None:
    """List the runbooks: what each one does, and the causes that name it."""
    from .remediate.catalogue import NAMES, runbook
    from .remediate.pages import page, runbooks_markdown

    if markdown:
        print(runbooks_markdown(), end="")
    elif as_json:
        print(json.dumps([page(name).as_json() for name in NAMES], indent=1, ensure_ascii=False))
    else:
        print("\n".join(f"{one.name:29}{one.title}" for one in map(runbook, NAMES)))


@runbook_app.command("show")
def show_runbook(
    name: Annotated[str, typer.Argument(help="As `warmstall runbook list` names it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell what a runbook does, when to use it and when not, its parameters, and what it may change."""
    from .remediate.pages import page

    found = page(name)
    print(json.dumps(found.as_json(), indent=1, ensure_ascii=False) if as_json else found.markdown, end="\n" * as_json)


@runbook_app.command("run")
def run_runbook(
    name: Annotated[str, typer.Argument(help="As `warmstall runbook list` names it.")],
    target: Annotated[str, typer.Option(help="local, ssh://user@box[:port], recorded[:NAME].")] = "local",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the server; 0 for Ollama's usual one.")] = 0,
    unit: Annotated[str, typer.Option(help="The systemd unit of the server.")] = "ollama.service",
    ssh_option: Annotated[
        list[str] | None, typer.Option("--ssh-option", help="Passed to ssh, as -oIdentityFile=KEY.")
    ] = None,
    case: Annotated[Path | None, typer.Option(help="The case that this belongs to; keeps the record.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Only tell what would be done.")] = True,
    approved_plan: Annotated[str, typer.Option(help="The id of the plan that you have read.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take back what the last run of it did.")] = False,
    operator: Annotated[str, typer.Option(help="Who does this; without it the user of this machine.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the executed notebooks; without it out/runbooks of the case.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="One of its own parameters, as model=llama3:8b.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run a runbook. It tells its plan and changes nothing, unless the plan is approved by its id.

    Exit code: 0 as wanted, or planned; 1 it acted in vain and took back what it could; 2 refused; 3 cannot tell.
    """
    from .remediate.book import COMMON
    from .remediate.catalogue import runbook
    from .remediate.executed import run_notebook
    from .remediate.terminal import outcome_text

    found = runbook(name)
    own = {**{key: default for key, default in COMMON.items() if key not in _OPTIONS}, **found.settings}
    parameters: dict[str, object] = {
        "target": target, "port": port, "unit": unit, "ssh_options": list(ssh_option or ()), "dry_run": dry_run,
        "approved_plan": approved_plan, "undo": undo, "operator": operator,
        "case": str(case.absolute()) if case else "", **_own_parameters(found.name, parameter or [], own),
    }  # fmt: skip
    if case and not case.is_dir():
        raise InputError(f"--case {case}: there is no such folder; expected a case, as `warmstall collect` writes it.")
    kept_in = out or (case / "out" / "runbooks" if case else Path("warmstall-out") / "runbooks")
    _say(f"{found.name} on {target}: {'looking' if dry_run else 'acting as approved'} …")
    done = run_notebook(found.name, parameters, kept_in)
    if as_json:
        told = {**(done.outcome or {}), "failure": done.failure, "notebook": str(done.notebook)}
        print(json.dumps({**told, "exit_code": done.exit_code}, indent=1, ensure_ascii=False))
    elif done.outcome:
        again = [*_this_program(), *_words(found.name, target, port, unit, ssh_option, case, operator, out, parameter)]
        plan = (done.outcome["plan"] or {}).get("id", "")
        approve = [*again, *(["--undo"] if undo else []), "--no-dry-run", "--approved-plan", plan]
        width = min(max(shutil.get_terminal_size((120, 24)).columns, 60), 140)
        print(outcome_text(done.outcome, approve, [*again, "--undo"], str(done.notebook), width))
    if done.failure:
        _complain(f"{done.failure} (see {done.notebook})" if done.notebook.exists() else done.failure)
    raise typer.Exit(done.exit_code)


# Parameters that have an option of their own; the others of every runbook are given by -p, as its own are.
_OPTIONS = ("target", "port", "unit", "ssh_options", "dry_run", "approved_plan", "undo", "operator", "case")


def _own_parameters(name: str, given: list[str], defaults: dict[str, Any]) -> dict[str, object]:
    """`-p name=value`, each value of the type that its default has; lists by commas, or given again.

    >>> _own_parameters("x", ["tries=3", "share=0.5", "sure=true", "pods=a,b", "pods=c"],
    ...                 {"tries": 1, "share": 1.0, "sure": False, "pods": [], "model": ""})
    {'tries': 3, 'share': 0.5, 'sure': True, 'pods': ['a', 'b', 'c']}
    """
    values: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"-p {text}: expected name=value, such as -p model=llama3:8b.")
        if key in _OPTIONS:
            raise ParameterError(f"-p {key}: that is an option, --{key.rstrip('s').replace('_', '-')}.")
        if key not in defaults:
            raise ParameterError(f"-p {key}: {name} has no such parameter; there are {', '.join(defaults)}.")
        default = defaults[key]
        if isinstance(default, list):
            kind = type(default[0]) if default else str
            items = [_typed(key, item, kind) for item in value.split(",") if item]
            before = values.get(key)
            values[key] = [*before, *items] if isinstance(before, list) else items
        else:
            values[key] = _typed(key, value, type(default))
    return values


def _typed(key: str, value: str, kind: type) -> object:
    if kind is bool:
        truths = {"true": True, "false": False}
        if value.lower() not in truths:
            raise ParameterError(f"-p {key}={value}: expected True or False.")
        return truths[value.lower()]
    try:
        return kind(value)
    except ValueError:
        raise ParameterError(f"-p {key}={value}: expected {kind.__name__}.") from None


def _words(
    name: str, target: str, port: int, unit: str, ssh_option: list[str] | None, case: Path | None, operator: str,
    out: Path | None, parameter: list[str] | None,
) -> list[str]:  # fmt: skip
    """The same command line once more, without what approves it."""
    words = ["runbook", "run", name]
    options = (
        ("--target", target, "local"), ("--port", str(port), "0"), ("--unit", unit, "ollama.service"),
        ("--case", str(case or ""), ""), ("--operator", operator, ""), ("--out", str(out or ""), ""),
    )  # fmt: skip
    for option, value, default in options:
        words += [option, value] if value != default else []
    for value in ssh_option or ():
        words += [f"--ssh-option={value}"]  # it begins with a dash itself
    for value in parameter or ():
        words += ["-p", value]
    return words


def _this_program() -> list[str]:
    """How this was called, so that what is printed can be pasted."""
    called = sys.argv[0]
    on_path = shutil.which("warmstall")
    if Path(called).suffix == ".py":
        return [sys.executable, "-m", "warmstall.cli"]
    return ["warmstall"] if on_path and Path(on_path).absolute() == Path(called).absolute() else [called]


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _complain(text: str) -> None:
    from .parse.plain_text import printable

    print(f"warmstall: {printable(text)}", file=sys.stderr)
