"""Containers: limits, restarts, how they ended and what they mount, from docker and from Kubernetes."""

from __future__ import annotations

import copy
import json
import math
from datetime import datetime
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.containers import is_containers, parse_containers

NEVER = "0001-01-01T00:00:00Z"
RUNNING: dict[str, Any] = {
    "Id": "4f6c" * 16,
    "Name": "/ollama",
    "RestartCount": 3,
    "State": {
        "Status": "running", "OOMKilled": False, "Pid": 4242, "ExitCode": 0,
        "StartedAt": "2026-11-20T20:49:03.123456789Z", "FinishedAt": NEVER,
    },
    "Config": {"Image": "ollama/ollama:0.13.5", "Env": ["PATH=/bin", "OLLAMA_HOST=0.0.0.0:11434", "HOME=/srv", "BAD"]},
    "HostConfig": {
        "Memory": 8589934592, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}, {"Name": "nofile", "Soft": 1024, "Hard": 4096}],
    },
    "Mounts": [
        {"Type": "volume", "Name": "models", "Source": "/var/lib/docker/volumes/models/_data",
         "Destination": "/data/ollama", "RW": True},
        {"Type": "bind", "Source": "/srv/config", "Destination": "/config", "RW": False},
    ],
}  # fmt: skip
ENDED: dict[str, Any] = {
    "Id": "aa11" * 16,
    "Name": "/chroma",
    "RestartCount": 0,
    "State": {
        "Status": "exited", "OOMKilled": True, "Pid": 0, "ExitCode": 137,
        "StartedAt": "2026-11-20T21:49:03+01:00", "FinishedAt": "2026-11-20T20:59:03.5Z",
    },
    "Config": {"Image": "chromadb/chroma", "Env": None},
    "HostConfig": {"Memory": 0, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "Ulimits": None},
    "Mounts": [],
}  # fmt: skip
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "ollama-0", "namespace": "llm"},
    "spec": {
        "restartPolicy": "Always",
        "containers": [
            {
                "name": "ollama", "image": "ollama/ollama:0.13.5",
                "env": [{"name": "OLLAMA_NUM_PARALLEL", "value": "4"},
                        {"name": "OLLAMA_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"limits": {"memory": "16Gi", "nvidia.com/gpu": "1"}},
                "volumeMounts": [{"name": "models", "mountPath": "/data/ollama"},
                                 {"name": "token", "mountPath": "/var/run/secrets", "readOnly": True}],
            },
            {"name": "sidecar", "image": "busybox"},
        ],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "ollama-models"}},
                    {"name": "token", "projected": {"sources": []}}],
    },
    "status": {
        "containerStatuses": [
            {
                "name": "ollama", "restartCount": 7,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled",
                                             "startedAt": "2026-11-20T20:49:03Z",
                                             "finishedAt": "2026-11-20T20:50:03Z"}},
            },
            {"name": "sidecar", "restartCount": 0, "state": {"running": {"startedAt": "2026-11-20T20:49:01Z"}},
             "lastState": {}},
        ]
    },
}  # fmt: skip


def rows(*documents: object, table: str = "containers") -> list[dict[str, Any]]:
    return parse_containers("\n".join(json.dumps(each, indent=4) for each in documents)).tables[table]


def test_a_running_container() -> None:
    (row,) = rows([RUNNING])
    assert (row["container"], row["image"], row["state"], row["pid"]) == (
        "ollama",
        "ollama/ollama:0.13.5",
        "running",
        4242,
    )
    assert (row["restarts"], row["restart_policy"], row["memory_limit_bytes"]) == (3, "on-failure:5", 8 * 2.0**30)
    assert row["started_at"] == datetime(2026, 11, 20, 20, 49, 3, 123456)
    # Docker writes year 1 and 0 for what has not happened.
    assert row["finished_at"] is None
    assert row["exit_code"] is None
    assert json.loads(row["mounts"]) == [
        {
            "source": "/var/lib/docker/volumes/models/_data",
            "destination": "/data/ollama",
            "type": "volume",
            "rw": True,
        },
        {"source": "/srv/config", "destination": "/config", "type": "bind", "rw": False},
    ]


def test_a_container_that_was_killed_for_memory() -> None:
    (row,) = rows([ENDED])
    assert (row["exit_code"], row["oom_killed"], row["pid"], row["restart_policy"]) == (137, True, None, "no")
    assert row["memory_limit_bytes"] == math.inf
    assert row["started_at"] == datetime(2026, 11, 20, 20, 49, 3)
    assert row["finished_at"] == datetime(2026, 11, 20, 20, 59, 3, 500000)


def test_only_variables_that_matter_are_settings() -> None:
    found = rows([RUNNING], table="settings")
    assert [(row["origin"], row["subject"], row["name"], row["value"], row["in_force"]) for row in found] == [
        ("container", "ollama", "PATH", "/bin", True),
        ("container", "ollama", "OLLAMA_HOST", "0.0.0.0:11434", True),
    ]


def test_ulimits_and_memory_are_limits_that_the_container_states() -> None:
    found = {
        row["resource"]: (row["origin"], row["soft"], row["hard"], row["unit"])
        for row in rows([RUNNING], table="limits")
    }
    assert found == {
        "MEMLOCK": ("container", math.inf, math.inf, "bytes"),
        "NOFILE": ("container", 1024.0, 4096.0, "files"),
        "MemoryMax": ("container", 8 * 2.0**30, 8 * 2.0**30, "bytes"),
    }
    assert not rows([ENDED], table="limits")


def test_each_container_has_the_line_of_its_id() -> None:
    text = "$ docker inspect ollama chroma\n" + json.dumps([RUNNING, ENDED], indent=4) + "\n$ date\n"
    lines = text.split("\n")
    parsed = parse_containers(text)
    assert is_containers(lines)
    assert [lines[row["line"] - 1].split('"')[3][:4] for row in parsed.tables["containers"]] == ["4f6c", "aa11"]
    assert parsed.lines == set(range(2, len(lines) - 1))


def test_a_pod_that_crashes_in_a_loop() -> None:
    first, second = rows(POD)
    assert (first["container"], first["state"], first["restarts"]) == (
        "ollama-0/ollama",
        "waiting: CrashLoopBackOff",
        7,
    )
    assert (first["exit_code"], first["oom_killed"], first["memory_limit_bytes"]) == (137, True, 16 * 2.0**30)
    assert first["finished_at"] == datetime(2026, 11, 20, 20, 50, 3)
    assert json.loads(first["mounts"]) == [
        {"source": "ollama-models", "destination": "/data/ollama", "type": "persistentVolumeClaim", "rw": True},
        {"source": "", "destination": "/var/run/secrets", "type": "projected", "rw": False},
    ]
    assert (second["state"], second["exit_code"], second["oom_killed"]) == ("running", None, False)
    assert (second["started_at"], second["memory_limit_bytes"]) == (datetime(2026, 11, 20, 20, 49, 1), math.inf)
    assert [(row["subject"], row["name"]) for row in rows(POD, table="settings")] == [
        ("ollama-0/ollama", "OLLAMA_NUM_PARALLEL")
    ]


def test_a_list_of_pods_and_a_single_container_are_read_too() -> None:
    listed = {"kind": "List", "items": [POD, {"kind": "Service", "spec": {}}]}
    assert [row["container"] for row in rows(listed, RUNNING)] == ["ollama-0/ollama", "ollama-0/sidecar", "ollama"]


@pytest.mark.parametrize(
    "text",
    ["", "[", "[GIN] 2026/11/20 - 20:49:02 | 200", "{}", "[[[[", '{"HostConfig": {}, "State": 5}', '[{"kind": "Pod"}]',
     '{"models": []}', '[{"Config": {}, "State": {}}]', "[" * 99_999, '[{"Id": "a", "State": {}, "HostConfig": 1']
)  # fmt: skip
def test_other_text_is_not_taken(text: str) -> None:
    assert not any(parse_containers(text).tables.values())


WRONG = st.sampled_from(
    [None, 5, -1, 2**70, 1.5, float("nan"), "\ud800", "x", [], ["x", {}], {}, {"a": 1}, True, NEVER]
)


def paths(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [at, *(path for key, value in inner for path in paths(value, (*at, key)))]


@settings(deadline=None)
@given(st.data(), st.sampled_from([RUNNING, ENDED, POD]))
def test_no_value_is_too_strange(data: st.DataObject, whole: dict[str, Any]) -> None:
    document = json.loads(json.dumps(whole))
    for path in data.draw(st.lists(st.sampled_from(paths(document)[1:]), max_size=4)):
        place = document
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = copy.deepcopy(data.draw(WRONG))  # one that is changed would be wrong otherwise next time
        except (TypeError, KeyError, IndexError):
            continue
    text = json.dumps([document])
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))]
    for found in parse_containers(text).tables.values():
        pyarrow.Table.from_pylist(found)
