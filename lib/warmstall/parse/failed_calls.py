"""Calls to a server that failed, in the words of whoever made them: Python, Node and Go clients, proxies, frameworks.

A client's log tells what the server's cannot: that nobody listened, that an answer broke off, after what time the
client stopped waiting. What a client quotes of Ollama's own errors is told as well. Wordings were read from the sources
of nginx, Caddy and Traefik, Go's net and net/http, httpx, requests, aiohttp, openai, litellm, ollama-python, undici,
axios and Node, and of Ollama 0.1 to 0.32 (server/sched.go, llm/server.go, api/types.go), and from public captures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .tolerant import number

# Lines are long where a client prints its request with them; how it failed stands near the front.
_REACH = 4000


@dataclass(frozen=True)
class Wording:
    """Words that tell how a call failed; `sample` is a line with them."""

    failure: str
    pattern: str
    sample: str

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


# Node says of every failure that fetch failed; the cause stands below.
UNTOLD = "failed"

# What only Ollama says; an address that it names is that of its runner.
OLLAMAS_OWN = ("runner_ended", "no_memory", "queue_full", "load_timed_out")

# In this order: what Ollama itself said of a failure tells more than how the call ended for it.
WORDINGS: tuple[Wording, ...] = (
    Wording(
        "runner_ended",
        r"llama runner process (?:has terminated|no longer running)|model runner has unexpectedly stopped"
        r"|an error was encountered while running the model"
        r"|(?:POST predict|do embedding request): Post \\?\"[^\"]{1,200}\": (?:EOF|read tcp)",
        "Unexpected error talking to Ollama server: llama runner process has terminated: signal: killed",
    ),
    Wording(
        "no_memory",
        r"model requires more system memory \(",
        "ollama._types.ResponseError: model requires more system memory (9.1 GiB) than is available (6.2 GiB)",
    ),
    Wording(
        "queue_full",
        r"server busy, please try again\. {1,2}maximum pending requests exceeded",
        "ResponseError: server busy, please try again.  maximum pending requests exceeded (status code: 503)",
    ),
    Wording(
        "load_timed_out",
        r"timed out waiting for llama runner to start",
        "ResponseError: timed out waiting for llama runner to start - progress 0.00 -  (status code: 500)",
    ),
    Wording(
        "refused",
        r"[Cc]onnection refused|ECONNREFUSED|ConnectionRefusedError|actively refused it|Connect call failed",
        'Error: Post "http://localhost:11434/api/chat": dial tcp 127.0.0.1:11434: connect: connection refused',
    ),
    Wording(
        "unreachable",
        r"ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|[Nn]o route to host|Name or service not known|no such host"
        r"|Temporary failure in name resolution|Network is unreachable|All connection attempts failed"
        r"|no live upstreams|host not found in upstream|(?:Failed|Unable) to connect to (?:local )?Ollama"
        r"|could not connect to (?:ollama|a running Ollama)",
        "Error: getaddrinfo ENOTFOUND ollama",
    ),
    Wording(
        "timed_out",
        r"upstream timed out|context deadline exceeded|Client\.Timeout exceeded|i/o timeout|504 Gateway Time-?[Oo]ut"
        r"|\b(?:API|Read|Write|Pool|Connect|Headers|Body|Server|Socket)?Timeout(?:Error|Exception)\b"
        r"|\b(?:Read|Write|Pool|Connect)Timeout\b|UND_ERR_(?:HEADERS|BODY|CONNECT)_TIMEOUT|\bE(?:SOCKET)?TIMEDOUT\b"
        r"|Read timed out|Request timed out|Connection timed out|litellm\.Timeout|timeout of [0-9]{1,9}ms exceeded"
        r"|524: A timeout occurred|timeout awaiting response headers|upstream request timeout",
        "upstream timed out (110: Connection timed out) while reading response header from upstream",
    ),
    Wording(
        "cut_off",
        r"ECONNRESET|EPIPE\b|socket hang up|[Cc]onnection (?:was )?(?:reset|aborted)|reset by peer|broken pipe"
        r"|upstream prematurely closed connection|[Ss]erver disconnected|RemoteProtocolError|RemoteDisconnected"
        r"|Remote end closed connection|IncompleteRead|peer closed connection|other side closed|UND_ERR_SOCKET"
        r"|\": (?:unexpected )?EOF\b|502 Bad Gateway|disconnect/reset before headers",
        "httpx.RemoteProtocolError: Server disconnected without sending a response.",
    ),
    Wording(UNTOLD, r"TypeError: fetch failed", "TypeError: fetch failed"),
)
_ANY = re.compile("|".join(f"(?:{row.pattern})" for row in WORDINGS))

_STAMP = r"\[?[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9:]{8}(?:[.,][0-9]{1,9})?[^ ,;|]{0,12} ?"
# Without a record around it only the shape of a line tells that no person wrote it.
_SHAPE = re.compile(
    rf"(?:{_STAMP})?(?:"
    # Before its name stands the end of something, as of a logger's words; in a sentence, a word would.
    r"(?:[^,;|\"{]{0,120}?(?:[\[(]|[:\]>⨯-] {1,3}|\b(?:[Ee]rror|ERROR|Uncaught|promise\)) ))?"
    r"[\w.]{0,120}(?:Error|Exception|Timeout|Disconnected)\]?: "
    r"|[^,;|\"{]{0,120}?\b(?:Post|Get|Put|Head|Delete) \\?\"https?://[^\"]{1,300}\": "
    r"|\s{0,40}code: '(?:UND_ERR_|E[A-Z])[A-Z_]{1,40}'"
    r"|time=\"[^\"]{1,40}\" level=[a-z]{1,10} msg=\"'50[24] "
    r"|[^,;|\"{]{0,120}?HTTPConnectionPool\(host="
    r"|[^,;|\"{]{0,120}?\brequest to https?://\S{1,300} failed, reason: "
    r"|[^,;|\"{]{0,120}?Cannot connect to host \S{1,200} ssl:)"
)
# One of these stands in each of those shapes; most lines have none, and are done with.
_IN_SHAPES = (
    "Error",
    "Exception",
    "Timeout",
    "Disconnected",
    "://",
    "code: '",
    "msg=\"'50",
    "HTTPConn",
    "Cannot connect",
)
# What belongs to the error above it: frames, its cause, the end of an object.
_CONTINUES = re.compile(rf"(?:{_STAMP})?(?:\s{{2,}}\S|\t|[\]}})]+,?\s*$)")

_HOST = r"(?P<host>[\w.:\[\]-]{1,200}?)"
_TARGETS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"upstream: \"https?://{_HOST}:(?P<port>[0-9]{{1,5}})(?P<path>/[^\"\s]{{0,200}})?",
        rf"https?://{_HOST}:(?P<port>[0-9]{{1,5}})(?P<path>/[^\"'\s)]{{0,200}})?",
        rf"host='{_HOST}', port=(?P<port>[0-9]{{1,5}})(?:.{{0,80}}with url: (?P<path>/\S{{0,200}}))?",
        rf"Cannot connect to host {_HOST}:(?P<port>[0-9]{{1,5}}) ",
        rf"Connect call failed \('{_HOST}', (?P<port>[0-9]{{1,5}})",
        rf"(?:dial|read|write) tcp (?:\S{{1,80}}->)?{_HOST}:(?P<port>[0-9]{{1,5}}): ",
        rf"(?:ECONNREFUSED|ETIMEDOUT|ECONNRESET|EHOSTUNREACH) {_HOST}:(?P<port>[0-9]{{1,5}})\b",
    )
)
_WAITED = tuple(
    (re.compile(pattern), unit_s)
    for pattern, unit_s in (
        (r"read timeout=([0-9.]{1,12})", 1.0),
        (r"timed out after ([0-9.]{1,12}) seconds", 1.0),
        (r"Timeout passed=([0-9.]{1,12})", 1.0),
        (r"timeout of ([0-9]{1,9})ms exceeded", 1e-3),
    )
)
# hey counts equal errors.
_SEVERAL = re.compile(r"\s{1,8}\[([0-9]{1,9})\]\s{1,8}[A-Z][a-z]{1,5} \"https?://")


class FailedCall(NamedTuple):
    """How calls failed, to which host and port they went, and after what time their client stopped waiting."""

    failure: str
    target: str = ""
    path: str = ""
    waited_s: float | None = None
    times: int = 1

    @property
    def fields(self) -> dict[str, object]:
        found = {"failure": self.failure, "target": self.target, "called": self.path, "waited_s": self.waited_s}
        return {**found, "times": self.times if self.times > 1 else None}


def failed_call_in(text: str, bare: bool = False) -> FailedCall | None:
    """The failure of a call that this line tells, or None. A `bare` line has no record's head that vouches for it.

    >>> failed_call_in('Post "http://localhost:11434/api/chat": context deadline exceeded', bare=True)
    FailedCall(failure='timed_out', target='localhost:11434', path='/api/chat', waited_s=None, times=1)
    >>> failed_call_in("It said connection refused, so I restarted it", bare=True) is None
    True
    """
    text = text[:_REACH]
    if bare and not any(part in text for part in _IN_SHAPES):
        return None
    if not _ANY.search(text) or (bare and not _SHAPE.match(text)):
        return None
    failure = next(row.failure for row in WORDINGS if row.regex.search(text))
    target = next((found for pattern in _TARGETS if (found := pattern.search(text))), None)
    waited = next((_scaled(found[1], unit_s) for pattern, unit_s in _WAITED if (found := pattern.search(text))), None)
    several = _SEVERAL.match(text)
    times = int(several[1]) if several else 1
    if target is None or failure in OLLAMAS_OWN:
        return FailedCall(failure, waited_s=waited, times=times)
    path = (target.groupdict().get("path") or "").partition("?")[0]
    return FailedCall(failure, f"{target['host']}:{target['port']}", path, waited, times)


def _scaled(digits: str, unit_s: float) -> float | None:
    value = number(digits)
    return None if value is None else value * unit_s


def continues(text: str) -> bool:
    """Whether a line goes on with the error above it, as Node prints errors.

    >>> continues("    at post (/app/node_modules/ollama/dist/shared/x.cjs:81:20) {"), continues("done")
    (True, False)
    """
    return _CONTINUES.match(text) is not None
