"""Objects that satisfy Kubernetes' own schemas and its restricted standard for pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import example, given, settings
from kubernetes_validate.utils import all_versions

from schedule.wishes import paths, schedule
from warmstall.errors import InputError
from warmstall.schedule.jobs import jobs
from warmstall.schedule.kubernetes import print_manifest

# timeZone of a CronJob is stable since 1.27.
VERSIONS = [version for version in all_versions() if tuple(map(int, version.split(".")[:2])) >= (1, 27)]
GIVEN: dict[str, Any] = {"program": ("warmstall",), "out": "/warmstall/health", "collect": False, "paths": ("/logs",),
                         "image": "registry.example/warmstall:1", "logs_claim": "ollama-logs"}  # fmt: skip


def objects(**wished: Any) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(print_manifest(schedule(**{**GIVEN, **wished}))[0].text))


def cron_jobs(**wished: Any) -> list[dict[str, Any]]:
    return [one for one in objects(**wished) if one["kind"] == "CronJob"]


def container(job: dict[str, Any]) -> dict[str, Any]:
    found = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert len(found) == 1
    return dict(found[0])


@pytest.fixture
def with_files(tmp_path: Path) -> dict[str, Any]:
    alerts = tmp_path / "mine ünd $(HOME).toml"
    alerts.write_text('[[channel]]\nurl_variable = "X"  # ünd $(A) "quoted": yes\n', encoding="utf-8")
    objectives = tmp_path / "objectives.toml"
    objectives.write_text("", encoding="utf-8")
    return {"alerts": str(alerts), "objectives": str(objectives)}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_schemas_of_kubernetes_pass_every_object(version: str, with_files: dict[str, Any]) -> None:
    found = objects(**with_files)

    assert [one["kind"] for one in found] == ["PersistentVolumeClaim", "ConfigMap", "CronJob", "CronJob"]
    for one in found:
        assert kubernetes_validate.validate(one, version, strict=True) == ".".join(version.split(".")[:2])


def test_the_schema_would_refuse_a_key_that_there_is_not() -> None:
    job = cron_jobs()[0]
    job["spec"]["concurrency"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_every_pod_keeps_to_the_restricted_standard(with_files: dict[str, Any]) -> None:
    """Pod Security Standards, restricted: each of its controls that applies to Linux pods."""
    for job in cron_jobs(**with_files):
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        own = container(job)["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
            "persistentVolumeClaim", "emptyDir", "configMap",
        }  # fmt: skip
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["automountServiceAccountToken"] is False


def test_it_is_bounded_and_never_overlaps_and_a_degraded_service_is_no_failed_job() -> None:
    report, check = cron_jobs()
    for job in (report, check):
        spec = job["spec"]["jobTemplate"]["spec"]
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
        assert 0 < spec["activeDeadlineSeconds"] <= 600
        assert container(job)["resources"]["limits"]["memory"]
    assert container(report)["command"][:6] == ["warmstall", "schedule", "run", "--outcomes", "0,1,2", "--"]
    assert container(check)["command"][:3] == ["warmstall", "report", "--check-freshness"]


def test_the_files_lie_where_the_pod_is_told(with_files: dict[str, Any]) -> None:
    _, files, report, _ = objects(**with_files)
    command = container(report)["command"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(report)["volumeMounts"]}
    path = command[command.index("--alerts") + 1]

    assert path == f"{mounts['files']}/alerts.toml"
    assert files["data"]["alerts.toml"] == Path(with_files["alerts"]).read_text(encoding="utf-8")
    assert mounts["health"] == "/warmstall/health"


def expanded(word: str) -> str:
    """Kubernetes' own expansion of `command`: $$ is $, $(NAME) a variable, any other $ is itself."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        pytest.fail(f"a variable would be put in: {found[0]}")

    return re.sub(r"\$\$|\$\([^)]*\)", one, word)


@given(paths(":"))
@example("/a $(id) $$(id) $x")
@settings(max_examples=60, deadline=None)
def test_a_path_is_read_back_as_it_is(path: str) -> None:
    found = container(cron_jobs(out=path)[0])
    wanted = jobs(schedule(**{**GIVEN, "out": path}))[0]

    assert tuple(map(expanded, found["command"][6:])) == wanted.words
    assert path in [mount["mountPath"] for mount in found["volumeMounts"]]


@pytest.mark.parametrize(
    ("wished", "said"),
    [
        ({"image": ""}, "--image"),
        ({"logs_claim": ""}, "--logs-claim"),
        ({"collect": True}, "sees only itself"),
        ({"watch": True}, "sees only itself"),
        ({"out": "/a:b"}, "colon"),
        ({"paths": ("/var/log",)}, "mounted at /logs"),
    ],
)
def test_what_a_pod_cannot_do_is_refused(wished: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        objects(**wished)
