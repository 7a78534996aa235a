"""Samples at a steady pace into a case: bounded on disk, whole after a kill, with its gaps marked.

Every sample is one line, flushed to the disk before the next is taken. The lines go into files of an eighth
of the room that was given; when the room is used up, the oldest file goes.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..ollama import probe
from ..redact import Redactor
from .case_folder import CaseFolder
from .samples import Sampler

_FILES = 8
_LONGEST_SAMPLE = 256 * 1024
_CANARY_PROMPT = "Reply with the single word: alive"


class Clock:
    """The time; a test has one of its own."""

    def now(self) -> datetime:
        """What the clock on the wall shows; somebody may set it."""
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        """A clock that only ever goes on."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SampleFiles:
    """The files of one host's samples: append, bound, continue."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.each_bytes = max(_LONGEST_SAMPLE, most_bytes // _FILES)
        folder.mkdir(parents=True, exist_ok=True)
        existing = self.files()
        self._number = self._number_of(existing[-1]) if existing else 1
        self.last_at = _last_sample_at(existing[-1]) if existing else None

    def files(self) -> list[Path]:
        """All files, oldest first."""
        return sorted(self.folder.glob("samples-*.jsonl"), key=self._number_of)

    def append(self, line: str) -> None:
        """One sample on the disk, whole; the oldest file goes when the room is used up."""
        path = self.folder / f"samples-{self._number:04d}.jsonl"
        data = line.encode("utf-8", "replace") + b"\n"
        if path.exists() and path.stat().st_size + len(data) > self.each_bytes:
            self._number += 1
            path = self.folder / f"samples-{self._number:04d}.jsonl"
            for old in self.files()[: -(_FILES - 1)]:
                old.unlink()
        with path.open("ab") as handle:
            if handle.tell() and not _ends_whole(path):  # a kill may have cut the line before
                data = b"\n" + data
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())

    @staticmethod
    def _number_of(path: Path) -> int:
        found = re.search(r"-(\d+)\.jsonl$", path.name)
        return int(found[1]) if found else 0


@dataclass
class Canary:
    """A tiny request now and then, because a request that hangs leaves no line in the server's log.

    Only to models that were named, only while they are in memory, with the context they were loaded with (any
    other would load them anew), and never a second one while the first is out. It does renew their keep_alive;
    where a model was loaded with other unusual options, its load_duration tells that it was loaded anew.
    """

    models: tuple[str, ...]
    timeout_s: float = 60.0
    _thread: threading.Thread | None = None
    _sent: tuple[datetime, str] | None = None
    _answers: list[dict[str, Any]] = field(default_factory=list)
    _turn: int = 0
    _checked: dict[str, str] = field(default_factory=dict)

    def look(self, base_url: str, residents: list[dict[str, Any]], now: datetime) -> dict[str, list[dict[str, Any]]]:
        """Rows of what came back since the last look, and of what is still out; sends the next one."""
        rows: dict[str, list[dict[str, Any]]] = {"trials": self._answers, "probes": []}
        self._answers = []
        if self._sent and self._thread and self._thread.is_alive():
            waited_s = (now - self._sent[0]).total_seconds()
            rows["probes"].append(_canary_row(self._sent[1], f"no answer yet after {waited_s:.1f} s", waited_s))
            return rows
        if not self.models:
            return rows
        model = self.models[self._turn % len(self.models)]
        self._turn += 1
        here = [row for row in residents if row.get("model") in (model, f"{model}:latest")]
        if problem := "" if here else "it is not in memory, and a canary loads nothing":
            rows["probes"].append(_canary_row(model, f"not sent: {problem}", None))
            return rows
        if not here[0].get("context_length"):
            problem = "this version does not tell with which context it was loaded, and any other would load it anew"
            rows["probes"].append(_canary_row(model, f"not sent: {problem}", None))
            return rows
        if problem := self._refusal(base_url, model):
            rows["probes"].append(_canary_row(model, f"not sent: {problem}", None))
            return rows
        options = {"num_predict": 1, "num_ctx": here[0]["context_length"]}
        body = {"model": model, "prompt": _CANARY_PROMPT, "stream": False, "options": options}
        self._sent = (now, model)
        self._thread = threading.Thread(target=self._send, args=(base_url, model, body), daemon=True)
        self._thread.start()
        return rows

    def _refusal(self, base_url: str, model: str) -> str:
        """Why this model gets no canary: only models that generate text do. Asked once."""
        if model not in self._checked:
            body = probe(base_url, "/api/show", 2.0, "POST", {"model": model})["body"]
            if not isinstance(body, dict):
                return "the server does not say what kind of model it is"
            able = body.get("capabilities")
            family = str((body.get("details") or {}).get("family") or "")
            generates = "completion" in able if isinstance(able, list) else family != "" and "bert" not in family
            self._checked[model] = "" if generates else "it does not generate text"
        return self._checked[model]

    def _send(self, base_url: str, model: str, body: dict[str, Any]) -> None:
        answer = probe(base_url, "/api/generate", self.timeout_s, "POST", body)
        began = datetime.fromisoformat(answer["at"])
        said = answer["body"] if isinstance(answer["body"], dict) else {}
        row: dict[str, Any] = {
            "started_at": answer["at"], "ended_at": (began + timedelta(seconds=answer["wall_s"])).isoformat(),
            "time_from": "start and end", "wall_s": answer["wall_s"], "run_id": "canary", "model": model,
            "path": "/api/generate", "status": answer["status"], "error": answer["error"] or said.get("error"),
            "finish_reason": said.get("done_reason"),
        }  # fmt: skip
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            if isinstance(said.get(name), int):
                row[f"{name}_s"] = said[name] / 1e9
        self._answers.append(row)


def watch(
    folder: CaseFolder, sampler: Sampler, canary: Canary, every_s: float, for_s: float, most_bytes: int,
    clock: Clock | None = None, say: Callable[[str], None] = lambda text: None,
) -> int:  # fmt: skip
    """Sample until the time is over; returns how many samples were taken.

    Raises OutputError when the case cannot be written, InputError for a pace that is none.
    """
    if not 0.1 <= every_s <= for_s:
        raise InputError(
            f"every {every_s:g} s for {for_s:g} s: expected a pace of at least 0.1 s within the whole time."
        )
    clock = clock or Clock()
    taken = 0
    try:
        files, lines = SampleFiles(folder.folder, most_bytes), _Lines(folder.redactor)
        began, began_s = clock.now(), clock.elapsed_s()
        if files.last_at and (away_s := (began - files.last_at).total_seconds()) > 2 * every_s:
            files.append(lines.line({"at": began.isoformat(), "gap": _gap(away_s, "watch was not running")}))
        due_s, set_by_s, steps = began_s, 0.0, 1
        while due_s - began_s < for_s:
            now, now_s = clock.now(), clock.elapsed_s()
            # The pace is that of a clock which nobody sets; the label is the host's own time.
            moved_s = (now - began).total_seconds() - (now_s - began_s)
            sample = _sample(sampler, canary, now + timedelta(seconds=sampler.host.ahead_s))
            if steps > 1:
                sample["gap"] = _gap((steps - 1) * every_s, "the sample before took so long")
            elif abs(moved_s - set_by_s) > every_s:
                sample["gap"] = _gap(moved_s - set_by_s, "the host's clock was set")
            set_by_s = moved_s
            files.append(lines.line(sample))
            taken += 1
            say(f"{taken} samples")
            steps = max(1, math.ceil((clock.elapsed_s() - due_s) / every_s))
            due_s += every_s * steps
            if due_s - began_s < for_s:  # nobody looks after the last one
                clock.sleep(max(0.0, due_s - clock.elapsed_s()))
    except OSError as error:
        raise OutputError(f"{folder.folder}: cannot be written ({error.strerror or error}).") from error
    return taken


def _sample(sampler: Sampler, canary: Canary, began: datetime) -> dict[str, Any]:
    rows, problems = sampler.sample()
    sample: dict[str, Any] = {"at": began.isoformat(timespec="milliseconds"), "rows": rows}
    if canary.models:
        try:
            for table, found in canary.look(sampler.base_url(), rows.get("resident_models", []), began).items():
                rows.setdefault(table, []).extend(found)
        except OSError as error:
            problems.append(f"canary: {error}")
    if problems:
        sample["problems"] = problems
    return sample


def _gap(seconds: float, reason: str) -> dict[str, Any]:
    return {"seconds": round(seconds, 3), "reason": reason}


def _canary_row(model: str, error: str, wall_s: float | None) -> dict[str, Any]:
    return {"endpoint": "canary", "status": "", "wall_s": wall_s, "error": error, "detail": model}


class _Lines:
    """Samples as they may be written: every text in them redacted. Most texts are those of the sample before."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[str, str] = {}

    def line(self, sample: dict[str, Any]) -> str:
        texts = set(_texts_in(sample))
        if texts - self._known.keys():
            # A secret that shows itself in a new text must go from those that are known as well.
            for text in sorted(texts):
                self._redactor.learn(text)
            self._known = {text: self._clean(text) for text in texts}
        line = json.dumps(_replaced(sample, self._known), ensure_ascii=False)
        if len(line) > _LONGEST_SAMPLE:
            return json.dumps({"at": sample["at"], "gap": _gap(0, "the sample was left out: it is too long")})
        return line

    def _clean(self, text: str) -> str:
        clean = self._redactor.redact(text)
        return "left out: a known secret was still in it" if self._redactor.leaks(clean) else clean


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(inner)


def _replaced(value: Any, texts: dict[str, str]) -> Any:
    """The sample with its texts replaced, times as text, and without what is not known: that takes no room."""
    if isinstance(value, str):
        return texts[value]
    if isinstance(value, dict):
        return {name: _replaced(inner, texts) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_replaced(inner, texts) for inner in value]
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


def _last_sample_at(path: Path) -> datetime | None:
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 2 * _LONGEST_SAMPLE))
        lines = handle.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            return datetime.fromisoformat(json.loads(line)["at"]).astimezone(UTC)
        except (ValueError, KeyError, TypeError):
            continue
    return None
