"""A thin client for the endpoints that are read: always a deadline, and an answer whatever happens."""

from __future__ import annotations

import json
import ssl
import threading
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

MOST_BYTES = 8 * 1024 * 1024


def probe(
    base_url: str, endpoint: str, timeout_s: float = 2.0, method: str = "GET", body: object = None
) -> dict[str, Any]:
    """Ask one endpoint; never raises.

    Returns at (UTC, ISO), endpoint, status (text, empty when no answer came), wall_s, body (JSON or text) and
    error. The deadline is for the whole answer: a server that trickles is late too.

    >>> probe("http://127.0.0.1:9", "/api/version")["status"]
    ''
    """
    row: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "endpoint": endpoint, "status": "",
        "wall_s": 0.0, "body": None, "error": None,
    }  # fmt: skip
    began = time.monotonic()
    answer: dict[str, Any] = {}
    # A thread, because a server that sends a byte now and then never lets a socket's own deadline come.
    thread = threading.Thread(target=_ask, args=(answer, base_url, endpoint, timeout_s, method, body), daemon=True)
    thread.start()
    thread.join(timeout_s + 0.5)
    row |= dict(answer) or {"error": f"no answer within {timeout_s:g} s"}
    row["wall_s"] = round(time.monotonic() - began, 6)
    return row


def _ask(answer: dict[str, Any], base_url: str, endpoint: str, timeout_s: float, method: str, body: object) -> None:
    """Fill in status, body and error, all at once."""
    import httpx

    began = time.monotonic()
    status, error, received = "", None, bytearray()
    try:
        # Proxies of the environment are not asked for a service on the machine itself.
        with (
            httpx.Client(base_url=base_url, timeout=timeout_s, trust_env=False, verify=trusted(base_url)) as client,
            client.stream(method, endpoint, json=body) as response,
        ):
            status = str(response.status_code)
            for piece in response.iter_bytes():
                received += piece
                if time.monotonic() - began > timeout_s:
                    raise httpx.ReadTimeout("the answer did not end in time")
                if len(received) > MOST_BYTES:
                    error = f"cut after {MOST_BYTES} bytes"
                    break
    except httpx.TimeoutException as late:
        error = f"no answer within {timeout_s:g} s ({type(late).__name__})"
    except Exception as other:
        error = f"{type(other).__name__}: {other}"
    text = received.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = text or None
    answer.update({"status": status, "body": parsed, "error": error})


def trusted(url: str) -> ssl.SSLContext | bool:
    """Whom to trust under that address, for httpx; nobody need be where nothing is encrypted."""
    import httpx

    return False if httpx.URL(url).scheme == "http" else _certificates()


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than most answers, and would count as their time."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)
