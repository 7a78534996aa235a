"""Integrated GPU dropped: since 0.30.0 Ollama leaves an integrated GPU unused unless it is told to use it.

Up to 0.24 an integrated GPU that ROCm or Vulkan could drive was used. From 0.30.0 on it is dropped when GPUs are
looked for, with one line at the usual level, unless OLLAMA_IGPU_ENABLE=1 is set (a few are used nevertheless). After
such an upgrade the same machine answers from its processor.

Shown by:
    - the line "dropping integrated GPU" at a start, with nothing but the processor left
    - an earlier start of an older version that found this GPU
Ruled out by:
    - starts of 0.30.0 or later without that line, or starts of older versions only
    - a line that drops one backend's view of a GPU that another backend drives
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

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, counted, places, version_numbers
from .facts.devices import found_devices, found_text
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
    served = _served_otherwise(facts, dropped, devices)
    if served.all():
        names = ", ".join(sorted({printable(_name(fields))[:60] for fields in dropped["fields"]}))
        yield refutes(f"By {counted(len(dropped), 'line')}, one backend's view of {names} was dropped as integrated; "
                      "another backend serves it.", *places(dropped),
                      *places(devices[devices["library"].ne("cpu")], 1))  # fmt: skip
        return
    dropped = dropped[~served]
    fields = dropped["fields"].iloc[0]
    name = printable(_name(fields) or "an integrated GPU")[:60]
    gpus = devices[devices["library"].ne("cpu")]
    numbers = gpus["version"].map(version_numbers)
    serving, before = gpus[numbers.map(lambda of: of >= _SINCE)], gpus[numbers.map(lambda of: () < of < _SINCE)]
    sentence = f"By {counted(len(dropped), 'line')}, {name} was dropped because it is integrated"
    if len(before):
        sentence += f"; {before['version'].iloc[-1]} had found {found_text(before, 'GPU', devices)}"
    if len(serving):
        yield proves(f"{sentence}; what serves is {found_text(serving, 'other GPU', devices)}.",
                     *places(dropped), *places(serving, 1),
                     severity="info")  # fmt: skip
    else:
        began = dropped["at"].min()
        yield proves(f"{sentence}; 0 other GPUs are left.", *places(dropped), *places(before, 1),
                     span=(began.to_pydatetime() if began is not None and began == began else None, None))  # fmt: skip


def _name(fields: dict[str, object]) -> str:
    return str(fields.get("description") or fields.get("name") or "")


def _served_otherwise(facts: Facts, dropped: pd.DataFrame, devices: pd.DataFrame) -> pd.Series:
    """Which dropped devices are GPUs that another backend found at the same start: by their address, or their name."""
    begun = facts.events("server_listening")
    kept = []
    for row in dropped.to_dict("records"):
        own = begun[begun["host"].eq(row["host"]) & begun["source"].eq(row["source"]) & begun["line"].lt(row["line"])]
        same = devices["host"].eq(row["host"]) & devices["source"].eq(row["source"]) & devices["start"].eq(len(own))
        library, address = str(row["fields"].get("library", "")).lower(), str(row["fields"].get("pci_id") or "")
        other = devices[same & ~devices["library"].isin(["cpu", library])]
        if address and other["pci_id"].ne("").all():
            kept.append(bool(other["pci_id"].eq(address).any()))
        else:
            kept.append(bool(other["name"].eq(_name(row["fields"]) or None).any()))
    return pd.Series(kept, dropped.index, dtype=bool)
