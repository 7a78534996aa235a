"""One call to a model as the path makes it: streamed, measured, traced, tried again, and never silently empty."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode, Tracer
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..parts import Inference
from ..records import Generated, Prompt
from ..settings import PathSettings
from .failures import InferenceFailed
from .reasoning import Reasoning

logger = logging.getLogger(__name__)

_NANOSECONDS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
# Between two attempts; a server that has just refused is not asked at once.
_LONGEST_WAIT_S = 2.0
# No tokenizer puts as many characters into each token of a prose text: more of them were left out.
_MOST_CHARACTERS_PER_TOKEN = 8.0
# A prompt that is cut by half keeps its first few tokens as well.
_KEPT_TOKENS = 5


def generate(inference: Inference, prompt: Prompt, settings: PathSettings, tracer: Tracer) -> Generated:
    """The answer to a prompt, of the first attempt that succeeds; its times are of that attempt, `wall_s` is of all.

    Raises StepFailed when every attempt failed, at once where another one cannot help; never returns an empty answer.
    """
    began = time.perf_counter()
    with tracer.start_as_current_span("generate") as span:
        _describe(span, inference, settings)
        attempts = _Attempts(tracer)
        retrying = Retrying(
            stop=stop_after_attempt(settings.attempts), retry=retry_if_exception(_may_help),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT_S), reraise=True,
            before_sleep=lambda _: attempts.warn(),
        )  # fmt: skip
        try:
            generated = retrying(attempts.make, inference, prompt, settings)
        except Exception as error:
            span.set_attribute("warmstall.attempts", attempts.made)
            _note_failure(span, error)
            if isinstance(error, InferenceFailed):
                error.attempts = attempts.made
            logger.exception("generate: failed after attempt %d of %d", attempts.made, settings.attempts)
            raise
        notes = (*generated.notes, *_of_a_cut_prompt(prompt, generated))
        generated = replace(generated, wall_s=time.perf_counter() - began, attempts=attempts.made, notes=notes)
        _note(span, generated, prompt)
        return generated


def _may_help(error: BaseException) -> bool:
    return isinstance(error, InferenceFailed) and error.again


@dataclass
class _Attempts:
    """The attempts of one call. The first has a span of its own only when a second follows, made afterwards."""

    tracer: Tracer
    made: int = 0
    why: str = ""
    _first: tuple[int, int, Exception] | None = field(default=None)

    def make(self, inference: Inference, prompt: Prompt, settings: PathSettings) -> Generated:
        self.made += 1
        if self.made == 1:
            started_ns = time.time_ns()
            try:
                return _receive(inference, prompt, settings)
            except Exception as error:
                self.why, self._first = str(error), (started_ns, time.time_ns(), error)
                raise
        if self._first:
            self._tell_first(*self._first)
            self._first = None
        with self.tracer.start_as_current_span("attempt", attributes={"warmstall.attempt": self.made}) as span:
            try:
                return _receive(inference, prompt, settings)
            except Exception as error:
                self.why = str(error)
                _note_failure(span, error)
                raise

    def warn(self) -> None:
        logger.warning("generate: attempt %d failed, and is made again: %s", self.made, self.why)

    def _tell_first(self, started_ns: int, ended_ns: int, error: Exception) -> None:
        span = self.tracer.start_span("attempt", attributes={"warmstall.attempt": 1}, start_time=started_ns)
        _note_failure(span, error)
        span.record_exception(error, timestamp=ended_ns)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end(ended_ns)


def _receive(inference: Inference, prompt: Prompt, settings: PathSettings) -> Generated:
    """One attempt. Raises InferenceFailed, also for an answer that is empty."""
    began = time.perf_counter()
    told, raw, apart = Reasoning(), [], []
    times: list[float] = []
    final: Mapping[str, object] = {}
    with closing(inference.stream(prompt, settings.attempt_timeout_s)) as pieces:  # type: ignore[type-var]
        for piece in pieces:
            if piece.text or piece.reasoning:
                times.append(time.perf_counter())
            told.feed(piece.text)
            raw.append(piece.text)
            apart.append(piece.reasoning)
            final = piece.final or final
    told.finish()
    text = told.text if settings.strip_reasoning else "".join(raw).strip()
    reasoning = "\n".join(filter(None, ("".join(apart).strip(), told.reasoning if settings.strip_reasoning else "")))
    reason = str(final.get("done_reason") or "")
    if not text:
        raise _empty(reasoning, reason, told.unclosed)
    notes: tuple[str, ...] = ()
    if told.unclosed and settings.strip_reasoning:
        notes = ("The answer ends within reasoning that was not closed, which is left out: it may not be whole.",)
        logger.warning("generate: the answer ends within reasoning that was not closed (finish reason: %s)", reason)
    return Generated(
        text=text, reasoning=reasoning, finish_reason=reason, wall_s=time.perf_counter() - began,
        ttft_s=times[0] - began if times else None,
        gaps_s=tuple(later - earlier for earlier, later in pairwise(times)), final=dict(final),
        notes=notes,
    )  # fmt: skip


def _empty(reasoning: str, reason: str, unclosed: bool) -> InferenceFailed:
    # An answer that ended at its limit ends there again.
    again = reason != "length"
    ended = f"finish reason: {reason or 'none told'}"
    if not reasoning:
        return InferenceFailed(f"The model answered nothing; {ended}.", "empty", 200, again)
    end = "its reasoning did not end" if unclosed else "nothing came after its reasoning"
    return InferenceFailed(
        f"The model answered nothing; {end} ({len(reasoning)} characters, {ended}): allow more tokens (num_predict, "
        "max_tokens), or switch its thinking off.",
        "empty", 200, again,
    )  # fmt: skip


def _describe(span: Span, inference: Inference, settings: PathSettings) -> None:
    address, _, port = inference.server.rpartition(":")
    span.set_attributes({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": inference.provider,
        "gen_ai.request.model": inference.model,
        "gen_ai.request.temperature": settings.temperature,
        "url.path": inference.path,
        "server.address": address,
        "server.port": int(port) if port.isdecimal() else 0,
        "warmstall.timeout_s": settings.attempt_timeout_s,
    })  # fmt: skip


def _note_failure(span: Span, error: Exception) -> None:
    span.set_attribute("error.type", error.kind if isinstance(error, InferenceFailed) else type(error).__name__)
    if isinstance(error, InferenceFailed) and error.status:
        span.set_attribute("http.response.status_code", error.status)


def _note(span: Span, generated: Generated, prompt: Prompt) -> None:
    final = generated.final
    noted: dict[str, Any] = {
        "gen_ai.usage.input_tokens": _number(final.get("prompt_eval_count")),
        "gen_ai.usage.output_tokens": _number(final.get("eval_count")),
        "gen_ai.response.finish_reasons": [generated.finish_reason] if generated.finish_reason else None,
        "http.response.status_code": 200,
        "warmstall.ttft_s": generated.ttft_s,
        "warmstall.attempts": generated.attempts,
        "warmstall.gap_p95_s": _p95(generated.gaps_s),
        "warmstall.tokens_per_s": tokens_per_s(generated),
    }
    for name in _NANOSECONDS:
        duration = _number(final.get(name))
        noted[f"warmstall.{name}_s"] = None if duration is None else duration / 1e9
    if _of_a_cut_prompt(prompt, generated):
        noted["warmstall.prompt_may_be_cut"] = True
        logger.warning(
            "generate: the model has read %s tokens of a prompt of %d characters: the server may have cut it (num_ctx)",
            final.get("prompt_eval_count"), len(prompt.system) + len(prompt.user),
        )  # fmt: skip
    span.set_attributes({name: value for name, value in noted.items() if value is not None})


def _of_a_cut_prompt(prompt: Prompt, generated: Generated) -> tuple[str, ...]:
    size = len(prompt.system) + len(prompt.user)
    if not may_be_cut(size, generated.final):
        return ()
    tokens = generated.final.get("prompt_eval_count")
    return (f"The model has read {tokens} tokens of a prompt of {size:,} characters: it may have been cut (num_ctx).",)


def tokens_per_s(generated: Generated) -> float | None:
    """Tokens written in a second of writing: by the server's own time, or from the first piece to the last."""
    tokens = _number(generated.final.get("eval_count"))
    duration = _number(generated.final.get("eval_duration"))
    if tokens and duration:
        return tokens / (duration / 1e9)
    writing_s = sum(generated.gaps_s)
    return (tokens - 1) / writing_s if tokens and tokens > 1 and writing_s > 0 else None


def may_be_cut(prompt_chars: int, final: Mapping[str, object]) -> bool:
    """Whether a server seems to have left out a part of the prompt, which Ollama says only in its log.

    Too few tokens for so many characters; or as many as the model has room for, to which most versions cut; or half
    of them, to which the newest cut.

    >>> may_be_cut(20_000, {"prompt_eval_count": 2052}), may_be_cut(15_000, {"prompt_eval_count": 2052})
    (True, False)
    >>> [may_be_cut(15_000, {"prompt_eval_count": n, "context_length": 4096}) for n in (4096, 3000, 2051)]
    [True, False, True]
    """
    count, room = _number(final.get("prompt_eval_count")), _number(final.get("context_length"))
    if not count:  # not told, or a server that counts only what it had not read before
        return False
    full = room is not None and (count >= room - 1 or abs(count - room / 2) <= _KEPT_TOKENS)
    return full or prompt_chars / count > _MOST_CHARACTERS_PER_TOKEN


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _p95(gaps_s: tuple[float, ...]) -> float | None:
    return sorted(gaps_s)[int(0.95 * (len(gaps_s) - 1))] if gaps_s else None
