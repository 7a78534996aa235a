"""The drill's server, slow as if attention fell back to the processor: `python spilling_server.py FILE ARGUMENTS…`.

FILE says when the timetable among the arguments acts: while flash attention is "on" (the fault), or "off".
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from warmstall.drill.serve import main

if __name__ == "__main__":
    slow_when, arguments = Path(sys.argv[1]).read_text().strip(), sys.argv[2:]
    state = "off" if os.environ.get("OLLAMA_FLASH_ATTENTION") == "0" else "on"
    if state != slow_when:
        at = arguments.index("--timetable")
        del arguments[at : at + 2]
    sys.exit(main(arguments))
