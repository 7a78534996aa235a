"""`warmstall fleet`: many hosts at once, on this machine or on a Dask cluster."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .parse.plain_text import printable

if TYPE_CHECKING:
    from .fleet.run import FleetRun

fleet_app = typer.Typer(no_args_is_help=True, help="Many hosts at once. See docs/fleet.md.")


@fleet_app.callback()
def _fleet() -> None:
    """Keep `analyze` a command of its own."""


@fleet_app.command("analyze")
def analyze(
    inputs: Annotated[list[str], typer.Argument(help="A folder of hosts, a glob, or a URL such as s3://logs/day/*.")],
    engine: Annotated[str, typer.Option(help="local, or dask://HOST:PORT of a scheduler.")] = "local",
    out: Annotated[Path, typer.Option(help="Folder of the results, which all workers see.")] = Path("warmstall-fleet"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of the local engine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Say of every host where its requests' seconds went, into tables for notebooks/fleet.ipynb."""
    from .fleet.run import analyze_fleet

    done = analyze_fleet(inputs, out, engine, workers)
    if as_json:
        print(json.dumps(asdict(done) | {"out": str(done.out)}, indent=1))
    else:
        print("\n".join(printable(line) for line in _told(done, out)))


def _told(done: FleetRun, out: Path) -> list[str]:
    lines = [f"{done.hosts:,} hosts: {done.analyzed:,} analyzed, {done.as_before:,} as they were, {done.failed:,} not "
             f"read; {done.requests:,} requests to models."]  # fmt: skip
    lines += [f"{host} was not read: {error}" for host, error in done.errors]
    if done.failed > len(done.errors):
        lines.append(f"… and {done.failed - len(done.errors):,} more: the rows of hosts.parquet with an error.")
    parameter = shlex.quote(f"{{results: {out}}}")
    return [*lines, "", f"Next: papermill notebooks/fleet.ipynb fleet-executed.ipynb -y {parameter}"]
