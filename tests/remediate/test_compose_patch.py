"""Text for compose files and Kubernetes, read back by a YAML parser and merged as those programs merge it."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
import yaml

from warmstall.remediate.services.manifests import by_hand, compose_override, kubernetes_patch
from warmstall.remediate.services.wanted import Service, Wanted, wanted

# As in Ollama's own documentation and in many tutorials, with its variables as a list.
COMPOSE = """\
services:
  ollama:
    image: ollama/ollama:0.20.2
    ports: ["11434:11434"]
    volumes:
      - ollama:/root/.ollama
    environment:
      - OLLAMA_KEEP_ALIVE=24h
      - OLLAMA_FLASH_ATTENTION=1
      - OLLAMA_KV_CACHE_TYPE=q8_0
    ulimits:
      nofile: 1024
  webui:
    image: ghcr.io/open-webui/open-webui:main
volumes:
  ollama: {}
"""
WANTS = wanted(
    {"OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_KV_CACHE_TYPE": None}, {"MEMLOCK": "infinity", "NOFILE": "65536"}
)
NASTY = ["$HOME and ${X}", "yes", "0x10", "- a: b", "'quoted' \"twice\"", "# no comment", "{a: b}", "!!python/object",
         "*alias &anchor", "END_OF_1", "é漢字", "1e3", "null", " blanks "]  # fmt: skip


def compose_merge(base: Any, over: Any) -> Any:
    """Compose's rules for what stands in an override here: mappings merge, lists of variables count as mappings."""
    merged = dict(base)
    for name, value in over.items():
        before = merged.get(name)
        if name == "environment" and isinstance(before, list):
            before = dict(entry.split("=", 1) for entry in before)
        merged[name] = compose_merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def test_an_override_changes_one_service_of_a_compose_file_and_nothing_else():
    base = yaml.safe_load(COMPOSE)
    merged = compose_merge(base, yaml.safe_load(compose_override("ollama", WANTS)))
    ollama = merged["services"]["ollama"]
    # An empty value is what Ollama takes for none.
    assert ollama["environment"] == {
        "OLLAMA_KEEP_ALIVE": "24h", "OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_KV_CACHE_TYPE": "",
    }  # fmt: skip
    assert ollama["ulimits"] == {"memlock": {"soft": -1, "hard": -1}, "nofile": {"soft": 65536, "hard": 65536}}
    assert {name: ollama[name] for name in ("image", "ports", "volumes")} == {
        name: base["services"]["ollama"][name] for name in ("image", "ports", "volumes")
    }
    assert merged["services"]["webui"] == base["services"]["webui"]
    assert merged["volumes"] == base["volumes"]


@pytest.mark.parametrize("value", NASTY)
def test_values_stay_text_and_stay_themselves(value):
    wants = Wanted({"OLLAMA_LLM_LIBRARY": value}, {})
    told = yaml.safe_load(compose_override("ollama", wants))["services"]["ollama"]["environment"]["OLLAMA_LLM_LIBRARY"]
    assert told == value.replace("$", "$$"), "a `$` is doubled for compose, which replaces variables"
    patch = yaml.safe_load(kubernetes_patch("ollama", wants))
    assert patch["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "OLLAMA_LLM_LIBRARY", "value": value}]


def test_a_patch_names_the_container_and_removes_variables():
    patch = yaml.safe_load(kubernetes_patch("ollama", WANTS))
    off, unset = {"name": "OLLAMA_FLASH_ATTENTION", "value": "0"}, {"name": "OLLAMA_KV_CACHE_TYPE", "$patch": "delete"}
    assert patch["spec"]["template"]["spec"]["containers"] == [{"name": "ollama", "env": [off, unset]}]


@pytest.mark.parametrize("value", NASTY)
def test_what_is_pasted_into_a_shell_writes_the_same_file(value, tmp_path):
    """The first command is a here-document for an operator's shell: nothing in a value ends or changes it."""
    wants = Wanted({"OLLAMA_LLM_LIBRARY": value}, {})
    service = Service("compose", "", {"service": "ollama", "project": "rag", "files": "/srv/my rag/compose.yaml"})
    commands = by_hand(service, wants, "flash-attention-off", "ollama serve")
    subprocess.run(["sh", "-c", commands[0]], cwd=tmp_path, check=True)
    file = tmp_path / "compose.warmstall-flash-attention-off.yaml"
    assert file.read_text() == compose_override("ollama", wants)
    assert list(tmp_path.iterdir()) == [file]
    assert shlex.split(commands[-1]) == [
        "docker", "compose", "--project-name", "rag", "--file", "/srv/my rag/compose.yaml", "--file", file.name, "up",
        "--detach", "--no-deps", "ollama",
    ]  # fmt: skip


def test_kubernetes_gets_a_trial_before_the_patch_and_is_told_where_limits_are():
    service = Service("kubernetes", "", {"workload": "statefulset/ollama", "namespace": "models"})
    commands = by_hand(service, WANTS, "raise-service-limits", "")
    assert [shlex.split(line)[:2] for line in commands if line.startswith("kubectl")] == [
        ["kubectl", "patch"], ["kubectl", "patch"], ["kubectl", "rollout"],
    ]  # fmt: skip
    assert all("--namespace models statefulset/ollama" in line for line in commands if line.startswith("kubectl"))
    assert commands[2].endswith("--dry-run=server")
    assert "LimitMEMLOCK=infinity LimitNOFILE=65536 in a drop-in of containerd.service" in commands[-1]


def test_a_plain_process_gets_its_command_line():
    line = by_hand(Service("none"), WANTS, "raise-service-limits", "/usr/local/bin/ollama serve")[-1]
    assert shlex.split(line) == [
        "prlimit", "--memlock=unlimited", "--nofile=65536", "env", "--unset=OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_FLASH_ATTENTION=0", "/usr/local/bin/ollama", "serve",
    ]  # fmt: skip
    hostile = by_hand(Service("none"), WANTS, "raise-service-limits", "$(reboot); ollama serve")[-1]
    assert shlex.split(hostile)[-2:] == ["ollama", "serve"]
    assert "reboot" not in hostile
