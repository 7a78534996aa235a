"""move-backend: decide between Ollama, vLLM and an API by a case's own numbers.

It compares the hang rate (with its interval), the 95th percentile, the models that a run needs, and the cost of 1,000
answered calls, and says so when the evidence is too small to tell. It changes nothing: moving is a change of the
client, so its steps are commands to try the other backend beside this one, and to judge it by the same numbers.

What it cannot know stands in the table: how often another backend hangs, and how fast it is there, only a trial tells.

vLLM: https://docs.vllm.ai/en/latest/cli/serve.html and https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import pandas as pd

from ...parse.plain_text import printable
from ...proportions import rate_text, wilson
from ..step import Action, Check, Precondition, Step, Verified
from ..target import Target
from .backend_numbers import BackendNumbers, Rate, numbers_of
from .prices import cost_of_an_api, cost_on_a_machine

SETTINGS: dict[str, Any] = {
    "case": "",
    "model": "",
    "hang_rate_limit": 0.01,
    "p95_limit_s": 0.0,
    "gpu_price_per_hour": 0.0,
    "api_price_per_million_input_tokens": 0.0,
    "api_price_per_million_output_tokens": 0.0,
    "models_per_run": 0,
    "calls_per_day": 0,
    "huggingface_model": "",
    "api_base_url": "",
}
RECORDING = "hanging-models"
# Of the memory of a GPU, what vLLM takes by default (--gpu-memory-utilization).
_VLLM_SHARE = 0.9
_NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Option:
    """One backend: its cost of 1,000 answered calls (None: not known), and what speaks for it and against it."""

    name: str
    cost_per_1000_calls: float | None
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    not_known: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What the numbers say: stay, move, or cannot tell, in a sentence; and what to collect where they do not."""

    state: Literal["stay", "move", "cannot tell"]
    sentence: str
    options: tuple[Option, ...]

    def __str__(self) -> str:
        return self.sentence


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """The decision as a plan: nothing of it acts, and all of it is done by hand."""
    numbers = numbers_of(str(settings["case"]))
    found = decided(numbers, settings)
    version = target.version()
    server = f"Ollama {version} answers." if version else "The server does not answer; the case alone decides."
    states: dict[str, Any] = {"stay": "not needed", "move": "met", "cannot tell": "cannot tell"}
    preconditions = (
        Precondition("server", "met", server),
        Precondition("numbers of the case", states[found.state], found.sentence),
    )
    steps = _steps(numbers, settings) if found.state == "move" else ()
    afterwards = ("Judge the other backend by the same numbers: collect a case there and run this again with it.",)
    return Action(found.sentence, preconditions, steps, afterwards=afterwards)


def decision(settings: Mapping[str, Any]) -> Decision:
    """What the case that the settings name says, for a notebook. Raises InputError when it cannot be read."""
    return decided(numbers_of(str(settings["case"])), settings)


def decided(numbers: BackendNumbers, settings: Mapping[str, Any]) -> Decision:
    """Judge the hang rate by its interval and the waits by their limit: what straddles a limit decides nothing."""
    limit, p95_limit_s = float(settings["hang_rate_limit"]), float(settings["p95_limit_s"])
    model = printable(str(settings["model"]))
    told = f"the hang rate of {model}" if model else "the hang rate"
    rate = numbers.hangs_by_model.get(str(settings["model"]), Rate(0, 0)) if model else numbers.hangs
    low, high = wilson(rate.count, rate.of)
    options = _options(numbers, settings)
    if not rate.of:
        return Decision("cannot tell", f"Cannot tell: no call of {'that model' if model else 'a known model'} came to "
                        "its end or hung in this case; collect the clients' records (start, end, model, status, error) "
                        "of a few hundred calls.", options)  # fmt: skip
    slow = p95_limit_s > 0 and numbers.wall_p95_s is not None and numbers.wall_p95_s > p95_limit_s
    waits = f"the 95th percentile is {numbers.wall_p95_s:.1f} s, above {p95_limit_s:g} s" if slow else ""
    if low > limit:
        well = [f"{printable(name)} (0 of {own.of:,})" for name, own in sorted(numbers.hangs_by_model.items())
                if not own.count]  # fmt: skip
        keep = f" Without a hang: {', '.join(well[:8])}." if well and not model else ""
        also = f" Besides, {waits}." if waits else ""
        return Decision("move", f"Try another backend: {told} is {rate_text(rate.count, rate.of)}, all of it above the "
                        f"limit of {limit:.2%}.{keep}{also} {_cheapest(options)}", options)  # fmt: skip
    if slow:
        return Decision("move", f"Try another backend: {waits}. {_capital(told)} is {rate_text(rate.count, rate.of)}. "
                        f"{_cheapest(options)}", options)  # fmt: skip
    if high > limit:
        return Decision("cannot tell", f"Cannot tell: {told} is {rate_text(rate.count, rate.of)}, and the limit of "
                        f"{limit:.2%} lies within. Collect {_calls_wanted(rate, limit):,} calls or more.",
                        options)  # fmt: skip
    return Decision("stay", f"Stay with Ollama: {told} is {rate_text(rate.count, rate.of)}, all of it within the limit "
                    f"of {limit:.2%}{'' if p95_limit_s <= 0 else ', and so is the wait'}.", options)  # fmt: skip


def options_table(found: Decision) -> pd.DataFrame:
    """The options, one a row: backend, cost of 1,000 answered calls, for, against, not known."""
    rows = [
        {"backend": one.name,
         "cost of 1,000 calls": "not known" if (cost := one.cost_per_1000_calls) is None else f"{cost:,.2f}",
         "for": " ".join(one.speaks_for), "against": " ".join(one.speaks_against),
         "not known": " ".join(one.not_known)}
        for one in found.options
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["backend", "cost of 1,000 calls", "for", "against", "not known"])


def numbers_table(settings: Mapping[str, Any]) -> pd.DataFrame:
    """The case's numbers that decide, one a row: what, value."""
    numbers = numbers_of(str(settings["case"]))
    rates = [(f"hang rate of {name}", rate_text(own.count, own.of)) for name, own in
             sorted(numbers.hangs_by_model.items(), key=lambda item: -item[1].count / max(item[1].of, 1))]  # fmt: skip
    rows = [
        ("case", numbers.case),
        ("hang rate", rate_text(numbers.hangs.count, numbers.hangs.of)), *rates,
        ("median of answered calls", _told(numbers.wall_p50_s, " s")),
        ("95th percentile of answered calls", _told(numbers.wall_p95_s, " s")),
        ("input tokens of a call", _told(numbers.input_tokens_per_call)),
        ("output tokens of a call", _told(numbers.output_tokens_per_call)),
        ("calls a day", _told(numbers.calls_per_day)),
        ("share of the time in which a request was open", _told(numbers.busy_share)),
        ("models of a run", _told(numbers.models_per_run)),
        ("loads per call", _told(numbers.loads.count / numbers.loads.of if numbers.loads.of else None)),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["what", "value"])


def _options(numbers: BackendNumbers, settings: Mapping[str, Any]) -> tuple[Option, ...]:
    calls_per_day = float(settings["calls_per_day"]) or numbers.calls_per_day
    models = float(settings["models_per_run"]) or numbers.models_per_run
    hangs = numbers.hangs
    hang_rate = hangs.count / hangs.of if hangs.of else 0.0
    price = float(settings["gpu_price_per_hour"])
    unpriced = () if price > 0 else ("The price of the machine (gpu_price_per_hour).",)
    own_paths = _share(numbers.api_calls)
    other_paths = (f"{own_paths} of the calls go to Ollama's own endpoints; the client must change to /v1.",)
    changed = other_paths if numbers.api_calls.count else ()
    several = models is not None and models > 1
    swapping = f"A run needs {models:g} models; it serves one a process, and none makes room for another."
    room, too_large = _room(numbers)
    tokens = (numbers.input_tokens_per_call, numbers.output_tokens_per_call)
    prices = (float(settings["api_price_per_million_input_tokens"]),
              float(settings["api_price_per_million_output_tokens"]))  # fmt: skip
    lacks = [] if sum(prices) > 0 else ["The prices of the API (api_price_per_million_input_tokens and …_output_…)."]
    lacks += [] if None not in tokens else ["The tokens of a call: keep eval_count and prompt_eval_count."]
    return (
        Option(
            "Ollama", cost_on_a_machine(price, calls_per_day, hang_rate),
            ("Nothing has to change.", *(("It changes models by itself.",) if several else ())),
            (f"Hangs: {rate_text(hangs.count, hangs.of)}.",
             *((f"{numbers.loads.count:,} loads for {numbers.loads.of:,} calls.",) if several else ())),
            ("Whether the cause can be taken away: first do what the runbooks of its causes say.", *unpriced),
        ),
        Option(
            "vLLM", cost_on_a_machine(price, calls_per_day, 0.0),
            ("The models and the data stay on the machine.", *room),
            (*changed, *((swapping,) if several else ()), *too_large),
            ("How often it hangs and how fast it is here: a trial of as many calls tells. Its cost is told as if it "
             "answered as many calls a day, and none hung.", *unpriced),
        ),
        Option(
            "API", cost_of_an_api(*prices, *tokens),
            ("No GPU, no load and no memory of one's own.",
             *((f"It is busy {numbers.busy_share:.0%} of the time here.",) if (numbers.busy_share or 1) < 0.5 else ())),
            (*changed, "Prompts leave the house."),
            ("Whether it has these models, its limits and its own failures: a trial of as many calls tells.", *lacks),
        ),
    )  # fmt: skip


def _room(numbers: BackendNumbers) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whether all models of the case would fit into the GPUs at once, as they must where none makes room."""
    held, memory = sum(numbers.model_bytes.values()), sum(numbers.gpu_bytes) * _VLLM_SHARE
    if not held or not memory:
        return (), ()
    told = f"{len(numbers.model_bytes)} models of {held / 1e9:.0f} GB as Ollama holds them"
    fits = (
        f"{told} fit into {memory / 1e9:.0f} GB of GPU memory at once; unquantized they are up to four times as large."
    )
    return ((fits,), ()) if held <= memory else ((), (f"{told} do not fit into {memory / 1e9:.0f} GB at once.",))


def _steps(numbers: BackendNumbers, settings: Mapping[str, Any]) -> tuple[Step, ...]:
    name = str(settings["huggingface_model"]) or "ORGANIZATION/MODEL"
    serve = ["vllm", "serve", printable(name), "--host", "127.0.0.1", "--port", "8000"]
    serve += ["--max-model-len", str(numbers.context_length)] if numbers.context_length else []
    largest, gpu = max(numbers.model_bytes.values(), default=0), min(numbers.gpu_bytes, default=0)
    if gpu and largest > gpu * _VLLM_SHARE:
        serve += ["--tensor-parallel-size", str(len(numbers.gpu_bytes))]
    base = printable(str(settings["api_base_url"])) or "https://HOST/v1"
    return (
        _by_hand("try vLLM", "Serve one of the models that hang by vLLM, beside Ollama, on its own port.",
                 "a server that answers at http://127.0.0.1:8000/v1",
                 (shlex.join(serve), "curl -sS http://127.0.0.1:8000/v1/models",
                  "export OPENAI_BASE_URL=http://127.0.0.1:8000/v1")),
        _by_hand("try an API", "Send the same calls to an API; its key stays in the environment.",
                 "as many answered calls as this case has", (shlex.join(["export", f"OPENAI_BASE_URL={base}"]),)),
        _by_hand("judge it by the same numbers", "Record the calls of the trial as this case did, and decide again.",
                 "a hang rate whose interval lies within the limit",
                 ("warmstall runbook run move-backend --case CASE_OF_THE_TRIAL",)),
    )  # fmt: skip


def _by_hand(name: str, does: str, wanted: str, commands: tuple[str, ...]) -> Step:
    return Step(
        name, does, wanted, check=lambda _: Check("needed", "not tried, as far as this case tells"), apply=None,
        verify=lambda _: Verified(None, "Only a case of the trial shows it."), by_hand=commands,
    )  # fmt: skip


def _calls_wanted(rate: Rate, limit: float) -> int:
    """How many calls would tell this rate from the limit, were it what it seems; of no hangs, by Wilson's bound."""
    seen = rate.count / rate.of
    if not rate.count:
        return max(ceil(_NORMAL**2 * (1 - limit) / limit) if limit else 0, rate.of + 1)
    if abs(seen - limit) < limit / 10:  # so near that no trial of a sensible length tells them apart
        return 2 * rate.of
    wanted = ceil(_NORMAL**2 * max(seen * (1 - seen), limit * (1 - limit)) / (seen - limit) ** 2)
    return max(wanted, rate.of + 1)


def _cheapest(options: tuple[Option, ...]) -> str:
    known = [(one.cost_per_1000_calls, one.name) for one in options if one.cost_per_1000_calls is not None]
    if len(known) < len(options):
        lacking = ", ".join(one.name for one in options if one.cost_per_1000_calls is None)
        return f"Which costs less cannot be told without the prices of {lacking}."
    costs = ", ".join(f"{name} {cost:,.2f}" for cost, name in sorted(known))
    return f"1,000 answered calls cost: {costs}."


def _share(rate: Rate) -> str:
    return f"{rate.count / rate.of:.0%}" if rate.of else "None"


def _told(value: float | None, unit: str = "") -> str:
    return "not known" if value is None else f"{value:,.2f}{unit}" if value < 100 else f"{value:,.0f}{unit}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
