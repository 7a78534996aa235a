"""Vectors by the library sentence-transformers, where the user has installed it; it is imported when it is opened."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any

from ...errors import StepFailed
from ..parts import Vectors
from ..settings import EmbedderSettings
from .vectors import check_texts, checked_vectors


class SentenceTransformersEmbedder:
    """A model in this process. Nothing is fetched: it must be in a folder or in the library's cache.

    To build one sets state of the whole process (PyTorch's default device, on which a model is first built without
    data), so two must not be built at once, be they the same or not: `opening` sees to it. `timeout_s` is not kept
    here, for there is no server to give up on.
    """

    provider = "sentence-transformers"
    lexical = False

    def __init__(self, settings: EmbedderSettings) -> None:
        if not settings.model:
            raise StepFailed("sentence-transformers needs a model, and none is set; set model to its name or folder.")
        self.model, self.dimensions = settings.model, settings.dimensions
        self.name = f"{self.model} by sentence-transformers"
        try:
            library = importlib.import_module("sentence_transformers")
        except ImportError as error:
            raise StepFailed(
                f"{self.name}: the library is not installed here ({error}); install it with: "
                "pip install sentence-transformers, or choose the embedder kind ollama."
            ) from error
        try:
            self._model: Any = library.SentenceTransformer(self.model, local_files_only=True)
        except OSError as error:
            raise StepFailed(
                f"{self.name}: the model is not on this machine; fetch it once with: hf download {self.model}, or set "
                "model to a folder that holds it."
            ) from error
        # Its tokenizers change themselves while they read, and two threads at once make them fail ("Already borrowed").
        self._one_at_a_time = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        check_texts(texts, self.name)
        if not texts:
            return checked_vectors([], 0, self.dimensions, self.name)
        try:
            with self._one_at_a_time:
                rows = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        except Exception as error:
            raise StepFailed(
                f"{self.name}: the library failed ({type(error).__name__}); the log of this application has the rest."
            ) from error
        return checked_vectors(rows, len(texts), self.dimensions, self.name)
