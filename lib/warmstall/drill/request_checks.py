"""What a server refuses to read in a request's body, in Ollama's words."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from ..errors import InputError
from .eras import Era
from .inference import RefusedError
from .models import DrillModel, find_model
from .server_log import ServerLog
from .settings import duration_s

Body = dict[str, Any]
_INTEGERS = {
    "num_predict", "num_ctx", "num_thread", "num_batch", "num_gpu", "num_keep", "seed", "top_k", "repeat_last_n",
}  # fmt: skip
_NUMBERS = {"temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"}
_OTHERS = {"stop", "use_mmap", "numa", "main_gpu", "mirostat", "mirostat_eta", "mirostat_tau", "penalize_newline"}
# Fields whose JSON type a server checks when it reads a body, with Go's name of the type it wants.
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "string"),
    "prompt": (str, "string"),
    "messages": (list, "[]api.Message"),
    "options": (dict, "map[string]interface {}"),
    "stream": (bool, "bool"),
    "max_tokens": (int, "int"),
}
_GO_NAMES = {str: "string", list: "array", dict: "object", bool: "bool", int: "number", float: "number"}


async def read_body(request: Request) -> Body:
    """The body as a JSON object. Raises RefusedError in Go's words."""
    data = await request.body()
    if not data:
        raise RefusedError(400, "missing request body")
    try:
        body = json.loads(data)
    except ValueError as error:
        after = data.lstrip()[1:].lstrip()[:1].decode("latin-1")
        raise RefusedError(400, f"invalid character '{after}' looking for beginning of object key string") from error
    if not isinstance(body, dict):
        raise RefusedError(400, f"json: cannot unmarshal {_go_name(body)} into Go value of type api.GenerateRequest")
    return _readable(body)  # type: ignore[no-any-return]


def _readable(value: Any) -> Any:
    """Text with what UTF-8 cannot hold replaced, as Go does when it reads JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, list):
        return [_readable(each) for each in value]
    return {key: _readable(each) for key, each in value.items()} if isinstance(value, dict) else value


def check_types(body: Body, kind: str) -> None:
    """Refuse fields of another JSON type; `kind` is Go's name of the body, such as ChatRequest."""
    for name, (wanted, go_type) in _TYPES.items():
        value = body.get(name)
        many = name == "prompt" and isinstance(value, list)  # OpenAI's completions take several
        if value is not None and not isinstance(value, wanted) and not many:
            text = f"json: cannot unmarshal {_go_name(value)} into Go struct field {kind}.{name} of type {go_type}"
            raise RefusedError(400, text)
    for message in body.get("messages") or []:
        if not isinstance(message, dict):
            text = (
                f"json: cannot unmarshal {_go_name(message)} into Go struct field {kind}.messages of type api.Message"
            )
            raise RefusedError(400, text)


def check_options(body: Body, log: ServerLog) -> None:
    """Refuse options of another type; warn of those that nobody knows."""
    for option, value in (body.get("options") or {}).items():
        if option in _INTEGERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise RefusedError(500, f'option "{option}" must be of type integer')
        if option not in _INTEGERS | _NUMBERS | _OTHERS:
            log.say("option_invalid", option=option)


def check_abilities(body: Body, model: DrillModel, era: Era, route: str) -> None:
    """Refuse what the model cannot do: tools, thinking, and for an embedding model to write at all."""
    if model.embedding:
        raise RefusedError(400, f'"{model.name}" does not support {route}')
    if body.get("tools"):
        name = model.name if era.version == "0.3.14" else f"registry.ollama.ai/library/{model.name}:latest"
        raise RefusedError(400, f"{name} does not support tools")
    if body.get("think") and era.version != "0.3.14":
        raise RefusedError(400, f'"{model.name}" does not support thinking')


def model_of(body: Body, era: Era) -> DrillModel:
    """The model that a body names."""
    name = str(body.get("model", ""))
    model = find_model(name)
    if model is None:
        raise RefusedError(404, era.not_found.format(model=name))
    return model


def keep_alive_of(body: Body) -> float | None:
    """Seconds, None where the body says nothing. Raises RefusedError in Go's words."""
    value = body.get("keep_alive")
    if value is None:
        return None
    try:
        return duration_s(value)
    except InputError:
        raise RefusedError(400, f'time: invalid duration "{value}"') from None


def _go_name(value: object) -> str:
    return _GO_NAMES.get(type(value), "null")
