"""Compose files are read, overridden and merged; what was not to change does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from warmstall.errors import CannotTell
from warmstall.remediate.services.compose_file import (
    is_own,
    merged,
    override_path,
    override_text,
    read_compose,
    service_in,
    volume_at,
)

BASE = """
# the comment of an operator
x-common: &common
  restart: unless-stopped
services:
  chroma:
    <<: *common
    image: chromadb/chroma:${TAG:-1.0.20}
    ports: ["8000:8000"]
    command: ["run", "/config.yaml"]
    volumes:
      - chroma-data:/chroma/chroma
      - {type: bind, source: ./config.yaml, target: /config.yaml, read_only: true}
  app:
    <<: *common
    environment: {CHROMA_URL: "http://chroma:8000"}
volumes:
  chroma-data:
"""


def paths_that_differ(one: Any, other: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            found
            for key in one.keys() | other.keys()
            for found in paths_that_differ(one.get(key), other.get(key), (*path, key))
        }
    return set() if one == other else {path}


def test_an_override_changes_what_it_names_and_nothing_else() -> None:
    base = read_compose(BASE)
    before = copy.deepcopy(base)
    text = override_text(base, "chroma", volumes={"/data": "chroma-kept"}, memory_limit_bytes=2**31)
    # By another reader than ours: Compose reads YAML, not our text.
    whole = merged([yaml.safe_load(BASE), yaml.safe_load(text)])

    assert is_own(text)
    assert not is_own(BASE)
    assert base == before == yaml.safe_load(BASE)
    assert paths_that_differ(before, whole) == {
        ("services", "chroma", "volumes"), ("services", "chroma", "mem_limit"), ("volumes", "chroma-kept"),
    }  # fmt: skip
    assert whole["services"]["chroma"]["volumes"][:2] == before["services"]["chroma"]["volumes"]
    assert volume_at(whole, "chroma", "/data") == "chroma-kept"
    assert whole["services"]["chroma"]["mem_limit"] == 2147483648


def test_a_limit_stands_where_the_base_has_its_own() -> None:
    base = {"services": {"store": {"deploy": {"resources": {"limits": {"memory": "1g", "cpus": "2"}}}}}}
    limits = merged([base, yaml.safe_load(override_text(base, "store", memory_limit_bytes=2**32))])["services"]["store"]

    assert limits == {"deploy": {"resources": {"limits": {"memory": "4294967296", "cpus": "2"}}}}


def test_values_reach_compose_as_they_are() -> None:
    """Whatever a value holds, it is one value of one variable: YAML cannot be left by it, and no variable is filled."""
    values = {"A": "no", "B": "1", "C": "x: {y}\n- z # '\"", "D": "${HOME}$", "E": "", "F": "1e3", "G": "\u2028é"}
    read = yaml.safe_load(override_text({"services": {"store": {}}}, "store", environment=values))

    assert {key: value.replace("$$", "$") for key, value in read["services"]["store"]["environment"].items()} == values
    assert "${" not in read["services"]["store"]["environment"]["D"].replace("$$", "")


@pytest.mark.parametrize(
    ("earlier", "later", "together"),
    [
        (["a:/x:ro", "/y"], ["b:/x"], ["/y", "b:/x"]),
        (["./here:/x"], [{"type": "volume", "source": "v", "target": "/x/"}],
         [{"type": "volume", "source": "v", "target": "/x/"}]),
        ([{"type": "tmpfs", "target": "/t"}], ["v:/x"], [{"type": "tmpfs", "target": "/t"}, "v:/x"]),
    ],
)  # fmt: skip
def test_volumes_are_merged_by_their_place_in_the_container(earlier, later, together) -> None:
    whole = merged([{"services": {"s": {"volumes": earlier}}}, {"services": {"s": {"volumes": later}}}])
    assert whole["services"]["s"]["volumes"] == together


def test_commands_are_taken_whole_and_other_lists_are_joined() -> None:
    one = {"services": {"s": {"command": ["a"], "dns": ["1.1.1.1"], "image": "i"}}}
    other = {"services": {"s": {"command": ["b"], "dns": ["8.8.8.8"], "image": None}}}
    assert merged([one, other])["services"]["s"] == {"command": ["b"], "dns": ["1.1.1.1", "8.8.8.8"], "image": "i"}


def test_a_folder_of_the_host_is_no_named_volume() -> None:
    compose = read_compose("services: {s: {volumes: ['./data:/data', '/srv/v:/v', 'gone:/g']}}")
    assert [volume_at(compose, "s", path) for path in ("/data", "/v", "/g")] == ["", "", ""]


def test_a_service_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(CannotTell, match="no service stor; there are store, app"):
        service_in(read_compose("services: {store: {}, app: {}}"), "stor")


@pytest.mark.parametrize("text", ["services: [", "- a\n- b", "just words", "services: {a: 1}", "version: 3", "\x00"])
def test_what_is_no_compose_file_is_refused(text: str) -> None:
    with pytest.raises(CannotTell, match="compose"):
        read_compose(text)


def test_tags_make_no_objects_and_are_read_over() -> None:
    compose = read_compose("services:\n  s:\n    ports: !reset []\n    labels: !override {a: b}\n    image: !x y\n")
    assert compose["services"]["s"] == {"ports": [], "labels": {"a": "b"}, "image": "y"}
    with pytest.raises(CannotTell):
        read_compose("!!python/object/apply:os.getcwd []")


def test_the_override_has_the_name_that_compose_reads_where_it_can() -> None:
    assert override_path(["/a/docker-compose.yml"]) == ("/a/docker-compose.override.yml", True)
    assert override_path(["/a/stack.yml"]) == ("/a/compose.warmstall.yaml", False)
