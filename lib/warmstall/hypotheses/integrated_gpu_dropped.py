"""Integrated GPU dropped: since 0.30.0 Ollama leaves an integrated GPU unused unless it is told to use it.

Up to 0.24 an integrated GPU that ROCm or Vulkan could drive was used. From 0.30.0 on it is dropped when GPUs are
looked for, with one line at the usual level, unless OLLAMA_IGPU_ENABLE=1 is set (a few are used nevertheless). After
such an upgrade the same machine answers from its processor.

Shown by:
    - the line "dropping integrated GPU" at a start, with nothing but the processor left
    - an earlier start of an older version that found this GPU
Ruled out by:
    - starts of 0.30.0 or later without that line, or starts of older versions only
Mistaken for it:
    - a GPU without ROCm libraries for it, which is dropped with another line
    - a discrete GPU beside it that serves: then nothing is lost
Severity: warning
Runbook: switch-gpu-backend
Mitigation: Set OLLAMA_IGPU_ENABLE=1 for the server and restart it.
Leads to: cpu_fallback
References:
    - https://github.com/ollama/ollama/issues/16690
    - https://github.com/ollama/ollama/issues/18548
"""

from __future__ import annotations

from collections.abc import Iterator

from ..parse.plain_text import printable
from .facts import Facts, places, version_numbers
from .facts.devices import found_devices
from .findings import Finding, proves, refutes, unseen

# The first version that drops integrated GPUs.
_SINCE = (0, 30, 0)
_COLLECT = "the server's log from its start on: which devices it found, and which it dropped"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The line that says it, what was left at that start, and what older versions found."""
    dropped, devices = facts.events("igpu_dropped"), found_devices(facts)
    if dropped.empty:
        versions = [version for version in devices["version"].unique() if version]
        if not versions or len(facts.found.versions()) > len(versions):
            yield unseen(_COLLECT)
        else:
            yield refutes(f"At the starts of {', '.join(versions)} 0 lines say that an integrated GPU was dropped.",
                          *places(devices))  # fmt: skip
        return
    fields = dropped["fields"].iloc[0]
    name = printable(str(fields.get("description") or fields.get("name") or "an integrated GPU"))[:60]
    gpus = devices[devices["library"].ne("cpu")]
    numbers = gpus["version"].map(version_numbers)
    serving, before = gpus[numbers.map(lambda of: of >= _SINCE)], gpus[numbers.map(lambda of: () < of < _SINCE)]
    sentence = f"{len(dropped):,} lines say that {name} was dropped because it is integrated"
    sentence += f"; {before['version'].iloc[-1]} had used {len(before):,} GPUs" if len(before) else ""
    if len(serving):
        yield proves(f"{sentence}; {len(serving):,} other GPUs serve.", *places(dropped), *places(serving, 1),
                     severity="info")  # fmt: skip
    else:
        began = dropped["at"].min()
        yield proves(f"{sentence}; 0 other GPUs are left.", *places(dropped), *places(before, 1),
                     span=(began.to_pydatetime() if began is not None and began == began else None, None))  # fmt: skip
