"""Answers of Ollama's API and of a llama-server: a collection's probes, and the bodies of the answers."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import datetime
from typing import Any

from .parsed import Parsed
from .tolerant import blank, capture_lines, moment, number, whole, words

Moment = tuple[datetime | None, datetime | None]
_NUM_CTX = re.compile(r"^num_ctx\s{1,80}(\d{1,18})\s{0,80}$", re.MULTILINE)
# An `ollama show` body has no name; its Modelfile says what to write for this model.
_NAME_IN_MODELFILE = re.compile(r"^# FROM (\S{1,300})$", re.MULTILINE)
_HEALTH = {"ok", "error", "loading model", "no slot available"}


def is_api_probes(lines: list[str]) -> bool:
    """Whether one of these lines is a probe: one look at an endpoint, with its answer or why there was none.

    >>> is_api_probes(['{"at": "2026-11-20T20:49:03Z", "endpoint": "/api/ps", "status": 200, "body": {"models": []}}'])
    True
    """
    return bool(parse_api_probes("\n".join(lines)).lines)


def parse_api_probes(text: str) -> Parsed:
    """probes: one row a line, `detail` is what a small body says (version, health, error, the model of /api/show).

    resident_models, models, slots: the rows of the bodies, each with the probe's line and time.

    >>> line = '{"at": "2026-11-20T20:49:03+01:00", "endpoint": "/api/version", "status": 200, "body": "down"}'
    >>> [(str(row["at"]), row["status"], row["detail"]) for row in parse_api_probes(line).tables["probes"]]
    [('2026-11-20 19:49:03', '200', 'down')]
    """
    parsed = Parsed()
    for line_number, line in enumerate(capture_lines(text), 1):
        if not line.startswith("{") or '"endpoint"' not in line:
            continue
        try:
            probe = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(probe, dict) and isinstance(probe.get("endpoint"), str) and "at" in probe:
            _add_probe(parsed, line_number, probe)
    return parsed


def _add_probe(parsed: Parsed, line_number: int, probe: dict[str, Any]) -> None:
    at = moment(probe["at"])
    body = probe.get("body")
    if isinstance(body, str):
        with suppress(ValueError, RecursionError):
            body = json.loads(body)
    model = words(probe.get("model"))
    status = probe.get("status")
    row = {
        "at": at[0], "local_at": at[1], "endpoint": words(probe["endpoint"]), "wall_s": number(probe.get("wall_s")),
        "status": (words(status) or None) if isinstance(status, str) else _text(whole(status)),
        "error": words(probe.get("error")) or None, "detail": _detail(body) or model,
    }  # fmt: skip
    parsed.add("probes", line_number, **blank("probes") | row)
    add_body(parsed, line_number, body, probe["endpoint"].partition("?")[0], at, model)


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def endpoint_of_body(body: object) -> str:
    """Which endpoint answers like this; empty when none or several do.

    >>> endpoint_of_body({"version": "0.9.6"}), endpoint_of_body({"models": [{"name": "a", "size_vram": 5}]})
    ('/api/version', '/api/ps')
    >>> endpoint_of_body({"models": []}), endpoint_of_body({"version": 3})
    ('', '')
    """
    if isinstance(body, list):
        slots = [slot for slot in body if isinstance(slot, dict) and {"id", "n_ctx"} <= set(slot)]
        return "/slots" if body and len(slots) == len(body) else ""
    if not isinstance(body, dict):
        return ""
    models = body.get("models")
    if isinstance(models, list) and models and all(isinstance(model, dict) for model in models):
        if any({"size_vram", "expires_at"} & set(model) for model in models):
            return "/api/ps"
        return "/api/tags" if any({"modified_at", "digest"} <= set(model) for model in models) else ""
    if isinstance(body.get("model_info"), dict) or {"modelfile", "details"} <= set(body):
        return "/api/show"
    if set(body) == {"version"} and isinstance(body["version"], str) and re.match(r"\d+\.\d+\.\d+", body["version"]):
        return "/api/version"
    healthy = body.get("status") in _HEALTH if isinstance(body.get("status"), str) else False
    return "/health" if healthy and set(body) <= {"status", "slots_idle", "slots_processing"} else ""


def add_body(parsed: Parsed, line: int, body: object, endpoint: str, at: Moment, model: str | None = None) -> None:
    """Add the rows of one answer: of /api/ps, /api/tags, /api/show or /slots; any other has none."""
    rows = body if isinstance(body, list) else body.get("models") if isinstance(body, dict) else None
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    when = {"at": at[0], "local_at": at[1]}
    if endpoint.endswith("/api/ps"):
        for row in listed:
            parsed.add("resident_models", line, **blank("resident_models") | when | resident(row))
    elif endpoint.endswith("/api/tags"):
        for row in listed:
            name = words(row.get("name")) or words(row.get("model"))
            parsed.add("models", line, **blank("models") | when | _described(row) | {"model": name})
    elif endpoint.endswith("/api/show") and isinstance(body, dict) and "error" not in body:
        parsed.add("models", line, **blank("models") | when | _described(body) | _shown(body, model))
    elif endpoint.endswith("/slots"):
        for row in listed:
            parsed.add("slots", line, **blank("slots") | when | _slot(row))


def resident(model: dict[str, Any]) -> dict[str, Any]:
    """The columns of resident_models from one model of /api/ps; `processor` is what `ollama ps` makes of it.

    >>> resident({"name": "a", "size": 100, "size_vram": 75})["processor"]
    '25%/75% CPU/GPU'
    """
    size, vram = whole(model.get("size")), whole(model.get("size_vram"))
    fraction = vram / size if size and vram is not None and 0 <= vram <= size else None
    expires_at = moment(model.get("expires_at"))[0]
    return {
        "model": words(model.get("name")) or words(model.get("model")),
        "digest": words(model.get("digest")),
        "size_bytes": size,
        "vram_bytes": vram,
        "vram_fraction": fraction,
        "processor": _processor(fraction),
        "context_length": whole(model.get("context_length")),
        # The zero time of Go means that none is set.
        "expires_at": expires_at if expires_at and expires_at.year > 1 else None,
    }


def _processor(fraction: float | None) -> str | None:
    if fraction is None or fraction in (0.0, 1.0):
        return None if fraction is None else "100% GPU" if fraction else "100% CPU"
    on_cpu = int((1 - fraction) * 100 + 0.5)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"


def _described(model: dict[str, Any]) -> dict[str, Any]:
    """What /api/tags and /api/show tell in the same way."""
    details = model.get("details")
    details = details if isinstance(details, dict) else {}
    capabilities = model.get("capabilities")
    known = [name for name in capabilities if isinstance(name, str)] if isinstance(capabilities, list) else []
    return {
        "digest": words(model.get("digest")),
        "size_bytes": whole(model.get("size")),
        "parameter_size": words(details.get("parameter_size")) or None,
        "quantization": words(details.get("quantization_level")) or None,
        "trained_context_length": whole(details.get("context_length")),
        "capabilities": words(",".join(known)) or None,
    }


def _shown(body: dict[str, Any], model: str | None) -> dict[str, Any]:
    info = body.get("model_info")
    info = info if isinstance(info, dict) else {}
    lengths = [key for key in info if key.endswith(".context_length")]
    of_its_kind = f"{info.get('general.architecture')}.context_length"
    key = of_its_kind if of_its_kind in info else lengths[0] if len(lengths) == 1 else ""
    num_ctx = _NUM_CTX.search(words(body.get("parameters")) or "")
    name = _NAME_IN_MODELFILE.search(words(body.get("modelfile")) or "")
    return {
        "model": model or (name[1] if name else None),
        "trained_context_length": whole(info.get(key)),
        "num_ctx": whole(num_ctx[1]) if num_ctx else None,
    }


def _slot(slot: dict[str, Any]) -> dict[str, Any]:
    # Newer servers tell of the next token in a list, older ones in an object, or beside it.
    token = slot.get("next_token")
    token = token[0] if isinstance(token, list) and token else token
    decoded = token.get("n_decoded") if isinstance(token, dict) else slot.get("n_decoded")
    busy = slot.get("is_processing")
    task = whole(slot.get("id_task", slot.get("task_id")))
    return {
        "slot": whole(slot.get("id")),
        "task": task if task is not None and task >= 0 else None,
        "processing": busy if isinstance(busy, bool) else None,
        "context_length": whole(slot.get("n_ctx")),
        "decoded": whole(decoded),
    }


def _detail(body: object) -> str | None:
    """What a small answer says, in one line."""
    if isinstance(body, str):
        return (words(body) or "").strip().partition("\n")[0][:500] or None
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    found = error.get("message") if isinstance(error, dict) else error or body.get("version") or body.get("status")
    return (words(found) or "")[:500] or None


def summary_of(body: object) -> str | None:
    """The version or the health that a body tells; None for any other."""
    return _detail(body) if endpoint_of_body(body) in ("/api/version", "/health") else None
