"""Vectors by Ollama's `/api/embed`, which is there from version 0.2.6 on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...errors import StepFailed
from ..parts import Vectors
from ..settings import EmbedderSettings, ollama_url
from .http_calls import Caller, Reply
from .vectors import check_texts, checked_vectors

_log = logging.getLogger(__name__)


class OllamaEmbedder:
    """All texts of a call go in one request.

    A text that is longer than the model's context is cut only after the server has refused it whole, and the log
    tells of it: Ollama by itself cuts in silence.
    """

    provider = "ollama"
    lexical = False

    def __init__(self, settings: EmbedderSettings) -> None:
        if not settings.model:
            raise StepFailed("an embedder by Ollama needs a model, and none is set; set model, such as all-minilm.")
        self.model, self.dimensions = settings.model, settings.dimensions
        self.name = f"{self.model} by Ollama"
        self._server = Caller(self.name, (settings.url or ollama_url()).rstrip("/"), settings.timeout_s)

    def embed(self, texts: Sequence[str]) -> Vectors:
        check_texts(texts, self.name)
        if not texts:
            return checked_vectors([], 0, self.dimensions, self.name)
        asked = {"model": self.model, "input": list(texts), "truncate": False}
        private = "\n".join(texts)
        reply = self._server.post("/api/embed", asked, private)
        # 400, or 500 where the model's own runner says it.
        if reply.status in (400, 500) and "context length" in reply.said:
            _log.warning("%s: one or more of %d texts are longer than its context and were cut", self.name, len(texts))
            reply = self._server.post("/api/embed", {**asked, "truncate": True}, private)
        if reply.status != 200 or not isinstance(reply.body, dict):
            raise self._server.failed(self._reason(reply))
        return checked_vectors(reply.body.get("embeddings"), len(texts), self.dimensions, self.name)

    def _reason(self, reply: Reply) -> str:
        where, said = self._server.base_url, reply.said
        if reply.status in (404, 405) and not isinstance(reply.body, dict):
            told = self._server.get("/api/version").body
            version = f" (it says version {told.get('version')})" if isinstance(told, dict) else ""
            return f"the server at {where} has no /api/embed{version}; Ollama has it from 0.2.6 on: upgrade it."
        if reply.status == 404:
            return f"there is no model {self.model!r} at {where}; get it with: ollama pull {self.model}"
        if "does not support embed" in said:
            return f"model {self.model!r} at {where} makes no vectors ({said}); choose an embedding model."
        if "unsupported value" in said:
            return (
                f"model {self.model!r} at {where} computed NaN for one of the texts ({said}); send them one by one to "
                "find it, or try without flash attention."
            )
        if reply.status == 503:
            return f"the server at {where} refuses more work ({said}); send less at once, or wait."
        return f"the server at {where} answered {reply.status} ({said}); 200 was expected: read its log."
