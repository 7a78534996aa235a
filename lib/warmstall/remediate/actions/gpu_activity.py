"""Whether a host's GPUs compute: a process that only waits may wait for them.

CUDA and ROCm keep a core busy while they wait, Metal does not: a long prompt that is read on an Apple GPU looks, by
processor time, like a runner that hangs.
"""

from __future__ import annotations

import re

from ...host import Command
from ..target import Target
from .model_memory import gpus_of

_TIMEOUT_S = 5.0
IOREG = Command("GPU activity of macOS", ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"))


def gpu_utilization_percent(target: Target) -> float | None:
    """How busy the busiest GPU is now, 0 to 100, as its vendor's tool tells; None where none tells.

    >>> from warmstall.remediate.target import open_target
    >>> gpu_utilization_percent(open_target("recorded:healthy")) is None
    True
    """
    if target.host.system == "Darwin":
        text = target.host.run(IOREG, _TIMEOUT_S).text
        told = [float(percent) for percent in re.findall(r'"Device Utilization %"\s*=\s*(\d{1,3})\b', text)]
    else:
        shares = (row.get("utilization_percent") for row in gpus_of(target))
        told = [float(share) for share in shares if share is not None]
    return max(told, default=None)
