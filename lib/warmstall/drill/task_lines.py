"""The lines that a runner prints about each request, and what its `/slots` and final chunk tell."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from .go_text import stamp
from .models import DrillModel
from .prompt_cache import Held, PromptCache, Slot, shared_tokens
from .runner_spec import RunnerSpec
from .wording import Wording

# llama-server tells of a prompt after three seconds and of generation every three, after a hundred tokens.
_PROGRESS_S = 3.0
_PROGRESS_TOKENS = 100


@dataclass
class Task:
    """One request on one slot; seconds are measured, `usual_…` are what it would have taken without faults."""

    slot: int
    number: int
    prompt: str
    prompt_tokens: int
    cached_tokens: int
    is_embedding: bool
    n_predict: int = 0
    done_tokens: int = 0
    generated_tokens: int = 0
    discarded_tokens: int = 0
    truncated: bool = False
    cancelled: bool = False
    ends_itself: bool = False
    prompt_s: float = 0.0
    generated_s: float = 0.0
    usual_prompt_s: float = 0.0
    usual_generated_s: float = 0.0
    told_s: float = 0.0
    told_tokens: int = 0

    @property
    def new_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens

    @property
    def held_after(self) -> int:
        """Tokens in the slot at the end; the last one is never computed, and those before a shift are gone."""
        prompt = self.cached_tokens + self.done_tokens
        return prompt + max(0, self.generated_tokens - 1) - self.discarded_tokens

    def figures(self) -> dict[str, object]:
        """The last chunk, as llama-server sends it; `usual` is the drill's own."""
        return {
            "content": "",
            "stop": True,
            "stop_type": "eos" if self.ends_itself else "limit",
            "tokens_evaluated": self.prompt_tokens,
            "tokens_predicted": self.generated_tokens,
            "truncated": self.truncated,
            "timings": {
                "cache_n": self.cached_tokens,
                "prompt_n": self.new_tokens,
                "prompt_ms": self.prompt_s * 1000,
                "predicted_n": self.generated_tokens,
                "predicted_ms": self.generated_s * 1000,
            },
            "usual": {"prompt_ms": self.usual_prompt_s * 1000, "predicted_ms": self.usual_generated_s * 1000},
        }


class TaskLines:
    """Prints a task's sections as its version does, and remembers which slots are at work."""

    def __init__(self, wording: Wording, spec: RunnerSpec, model: DrillModel) -> None:
        self.wording = wording
        self.spec = spec
        slots = [Slot(number) for number in range(spec.parallel)]
        self.cache = PromptCache(model.kv_bytes(1), model.n_layer, self._say_choosing, slots)
        self.active: dict[int, Task] = {}
        self.waiting = 0
        self.graphs_reused = 0
        self._choosing: dict[str, object] = {}

    def receive(self, prompt_tokens: int, number: int) -> None:
        """A request has come; it may have to wait for a slot."""
        self._choosing = {"prompt_tokens": prompt_tokens, "task": number}
        self._say_choosing("task_received")

    def choose(self, prompt: str, prompt_tokens: int, number: int) -> Slot | None:
        """The slot for a prompt; None where all are at work, and then all is said again when one is free."""
        self._choosing = {"prompt_tokens": prompt_tokens, "task": number}
        return self.cache.choose(prompt, prompt_tokens)

    def take(self, slot: Slot, prompt: str, prompt_tokens: int, number: int, is_embedding: bool) -> Task:
        """The task on its slot, and the lines until its work begins."""
        held_tokens = slot.held.tokens if slot.held else 0
        cached = shared_tokens(slot.held, prompt, prompt_tokens) if slot.held and not is_embedding else 0
        task = Task(slot.number, number, prompt, prompt_tokens, min(cached, prompt_tokens - 1), is_embedding)
        slot.task = number
        self.active[slot.number] = task
        differs = is_embedding and self.wording.has("task_start_embedding")
        self._say("task_start_embedding" if differs else "task_start", task, slot_tokens=held_tokens)
        if prompt_tokens <= self.spec.num_ctx or is_embedding:
            self.cache.save_idle(slot)
            self._say("task_prompt", task, prompt_known=cached == prompt_tokens)
        return task

    def refuse(self, task: Task) -> None:
        """The prompt is longer than the context: the slot keeps what it held."""
        self._say("prompt_too_long", task)
        slot = self.cache.slots[task.slot]
        self._say("task_end", task, held_after=slot.held.tokens if slot.held else 0)
        self._free(task, slot)
        self._say("task_cancel", task)
        if not self.active:
            self._say("all_idle", task)

    def prompt_progress(self, task: Task) -> None:
        """After each batch of a prompt but the last."""
        so_far = task.cached_tokens + task.done_tokens
        if task.prompt_s >= _PROGRESS_S:
            self._say("prompt_progress", task, progress=f"{so_far / task.prompt_tokens:.2f}",
                      done_tokens=task.done_tokens, seconds=f"{task.prompt_s:.2f}",
                      tokens_per_s=f"{task.done_tokens / task.prompt_s:.2f}")  # fmt: skip
        self._say("prompt_batch", task, cached_so_far=so_far)

    def prompt_done(self, task: Task) -> None:
        task.told_s = time.monotonic()
        if not task.is_embedding:
            self._say("prompt_done", task)

    def progress(self, task: Task) -> None:
        """Every three seconds of generation."""
        now = time.monotonic()
        if task.generated_tokens >= _PROGRESS_TOKENS and now - task.told_s >= _PROGRESS_S:
            recent = (task.generated_tokens - task.told_tokens) / (now - task.told_s)
            self._say("generation_progress", task, recent_tokens_per_s=f"{recent:.2f}")
            task.told_s, task.told_tokens = now, task.generated_tokens

    def shift(self, task: Task) -> int:
        """The context is full: half of what is after the kept tokens goes. Returns how many that are."""
        left = self.spec.num_ctx - 1 - 5
        task.truncated = True
        task.discarded_tokens += left // 2
        self._say("context_shift", task, left_tokens=left, discarded_tokens=left // 2, limit=self.spec.num_ctx,
                  left=left, discard=left // 2, slot_tokens=self.spec.num_ctx - 1)  # fmt: skip
        return left // 2

    def end(self, task: Task) -> None:
        self.graphs_reused += max(0, task.generated_tokens - (2 if self.graphs_reused else 1))
        self._say("task_timing", task)
        self._leave(task)

    def told_to_cancel(self, task: Task) -> None:
        """The client has left; the slot is free when the step that runs is done."""
        if not task.cancelled:
            task.cancelled = True
            self._say("task_cancel", task)

    def cancel(self, task: Task) -> None:
        self.told_to_cancel(task)
        self._leave(task)

    def slots(self) -> list[dict[str, object]]:
        """What `/slots` answers."""
        told = []
        for slot in range(self.spec.parallel):
            task = self.active.get(slot)
            told.append({
                "id": slot, "id_task": task.number if task else -1, "n_ctx": self.spec.num_ctx,
                "is_processing": task is not None,
                "next_token": {"n_decoded": task.generated_tokens if task else 0},
            })  # fmt: skip
        return told

    def _leave(self, task: Task) -> None:
        self._say("task_end", task)
        slot = self.cache.slots[task.slot]
        slot.held = Held(task.prompt, task.held_after)
        self._free(task, slot)

    def _free(self, task: Task, slot: Slot) -> None:
        self.active.pop(task.slot, None)
        slot.task, slot.last_used_us = None, int(time.monotonic() * 1e6)
        if not self.active and not self.waiting:
            self._say("all_idle", task)

    def _say_choosing(self, section: str, **more: object) -> None:
        """Lines of the choice of a slot, before there is a task."""
        self._write(section, {**self._choosing, **more})

    def _say(self, section: str, task: Task, **more: object) -> None:
        self._write(section, {**self._fields(task), **more})

    def _write(self, section: str, fields: dict[str, object]) -> None:
        lines = self.wording.lines(section, self.spec.debug, {**self.spec.fields, **fields})
        if lines:
            os.write(2, ("\n".join(lines) + "\n").encode())

    def _fields(self, task: Task) -> dict[str, object]:
        later = max(1, task.generated_tokens - 1)
        return {
            "time": stamp(self.spec.zone_offset_s),
            "slot": task.slot,
            "task": task.number,
            "num_keep": 4,
            "keep": 5,
            "prompt_tokens": task.prompt_tokens,
            "cached_tokens": task.cached_tokens,
            "prompt_tokens_new": task.new_tokens,
            "prompt_ms": f"{task.prompt_s * 1000:.2f}",
            "prompt_ms_per_token": f"{task.prompt_s * 1000 / task.new_tokens:.2f}",
            "prompt_tokens_per_s": f"{task.new_tokens / task.prompt_s if task.prompt_s else 0:.2f}",
            "generated_tokens": task.generated_tokens,
            "generated_ms": f"{task.generated_s * 1000:.2f}",
            "generated_ms_per_token": f"{task.generated_s * 1000 / later:.2f}",
            "generated_tokens_per_s": f"{later / task.generated_s if task.generated_s else 0:.2f}",
            "total_ms": f"{(task.prompt_s + task.generated_s) * 1000:.2f}",
            "total_tokens": task.new_tokens + task.generated_tokens,
            "held_after": task.held_after,
            "truncated": int(task.truncated),
            "graphs_reused": self.graphs_reused,
        }
