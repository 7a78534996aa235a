"""A demonstration: an embedder that is built as PyTorch builds a model, and breaks as that does when two threads do.

PyTorch makes the layers of a large model first without data, on a device called "meta", and then fills them from the
file. Which device new layers come to is set for the whole process. So whatever another thread makes meanwhile is
empty too, and nothing ever fills it: that thread fails when its model is moved to where it shall compute. This class
does the same in small, needs no PyTorch, and its vectors are hashed words.
"""

from __future__ import annotations

import time

import numpy as np

from ..settings import EmbedderSettings
from .lexical import LexicalEmbedder

# Of the whole process: how many models are just built without data, as PyTorch's default device is "meta" meanwhile.
# A list, because its append and pop are whole for any thread.
_built_empty: list[None] = []
_BUILD_S, _READ_S = 0.2, 0.1


class _Layer:
    """Numbers, or only the place for them while some thread of the process builds on "meta"."""

    def __init__(self, size: int) -> None:
        self.data = None if _built_empty else np.ones(size, np.float32)

    def moved(self) -> np.ndarray:
        if self.data is None:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return self.data.copy()


class TwoPhaseEmbedder(LexicalEmbedder):
    """Takes 0.3 s to load. Raises NotImplementedError, in PyTorch's words, in a thread that loads beside another."""

    provider = "two-phase"
    model = "two-phase-demonstration"
    name = "a demonstration of a model built in two phases (lexical: hashed words)"

    def __init__(self, settings: EmbedderSettings) -> None:
        super().__init__(settings)
        pooling = _Layer(settings.dimensions)
        _built_empty.append(None)
        try:
            weights = _Layer(settings.dimensions)
            time.sleep(_BUILD_S)
        finally:
            _built_empty.pop()
        time.sleep(_READ_S)
        weights.data = np.ones(settings.dimensions, np.float32)
        self._scale = weights.moved() * pooling.moved()
