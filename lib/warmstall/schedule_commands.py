"""`warmstall schedule print|run`: what puts the health report on a schedule, and what bounds it where nothing does."""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import InputError
from .parse.plain_text import printable

if TYPE_CHECKING:
    from .schedule.records import UnitFile

schedule_app = typer.Typer(no_args_is_help=True, help="Units and jobs that run the health report, and who checks it.")

_KINDS = "systemd, cron, launchd, kubernetes or jupyter-scheduler"
# The others run where there is nothing to capture, or nobody to do it.
_CAPTURING = ("systemd", "cron", "launchd")


@schedule_app.command("print")
def print_schedule(
    kind: Annotated[str, typer.Argument(help=_KINDS)],
    paths: Annotated[
        list[Path] | None, typer.Option("--paths", help="A log, folder or case to read; repeat it.")
    ] = None,
    collect: Annotated[
        bool | None, typer.Option("--collect/--no-collect", help="Capture this machine; the default without --paths.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the reports.")] = None,
    every: Annotated[str, typer.Option(help="From one report to the next: 15m, 1h, 6h, 24h …")] = "1h",
    alerts: Annotated[Path | None, typer.Option(help="Whom to tell, as TOML; see docs/schedule.md.")] = None,
    objectives: Annotated[Path | None, typer.Option(help="Objectives, as TOML; without it warmstall's own.")] = None,
    user: Annotated[str, typer.Option(help="A unit of the system that runs as this user; else your own unit.")] = "",
    longest: Annotated[str, typer.Option(help="A report that takes longer is ended.")] = "10m",
    memory: Annotated[str, typer.Option(help="A report that needs more is ended, as 1G or 768M.")] = "1G",
    watch: Annotated[bool, typer.Option("--watch", help="Also look every 30 s in between.")] = False,
    only: Annotated[str, typer.Option(help="One job alone: report, freshness or watch.")] = "",
    into: Annotated[Path | None, typer.Option(help="Write the files into this folder in place of printing.")] = None,
    image: Annotated[str, typer.Option(help="Kubernetes: an image that has warmstall.")] = "",
    namespace: Annotated[str, typer.Option(help="Kubernetes: where the jobs run.")] = "default",
    logs_claim: Annotated[str, typer.Option(help="Kubernetes: the volume claim with Ollama's logs.")] = "",
    notebook: Annotated[
        str, typer.Option(help="jupyter-scheduler: the notebook, from the server's folder.")
    ] = "notebooks/health_report.ipynb",
    environment: Annotated[str, typer.Option(help="jupyter-scheduler: name of the runtime environment.")] = "",
) -> None:
    """Print what runs the health report on a schedule, and apart from it checks that there is a fresh one."""
    from .schedule.catalogue import kind_of
    from .schedule.records import Schedule

    chosen = kind_of(kind)
    in_pod = kind == "kubernetes"
    given = tuple(str(path if in_pod else _absolute(path)) for path in paths or ())
    schedule = Schedule(
        program=("warmstall",) if in_pod else _program(),
        out=str(out if in_pod and out else _absolute(out) if out else _usual_out(kind, user)),
        every_s=_seconds(every, "--every"),
        longest_s=_seconds(longest, "--longest"),
        memory_bytes=_size_bytes(memory),
        collect=(not given and kind in _CAPTURING) if collect is None else collect,
        paths=given or (("/logs",) if in_pod else ()),
        alerts=_file(alerts, "--alerts"),
        objectives=_file(objectives, "--objectives"),
        metrics=_metrics(alerts),
        user=user,
        watch=watch,
        place=f"{namespace if in_pod else platform.node()} {out or ''}",
        image=image,
        namespace=namespace,
        logs_claim=logs_claim,
        notebook=notebook,
        environment=environment or Path(sys.executable).name,
    )
    files = chosen.files(schedule, only)
    if into is None:
        print(_printed(files, chosen.one_file and len(files) == 1), end="")
        return
    into = _absolute(into)
    _write(files, into)
    steps = chosen.next_steps(schedule, files, str(into))
    print("\n".join(["", "Next:", *(f"  {printable(step)}" for step in steps)]))


@schedule_app.command("run")
def run_within_bounds(
    words: Annotated[list[str], typer.Argument(help="Of warmstall, after --: report --collect --out DIR")],
    longest: Annotated[str, typer.Option(help="Ended when it takes longer, as 10m.")] = "",
    memory: Annotated[str, typer.Option(help="Ended when it and its children hold more, as 1G.")] = "",
    outcomes: Annotated[str, typer.Option(help="Exit codes that are answers, and become 0.")] = "0",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless it failed.")] = False,
    variables: Annotated[Path | None, typer.Option(help="A file of NAME=value, for you alone (chmod 600).")] = None,
    settle: Annotated[
        str, typer.Option(help="Not after so long without a look: the machine was asleep, and is catching up.")
    ] = "",
) -> None:
    """Run a command of warmstall within bounds, for cron and launchd, which have none."""
    from .schedule.bounded import run_bounded
    from .schedule.settling import stamp_path, was_asleep
    from .schedule.variables import read_variables

    answers = _codes(outcomes)
    if settle and was_asleep(stamp_path(words), _seconds(settle, "--settle")):
        if not quiet:
            print("This machine was asleep, or this is the first look: looked at next time.")
        return
    ended = run_bounded(
        [sys.executable, "-m", "warmstall.cli", *words],
        _seconds(longest, "--longest") if longest else 0.0,
        _size_bytes(memory) if memory else 0,
        read_variables(variables) if variables else {},
        hold_back=quiet,
    )
    if ended.exit_code in answers and not ended.stopped:
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(ended.printed)
    sys.stdout.flush()
    why = f"was stopped: {ended.stopped}" if ended.stopped else f"ended with exit code {ended.exit_code}"
    print(f"warmstall: {printable(shlex.join(words))} {why}.", file=sys.stderr)
    raise typer.Exit(ended.exit_code)


def _printed(files: tuple[UnitFile, ...], alone: bool) -> str:
    if alone:
        return str(files[0].text)
    return "\n".join(f"# ==> {file.name} <==\n{file.text}" if len(files) > 1 else file.text for file in files)


def _write(files: tuple[UnitFile, ...], into: Path) -> None:
    from .writing import whole_file

    for file in files:
        with whole_file(into / file.name) as path:
            path.write_text(file.text, encoding="utf-8")
        print(printable(str(into / file.name)))


def _program() -> tuple[str, ...]:
    """The command beside this interpreter, or the interpreter with the module where there is no command."""
    command = Path(sys.executable).parent / "warmstall"
    return (str(command),) if command.exists() else (sys.executable, "-m", "warmstall.cli")


def _usual_out(kind: str, user: str) -> Path:
    if kind == "kubernetes":
        from .schedule.kubernetes import OUT

        return Path(OUT)
    return Path("/var/lib/warmstall/health") if user and kind == "systemd" else _absolute(Path("warmstall-health"))


def _absolute(path: Path) -> Path:
    """As it stands, from here on; a link stays a link, because it may lead elsewhere tomorrow."""
    import os

    return Path(os.path.abspath(path.expanduser()))


def _file(path: Path | None, option: str) -> str:
    if path is None:
        return ""
    if not path.expanduser().is_file():
        raise InputError(f"{option} {path}: there is no such file; write it first, see docs/schedule.md.")
    return str(_absolute(path))


def _metrics(alerts: Path | None) -> str:
    """The file for node_exporter that alerts.toml names; a wrong alerts.toml is told now, not by the first report."""
    from .health.delivery.settings import read_settings

    return read_settings(alerts.expanduser()).metrics_file if alerts else ""


def _seconds(text: str, option: str) -> float:
    from .parse.go_values import duration_s

    seconds = duration_s(text)
    if not seconds or seconds <= 0:
        raise InputError(f"{option} {text}: expected a duration such as 10m, 1h or 24h.")
    return seconds


def _size_bytes(text: str) -> int:
    from .parse.systemd_values import size_bytes

    found = size_bytes(text.strip().removesuffix("iB"))
    if not found or found == float("inf"):
        raise InputError(f"--memory {text}: expected a size such as 1G or 768M.")
    return int(found)


def _codes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--outcomes {text}: expected exit codes such as 0,1,2.") from None
