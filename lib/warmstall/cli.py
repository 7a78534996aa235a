"""The command line: thin, because the notebooks are the product's face."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .doctor import doctor
from .errors import InputError, WarmstallError
from .fleet_commands import fleet_app
from .health_commands import report
from .lnav_commands import lnav_format
from .parse.plain_text import printable, printable_lines
from .rag_commands import rag_app
from .reproduce_commands import reproduce
from .runbook_commands import runbook_app
from .schedule_commands import schedule_app

_INTERRUPTED = 130
# Nearly all that a command makes stays until its end. To look for garbage among it after every 700 things, as Python
# does, takes a tenth of the time.
_THINGS_BETWEEN_COLLECTIONS = 100_000
# Of the files that were left out so many are named.
_NAMED = 3
# Of a command whose exit code is an outcome: 2 would be read as one.
_USAGE_ERRORS = {"report": 3}
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
    paths: Annotated[list[str], typer.Argument(help="Logs, folders, cases or archives of them; - is standard input.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; without it warmstall-out, or out in a case.")
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also draw report.html.")] = True,
    zone: Annotated[str, typer.Option(help="Zone of local times where the evidence tells none, as +01:00.")] = "",
    clock: Annotated[
        list[str] | None, typer.Option(help="What to add to a host's times to get the server's, as client=+12.5s.")
    ] = None,
    trial_column: Annotated[
        list[str] | None, typer.Option(help="Which column of a trial table is what, as wall_ms=latency.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary instead of the answer.")] = False,
) -> None:
    """Say where each request's seconds went, and whether the slow ones were cold starts or warm stalls."""
    stated_s = _offset_s(zone) if zone else None
    from .archives import unpacked
    from .evidence import discover, left_out

    given = [Path(path) for path in paths]
    trial_columns = dict(_pair(text, "--trial-column", "wall_ms=latency") for text in trial_column or ())
    offsets_s = {host: _signed_s(text) for host, text in (_pair(c, "--clock", "client=+12.5s") for c in clock or ())}
    # The results of a case lie in the case; asked to go elsewhere, they leave it as it is.
    is_case = len(given) == 1 and os.path.isdir(given[0] / "evidence")  # False where one may not look
    tables = given[0] / "tables" if is_case and out is None else None
    out = out or (given[0] / "out" if is_case else Path("warmstall-out"))
    if (out / "evidence").is_dir():
        raise InputError(f"--out {out}: that is a case with evidence; results go to a folder of their own.")
    given = unpacked(given, out / "unpacked")
    evidence = discover(given, trial_columns)
    for sentence in _told_of_left_out([path for one in given if one.is_dir() for path in left_out(one, evidence)]):
        print(sentence, file=sys.stderr)
    _say(f"reading {len(evidence)} file{'s' * (len(evidence) != 1)} …")
    from .case import Clocks, clocks_of, write_case

    noted = clocks_of(given[0], stated_s) if len(given) == 1 else Clocks(stated_s)
    clocks = replace(noted, offsets_s=offsets_s)
    case = write_case(evidence, out, tables or out / "tables", clocks, trial_columns)
    from .analysis import Analysis
    from .answer import summarize, write_files

    found = Analysis(case)
    summary = summarize(found)
    # Who waits for the answer does not wait for the files.
    print(json.dumps(summary, indent=1, ensure_ascii=False) if as_json else summary["answer"], flush=True)
    from .report import load_libraries, write_report

    if report:
        # Most of the writing is not Python's own doing: the other processor reads modules meanwhile.
        threading.Thread(target=load_libraries, daemon=True).start()
    write_files(found, summary, out, with_draft=report)
    if report:
        _say("drawing the report …")
        page = write_report(out, out, found=found)
        if not as_json:
            print(f"\nReport: {page}")


def _told_of_left_out(paths: list[Path]) -> Iterator[str]:
    """What of the folders given does not count, or not as it was meant."""
    cases = [path.parent for path in paths if path.name == "case.json"]
    if len(cases) > 1:
        first, above = (shlex.quote(printable(str(path))) for path in (cases[0], cases[0].parent))
        yield (
            f"{len(cases)} cases lie here and are told as if they were one. "
            f"Each by itself: warmstall analyze {first}; side by side: warmstall fleet analyze {above}"
        )
    unknown = [printable(str(path)) for path in paths if path.name != "case.json"]
    if unknown:
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        yield f"Left out, as nothing in it is known: {', '.join(unknown[:_NAMED])}{more}"


_HostOption = Annotated[str, typer.Option("--host", help="Another machine: ssh://user@box[:port].")]
_SshOption = Annotated[list[str] | None, typer.Option("--ssh-option", help="Passed to ssh, as -oIdentityFile=KEY.")]
_KeepOption = Annotated[
    list[str] | None, typer.Option("--keep", help="Do not redact this kind; kinds: see docs/redaction.md.")
]
_PortOption = Annotated[int, typer.Option(help="Port of the server; without it as its process says, or 11434.")]


@app.command()
def collect(
    case: Annotated[Path, typer.Argument(help="Folder of the case to be written.")] = Path("warmstall-case"),
    host: _HostOption = "",
    ssh_option: _SshOption = None,
    since: Annotated[str, typer.Option(help="How far back logs are read, as 90m or 24h.")] = "24h",
    unit: Annotated[str, typer.Option(help="The systemd unit of the server.")] = "ollama.service",
    port: _PortOption = 0,
    log: Annotated[list[str] | None, typer.Option(help="A log of Ollama in an unusual place.")] = None,
    app_log: Annotated[list[str] | None, typer.Option(help="A log of a service beside Ollama.")] = None,
    pod: Annotated[list[str] | None, typer.Option(help="A pod of Kubernetes, as namespace/name.")] = None,
    goroutines: Annotated[bool, typer.Option(help="Also dump the server's goroutines (its pprof page).")] = False,
    keep: _KeepOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of the collection as JSON.")] = False,
) -> None:
    """Capture what an Ollama host shows into a case, redacted. Only reads; asks for no password."""
    from .collect.collection import Wanted
    from .collect.run import collect as run_collection
    from .host import open_host

    wanted = Wanted(
        unit,
        _seconds(since, "--since") / 3600,
        port,
        tuple(log or ()),
        tuple(app_log or ()),
        tuple(pod or ()),
        goroutines,
    )
    with contextlib.closing(open_host(host, tuple(ssh_option or ()))) as opened:
        found = run_collection(opened, case, wanted, _kinds(keep), _say)
    if as_json:
        print(json.dumps({**asdict(found), "case": str(found.case)}, indent=1, ensure_ascii=False))
    else:
        print(f"{printable_lines(str(found))}\n\nNext: warmstall analyze {shlex.quote(str(case))}")


@app.command()
def watch(
    case: Annotated[Path, typer.Argument(help="Folder of the case to be written or continued.")] = Path(
        "warmstall-case"
    ),
    host: _HostOption = "",
    ssh_option: _SshOption = None,
    every: Annotated[str, typer.Option(help="Time from one sample to the next.")] = "5s",
    duration: Annotated[str, typer.Option("--for", help="How long to watch.")] = "10m",
    port: _PortOption = 0,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            help="Send this model a tiny request at each sample, while it is in memory; renews its keep_alive."
        ),
    ] = None,
    most_megabytes: Annotated[int, typer.Option(min=4, help="Room on disk; the oldest samples make way.")] = 64,
    keep: _KeepOption = None,
) -> None:
    """Sample /api/ps, processes, memory and GPU into a case until the time is over; appends, marks gaps."""
    from .collect.case_folder import CaseFolder
    from .collect.collection import Wanted
    from .collect.processes import port_of_server
    from .collect.samples import Sampler
    from .collect.watch import Canary
    from .collect.watch import watch as run_watch
    from .host import open_host

    every_s, for_s = _seconds(every, "--every"), _seconds(duration, "--for")
    with contextlib.closing(open_host(host, tuple(ssh_option or ()))) as opened:
        folder = CaseFolder(case, opened, _kinds(keep))
        folder.reserve()
        folder.finish([])  # a kill leaves a case that can be read
        room = most_megabytes * 1_000_000
        with contextlib.closing(Sampler(opened, port_of_server(opened, Wanted(port=port)))) as sampler:
            try:
                taken = run_watch(folder, sampler, Canary(tuple(canary or ())), every_s, for_s, room, say=_say)
            finally:
                folder.finish([])
    print(f"{taken} samples in {case}.\n\nNext: warmstall analyze {shlex.quote(str(case))}")


@app.command()
def explain(
    hypothesis: Annotated[str, typer.Argument(help="Its id; without one, all are listed.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="All pages, as docs/hypotheses.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Tell what is known of a cause: what shows it, what rules it out, what is mistaken for it, what to do."""
    from .hypotheses.catalogue import catalogue, catalogue_markdown, page_of

    pages = [page_of(hypothesis)] if hypothesis else list(catalogue().values())
    if as_json:
        print(json.dumps([asdict(page) for page in pages], indent=1, ensure_ascii=False))
    elif markdown:
        print(catalogue_markdown(), end="")
    elif hypothesis:
        print(pages[0].markdown, end="")
    else:
        print("\n".join(f"{page.id:28}{page.claim}" for page in pages))


@app.command()
def diff(
    good: Annotated[Path, typer.Argument(help="A log, folder or case of when it was good.")],
    bad: Annotated[Path, typer.Argument(help="One of when it was not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Say what changed between two cases: causes, versions, settings, limits, load, latencies, failures."""
    from .analysis import analyze as analyze_case
    from .compare import compare

    names = (good.name, bad.name) if good.name != bad.name else (str(good), str(bad))
    _say(f"reading {names[0]} and {names[1]} …")
    compared = compare(analyze_case(good), analyze_case(bad), names)
    if as_json:
        print(json.dumps(compared.as_json(), indent=1, ensure_ascii=False))
    else:
        print("\n".join([*compared.sentences, *compared.not_compared]))


app.add_typer(runbook_app, name="runbook")
app.add_typer(fleet_app, name="fleet")
app.command()(doctor)
app.add_typer(rag_app, name="rag")
app.command()(reproduce)
app.command()(report)
app.add_typer(schedule_app, name="schedule")
app.command()(lnav_format)

drill = typer.Typer(no_args_is_help=True, help="Game day: an Ollama-compatible server that fails on purpose.")
app.add_typer(drill, name="drill")


@drill.command("list")
def list_drills(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="All scenarios and faults, as docs/drills.md.")] = False,
) -> None:
    """List the scenarios: what goes wrong, for how long, on which versions."""
    from .drill.catalogue import drills_markdown
    from .drill.scenario import find_scenario, scenario_names

    if markdown:
        print(drills_markdown(), end="")
        return
    scenarios = [find_scenario(name) for name in scenario_names()]
    if as_json:
        rows = [{"name": one.name, "about": one.about, "versions": one.versions, "duration_s": one.duration_s}
                for one in scenarios]  # fmt: skip
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        print("\n".join(f"{one.name:26}{one.duration_s:3.0f} s  {one.about}" for one in scenarios))


@drill.command("run")
def run_drill(
    scenario: Annotated[str, typer.Argument(help="Its name, or a TOML file of your own.")],
    out: Annotated[Path | None, typer.Option(help="New folder of the case; without it drill-SCENARIO.")] = None,
    version: Annotated[str, typer.Option("--as", help="The Ollama version to be; without it the scenario's.")] = "",
    seed: Annotated[int | None, typer.Option(help="Another seed gives other times.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run a scenario with real processes and clients: leaves a case folder and, in truth.jsonl, what was done."""
    from .drill.run import run_scenario
    from .drill.scenario import find_scenario

    found = find_scenario(scenario)
    folder = out or Path(f"drill-{found.name}")
    _say(f"{found.name}, about {found.duration_s:.0f} s: {found.about}")
    outcome = run_scenario(found, folder, version or None, seed)
    if as_json:
        print(json.dumps(outcome.as_json(), indent=1, ensure_ascii=False))
        return
    for problem in outcome.problems:
        print(f"not done: {printable_lines(problem)}", file=sys.stderr)
    print(f"{outcome}\n\nNext: warmstall analyze {shlex.quote(str(folder))}")


@drill.command("serve")
def serve_drill(
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.")] = 0,
    version: Annotated[
        str, typer.Option("--as", help="The Ollama version to be: 0.3.14, 0.13.5 or 0.32.15.")
    ] = "0.13.5",
    runner: Annotated[str, typer.Option(help="synthetic, or llama: real inference (extra `drill`).")] = "synthetic",
    gpu: Annotated[str, typer.Option(help="A simulated card, as 'cuda:Name:24'.")] = "",
) -> None:
    """Serve Ollama's API on loopback until Ctrl-C, with the log on this terminal; OLLAMA_* variables count."""
    from .drill.server_process import serve_here

    sys.exit(serve_here(port, version, runner, gpu))


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"{option} {text}: expected something like {option} {example}.")
    return name, value


def _signed_s(text: str) -> float:
    from .parse.go_values import duration_s

    if (seconds := duration_s(text.lstrip("+-"))) is None:
        raise InputError(f"--clock {text}: expected a duration with its sign such as +12.5s or -1h.")
    return -seconds if text.startswith("-") else seconds


def _seconds(text: str, option: str) -> float:
    from .parse.go_values import duration_s

    seconds = duration_s(text)
    if not seconds or seconds <= 0:
        raise InputError(f"{option} {text}: expected a duration such as 5s, 10m or 24h.")
    return seconds


def _kinds(keep: list[str] | None) -> tuple[str, ...]:
    from .redact import KINDS

    if unknown := [kind for kind in keep or () if kind not in KINDS]:
        raise InputError(f"--keep {unknown[0]}: there is no such kind; there are {', '.join(KINDS)}.")
    return tuple(keep or ())


def _offset_s(zone: str) -> int:
    found = re.fullmatch(r"([+-]?)(\d{1,2}):(\d\d)", zone)
    if not found or int(found[2]) > 15 or int(found[3]) > 59:
        raise InputError(f"--zone {zone}: expected an offset from UTC such as +01:00 or -07:00.")
    return (-1 if found[1] == "-" else 1) * (3600 * int(found[2]) + 60 * int(found[3]))


def main() -> None:
    """Run the command line: one clear sentence and exit code 2 for what a user can put right."""
    gc.set_threshold(_THINGS_BETWEEN_COLLECTIONS)
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # how typer reports Ctrl-C to its caller
            _complain(_STOPPED, _INTERRUPTED)
        sys.exit(code)  # of typer.Exit; a command returns None
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
            # An option without its value has no context.
            command = getattr(getattr(error, "ctx", None), "info_name", "") or next(iter(sys.argv[1:]), "")
            sys.exit(_USAGE_ERRORS.get(command, error.exit_code))
        raise


def _complain(text: str, code: int) -> None:
    from .parse.plain_text import printable

    print(f"warmstall: {printable(text)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
