"""What changed between two cases: a good day and a bad one.

    compared = compare(analyze("good"), analyze("bad"))
    print(*compared.sentences, sep="\n")

Counts are compared by Fisher's exact test, wall times by Mann and Whitney's rank test. What one of the two cases did
not capture is not compared, and `not_compared` says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .analysis import Analysis
from .case import sample_incident
from .errors import InputError
from .hypotheses import judge
from .hypotheses.facts import Facts, seconds_text, size_text
from .hypotheses.findings import SEVERITIES
from .parse.ollama_settings import same
from .parse.plain_text import printable
from .proportions import NOTICED, fisher, noticeably_more
from .slopes import seconds_and_values, slope

# A dozen rates and models are compared at once, so each difference has to be rarer by chance than one in a hundred.
_CHANCE = 0.01
# A rank test of fewer cannot tell anything from chance.
_FEWEST = 8
# A steady slope, as for the embedding service's.
_SPREADS = 3.0
_FAILED = ("load_failure", "runner_crash", "client_abort")
_LONGEST_VALUE = 60
_MOST_CHANGES = 8
# Extrapolated to an hour, less than this says nothing.
_SHORTEST_S = 300.0
# Less than an allocator's arena in an hour is nobody's trouble.
_ARENA_BYTES = 64 * 2**20
# Who may call the server, and its defaults change with each version.
_OF_NO_ACCOUNT = ("OLLAMA_ORIGINS", "OLLAMA_REMOTES")


@dataclass(frozen=True)
class Comparison:
    """Two cases side by side. Frames have the columns of one case ending in `_a`, of the other in `_b`.

    `rates`: failures and each verdict, with counts and p. `latencies`: wall time of answered requests by model, with
    quantiles and p. `load`: requests, minutes, requests a minute, most at once. `configuration`: versions, settings,
    limits, devices and models; `differs` is empty where one side does not tell. `memory`: what grows, per hour.
    `causes`: each hypothesis found in one of the two; `change` is new, gone, both, or unseen (found in one, and the
    other could not have shown it).
    """

    sentences: tuple[str, ...]
    not_compared: tuple[str, ...]
    rates: pd.DataFrame
    latencies: pd.DataFrame
    load: pd.DataFrame
    configuration: pd.DataFrame
    memory: pd.DataFrame
    causes: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: frames as lists of their rows, unknown as null."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: json.loads(value.to_json(orient="records", double_precision=15))
            if isinstance(value, pd.DataFrame)
            else list(value)
            for name, value in values.items()
        }


@dataclass(frozen=True)
class _Side:
    """One case, with what is asked of it more than once."""

    facts: Facts

    @property
    def requests(self) -> pd.DataFrame:
        return self.facts.requests

    @property
    def failed(self) -> pd.Series:
        """Which requests came to nothing: an error, or a client that left."""
        return ~self.requests["status"].str.startswith("2") | self.requests["verdict"].isin(_FAILED)


def compare(a: Analysis, b: Analysis, names: tuple[str, str] = ("the first", "the second")) -> Comparison:
    """What differs from `a` to `b`, called by `names`; the sentences that tell most come first."""
    sides = _Side(Facts(a)), _Side(Facts(b))
    rates, latencies, load = _rates(*sides), _latencies(*sides), _load(*sides)
    configuration, not_compared = _configuration(*sides, names)
    memory, causes = _memory(*sides), _causes(a, b)
    first, second = (printable(name) for name in names)
    sentences = [
        *_rates_told(rates, first, second, failures=True),
        *_causes_told(causes, first, second),
        *_configuration_told(configuration, first, second),
        *_latencies_told(latencies, first, second),
        *_rates_told(rates, first, second, failures=False),
        *_load_told(load, first, second),
        *_memory_told(memory, first, second),
    ] or [f"Nothing that was captured of both tells {second} from {first} beyond chance."]
    if both := list(causes["title"][(causes["change"] == "both") & (causes["severity"] != "info")]):
        sentences.append(f"In both, so not what made the difference: {', '.join(both)}.")
    return Comparison(
        tuple(sentences), tuple(not_compared), rates, latencies, load, configuration, memory, causes
    )  # fmt: skip


def sample_pair() -> tuple[Path, Path]:
    """Two incidents of the project: one whose server answered everything, and one that left a fifth unanswered."""
    folder = sample_incident().parent
    good, bad = folder / "embedding-service-dies", folder / "silent-hangs-memlock"
    if not (good.is_dir() and bad.is_dir()):
        raise InputError("the incidents to compare are not in this installation; name two cases.")
    return good, bad


def rank_test(a: np.ndarray, b: np.ndarray) -> float:
    """The chance of ranks as different as these, were there no difference (Mann and Whitney, two-sided p, with ties).

    >>> ones, twos = np.arange(20.0), np.arange(20.0) + 15
    >>> rank_test(ones, twos) < 1e-5, rank_test(ones, ones), rank_test(ones[:3], twos)
    (True, 1.0, nan)
    """
    count_a, count_b = len(a), len(b)
    if min(count_a, count_b) < _FEWEST:
        return math.nan
    ranks = pd.Series(np.concatenate([a, b])).rank().to_numpy()
    total = count_a + count_b
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    spread = math.sqrt(count_a * count_b / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1))))
    apart = abs(float(ranks[:count_a].sum()) - count_a * (total + 1) / 2)
    return math.erfc(max(0.0, apart - 0.5) / spread / math.sqrt(2)) if spread else 1.0


# --- how it went


def _rates(a: _Side, b: _Side) -> pd.DataFrame:
    """Failures and verdicts as counts out of counts; calls that the server never answered count as failures."""
    totals = [len(side.requests) + len(side.facts.lost_trials) for side in (a, b)]
    counts = {"failed": [int(side.failed.sum()) + len(side.facts.lost_trials) for side in (a, b)]}
    for verdict in sorted({*a.requests["verdict"], *b.requests["verdict"]}):
        counts[verdict] = [int((side.requests["verdict"] == verdict).sum()) for side in (a, b)]
    rows = [
        {
            "what": what, "count_a": count_a, "of_a": totals[0], "rate_a": _share(count_a, totals[0]),
            "count_b": count_b, "of_b": totals[1], "rate_b": _share(count_b, totals[1]),
            "p": fisher(count_a, totals[0], count_b, totals[1]) if all(totals) else math.nan,
        }
        for what, (count_a, count_b) in counts.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["what", "count_a", "of_a", "rate_a", "count_b", "of_b", "rate_b", "p"])


def _latencies(a: _Side, b: _Side) -> pd.DataFrame:
    """Wall time of answered requests, of all and by model."""
    walls = [_walls(side) for side in (a, b)]
    rows = []
    for model in ["all", *sorted({*walls[0]["model"], *walls[1]["model"]})]:
        own = [wall["wall_s"][wall["model"].eq(model) | (model == "all")].to_numpy(float) for wall in walls]
        row: dict[str, object] = {"model": model}
        for end, wall_s in zip("ab", own, strict=True):
            quantiles = np.quantile(wall_s, [0.5, 0.95, 1.0]) if len(wall_s) else [math.nan] * 3
            row |= {f"n_{end}": len(wall_s)} | {
                f"{name}_{end}": value for name, value in zip(("p50_s", "p95_s", "max_s"), quantiles, strict=True)
            }
        rows.append(row | {"p": rank_test(*own)})
    return pd.DataFrame(rows)


def _walls(side: _Side) -> pd.DataFrame:
    answered = side.requests.loc[~side.failed, ["model", "path", "wall_s"]].dropna(subset=["wall_s"])
    answered = answered.astype({"model": "str", "path": "str"})
    unknown = "model not told, " + answered["path"]
    return answered.assign(model=answered["model"].where(answered["model"] != "", unknown))


def _load(a: _Side, b: _Side) -> pd.DataFrame:
    """Requests, over how long, how many a minute, and how many at once."""
    rows: dict[str, list[float]] = {"requests": [], "minutes": [], "requests_per_minute": [], "most_at_once": []}
    for side in (a, b):
        timed = side.requests.dropna(subset=["started_at", "ended_at"])
        minutes = (timed["ended_at"].max() - timed["started_at"].min()).total_seconds() / 60 if len(timed) else math.nan
        steps = pd.concat([pd.Series(1, timed["started_at"]), pd.Series(-1, timed["ended_at"])])
        rows["requests"].append(len(side.requests))
        rows["minutes"].append(minutes)
        # Of less than a minute no rate a minute can be told.
        rows["requests_per_minute"].append(len(timed) / minutes if minutes >= 1 else math.nan)
        rows["most_at_once"].append(float(steps.sort_index(kind="stable").cumsum().max()) if len(timed) else math.nan)
    return pd.DataFrame([{"what": what, "a": pair[0], "b": pair[1]} for what, pair in rows.items()])


# --- what it ran on


def _configuration(a: _Side, b: _Side, names: tuple[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Values by kind and name, and what one of the two did not capture."""
    rows: list[dict[str, object]] = []
    not_compared = []
    alike = a.facts.found.versions() == b.facts.found.versions()
    for kind, (values_of, collect) in _KINDS.items():
        one, other = values_of(a), values_of(b)
        if not one or not other:
            if one or other:
                missing = printable(names[0] if other else names[1])
                not_compared.append(f"{kind.capitalize()}s: {missing} has none captured; needed is {collect}.")
            continue
        # No device and no model is an answer; a setting may be unknown to a version, a limit may not be captured.
        telling = kind not in ("setting", "limit") or (kind == "setting" and alike)
        apart = [name for name in sorted({*one, *other}) if not telling and not (name in one and name in other)]
        if apart:
            not_compared.append(f"{kind.capitalize()}s that only one of the two tells: {len(apart):,}.")
        for name in sorted({*one, *other}):
            values = one.get(name, ""), other.get(name, "")
            differs = None if name in apart else not (values[0] == values[1] or (kind == "setting" and all(values)
                                                      and same(name, *values)))  # fmt: skip
            rows.append({"kind": kind, "name": name, "a": values[0], "b": values[1], "differs": differs})
    frame = pd.DataFrame(rows, columns=["kind", "name", "a", "b", "differs"])
    order = frame["differs"].map({True: 0, False: 1}).fillna(2)
    return frame.assign(order=order).sort_values("order", kind="stable", ignore_index=True).drop(
        columns="order"), not_compared  # fmt: skip


def _versions(side: _Side) -> dict[str, str]:
    found = side.facts.found.versions()
    return {"Ollama": ", ".join(found)} if found else {}


def _settings(side: _Side) -> dict[str, str]:
    """What each setting was at the last start."""
    printed = side.facts.printed_settings.sort_values("at", kind="stable")
    values = dict(zip(printed["name"], printed["value"], strict=True))
    return {name: value for name, value in values.items() if name not in _OF_NO_ACCOUNT}


def _limits(side: _Side) -> dict[str, str]:
    """The limits of Ollama's processes: of the runner, else of the server, else as they are intended."""
    limits = side.facts.limits
    values = limits["runner_soft"].fillna(limits["serve_soft"]).fillna(limits["intended_soft"]).astype(float)
    shown = zip(limits["unit"].fillna(""), limits["resource"], limits["measure"], values, strict=True)
    return {f"{unit} {resource}".strip(): _amount(value, measure) for unit, resource, measure, value in shown
            if not math.isnan(value)}  # fmt: skip


def _devices(side: _Side) -> dict[str, str]:
    devices = side.facts.found.devices()
    return {str(name) or str(library): str(library) for name, library in
            zip(devices["name"], devices["library"], strict=True)}  # fmt: skip


def _models(side: _Side) -> dict[str, str]:
    """Each model that was loaded, with its last context, its slots, and its layers on the GPU."""
    layers = side.facts.found.offload().drop_duplicates("model", keep="last").set_index("model")
    values = {}
    for row in side.facts.loads.to_dict("records"):
        parts = [f"context {row['context_length']:,.0f}"] if pd.notna(row["context_length"]) else []
        parts += [f"{row['parallel']:.0f} at once"] if pd.notna(row["parallel"]) else []
        if row["model"] in layers.index:
            parts.append("{layers_gpu} of {layers_total} layers on the GPU".format(**layers.loc[row["model"]]))
        values[str(row["model"])] = ", ".join(parts) or "loaded"
    return values


_KINDS: dict[str, tuple[Callable[[_Side], dict[str, str]], str]] = {
    "version": (_versions, "a log that holds a start of the server"),
    "setting": (_settings, "a log that holds a start of the server"),
    "limit": (_limits, "warmstall collect, while the server runs"),
    "device": (_devices, "a log that holds a start of the server"),
    "model": (_models, "a log that holds the loads of models"),
}


def _memory(a: _Side, b: _Side) -> pd.DataFrame:
    """What the memory of the hosts and of the processes did in an hour, where both were looked at often enough."""
    slopes = [_slopes(side) for side in (a, b)]
    rows = [
        {"what": what} | {
            f"{name}_{end}": value for end, side in zip("ab", slopes, strict=True) for name, value in side[what].items()
        }
        for what in slopes[0] if what in slopes[1]
    ]  # fmt: skip
    columns = [f"{name}_{end}" for end in "ab" for name in ("bytes_per_hour", "spreads", "looks")]
    return pd.DataFrame(rows, columns=["what", *columns])


def _slopes(side: _Side) -> dict[str, dict[str, float]]:
    memory, processes = side.facts.table("memory"), side.facts.table("processes")
    series = [
        (what, own, column)
        for what, column in (("memory available", "available_bytes"), ("swap used", "swap_used_bytes"))
        for _, own in memory[~memory["origin"].str.startswith("cgroup")].groupby("host")
    ]
    # Of several processes of one role, the one that was seen most often stands for it.
    for role, rows in processes[processes["role"].fillna("") != ""].groupby("role"):
        most = rows.groupby(["host", "pid"]).size().idxmax() if rows["pid"].notna().any() else None
        own = rows[(rows["host"] == most[0]) & (rows["pid"] == most[1])] if most else rows.head(0)
        series.append((f"memory of {role}", own, "rss_bytes"))
    found = {}
    for what, own, column in series:
        looks = own.dropna(subset=["at", column])
        if len(looks) >= _FEWEST and (looks["at"].max() - looks["at"].min()).total_seconds() >= _SHORTEST_S:
            gained = slope(*seconds_and_values(looks, column))
            found[what] = {"bytes_per_hour": gained.per_s * 3600, "spreads": gained.spreads, "looks": len(looks)}
    return found


def _causes(a: Analysis, b: Analysis) -> pd.DataFrame:
    """Each hypothesis that was found in one of the two, with its state in both and its strongest sentence."""
    judged_a, judged_b = ({one.id: one for one in judge(found)} for found in (a, b))
    rows = []
    for name, in_b in judged_b.items():
        in_a = judged_a[name]
        if in_a.found or in_b.found:
            shown, other = (in_b, in_a) if in_b.found else (in_a, in_b)
            change = "both" if other.found else "unseen" if other.state == "not_observable" else ""
            change = change or ("new" if in_b.found else "gone")
            rows.append({
                "id": name, "title": in_b.page.title, "change": change, "state_a": in_a.state, "state_b": in_b.state,
                "severity": shown.severity, "sentence": shown.supporting[0].sentence if shown.supporting else "",
            })  # fmt: skip
    frame = pd.DataFrame(rows, columns=["id", "title", "change", "state_a", "state_b", "severity", "sentence"])
    order = frame["change"].map({"new": 0, "unseen": 1, "gone": 2, "both": 3}) * 10
    order -= frame["severity"].map(SEVERITIES.index)
    return frame.assign(order=order).sort_values("order", kind="stable", ignore_index=True).drop(columns="order")


# --- in words


def _rates_told(rates: pd.DataFrame, first: str, second: str, failures: bool) -> Iterator[str]:
    kept = rates[(rates["what"] == "failed") == failures]
    differs = kept[kept["p"] < _CHANCE].sort_values("p", kind="stable")
    for row in differs.to_dict("records"):
        one, other = ((row[f"count_{end}"], row[f"of_{end}"]) for end in "ab")
        if not (noticeably_more(one, other) or noticeably_more(other, one)):
            continue
        what = "failed or got no answer" if failures else f"were {row['what']}"
        yield (
            f"{_percent(row['rate_b'])} of the requests {what} in {second} ({row['count_b']:,} of {row['of_b']:,}), "
            f"{_percent(row['rate_a'])} in {first} ({row['count_a']:,} of {row['of_a']:,}); {_chance(row['p'])}."
        )


def _causes_told(causes: pd.DataFrame, first: str, second: str) -> Iterator[str]:
    telling = causes[causes["severity"] != "info"]
    in_second = telling["state_b"].isin(["confirmed", "supported"])
    for row in telling[in_second & telling["change"].isin(["new", "unseen"])].to_dict("records"):
        other = f"ruled out in {first}" if row["change"] == "new" else f"{first} could not have shown it"
        yield f"{row['title']} ({row['id']}): {row['state_b']} in {second}, {other}. {row['sentence']}"
    for row in telling[telling["change"] == "gone"].to_dict("records"):
        yield f"{row['title']} ({row['id']}): {row['state_a']} in {first}, ruled out in {second}."
    if left := list(telling["title"][~in_second & (telling["change"] == "unseen")]):
        yield f"Found in {first}, and {second} could not have shown it: {', '.join(left)}."


def _configuration_told(configuration: pd.DataFrame, first: str, second: str) -> Iterator[str]:
    """One sentence for each kind of which something differs."""
    differs = configuration[configuration["differs"].eq(True)]
    for kind in _KINDS:
        rows = differs[differs["kind"] == kind].to_dict("records")
        if rows:
            changed = [f"{_shown(row['name'])} is {_shown(row['b'])}, was {_shown(row['a'])}" for row in rows]
            more = f"; and {len(rows) - _MOST_CHANGES:,} more" if len(rows) > _MOST_CHANGES else ""
            yield (
                f"{kind.capitalize()}{'s' * (len(rows) > 1)} of {second}, beside {first}: "
                f"{'; '.join(changed[:_MOST_CHANGES])}{more}."
            )


def _shown(text: str) -> str:
    return printable(text)[:_LONGEST_VALUE] or "not there"


def _latencies_told(latencies: pd.DataFrame, first: str, second: str) -> Iterator[str]:
    # All models together tell nothing more where there is one.
    sure = latencies[latencies["p"] < _CHANCE].iloc[int(len(latencies) == 2) :].sort_values("p", kind="stable")
    for row in sure.to_dict("records"):
        ratio = row["p50_s_b"] / row["p50_s_a"] if row["p50_s_a"] else math.inf
        if 1 / NOTICED < ratio < NOTICED:
            continue
        times = f"{max(ratio, 1 / ratio):.1f} times as {'long' if ratio > 1 else 'fast'}" if ratio else "at once"
        of = "all models" if row["model"] == "all" else printable(row["model"])[:_LONGEST_VALUE]
        yield (
            f"Answers of {of} took {seconds_text(row['p50_s_b'])} (median; 95 % within {seconds_text(row['p95_s_b'])}; "
            f"n = {row['n_b']:,}) in {second}, {seconds_text(row['p50_s_a'])} ({seconds_text(row['p95_s_a'])}; "
            f"n = {row['n_a']:,}) in {first}: {times}; {_chance(row['p'])}."
        )


def _load_told(load: pd.DataFrame, first: str, second: str) -> Iterator[str]:
    for row in load[load["what"].isin(["requests_per_minute", "most_at_once"])].to_dict("records"):
        low, high = sorted((row["a"], row["b"]))
        if not high or math.isnan(high) or math.isnan(low) or high / max(low, 1e-9) < NOTICED:
            continue
        what = "Requests a minute" if row["what"] == "requests_per_minute" else "Most requests at once"
        yield f"{what}: {row['b']:,.3g} in {second}, {row['a']:,.3g} in {first}."


def _memory_told(memory: pd.DataFrame, first: str, second: str) -> Iterator[str]:
    for row in memory.to_dict("records"):
        steady = {end: abs(row[f"spreads_{end}"]) > _SPREADS for end in "ab"}
        slopes = {end: row[f"bytes_per_hour_{end}"] if steady[end] else 0.0 for end in "ab"}
        low, high = sorted(map(abs, slopes.values()))
        if high < _ARENA_BYTES or (low / high > 1 / NOTICED and slopes["a"] * slopes["b"] > 0):
            continue
        told = {end: _pace(value, row[f"looks_{end}"]) for end, value in slopes.items()}
        yield f"{row['what'].capitalize()}: {told['b']} in {second}, {told['a']} in {first}."


def _pace(bytes_per_hour: float, looks: int) -> str:
    if not bytes_per_hour:
        return f"steady ({looks:,} looks)"
    return f"{'up' if bytes_per_hour > 0 else 'down'} {size_text(abs(bytes_per_hour))} an hour ({looks:,} looks)"


def _share(count: int, of: int) -> float:
    return count / of if of else math.nan


def _percent(rate: float) -> str:
    if 0.995 <= rate < 1:
        return "over 99 %"
    return f"{100 * rate:.0f} %" if rate >= 0.1 or not rate else f"{100 * rate:.2g} %"


def _chance(p: float) -> str:
    return "by chance less than once in a million" if p < 1e-6 else f"by chance p = {p:.2g}"


def _amount(value: float, measure: str) -> str:
    if math.isinf(value):
        return "infinity"
    return size_text(value) if measure == "bytes" else f"{value:,.0f}"
