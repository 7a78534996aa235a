"""Vectors by a service of one's own at an address, in the shapes that such services have.

| it is sent | it answers | who speaks so |
|---|---|---|
| `{"texts": [...]}` | `{"vectors": [[...]]}` or `{"embeddings": [[...]]}` | most small services, the drill's too |
| `{"inputs": [...]}` | `[[...]]` | text-embeddings-inference |
| `{"input": [...], "model": "..."}` | `{"data": [{"embedding": [...], "index": 0}]}` | who speaks OpenAI's way |

What it is sent is found out once, in this order: a service that does not know a field refuses the request with 400 or
422. Any of the answers is understood. An address without a path means `/embed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ...errors import StepFailed
from ..parts import Vectors
from ..server_words import refuse_user_information
from ..settings import EmbedderSettings
from .http_calls import Caller, Reply
from .vectors import check_texts, checked_vectors

_FIELDS = ("texts", "inputs", "input")
_UNKNOWN_FIELD = (400, 422)


class HttpEmbedder:
    """All texts of a call go in one request."""

    provider = "http"
    lexical = False

    def __init__(self, settings: EmbedderSettings) -> None:
        if not settings.url:
            raise StepFailed(
                "an embedding service needs an address, and none is set; set url, such as http://127.0.0.1:8001/embed."
            )
        refuse_user_information(settings.url, "the url of an embedding service")
        url = settings.url if urlsplit(settings.url).path.strip("/") else settings.url.rstrip("/") + "/embed"
        self.model, self.dimensions = settings.model, settings.dimensions
        self.name = f"{self.model or 'an embedding service'} at {urlsplit(url).netloc}"
        self._service = Caller(self.name, url, settings.timeout_s)
        self._field = ""

    def embed(self, texts: Sequence[str]) -> Vectors:
        check_texts(texts, self.name)
        if not texts:
            return checked_vectors([], 0, self.dimensions, self.name)
        reply = self._reply(list(texts))
        if reply.status != 200:
            raise self._service.failed(
                f"{self._service.base_url} answered {reply.status} ({reply.said}); 200 was expected: read its log."
            )
        if isinstance(reply.body, Mapping) and reply.body.get("kind") == "lexical":
            self.lexical = True  # as the service itself says
        return checked_vectors(_rows(reply.body), len(texts), self.dimensions, self.name)

    def _reply(self, texts: list[str]) -> Reply:
        for field in (self._field,) if self._field else _FIELDS:
            asked: dict[str, object] = {field: texts}
            if field == "input":
                asked["model"] = self.model
            reply = self._service.post("", asked, "\n".join(texts))
            if reply.status == 200:
                self._field = field
            if reply.status not in _UNKNOWN_FIELD:
                break
        return reply


def _rows(body: object) -> object:
    """The table of numbers in an answer, or the answer where there is none.

    >>> _rows({"data": [{"embedding": [2.0], "index": 1}, {"embedding": [1.0], "index": 0}]})
    [[1.0], [2.0]]
    """
    if not isinstance(body, Mapping):
        return body
    data = body.get("data")
    if isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        return [row.get("embedding") for row in sorted(data, key=lambda row: int(row.get("index") or 0))]
    return next((body[name] for name in ("vectors", "embeddings") if name in body), body)
