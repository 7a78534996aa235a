"""Ghost nvidia-smi: the tool is installed on a machine that has no NVIDIA GPU, and misleads whoever asks it.

nvidia-smi comes with packages that other software pulls in. On a machine with an AMD GPU, or none, it makes
installers take the machine for an NVIDIA one: Ollama's own install script then stops before it fetches the ROCm
libraries. It also makes people look at the wrong tool while the real GPU stands still.

Shown by:
    - nvidia-smi is there (it ran, or failed) while the kernel has no NVIDIA device
Ruled out by:
    - nvidia-smi that is not installed, or an NVIDIA GPU in the kernel's list or the tool's own
Mistaken for it:
    - a driver that does not fit its library: the GPU is there, and the tool fails too
    - the Linux of Windows, where the GPU is no PCI device
Severity: warning
Runbook: none
Mitigation: Remove nvidia-smi (nvidia-utils) from the machine and run Ollama's installer again.
Leads to: vulkan_backend, rocm_mismatch
References:
    - https://github.com/ollama/ollama/issues/8716
    - https://github.com/ollama/ollama/issues/15184
    - https://github.com/ollama/ollama/issues/10883
"""

from __future__ import annotations

from collections.abc import Iterator

from ..observed.facts import ghost_gpu_tools
from .facts import Facts, counted, places
from .facts.devices import found_devices, found_text, gpus_of_hosts
from .findings import Finding, Severity, proves, refutes, unseen

# Outcomes of the step that say that the program is not there.
_ABSENT = ("missing", "refused")
_COLLECT = "which GPUs the kernel has, and what nvidia-smi says: warmstall collect CASE"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the collection tells of the tool, beside what the kernel has."""
    steps, devices = facts.table("collection"), found_devices(facts)
    asked = steps[steps["step"].eq("nvidia-smi")]
    looked = steps[steps["step"].eq("GPU devices") & steps["outcome"].eq("captured")]
    ghosts = ghost_gpu_tools(facts.case)
    for host in ghosts:
        seen = gpus_of_hosts(facts)
        others = seen[seen["host"].eq(host) & seen["vendor"].ne("NVIDIA")]["vendor"].unique()
        served = devices[devices["host"].eq(host) & devices["library"].eq("rocm")]
        vulkan = devices[devices["host"].eq(host) & devices["library"].eq("vulkan")]
        has = f", and a GPU of {counted(len(others), 'other vendor')} ({', '.join(others)})" if len(others) else ""
        # With the GPU's own backend in use, nobody was misled.
        severity: Severity = "info" if len(served) and vulkan.empty else "warning"
        yield proves(f"nvidia-smi is installed, but the kernel has 0 NVIDIA devices{has}.",
                     *places(asked[asked["host"].eq(host)], 1), *places(looked[looked["host"].eq(host)], 1),
                     severity=severity)  # fmt: skip
    if ghosts:
        return
    nvidia, cuda = gpus_of_hosts(facts, "NVIDIA"), devices[devices["library"].eq("cuda")]
    metal = devices[devices["library"].eq("metal")]
    if len(metal):
        yield refutes(f"The server found {found_text(metal, 'Metal device', devices)}: on a Mac nothing asks "
                      "nvidia-smi.", *places(metal))  # fmt: skip
    elif len(cuda):
        yield refutes(f"The server found {found_text(cuda, 'CUDA device', devices)}.", *places(cuda))
    elif len(nvidia):
        yield refutes(f"An NVIDIA GPU stands in {counted(len(nvidia), 'line')}.", *places(nvidia))
    elif len(asked) and asked["outcome"].isin(_ABSENT).all():
        yield refutes(
            f"nvidia-smi is not there: {counted(len(asked), 'try', 'tries')}, {asked['outcome'].iloc[0]}.",
            *places(asked),
        )
    else:
        yield unseen(_COLLECT)
