"""persist-vector-store on containers that are real folders and processes, and on what Docker prints of others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import yaml

from remediate.docker import Store, vector_store
from remediate.killed import look_and_approve, run_and_kill
from warmstall.errors import CannotTell, InputError
from warmstall.remediate.actions.vector_store import find_container, stated_path, written_roots
from warmstall.remediate.book import Book
from warmstall.remediate.catalogue import runbook
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome
from warmstall.remediate.step import Action
from warmstall.remediate.target import Target, open_target

NAME = "persist-vector-store"
INSPECT = "docker inspect --type container --size chroma"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch, vector_store(tmp_path_factory.mktemp("docker") / "d", patch) as store:
        yield store


@pytest.fixture
def store(made: Store) -> Store:
    made.reset()
    return made


def parameters(store: Store, **more: Any) -> dict[str, Any]:
    return {**store.parameters, "tries": 1, "deadline_s": 5.0, **more}


def run(store: Store, **more: Any) -> Outcome:
    """Look at the plan, approve it, act."""
    return look_and_approve(NAME, parameters(store, **more))


def forget(store: Store) -> None:
    """As if the last run had been long ago: what it restarted may be restarted again."""
    (store.folder / "journal.jsonl").unlink()


def is_moved(store: Store) -> bool:
    return (store.volume / "chroma.sqlite3").exists() and (store.project / "compose.override.yaml").exists()


def is_as_before(store: Store) -> bool:
    layers = list((store.folder / "layers").glob("*/data/chroma.sqlite3"))
    return len(layers) == 1 and not (store.project / "compose.override.yaml").exists()


def test_a_dry_run_and_a_wrong_plan_change_nothing(store):
    files, processes, asked = store.files(), set(psutil.Process().children(recursive=True)), len(store.asked())
    with Book(NAME, parameters(store)) as book:
        assert [row.effect for row in book.plan.rows] == ["act"] * 4
        assert "chroma-kept:/data" in book.plan.summary
        assert book.outcome().status == "planned"
    with Book(NAME, parameters(store, dry_run=False, approved_plan="0123456789ab")) as book:
        assert book.outcome().status == "refused"

    verbs = {tuple(line.split()[1:2]) for line in store.asked()[asked:]}
    assert verbs == {("ps",), ("inspect",), ("diff",), ("image",), ("volume",), ("compose",)}
    assert not [line for line in store.asked()[asked:] if " up " in line]
    assert store.files() == files
    assert set(psutil.Process().children(recursive=True)) == processes
    assert not (store.folder / "journal.jsonl").exists()


def test_the_data_outlast_the_container_afterwards(store):
    compose = (store.project / "compose.yaml").read_bytes()
    outcome = run(store)
    assert (outcome.status, outcome.after["collections"]) == ("done", 2)
    assert is_moved(store)
    assert (store.project / "compose.yaml").read_bytes() == compose
    # What lost the data before: another image, and the container made anew by somebody who knows of no runbook.
    (store.project / "compose.yaml").write_bytes(compose.replace(b"1.0.20", b"1.0.21"))
    before = json.loads(store.docker("inspect", "chroma"))[0]["Id"]
    store.up()
    assert json.loads(store.docker("inspect", "chroma"))[0]["Id"] != before
    assert store.collections == 2
    (store.project / "compose.yaml").write_bytes(compose)
    store.up()

    again = run(store)
    assert again.status == "nothing to do"
    assert "the next container finds it" in again.sentence


@pytest.mark.parametrize(
    "fault", ["cp-fails", "cp-out-is-empty", "cp-in-volume-is-empty", "override-is-ignored", "no-start"]
)
def test_what_does_not_come_out_as_wanted_is_taken_back_with_all_data(store, fault):
    store.fault(fault)
    outcome = run(store, deadline_s=0.5)
    store.fault()
    assert outcome.status == "rolled back"
    store.await_answer()
    assert store.collections == 2
    assert is_as_before(store)


def test_a_way_back_that_does_not_work_is_said_with_what_is_left_to_do(store):
    store.fault("cp-in-is-empty", "cp-in-volume-is-empty")
    outcome = run(store, deadline_s=0.5)
    store.fault()
    assert outcome.status == "failed"
    copy = f"docker cp {store.copy}/. chroma:/data"
    assert f"{copy}, then docker start chroma" in outcome.sentence
    assert (store.copy / "segment-papers" / "data_level0.bin").exists()


def test_taking_it_back_later_keeps_what_was_written_meanwhile(store):
    assert run(store).status == "done"
    store.add("minutes")
    assert run(store, undo=True).status == "done"
    store.await_answer()
    assert store.collections == 3
    assert is_as_before(store)
    assert store.volume.exists()


def test_a_run_that_is_killed_at_any_line_is_brought_to_a_good_end(store):
    journal = Journal(store.folder / "journal.jsonl")
    ends = []
    for line in itertools.count(1):
        store.reset()
        if not run_and_kill(line, NAME, parameters(store)):
            break
        outcome = run(store)
        ends.append(outcome.status)
        store.await_answer()
        assert store.collections == 2, line
        assert is_moved(store) or is_as_before(store), line
        assert journal.unfinished(NAME, f"{open_target('local').host.name}:{store.port}") is None, line
    assert len(ends) > 14
    assert set(ends) <= {"done", "nothing to do"}, ends


def test_a_memory_limit_is_raised_without_touching_the_data(store):
    assert run(store).status == "done"
    volume = {path: path.read_bytes() for path in store.volume.rglob("*") if path.is_file()}
    forget(store)
    outcome = run(store, memory_limit_bytes=2**31)
    assert outcome.status == "done"
    assert json.loads(store.docker("inspect", "chroma"))[0]["HostConfig"]["Memory"] == 2**31
    assert {path: path.read_bytes() for path in store.volume.rglob("*") if path.is_file()} == volume
    held = yaml.safe_load((store.project / "compose.override.yaml").read_text())["services"]["chroma"]
    assert held == {"volumes": ["chroma-kept:/data"], "mem_limit": 2**31}
    assert store.collections == 2


def test_a_copy_and_a_volume_of_before_are_never_written_over(store):
    assert run(store).status == "done"
    assert run(store, undo=True).status == "done"
    store.await_answer()
    with Book(NAME, parameters(store)) as book:
        assert {one.name for one in book.plan.blocking} == {"new volume", "new copy"}
    forget(store)
    assert run(store, volume="kept-2", backup_to=str(store.project / "copy-2-warmstall")).status == "done"
    assert store.collections == 2


# What Docker says, changed in one thing.


def looked_at(change: Callable[[dict[str, Any], dict[str, str]], None], **settings: Any) -> tuple[Action, Target]:
    target = open_target("recorded:vector-store")
    outputs = target.host.outputs
    told = json.loads(outputs[INSPECT])
    change(told[0], outputs)
    outputs[INSPECT] = json.dumps(told)
    found = runbook(NAME)
    return found.build(target, {**found.settings, **settings}), target


def states(action: Action) -> dict[str, str]:
    return {one.name: one.state for one in action.preconditions if one.state != "met"}


def mounted(**mount: Any) -> Callable[[dict[str, Any], dict[str, str]], None]:
    def change(container: dict[str, Any], outputs: dict[str, str]) -> None:
        container["Mounts"] = [{"Type": "volume", "Name": "v", "Destination": "/data", "RW": True, **mount}]
        outputs["docker diff chroma"] = "C /run\n"

    return change


@pytest.mark.parametrize(
    ("change", "blocked"),
    [
        (mounted(Type="bind", Name=""), {"data": "not needed", "memory": "not needed"}),
        (mounted(), {"data": "not needed", "memory": "not needed"}),
        (mounted(Destination="/"), {"data": "not needed", "memory": "not needed"}),
        (mounted(Name="0" * 64), {}),
        (mounted(Type="tmpfs"), {"data": "not met", "memory": "not needed"}),
        (mounted(RW=False), {"data": "not met", "memory": "not needed"}),
        (mounted(Destination="/database"), {"data": "cannot tell", "memory": "not needed"}),
        (lambda one, _: one["HostConfig"].update(AutoRemove=True), {"stays when stopped": "not met"}),
        (lambda one, _: one.update(Image="sha256:other"), {"same image": "not met"}),
        (lambda one, outputs: outputs.update({"docker volume ls --quiet": "rag_chroma-kept\n"}),
         {"new volume": "not met"}),
        (lambda one, outputs: outputs.update({"find /srv/rag/chroma-copied-by-warmstall -mindepth 1": "/x"}),
         {"new copy": "not met"}),
        (lambda one, _: one.update(SizeRw=10**15), {"room": "not met"}),
        (lambda one, _: one["Config"].update(Labels={}), {"Compose": "not met"}),
        (lambda one, _: one["Config"]["Labels"].update({"com.docker.compose.project": "--file=x"}),
         {"Compose": "not met"}),
        (lambda one, _: one["State"].update(OOMKilled=True), {}),
    ],
)  # fmt: skip
def test_it_acts_only_where_that_is_safe_and_needed(change, blocked):
    action, _ = looked_at(change)
    assert states(action) == blocked
    assert bool(action.steps) == (blocked == {} or not {"data", "Compose"} & blocked.keys())


@pytest.mark.parametrize(
    "change",
    [
        lambda one, _: one["Config"].update(User="1000:1000"),
        lambda one, outputs: outputs.pop("docker compose version --short"),
    ],
)
def test_what_cannot_be_acted_on_is_given_as_exact_commands(change):
    action, target = looked_at(change)
    assert not [step for step in action.steps if step.apply]
    commands = [command for step in action.steps for command in step.by_hand]
    assert commands[0] == "docker stop -t 30 chroma"
    assert "docker cp chroma:/data/. /srv/rag/chroma-copied-by-warmstall" in commands
    assert any(command.startswith("cat > /srv/rag/compose.override.yaml <<'END'\n") for command in commands)
    assert commands[-1] == "docker start chroma"
    # They are shown in the order in which they are to be run, and each is what would have been run.
    assert [step.check(target).state for step in action.steps] == ["needed"] * 4


@pytest.mark.parametrize(
    ("limit", "killed", "wanted", "state"),
    [
        (0, False, 0, "not needed"), (2**30, True, 0, "not met"), (2**30, True, 2**31, "met"),
        (2**31, False, 2**31, "not needed"), (2**32, False, 2**31, "not met"), (2**30, False, 2**50, "not met"),
    ],
)  # fmt: skip
def test_a_memory_limit_is_only_raised_and_never_above_the_machine(limit, killed, wanted, state):
    def change(container: dict[str, Any], outputs: dict[str, str]) -> None:
        mounted()(container, outputs)
        container["HostConfig"]["Memory"], container["State"]["OOMKilled"] = limit, killed

    action, _ = looked_at(change, memory_limit_bytes=wanted)
    assert {one.name: one.state for one in action.preconditions}["memory"] == state
    assert [step.name for step in action.steps] == (
        ["make the container anew", "start the store"] if state == "met" else []
    )


@pytest.mark.parametrize(
    ("image", "variables", "path"),
    [
        ("chromadb/chroma:0.6.3", [], "/chroma/chroma"),
        ("chromadb/chroma:0.5.0", ["PERSIST_DIRECTORY=/here/"], "/here"),
        ("ghcr.io/chroma-core/chroma:1.0.20", [], "/data"),
        ("chromadb/chroma:1.1.0", ["CHROMA_PERSIST_PATH=/kept"], "/kept"),
        ("box:5000/chromadb/chroma:1.0.20@sha256:00", [], "/data"),
        ("chromadb/chroma:latest", [], None),
        ("qdrant/qdrant:v1.13.4", [], "/qdrant/storage"),
        ("qdrant/qdrant", ["QDRANT__STORAGE__STORAGE_PATH=./other"], "/qdrant/other"),
    ],
)
def test_where_a_store_writes_without_a_file_to_show_it(image, variables, path):
    def change(container: dict[str, Any], outputs: dict[str, str]) -> None:
        container["Config"].update(Image=image, Env=variables)
        container["Mounts"] = []
        outputs["docker diff chroma"] = ""

    if path is None:
        with pytest.raises(CannotTell, match="data_path="):
            looked_at(change)
    else:
        action, target = looked_at(change)
        assert stated_path(find_container(target)) == path
        assert states(action)["data"] == "cannot tell"


def test_files_that_are_there_count_more_than_any_default():
    """A configuration file of one's own moved the data: the version says one thing, the layer another."""
    _, target = looked_at(lambda _, outputs: outputs.update({"docker diff chroma": "A /chroma/chroma.sqlite3\n"}))
    container = find_container(target)
    assert (stated_path(container), written_roots(target, container)) == ("/data", ["/chroma"])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"container": "--privileged"}, "container"), ({"container": "a b"}, "container"),
        ({"data_path": "data"}, "data_path"), ({"data_path": "/da\nta"}, "data_path"),
        ({"volume": "../up"}, "volume"), ({"volume": "-v"}, "volume"), ({"backup_to": "here"}, "backup_to"),
        ({"backup_to": "/x/$(id)"}, "backup_to"), ({"compose_file": "-"}, "compose_file"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_no_name_or_path_is_refused(settings, complaint):
    with pytest.raises(InputError, match=complaint):
        looked_at(lambda *_: None, **settings)


def test_of_several_stores_one_must_be_named():
    rows = [{"Names": "chroma", "Image": "chromadb/chroma"}, {"Names": "q", "Image": "qdrant/qdrant"}]
    told = {"docker ps --all --no-trunc --format '{{json .}}'": "\n".join(map(json.dumps, rows))}
    with pytest.raises(CannotTell, match="container="):
        looked_at(lambda _, outputs: outputs.update(told))
    action, _ = looked_at(lambda _, outputs: outputs.update(told), container="chroma")
    assert len(action.steps) == 4
