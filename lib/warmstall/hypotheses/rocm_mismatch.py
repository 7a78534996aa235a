"""ROCm mismatch: an AMD GPU is there, but the ROCm libraries in use do not fit it, or each other.

Ollama brings its own ROCm libraries, built for a list of GPUs (gfx targets). A GPU that is not on the list is
dropped; where libraries of another version get in between, the probe that looks for GPUs crashes; and with an
override (HSA_OVERRIDE_GFX_VERSION) or exchanged libraries a GPU may load a model and fail at its first kernel. The
server then goes on without it, mostly after one line at its usual level.

Shown by:
    - lines that drop an AMD GPU for its gfx target or for missing libraries
    - a search for GPUs that fails with ROCm's libraries in its path
    - "invalid device function" of ROCm
    - an override that is not of the form 10.3.0, or one that is set while no GPU is found
Ruled out by:
    - a ROCm device at every start, without an override and without an error of ROCm
    - a machine without an AMD GPU, by the kernel's list
Mistaken for it:
    - missing rights on /dev/kfd (the render group)
    - an integrated GPU that 0.30.0 and later drop by rule
    - an override that works: the GPU serves, though nobody tested it
Severity: warning
Runbook: switch-gpu-backend
Mitigation: Use one ROCm (Ollama's own, without /opt/rocm in its paths), or Vulkan where the GPU is not on its list.
Leads to: cpu_fallback, runner_crash
References:
    - https://docs.ollama.com/gpu (AMD, overrides)
    - https://github.com/ollama/ollama/issues/12320
    - https://github.com/ollama/ollama/issues/13589
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, counted, places, version_numbers
from .facts.devices import (
    SILENT_REFUSALS_FROM,
    found_devices,
    found_text,
    gpus_of_hosts,
    shows_gpu_devices,
    starts_of,
)
from .findings import Evidence, Finding, Place, Severity, hints, proves, refutes, supports, unseen

_OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
_VERSION = re.compile(r"\d{1,2}\.\d{1,2}\.\d{1,2}")
_START = "the server's log from its start on: what the search for GPUs found, dropped or failed at"
_GPUS = "which GPUs the kernel has, and rocm-smi (warmstall collect CASE); OLLAMA_DEBUG=1 tells why a GPU is left out"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Drops, failed searches, errors of ROCm, and overrides."""
    devices = found_devices(facts)
    findings = [*_drops(facts, devices), *_crashes(facts, devices), *_errors(facts), *_overrides(facts, devices)]
    yield from findings
    if any(item.strength != "weak" for item in findings):
        return
    # What served once and is not found any more may have been refused without a word.
    last = devices[devices["start"].eq(devices.groupby(["host", "source"])["start"].transform("max"))]
    rocm, gpus = last[last["library"].eq("rocm")], devices[devices["library"].ne("cpu")]
    amd = gpus_of_hosts(facts, "AMD")
    if devices.empty:
        yield unseen(_START)
    elif len(rocm):
        yield refutes(f"The last start found {counted(len(rocm), 'ROCm device')}, and 0 lines tell of an error of "
                      "ROCm.",
                      *places(rocm))  # fmt: skip
    elif len(gpus) and not gpus["library"].isin(["vulkan"]).any() and amd.empty:
        kinds = ", ".join(sorted(gpus["library"].unique()))
        yield refutes(f"What was found is of another kind ({kinds}): {found_text(gpus, 'GPU', devices)}.",
                      *places(gpus))  # fmt: skip
    elif shows_gpu_devices(facts) and amd.empty:
        steps = facts.table("collection")
        yield refutes("The kernel has 0 AMD GPUs.", *places(steps[steps["step"].eq("GPU devices")]))
    elif (
        amd.empty
        and (versions := [version_numbers(each) for each in devices["version"].unique() if each])
        and all(version < SILENT_REFUSALS_FROM for version in versions)
    ):
        yield refutes(f"0 AMD GPUs stand in the search of {counted(starts_of(devices), 'start')}, which names "
                      "what it leaves out.", *places(devices))  # fmt: skip
    else:
        if len(amd):
            yield hints(f"An AMD GPU stands in {counted(len(amd), 'line')}, and the server found 0 ROCm devices.",
                        *places(amd))  # fmt: skip
        yield unseen(_GPUS)


def _drops(facts: Facts, devices: pd.DataFrame) -> Iterator[Evidence]:
    dropped = facts.events("rocm_gfx_dropped", "rocm_unsupported", "rocm_missing")
    # Integrated graphics beside the GPU that is used are passed over as a matter of course.
    aside = pd.Series(["iGPU" in str(each.get("msg", "")) for each in dropped["fields"]], dropped.index, dtype=bool)
    served = devices[devices["library"].ne("cpu")]
    for rows, minor in ((dropped[~aside], False), (dropped[aside], True)):
        if len(rows):
            sentence = f"By {counted(len(rows), 'line')}, ROCm leaves an AMD GPU out: {_said(rows)}"
            if minor and len(served):
                yield hints(f"{sentence}; another GPU serves.", *places(rows))
            else:
                # A GPU that was left out matters less while another one serves.
                severity: Severity = "info" if minor or len(served) else "warning"
                yield proves(f"{sentence}.", *places(rows), span=_since(rows), severity=severity)
    denied = facts.events("rocm_denied")
    if len(denied):
        yield hints(f"By {counted(len(denied), 'line')}, an AMD GPU could not be opened: rights, not libraries.",
                    *places(denied))  # fmt: skip


def _crashes(facts: Facts, devices: pd.DataFrame) -> Iterator[Evidence]:
    """The search for GPUs that fails with ROCm's libraries in its path."""
    failed = facts.events("discovery_failed")
    ours = [re.search(r"rocm|hip", f"{each.get('OLLAMA_LIBRARY_PATH', '')} {each.get('error', '')}", re.IGNORECASE)
            is not None for each in failed["fields"]]  # fmt: skip
    rows = failed[pd.Series(ours, failed.index, dtype=bool)]
    if rows.empty:
        return
    seen = len(gpus_of_hosts(facts, "AMD")) + len(devices[devices["library"].eq("rocm")])
    named = rows["text"].fillna("").astype(str).str.contains("ROCR_VISIBLE_DEVICES:", regex=False).any()
    if not seen and not named:
        # The libraries are tried on machines without an AMD GPU too.
        yield hints(f"The search for GPUs failed {counted(len(rows), 'time')} with ROCm's libraries in its path, and 0 "
                    "captures show an AMD GPU.", *places(rows))  # fmt: skip
        return
    error = printable(str(rows["fields"].iloc[0].get("error", "")))[:80]
    rocm, amd = devices[devices["library"].eq("rocm")], gpus_of_hosts(facts, "AMD")
    runtimes = ", ".join(sorted(amd["runtime"].dropna().astype(str).unique()))[:80]
    beside = f"; the AMD GPU stands in {counted(len(amd), 'capture')}" if len(amd) else ""
    beside += f" (the system has {printable(runtimes)})" if runtimes else ""
    yield supports(f"The search for GPUs failed {counted(len(rows), 'time')} with ROCm's libraries in its path "
                   f"({error}), and the starts found {counted(len(rocm), 'ROCm device')}{beside}.",
                   *places(rows), *places(amd, 2),
                   span=_since(rows))  # fmt: skip


def _errors(facts: Facts) -> Iterator[Evidence]:
    rows = facts.events("device_error", "runner_terminated", "predict_conn_err")
    said = rows["text"].fillna("").astype(str)
    rows = rows[
        said.str.contains("invalid device function", regex=False) & ~said.str.contains("CUDA error", regex=False)
    ]
    if len(rows):
        yield proves(f"ROCm says {counted(len(rows), 'time')}: invalid device function. It has no code for this GPU.",
                     *places(rows), span=_since(rows), severity="critical")  # fmt: skip


def _overrides(facts: Facts, devices: pd.DataFrame) -> Iterator[Evidence]:
    """HSA_OVERRIDE_GFX_VERSION: wrongly written, without effect, or in use."""
    value, where = _override(facts)
    if not value:
        return
    shown = printable(value)[:40]
    serving = devices[devices["library"].eq("rocm")]
    if not _VERSION.fullmatch(value):
        yield proves(f"{_OVERRIDE} is {shown!r}, which is not of the form 10.3.0: it cannot work.", *where)
    elif len(serving):
        yield supports(f"{_OVERRIDE} is {shown}: ROCm runs code for another GPU on what was found, "
                       f"{found_text(serving, 'device', devices)}.",
                       *where, *places(serving, 1), severity="info")  # fmt: skip
    elif len(devices):
        yield supports(f"{_OVERRIDE} is {shown}, but 0 ROCm devices were found: it has no effect.", *where,
                       *places(devices, 1))  # fmt: skip
    else:
        yield hints(f"{_OVERRIDE} is {shown}.", *where)


def _override(facts: Facts) -> tuple[str, tuple[Place, ...]]:
    for rows in (facts.printed_settings, facts.table("settings")):
        own = rows[rows["name"].eq(_OVERRIDE) & rows["value"].fillna("").ne("")]
        if len(own):
            return str(own["value"].iloc[-1]), places(own.tail(1))
    return "", ()


def _said(rows: pd.DataFrame) -> str:
    fields = rows["fields"].iloc[0]
    target = fields.get("gfx_target") or fields.get("gpu_type")
    if target:
        return printable(f"{target} is not on its list")[:80]
    return printable(str(fields.get("msg", "")).split(". ")[0])[:80].rstrip(". ")


def _since(rows: pd.DataFrame) -> tuple[pd.Timestamp | None, None]:
    first = rows["at"].min()
    return (None if pd.isna(first) else first.to_pydatetime(), None)
