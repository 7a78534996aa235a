"""CronJobs of Kubernetes (batch/v1), their volume and their files.

A pod sees itself only, so the report reads logs on a volume (`--logs-claim`, mounted at /logs). The pods satisfy the
"restricted" Pod Security Standard. A degraded service is no failed job: exit codes 1 and 2 become 0, and 3 stays.
Sources: the API reference of CronJob v1 and Pod v1; timeZone since 1.27.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ..errors import InputError
from .jobs import answering_words, due, wanted
from .records import Job, Schedule, UnitFile, size_text

OUT, LOGS, _FILES, _TEMPORARY = "/warmstall/health", "/logs", "/etc/warmstall", "/tmp"
_NAME = "warmstall"
# Any number that is nobody's: a pod of the restricted standard runs as no root, and fsGroup makes the volume writable.
_USER_ID = 10001


def print_manifest(schedule: Schedule, only: str = "") -> tuple[UnitFile, ...]:
    """One file of several documents; raises InputError where the image or the logs are not named."""
    _check(schedule)
    import yaml

    found = wanted(schedule, only)
    objects = [_claim(schedule), *_files(schedule), *(_cron_job(schedule, job) for job in found)]
    texts = [yaml.safe_dump(one, sort_keys=False, allow_unicode=True, width=110) for one in objects]
    head = "# Printed by: warmstall schedule print kubernetes\n"
    return (UnitFile("warmstall.yaml", head + "---\n".join(texts), tuple(job.name for job in found)),)


def next_steps(schedule: Schedule, files: tuple[UnitFile, ...], folder: str) -> list[str]:
    """What to run when the file is written."""
    steps = [f"kubectl apply -f {shlex.quote(f'{folder}/{files[0].name}')}",
             f"kubectl -n {schedule.namespace} get cronjobs"]  # fmt: skip
    if schedule.alerts:
        secret = f"kubectl -n {schedule.namespace} create secret generic {_NAME}-alerts --from-env-file=alerts.env"
        return [secret, *steps]
    return steps


def literal(word: str) -> str:
    """A word of `command`, in which $(NAME) would be replaced and $$ is one dollar."""
    return word.replace("$", "$$")


def _check(schedule: Schedule) -> None:
    if not schedule.image or not schedule.logs_claim:
        missing = "--image" if not schedule.image else "--logs-claim"
        raise InputError(f"kubernetes without {missing}: name an image that has warmstall, and the volume claim with "
                         "Ollama's logs, as --image registry/warmstall:1 --logs-claim ollama-logs.")  # fmt: skip
    if schedule.collect or schedule.watch:
        given = "--watch" if schedule.watch else "--collect"
        raise InputError(
            f"kubernetes with {given}: a pod sees only itself, so it reads the logs on a volume; leave it out."
        )
    for path in (schedule.out, *schedule.paths):
        if ":" in path:
            raise InputError(f"{path}: Kubernetes mounts nothing at a path with a colon; choose another.")
    if outside := [path for path in schedule.paths if not f"{path}/".startswith(f"{LOGS}/")]:
        raise InputError(f"--paths {outside[0]}: the volume with the logs is mounted at {LOGS}; name what is below it.")


def _cron_job(schedule: Schedule, job: Job) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(schedule, job.unit),
        "spec": {
            "schedule": due(schedule, job).cron(),
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            # One that is later than this is left to the next one, which covers its time.
            "startingDeadlineSeconds": int(job.every_s / 2),
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": int(job.longest_s),
                    "template": {"metadata": {"labels": _labels()}, "spec": _pod(schedule, job)},
                }
            },
        },
    }


def _pod(schedule: Schedule, job: Job) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "health", "persistentVolumeClaim": {"claimName": schedule.claim}},
        {"name": "logs", "persistentVolumeClaim": {"claimName": schedule.logs_claim, "readOnly": True}},
        {"name": "temporary", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    if _contents(schedule):
        volumes.append({"name": "files", "configMap": {"name": f"{_NAME}-files"}})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(schedule, job)],
        "volumes": volumes,
    }


def _container(schedule: Schedule, job: Job) -> dict[str, Any]:
    memory = f"{size_text(job.memory_bytes)}i"
    mounts: list[dict[str, Any]] = [
        {"name": "health", "mountPath": schedule.out},
        {"name": "logs", "mountPath": LOGS, "readOnly": True},
        {"name": "temporary", "mountPath": _TEMPORARY},
    ]
    found: dict[str, Any] = {
        "name": job.name,
        "image": schedule.image,
        "command": [literal(word) for word in (*schedule.program, *_inside(schedule, answering_words(job)))],
        "env": [{"name": "HOME", "value": _TEMPORARY}],
        "resources": {"requests": {"cpu": "100m", "memory": memory}, "limits": {"cpu": "1", "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    if _contents(schedule):
        mounts.append({"name": "files", "mountPath": _FILES, "readOnly": True})
    if schedule.alerts:
        found["envFrom"] = [{"secretRef": {"name": f"{_NAME}-alerts", "optional": True}}]
    return found


def _inside(schedule: Schedule, words: tuple[str, ...]) -> list[str]:
    """The words with the files where the pod has them."""
    places = {path: f"{_FILES}/{name}" for name, path in _given(schedule).items()}
    return [places.get(word, word) for word in words]


def _claim(schedule: Schedule) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(schedule, schedule.claim),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    }


def _files(schedule: Schedule) -> list[dict[str, Any]]:
    data = _contents(schedule)
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(schedule, f"{_NAME}-files")}
    return [head | {"data": data}] if data else []


def _given(schedule: Schedule) -> dict[str, str]:
    given = {"alerts.toml": schedule.alerts, "objectives.toml": schedule.objectives}
    return {name: path for name, path in given.items() if path}


def _contents(schedule: Schedule) -> dict[str, str]:
    found = {}
    for name, path in _given(schedule).items():
        try:
            found[name] = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--{name.partition('.')[0]} {path}: cannot be read ({error}).") from error
    return found


def _metadata(schedule: Schedule, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": schedule.namespace, "labels": _labels()}


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": _NAME}
