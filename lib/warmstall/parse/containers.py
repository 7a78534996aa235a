"""What `docker inspect` and `kubectl get pod -o json` say of containers: limits, restarts, how they ended, mounts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .encodings import encodable
from .environment import matters
from .parsed import Parsed
from .systemd_values import RLIMITS

_MOST_STARTS = 64  # each try to read JSON may cost the length of the text
_START = re.compile(r"^[ \t]*[\[{]", re.MULTILINE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*\s?(Z|[+-]\d\d:?\d\d)(?: [A-Z]{3,5})?")
_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(e\d{1,2}|[EPTGMK]i|[EPTGMkm])?")
_SCALES = {"": 1.0, "m": 1e-3, **{unit: 1e3**power for power, unit in enumerate("kMGTPE", 1)},
           **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", 1)}}  # fmt: skip


def is_containers(lines: list[str]) -> bool:
    """Whether this text holds what `docker inspect` or `kubectl get pod -o json` print.

    >>> is_containers(["[", ' {"Id": "4f", "State": {"Status": "exited"}, "HostConfig": {}}', "]"])
    True
    """
    text = "\n".join(lines)
    return ('"HostConfig"' in text and '"State"' in text) or ('"Pod"' in text and '"containers"' in text)


def parse_containers(text: str) -> Parsed:
    """Rows of the containers table, of the settings table, and of the limits table for ulimits and memory.

    containers: a pod's containers are named pod/container; memory_limit_bytes is infinity where there is no limit;
    exit_code and oom_killed are of the last end, exit_code is empty where there was none; mounts is JSON, a list of
    source, destination, type and rw; times are UTC. settings: origin "container", the variables that matter.
    limits: origin "container", subject the container's name.

    >>> parsed = parse_containers('[{"Name": "/ollama", "State": {"Status": "exited", "ExitCode": 137},'
    ...                           ' "HostConfig": {"Memory": 0}, "Config": {"Env": ["OLLAMA_DEBUG=1"]}}]')
    >>> [(row["container"], row["exit_code"], row["memory_limit_bytes"]) for row in parsed.tables["containers"]]
    [('ollama', 137, inf)]
    """
    parsed = Parsed()
    for document, first, last, start in _documents(text):
        places = _Places(text, start, first)
        for item in document if isinstance(document, list) else [document]:
            if not isinstance(item, dict):
                continue
            for inner in _list(item, "items") if str(item.get("kind", "")).endswith("List") else [item]:
                if isinstance(inner, dict) and inner.get("kind") == "Pod":
                    _pod(inner, first, parsed)
                elif isinstance(inner, dict) and isinstance(inner.get("State"), dict) and "HostConfig" in inner:
                    _container(inner, places.line_of(inner.get("Id")), parsed)
        if parsed.tables:
            parsed.understood(range(first, last + 1))
    return parsed


def _documents(text: str) -> Iterator[tuple[Any, int, int, int]]:
    """The JSON documents of a text that begin a line: each with its first and last line, and where it starts."""
    decoder, end, counted, line = json.JSONDecoder(), 0, 0, 1
    starts = 0
    for match in _START.finditer(text):
        begin = match.end() - 1
        if begin < end:
            continue
        starts += 1
        if starts > _MOST_STARTS:
            return
        try:
            document, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            continue
        line += text.count("\n", counted, begin)
        counted = begin
        yield document, line, line + text.count("\n", begin, end), begin


def _container(item: dict[str, Any], line: int, parsed: Parsed) -> None:
    state, host, config = (_dict(item, name) for name in ("State", "HostConfig", "Config"))
    name = _string(item, "Name").removeprefix("/") or _string(item, "Id")[:12]
    status = _string(state, "Status")
    finished = _time(state.get("FinishedAt"))
    memory = _whole(host.get("Memory"))
    policy = _dict(host, "RestartPolicy")
    most = _whole(policy.get("MaximumRetryCount"))
    mounts = [
        {
            "source": _string(mount, "Source"), "destination": _string(mount, "Destination"),
            "type": _string(mount, "Type"), "rw": mount.get("RW") is not False,
        }
        for mount in _list(item, "Mounts") if isinstance(mount, dict)
    ]  # fmt: skip
    parsed.add(
        "containers",
        line,
        container=name,
        image=_string(config, "Image") or _string(item, "ImageName") or _string(item, "Image"),
        state=status,
        pid=_whole(state.get("Pid")) or None,
        restarts=_whole(item.get("RestartCount")),
        # Docker writes 0 for a container that has not ended.
        exit_code=_whole(state.get("ExitCode")) if status not in ("running", "created", "paused") else None,
        oom_killed=state.get("OOMKilled") if isinstance(state.get("OOMKilled"), bool) else None,
        memory_limit_bytes=None if memory is None else float(memory) if memory > 0 else math.inf,
        started_at=_time(state.get("StartedAt")),
        finished_at=finished,
        mounts=encodable(json.dumps(mounts, ensure_ascii=False)),
        restart_policy=_string(policy, "Name") + (f":{most}" if most else ""),
    )
    _settings(name, (str(entry).partition("=")[::2] for entry in _list(config, "Env")), line, parsed)
    for limit in _list(host, "Ulimits"):
        if isinstance(limit, dict) and (resource := _string(limit, "Name").upper().removeprefix("RLIMIT_")) in RLIMITS:
            soft, hard = (_unlimited(limit.get(end)) for end in ("Soft", "Hard"))
            parsed.add("limits", line, origin="container", subject=name, resource=resource, soft=soft, hard=hard,
                       unit=RLIMITS[resource][0])  # fmt: skip
    if memory:
        _memory_limit(name, float(memory), line, parsed)


def _pod(item: dict[str, Any], line: int, parsed: Parsed) -> None:
    spec, status = _dict(item, "spec"), _dict(item, "status")
    pod = _string(_dict(item, "metadata"), "name")
    sources = {
        _string(volume, "name"): _source(volume) for volume in _list(spec, "volumes") if isinstance(volume, dict)
    }
    statuses = {
        _string(each, "name"): each for each in _list(status, "containerStatuses") if isinstance(each, dict)
    }  # fmt: skip
    for container in _list(spec, "containers"):
        if not isinstance(container, dict):
            continue
        seen = statuses.get(_string(container, "name"), {})
        name = f"{pod}/{_string(container, 'name')}"
        now, before = _dict(seen, "state"), _dict(seen, "lastState")
        ended = _dict(now, "terminated") or _dict(before, "terminated")
        running = _dict(now, "running") or _dict(now, "terminated") or ended
        reason = next((f": {text}" for part in now.values() if (text := _reason(part))), "")
        memory = quantity_bytes(_dict(_dict(container, "resources"), "limits").get("memory"))
        mounts = []
        for mount in _list(container, "volumeMounts"):
            if isinstance(mount, dict):
                source, kind = sources.get(_string(mount, "name"), ("", ""))
                mounts.append({"source": source, "destination": _string(mount, "mountPath"), "type": kind,
                               "rw": mount.get("readOnly") is not True})  # fmt: skip
        parsed.add(
            "containers",
            line,
            container=name,
            image=_string(container, "image"),
            state=encodable("".join(str(key) for key in list(now)[:1]) + reason),
            pid=None,
            restarts=_whole(seen.get("restartCount")),
            exit_code=_whole(ended.get("exitCode")),
            oom_killed=_reason(ended) == "OOMKilled" if ended else None if not seen else False,
            memory_limit_bytes=math.inf if memory is None else memory,
            started_at=_time(running.get("startedAt")),
            finished_at=_time(ended.get("finishedAt")),
            mounts=encodable(json.dumps(mounts, ensure_ascii=False)),
            restart_policy=_string(spec, "restartPolicy"),
        )
        entries = [entry for entry in _list(container, "env") if isinstance(entry, dict) and "value" in entry]
        _settings(name, ((_string(entry, "name"), _string(entry, "value")) for entry in entries), line, parsed)
        if memory:
            _memory_limit(name, memory, line, parsed)


def quantity_bytes(value: object) -> float | None:
    """Bytes of a quantity as Kubernetes writes it.

    >>> quantity_bytes("8Gi"), quantity_bytes("1500M"), quantity_bytes("1e9"), quantity_bytes("lots")
    (8589934592.0, 1500000000.0, 1000000000.0, None)
    """
    match = _AMOUNT.fullmatch(str(value)) if isinstance(value, (str, int)) else None
    if not match:
        return None
    suffix = match[2] or ""
    return float(match[1]) * (10.0 ** int(suffix[1:]) if suffix.startswith("e") else _SCALES[suffix])


def _settings(name: str, entries: Any, line: int, parsed: Parsed) -> None:
    seen: set[str] = set()
    for position, (variable, value) in enumerate(entries, 1):
        if matters(variable):
            parsed.add("settings", line, origin="container", subject=name, name=encodable(variable),
                       value=encodable(value), file="", position=position, in_force=variable not in seen)  # fmt: skip
            seen.add(variable)


def _memory_limit(name: str, amount: float, line: int, parsed: Parsed) -> None:
    parsed.add("limits", line, origin="container", subject=name, resource="MemoryMax", soft=amount, hard=amount,
               unit="bytes")  # fmt: skip


def _source(volume: dict[str, Any]) -> tuple[str, str]:
    """Where a pod's volume comes from, and its kind."""
    for kind, what in volume.items():
        if kind != "name" and isinstance(what, dict):
            named = (what.get(key) for key in ("claimName", "path", "name", "secretName", "server"))
            return encodable(str(next((each for each in named if each), ""))), encodable(str(kind))
    return "", ""


class _Places:
    """The lines where the objects of a document stand, by their Ids, in the order of the document."""

    def __init__(self, text: str, start: int, line: int) -> None:
        self.text, self.at, self.line = text, start, line

    def line_of(self, identity: object) -> int:
        """The line of the object's own Id; where it is not found, the line of the one before."""
        at = self.text.find(f'"{identity}"', self.at) if isinstance(identity, str) and self.at >= 0 else -1
        if at >= 0:
            self.line += self.text.count("\n", self.at, at)
        self.at = at
        return self.line


def _reason(part: object) -> str:
    return _string(part, "reason") if isinstance(part, dict) else ""


def _unlimited(value: object) -> float | None:
    number = _whole(value)
    return None if number is None else math.inf if number < 0 else float(number)


def _time(value: object) -> datetime | None:
    """A moment in UTC; docker's year 1 means never."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if not match or match[1].startswith("0001"):
        return None
    zone = "+00:00" if match[4] == "Z" else match[4]
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3] or ''}{zone}")
        return moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _dict(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _list(item: dict[str, Any], name: str) -> list[Any]:
    value = item.get(name)
    return value if isinstance(value, list) else []


def _string(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    return encodable(value) if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None
