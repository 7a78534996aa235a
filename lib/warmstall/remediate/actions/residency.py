"""A model told to leave memory, loaded again, and asked for a word: the requests that recovery needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ...errors import ActionFailed, CannotTell
from ...parse.plain_text import printable
from ..step import Remembered
from ..target import Resident, Target
from .progress import PS_TIMEOUT_S

_ANSWER_S = 10.0
# keep_alive -1 shows as a time centuries ahead.
_FOR_EVER = timedelta(days=3650)
_CANARY_TOKENS = 2
_LOOK_AGAIN_S = 0.25
_NO_GENERATION = "does not support generate"


def resident_now(target: Target, model: str) -> Resident | None:
    """The model as /api/ps shows it now, or None. Raises CannotTell when that does not answer."""
    return next((one for one in target.models_in_memory(PS_TIMEOUT_S) if one.name == model), None)


def remember_residency(target: Target, model: str, deadline_s: float) -> Remembered:
    """What `load_model_again` needs. The server does not tell a keep_alive, except that one is for ever."""
    one = resident_now(target, model)
    for_ever = bool(one and one.expires_at and one.expires_at - target.now() > _FOR_EVER)
    return {
        "model": model, "num_ctx": one.context_length if one else None, "keep_alive": -1 if for_ever else None,
        "was_past_its_time": bool(one and one.is_past(target.now())), "deadline_s": deadline_s,
    }  # fmt: skip


def ask_to_leave(target: Target, model: str) -> str:
    """Tell the server that the model is wanted no more (keep_alive 0). It goes once its last request has ended."""
    answer = target.send("/api/generate", {"model": model, "keep_alive": 0, "stream": False}, _ANSWER_S)
    if answer["status"] == "200":
        return f"The server was told that {printable(model)} may leave."
    return f"The server did not take it that {printable(model)} may leave ({_why(answer)})."


def load_model_again(target: Target, remembered: Remembered) -> str:
    """Have the model in memory again, with its context; it stays for ever if it did, else as long as is usual there.

    Raises ActionFailed when it is not loaded in time.
    """
    model = str(remembered["model"])
    try:
        there = _once_it_has_left(target, model) if remembered.get("was_past_its_time") else resident_now(target, model)
    except CannotTell as error:
        raise ActionFailed(str(error)) from error
    if there and not there.is_past(target.now()):
        return f"{printable(model)} is in memory."
    if there and remembered.get("was_past_its_time"):
        return f"{printable(model)} has not left: it is in memory past its time, as it was."
    body = _body(model, remembered.get("num_ctx"))
    if remembered.get("keep_alive") is not None:
        body["keep_alive"] = remembered["keep_alive"]
    _sent(target, body, "", float(remembered.get("deadline_s") or 120.0))
    return f"{printable(model)} was loaded again."


def _once_it_has_left(target: Target, model: str) -> Resident | None:
    """A server that has just lost a runner takes a moment to let its model go."""
    ends = target.monotonic_s() + _ANSWER_S
    while (one := resident_now(target, model)) and one.is_past(target.now()) and target.monotonic_s() < ends:
        target.wait(_LOOK_AGAIN_S)
    return one


def canary_s(target: Target, model: str, num_ctx: int | None, deadline_s: float) -> float:
    """Seconds of a request for a word or two, or for one vector. Raises ActionFailed when it is not answered."""
    body = _body(model, num_ctx)
    body["options"] = {**body.get("options", {}), "num_predict": _CANARY_TOKENS}
    return _sent(target, body, "Hi", deadline_s)


def _body(model: str, num_ctx: int | None) -> dict[str, Any]:
    # With another context than its clients ask for, the model would be loaded once more for them.
    return {"model": model, "stream": False} | ({"options": {"num_ctx": num_ctx}} if num_ctx else {})


def _sent(target: Target, body: dict[str, Any], text: str, deadline_s: float) -> float:
    """Without text the model is only loaded. A model for embeddings refuses to generate and is asked for a vector."""
    answer = target.send("/api/generate", {**body, "prompt": text}, deadline_s)
    if _NO_GENERATION in _why(answer):
        answer = target.send("/api/embed", {**body, "input": text}, deadline_s)
    if answer["status"] != "200" or "error" in (answer["body"] or {}):
        raise ActionFailed(f"{printable(str(body['model']))} was not loaded or did not answer ({_why(answer)}).")
    return float(answer["wall_s"])


def _why(answer: dict[str, Any]) -> str:
    said = answer["body"].get("error") if isinstance(answer["body"], dict) else None
    return printable(str(said or answer["error"] or f"status {answer['status']}"))[:300]
