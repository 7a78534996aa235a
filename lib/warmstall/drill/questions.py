"""The application of a drill: it answers questions by the reference path, in threads, from a small knowledge.

What it leaves is what such an application leaves: its trace and its log. Of each call to a model only the server's own
note is kept beside that, so that what is true of it (truth.py) owes nothing to the trace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from ..errors import StepFailed
from ..rag.answering import RagPath
from ..rag.embedders.opening import forget, open_embedder
from ..rag.parts import Inference
from ..rag.records import Piece, Prompt
from ..rag.settings import EMBEDDERS, InferenceSettings, PathSettings, RagSettings, StoreSettings
from ..rag.stores.opening import open_store
from ..rag.tracing import TraceFile, tracer_to
from .application_log import ApplicationLog
from .knowledge import USER, chunks_of, question
from .scenario import QUESTION, Scenario, Traffic

_MOST_AT_ONCE = 64


class Application:
    """One for each drill. `prepare` before its first second, `ask` from its clients, `close` at the end.

    `answering` is told the model when the first piece of an answer has come, and gives back whom to tell of its end.
    """

    def __init__(
        self, scenario: Scenario, urls: tuple[str, str], evidence: Path, work: Path,
        answering: Callable[[str], Callable[[], object]],
    ) -> None:  # fmt: skip
        rows = [one for one in scenario.traffic if one.endpoint == QUESTION]
        self._settings = {
            id(one): settings_of(one, urls, work / f"knowledge-{number}.duckdb") for number, one in enumerate(rows)
        }
        self._answering = answering
        self._trace = TraceFile(evidence / "trace.jsonl")
        self._log = ApplicationLog(evidence / "application.log")
        self._paths: dict[int, RagPath] = {}
        self._threads = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="question")
        self.leaves_at = float("inf")

    def prepare(self) -> None:
        """Take in the knowledge and open the path of each kind of clients; raises StepFailed where that fails."""
        for row, settings in self._settings.items():
            with self._log.own(), closing(open_store(settings.store)) as store:
                for collection in settings.collections:
                    embedder = open_embedder(settings.embedders[collection.embedder])
                    chunks = chunks_of(collection.name)
                    store.create(collection.name, embedder)
                    store.add(collection.name, chunks, embedder.embed([chunk.text for chunk in chunks]))
            # Who takes documents in is another process than who answers: that one has loaded nothing yet.
            for each in settings.embedders.values():
                forget(each)
            path = self._paths[row] = RagPath(settings, tracer_to(self._trace))
            path.inference = _Watched(path.inference, self._answering, lambda: self.leaves_at - time.time())

    async def ask(self, one: Traffic, random: Random) -> None:
        """One question; how it ended stands in the trace and in the log."""
        asked = question(random)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, self._paths[id(one)], asked)

    def _ask(self, path: RagPath, asked: str) -> None:
        with self._log.own(), suppress(StepFailed):  # the path has written of it
            path.ask(asked, USER)

    def close(self) -> None:
        self._threads.shutdown()
        for path in self._paths.values():
            path.close()
        self._trace.shutdown()
        self._log.close()


def settings_of(one: Traffic, urls: tuple[str, str], file: Path) -> RagSettings:
    """The path as usual, on the drill's server and its embedding service, and what the traffic says otherwise."""
    server, service = urls
    path: dict[str, Any] = {"attempts": 1, "attempt_timeout_s": one.timeout_s} if one.timeout_s else {}
    embedders = {}
    for name, usual in EMBEDDERS.items():
        kind = one.embedder.get("kind", usual.kind)
        url = {"ollama": server, "http": f"{service}/embed/{usual.dimensions}"}.get(kind, "")
        embedders[name] = replace(usual, **{"url": url, **one.embedder})
    return RagSettings(
        StoreSettings(path=str(file)),
        embedders,
        InferenceSettings(
            model=one.model, url=server, options={"num_predict": one.num_predict, **one.options},
            keep_alive=one.keep_alive,
        ),
        path=PathSettings(**{**path, **one.path}),
    )  # fmt: skip


class _Watched:
    """An inference that tells when an answer begins and ends, and leaves when the drill is over."""

    def __init__(
        self, inference: Inference, answering: Callable[[str], Callable[[], object]], left_s: Callable[[], float]
    ) -> None:
        self._inference, self._answering, self._left_s = inference, answering, left_s
        self.provider, self.path = inference.provider, inference.path
        self.model, self.server = inference.model, inference.server

    def stream(self, prompt: Prompt, timeout_s: float) -> Iterator[Piece]:
        ended: Callable[[], object] | None = None
        pieces: Any = self._inference.stream(prompt, max(0.1, min(timeout_s, self._left_s())))
        with closing(pieces):
            try:
                for piece in pieces:
                    ended = ended or self._answering(self.model)
                    yield piece
            finally:
                if ended:
                    ended()
