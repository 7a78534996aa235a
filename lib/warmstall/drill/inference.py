"""One inference call from its arrival to its last chunk, whatever route it came by; and the truth about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .eras import KEPT_TOKENS, Era
from .loading import Ask
from .models import DrillModel
from .runner import LoadAbandonedError, LoadFailedError, Options, Runner, RunnerGoneError, RunnerRefusesError
from .scheduler import AbandonedError, QueueFullError, Scheduler, find_blob
from .server_log import ServerLog
from .settings import Settings
from .token_timing import count_tokens, end_of

_QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"
# What the template adds to a prompt.
_TEMPLATE_CHARACTERS = 50


class RefusedError(Exception):
    """The call ends with an error and a status; `silent` where Ollama writes no access line."""

    def __init__(self, status: int, message: str, silent: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.silent = silent


class ClientLeftError(Exception):
    """The client closed its connection while the answer was made."""


class ServerEndsError(ClientLeftError):
    """The server was told to end while the answer was made: the answer just stops."""


@dataclass
class Truth:
    """What really happened to one request, in seconds; written as one line of the truth file."""

    id: str
    path: str
    model: str
    arrived_at: float
    ended_at: float = 0.0
    status: int = 0
    queue_s: float = 0.0
    slot_wait_s: float = 0.0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    usual_prefill_s: float = 0.0
    usual_decode_s: float = 0.0
    spawned: bool = False
    outcome: str = "done"
    truncated: bool = False
    runner_pid: int = 0

    def finish(self, status: int, path: Path | None) -> None:
        """The call has ended with that status; 0 where Ollama says nothing of it."""
        self.status = status
        self.ended_at = time.time()
        if path is not None:
            with path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(self.__dict__) + "\n")


@dataclass
class Call:
    """A request for tokens or vectors: what was asked, who asks, what became of it."""

    model: DrillModel
    options: dict[str, Any]
    keep_alive_s: float | None
    gone: asyncio.Event
    truth: Truth
    started: float = field(default_factory=time.perf_counter)
    loaded: float = 0.0
    first_request: bool = False
    messages: list[str] = field(default_factory=list)

    @property
    def is_chat(self) -> bool:
        return "chat" in self.truth.path


class Inference:
    """Brings calls to runners."""

    def __init__(self, settings: Settings, era: Era, log: ServerLog, scheduler: Scheduler) -> None:
        self.settings = settings
        self.era = era
        self.log = log
        self.scheduler = scheduler

    async def runner_for(self, call: Call) -> Runner:
        """The runner of the call's model, loaded if need be. Raises RefusedError."""
        blob = find_blob(self.settings, call.model)
        options = call.options
        wanted = Options(
            num_ctx=max(4, int(options.get("num_ctx") or self.settings.num_ctx)),
            num_thread=int(options.get("num_thread") or 0),
            num_batch=int(options.get("num_batch") or 512),
            num_gpu=int(options.get("num_gpu", -1)),
            use_mmap=options.get("use_mmap"),
            shift=options.get("shift") if self.era.version == "0.32.15" else None,
        )
        future: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
        ask = Ask(call.model, blob, wanted, call.keep_alive_s, call.gone, future)
        try:
            runner = await self.scheduler.obtain(ask)
        except QueueFullError:
            call.truth.outcome = "rejected"
            raise RefusedError(503, _QUEUE_FULL) from None
        except AbandonedError:
            call.truth.outcome = "aborted"
            raise RefusedError(499, "request canceled", silent=True) from None
        except LoadAbandonedError:
            call.truth.outcome = "aborted"
            raise RefusedError(499, "request canceled") from None
        except LoadFailedError as error:
            call.truth.outcome = "load_failed"
            raise RefusedError(500, str(error)) from None
        finally:
            call.truth.spawned = call.first_request = ask.spawned
            call.loaded = time.perf_counter()
            call.truth.queue_s = call.loaded - call.started
        waited_s = call.loaded - call.started
        call.truth.load_s = min(waited_s, max(0.0, runner.loaded_at - max(ask.asked_at, runner.load_started_at)))
        call.truth.queue_s = waited_s - call.truth.load_s
        call.truth.runner_pid = runner.pid
        return runner

    def release(self, call: Call, runner: Runner) -> None:
        self.scheduler.release(runner, call.first_request)

    async def tokens(self, call: Call, runner: Runner, prompt: str) -> AsyncIterator[dict[str, Any]]:
        """The runner's chunks. Raises ClientLeftError, RefusedError (the runner ended)."""
        prompt = self._drop_messages(call, runner, prompt)
        self.log.say("completion_debug", prompt_characters=len(prompt) + _TEMPLATE_CHARACTERS)
        self.check_format(call.options.get("format"), loaded=True)
        if call.is_chat:
            self._read_vocabulary(runner)
        asked = call.options.get("num_predict", -1)
        n_predict = -1 if asked is None else int(asked)
        tokens, prompt = self._fit(call, runner, prompt)
        ask = {"prompt": prompt, "prompt_tokens": tokens, "n_predict": n_predict, "n_keep": 4}
        if n_predict >= 0 and self.era.one_token_more:
            ask["n_predict"] = n_predict + 1
        await self._take_slot(call, runner)
        began = time.perf_counter()
        begun = whole = False
        chunks = runner.complete(ask)
        try:
            while True:
                following = anext(chunks, None)
                # Who has read the last line may leave at once: that cuts no answer short.
                chunk = await (following if whole else self._unless_gone(call, following))
                if chunk is None:
                    break
                if chunk.get("stop"):
                    whole = True
                    self._note(call, chunk)
                    if not call.is_chat and not call.options.get("raw"):
                        self._read_vocabulary(runner)
                begun = True
                yield chunk
        except RunnerGoneError:
            call.truth.decode_s = time.perf_counter() - began
            raise await self._ended(call, runner, begun) from None
        except RunnerRefusesError as refusal:
            raise RefusedError(refusal.status, refusal.body) from None
        except ClientLeftError:
            call.truth.decode_s = time.perf_counter() - began
            raise
        finally:
            runner.slots.release()
            await _close(chunks)

    async def vectors(self, call: Call, runner: Runner, texts: list[str]) -> list[dict[str, Any]]:
        """One vector for each text. Raises ClientLeftError, RefusedError."""
        if not texts:
            return []
        self.log.say("embed_debug")
        if call.truth.path != "/api/embeddings":
            self._read_vocabulary(runner)
        tokens = [self._fit_input(call, runner, count_tokens(text)) for text in texts]
        if self.era.embeds_with_embedding_models_only and not runner.model.embedding:
            raise RefusedError(501, "This server does not support embeddings. Start it with `--embeddings`")
        await self._take_slot(call, runner)
        rows: list[dict[str, Any]]
        try:
            rows = await self._unless_gone(call, runner.embed(texts, tokens))
        except RunnerGoneError:
            raise await self._ended(call, runner, begun=False) from None
        finally:
            runner.slots.release()
        for row in rows:
            self._note(call, row)
        return rows

    def check_format(self, given: Any, loaded: bool) -> None:
        """Refuse a format that is none, at the moment at which the version looks. Raises RefusedError."""
        status, text, after_load = self.era.bad_format
        known = given in (None, "", "json") or (after_load and isinstance(given, dict))
        if loaded == after_load and not known:
            raise RefusedError(status, text.format(format=json.dumps(json.dumps(given))))

    def _read_vocabulary(self, runner: Runner) -> None:
        """The first text for a runner makes a server that tokenizes itself read the model's vocabulary."""
        if not runner.vocabulary_read:
            runner.vocabulary_read = True
            self.log.say("tokenizer_load", **runner.fields)

    async def _ended(self, call: Call, runner: Runner, begun: bool) -> Exception:
        """What becomes of a call whose runner ended in its midst."""
        if self.scheduler.ending:
            call.truth.outcome = "shutdown"
            return ServerEndsError()
        call.truth.outcome = "crashed"
        await self.scheduler.notice_end(runner)
        if begun:
            return RefusedError(500, self.era.unexpected_end)
        self.log.say("predict_error", port=runner.port)
        return RefusedError(500, self.era.unanswered_end.format(port=runner.port))

    def _fit_input(self, call: Call, runner: Runner, tokens: int) -> int:
        """The tokens that are left of a text to embed. Raises RefusedError where it may not be cut."""
        if tokens <= (limit := runner.num_ctx):
            return tokens
        self.log.say("embed_input_too_long")
        if call.options.get("truncate") is False:
            raise RefusedError(400, self.era.too_long.format(tokens=tokens, limit=limit))
        call.truth.truncated = True
        return limit - 1

    def _drop_messages(self, call: Call, runner: Runner, prompt: str) -> str:
        """A chat that is too long loses its oldest messages first."""
        dropped = 0
        while (
            call.options.get("truncate") is not False
            and dropped < len(call.messages) - 1
            and count_tokens(prompt) > runner.num_ctx
        ):
            dropped += 1
            prompt = "\n".join(call.messages[dropped:])
        if dropped:
            self.log.say("messages_truncated", truncated_messages=dropped)
        return prompt

    def _fit(self, call: Call, runner: Runner, prompt: str) -> tuple[int, str]:
        """The tokens of a prompt, cut to the context, and its text. Raises RefusedError where it may not be cut."""
        limit, tokens = runner.num_ctx, count_tokens(prompt)
        if tokens < limit or (tokens == limit and not self.era.halves_long_prompts):
            return tokens, prompt
        if call.options.get("truncate") is False:
            if self.era.runner_refuses_long_prompts:
                return tokens, prompt
            self.log.say("input_too_long")
            raise RefusedError(400, self.era.too_long.format(tokens=tokens, limit=limit))
        call.truth.truncated = True
        left = self.era.tokens_after_cut(limit)
        self.log.say("prompt_truncated", limit=left, prompt_tokens=tokens, keep=KEPT_TOKENS, new=left)
        return left, end_of(prompt, left)

    async def _take_slot(self, call: Call, runner: Runner) -> None:
        waiting = time.perf_counter()
        try:
            await self._unless_gone(call, runner.slots.acquire())
        except ClientLeftError:
            self.log.say("client_gone_waiting")
            raise
        call.truth.slot_wait_s = time.perf_counter() - waiting

    async def _unless_gone(self, call: Call, work: Any) -> Any:
        """The work's result. Raises ClientLeftError when the client goes first."""
        doing = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(call.gone.wait())
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if doing.done():
            return doing.result()
        doing.cancel()
        await asyncio.wait({doing})
        call.truth.outcome = "aborted"
        raise ClientLeftError

    def _note(self, call: Call, figures: dict[str, Any]) -> None:
        timings, usual = figures.get("timings", {}), figures.get("usual", {})
        call.truth.prefill_s += timings.get("prompt_ms", 0.0) / 1000
        call.truth.decode_s += timings.get("predicted_ms", 0.0) / 1000
        call.truth.usual_prefill_s += usual.get("prompt_ms", timings.get("prompt_ms", 0.0)) / 1000
        call.truth.usual_decode_s += usual.get("predicted_ms", timings.get("predicted_ms", 0.0)) / 1000


async def _close(chunks: Any) -> None:
    with contextlib.suppress(RuntimeError, RunnerGoneError):  # it ended by itself, or while we left
        await chunks.aclose()
