"""GPUs as the vendors' tools show them, and which GPUs there are at all: a tool without a device is evidence."""

from __future__ import annotations

from .collection import Collector

DEADLINE_S = 8.0


def collect(desk: Collector) -> None:
    """nvidia-smi*.txt, rocm-smi.json, amd-smi.json, gpu-profile.json, gpu-devices.txt (what the kernel has)."""
    if desk.host.system == "Darwin":
        desk.capture("system_profiler", "gpu-profile.json", timeout_s=7)
        return
    if desk.host.system == "Linux":
        _devices(desk)
    table = desk.capture("nvidia-smi", "nvidia-smi.txt", timeout_s=4)
    if table.outcome == "captured":
        desk.capture("nvidia-smi GPUs", "nvidia-smi-gpus.csv", timeout_s=3)
        desk.capture("nvidia-smi processes", "nvidia-smi-processes.csv", timeout_s=3)
        desk.capture("nvidia-smi topology", "nvidia-smi-topology.txt", timeout_s=3)
    if desk.capture("rocm-smi", "rocm-smi.json", timeout_s=4).outcome != "captured":
        desk.capture("amd-smi", "amd-smi.json", timeout_s=4)


def _devices(desk: Collector) -> None:
    """Which GPU the kernel has: device nodes, and the vendor ids of all PCI devices."""
    nodes = [
        path
        for folder, pattern in (("/dev", "nvidia*"), ("/dev", "kfd"), ("/dev", "dxg"), ("/dev/dri", "*"))
        for path in desk.host.files(folder, pattern, max(0.1, min(1.0, desk.left_s)))
    ]
    listing = "\n".join(nodes)

    def with_nodes(text: str) -> str:
        ids = sorted({line.split("\t")[1][:4] for line in text.splitlines() if line.count("\t") > 2})
        return "vendors: " + " ".join(ids) + "\nnodes:\n" + listing

    desk.capture_files("GPU devices", "gpu-devices.txt", ["/proc/bus/pci/devices"], with_nodes)
