"""Requests that hung: they stood still, or were given up far beyond what is usual, with their model in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ...judging.usual import Usuals, usual
from ...judging.words import Mask, Numbers
from ...once import once
from ...proportions import wilson
from .calls import calls_of
from .facts import Facts, holds

# A wait of less than this share of a request is not what it was about.
_A_TENTH = 0.1
# Sooner than this nobody gives a call up because it hangs; answers of many tokens take as long.
PATIENCE_S = 10.0
# llama-server tells of a long answer's progress at most every 3 s.
_PROGRESS_S = 3.0
# Fewer answers than this do not show how long answers are.
_FEWEST_ANSWERS = 20
_COLUMNS = ["host", "source", "line", "model", "status", "started_at", "ended_at", "wall_s", "usual_s", "how"]


@once
def hangs_of(facts: Facts) -> pd.DataFrame:
    """One row a request that hung or may have. `how` says how that is known:

    told: its verdict is warm_stall. cut: it was given up, or failed without a reason, later than any usual request of
    its model ends, and was not seen to write meanwhile. lost: a client's call that late, of which the server wrote no
    line. long: it was answered that late, and whether it stood still or wrote a long answer cannot be told. None of
    cut, lost and long overlaps a load, or waited for others. `usual_s` is the middle of its model's usual requests.
    """
    requests = facts.requests
    late, usual_s = _late(facts, requests)
    status, unknown = requests["status"], facts.is_verdict("unknown")
    given_up = facts.is_verdict("client_abort") | (unknown & holds(status, lambda each: each.startswith("5")))
    cut = late & given_up & holds(status, "499".__ne__) & (requests["wall_s"].to_numpy() >= PATIENCE_S)
    cut &= ~_wrote(facts, requests) if cut.any() else cut
    told, long = facts.is_verdict("warm_stall"), late & unknown & holds(status, "200".__eq__)
    own = np.flatnonzero(told | cut | long)
    how = pd.array(np.select([told[own], cut[own], long[own]], ["told", "cut", "long"], ""), dtype="str")
    found = requests[_COLUMNS[:-2]].iloc[own].assign(usual_s=usual_s[own], how=how)
    parts = [part for part in (found, _lost(facts)) if len(part)]
    rows = pd.concat([part[_COLUMNS] for part in parts], ignore_index=True) if parts else found
    return rows.sort_values("started_at", ignore_index=True)


def _late(facts: Facts, requests: pd.DataFrame) -> tuple[Mask, Numbers]:
    """Which requests took longer than is usual for their model, without a load and without a queue; what is usual."""
    embeds = holds(requests["path"], lambda path: "embed" in path)
    hosts, models = (requests[name].array for name in ("host", "model"))
    kinds = 2 * (hosts.codes.astype(np.int64) * len(models.categories) + models.codes) + embeds
    wall_s, unhindered = requests["wall_s"].to_numpy(), _unhindered(requests)
    ordinary = unhindered & holds(requests["status"], "200".__eq__) & ~facts.is_verdict("client_abort")
    walls = Usuals(kinds[ordinary], wall_s[ordinary], 2 * len(hosts.categories) * len(models.categories))
    # Of a kind of which nothing is known, none is late.
    late = unhindered & (wall_s > walls.limit[kinds])
    own = np.flatnonzero(late)
    late[own] = ~_overlaps_load(facts, requests.iloc[own])
    return late, walls.middle[kinds]


def _unhindered(requests: pd.DataFrame) -> Mask:
    """Which requests waited neither for a load nor, for a good part, for others."""
    load_s, queue_s, wall_s = (requests[name].to_numpy() for name in ("load_s", "queue_s", "wall_s"))
    unhindered: Mask = (load_s == 0) & (queue_s < _A_TENTH * wall_s)
    return unhindered


def _wrote(facts: Facts, requests: pd.DataFrame) -> Mask:
    """Which requests wrote, by the progress lines of llama-server before their end, for half of their time or more."""
    progress = facts.events("ls_gen_progress")
    if progress.empty:
        return np.zeros(len(requests), dtype=bool)
    told = pd.Series(0, requests.index)
    for source, own in requests.groupby("source", sort=False):
        lines = np.sort(progress.loc[progress["source"].eq(source), "line"].to_numpy())
        in_order = own.sort_values("line")
        told.loc[in_order.index] = np.diff(np.searchsorted(lines, in_order["line"].to_numpy()), prepend=0)
    wrote: Mask = told.mul(2 * _PROGRESS_S).ge(requests["wall_s"]).to_numpy()
    return wrote


def too_late_for_answers(facts: Facts, cut: pd.DataFrame) -> bool:
    """Whether those that were given up can hardly have been long answers.

    Long answers are of all lengths: as many would have ended between half of that time and the end as were cut there,
    even were their lengths as unequal as incomes are (a Pareto distribution with exponent 1).
    """
    requests = facts.requests
    answered = holds(requests["status"], "200".__eq__) & facts.is_verdict("warm_ok", "slow_decode", "unknown")
    answered &= _unhindered(requests)
    wall_s = requests["wall_s"].to_numpy()
    answers = as_long = 0
    for (host, model), own_s in cut.groupby(["host", "model"], observed=True)["wall_s"]:
        own = answered & holds(requests["host"], host.__eq__) & holds(requests["model"], model.__eq__)
        answers += int(own.sum())
        as_long += int((wall_s[own] >= own_s.median() / 2).sum())
    return answers >= _FEWEST_ANSWERS and wilson(as_long, as_long + len(cut))[1] < 0.5


def _overlaps_load(facts: Facts, rows: pd.DataFrame) -> Mask:
    """Which rows overlap a load on any host: while one is under way, anything may wait for it."""
    loads = facts.loads.dropna(subset=["spawned_at"]).sort_values("spawned_at")
    if loads.empty:
        return np.zeros(len(rows), dtype=bool)
    # Loads that never ended are over when the next one begins.
    ends = loads["ended_at"].fillna(loads["spawned_at"].shift(-1)).fillna(loads["spawned_at"])
    until = _moments(ends.cummax())
    before = np.searchsorted(_moments(loads["spawned_at"]), _moments(rows["ended_at"])) - 1
    known = (before >= 0) & rows["ended_at"].notna().to_numpy()
    overlaps: Mask = known & (until[before.clip(0)] > _moments(rows["started_at"]))
    return overlaps


def _moments(times: pd.Series) -> Any:
    """Times in UTC as numpy has them: as objects of Python each comparison would take its time."""
    return times.dt.tz_convert(None).to_numpy()


def _lost(facts: Facts) -> pd.DataFrame:
    """Calls without an access line that lasted longer than is usual, while their model was in memory."""
    lost = facts.lost_trials
    lost = lost.assign(**{name: pd.to_datetime(lost[name], utc=True) for name in ("started_at", "ended_at")})
    lost = lost.dropna(subset=["started_at", "ended_at"]).assign(how="lost", usual_s=np.nan)
    if lost.empty:
        return lost
    lost["wall_s"] = lost["wall_s"].fillna((lost["ended_at"] - lost["started_at"]).dt.total_seconds())
    calls = calls_of(facts)
    answered = calls[calls["status"].eq("200") | (calls["status"].eq("") & calls["eval_count"].gt(0))]
    late = pd.Series(False, lost.index)
    for model, own in lost.groupby("model", sort=False):
        if found := usual(answered.loc[answered["model"].eq(model), "wall_s"].dropna()):
            late.loc[own.index] = own["wall_s"] > max(found.limit, PATIENCE_S)
            lost.loc[own.index, "usual_s"] = found.middle
    lost = lost[late & ~_overlaps_load(facts, lost)]
    return lost[_resident(facts, lost)]


def _resident(facts: Facts, rows: pd.DataFrame) -> pd.Series:
    """Which rows lie within a residency of their model by the log, or have a look at /api/ps that shows it."""
    looks = facts.table("resident_models")
    found = []
    for row in rows.to_dict("records"):
        stays = facts.residencies
        if stays["model"].nunique() > 1:  # a log with one model may not know its name
            stays = stays[stays["model"].eq(row["model"])]
        gone = stays["unloaded_at"]
        stayed = bool((stays["loaded_at"].le(row["started_at"]) & (gone.isna() | gone.ge(row["ended_at"]))).any())
        seen = looks["at"].between(row["started_at"], row["ended_at"]) & looks["model"].eq(row["model"])
        found.append(stayed or bool(seen.any()))
    return pd.Series(found, rows.index, dtype=bool)
