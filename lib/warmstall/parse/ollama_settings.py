"""The variables that Ollama reads, and what their values come to once it has read them.

From its source: every name that any of the tags v0.0.1 to v0.33.0-rc2 reads, and envconfig/config.go for the values.
"""

from __future__ import annotations

import math
import re

# Read by the server, its runners or its client in at least one version; what only tests and builds read is left out.
READ = frozenset((
    "OLLAMA_AGENT_DISABLE_BASH", "OLLAMA_AGENT_DISABLE_SHELL", "OLLAMA_AGENT_DISABLE_WEBSEARCH", "OLLAMA_API_KEY",
    "OLLAMA_APP_DB_PATH", "OLLAMA_AUTH", "OLLAMA_BACKEND", "OLLAMA_BIN", "OLLAMA_CLOUD_BASE_URL",
    "OLLAMA_CONTEXT_LENGTH", "OLLAMA_CORS", "OLLAMA_DEBUG", "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_DOT_COM_URL",
    "OLLAMA_EDITOR", "OLLAMA_EXPERIMENT", "OLLAMA_FLASH_ATTENTION", "OLLAMA_GO_TEMPLATE", "OLLAMA_GPU_OVERHEAD",
    "OLLAMA_HOST", "OLLAMA_IGPU_ENABLE", "OLLAMA_INTEL_GPU", "OLLAMA_KEEP_ALIVE", "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_LIBRARY_PATH", "OLLAMA_LLAMA_CPP_COMPAT", "OLLAMA_LLM_LIBRARY", "OLLAMA_LOAD_TIMEOUT",
    "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE", "OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_MAX_VRAM", "OLLAMA_MODELS",
    "OLLAMA_MULTIUSER_CACHE", "OLLAMA_NEW_ENGINE", "OLLAMA_NEW_ESTIMATES", "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE",
    "OLLAMA_NO_CLOUD", "OLLAMA_NUM_PARALLEL", "OLLAMA_ORIGINS", "OLLAMA_PORT", "OLLAMA_REGISTRY_MAXSTREAMS",
    "OLLAMA_REMOTES", "OLLAMA_RUNNERS_DIR", "OLLAMA_SCHED_SPREAD", "OLLAMA_TMPDIR", "OLLAMA_UPDATE_URL",
    "OLLAMA_VULKAN",
))  # fmt: skip
_READ_TOO = ("OLLAMA_MLX_", "OLLAMA_LAUNCH_", "OLLAMA_TEST_")
# Names that people set for want of the right one, and what to do instead.
_BY_REQUEST = "is set in the request or the Modelfile"
_NO_TIMEOUT = "the server has no inference timeout, only its clients have"
INSTEAD = {
    "OLLAMA_NUM_CTX": "OLLAMA_CONTEXT_LENGTH is, from v0.5.13",
    "OLLAMA_CTX_SIZE": "OLLAMA_CONTEXT_LENGTH is, from v0.5.13",
    "OLLAMA_NUM_THREADS": f"num_thread {_BY_REQUEST}",
    "OLLAMA_NUM_THREAD": f"num_thread {_BY_REQUEST}",
    "OLLAMA_NUM_GPU": f"num_gpu {_BY_REQUEST}",
    "OLLAMA_GPU_LAYERS": f"num_gpu {_BY_REQUEST}",
    "OLLAMA_NUM_BATCH": f"num_batch {_BY_REQUEST}",
    "OLLAMA_TIMEOUT": _NO_TIMEOUT,
    "OLLAMA_REQUEST_TIMEOUT": _NO_TIMEOUT,
}
DURATIONS = frozenset(("OLLAMA_KEEP_ALIVE", "OLLAMA_LOAD_TIMEOUT"))
BOOLEANS = frozenset((
    "OLLAMA_FLASH_ATTENTION", "OLLAMA_GO_TEMPLATE", "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_NOHISTORY", "OLLAMA_NOPRUNE",
    "OLLAMA_SCHED_SPREAD", "OLLAMA_AUTH", "OLLAMA_VULKAN", "OLLAMA_NO_CLOUD", "OLLAMA_MULTIUSER_CACHE",
    "OLLAMA_NEW_ENGINE", "OLLAMA_INTEL_GPU", "OLLAMA_NEW_ESTIMATES",
))  # fmt: skip
NUMBERS = frozenset((
    "OLLAMA_NUM_PARALLEL", "OLLAMA_MAX_LOADED_MODELS", "OLLAMA_MAX_QUEUE", "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_GPU_OVERHEAD", "OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_MAX_VRAM",
))  # fmt: skip
# What `server config` prints for a variable that nobody set, and what the server then does.
UNSET = {
    ("OLLAMA_FLASH_ATTENTION", "false"): "false is what it prints for unset too; it does not mean off: from v0.12.4 "
    "the server then decides by the model, from v0.30.0 for every model",
    ("OLLAMA_NUM_PARALLEL", "0"): "0 is the unset state: the server chooses, 4 or 1 (v0.2.0–v0.6.6), then 2 or 1 "
    "(–v0.9.6)",
    ("OLLAMA_CONTEXT_LENGTH", "0"): "0 is the unset state: from v0.15.5 the context follows the size of the VRAM",
    ("OLLAMA_MAX_LOADED_MODELS", "0"): "0 is the unset state: three models per GPU, or three on the CPU",
}
_TRUE, _FALSE = (
    frozenset(("1", "t", "T", "TRUE", "true", "True")),
    frozenset(("0", "f", "F", "FALSE", "false", "False")),
)
_DURATION_PART = re.compile(r"(\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(ms|us|µs|μs|ns|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_FOREVER_S = 2.0**63 / 1e9 - 1  # Go's longest duration, 2562047h47m16.854775807s, stands for forever
_LEVELS = {"INFO": 0, "DEBUG": 1, "DEBUG-4": 2, "TRACE": 2}
_GFX = re.compile(r"(?:gfx)?(\d{1,2})(\d)([0-9a-f])")


def is_read(name: str) -> bool:
    """Whether any version of Ollama reads a variable of this name; True also for names that are not Ollama's.

    >>> is_read("OLLAMA_NUM_PARALLEL"), is_read("OLLAMA_NUM_CTX"), is_read("OMP_NUM_THREADS")
    (True, False, True)
    """
    return not name.startswith("OLLAMA_") or name in READ or name.startswith(_READ_TOO)


def same(name: str, intended: str, printed: str) -> bool:
    """Whether the server, told the one, would print or do the other.

    >>> same("OLLAMA_KEEP_ALIVE", "5m", "5m0s"), same("OLLAMA_KEEP_ALIVE", "-1", "2562047h47m16.854775807s")
    (True, True)
    >>> same("OLLAMA_HOST", "0.0.0.0", "http://0.0.0.0:11434"), same("OLLAMA_NUM_PARALLEL", "4", "1")
    (True, False)
    """
    if name in ("OLLAMA_ORIGINS", "OLLAMA_REMOTES"):
        return _list(intended) <= _list(printed)
    return meaning(name, intended) == meaning(name, printed)


def meaning(name: str, value: str) -> object:
    """What a value comes to: seconds of a duration, True or False, a number, an address; else its text.

    >>> meaning("OLLAMA_KEEP_ALIVE", "-1"), meaning("OLLAMA_KEEP_ALIVE", "300"), meaning("OLLAMA_FLASH_ATTENTION", "1")
    (inf, 300.0, True)
    """
    value = value.strip().strip("\"'")
    if name in DURATIONS and value:
        seconds = duration_s(value)
        if seconds is None:
            return 300.0  # both fall back to five minutes
        return math.inf if seconds < 0 or seconds >= _FOREVER_S or (not seconds and "LOAD" in name) else seconds
    if name in BOOLEANS and value:
        return value not in _FALSE
    if name in NUMBERS and re.fullmatch(r"\d{1,20}", value):
        return int(value)
    if name == "OLLAMA_DEBUG":
        return _level(value)
    return _address(value) if name == "OLLAMA_HOST" and value else value


def fault(name: str, value: str) -> str:
    """Why this value cannot work, as part of a sentence; empty when nothing is known against it.

    >>> fault("HSA_OVERRIDE_GFX_VERSION", "gfx1030")
    'a version in dots is expected, such as 10.3.0, not "gfx1030"'
    >>> fault("OLLAMA_KEEP_ALIVE", "1d")
    '"1d" is no duration of Go\\'s (such as 10m or 24h): the default, 5m, holds'
    """
    value = value.strip().strip("\"'")
    shown = f'"{value[:60]}"'
    if not value:
        return ""
    if name.startswith("HSA_OVERRIDE_GFX_VERSION"):
        return "" if re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", value) else _gfx_fault(value, shown)
    if name in DURATIONS and duration_s(value) is None:
        return f"{shown} is no duration of Go's (such as 10m or 24h): the default, 5m, holds"
    if name in NUMBERS and not re.fullmatch(r"\d{1,20}", value):
        return f"{shown} is no whole number: the default holds"
    if name in BOOLEANS and value not in _TRUE | _FALSE:
        return f"{shown} is neither true nor false, and anything else counts as true"
    return ""


def duration_s(text: str) -> float | None:
    """Seconds of a duration as Ollama reads it: Go's notation, or a bare number of seconds.

    >>> duration_s("1h30m"), duration_s("-1"), duration_s("-1ns"), duration_s("5mins") is None
    (5400.0, -1.0, -1e-09, True)
    """
    sign = -1.0 if text.startswith("-") else 1.0
    body = text[1:] if text[:1] in ("-", "+") else text
    if re.fullmatch(r"\d{1,18}", body):
        return sign * float(body)
    total, at = 0.0, 0
    while part := _DURATION_PART.match(body, at):
        total += float(part[1]) * _UNIT_S[part[2]]
        at = part.end()
    return sign * total if body and at == len(body) else None


def _gfx_fault(value: str, shown: str) -> str:
    match = _GFX.fullmatch(value.lower())
    example = f"{match[1]}.{match[2]}.{int(match[3], 16)}" if match else "10.3.0"
    return f"a version in dots is expected, such as {example}, not {shown}"


def _level(value: str) -> object:
    if value in _LEVELS:
        return _LEVELS[value]
    if value in _TRUE:
        return 1
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else 0


def _list(text: str) -> frozenset[str]:
    return frozenset(text.strip().strip("\"'").removeprefix("[").removesuffix("]").replace(",", " ").split())


def _address(value: str) -> str:
    """Scheme, host and port, with the defaults that the server puts in."""
    scheme, split, rest = value.partition("://")
    if not split:
        scheme, rest = "http", value
    port = {"http": "80", "https": "443"}.get(scheme, "11434") if split else "11434"
    host, _, _ = rest.partition("/")
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", host)
    name, port = (match[1], match[2]) if match else (host, port)
    return f"{scheme}://{name.strip('[]') or ('' if match else '127.0.0.1')}:{port}"
