"""`warmstall report`: the health of a host since the last report, as a page, a verdict and an exit code."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import WarmstallError
from .parse.plain_text import printable

if TYPE_CHECKING:
    from .health.run import Wanted

# What every failure of this command ends with: 2 would be read as "critical".
_COULD_NOT_TELL = 3


def report(
    paths: Annotated[list[str] | None, typer.Argument(help="Logs, folders or cases.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Capture what the host shows now.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of reports, history and verdict.json.")] = Path("warmstall-health"),
    every: Annotated[str, typer.Option(help="How far apart reports are, as 1h or 1d.")] = "1h",
    since: Annotated[str, typer.Option(help="Cover that long, as 24h; without it, since the last report.")] = "",
    until: Annotated[str, typer.Option(help="End then, as 2026-11-20T17:00:00Z, or at the evidence's end.")] = "",
    objectives: Annotated[Path | None, typer.Option(help="TOML of objectives; see docs/health.md.")] = None,
    alerts: Annotated[Path | None, typer.Option(help="TOML of who is told; nothing is sent without it.")] = None,
    host: Annotated[str, typer.Option("--host", help="Collect from there: ssh://user@box[:port].")] = "",
    ssh_option: Annotated[list[str] | None, typer.Option("--ssh-option", help="Passed to ssh.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    check_freshness: Annotated[
        bool, typer.Option("--check-freshness", help="Only say whether the last verdict in --out is due.")
    ] = False,
    serve_metrics: Annotated[
        int | None, typer.Option("--serve-metrics", help="Only serve /metrics of --out on this port, until Ctrl-C.")
    ] = None,
) -> None:
    """Report on the health of a host. Exit code 0 healthy, 1 degraded, 2 critical, 3 could not tell or failed."""
    try:
        if check_freshness:
            code = _check(out, alerts, as_json)
        elif serve_metrics is not None:
            code = _serve(out, serve_metrics)
        else:
            from .health.run import Wanted

            given, options = tuple(paths or ()), tuple(ssh_option or ())
            wanted = Wanted(given, collect, out, every, since, until, objectives, alerts, host, options)
            code = _report(wanted, as_json)
    except BrokenPipeError:  # who read what is printed has gone
        raise
    except Exception as fault:  # a traceback ends with 1, which is "degraded"
        told = str(fault) if isinstance(fault, WarmstallError) else f"{type(fault).__name__}: {fault}"
        print(f"warmstall: {printable(told)}", file=sys.stderr)
        code = _COULD_NOT_TELL
    raise typer.Exit(code)


def _report(wanted: Wanted, as_json: bool) -> int:
    from .health.run import report as make

    outcome = make(wanted, _say)
    if outcome.verdict["error"]:
        print(f"warmstall: {printable(str(outcome.verdict['error']))}", file=sys.stderr)
    if as_json:
        print(json.dumps(outcome.verdict, indent=1))
        return outcome.exit_code
    print(printable(outcome.sentence))
    for number in outcome.verdict["numbers"]:
        print(f"  {printable(str(number['label']))}: {printable(str(number['text']))}")
    if outcome.page:
        print(f"\nReport: {outcome.page}")
    return outcome.exit_code


def _check(out: Path, alerts: Path | None, as_json: bool) -> int:
    from .health.delivery import read_settings
    from .health.freshness import check, tell

    now = datetime.now(UTC)
    found = check(out, now)
    if as_json:
        print(json.dumps({"fresh": found.fresh, "sentence": found.sentence, "exit_code": found.exit_code}, indent=1))
    else:
        print(printable(found.sentence))
    if alerts:
        tell(found, out, read_settings(alerts), now)
    return found.exit_code


def _serve(out: Path, port: int) -> int:
    from .health.metrics import serve

    server, thread = serve(out, port)
    print(f"http://127.0.0.1:{server.server_port}/metrics tells of {printable(str(out))}, until Ctrl-C.", flush=True)
    try:
        thread.join()
    except KeyboardInterrupt:
        server.shutdown()
        server.server_close()
    return 0


def _say(text: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        print(printable(text), file=sys.stderr)
