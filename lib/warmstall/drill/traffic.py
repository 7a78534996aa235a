"""The clients of a drill: real HTTP requests at their times, each with a record of what its client saw."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx

from .scenario import EMBEDDING_SERVICE, QUESTION, Scenario, Traffic
from .timetable import Timetable

if TYPE_CHECKING:
    from .questions import Application

# The header by which a request's record on the client's side meets the one on the server's.
REQUEST_HEADER = "X-Drill-Request"
FIGURES = (
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration",
)  # fmt: skip
COLUMNS = ("start_ts", "end_ts", "model", "endpoint", "status", "error", *FIGURES)
# Who still waits this long after the end of the drill leaves too.
PATIENCE_AT_THE_END_S = 10.0
_WORDS = (
    "river", "stone", "window", "garden", "letter", "winter", "market", "silver", "candle", "bridge", "harbour",
    "meadow", "copper", "lantern", "orchard", "thunder", "velvet", "compass", "marble", "feather",
)  # fmt: skip


@dataclass
class Trial:
    """One request as its client saw it; times are seconds of the epoch."""

    id: str
    model: str
    endpoint: str
    began: float
    ended: float = 0.0
    status: str = ""
    error: str = ""
    first_token: float = 0.0
    gave_up: bool = False
    context: int = 0
    figures: dict[str, int] = field(default_factory=dict)

    @property
    def wall_s(self) -> float:
        return self.ended - self.began


class Clients:
    """All clients of one scenario, from its second 0 to its end."""

    def __init__(self, scenario: Scenario, timetable: Timetable, url: str, service_url: str = "") -> None:
        self.scenario = scenario
        self.timetable = timetable
        self.trials: list[Trial] = []
        # Of the server, and of the embedding service where there is one.
        self.urls = url, service_url
        self._answering: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._numbers = itertools.count(1)
        self._by_model: dict[str, int] = {}
        # Who answers questions, where the scenario asks some.
        self.application: Application | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Send everything; returns when the last answer has come, or its client has left."""
        self._loop = asyncio.get_running_loop()
        # A connection of its own for each: a client that leaves then really closes it.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=False) as http:
            flows = (self._flow(http, number, one) for number, one in enumerate(self.scenario.traffic))
            await asyncio.gather(*flows)

    def is_answering(self, model: str) -> bool:
        """Whether a request to the model has begun to be answered, and has not ended."""
        return model in self._answering.values()

    async def until_answering(self, model: str, seconds: float) -> bool:
        """Wait until a request to the model is being answered; False when none is within that time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.is_answering(model))
        except TimeoutError:
            return False
        return True

    def began_to_answer(self, model: str) -> Callable[[], object]:
        """From any thread: an answer has begun. Gives back what to call when it has ended."""
        assert self._loop, "questions are asked while the clients run"
        loop, identity = self._loop, f"q{next(self._numbers):04}"
        asyncio.run_coroutine_threadsafe(self._note_answering(identity, model), loop)
        return lambda: loop.call_soon_threadsafe(self._answering.pop, identity, None)

    async def _note_answering(self, identity: str, model: str) -> None:
        self._answering[identity] = model
        async with self._changed:
            self._changed.notify_all()

    async def _flow(self, http: httpx.AsyncClient, number: int, one: Traffic) -> None:
        """One traffic row: its requests at a steady pace, or by clients that wait for their answers."""
        random = Random(f"{self.timetable.seed} {number}")
        end_s = min(one.end_s, self.scenario.duration_s)
        async with asyncio.TaskGroup() as tasks:
            if one.clients:
                for _ in range(one.clients):
                    tasks.create_task(self._in_turn(http, one, Random(random.random()), end_s))
                return
            for sent in itertools.count():
                second = one.start_s + sent * one.every_s
                if second >= end_s or (one.count and sent >= one.count):
                    return
                await self._until(second)
                tasks.create_task(self._request(http, one, random))

    async def _in_turn(self, http: httpx.AsyncClient, one: Traffic, random: Random, end_s: float) -> None:
        await self._until(one.start_s)
        for sent in itertools.count(1):
            await self._request(http, one, random)
            if (one.count and sent >= one.count) or self._second() + one.pause_s >= end_s:
                return
            await asyncio.sleep(one.pause_s)

    async def _request(self, http: httpx.AsyncClient, one: Traffic, random: Random) -> None:
        if one.endpoint == QUESTION and self.application:
            await self.application.ask(one, random)
            return
        trial = Trial(f"r{next(self._numbers):04}", one.model, one.endpoint, time.time())
        trial.context = int(one.options.get("num_ctx", 0))
        timeout_s = self._timeout_s(one)
        left_s = self.scenario.duration_s + PATIENCE_AT_THE_END_S - self._second()
        allowed_s = min(timeout_s or left_s, max(left_s, 0.1))
        try:
            async with asyncio.timeout(allowed_s):
                await self._exchange(http, one, body_of(one, random), trial)
        except TimeoutError:
            trial.gave_up = True
            trial.error = f"client timeout: closed connection after {allowed_s:g}s"
        except httpx.RemoteProtocolError as error:
            trial.error = "stream ended without done" if trial.status else f"RemoteProtocolError: {error}"
        except httpx.HTTPError as error:
            trial.error = f"{type(error).__name__}: {error}"
        trial.ended = time.time()
        self.trials.append(trial)
        self._answering.pop(trial.id, None)

    async def _exchange(self, http: httpx.AsyncClient, one: Traffic, body: object, trial: Trial) -> None:
        is_service = one.endpoint == EMBEDDING_SERVICE
        url = self.urls[is_service] + ("/embed" if is_service else one.endpoint)
        async with http.stream("POST", url, json=body, headers={REQUEST_HEADER: trial.id}) as response:
            trial.status = str(response.status_code)
            done = not one.stream or response.status_code != 200
            pieces = []
            async for line in response.aiter_lines():
                if not trial.first_token:
                    trial.first_token = time.time()
                    await self._note_answering(trial.id, trial.model)
                pieces.append(line)
                done = read_line(line, trial) or done
            if one.endpoint.startswith("/v1/") and not one.stream:
                read_line("".join(pieces), trial)
            if not done and not trial.error:
                trial.error = "stream ended without done"

    def _timeout_s(self, one: Traffic) -> float:
        """When this client gives up: its own time, or that of a `client_abort` that meets it."""
        number = self._by_model[one.model] = self._by_model.get(one.model, 0) + 1
        if self.timetable.meets("client_abort", one.model, number):
            return self.timetable.strength("client_abort", one.model)
        return one.timeout_s

    def _second(self) -> float:
        return time.time() - self.timetable.epoch

    async def _until(self, second: float) -> None:
        await asyncio.sleep(max(0.0, second - self._second()))


def body_of(one: Traffic, random: Random) -> dict[str, Any]:
    """What is sent: in Ollama's form or in OpenAI's. Every prompt is another, or it would be cached."""
    prompt = one.prompt or " ".join(random.choices(_WORDS, k=one.prompt_words))
    if one.endpoint == EMBEDDING_SERVICE:
        return {"texts": [prompt]}
    messages = [{"role": "user", "content": prompt}]
    if one.endpoint.startswith("/v1/"):
        body: dict[str, Any] = {"model": one.model}
        if one.endpoint == "/v1/embeddings":
            return body | {"input": prompt}
        body |= {"prompt": prompt} if one.endpoint == "/v1/completions" else {"messages": messages}
        return body | {"stream": one.stream, "max_tokens": one.num_predict}
    asked: dict[str, dict[str, Any]] = {"/api/chat": {"messages": messages}, "/api/embed": {"input": prompt}}
    body = {"model": one.model, **asked.get(one.endpoint, {"prompt": prompt})}
    if one.endpoint.startswith("/api/embed"):
        body["options"] = dict(one.options)
    else:
        body["stream"] = one.stream
        body["options"] = {"num_predict": one.num_predict, **one.options}
    if one.keep_alive:
        body["keep_alive"] = int(one.keep_alive) if one.keep_alive.lstrip("-").isdigit() else one.keep_alive
    return body


def read_line(line: str, trial: Trial) -> bool:
    """Take figures and errors out of a line of an answer; whether it says that the answer is whole."""
    if line.removeprefix("data: ") == "[DONE]":
        return True
    try:
        said = json.loads(line.removeprefix("data: "))
    except ValueError:
        return False
    if not isinstance(said, dict):
        return False
    if error := said.get("error"):
        trial.error = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        return True
    trial.figures |= {name: said[name] for name in FIGURES if isinstance(said.get(name), int)}
    if isinstance(usage := said.get("usage"), dict):
        for name, own in (("prompt_tokens", "prompt_eval_count"), ("completion_tokens", "eval_count")):
            if isinstance(usage.get(name), int):
                trial.figures[own] = usage[name]
    return bool(said.get("done"))


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """The clients' records as a table, in the order in which they ended."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for trial in sorted(trials, key=lambda each: each.ended):
            row: Mapping[str, object] = {
                "start_ts": moment(trial.began), "end_ts": moment(trial.ended), "model": trial.model,
                "endpoint": trial.endpoint, "status": trial.status, "error": trial.error,
            }  # fmt: skip
            writer.writerow({**row, **trial.figures})


def moment(seconds: float) -> str:
    """A time of the epoch as the drill's files write it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
