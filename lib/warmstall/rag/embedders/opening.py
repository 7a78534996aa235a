"""One embedder for all threads of a process, and one of its own for each process.

To load a model sets state of the whole process, so one load at a time may run in it, of whatever model: four threads
that each load their own at the first questions are four models in memory at best, and at worst three tracebacks. A
process that was forked takes nothing from its parent: sockets, threads and a GPU's memory do not survive a fork.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from ...errors import ParameterError, StepFailed
from ..parts import Embedder
from ..settings import EmbedderSettings
from .http_service import HttpEmbedder
from .lexical import LexicalEmbedder
from .ollama import OllamaEmbedder
from .sentence_transformers import SentenceTransformersEmbedder
from .two_phase import TwoPhaseEmbedder

_log = logging.getLogger(__name__)
_KINDS: Mapping[str, Callable[[EmbedderSettings], Embedder]] = {
    "ollama": OllamaEmbedder, "http": HttpEmbedder, "sentence-transformers": SentenceTransformersEmbedder,
    "lexical": LexicalEmbedder, "two-phase": TwoPhaseEmbedder,
}  # fmt: skip
_SLOW_S = 0.1

_opened: dict[tuple[int, EmbedderSettings], Embedder] = {}
_loading = threading.RLock()


def open_embedder(
    settings: EmbedderSettings, around: Callable[[str], AbstractContextManager[object]] = nullcontext
) -> Embedder:
    """The embedder of these settings, which all threads of this process share; loaded at the first call.

    Call it again in a process that was forked: it then loads one for that process. With `settings.lock` False every
    thread that finds none loads for itself, to show what happens. `around` is entered with the name of the model for a
    real load alone. Raises ParameterError for a kind that there is not, StepFailed where it cannot be loaded.

    >>> settings = EmbedderSettings(kind="lexical", dimensions=64)
    >>> open_embedder(settings) is open_embedder(settings)
    True
    """
    key = (os.getpid(), settings)
    found = _opened.get(key)
    if found is None:
        with _loading if settings.lock else nullcontext():
            # Another thread may have loaded it while this one waited.
            found = _opened.get(key)
            if found is None:
                with around(_model(settings)):
                    found = _opened[key] = _load(settings)
    return found


def forget(settings: EmbedderSettings) -> None:
    """Let the next call of `open_embedder` load again, as in a process that has just started."""
    with _loading:
        _opened.pop((os.getpid(), settings), None)


def _load(settings: EmbedderSettings) -> Embedder:
    if settings.kind not in _KINDS:
        raise ParameterError(f"embedder {settings.kind!r} is none of {', '.join(_KINDS)}.")
    if settings.dimensions < 1:
        raise ParameterError(f"embedder {_called(settings)}: dimensions is {settings.dimensions}; expected 1 or more.")
    began = time.monotonic()
    thread = threading.current_thread().name
    try:
        embedder = _KINDS[settings.kind](settings)
    except (StepFailed, ParameterError):
        raise
    except Exception as error:
        # Its traceback stands in the log once, here, with the thread: whoever catches what is raised logs that.
        _log.exception("load of embedder %s failed in thread %s", _called(settings), thread)
        raise StepFailed(
            f"embedder {_called(settings)} could not be loaded in thread {thread} ({type(error).__name__}); the log of "
            "this application has the traceback: load it once, before threads are started, or behind a lock."
        ) from error
    wall_s = time.monotonic() - began
    if wall_s >= _SLOW_S:
        _log.warning("Slow operation: load of embedder %s took %.3f s in thread %s", _called(settings), wall_s, thread)
    else:
        _log.info("embedder %s opened in thread %s", _called(settings), thread)
    return embedder


def _model(settings: EmbedderSettings) -> str:
    """As the embedder will name it; some have one model, whatever is set."""
    return str(getattr(_KINDS.get(settings.kind), "model", settings.model))


def _called(settings: EmbedderSettings) -> str:
    return f"{settings.kind} {settings.model}".strip()


def _fresh_lock() -> None:
    global _loading
    _loading = threading.RLock()


# A fork waits for a load that is under way: half a load would be in the child, and its lock held by no one.
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(
        before=lambda: _loading.acquire(), after_in_parent=lambda: _loading.release(), after_in_child=_fresh_lock
    )
