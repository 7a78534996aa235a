"""Does warmstall say the same of each request, from the log and what the client saw?"""

from __future__ import annotations

import csv
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warmstall.analysis import analyze

from .differences import Difference
from .same_answers import groups

# What a request has that the server never saw.
UNSEEN = "no access line"
# How far apart a client and the server may see the beginning or the end of a request on a busy machine.
_SAME_S = 2.0


def compare_verdicts(
    real: list[str], drill: list[str], accepted: list[set[str]], rows: list[dict[str, Any]]
) -> list[Difference]:
    """Verdicts by trial. Those of requests that competed are compared as a group: chance decides who waits.

    A verdict that is as good for the recorded request counts as the same.
    """
    found = []
    trials = [row for row in rows if row["kind"] == "trial"]
    for where, numbers in groups(trials).items():
        if any(n >= len(drill) for n in numbers):
            continue  # the replay tells that it was not sent
        left = _unpaired([{real[n], *accepted[n]} for n in numbers], [drill[n] for n in numbers])
        for wanted, got in left:
            one, two = "|".join(sorted(wanted)) or "nothing", got or "nothing"
            found.append(Difference("verdicts", "other", where, f"{one}, drill {two}"))
    return found


def _unpaired(wanted: list[set[str]], got: list[str]) -> list[tuple[set[str], str]]:
    """What is left when each verdict has found a request that it fits; as many as can be."""
    taken: dict[int, int] = {}  # place in `got` → place in `wanted`

    def place(here: int, seen: set[int]) -> bool:
        for there, verdict in enumerate(got):
            if verdict in wanted[here] and there not in seen:
                seen.add(there)
                if there not in taken or place(taken[there], seen):
                    taken[there] = here
                    return True
        return False

    lonely = [here for here in range(len(wanted)) if not place(here, set())]
    rest = [verdict for there, verdict in enumerate(got) if there not in taken]
    return [(wanted[here], rest[n] if n < len(rest) else "") for n, here in enumerate(lonely)]


def verdicts_of(folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The verdict of each trial of trials_raw.jsonl, from server.log and trials.csv alone."""
    trials = [row for row in rows if row["kind"] == "trial"]
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("server.log", "trials.csv"):
            shutil.copy(folder / name, scratch)
        requests = analyze(scratch).requests()
    posts = requests[requests["method"] == "POST"]
    pairs = []
    for number, trial in enumerate(trials):
        start, end = (datetime.fromisoformat(trial[name]).astimezone(UTC) for name in ("start_ts", "end_ts"))
        for place, request in enumerate(posts.itertuples()):
            late_s = abs((request.ended_at - end).total_seconds())
            apart_s = abs((request.started_at - start).total_seconds())
            alike = request.path == trial["endpoint"] and str(trial["status"] or request.status) == request.status
            if alike and min(apart_s, late_s) < _SAME_S:
                pairs.append((apart_s + late_s, number, place))
    verdicts: dict[int, str] = {}
    taken: set[int] = set()
    for _, number, place in sorted(pairs):
        if number not in verdicts and place not in taken:
            taken.add(place)
            verdicts[number] = str(posts.iloc[place]["verdict"])
    return [verdicts.get(number, UNSEEN) for number in range(len(trials))]


def accepted_verdicts(folder: Path, rows: list[dict[str, Any]]) -> list[set[str]]:
    """What labels.csv says is as good, by trial; it has no label for requests that run no model."""
    accepted = {}
    if (folder / "labels.csv").exists():
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as handle:
            accepted = {(row["start_ts"], row["endpoint"]): row["accept"] for row in csv.DictReader(handle)}
    keys = [(row["start_ts"], row["endpoint"]) for row in rows if row["kind"] == "trial"]
    return [set(accepted.get(key, "").split("|")) - {""} for key in keys]
