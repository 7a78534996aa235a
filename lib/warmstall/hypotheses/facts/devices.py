"""Compute devices: what each start of the server found or dropped, and which GPUs the host's own captures show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...once import once
from ...parse.plain_text import printable
from .facts import Facts, counted

# Lines that say that a GPU is there and will not be used, and what they say in words.
DROPS = {
    "igpu_dropped": "an integrated GPU was dropped",
    "rocm_gfx_dropped": "a ROCm device was dropped",
    "rocm_unsupported": "an AMD GPU was refused",
    "rocm_missing": "an AMD GPU was left out for want of ROCm libraries",
    "rocm_denied": "an AMD GPU could not be opened",
    "gpu_driver_old": "a GPU was left out for its old driver",
    "gpu_driver_mismatch": "the GPU's driver did not match its library",
    "cuda_arch_skipped": "a CUDA device was skipped",
}
# What CUDA calls the numbers that its driver fails with.
_CUDA_ERRORS = {"2": "out of memory", "3": "not initialized", "46": "devices unavailable", "800": "not permitted",
                "801": "not supported", "802": "system not yet ready", "804": "not compatible",
                "999": "unknown error"}  # fmt: skip
# "no CUDA-capable device is detected": a machine without one says so too.
_NO_DEVICE = r"no [A-Za-z]+-capable device"
# From this version on GPUs are looked for by probes of their own, Vulkan among them, and most refusals are silent.
SILENT_REFUSALS_FROM = (0, 12, 4)


@once
def found_devices(facts: Facts) -> pd.DataFrame:
    """One row a device and start: host, source, line, at, start (counted within a log), version, library, name …

    `library` is in lower case (cuda, rocm, metal, vulkan, oneapi, cpu); name, type, pci_id and compute as the log has
    them, empty where it does not.
    """
    rows = facts.events("server_listening", "gpu_inventory").sort_values(["host", "source", "line"])
    begins = rows["key"].eq("server_listening")
    rows["start"] = begins.groupby([rows["host"], rows["source"]]).cumsum()
    told = pd.Series([fields.get("version") for fields in rows["fields"]], rows.index, dtype=object)
    # A build of one's own says 0.0.0, which tells nothing.
    rows["version"] = told.groupby([rows["host"], rows["source"]]).ffill().fillna("").replace("0.0.0", "")
    rows = rows[~begins].reset_index(drop=True)
    for name in ("library", "type", "pci_id", "compute"):
        rows[name] = pd.Series([str(fields.get(name, "")) for fields in rows["fields"]], rows.index, dtype=str)
    rows["library"] = rows["library"].str.lower()
    named = [str(fields.get("description") or fields.get("name") or "") for fields in rows["fields"]]
    rows["name"] = pd.Series(named, rows.index, dtype=str)
    columns = ["host", "source", "line", "at", "start", "version", "library", "name", "type", "pci_id", "compute"]
    return rows[columns]


@once
def failed_drivers(facts: Facts) -> pd.DataFrame:
    """Events of a GPU whose driver could not be started, or did not tell its memory; `reason` in words."""
    rows = facts.events("gpu_init_failed", "gpu_memory_unread").copy()
    rows["reason"] = pd.Series([_reason(fields) for fields in rows["fields"]], rows.index, dtype=str)
    return rows[~rows["reason"].str.contains(_NO_DEVICE)]


def _reason(fields: Mapping[str, Any]) -> str:
    library, told = str(fields.get("library", "")), str(fields.get("error", ""))
    library = library if library in ("CUDA", "ROCm", "MUSA") else "CUDA"
    code = fields.get("code") or (told.rsplit(" ", 1)[-1] if told[-1:].isdigit() else "")
    named = f"error {code}" + (f", {_CUDA_ERRORS[code]}" if code in _CUDA_ERRORS else "") if code else ""
    return printable(f"{library}: {fields.get('reason') or named or told or 'no reason given'}")[:80]


def starts_of(devices: pd.DataFrame) -> int:
    """At how many starts of the server these devices were found."""
    return len(devices[["host", "source", "start"]].drop_duplicates())


def found_text(devices: pd.DataFrame, kind: str, every: pd.DataFrame) -> str:
    """How many devices these are, each start finding them anew: 2 CUDA devices at 11 of 13 starts."""
    each = devices.groupby(["host", "source", "start"]).size()
    most, starts = int(each.max()) if len(each) else 0, starts_of(every)
    up_to = "up to " if len(each) and most > each.min() else ""
    return f"{up_to}{counted(most, kind)} at {len(each):,} of {counted(starts, 'start')}"


def gpus_of_hosts(facts: Facts, vendor: str = "") -> pd.DataFrame:
    """Rows of `gpus` that show a GPU (of one vendor, where it is named), not the nodes of one that is not there."""
    rows = facts.table("gpus")
    rows = rows[rows["vendor"].fillna("").ne("")]
    return rows[rows["vendor"].eq(vendor)] if vendor else rows


def shows_gpu_devices(facts: Facts) -> bool:
    """Whether the kernel's list of GPUs was captured: only then is a vendor that is not in it not there."""
    rows = facts.table("collection")
    return bool((rows["step"].eq("GPU devices") & rows["outcome"].eq("captured")).any())
