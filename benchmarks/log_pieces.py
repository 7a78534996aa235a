"""What a generated log is put together from: pieces of text in the wording of one version, and how they follow.

A *piece* is one or more whole lines, with marks where the moment goes (`Marks`) and with what it counts for in the
truth. A *job* is a piece, perhaps one before it, and the time between them: a request, a load, a poll.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Template

from warmstall.drill.go_text import access_duration

_LINES = Path(__file__).with_name("server_log_lines.txt")
VERSIONS = ("0.1.30", "0.3.14", "0.13.5", "0.32.15")
# More would hardly be told from so many; fewer, and the log repeats itself within the window of a compressor.
REQUESTS = 20_000
_LOADS = 400
_CHATTER = 400
_MODELS = ("tiny", "mid", "big", "llama3.1", "qwen3", "embed")
_CLIENTS = ("127.0.0.1", "127.0.0.1", "192.0.2.17", "198.51.100.203", "10.0.12.5", "::1")
# Paths with their weights, and the median and most seconds of an answer.
_ASKED = {
    "/api/generate": (40, 1.4, 900), "/api/chat": (30, 1.6, 900), "/v1/chat/completions": (10, 1.6, 900),
    "/api/embed": (15, 0.04, 60), "/api/embeddings": (5, 0.04, 60),
}  # fmt: skip
_STATUSES = {200: 955, 500: 20, 499: 10, 400: 5, 404: 5, 503: 5}
_REFUSED = (400, 404, 503)
_POLLS = {("GET", "/api/ps"): 60, ("GET", "/api/tags"): 25, ("GET", "/api/version"): 10, ("HEAD", "/"): 4,
          ("GET", "/api/tags?of=a|b"): 1}  # fmt: skip


class Marks:
    """Bytes that no log holds, for what is known only when a piece gets its place."""

    GIN, SLOG, GO, EPOCH, TASK, SLOT = (bytes([number]) for number in range(1, 7))


@dataclass(frozen=True)
class Job:
    """`begin` and `end` are numbers of pieces, -1 for none; it begins at `at_ms` of its second, -1 for anywhere."""

    begin: int
    end: int
    wall_ms: int = 0
    at_ms: int = -1


@dataclass
class Pool:
    """Pieces of one version, and what each counts for: lines, access, wall_ns, status …, event …, loads …."""

    version: str
    texts: list[bytes] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)

    def add(self, text: bytes, counts: Counter[str]) -> int:
        """The number of a piece; its lines are counted here."""
        self.texts.append(text)
        self.counts.append(counts + Counter(lines=text.count(b"\n")))
        return len(self.texts) - 1

    def say(self, section: str, at_ms: int = 0, counts: Counter[str] | None = None, **fields: object) -> int:
        """A piece in the version's words; -1 where it is silent."""
        rows = _sections().get((self.version, section), [])
        return self.say_rows(rows, at_ms, counts, **fields) if rows else -1

    def say_rows(
        self, rows: list[tuple[str, str]], at_ms: int, counts: Counter[str] | None = None, **fields: object
    ) -> int:
        """A piece of these keys and lines."""
        moment = {"time": f"{Marks.SLOG.decode()}.{at_ms:03d}Z", "go_time": Marks.GO.decode(),
                  "epoch": Marks.EPOCH.decode(), "task": Marks.TASK.decode(), "slot": Marks.SLOT.decode()}  # fmt: skip
        text = "".join(Template(line).substitute(moment, **fields) + "\n" for _, line in rows)
        keys = Counter(f"event {key}" for key, _ in rows if key != "-")
        return self.add(text.encode(), keys + (counts or Counter()))


def has(version: str, section: str) -> bool:
    """Whether a version says anything there."""
    return (version, section) in _sections()


@cache
def _sections() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Keys and lines by version and section."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for part in re.split(r"^=== ", _LINES.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, *rows = part.rstrip("\n").split("\n")
        version, section = title.split()
        found[version, section] = [(row[:20].strip(), row[22:]) for row in rows]
    return found


def access_line(wall_ns: int, status: int, client: str, method: str, path: str) -> tuple[bytes, Counter[str]]:
    """A line of GIN, and what it counts for: the wall time is the one that it shows."""
    wall = access_duration(wall_ns / 1e9)
    text = f'[GIN] {Marks.GIN.decode()} | {status:3d} | {wall:>13} | {client:>15} | {method:<7}  "{path}"\n'
    shown_ns = wall_ns if wall_ns <= 60 * 10**9 else wall_ns // 10**9 * 10**9
    return text.encode(), Counter({"access": 1, "wall_ns": shown_ns, f"status {status}": 1})


def requests(pool: Pool, rng: random.Random, slots: bool, count: int = REQUESTS) -> list[Job]:
    """Requests that run a model; with `slots`, those that were answered tell of their task."""
    jobs = []
    paths = rng.choices(list(_ASKED), [weight for weight, _, _ in _ASKED.values()], k=count)
    statuses = rng.choices(list(_STATUSES), list(_STATUSES.values()), k=count)
    for path, status in zip(paths, statuses, strict=True):
        _, median_s, most_s = _ASKED[path]
        wall_s = 0.0004 * rng.random() if status in _REFUSED else min(most_s, median_s * rng.lognormvariate(0, 1))
        wall_ns = max(20_000, int(wall_s * 1e9))
        text, counts = access_line(wall_ns, status, rng.choice(_CLIENTS), "POST", path)
        begin = -1
        if slots and status == 200 and has(pool.version, "task"):
            told = _figures(wall_s * 1000, rng)
            begin = pool.say("task", **told)
            done = pool.say("done", counts=counts, **told)
            pool.texts[done] += text
            pool.counts[done]["lines"] += 1
            jobs.append(Job(begin, done, wall_ns // 1_000_000))
        else:
            jobs.append(Job(-1, pool.add(text, counts), wall_ns // 1_000_000))
    return jobs


def _figures(wall_ms: float, rng: random.Random) -> dict[str, str]:
    """What a slot's timing lines tell of a request of that wall time."""
    total_ms = wall_ms * rng.uniform(0.9, 0.99)
    prompt_ms = total_ms * rng.uniform(0.05, 0.4)
    eval_ms = total_ms - prompt_ms
    prompt_tokens, eval_tokens = max(1, int(prompt_ms / 0.6)), max(1, int(eval_ms / 12))
    each = {
        "prompt_ms": prompt_ms, "eval_ms": eval_ms, "total_ms": total_ms,
        "ms_per_prompt_token": prompt_ms / prompt_tokens, "ms_per_token": eval_ms / eval_tokens,
        "prompt_tokens_per_s": 1000 * prompt_tokens / max(prompt_ms, 0.01),
        "tokens_per_s": 1000 * eval_tokens / max(eval_ms, 0.01),
    }  # fmt: skip
    tokens = {"prompt": prompt_tokens, "eval": eval_tokens, "total": prompt_tokens + eval_tokens}
    return (
        {name: f"{value:{8 if '_per_' in name else 10}.2f}" for name, value in each.items()}
        | {f"{name}_tokens": f"{value:5d}" for name, value in tokens.items()}
        | {f"n_{name}": str(value) for name, value in tokens.items()}
        | {"t_prompt": f"{prompt_ms:.3f}", "t_eval": f"{eval_ms:.3f}", "t_total": f"{total_ms:.3f}"}
    )


def polls(pool: Pool, rng: random.Random, count: int = 2_000) -> list[Job]:
    """Bookkeeping: short requests that run no model."""
    asked = rng.choices(list(_POLLS), list(_POLLS.values()), k=count)
    return [Job(-1, pool.add(*access_line(rng.randrange(20_000, 2_000_000), 200, rng.choice(_CLIENTS), *one)))
            for one in asked]  # fmt: skip


def loads(pool: Pool, rng: random.Random, failing: float = 0.04, count: int = _LOADS) -> list[Job]:
    """Loads of a few models; their last piece says that the runner is ready, or that the load has failed."""
    jobs = []
    for number in range(count):
        model = rng.choice(_MODELS)
        told = {"blob": _blob(model), "model": model, "port": 20_000 + 37 * number % 40_000}
        wall_ms, at_ms = int(1000 * min(120.0, 2.5 * rng.lognormvariate(0, 0.7))), rng.randrange(1000)
        fails = has(pool.version, "failed") and rng.random() < failing
        begin = pool.say("load", at_ms, Counter({"loads started": 1}), **told)
        ends = Counter({"loads failed" if fails else "loads finished": 1})
        told["seconds"] = f"{wall_ms / 1000:.2f}"
        end = pool.say("failed" if fails else "ready", (at_ms + wall_ms) % 1000, ends, **told)
        jobs.append(Job(begin, end, wall_ms, at_ms))
    return jobs


def chatter(pool: Pool, rng: random.Random, count: int = _CHATTER) -> list[Job]:
    """Records of the scheduler and of the runner between requests."""
    rows = _sections()[pool.version, "chatter"]
    weights = [1 / place for place in range(1, len(rows) + 1)]
    jobs = []
    for row in rng.choices(rows, weights, k=count):
        at_ms = rng.randrange(1000)
        model = rng.choice(_MODELS)
        jobs.append(Job(-1, pool.say_rows([row], at_ms, blob=_blob(model), model=model), at_ms=at_ms))
    return jobs


def _blob(model: str) -> str:
    return hashlib.sha256(model.encode()).hexdigest()
