"""Examples of `multi_gpu_split`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

TOPOLOGY = "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \t{0}\t0-23\nGPU1\t{0}\t X \t24-47\n"
HEAD = "started_at,ended_at,model,endpoint,status,wall_s,load_duration_s\n"


def log(*splits: bool, gpus: int = 2) -> str:
    """One load a turn, on one GPU or on two, every ten minutes."""
    found = ServerLog().start(version="0.9.6")
    for gpu in range(1, gpus):
        found.add(NOON, slog(NOON, "INFO", "types.go:130", "inference compute", id=f"GPU-{gpu}", library="cuda",
                             total="24.0 GiB"))  # fmt: skip
    for turn, split in enumerate(splits):
        at = NOON + timedelta(seconds=600 * turn + 6)
        found.load(600 * turn + 5, 2.0, port=40001 + turn)
        parts = [f"load_tensors:        CUDA{n} model buffer size = 9000.00 MiB" for n in range(1 + split)]
        found.add(at, "load_tensors: offloaded 65/65 layers to GPU", *parts)
    return found.text()


def trials(split_s: float, whole_s: float) -> str:
    """Four calls in each of two turns, the first of them split."""
    lines = []
    for number in range(8):
        at = NOON + timedelta(seconds=600 * (number // 4) + 20 + 120 * (number % 4))
        took_s = split_s if number < 4 else whole_s
        ended = at + timedelta(seconds=took_s)
        lines.append(f"{at.isoformat()},{ended.isoformat()},sha256:abababababab,/api/chat,200,{took_s},0.02\n")
    return HEAD + "".join(lines)


EXAMPLES = [
    Example(
        "four times slower over PCIe",
        "confirmed",
        {"server.log": log(True, False), "trials.csv": trials(100, 25), "topo.txt": TOPOLOGY.format("SYS")},
        ("4.0 times as long", "1 of 1 link between GPUs is PCIe"),
        "warning",
    ),
    Example(
        "split, and nothing to compare it with",
        "supported",
        {"server.log": log(True, True)},
        ("2 of 2 loads", "nvidia-smi topo -m"),
        "info",
    ),
    Example(
        "split, and no slower",
        "supported",
        {"server.log": log(True, False), "trials.csv": trials(25, 24)},
        ("1.0 times as long",),
        "info",
    ),
    Example("each load on one GPU", "ruled_out", {"server.log": log(False, False)}, ("each put its weights on 1 GPU",)),
    Example("NVLink", "ruled_out", {"server.log": log(False), "topo.txt": TOPOLOGY.format("NV12")}, ("NVLink",)),
    Example("one GPU", "ruled_out", {"server.log": log(False, gpus=1)}),
    Example("NVLink alone", "not_observable", {"topo.txt": TOPOLOGY.format("NV12")}, ("go 1 of 1 link", "of the load")),
    Example("links alone", "not_observable", {"topo.txt": TOPOLOGY.format("PHB")}, ("the server's log of the load",)),
]
