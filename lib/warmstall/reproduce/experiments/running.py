"""An experiment from beginning to end: its servers, its case, its trials, its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...drill.timetable import Timetable
from ...rag.settings import RagSettings
from ..bench import Bench, Wished
from ..case import ReproductionCase
from ..experiment import Bounds, Experiment, Trial, run
from ..experiment_result import ExperimentResult
from ..profiles import check
from ..targets import DRILL, Target, answers, open_target, pick_model, settings_for
from ..wanted import Wanted
from .catalogue import experiment_named
from .embedder_lock import measured_on as race_measured_on
from .serving import clients_of

Say = Callable[[str], None]
# Of a drill: slow enough that its own way to answer is the smaller part of a call.
_DRILL_MODEL = "mid"


def run_experiment(
    name: str, wanted: Wanted, second_target: str = "", say: Say = lambda text: None,
    stop: threading.Event | None = None, done: Callable[[int, int], None] = lambda done, of: None,
) -> ExperimentResult:  # fmt: skip
    """Run one of EXPERIMENTS where `wanted` says, and leave a case; the same in the same folder is gone on with.

    Of the profile count `calls` (trials of each arm), `seconds`, `warm_up`, `seed`, and `levels` for `concurrency`.
    `done` is told after each trial how many there were, and of how many. Ctrl-C ends it with what it has. Raises
    ParameterError and InputError for what cannot be, OutputError for the folder, StepFailed where a server or a part
    does not answer at the beginning.
    """
    experiment = experiment_named(name)
    wanted.check()
    if name == "concurrency":
        experiment = replace(experiment, arms=clients_of(wanted.profile.levels))
    profile = wanted.profile
    check(replace(profile, kind="sequential", calls=max(1, profile.calls)))  # trials are counted by the bounds
    bounds = Bounds(profile.calls, profile.seconds, profile.warm_up, profile.seed)
    bounds.check()
    plan = wanted.plan() | {"experiment": name, "second_target": second_target}
    with ReproductionCase(wanted.case, plan, wanted.keep) as case:
        # Where nothing is left to be sent it is said as it was before.
        measured_on: dict[str, Any] = _measured_before(case)
        prepared = _prepared(experiment, wanted, second_target, case, say, measured_on)
        result = run(experiment, prepared, bounds, case.measurements.append, case.measurements.rows(), stop, done)
        result = replace(result, notes=tuple(measured_on.get("notes", ())))
        case.note({"experiment": result.as_json() | measured_on})
        say("looking whether a secret is left in the case …")
        case.close()
    if not result.stopped:
        case.forget_scratch()
    return replace(result, case=str(wanted.case))


@contextmanager
def _prepared(
    experiment: Experiment,
    wanted: Wanted,
    second_target: str,
    case: ReproductionCase,
    say: Say,
    measured_on: dict[str, Any],
) -> Iterator[Mapping[str, Trial]]:
    """The trials of the arms, while their servers run and the host is watched; at the end the logs are copied.

    `measured_on` is told what they are measured on.
    """
    with ExitStack() as opened:
        servers = _servers(experiment, wanted, second_target, case, opened, say)
        settings = _settings(wanted, servers, case)
        measured_on |= _measured_on(experiment, wanted, servers, settings)
        bench = Bench(
            settings, case.trace(), servers[1].url if len(servers) > 1 else "",
            wanted.profile.seed, wanted.user,
        )  # fmt: skip
        trials = opened.enter_context(experiment.prepare(bench, experiment.arms))
        if servers and servers[0].is_local:
            opened.enter_context(case.watched(servers[0].port, wanted.watch_every_s))
        elif servers:
            say(f"{servers[0].url} is on another machine, which was not watched; run there: warmstall watch")
        try:
            yield trials
        finally:
            for log, name in zip((server.log for server in servers), ("server.log", "second-server.log"), strict=False):
                if log:
                    case.add_log(log, name)
            for path in wanted.logs:
                case.add_log(Path(path))


def _measured_before(case: ReproductionCase) -> dict[str, Any]:
    """What an earlier run into this case said of itself."""
    before = case.noted("experiment")
    return {name: before[name] for name in ("notes", "target", "drill", "model") if name in before}


def _measured_on(
    experiment: Experiment, wanted: Wanted, servers: list[Target], settings: RagSettings
) -> dict[str, Any]:
    """Facts for case.json, and the sentence that says them: which server, whose, with which model and which fault."""
    if not servers:
        return {"notes": [race_measured_on(settings)]}
    named = []
    for server, wished in zip(servers, experiment.servers, strict=False):
        model = f" ({settings.inference.model})" if settings.inference.model else ""
        faults = [fault.kind for fault in wished.faults] if server.is_drill and "timetable" not in wanted.drill else []
        told = f", which has the fault {' and '.join(faults)}" if faults else ""
        named.append(f"{'a drill at ' if server.is_drill else ''}{server.url}{model}{told}")
    return {
        "notes": [f"Measured on {', and on '.join(named)}."], "target": servers[0].url, "drill": servers[0].is_drill,
        "model": settings.inference.model,
    }  # fmt: skip


def _servers(
    experiment: Experiment, wanted: Wanted, second_target: str, case: ReproductionCase, opened: ExitStack, say: Say
) -> list[Target]:
    """Those that were given, or drills; a second drill only beside a first one. Raises StepFailed for a silent one."""
    servers: list[Target] = []
    for number, wished in enumerate(experiment.servers):
        address = second_target if number else wanted.target or wanted.settings.inference.url
        if number and not address:
            if not servers[0].is_drill:
                break
            address = DRILL
        folder = case.scratch / f"server-{number + 1}"
        drill = _drill(wished, folder, wanted.profile.seed) | wanted.drill
        servers.append(opened.enter_context(open_target(address, folder, say, **drill)))
        answers(servers[-1])
    return servers


def _drill(wished: Wished, folder: Path, seed: int) -> dict[str, Any]:
    """Arguments of DrillServer for what an experiment wishes."""
    if not wished.faults:
        return {"environment": wished.environment}
    folder.mkdir(parents=True, exist_ok=True)
    timetable = folder / "timetable.json"
    Timetable(0.0, wished.faults, seed).save(timetable)
    return {"environment": wished.environment, "timetable": timetable}


def _settings(wanted: Wanted, servers: list[Target], case: ReproductionCase) -> RagSettings:
    """The settings for the first server. A drill's vectors, and hashed words, have no place among the user's own."""
    if not servers:
        return wanted.settings
    drill = servers[0].is_drill
    model = wanted.model or wanted.settings.inference.model or (_DRILL_MODEL if drill else "")
    if not model and wanted.settings.inference.kind == "ollama":
        model = pick_model(servers[0])
    settings = settings_for(wanted.settings, servers[0], model, wanted.lexical)
    if settings.store.kind == "duckdb" and not settings.store.path and (drill or wanted.lexical):
        case.scratch.mkdir(parents=True, exist_ok=True)
        settings = replace(settings, store=replace(settings.store, path=str(case.scratch / "knowledge.duckdb")))
    return settings
