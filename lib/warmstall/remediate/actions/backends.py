"""Which GPU backend serves, and which GPUs there are: by the server's log, its runners' libraries, and the kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import CannotTell
from ...parse.log_events import FoundEvent
from ..target import Target
from .server_log import events_since_start

_TIMEOUT_S = 5.0
BACKENDS = ("cuda", "rocm", "vulkan")
# PCI vendor ids; AMD's processors and chipsets carry 1022, its graphics 1002. Intel's 8086 is on chipsets too.
_PCI_VENDORS = {"10de": "NVIDIA", "1002": "AMD"}
_NAMES = {"NVIDIA": ("nvidia", "geforce", "quadro", "tesla", "rtx"), "AMD": ("amd", "radeon", "instinct"),
          "Intel": ("intel", "arc")}  # fmt: skip
_NATIVE = {"NVIDIA": "cuda", "AMD": "rocm"}
_LIBRARY_OF = {"libggml-cuda": "cuda", "libggml-hip": "rocm", "libggml-vulkan": "vulkan"}
# Lines that say why a GPU is not used.
_DROPS = {
    "igpu_dropped": "an integrated GPU was dropped", "rocm_gfx_dropped": "a ROCm device was dropped for its gfx target",
    "rocm_missing": "there are no ROCm libraries for the AMD GPU", "rocm_unsupported": "the AMD GPU is not supported",
    "rocm_denied": "the AMD GPU could not be opened (render group)", "gpu_driver_old": "the driver is too old",
    "gpu_driver_mismatch": "driver and library do not match", "discovery_failed": "the search for GPUs failed",
}  # fmt: skip


@dataclass(frozen=True)
class Gpus:
    """What is seen: backends that serve ("cpu" for none), vendors of GPUs that are there, drops, and from where."""

    backends: frozenset[str]
    vendors: frozenset[str]
    nodes: tuple[str, ...]
    drops: frozenset[str]
    said: str
    kernel_is_read: bool

    @property
    def in_force(self) -> str:
        """The backend that serves; "cpu" where none does, empty where nothing tells."""
        serving = sorted(self.backends - {"cpu"})
        return serving[0] if len(serving) == 1 else "cpu" if self.backends == {"cpu"} else "+".join(serving)

    @property
    def native(self) -> str:
        """The backend of the GPU's own vendor; empty where there is none, or several."""
        found = {_NATIVE[vendor] for vendor in self.vendors if vendor in _NATIVE}
        return found.pop() if len(found) == 1 else ""

    @property
    def drops_text(self) -> str:
        return ", ".join(_DROPS[key] for key in sorted(self.drops))


def gpus_seen(target: Target) -> Gpus:
    """All of it. Raises CannotTell when neither the log nor a runner tells which backend serves."""
    backends: set[str] = set()
    vendors: set[str] = set()
    drops: set[str] = set()
    said = ""
    try:
        events = events_since_start(target, "gpu_inventory", *_DROPS)
    except CannotTell:
        events = []
    for event in events:
        if event.key != "gpu_inventory":
            drops.add(event.key)
            continue
        library = event.fields.get("library", "").lower()
        backends.add(library)
        vendors |= _vendors_of(event, library)
        said = "the line `inference compute` of its log"
    if not backends and (loaded := _loaded(target)):
        backends, said = loaded, "the libraries that its runners have loaded"
    if not backends:
        raise CannotTell(
            "Which backend serves is not seen: neither the server's log since its start (`inference compute`) nor a "
            "runner's /proc/PID/maps tells. Load a model, and run this as root."
        )
    ids, nodes = _of_kernel(target)
    known = {_PCI_VENDORS[one] for one in ids if one in _PCI_VENDORS}
    return Gpus(frozenset(backends), frozenset(vendors | known), nodes, frozenset(drops), said, bool(ids))


def serving(target: Target) -> str:
    """The backend that serves now; empty where nothing tells."""
    try:
        return gpus_seen(target).in_force
    except CannotTell:
        return ""


def ghost(target: Target, gpus: Gpus) -> str:
    """The path of an nvidia-smi on a machine that has no NVIDIA GPU; empty where there is none, or nothing tells.

    In the Linux of Windows the GPU is no PCI device: there the node /dev/dxg stands for it.
    """
    if (
        not gpus.kernel_is_read
        or "NVIDIA" in gpus.vendors
        or any("nvidia" in node or "dxg" in node for node in gpus.nodes)
    ):
        return ""
    for folder in ("/usr/bin", "/usr/local/bin", "/bin", "/opt/bin"):
        if found := target.host.files(folder, "nvidia-smi", _TIMEOUT_S):
            return found[0]
    return ""


def _vendors_of(event: FoundEvent, library: str) -> set[str]:
    """Whose GPU a device line is about: by its backend, or by its name where Vulkan drives it."""
    by_library = {"cuda": "NVIDIA", "rocm": "AMD", "oneapi": "Intel"}
    if library in by_library:
        return {by_library[library]}
    words = set(re.findall(r"[a-z]+", event.fields.get("description", "").lower()))
    return {vendor for vendor, names in _NAMES.items() if library == "vulkan" and words & set(names)}


def _loaded(target: Target) -> set[str]:
    """Backends whose libraries a runner has loaded; "cpu" for one with GGML's libraries and none of them."""
    found: set[str] = set()
    try:
        runners = target.runners()
    except CannotTell:
        return found
    for runner in runners:
        maps = target.host.read(f"/proc/{runner.process.pid}/maps", _TIMEOUT_S).text
        libraries = {library for name, library in _LIBRARY_OF.items() if f"/{name}.so" in maps}
        found |= libraries or ({"cpu"} if "/libggml-cpu" in maps else set())
    return found


def _of_kernel(target: Target) -> tuple[set[str], tuple[str, ...]]:
    """Vendor ids of all PCI devices, and the nodes of GPUs."""
    listed = target.host.read("/proc/bus/pci/devices", _TIMEOUT_S).text
    ids = {line.split("\t")[1][:4].lower() for line in listed.splitlines() if line.count("\t") > 2}
    nodes: list[str] = []
    for folder, pattern in (("/dev", "nvidia*"), ("/dev", "kfd"), ("/dev", "dxg"), ("/dev/dri", "render*")):
        nodes += target.host.files(folder, pattern, _TIMEOUT_S)
    return ids, tuple(nodes)
