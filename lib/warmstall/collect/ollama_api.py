"""What the server itself answers: version, models in memory and on disk, and the runners' own slots."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from ..host import Output
from ..ollama import probe
from .collection import Collector

DEADLINE_S = 9.0
_MOST_MODELS = 12


def collect(desk: Collector) -> None:
    """api.jsonl: one answer a line, or why there was none; goroutines.txt where it is asked for."""
    rows: list[dict[str, Any]] = []
    try:
        with desk.host.reach(desk.collection.port()) as base_url:
            for endpoint in ("/api/version", "/api/ps", "/api/tags"):
                rows.append(probe(base_url, endpoint, max(0.1, min(2.0, desk.left_s))))
            for model in _models(rows):
                if desk.left_s > 2:
                    shown = probe(base_url, "/api/show", min(2.0, desk.left_s), "POST", {"model": model})
                    rows.append({**shown, "model": model})
            if desk.wanted.goroutines:
                dump = probe(base_url, "/debug/pprof/goroutine?debug=2", max(0.1, min(4.0, desk.left_s)))
                data = str(dump["body"] or "").encode() if dump["status"] == "200" else b""
                reason = dump["error"] or ("" if data else f"the server answered with status {dump['status']}")
                outcome = Output("captured" if data else "failed", data, reason)
                desk.keep("goroutines", "goroutines.txt", outcome)
        for port in desk.collection.ports_of_runners():
            with desk.host.reach(port) as base_url:
                for endpoint in ("/health", "/slots"):
                    answer = probe(base_url, endpoint, max(0.1, min(1.5, desk.left_s)))
                    rows.append({**answer, "endpoint": f":{port}{endpoint}"})
    except (ConnectionError, OSError) as error:
        desk.note("Ollama's API", "", "failed", str(error))
    for row in rows:  # on the clock of the host that is looked at
        row["at"] = (datetime.fromisoformat(row["at"]) + timedelta(seconds=desk.host.ahead_s)).isoformat()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    wall_s = sum(row["wall_s"] for row in rows)
    # An endpoint that does not answer is evidence too: it is kept with its reason.
    desk.keep("Ollama's API", "api.jsonl", Output("captured", text.encode(), wall_s=wall_s))
    for row in rows:
        if row["error"]:
            desk.note(f"Ollama's API: {row['endpoint']}", "", "failed", str(row["error"]))


def _models(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the models in memory first, then of those on disk."""
    names = []
    for endpoint in ("/api/ps", "/api/tags"):
        bodies = [row["body"] for row in rows if row["endpoint"] == endpoint and isinstance(row["body"], dict)]
        names += [model.get("name") for body in bodies for model in body.get("models") or () if isinstance(model, dict)]
    return [name for name in dict.fromkeys(names) if isinstance(name, str) and name][:_MOST_MODELS]
