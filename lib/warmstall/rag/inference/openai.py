"""OpenAI's `/v1/chat/completions`, streamed: vLLM, llama.cpp's server, OpenRouter, and Ollama's own copy of it.

Reasoning that the server sets apart is `reasoning_content` (vLLM, llama.cpp, DeepSeek) or `reasoning` (OpenRouter,
Ollama, newer vLLM). A key comes from the environment alone, from the variable that the settings name.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Any

from ...errors import ParameterError
from ..records import Piece, Prompt
from .connection import Server, error_of, messages_of, object_in
from .failures import InferenceFailed

_COUNTS = {"prompt_tokens": "prompt_eval_count", "completion_tokens": "eval_count"}


class OpenAIInference:
    """A model of a server that speaks OpenAI's language."""

    provider = "openai"

    def __init__(
        self, url: str, model: str, options: Mapping[str, Any] | None = None, api_key_variable: str = "",
        temperature: float = 0.15,
    ) -> None:  # fmt: skip
        if not url:
            raise ParameterError("[inference] url is empty; openai needs one, such as http://127.0.0.1:8000/v1.")
        key = _key(api_key_variable)
        self._server = Server(url, {"Authorization": f"Bearer {key}"} if key else None, key)
        self.server = self._server.name
        base = self._server.prefix.removesuffix("/chat/completions") or "/v1"
        self.path = f"{base}/chat/completions"
        self.model = model or self._only_model(f"{base}/models")
        self._options = {"temperature": temperature, **(options or {})}

    def stream(self, prompt: Prompt, timeout_s: float) -> Generator[Piece]:
        """As parts.Inference tells; `final` has Ollama's names for the counts. Raises InferenceFailed."""
        beside = {"stream": True, "stream_options": {"include_usage": True}}
        body = {"model": self.model, "messages": messages_of(prompt), **self._options, **beside}
        private = f"{prompt.system}\n{prompt.user}"
        final: dict[str, Any] = {}
        ended = False
        lines = self._server.lines(self.path, body, timeout_s, private)
        try:
            for line in lines:
                field, _, value = line.partition(":")
                if field == "error":  # llama.cpp's own way to end a stream
                    raise self._server.refused_within(value, private)
                if field != "data":  # comments (": OPENROUTER PROCESSING"), event names, empty lines
                    continue
                if value.strip() == "[DONE]":
                    ended = True
                    break
                said = object_in(value, self.server)
                if error := error_of(said):
                    raise self._server.refused_within(error, private)
                piece, reason = _piece(said)
                if reason:
                    final["done_reason"] = reason
                final |= _counts(said)
                if piece.text or piece.reasoning:
                    yield piece
        except InferenceFailed as failed:
            raise self._explained(failed) from failed.__cause__
        finally:
            lines.close()
        if not ended and "done_reason" not in final:
            raise InferenceFailed(
                f"{self.server}: the answer was cut: it ended without a finish_reason; see the server's log.",
                "cut",
                200,
            )
        yield Piece(final=final)

    def _only_model(self, path: str) -> str:
        """The model of a server that has but one. Raises InferenceFailed: sizes are not told, so none can be chosen."""
        document = self._server.document(path)
        rows = document.get("data") if isinstance(document, Mapping) else None
        names = [str(row["id"]) for row in rows or () if isinstance(row, Mapping) and row.get("id")]
        if len(names) == 1:
            return names[0]
        there = f"has {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" if names else "names no model"
        raise InferenceFailed(f"{self.server} {there}; say which in [inference] model.", "model_absent", again=False)

    def _explained(self, failed: InferenceFailed) -> InferenceFailed:
        """The same failure with what to do, where that is known."""
        if failed.status == 404:
            what = f"{self.server} has no model {self.model!r}, or no {self.path}"
            return InferenceFailed(
                f"{what}; `GET {self.path.replace('/chat/completions', '/models')}` tells what it has.",
                "model_absent", 404, again=False,
            )  # fmt: skip
        if failed.status in (401, 403):
            return InferenceFailed(
                f"{failed} (the key: [inference] api_key_variable names the variable of the environment that holds it)",
                failed.kind, failed.status, again=False,
            )  # fmt: skip
        if "context" in str(failed) and ("exceed" in str(failed) or "maximum" in str(failed)):
            return InferenceFailed(
                f"{failed} (the prompt is too long: fewer or shorter sources, or a larger context)",
                "prompt_too_long", failed.status, again=False,
            )  # fmt: skip
        return failed


def _key(variable: str) -> str:
    """The key that a variable holds; empty where none is named. Raises ParameterError where it holds none."""
    if not variable:
        return ""
    if not variable.isidentifier():  # a key itself, as it seems: nothing of it may be told
        raise ParameterError(
            "[inference] api_key_variable is no name of a variable of the environment; expected letters, digits and _, "
            "such as OPENAI_API_KEY, and never the key itself."
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ParameterError(
            f"[inference] api_key_variable is {variable}, and the environment has no such variable; set it, or leave "
            "the setting out for a server without a key."
        )
    if not key.isascii() or not key.isprintable():
        raise ParameterError(f"The environment's {variable} holds characters that no key has; set it anew.")
    return key


def _piece(said: Mapping[str, Any]) -> tuple[Piece, str]:
    """The piece of a chunk, and why the answer ended where this chunk ends it."""
    choices = said.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    delta = choice.get("delta")
    delta = delta if isinstance(delta, Mapping) else {}
    reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
    return Piece(str(delta.get("content") or ""), str(reasoning)), str(choice.get("finish_reason") or "")


def _counts(said: Mapping[str, Any]) -> dict[str, int]:
    usage = said.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return {ours: usage[theirs] for theirs, ours in _COUNTS.items() if isinstance(usage.get(theirs), int)}
