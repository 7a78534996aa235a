"""Examples of `gpu_idle_but_held`."""

from __future__ import annotations

from datetime import timedelta

from hypotheses.example import NOON, Example
from hypotheses.examples.warm_stall import HUNG, case

HEAD = "timestamp, index, name, memory.total [MiB], memory.used [MiB], utilization.gpu [%]\n"


def looks(percent: int, used_mib: int, from_s: int = 0, to_s: int = 600) -> str:
    """What nvidia-smi writes every 5 s."""
    shown = f"0, NVIDIA A10G, 23028 MiB, {used_mib} MiB, {percent} %"
    moments = (NOON + timedelta(seconds=at_s) for at_s in range(from_s, to_s, 5))
    return HEAD + "".join(f"{at:%Y/%m/%d %H:%M:%S.000}, {shown}\n" for at in moments)


HANGS = case(*[HUNG] * 6)

EXAMPLES = [
    Example(
        "at 0 % with 18 GiB while six requests hang",
        "supported",
        HANGS | {"nvidia-smi.csv": looks(0, 18432)},
        ("While 6 of 6 requests hung", "18.0 GiB"),
        "critical",
    ),
    Example("at work while requests hang", "ruled_out", HANGS | {"nvidia-smi.csv": looks(97, 18432)}, ("97 %",)),
    Example(
        "held between requests", "ruled_out", case() | {"nvidia-smi.csv": looks(0, 18432)}, ("Of 30 requests 0 hung",)
    ),
    Example("no looks at the GPU", "not_observable", HANGS, ("watch",)),
    Example("looks of another time", "not_observable", HANGS | {"nvidia-smi.csv": looks(0, 18432, 0, 60)}, ("watch",)),
    Example("nothing held", "ruled_out", HANGS | {"nvidia-smi.csv": looks(0, 4)}, ("4.0 MiB was taken",)),
]
