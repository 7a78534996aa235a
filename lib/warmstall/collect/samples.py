"""One look at a host, as rows of the case's tables: what `watch` writes again and again."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from ..host import Host
from ..ollama import probe
from ..parse.api_probes import parse_api_probes
from ..parse.linux_memory import parse_linux_memory
from ..parse.macos_memory import parse_macos_memory
from ..parse.nvidia_smi import parse_nvidia_smi
from ..parse.process_roles import role_of
from ..parse.process_table import parse_process_table
from ..parse.vm_stat import parse_vm_stat
from .commands import COMMANDS
from .memory import LINUX_FILES

Rows = dict[str, list[dict[str, Any]]]

# A process whose command line is longer has said what it is by then.
_LONGEST_COMMAND = 400
_MOST_PROCESSES = 32
# A GPU tool that hung once is asked again only so many samples later: each try holds up a whole sample.
_PAUSE_AFTER_FAILURE = 12
_STATES = {"running": "R", "sleeping": "S", "disk-sleep": "D", "stopped": "T", "tracing-stop": "t", "zombie": "Z",
           "idle": "I"}  # fmt: skip


class Sampler:
    """Looks at one host again and again; keeps nothing but what the next look needs."""

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        self.port = port
        self._reach = ExitStack()
        self._base_url = ""
        self._processor_s: dict[tuple[int, float], tuple[float, float]] = {}
        self._pause = 0

    def sample(self, timeout_s: float = 2.0) -> tuple[Rows, list[str]]:
        """Rows by table, and what could not be seen. Never raises."""
        rows: Rows = {}
        problems: list[str] = []
        for name, look in (
            ("processes", self._processes), ("Ollama's API", self._api), ("memory", self._memory), ("GPU", self._gpus),
        ):  # fmt: skip
            try:
                for table, found in look(timeout_s).items():
                    rows.setdefault(table, []).extend(found)
            except Exception as error:
                problems.append(f"{name}: {error}")
        return rows, problems

    def close(self) -> None:
        """Give back the connection to the server's port."""
        self._reach.close()

    def base_url(self) -> str:
        """Where the server is reached from here; opened once, and again after it was lost."""
        if not self._base_url:
            self._base_url = self._reach.enter_context(self.host.reach(self.port))
        return self._base_url

    def _api(self, timeout_s: float) -> Rows:
        answer = probe(self.base_url(), "/api/ps", timeout_s)
        if not answer["status"] and self.host.is_remote:  # the way there may be gone as well
            self._reach.close()
            self._base_url = ""
        return dict(parse_api_probes(json.dumps(answer)).tables)

    def _processes(self, timeout_s: float) -> Rows:
        found = self._remote_processes(timeout_s) if self.host.is_remote else self._own_processes()
        found.sort(key=lambda row: -(row["rss_bytes"] or 0))
        return {"processes": found[:_MOST_PROCESSES]}

    def _own_processes(self) -> list[dict[str, Any]]:
        import psutil

        rows = []
        seen: dict[tuple[int, float], tuple[float, float]] = {}
        names = ["pid", "ppid", "cmdline", "status", "num_threads", "memory_info", "create_time", "cpu_times"]
        for process in psutil.process_iter(names):
            facts = process.info
            # A process that has set its own title leaves empty words behind it.
            command = " ".join(facts["cmdline"] or ()).strip()
            if not (role := role_of(command)):
                continue
            times, memory = facts["cpu_times"], facts["memory_info"]
            used_s = times.user + times.system if times else None
            rows.append(
                {
                    "pid": facts["pid"],
                    "parent_pid": facts["ppid"],
                    "role": role,
                    "state": _STATES.get(facts["status"], facts["status"]),
                    "cpu_percent": self._cpu_percent((facts["pid"], facts["create_time"]), used_s, seen),
                    "rss_bytes": memory.rss if memory else None,
                    "virtual_bytes": memory.vms if memory else None,
                    "threads": facts["num_threads"],
                    "started_at": datetime.fromtimestamp(facts["create_time"], UTC).isoformat(timespec="milliseconds"),
                    "command": command[:_LONGEST_COMMAND],
                }
            )
        self._processor_s = seen
        return rows

    def _remote_processes(self, timeout_s: float) -> list[dict[str, Any]]:
        command = "processes of macOS" if self.host.system == "Darwin" else "processes"
        output = self.host.run(COMMANDS[command], timeout_s)
        if output.outcome != "captured":
            raise OSError(output.reason)
        found = [row for row in parse_process_table(output.text).tables["processes"] if row["role"]]
        # What `ps` calls %CPU is the average of a process's whole life: no measure of the present.
        return [{**row, "cpu_percent": None, "command": row["command"][:_LONGEST_COMMAND]} for row in found]

    def _cpu_percent(
        self, process: tuple[int, float], used_s: float | None, seen: dict[tuple[int, float], tuple[float, float]]
    ) -> float | None:
        """Of one core, since the last look; unknown at the first."""
        if used_s is None:
            return None
        now = time.monotonic()
        seen[process] = (now, used_s)
        if process not in self._processor_s or now <= self._processor_s[process][0]:
            return None
        then, before_s = self._processor_s[process]
        return round(100 * (used_s - before_s) / (now - then), 1)

    def _memory(self, timeout_s: float) -> Rows:
        if self.host.system == "Linux":
            texts = []
            for path in LINUX_FILES:
                output = self.host.read(path, timeout_s, 1 << 20)
                if output.outcome == "captured":
                    texts.append(f"==> {path} <==\n{output.text}")
            return {"memory": parse_linux_memory("\n".join(texts)).tables["memory"]}
        if self.host.system == "Darwin":
            counters = parse_vm_stat(self.host.run(COMMANDS["vm_stat"], timeout_s).text).tables["memory"]
            settings = self.host.run(COMMANDS["macOS memory settings"], timeout_s).text
            return {"memory": counters + parse_macos_memory(settings).tables["memory"]}
        import psutil

        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        row = {
            "origin": "psutil", "total_bytes": memory.total, "available_bytes": memory.available,
            "swap_total_bytes": swap.total, "swap_used_bytes": swap.used,
        }  # fmt: skip
        return {"memory": [row]}

    def _gpus(self, timeout_s: float) -> Rows:
        if self.host.system == "Darwin" or self._pause > 0:
            self._pause -= 1
            return {}
        output = self.host.run(COMMANDS["nvidia-smi GPUs"], timeout_s)
        if output.outcome != "captured":
            self._pause = _PAUSE_AFTER_FAILURE
            if output.outcome == "missing":
                return {}
            raise OSError(f"{output.reason}; asked again in {_PAUSE_AFTER_FAILURE} samples")
        return {"gpus": parse_nvidia_smi(output.text).tables["gpus"]}
