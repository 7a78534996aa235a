"""How right warmstall is, measured on drills: python benchmarks/accuracy.py [FOLDER] > docs/accuracy.md.

Every scenario runs on each version that it is made for; then the log alone, the log with the clients' records, and
all evidence are analyzed and held against the truth that the drill wrote. FOLDER keeps the runs; runs that lie there
already are scored again without being played. What breaks a bound is told on stderr, with exit code 1.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from diagnosis_time import seconds_to_find
from scoring import LEVELS, Score, score, truths

from warmstall.drill.faults import KINDS
from warmstall.drill.run import run_scenario
from warmstall.drill.scenario import find_scenario, scenario_names
from warmstall.errors import WarmstallError

# Drills mostly wait; more than these at once and a machine's own slowness becomes the fault that is measured.
AT_ONCE = 2 * (os.cpu_count() or 2)
SEEDS = (1,)
# At least this share right (of the log alone: right or unknown), at most this share wrong and sure of it.
BOUNDS = {"log alone": (0.95, 0.02), "log + trials": (0.98, 0.003), "everything": (0.98, 0.003)}


@dataclass(frozen=True)
class Run:
    """One scenario on one version with one seed, and where it lies."""

    scenario: str
    version: str
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.scenario} {self.version} seed {self.seed}"

    @property
    def burns(self) -> bool:
        """Whether a fault of it keeps a core busy."""
        kinds = {plan.fault.kind for plan in find_scenario(self.scenario).faults}
        return bool(kinds & {"slow_decode", "slow_prefill", "spinning_runner"})


@dataclass
class Scored:
    """A run's scores by level, its faults with the causes each must show, and the seconds until one was found."""

    run: Run
    scores: dict[str, Score]
    faults: list[tuple[str, tuple[str, ...]]]
    seconds: list[float | None]


def wanted(
    folder: Path, names: list[str], versions: set[str] | None = None, seeds: tuple[int, ...] = SEEDS
) -> list[Run]:
    """All runs, the longest first."""
    scenarios = sorted((find_scenario(name) for name in names), key=lambda each: -each.duration_s)
    return [
        Run(scenario.name, version, seed, folder / f"{scenario.name}-{version}-{seed}")
        for scenario in scenarios
        for version in scenario.versions
        if versions is None or version in versions
        for seed in seeds
    ]


def play(runs: list[Run], at_once: int = AT_ONCE) -> None:
    """Run them, several side by side, unless they have been."""

    def one(run: Run) -> None:
        if (run.folder / "truth.jsonl").exists():
            return
        try:
            outcome = run_scenario(find_scenario(run.scenario), run.folder, run.version, run.seed)
        except WarmstallError as error:
            print(f"{run}: not played: {error}", file=sys.stderr)
            return
        for problem in outcome.problems:
            print(f"{run}: {problem}", file=sys.stderr)

    # A runner that burns a core needs one: what it gets of it is the evidence.
    for batch, workers in (([run for run in runs if run.burns], 1), ([run for run in runs if not run.burns], at_once)):
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, batch))


def scored(run: Run, timed: bool = True) -> Scored:
    """One run's scores on all levels."""
    warnings.simplefilter("ignore")
    faults = truths(run.folder)[1]
    seconds = [
        seconds_to_find(run.folder, row["hypotheses"], row["from"]) if timed and row["hypotheses"] else None
        for row in faults
    ]
    named = [(row["fault"], tuple(row["hypotheses"])) for row in faults]
    return Scored(run, {level: score(run.folder, level) for level in LEVELS}, named, seconds)


@dataclass(frozen=True)
class Shares:
    """Of so many requests, the shares that are the true verdict itself, right (an accepted one), unknown, wrong."""

    total: int
    exact: float
    right: float
    unknown: float
    wrong: float


def shares(scores: list[Score]) -> Shares:
    """Over all requests of these scores; of the log alone, right may be `unknown`."""
    pairs: Counter[tuple[str, str, bool]] = sum((each.pairs for each in scores), Counter())
    total = sum(pairs.values()) or 1
    exact = sum(count for (true, said, _), count in pairs.items() if true == said)
    right = sum(count for (_, _, is_right), count in pairs.items() if is_right)
    unknown = sum(count for (_, said, _), count in pairs.items() if said == "unknown")
    wrong = sum(count for (_, said, is_right), count in pairs.items() if not is_right and said != "unknown")
    return Shares(total, exact / total, right / total, unknown / total, wrong / total)


def verdict_table(scores: list[Score]) -> list[str]:
    """Rows: the truth; columns: what was said; then precision and recall of each verdict."""
    pairs: Counter[tuple[str, str, bool]] = sum((each.pairs for each in scores), Counter())
    said = sorted({verdict for _, verdict, _ in pairs})
    lines = [f"| truth | {' | '.join(said)} | recall | precision |", f"|---|{'---:|' * (len(said) + 2)}"]
    for true in sorted({verdict for verdict, _, _ in pairs}):
        counts = [sum(pairs[true, verdict, right] for right in (True, False)) for verdict in said]
        of_it = sum(counts)
        right = sum(count for (t, _, is_right), count in pairs.items() if t == true and is_right)
        as_it = sum(count for (_, v, _), count in pairs.items() if v == true)
        right_as = sum(count for (_, v, is_right), count in pairs.items() if v == true and is_right)
        precision = f"{right_as / as_it:.1%}" if as_it else "never said"
        shown = " | ".join(str(count or "") for count in counts)
        lines.append(f"| {true} | {shown} | {right / of_it:.1%} | {precision} |")
    return lines


def fault_table(results: list[Scored]) -> list[str]:
    """Rows: kinds of faults; in how many runs their cause was found, on each level, and how soon."""
    lines = ["| fault | must show | runs | " + " | ".join(LEVELS) + " | seconds until found |",
             "|---|---|---:|" + "---:|" * (len(LEVELS) + 1)]  # fmt: skip
    rows: dict[tuple[str, tuple[str, ...]], list[tuple[Scored, float | None]]] = defaultdict(list)
    for result in results:
        for (kind, causes), seconds in zip(result.faults, result.seconds, strict=True):
            rows[kind, causes].append((result, seconds))
    for (kind, causes), seen in sorted(rows.items()):
        found = [
            sum(any(cause in each.scores[level].found for cause in causes) for each, _ in seen) for level in LEVELS
        ]
        times = [seconds for _, seconds in seen if seconds is not None]
        soon = f"{statistics.median(times):.0f} ({min(times):.0f}–{max(times):.0f})" if times else "–"
        counts = " | ".join(f"{count} of {len(seen)}" for count in found)
        shown = ", ".join(causes) or "(no cause of its own)"
        lines.append(
            f"| {kind} | {shown} | {len(seen)} | {counts if causes else ' | '.join('–' * len(LEVELS))} | {soon} |"
        )
    return lines


def beside_table(results: list[Scored]) -> list[str]:
    """Causes of severity warning or above that no fault of the run is the cause of."""
    beside: dict[str, list[str]] = defaultdict(list)
    for result in results:
        expected = {cause for _, causes in result.faults for cause in causes}
        for cause, (state, severity) in result.scores["everything"].found.items():
            if severity in ("warning", "critical") and cause not in expected:
                beside[cause].append(f"{result.run.scenario} {result.run.version} ({state})")
    lines = ["| cause | found in |", "|---|---|"]
    return lines + [f"| {cause} | {', '.join(sorted(set(where)))} |" for cause, where in sorted(beside.items())]


def broken_bounds(results: list[Scored]) -> list[str]:
    """What is not as good as it must be."""
    told = []
    for level, (least_right, most_wrong) in BOUNDS.items():
        found = shares([each.scores[level] for each in results])
        if found.right < least_right or found.wrong > most_wrong:
            told.append(
                f"{level}: {found.right:.2%} right, {found.wrong:.2%} wrong; must be {least_right:.1%} and "
                f"{most_wrong:.1%}"
            )
    shown: dict[str, bool] = {}
    for result in results:
        for kind, causes in result.faults:
            hit = any(cause in result.scores["everything"].found for cause in causes)
            shown[kind] = shown.get(kind, False) or hit
    return told + [
        f"{kind}: its cause was never found" for kind in sorted(set(KINDS) - {k for k, hit in shown.items() if hit})
    ]


def page(results: list[Scored]) -> str:
    """docs/accuracy.md."""
    requests = sum(sum(each.scores["everything"].pairs.values()) for each in results)
    seeds = " and ".join(str(seed) for seed in sorted({each.run.seed for each in results}))
    lines = [
        "# Accuracy, measured", "",
        "Made by `make accuracy`; not written by hand. Every scenario of `warmstall drill list` ran on each",
        f"version that it is made for, with seed {seeds}: {len(results)} runs, {requests} requests. A drill",
        "writes down what it does, so the truth is known and not inferred. A verdict is *right* when the",
        "truth accepts it (where two parts of a request's time are comparable, both are), *unknown* when",
        "warmstall says that it cannot tell, and *wrong* otherwise: sure, and not so.", "",
        "| evidence | requests | right | the true one itself | unknown | wrong | not in the log |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for level in LEVELS:
        scores = [each.scores[level] for each in results]
        found = shares(scores)
        lost = sum(each.unmatched for each in scores)
        lines.append(
            f"| {level} | {found.total} | {found.right:.2%} | {found.exact:.2%} | {found.unknown:.2%} | "
            f"{found.wrong:.2%} | {lost} |"
        )
    lines += ["", "Of the log alone, *unknown* counts as right where the log cannot tell. Requests that hung, were",
              "refused a connection, or were cut off by the end of the server have no line in it.", ""]  # fmt: skip
    for level in LEVELS:
        lines += [f"## Verdicts: {level}", "", *verdict_table([each.scores[level] for each in results]), ""]
    lines += [
        "## Causes", "",
        "In how many runs one of the causes that a fault must show is confirmed or supported, and how many seconds",
        "after the fault's beginning the evidence written by then shows it (middle, least and most; steps of two).", "",
        *fault_table(results), "", "## Found beside", "",
        "Causes of severity *warning* or above that were found in a run of which no fault names them.", "",
        *beside_table(results), "",
    ]  # fmt: skip
    wrong = [f"- {each.run}: {text}" for each in results for text in each.scores["everything"].wrong]
    lines += ["## Wrong with all evidence", "", *(wrong or ["None."]), ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments[0] if arguments else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        runs = wanted(folder, arguments[1:] or scenario_names())
        play(runs)
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            results = list(pool.map(scored, [run for run in runs if (run.folder / "truth.jsonl").exists()]))
    print(page(results))
    told = broken_bounds(results)
    print("\n".join(told), file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
