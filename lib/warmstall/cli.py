"""The command line: thin, because the notebooks are the product's face."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .errors import InputError, WarmstallError

_INTERRUPTED = 130
_STOPPED = "stopped; the evidence was only read."

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _say(text: str) -> None:
    """Progress, on a terminal only: a pipe wants the answer and nothing else."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"warmstall {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Was it a cold start or a warm stall? Says where each Ollama request's seconds went."""


@app.command()
def analyze(
    paths: Annotated[list[str], typer.Argument(help="Logs, folders or cases; - is standard input.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; without it warmstall-out, or out in a case.")
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also draw report.html.")] = True,
    zone: Annotated[str, typer.Option(help="Zone of local times where the evidence tells none, as +01:00.")] = "+00:00",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary instead of the answer.")] = False,
) -> None:
    """Say where each request's seconds went, and whether the slow ones were cold starts or warm stalls."""
    offset_s = _offset_s(zone)
    from .evidence import discover

    given = [Path(path) for path in paths]
    evidence = discover(given)
    _say(f"reading {len(evidence)} file{'s' * (len(evidence) != 1)} …")
    # The results of a case lie in the case; asked to go elsewhere, they leave it as it is.
    is_case = len(given) == 1 and (given[0] / "evidence").is_dir()
    tables = given[0] / "tables" if is_case and out is None else None
    out = out or (given[0] / "out" if is_case else Path("warmstall-out"))
    if (out / "evidence").is_dir():
        raise InputError(f"--out {out}: that is a case with evidence; results go to a folder of their own.")
    from .case import write_case

    case = write_case(evidence, out, tables or out / "tables", offset_s)
    from .analysis import Analysis
    from .answer import write_answer

    summary = write_answer(Analysis(case), out)
    print(json.dumps(summary, indent=1, ensure_ascii=False) if as_json else summary["answer"], flush=True)
    if report:
        _say("drawing the report …")
        from .report import write_report

        page = write_report(out, out)
        if not as_json:
            print(f"\nReport: {page}")


def _offset_s(zone: str) -> int:
    try:
        hours, minutes = zone.lstrip("+-").split(":")
        return (-1 if zone.startswith("-") else 1) * (3600 * int(hours) + 60 * int(minutes))
    except ValueError:
        raise InputError(f"--zone {zone}: expected an offset from UTC such as +01:00 or -07:00.") from None


def main() -> None:
    """Run the command line: one clear sentence and exit code 2 for what a user can put right."""
    try:
        if app(standalone_mode=False) == _INTERRUPTED:  # how typer reports Ctrl-C to its caller
            _complain(_STOPPED, _INTERRUPTED)
    except WarmstallError as error:
        _complain(str(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _complain(_STOPPED, _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        # Usage errors of the command line carry their own text and code.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise


def _complain(text: str, code: int) -> None:
    from .parse.plain_text import printable

    print(f"warmstall: {printable(text)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
