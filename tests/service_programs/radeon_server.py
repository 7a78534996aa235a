"""The drill's server on a machine with an AMD GPU, as its variables say: `python radeon_server.py FILE ARGUMENTS…`.

ROCm drives the GPU unless it is hidden or FILE says "rocm-broken"; else Vulkan where OLLAMA_VULKAN=1; else nothing
does. The timetable among the arguments acts while the backend that FILE names ("slow-vulkan", "slow-rocm") serves.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from warmstall.drill.serve import main

if __name__ == "__main__":
    state, arguments = Path(sys.argv[1]).read_text().split(), sys.argv[2:]
    hidden = "-1" in (os.environ.get("ROCR_VISIBLE_DEVICES"), os.environ.get("HIP_VISIBLE_DEVICES"))
    backend = ""
    if not hidden and "rocm-broken" not in state:
        backend = "rocm"
    elif os.environ.get("OLLAMA_VULKAN") == "1":
        backend = "vulkan"
    if f"slow-{backend}" not in state:
        at = arguments.index("--timetable")
        del arguments[at : at + 2]
    sys.exit(main([*arguments, *(["--gpu", f"{backend}:AMD Radeon RX 7900 XTX:24"] if backend else [])]))
