"""What the criteria of acceptance ask for, measured: a load one call after another, the same at once, and their case.

Both loads are steps of one reproduction, with the same prompts. Costs are those of prices that the user gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ParameterError, StepFailed
from ..remediate.actions.prices import cost_of_an_api, cost_on_a_machine
from .criteria import METRICS, Measures
from .measurements import Measurements
from .run import reproduce
from .summary import Figures
from .wanted import Wanted

if TYPE_CHECKING:
    import pandas as pd

_DAY_S = 86400
# Less than this is no gain: two measurements of one thing differ as much.
_GAIN = 1.2


@dataclass(frozen=True)
class Prices:
    """In one currency; 0 is a price that nobody has given."""

    per_hour: float = 0.0
    per_million_input: float = 0.0
    per_million_output: float = 0.0
    # On how many calls a day the host's price is shared; 0: as many as it can answer.
    calls_per_day: float = 0.0


@dataclass(frozen=True)
class Load:
    """What came of a load at one number of clients; times in seconds of the calls that succeeded."""

    clients: int
    calls: int
    failed: int
    latency_avg_s: float | None
    latency_max_s: float | None
    # None: no one run tells it.
    calls_per_s: float | None
    error: str = ""


def measure(
    wanted: Wanted, clients: int = 4, prices: Prices = Prices(), say: Callable[[str], None] = lambda text: None
) -> Measures:
    """Send `calls` of the profile one after another, then as many by `clients` at once; read their case; reckon.

    A server that does not answer is a measurement: the model is not available. Raises ParameterError and InputError
    for what is wanted wrongly, OutputError for the folder.
    """
    if clients < 2:
        raise ParameterError(f"clients is {clients}; expected 2 or more, to compare with one after another.")
    try:
        told = reproduce(replace(wanted, profile=replace(wanted.profile, kind="sweep", levels=(1, clients))), say)
    except StepFailed as failed:
        return _unavailable(str(failed))
    with closing(Measurements(wanted.case / "measurements.csv")) as measurements:
        rows = measurements.read()
    alone, together = load_of(rows, 1, told.steps), load_of(rows, clients, told.steps)
    if alone.calls + together.calls == alone.failed + together.failed:
        return _unavailable(alone.error or together.error or f"none was sent in {wanted.profile.seconds:g} s")
    say("reading the case …")
    rebuilt, tokens = reconstructed(wanted.case)
    return _joined(_of_loads(alone, together), rebuilt, costs(prices, together, tokens))


def load_of(rows: pd.DataFrame, clients: int, steps: Mapping[str, Figures]) -> Load:
    """Of the rows of measurements.csv with this number of clients, warm-up left out; throughput as the steps tell."""
    step = f"{clients} client{'s' * (clients != 1)}"
    rows = rows[(rows["phase"] == "measured") & (rows["step"] == step)]
    good = rows[rows["ok"]]
    bad = rows.loc[~rows["ok"], "error"]
    return Load(
        clients, len(rows), len(bad), float(good["latency_s"].mean()) if len(good) else None,
        float(good["latency_s"].max()) if len(good) else None, steps[step].calls_per_s if step in steps else None,
        str(bad.iloc[0]) if len(bad) else "",
    )  # fmt: skip


def _of_loads(alone: Load, together: Load) -> Measures:
    values = {"model_available": 1.0}
    reasons = {"throughput_sequential_per_s": sequential_told(alone, together)}
    for name, value in (("latency_avg_s", alone.latency_avg_s), ("latency_max_s", alone.latency_max_s)):
        if value is not None:
            values[name] = value
        reasons[name] = f"{alone.calls} calls one after another, {alone.failed} failed."
        if alone.failed:
            reasons[name] += f" What fails has no latency, so this cannot pass; the first says: {alone.error}"
    for name, load in (("throughput_sequential_per_s", alone), ("throughput_concurrent_per_s", together)):
        if load.calls_per_s is not None:
            values[name] = load.calls_per_s
    reasons["throughput_concurrent_per_s"] = (
        f"{together.clients} clients, {together.calls} calls, {together.failed} failed."
        if together.calls
        else "The time was over before calls were sent at once: raise seconds, or lower calls."
    )
    for name, load in (("throughput_sequential_per_s", alone), ("throughput_concurrent_per_s", together)):
        if load.calls and load.calls_per_s is None:
            reasons[name] = "Nothing tells which of these calls one run has sent: measure anew, into another folder."
    return Measures(values, reasons, frozenset(("latency_avg_s", "latency_max_s") if alone.failed else ()))


def sequential_told(alone: Load, together: Load) -> str:
    """Why calls one after another come to no more than they do, and what calls at once came to.

    >>> print(sequential_told(Load(1, 10, 0, 0.48, 0.6, 2.08), Load(4, 10, 0, 0.6, 0.9, 6.5)))
    A call takes 0.48 s and waits for the one before it: no more than 1 / 0.48 = 2.08 a second, however idle the server is. 4 at once gave 6.5 a second, 3.12 times as many: send several at once.
    >>> print(sequential_told(Load(1, 10, 0, 0.5, 0.6, 2.0), Load(4, 10, 0, 2.0, 2.1, 2.0)))
    A call takes 0.5 s and waits for the one before it: no more than 1 / 0.5 = 2 a second, however idle the server is. 4 at once gave 2 a second, no more: the server answers one call at a time (OLLAMA_NUM_PARALLEL), or one keeps it busy.
    """  # noqa: E501
    if not alone.latency_avg_s:
        return f"{alone.failed} of {alone.calls} calls one after another failed: {alone.error or 'none was sent'}"
    told = (
        f"A call takes {alone.latency_avg_s:.3g} s and waits for the one before it: no more than 1 / "
        f"{alone.latency_avg_s:.3g} = {1 / alone.latency_avg_s:.3g} a second, however idle the server is. "
    )
    if not together.calls_per_s or not alone.calls_per_s:
        gave = "no answer" if together.calls == together.failed else "a throughput that is not known"
        return told + f"{together.clients} at once gave {gave}."
    gain = together.calls_per_s / alone.calls_per_s
    told += f"{together.clients} at once gave {together.calls_per_s:.3g} a second, "
    if gain < _GAIN:
        return told + "no more: the server answers one call at a time (OLLAMA_NUM_PARALLEL), or one keeps it busy."
    return told + f"{gain:.3g} times as many: send several at once."


def reconstructed(case: Path) -> tuple[Measures, tuple[float, float] | None]:
    """How long it takes from the folder of a case to a verdict for each request; and its tokens a call, in and out."""
    from ..analysis import analyze

    name = "reconstruction_latency_s"
    began = time.perf_counter()
    found = analyze(case)
    requests = found.requests()
    requests = requests[requests["inference"]]
    took_s = time.perf_counter() - began
    means = found.case.sql(
        "SELECT avg(prompt_eval_count), avg(eval_count) FROM trials WHERE prompt_eval_count > 0 AND eval_count > 0"
    ).iloc[0]
    tokens = None if means.isna().any() else (float(means.iloc[0]), float(means.iloc[1]))
    if requests.empty:
        why = "The case holds no request of the server: name its log, such as the output of journalctl -u ollama."
        return Measures(reasons={name: why}), tokens
    unknown = (requests["verdict"] == "unknown").sum()
    told = f"A verdict for each of {len(requests):,} requests, {unknown:,} of them unknown."
    return Measures({name: took_s}, {name: told}), tokens


def costs(prices: Prices, load: Load, tokens: tuple[float, float] | None) -> Measures:
    """Of 1,000 answered calls on the host at its price per hour, and against an API at its prices per token."""
    calls_per_s = load.calls_per_s or 0.0
    calls_per_day = prices.calls_per_day or calls_per_s * _DAY_S
    # What a host can answer counts no call that failed; what it is sent in a day does.
    hang_rate = load.failed / load.calls if prices.calls_per_day and load.calls else 0.0
    own = cost_on_a_machine(prices.per_hour, calls_per_day, hang_rate)
    if own is None:
        why = "The price of the host is not given: set price_per_hour."
        if prices.per_hour > 0:
            why = f"No call was answered by {load.clients} clients at once, or nothing tells how many a second."
        return Measures(reasons=dict.fromkeys(("cost_per_1000_calls", "savings_percent"), why))
    busy = f"{prices.calls_per_day:,.10g} calls a day"
    if not prices.calls_per_day:
        busy = f"all calls that it can answer, {calls_per_s:.3g} a second, day and night"
    reasons = {"cost_per_1000_calls": f"{prices.per_hour:g} an hour, shared by {busy}."}
    api = cost_of_an_api(prices.per_million_input, prices.per_million_output, *(tokens or (None, None)))
    if not api or tokens is None:
        why = "The prices of an API are not given: set price_per_million_input and price_per_million_output."
        reasons["savings_percent"] = why if tokens else "No call told its tokens, so an API's cost is not known."
        return Measures({"cost_per_1000_calls": own}, reasons)
    reasons["savings_percent"] = (
        f"{own:.3g} against {api:.3g} at the API, for {tokens[0]:.0f} tokens in and {tokens[1]:.0f} out a call."
    )
    return Measures({"cost_per_1000_calls": own, "savings_percent": 100 * (1 - own / api)}, reasons)


def _joined(first: Measures, *others: Measures) -> Measures:
    """One of several."""
    for other in others:
        first = replace(first, values={**first.values, **other.values}, reasons={**first.reasons, **other.reasons})
    return first


def _unavailable(why: str) -> Measures:
    """Nothing else can be measured of a server or a model that does not answer."""
    reasons = dict.fromkeys(METRICS, f"No call was answered: {why}")
    return Measures({"model_available": 0.0}, reasons)
