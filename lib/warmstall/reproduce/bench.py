"""What experiments are done with: the servers, one model on them, and single calls to it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from ..drill.timetable import Fault
from ..errors import CannotTell, StepFailed
from ..ollama import trusted
from ..rag.inference.opening import open_inference
from ..rag.settings import RagSettings, ollama_url
from .records import Arrival, Sent
from .senders import call_sender, word_prompts

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from ..rag.parts import Inference

# Of a request that changes or tells what is in memory; an unload waits until it shows.
_PATIENCE_S = 30.0
# Answers of one length, so that calls differ by what is compared and not by what the model has to say.
_TOKENS = 24
_SHORT_PROMPT = 12


@dataclass(frozen=True)
class Wished:
    """A server that a drill starts in place of one that nobody gave: settings of its environment, and faults."""

    environment: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Bench:
    """Where an experiment happens: the first server stands in the settings, `second_target` is the other one's url."""

    settings: RagSettings
    tracer: Tracer
    second_target: str = ""
    seed: int = 1
    # Whose conversations a question may find.
    user: str = ""
    # Of calls: each has another prompt, so that no cache answers it.
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @property
    def url(self) -> str:
        """Of the first server; raises CannotTell where it is not Ollama, whose memory can be asked after."""
        if self.settings.inference.kind != "ollama":
            raise CannotTell(
                f"this needs a server of Ollama, which tells and changes what is in memory; got inference "
                f"{self.settings.inference.kind!r}."
            )
        return self.settings.inference.url or ollama_url()

    def inference(self, url: str = "", model: str = "", keep_alive: str = "", **options: Any) -> Inference:
        """The model of the settings, or as told, with options beside those of the settings; raises StepFailed."""
        given = self.settings.inference
        limit = "num_predict" if given.kind == "ollama" else "max_tokens"
        changed = replace(
            given, url=url or given.url, model=model or given.model, keep_alive=keep_alive or given.keep_alive,
            options={limit: _TOKENS, **given.options, **options},
        )  # fmt: skip
        return open_inference(changed, self.settings.path.temperature)

    def call(self, inference: Inference, arm: str, attempts: int = 1, prompt_tokens: int = _SHORT_PROMPT) -> Sent:
        """One call with a prompt of plain words, no two alike."""
        path = replace(self.settings.path, attempts=attempts)
        send = call_sender(inference, path, self.tracer, word_prompts(self.seed, prompt_tokens))
        return send(Arrival(next(self._numbers), arm=arm))

    def resident(self) -> Mapping[str, Mapping[str, Any]]:
        """What /api/ps tells of the models in memory, by name without `:latest`; raises StepFailed."""
        rows = _asked("GET", f"{self.url}/api/ps").get("models")
        return {plain(row["name"]): row for row in rows or []}

    def load(self, model: Inference, arm: str) -> None:
        """Have the model in memory; raises StepFailed when it does not answer."""
        if plain(model.model) not in self.resident():
            self.answered(model, arm)

    def answered(self, model: Inference, arm: str) -> None:
        """A call that is not measured; raises StepFailed when it fails."""
        sent = self.call(model, arm)
        if not sent.ok:
            raise StepFailed(f"the call before the one that is measured failed: {sent.error}")

    def unload(self, model: Inference) -> None:
        """Let the model leave memory, and wait until it has; raises StepFailed when it stays."""
        _asked("POST", f"{self.url}/api/generate", {"model": model.model, "keep_alive": 0})
        ends = time.monotonic() + _PATIENCE_S
        while plain(model.model) in self.resident():
            if time.monotonic() > ends:
                raise StepFailed(f"unload: {model.model} is still in memory after {_PATIENCE_S:g} s; see `ollama ps`.")
            time.sleep(0.02)  # between two questions; nothing tells when a model has left


def plain(model: str) -> str:
    """`mid` and `mid:latest` are one model.

    >>> plain("mid:latest")
    'mid'
    """
    return model.removesuffix(":latest")


def _asked(method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    try:
        answer = httpx.request(
            method, url, json=body, timeout=_PATIENCE_S, trust_env=False, verify=trusted(url)
        ).raise_for_status()
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise StepFailed(f"{method} {url}: {error or type(error).__name__}; expected Ollama's answer.") from error
    return told if isinstance(told, dict) else {}
