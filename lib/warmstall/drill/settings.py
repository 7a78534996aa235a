"""What the environment tells a server, read as Ollama reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import InputError
from .eras import Era
from .go_text import go_duration
from .gpu import LARGE_NUM_CTX, LARGE_VRAM_GIB, SimulatedGpu
from .wording import Wording

_ENDLESS_S = 9_223_372_036.854775807
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Settings:
    """A server's settings; `environment` keeps what was set, for the line that lists it."""

    host: str
    port: int
    keep_alive_s: float
    load_timeout_s: float
    num_parallel: int
    max_loaded_models: int
    max_queue: int
    num_ctx: int
    debug: bool
    models_folder: str
    gpu: SimulatedGpu | None
    environment: Mapping[str, str]

    @classmethod
    def read(cls, environment: Mapping[str, str], era: Era, gpu: SimulatedGpu | None = None) -> Settings:
        """Raises InputError when the server would listen anywhere but on loopback."""
        given = environment.get("OLLAMA_HOST", "").strip()
        host, port = _host_and_port(given)
        if host not in ("127.0.0.1", "localhost"):
            raise InputError(
                f"a drill listens on 127.0.0.1 only; OLLAMA_HOST is {given!r}. Give OLLAMA_HOST=127.0.0.1:PORT."
            )
        return cls(
            host="127.0.0.1",
            port=port,
            keep_alive_s=duration_s(environment.get("OLLAMA_KEEP_ALIVE", "5m")),
            load_timeout_s=duration_s(environment.get("OLLAMA_LOAD_TIMEOUT", "5m")),
            num_parallel=int(environment.get("OLLAMA_NUM_PARALLEL", "0")) or era.auto_parallel,
            max_loaded_models=int(environment.get("OLLAMA_MAX_LOADED_MODELS", "0")) or 3,
            max_queue=int(environment.get("OLLAMA_MAX_QUEUE", "512")),
            num_ctx=int(environment.get("OLLAMA_CONTEXT_LENGTH", "0")) or _default_num_ctx(era, gpu),
            debug=environment.get("OLLAMA_DEBUG", "").lower() not in ("", "0", "false"),
            models_folder=environment.get("OLLAMA_MODELS", "/usr/share/ollama/.ollama/models"),
            gpu=gpu,
            environment=dict(environment),
        )


def _host_and_port(given: str) -> tuple[str, int]:
    """Host and port of OLLAMA_HOST, with Ollama's where it names none; a port alone means every interface."""
    parts = urlsplit(given if "//" in given else f"//{given}")
    try:
        return parts.hostname or ("" if given else "127.0.0.1"), parts.port or 11434
    except ValueError:
        raise InputError(f"OLLAMA_HOST is {given!r}; expected a host and a port such as 127.0.0.1:11434.") from None


def _default_num_ctx(era: Era, gpu: SimulatedGpu | None) -> int:
    """From v0.15.5 on a large card raises the default context."""
    raised = era.raises_context_with_vram and gpu is not None and gpu.total_gib >= LARGE_VRAM_GIB
    return LARGE_NUM_CTX if raised else era.default_num_ctx


def duration_s(value: str | float) -> float:
    """Seconds of a Go duration or of a bare number; negative means for ever.

    >>> [duration_s(text) for text in ("5m", "1m30s", "0", 3, "250ms")]
    [300.0, 90.0, 0.0, 3.0, 0.25]
    """
    text = str(value).strip()
    try:
        seconds = float(text)
    except ValueError:
        parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
        if "".join(number + unit for number, unit in parts) != text.lstrip("-+"):
            raise InputError(f"{text!r} is no duration; expected one such as 30s, 5m or 1h30m") from None
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts) * (-1 if text[0] == "-" else 1)
    return _ENDLESS_S if seconds < 0 else seconds


def environment_text(settings: Settings, era: Era) -> str:
    """The inside of `env="map[…]"` of the server's configuration line: sorted, with defaults filled in."""
    given = settings.environment
    listed = (line.partition(":") for line in Wording("environment").section(era.version))
    told = {key: given.get(key, default) for key, _, default in listed}
    told["OLLAMA_HOST"] = f"http://{settings.host}:{settings.port}"
    told["OLLAMA_MODELS"] = settings.models_folder
    for key, seconds in (
        ("OLLAMA_KEEP_ALIVE", settings.keep_alive_s),
        ("OLLAMA_LOAD_TIMEOUT", settings.load_timeout_s),
    ):
        told[key] = "2562047h47m16.854775807s" if seconds >= _ENDLESS_S else go_duration(seconds)
    told["OLLAMA_DEBUG"] = {True: {"0.3.14": "true"}.get(era.version, "DEBUG"),
                            False: {"0.3.14": "false"}.get(era.version, "INFO")}[settings.debug]  # fmt: skip
    return " ".join(f"{key}:{told[key]}" for key in sorted(told))


def subprocess_environment(era: Era, settings: Settings) -> str:
    """What a debugging server tells of the environment that it gives a runner."""
    folder = "/usr/local/lib/ollama"
    if era.version == "0.3.14":
        return f"PATH=/usr/bin:/bin LD_LIBRARY_PATH={folder}:{folder}/runners/cpu_avx2"
    if era.version == "0.32.15":
        return f"PATH=/usr/bin:/bin LD_LIBRARY_PATH={folder}"
    told = {"OLLAMA_HOST": f"{settings.host}:{settings.port}", "OLLAMA_MODELS": settings.models_folder}
    told |= {key: value for key, value in settings.environment.items() if key.startswith("OLLAMA_") and key not in told}
    given = " ".join(f"{key}={value}" for key, value in told.items())
    return f"PATH=/usr/bin:/bin {given} LD_LIBRARY_PATH={folder} OLLAMA_LIBRARY_PATH={folder}"
