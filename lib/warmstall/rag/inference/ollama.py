"""Ollama's own `/api/chat`, streamed.

`think` is not sent unless the options name it: a model that cannot think refuses it (400), and a server older than
0.9.0 does not know it. Whether reasoning comes as `message.thinking` (0.9.0 and newer) or within the text, between the
tags of its model (older, or a template that Ollama does not know), is for whoever reads: see reasoning.py.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ..records import Piece, Prompt
from .connection import Server, error_of, messages_of, object_in
from .failures import InferenceFailed

# Options of ours that Ollama wants beside its own `options`, not among them.
_BESIDE = ("think", "truncate", "shift")
# Prompts of fewer characters fit into every version's context (2,048 tokens at the least).
_FITS_CHARACTERS = 4096
# For a look at /api/ps after an answer.
_LOOK_S = 1.0
_EMBEDS_ONLY = ("bert", "nomic-bert", "embed")


class OllamaInference:
    """A model of an Ollama server."""

    provider = "ollama"

    def __init__(
        self, url: str, model: str, options: Mapping[str, Any] | None = None, keep_alive: str = "",
        temperature: float = 0.15,
    ) -> None:  # fmt: skip
        self._server = Server(url)
        self.server = self._server.name
        self.path = f"{self._server.prefix}/api/chat"
        self.model = model or smallest_model(self._server)
        given = dict(options or {})
        self._beside: dict[str, Any] = {name: given.pop(name) for name in _BESIDE if name in given}
        if keep_alive:
            self._beside["keep_alive"] = _duration(keep_alive)
        self._options = {"temperature": temperature, **given}

    def stream(self, prompt: Prompt, timeout_s: float) -> Generator[Piece]:
        """As parts.Inference tells; `final` has `context_length` beside Ollama's names where it is known.

        Raises InferenceFailed.
        """
        body = {
            "model": self.model,
            "messages": messages_of(prompt),
            "stream": True,
            "options": self._options,
            **self._beside,
        }
        private = f"{prompt.system}\n{prompt.user}"
        final: dict[str, Any] | None = None
        lines = self._server.lines(self.path, body, timeout_s, private)
        try:
            for line in lines:
                if not line.strip():
                    continue
                said = object_in(line, self.server)
                if error := error_of(said):
                    raise self._server.refused_within(error, private)
                message = said.get("message")
                message = message if isinstance(message, Mapping) else {}
                piece = Piece(str(message.get("content") or ""), str(message.get("thinking") or ""))
                if said.get("done"):
                    final = {key: value for key, value in said.items() if key != "message"}
                    if piece.text or piece.reasoning:
                        yield piece
                    break
                if piece.text or piece.reasoning:
                    yield piece
        except InferenceFailed as failed:
            raise self._explained(failed) from failed.__cause__
        finally:
            lines.close()
        if final is None:
            raise InferenceFailed(
                f"{self.server}: the answer was cut: it ended without `done`; see the server's log.", "cut", 200
            )
        if final.get("done_reason") in ("load", "unload"):
            raise InferenceFailed(
                f"{self.server}: {self.model} was loaded or unloaded, and wrote nothing.", "empty", 200
            )
        yield Piece(final=final | self._context(len(private)))

    def _context(self, prompt_chars: int) -> dict[str, Any]:
        """How many tokens the model has room for, told only where a prompt might not fit."""
        if num_ctx := self._options.get("num_ctx"):
            return {"context_length": num_ctx}
        if prompt_chars <= _FITS_CHARACTERS:
            return {}
        try:
            rows = _models(self._server.document(f"{self._server.prefix}/api/ps", _LOOK_S))
        except InferenceFailed:  # the answer is there: what is only told beside it must not fail it
            return {}
        rooms = [row.get("context_length") for row in rows if _plain(row.get("name")) == _plain(self.model)]
        return {"context_length": rooms[0]} if any(rooms) else {}

    def _explained(self, failed: InferenceFailed) -> InferenceFailed:
        """The same failure with what to do, where that is known."""
        if failed.status == 404 and "model" in str(failed):
            return InferenceFailed(
                f"{self.server} has no model {self.model!r}; get it with: ollama pull {self.model}",
                "model_absent", 404, again=False,
            )  # fmt: skip
        if failed.status == 404:
            return InferenceFailed(
                f"{self.server} answers, but has no {self.path}: it is not Ollama, or its url has a path too many.",
                "404", 404, again=False,
            )  # fmt: skip
        if failed.status == 503:
            return InferenceFailed(
                f"{failed} (its queue is full: fewer calls at once, or OLLAMA_MAX_QUEUE)", "503", 503
            )
        if "exceed" in str(failed) and "context" in str(failed):
            return InferenceFailed(
                f"{failed} (the prompt is too long: fewer or shorter sources, or a larger num_ctx)",
                "prompt_too_long", failed.status, again=False,
            )  # fmt: skip
        return failed


def smallest_model(server: Server) -> str:
    """The smallest model of an Ollama server that writes text. Raises InferenceFailed where there is none."""
    writers = [row for row in _models(server.document(f"{server.prefix}/api/tags")) if row.get("name") and _writes(row)]
    if not writers:
        raise InferenceFailed(
            f"{server.name} has no model that writes text; get one with: ollama pull llama3.2",
            "model_absent", again=False,
        )  # fmt: skip
    return str(min(writers, key=lambda row: (row.get("size") or 0, _plain(row["name"])))["name"])


def _writes(row: Mapping[str, Any]) -> bool:
    """By its capabilities, which are told from 0.30.0 on; before, by its family and name."""
    if capabilities := row.get("capabilities"):
        return "completion" in capabilities
    details = row.get("details")
    family = str(details.get("family") if isinstance(details, Mapping) else "").lower()
    return family not in _EMBEDS_ONLY and "embed" not in str(row["name"]).lower()


def _models(document: object) -> list[Mapping[str, Any]]:
    rows = document.get("models") if isinstance(document, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _plain(model: object) -> str:
    return str(model or "").removesuffix(":latest")


def _duration(given: str) -> str | int:
    """`-1` and `300` are numbers for Ollama, `5m` is a text; `"300"` as a text it refuses."""
    try:
        return int(given)
    except ValueError:
        return given
