"""Settings that are known to be bad for a long run, by version, system and model; each row with its source.

What is not in this table is not known to be bad, which is no praise. Ranges are versions of Ollama, the last one not
included; () is open. Rows about values that no version understands are not here: `parse.ollama_settings` knows those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .parse.ollama_settings import INSTEAD, fault, is_read, meaning

Version = tuple[int, ...]
_UNSET = object()


@dataclass(frozen=True)
class KnownBad:
    """One setting that is bad: `values` are what it comes to (`meaning`), `unset` whether its absence is meant."""

    name: str
    values: tuple[object, ...]
    since: Version
    before: Version
    state: Literal["mind", "no go"]
    why: str
    source: str
    system: str = ""  # Linux or Darwin; empty for all
    model: str = ""  # how the model's name begins; empty for all
    runbook: str = ""


TABLE = (
    KnownBad("OLLAMA_FLASH_ATTENTION", (True,), (0, 20, 0), (0, 20, 4), "no go",
             "on Apple's GPUs its steps for gemma4 run on the processor before 0.20.4, and long prompts never end",
             "https://github.com/ollama/ollama/issues/15368", "Darwin", "gemma4", "flash-attention-off"),
    KnownBad("OLLAMA_FLASH_ATTENTION", (True, _UNSET), (0, 12, 6), (0, 20, 4), "mind",
             "it is on for gemma3 from 0.12.6, and on Apple's GPUs part of it may run on the processor",
             "warmstall explain flash_attention_cpu_spill", "Darwin", "gemma3", "flash-attention-off"),
    KnownBad("OLLAMA_KEEP_ALIVE", (0.0,), (0, 1, 29), (), "no go",
             "with 0 every request loads the model anew, unless it says otherwise itself",
             "Ollama's FAQ: how do I keep a model loaded in memory"),
    KnownBad("OLLAMA_LOAD_TIMEOUT", (_UNSET,), (0, 30, 0), (0, 30, 1), "mind",
             "in 0.30.0 the five minutes count from the beginning of a load, not from its last progress",
             "the sources of v0.30.0 and v0.30.1"),
    KnownBad("OLLAMA_DEBUG_LOG_REQUESTS", (True,), (0, 18, 3), (), "mind",
             "every request of the run is written to the disk, prompts included",
             "server/inference_request_log.go of v0.18.3"),
)  # fmt: skip


def version_of(text: str) -> Version:
    """The numbers of a version; () when it has none, as a build of one's own.

    >>> version_of("0.13.5-rc1"), version_of("dev")
    ((0, 13, 5), ())
    """
    found = re.match(r"v?(\d{1,6}(?:\.\d{1,6}){1,3})", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def known_bad(environment: Mapping[str, str], version: str, system: str, model: str) -> Iterator[KnownBad]:
    """The rows of the table that hold for a server; none with a range when its version is not known.

    >>> [row.name for row in known_bad({"OLLAMA_KEEP_ALIVE": "0"}, "0.13.5", "Linux", "llama3:8b")]
    ['OLLAMA_KEEP_ALIVE']
    """
    numbers = version_of(version)
    for row in TABLE:
        value = environment.get(row.name, "").strip()
        is_now = meaning(row.name, value) if value else _UNSET
        in_range = bool(numbers) and row.since <= numbers and (not row.before or numbers < row.before)
        if (
            in_range
            and row.system in ("", system)
            and model.rpartition("/")[2].startswith(row.model)
            and any(is_now is bad or (is_now == bad and type(is_now) is type(bad)) for bad in row.values)
        ):
            yield row
    flash = environment.get("OLLAMA_FLASH_ATTENTION", "").strip()
    cache = environment.get("OLLAMA_KV_CACHE_TYPE", "").strip()
    if cache not in ("", "f16") and flash and not meaning("OLLAMA_FLASH_ATTENTION", flash):
        yield KnownBad("OLLAMA_KV_CACHE_TYPE", (), (0, 5, 0), (), "mind",
                       "a cache of another type than f16 needs flash attention, which is off",
                       "Ollama's FAQ: how can I set the quantization type for the K/V cache")  # fmt: skip


def without_effect(environment: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each variable that no version reads, or whose value no version understands.

    >>> list(without_effect({"OLLAMA_NUM_CTX": "8192"}))
    ['OLLAMA_NUM_CTX is read by no version of Ollama; OLLAMA_CONTEXT_LENGTH is, from v0.5.13.']
    """
    for name, value in sorted(environment.items()):
        if not is_read(name):
            yield f"{name} is read by no version of Ollama" + (f"; {INSTEAD[name]}." if name in INSTEAD else ".")
        elif value and (problem := fault(name, value)):
            yield f"{name}: {problem}."
