"""A stand-in for Docker with Compose: containers are folders and real processes, volumes are folders.

`python engine.py SOCKET FOLDER`. Commands come through the socket as `docker` was given them. A container that is made
anew loses its layer, as with Docker. What FOLDER/faults names goes wrong: cp-fails, cp-out-is-empty,
cp-in-is-empty, cp-in-volume-is-empty, override-is-ignored, no-start.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

_STORE = Path(__file__).with_name("store.py")
Answer = tuple[int, str, str]


class Engine:
    """Containers and volumes; what must outlast a process is in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.containers: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "volumes").mkdir(exist_ok=True)

    def fault(self, name: str) -> bool:
        path = self.folder / "faults"
        return path.exists() and name in path.read_text().split()

    def layer(self, container: dict[str, Any]) -> Path:
        return self.folder / "layers" / container["Id"]

    def place(self, container: dict[str, Any], path: str) -> Path:
        """Where on this machine a path of a container is: in a volume, or in its own layer."""
        for mount in container["Mounts"]:
            destination = mount["Destination"]
            if path == destination or path.startswith(destination + "/"):
                return Path(mount["Source"]) / path[len(destination) :].lstrip("/")
        return self.layer(container) / path.lstrip("/")

    def do(self, words: list[str]) -> Answer:
        with (self.folder / "asked").open("a") as asked:
            asked.write(shlex.join(words) + "\n")
        verb, rest = words[1], words[2:]
        if verb == "compose":
            return self.compose(rest)
        if verb == "ps":
            rows = [{"Names": name, "Image": one["Config"]["Image"]} for name, one in self.containers.items()]
            return 0, "".join(json.dumps(row) + "\n" for row in rows), ""
        if verb == "volume":
            return 0, "".join(f"{path.name}\n" for path in sorted((self.folder / "volumes").iterdir())), ""
        if verb == "image":
            return 0, _image_id(rest[-1]) + "\n", ""
        if verb == "cp":
            return self.copy(*rest)
        container = self.containers.get(rest[-1])
        if container is None:
            return 1, "", f"Error response from daemon: No such container: {rest[-1]}"
        if verb == "inspect":
            self.refresh(container)
            return 0, json.dumps([container]), ""
        if verb == "diff":
            top = self.layer(container)
            return 0, "".join(f"A /{path.relative_to(top)}\n" for path in sorted(top.rglob("*"))), ""
        if verb == "stop":
            self.stop(container)
            return 0, "", ""
        if verb == "start":
            return self.start(container)
        return 1, "", f"unknown command: docker {verb}"

    def refresh(self, container: dict[str, Any]) -> None:
        process = self.processes.get(container["Id"])
        if process and process.poll() is not None:
            del self.processes[container["Id"]]
            container["State"]["Status"] = "exited"

    def start(self, container: dict[str, Any]) -> Answer:
        self.refresh(container)
        if self.fault("no-start") and any(one["Destination"] == container["writes"] for one in container["Mounts"]):
            return 1, "", "Error response from daemon: failed to create task for container"
        if container["Id"] not in self.processes:
            data = self.place(container, container["writes"])
            port = container["HostConfig"]["PortBindings"]["8000/tcp"][0]["HostPort"]
            words = [sys.executable, "-IS", str(_STORE), str(data), port]
            self.processes[container["Id"]] = subprocess.Popen(words, preexec_fn=_end_with_us)
            container["State"]["Status"] = "running"
        return 0, "", ""

    def stop(self, container: dict[str, Any]) -> None:
        if process := self.processes.pop(container["Id"], None):
            process.terminate()
            process.wait(10)
            container["State"]["Status"] = "exited"

    def copy(self, source: str, to: str) -> Answer:
        if self.fault("cp-fails"):
            return 1, "", "no space left on device"
        name, _, path = (source if ":" in source else to).partition(":")
        container = self.containers[name]
        inside = self.place(container, path.removesuffix("/."))
        here, there = (inside, Path(to)) if source.startswith(f"{name}:") else (Path(source.removesuffix("/.")), inside)
        if not here.is_dir():
            return 1, "", f"Could not find the file {path} in container {name}"
        is_volume = there.is_relative_to(self.folder / "volumes")
        kind = "out" if there == Path(to) else "in-volume" if is_volume else "in"
        if not self.fault(f"cp-{kind}-is-empty"):
            shutil.copytree(here, there, dirs_exist_ok=True)
        return 0, "", ""

    def compose(self, words: list[str]) -> Answer:
        options: dict[str, list[str]] = {}
        while words and words[0].startswith("-"):
            options.setdefault(words[0], []).append(words[1])
            words = words[2:]
        if words[0] == "version":
            return 0, "2.39.1\n", ""
        files = options["-f"]
        if self.fault("override-is-ignored") and words[0] == "up":
            files = files[:1]
        whole = _merged(files)
        if words[0] == "config":
            return 0, json.dumps(whole), ""
        project, service = options["--project-name"][0], words[-1]
        own = whole["services"][service]
        name = own.get("container_name", f"{project}-{service}-1")
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
        if name in self.containers and self.containers[name]["digest"] == digest:
            return 0, "", ""
        if name in self.containers:
            self.stop(self.containers[name])
            shutil.rmtree(self.layer(self.containers[name]))
        labels = {"project": project, "service": service, "project.working_dir": options["--project-directory"][0],
                  "project.config_files": ",".join(files)}  # fmt: skip
        self.containers[name] = self.made(name, own, digest, labels)
        return 0, "", ""

    def made(self, name: str, own: dict[str, Any], digest: str, labels: dict[str, str]) -> dict[str, Any]:
        mounts = []
        for one in own.get("volumes", ()):
            volume = f"{labels['project']}_{one['source']}"
            source = Path(one["source"]) if one["type"] == "bind" else self.folder / "volumes" / volume
            source.mkdir(parents=True, exist_ok=True)
            mounts.append({"Type": one["type"], "Name": volume if one["type"] == "volume" else "", "RW": True,
                           "Source": str(source), "Destination": one["target"]})  # fmt: skip
        container: dict[str, Any] = {
            "Id": secrets.token_hex(32), "Name": f"/{name}", "Image": _image_id(own["image"]), "SizeRw": 4096,
            "State": {"Status": "created", "OOMKilled": False}, "Mounts": mounts, "digest": digest,
            "Created": datetime.now(UTC).isoformat(), "NetworkSettings": {},
            "HostConfig": {"Memory": int(own.get("mem_limit", 0)), "AutoRemove": False, "PortBindings": {
                "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": own["ports"][0].split(":")[1]}]}},
            "Config": {"Image": own["image"], "User": own.get("user", ""), "Env": ["PATH=/usr/bin"],
                       "Labels": {f"com.docker.compose.{key}": value for key, value in labels.items()}},
            "writes": own.get("labels", {}).get("writes", "/data"),
        }  # fmt: skip
        self.layer(container).mkdir(parents=True)
        return container


def _image_id(image: str) -> str:
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()


def _merged(files: list[str]) -> dict[str, Any]:
    """Services of several files: keys of the later over those of the earlier, volumes by their target."""
    services: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, own in yaml.safe_load(Path(file).read_text())["services"].items():
            there = services.setdefault(name, {})
            held = {one["target"]: one for one in [*there.get("volumes", ()), *map(_volume, own.get("volumes", ()))]}
            there.update(own, **({"volumes": list(held.values())} if held else {}))
    return {"services": services}


def _volume(word: str) -> dict[str, str]:
    source, target = word.split(":")[:2]
    return {"type": "bind" if source.startswith(("/", ".")) else "volume", "source": source, "target": target}


def _end_with_us() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    path, folder = sys.argv[1:3]
    _end_with_us()
    engine = Engine(Path(folder))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                if line := stream.readline():
                    stream.write(json.dumps(engine.do(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
