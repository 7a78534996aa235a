"""A recorded scenario of a real server: what its client sent, what was done to its processes, and when."""

from __future__ import annotations

import json
import re
import signal
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

# Words of which the recorded prompts were made; values too long to be kept were replaced by their length.
_WORDS = (
    "memory", "slow", "process", "wait", "window", "list", "state", "incident", "system", "queue", "model", "class",
    "the", "thread", "disk", "request", "value", "title", "network", "token", "report", "label", "is", "stream",
    "summary", "buffer", "ticket", "because", "server", "error", "cache", "notes", "response", "load",
)  # fmt: skip
# What the recorder left out of an answer: text that means nothing, and vectors.
LEFT_OUT = ("response", "message", "thinking", "context", "embeddings", "embedding")
# Scenarios whose cause a drill cannot set, and why.
NOT_REPLAYED = {
    "_setup": "models are made with /api/create, which a drill does not have: its models are a table",
}
# Models of the recording that had been damaged, by the tag of the request, and the drill's that are so always.
_DAMAGED = {"truncated gguf": "truncated", "bad magic": "bad_magic", "missing blob": "missing_blob"}


@dataclass
class Act:
    """One thing that was done: a request, or something done to a process. Seconds since the server was started."""

    kind: str  # trial, get, post, signal, stop, start, second_serve
    start_s: float
    end_s: float
    row: dict[str, Any] = field(default_factory=dict)  # as in trials_raw.jsonl, or the event of truth.json
    number: int = 0

    @property
    def lane(self) -> str:
        """The worker of concurrent traffic that sent it: a worker waits for nobody but itself."""
        tag = str(self.row.get("tag") or "")
        return tag if tag.startswith("worker") else ""

    @property
    def abort_s(self) -> float | None:
        """After how long the client closed the connection."""
        found = re.search(r"closed connection after ([\d.]+)s", str(self.row.get("error", "")))
        return float(found[1]) if found else None

    @property
    def body(self) -> Any:
        """What was sent, with values of the recorded length where only that is known."""
        request = self.row["request"]
        if not isinstance(request, dict):
            return request
        body = {name: _regrown(name, value) for name, value in request.items()}
        if self.row.get("tag") in _DAMAGED:
            body["model"] = _DAMAGED[self.row["tag"]]
        if self.row.get("tag") == "chat long history" and isinstance(request["messages"], str):
            body["messages"] = _history(_length(request["messages"]))
        return body


@dataclass(frozen=True)
class Recording:
    """A folder of one recorded scenario."""

    folder: Path

    @property
    def name(self) -> str:
        return f"{self.version}/{self.scenario}"

    @property
    def scenario(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str:
        return self.folder.parent.name.removeprefix("v")

    @property
    def not_replayed(self) -> str:
        """Why it cannot be played again; empty when it can."""
        return next((why for name, why in NOT_REPLAYED.items() if self.scenario.startswith(name)), "")

    @cached_property
    def truth(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "truth.json").read_text(encoding="utf-8")))

    @property
    def environment(self) -> dict[str, str]:
        """What the server was told, without what the drill decides itself."""
        return {k: v for k, v in self.truth["env"].items() if k not in ("HOME", "OLLAMA_HOST")}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        lines = (self.folder / "trials_raw.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def duration_s(self) -> float:
        return max((act.end_s for act in self.acts), default=0.0)

    @cached_property
    def acts(self) -> list[Act]:
        """All that was done, in the order in which it began."""
        acts = sorted([*self._requests(), *self._events()], key=lambda act: act.start_s)
        for number, act in enumerate(acts):
            act.number = number
        return acts

    @cached_property
    def _started(self) -> datetime:
        return _time(self.truth["events"][0]["ts"])

    def _second(self, text: str) -> float:
        return (_time(text) - self._started).total_seconds()

    def _requests(self) -> Iterator[Act]:
        last_s = 0.0
        for row in self.rows:
            if "start_ts" in row:
                last_s = self._second(row["end_ts"])
                yield Act(row["kind"], self._second(row["start_ts"]), last_s, row)
            else:  # sent at once after the one before, and its times not kept
                yield Act(row["kind"], last_s + 1e-6, last_s + 2e-6, row)

    def _events(self) -> Iterator[Act]:
        for event in self.truth["events"][1:]:
            at, said = self._second(event["ts"]), event["event"]
            if re.fullmatch(r"sent SIG\w+", said):
                yield Act("signal", at, at, event)
            elif said.startswith(("SIGTERM serve", "SIGKILL serve")):
                yield Act("stop", at, at, event)
            elif said == "serve started":
                yield Act("start", at, at, event)
            elif said == "second serve on the same port":
                yield Act("second_serve", at, at, event)

    def stand_ins(self) -> list[dict[str, Any]]:
        """Faults of the drill's timetable in place of what was done to the machine: a slow disk, busy cores, a limit.

        How strong they are is measured in the recording. What a page cache that was dropped did is left out where
        the load is cut short anyway.
        """
        if self.scenario == "slow_load":
            return [
                {"kind": "slow_load", "model": row["model"], "start_s": self._second(row["start_ts"]) - 1.5,
                 "end_s": self._second(row["end_ts"]), "intensity": row["final"]["load_duration"] / 1e9}
                for row in self.rows if row["final"].get("load_duration", 0) > 5e9
            ]  # fmt: skip
        if self.scenario == "cpu_contention":
            first, last = (
                self._second(next(e["ts"] for e in self.truth["events"] if word in e["event"]))
                for word in ("busy loops started", "busy loops ended")
            )
            return [
                {"kind": kind, "start_s": first, "end_s": last, "intensity": self._slowed(tokens, first, last)}
                for kind, tokens in (("slow_decode", "eval"), ("slow_prefill", "prompt_eval"))
            ]  # fmt: skip
        if self.scenario == "memory_limit_as":
            return [{"kind": "failed_load", "model": "big", "start_s": 0.0}]
        return []

    def _slowed(self, tokens: str, first_s: float, last_s: float) -> float:
        """How many times slower tokens came in a span of the recording."""
        inside, outside = [], []
        for row in self.rows:
            if row["kind"] == "trial" and row["final"].get(f"{tokens}_duration"):
                pace = row["final"][f"{tokens}_count"] / row["final"][f"{tokens}_duration"]
                busy = first_s <= self._second(row["start_ts"]) < last_s
                (inside if busy else outside).append(pace)
        return statistics.median(outside) / statistics.median(inside)


def signal_of(act: Act) -> signal.Signals:
    return signal.Signals[str(act.row["event"]).split()[1]]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _length(text: str) -> int:
    return int(text.removeprefix("<").removesuffix(" bytes>"))


def _text(length: int) -> str:
    words: list[str] = []
    for word in cycle(_WORDS):
        if sum(map(len, words)) + len(words) >= length:
            break
        words.append(word)
    return " ".join(words)[:length]


def _regrown(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"<\d+ bytes>", value):
        return value
    if name == "messages":
        return [{"role": "user", "content": _text(_length(value) - 32)}]
    return _text(_length(value))


def _history(length: int) -> list[dict[str, str]]:
    """Many short messages instead of one long one."""
    messages: list[dict[str, str]] = []
    while len(json.dumps(messages)) < length:
        role = "assistant" if len(messages) % 2 else "user"
        messages.append({"role": role, "content": _text(190)})
    return messages
