"""A stand-in for systemd's manager: one unit, from real files by systemd's rules, one real process with real limits.

`python manager.py SOCKET FOLDER UNIT_FOLDER UNIT`. Commands come through the socket as systemctl and journalctl
were given them. What FOLDER/faults names goes wrong: ignore-drop-ins, ignore-limits, no-start-with-drop-in,
restart-refused.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

from warmstall.parse.systemd_order import is_directive
from warmstall.parse.unit_files import parse_unit_files

_LIMITS = {name: getattr(resource, f"RLIMIT_{name}") for name in ("MEMLOCK", "NOFILE", "NPROC", "CORE")}


class Manager:
    """The unit as it was last read, and its process."""

    def __init__(self, folder: Path, units: Path, unit: str) -> None:
        self.folder, self.unit = folder, unit
        self.file, self.drop_ins = units / unit, units / f"{unit}.d"
        self.log = folder / "server.log"
        self.log_begins = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.loaded = ""
        self.reload()

    def faults(self) -> set[str]:
        path = self.folder / "faults"
        return set(path.read_text().split()) if path.exists() else set()

    def text(self) -> str:
        """The unit file and its drop-ins, as `systemctl cat` prints them."""
        files = [self.file, *sorted(self.drop_ins.glob("*.conf"))]
        return "".join(f"# {path}\n{path.read_text()}\n" for path in files)

    def reload(self) -> None:
        self.loaded = self.text()

    def settings(self) -> tuple[dict[str, list[str]], dict[str, str], dict[str, tuple[float, float]]]:
        """Directives, variables and limits that hold, of what was loaded."""
        without = self.loaded.split(f"# {self.drop_ins}/")[0]
        tables = parse_unit_files(without if "ignore-drop-ins" in self.faults() else self.loaded).tables
        held = [row for row in tables["settings"] if row["in_force"]]
        directives: dict[str, list[str]] = {}
        for row in held:
            if is_directive(row["name"]):
                directives.setdefault(row["name"], []).append(row["value"])
        variables = {row["name"]: row["value"] for row in held if not is_directive(row["name"])}
        for name in " ".join(directives.get("UnsetEnvironment", ())).split():
            variables.pop(name, None)
        # In a unit file a percent sign is written twice.
        variables = {name: value.replace("%%", "%") for name, value in variables.items()}
        if "ignore-limits" in self.faults():
            tables = parse_unit_files(without).tables
        limits = {row["resource"]: (row["soft"], row["hard"]) for row in tables["limits"] if row["resource"] in _LIMITS}
        return directives, variables, limits

    def start(self) -> None:
        directives, variables, limits = self.settings()
        if "no-start-with-drop-in" in self.faults() and list(self.drop_ins.glob("*.conf")):
            return
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OLLAMA_")}

        def prepare() -> None:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with this manager
            for name, (soft, hard) in limits.items():
                wanted = [resource.RLIM_INFINITY if value == float("inf") else int(value) for value in (soft, hard)]
                resource.setrlimit(_LIMITS[name], (wanted[0], wanted[1]))

        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                shlex.split(directives["ExecStart"][-1]), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env={**inherited, **variables}, preexec_fn=prepare, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def show(self) -> str:
        directives, variables, _ = self.settings()
        running = self.process is not None and self.process.poll() is None
        told = {
            "Id": self.unit, "LoadState": "loaded", "ActiveState": "active" if running else "failed",
            "MainPID": str(self.process.pid) if self.process and running else "0", "FragmentPath": str(self.file),
            "DropInPaths": " ".join(map(str, sorted(self.drop_ins.glob("*.conf")))),
            "NeedDaemonReload": "no" if self.loaded == self.text() else "yes",
            "Environment": " ".join(f"{name}={value}" for name, value in variables.items()), "MemoryMax": "infinity",
            "NRestarts": "0", "ExecStart": f"{{ argv[]={directives['ExecStart'][-1]} ; ignore_errors=no ; }}",
            **{name: values[-1] for name, values in directives.items() if name.startswith(("Memory", "Tasks", "OOM"))},
        }  # fmt: skip
        return "".join(f"{name}={value}\n" for name, value in told.items())

    def do(self, words: list[str]) -> tuple[int, str, str]:
        """Exit code, output and complaint of one command."""
        with (self.folder / "asked").open("a") as asked:
            asked.write(shlex.join(words) + "\n")
        program, plain = Path(words[0]).name, [word for word in words[1:] if not word.startswith("--")]
        if program == "journalctl":
            if plain[-1] == self.unit:
                return 0, self.log.read_text(errors="replace") if self.log.exists() else "", ""
            of_this = self.process is not None and plain[-1] == f"_PID={self.process.pid}"
            return 0, self.log.read_bytes()[self.log_begins :].decode() if of_this else "", ""
        verb, units = plain[0], plain[1:]
        if verb == "daemon-reload":
            self.reload()
            return 0, "", ""
        if units != [self.unit]:
            if verb == "show":
                return 0, f"Id={units[0] if units else ''}\nLoadState=not-found\nMainPID=0\n", ""
            return 5, "", f"Failed to {verb} {units}: Unit not found."
        if verb == "show":
            return 0, self.show(), ""
        if verb == "cat":
            return 0, self.text(), ""
        if verb == "restart":
            if "restart-refused" in self.faults():
                return 1, "", f"Job for {self.unit} failed because the control process exited with error code."
            self.stop()
            try:
                self.start()
            except (OSError, subprocess.SubprocessError):  # as systemd: status=205/LIMITS
                return 1, "", f"Job for {self.unit} failed."
            return 0, "", ""
        return (0, "", "") if verb == "reset-failed" else (1, "", f"Unknown command verb {verb}.")


def main() -> None:
    path, folder, units, unit = sys.argv[1:5]
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the tests
    manager = Manager(Path(folder), Path(units), unit)
    manager.start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                line = stream.readline()
                if line:
                    stream.write(json.dumps(manager.do(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
