"""The lines that a runner prints about each request, and what its `/slots` and final chunk tell."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from .go_text import stamp
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
    prompt_tokens: int
    cached_tokens: int
    is_embedding: bool
    n_predict: int = 0
    generated_tokens: int = 0
    prompt_s: float = 0.0
    generated_s: float = 0.0
    usual_prompt_s: float = 0.0
    usual_generated_s: float = 0.0
    truncated: bool = False
    told_s: float = 0.0
    told_tokens: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def figures(self) -> dict[str, object]:
        """The last chunk, as llama-server sends it; `usual` is the drill's own."""
        return {
            "content": "",
            "stop": True,
            "stop_type": "limit",
            "tokens_evaluated": self.prompt_tokens,
            "tokens_predicted": self.generated_tokens,
            "truncated": self.truncated,
            "timings": {
                "cache_n": self.cached_tokens,
                "prompt_n": self.prompt_tokens - self.cached_tokens,
                "prompt_ms": self.prompt_s * 1000,
                "predicted_n": self.generated_tokens,
                "predicted_ms": self.generated_s * 1000,
            },
            "usual": {"prompt_ms": self.usual_prompt_s * 1000, "predicted_ms": self.usual_generated_s * 1000},
        }


class TaskLines:
    """Prints a task's sections as its version does, and remembers which slots are at work."""

    def __init__(self, wording: Wording, spec: RunnerSpec) -> None:
        self.wording = wording
        self.spec = spec
        self.active: dict[int, Task] = {}
        self.graphs_reused = 0
        self._held: dict[int, int] = {}

    def start(self, task: Task) -> None:
        self.active[task.slot] = task
        held = self._held.get(task.slot)
        same = task.cached_tokens
        self._say(
            "task_chosen" if held is None else "task_chosen_again", task,
            held_tokens=held or 0, same_tokens=same, similarity=f"{same / task.prompt_tokens:.3f}",
            kept=f"{same / held:.3f}" if held else "0.000", state_mib=f"{(held or 0) * self._token_mib():.3f}",
        )  # fmt: skip
        self._say("task_start_embedding" if task.is_embedding else "task_start", task)

    def prompt_progress(self, task: Task, share: float) -> None:
        if task.prompt_s >= _PROGRESS_S and share < 1.0:
            done = round(task.prompt_tokens * share)
            rate = f"{done / task.prompt_s:.2f}"
            self._say("prompt_progress", task, progress=f"{share:.2f}", done_tokens=done,
                      seconds=f"{task.prompt_s:.2f}", tokens_per_s=rate)  # fmt: skip

    def prompt_done(self, task: Task) -> None:
        task.told_s = time.monotonic()
        self._say("prompt_done_embedding" if task.is_embedding else "prompt_done", task)

    def progress(self, task: Task) -> None:
        now = time.monotonic()
        if task.generated_tokens >= _PROGRESS_TOKENS and now - task.told_s >= _PROGRESS_S:
            recent = (task.generated_tokens - task.told_tokens) / (now - task.told_s)
            self._say("generation_progress", task, recent_tokens_per_s=f"{recent:.2f}")
            task.told_s, task.told_tokens = now, task.generated_tokens

    def end(self, task: Task) -> None:
        self.graphs_reused += max(0, task.generated_tokens - 1)
        self._say("task_timing_embedding" if task.is_embedding else "task_timing", task)
        self._leave(task, "task_end")

    def cancel(self, task: Task) -> None:
        self._leave(task, "task_cancel")

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

    def _leave(self, task: Task, section: str) -> None:
        self._say(section, task)
        self.active.pop(task.slot, None)
        self._held[task.slot] = task.prompt_tokens + max(0, task.generated_tokens - 1)
        if not self.active:
            self._say("all_idle", task)

    def _token_mib(self) -> float:
        return float(str(self.spec.fields["kv_mib"])) / float(str(self.spec.fields["kv_cells"]))

    def _say(self, section: str, task: Task, **more: object) -> None:
        lines = self.wording.lines(section, self.spec.debug, {**self.spec.fields, **self._fields(task), **more})
        if lines:
            os.write(2, ("\n".join(lines) + "\n").encode())

    def _fields(self, task: Task) -> dict[str, object]:
        new = task.prompt_tokens - task.cached_tokens
        return {
            "time": stamp(self.spec.zone_offset_s),
            "slot": task.slot,
            "task": task.number,
            "prompt_tokens": task.prompt_tokens,
            "cached_tokens": task.cached_tokens,
            "prompt_tokens_new": new,
            "prompt_ms": f"{task.prompt_s * 1000:.2f}",
            "prompt_ms_per_token": f"{task.prompt_s * 1000 / new:.2f}",
            "prompt_tokens_per_s": f"{new / task.prompt_s if task.prompt_s else 0:.2f}",
            "generated_tokens": task.generated_tokens,
            "generated_ms": f"{task.generated_s * 1000:.2f}",
            "generated_ms_per_token": f"{task.generated_s * 1000 / max(1, task.generated_tokens):.2f}",
            "generated_tokens_per_s": f"{task.generated_tokens / task.generated_s if task.generated_s else 0:.2f}",
            "total_ms": f"{(task.prompt_s + task.generated_s) * 1000:.2f}",
            "total_tokens": new + task.generated_tokens,
            "held_after": task.prompt_tokens + max(0, task.generated_tokens - 1),
            "truncated": int(task.truncated),
            "graphs_reused": self.graphs_reused,
        }
