"""Requests that hung: they stood still, or were given up far beyond what is usual, with their model in memory."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ...judging.usual import Usuals, usual
from ...judging.words import Numbers
from ...proportions import wilson
from .calls import calls_of
from .facts import Facts

# A wait of less than this share of a request is not what it was about.
_A_TENTH = 0.1
# Sooner than this nobody gives a call up because it hangs; answers of many tokens take as long.
PATIENCE_S = 10.0
# llama-server tells of a long answer's progress at most every 3 s.
_PROGRESS_S = 3.0
# Fewer answers than this do not show how long answers are.
_FEWEST_ANSWERS = 20
_COLUMNS = ["host", "source", "line", "model", "status", "started_at", "ended_at", "wall_s", "usual_s", "how"]
_found: WeakKeyDictionary[Facts, pd.DataFrame] = WeakKeyDictionary()


def hangs_of(facts: Facts) -> pd.DataFrame:
    """One row a request that hung or may have. `how` says how that is known:

    told: its verdict is warm_stall. cut: it was given up, or failed without a reason, later than any usual request of
    its model ends, and was not seen to write meanwhile. lost: a client's call that late, of which the server wrote no
    line. long: it was answered that late, and whether it stood still or wrote a long answer cannot be told. None of
    cut, lost and long overlaps a load, or waited for others. `usual_s` is the middle of its model's usual requests.
    """
    if facts not in _found:
        requests = facts.requests
        late, usual_s = _late(facts, requests)
        verdict, status = requests["verdict"], requests["status"]
        given_up = verdict.eq("client_abort") | (verdict.eq("unknown") & status.str.startswith("5"))
        cut = late & given_up & status.ne("499") & requests["wall_s"].ge(PATIENCE_S)
        cut &= ~_wrote(facts, requests) if cut.any() else cut
        told, long = verdict.eq("warm_stall"), late & verdict.eq("unknown") & status.eq("200")
        how = pd.Series(np.select([told, cut, long], ["told", "cut", "long"], ""), requests.index, dtype="str")
        own = (told | cut | long).to_numpy()
        found = requests.loc[own, _COLUMNS[:-2]].assign(usual_s=usual_s[own], how=how[own])
        parts = [part for part in (found, _lost(facts)) if len(part)]
        rows = pd.concat([part[_COLUMNS] for part in parts], ignore_index=True) if parts else found
        _found[facts] = rows.sort_values("started_at", ignore_index=True)
    return _found[facts]


def _late(facts: Facts, requests: pd.DataFrame) -> tuple[pd.Series, Numbers]:
    """Which requests took longer than is usual for their model, without a load and without a queue; what is usual."""
    embeds = requests["path"].str.contains("embed", regex=False)
    hosts, models = (requests[name].cat for name in ("host", "model"))
    kinds = (2 * (hosts.codes.astype(np.int64) * len(models.categories) + models.codes) + embeds).to_numpy()
    unhindered = requests["load_s"].eq(0) & requests["queue_s"].lt(_A_TENTH * requests["wall_s"])
    ordinary = unhindered & requests["status"].eq("200") & requests["verdict"].ne("client_abort")
    count = 2 * len(hosts.categories) * len(models.categories)
    walls = Usuals(kinds[ordinary], requests.loc[ordinary, "wall_s"].to_numpy(), count)
    # Of a kind of which nothing is known, none is late.
    late = unhindered & requests["wall_s"].gt(walls.limit[kinds]) & ~_overlaps_load(facts, requests)
    return late, walls.middle[kinds]


def _wrote(facts: Facts, requests: pd.DataFrame) -> pd.Series:
    """Which requests wrote, by the progress lines of llama-server before their end, for half of their time or more."""
    progress = facts.events("ls_gen_progress")
    if progress.empty:
        return pd.Series(False, requests.index)
    told = pd.Series(0, requests.index)
    for source, own in requests.groupby("source", sort=False):
        lines = np.sort(progress.loc[progress["source"].eq(source), "line"].to_numpy())
        in_order = own.sort_values("line")
        told.loc[in_order.index] = np.diff(np.searchsorted(lines, in_order["line"].to_numpy()), prepend=0)
    return told.mul(2 * _PROGRESS_S).ge(requests["wall_s"])


def too_late_for_answers(facts: Facts, cut: pd.DataFrame) -> bool:
    """Whether those that were given up can hardly have been long answers.

    Long answers are of all lengths: as many would have ended between half of that time and the end as were cut there,
    even were their lengths as unequal as incomes are (a Pareto distribution with exponent 1).
    """
    requests = facts.requests
    answered = requests["status"].eq("200") & requests["verdict"].isin(["warm_ok", "slow_decode", "unknown"])
    answered &= requests["load_s"].eq(0) & requests["queue_s"].lt(_A_TENTH * requests["wall_s"])
    half_s = cut.groupby(["host", "model"])["wall_s"].median().div(2).rename("half_s").reset_index()
    own = requests.loc[answered, ["host", "model", "wall_s"]].merge(half_s, on=["host", "model"])
    as_long = int(own["wall_s"].ge(own["half_s"]).sum())
    return len(own) >= _FEWEST_ANSWERS and wilson(as_long, as_long + len(cut))[1] < 0.5


def _overlaps_load(facts: Facts, rows: pd.DataFrame) -> pd.Series:
    """Which rows overlap a load on any host: while one is under way, anything may wait for it."""
    loads = facts.loads.dropna(subset=["spawned_at"]).sort_values("spawned_at")
    if loads.empty:
        return pd.Series(False, rows.index)
    # Loads that never ended are over when the next one begins.
    ends = loads["ended_at"].fillna(loads["spawned_at"].shift(-1)).fillna(loads["spawned_at"])
    until = _moments(ends.cummax())
    before = np.searchsorted(_moments(loads["spawned_at"]), _moments(rows["ended_at"])) - 1
    known = (before >= 0) & rows["ended_at"].notna().to_numpy()
    return pd.Series(known & (until[before.clip(0)] > _moments(rows["started_at"])), rows.index)


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
