"""flash-attention-off on a real service whose model is slow as long as flash attention is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from remediate.killed import lines_of, run_and_kill
from remediate.service import PROGRAMS, DrillService, act, drill_service
from warmstall.drill.timetable import Fault, Timetable
from warmstall.errors import ParameterError
from warmstall.remediate.actions.flash_attention_off import helped
from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.services import systemd
from warmstall.remediate.target import Target

NAME = "flash-attention-off"
ON = {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_KV_CACHE_TYPE": "q8_0"}
LINES = 10  # of the journal of a run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillService]:
    folder = tmp_path_factory.mktemp("flash")
    Timetable(0.0, (Fault("slow_decode", intensity=12.0), Fault("slow_prefill", intensity=6.0))).save(folder / "slow")
    (folder / "when").write_text("on")
    program = (str(PROGRAMS / "spilling_server.py"), str(folder / "when"))
    arguments = ("--timetable", str(folder / "slow"), "--gpu", "cuda:Drill GPU:24")
    with pytest.MonkeyPatch.context() as monkeypatch, drill_service(
        folder / "service", monkeypatch, environment=ON, arguments=arguments, program=program
    ) as service:  # fmt: skip
        yield service


@pytest.fixture
def service(made: DrillService) -> DrillService:
    made.reset()
    slow_when(made, "on")
    return made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a change that never comes into force: what is waited for in vain, and long enough for the way back."""
    monkeypatch.setattr(systemd, "_PATIENCE_S", 8.0)


def slow_when(service: DrillService, state: str) -> None:
    (service.folder.parent / "when").write_text(state)


def given(service: DrillService, **more: object) -> dict[str, object]:
    return {**service.parameters, "model": "gemma3", "prompt_words": 70, **more}


def is_off(service: DrillService) -> bool:
    there = service.environment()
    return there.get("OLLAMA_FLASH_ATTENTION") == "0" and "OLLAMA_KV_CACHE_TYPE" not in there


def as_before(service: DrillService) -> bool:
    return service.environment().items() >= ON.items() and not service.drop_ins.exists()


def test_it_is_turned_off_and_kept_because_it_helped(service):
    files, pid = service.files(), service.pid
    with Book(NAME, given(service)) as book:
        assert book.outcome().status == "planned"
    assert (service.files(), service.pid, service.journal.exists()) == (files, pid, False)

    outcome = act(NAME, given(service))
    assert outcome.status == "done", outcome
    assert "Faster in every try" in outcome.sentence
    assert outcome.after["decode_lowest_tokens_per_s"] > outcome.before["decode_highest_tokens_per_s"]
    assert "its line `server config` agrees" in str(outcome.steps)
    assert is_off(service)
    assert len(Journal(service.journal).entries()) == LINES

    pid = service.pid
    assert act(NAME, given(service)).status == "nothing to do"
    assert (service.pid, is_off(service)) == (pid, True)

    assert act(NAME, given(service, undo=True)).status == "done"
    assert as_before(service)
    assert service.files() == files


def test_it_is_taken_back_when_it_did_not_help(service):
    slow_when(service, "off")
    service.restart()
    files = service.files()
    outcome = act(NAME, given(service))
    assert outcome.status == "rolled back", outcome
    assert "Neither decode nor prefill became faster" in outcome.sentence
    assert as_before(service)
    assert service.files() == files


def test_what_does_not_come_into_force_is_taken_back(service, impatient):
    service.fault("ignore-drop-ins")
    outcome = act(NAME, given(service))
    assert outcome.status == "rolled back", outcome
    assert "OLLAMA_FLASH_ATTENTION is '1'" in outcome.sentence
    assert as_before(service)


@pytest.mark.parametrize("lines", lines_of(LINES))
def test_a_run_killed_after_any_line_is_recovered(service, lines):
    files = service.files()
    short = given(service, prompt_words=0)
    assert run_and_kill(lines, NAME, short), "the run has fewer lines"
    service.await_answer()  # a server that is just starting tells another thing at every look
    outcome = act(NAME, short)
    assert outcome.status in ("done", "nothing to do"), outcome
    if outcome.plan.mode == "undo":
        assert as_before(service)
        assert service.files() == files
    else:
        assert is_off(service)
    assert Journal(service.journal).unfinished(NAME, outcome.plan.target) is None


def test_another_plan_is_refused_and_another_model_is_left_alone(service):
    with Book(NAME, given(service, dry_run=False, approved_plan="0123456789ab")) as book:
        assert book.outcome().status == "refused"
    body = {"model": "tiny", "prompt": "Hello.", "stream": False}
    httpx.post(f"{service.url}/api/generate", json=body, timeout=60, trust_env=False, verify=False).raise_for_status()
    with Book(NAME, given(service, model="")) as book:  # a llama, and nobody named it
        assert book.outcome().status == "nothing to do"
    assert as_before(service)


@dataclass
class Recorded:
    """What the recorded server would be with other answers and settings."""

    version: str = "0.20.2"
    model: str = "gemma4:31b"
    family: str = "gemma4"
    flash: str = "1"
    cache: str = ""
    vram_bytes: int = 24_158_863_360


def state(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, **settings: object) -> dict[str, str]:
    """The states of the preconditions by their names."""
    both = {"OLLAMA_FLASH_ATTENTION": recorded.flash, "OLLAMA_KV_CACHE_TYPE": recorded.cache}
    held = {name: value for name, value in both.items() if value}
    monkeypatch.setattr(Target, "version", lambda _: recorded.version)
    monkeypatch.setattr("warmstall.remediate.actions.flash_attention_off.settings_now", lambda _: held)
    shown = Target.models_in_memory

    def models(target: Target):
        return [dataclasses.replace(one, name=recorded.model, details={"family": recorded.family},
                                    vram_bytes=recorded.vram_bytes) for one in shown(target)]  # fmt: skip

    with monkeypatch.context() as patch, Book(NAME, {"target": "recorded", **settings}) as book:
        patch.setattr(Target, "models_in_memory", models)
        return {one.name: f"{one.state}: {one.sentence}" for one in book.plan.preconditions}


FORCE, MODEL, CACHE = "flash attention in force", "a model that it can harm", "key-value cache"


def test_what_is_known_of_versions_and_models(monkeypatch):
    assert "upgrade to 0.20.4" in state(Recorded(), monkeypatch)[MODEL]
    past = state(Recorded(version="0.20.4"), monkeypatch)[MODEL]
    assert past.startswith("not needed")
    assert "kernels" in past
    assert state(Recorded(version="0.20.4"), monkeypatch, model="gemma4:31b")[MODEL].startswith("met")
    assert state(Recorded(model="llama3", family="llama"), monkeypatch)[MODEL].startswith("not needed")
    assert state(Recorded(vram_bytes=0), monkeypatch)[MODEL].startswith("not needed")
    old = Recorded(version="0.12.3", family="gptoss", model="gpt-oss:20b")
    assert state(old, monkeypatch)[MODEL].startswith("not met")

    assert state(Recorded(flash="0"), monkeypatch)[FORCE].startswith("not needed")
    assert state(Recorded(flash="", version="0.20.3"), monkeypatch)[FORCE].startswith("not needed")
    assert state(Recorded(flash="", version="0.20.4"), monkeypatch)[FORCE].startswith("met")
    assert state(Recorded(flash="", version="0.12.6", family="gemma3"), monkeypatch)[FORCE].startswith("met")
    assert state(Recorded(flash="", version="0.0.0"), monkeypatch)[FORCE].startswith("cannot tell")
    assert "unset too" in state(Recorded(cache="q8_0"), monkeypatch)[CACHE]


def measured(success: float | None, *decode: float, wall_s: float = 1.0) -> dict[str, float | None]:
    rates = [None] * 3 if not decode else [sorted(decode)[len(decode) // 2], min(decode), max(decode)]
    told = {f"{part}{which}_tokens_per_s": rate for part in ("decode", "prefill")
            for which, rate in zip(("", "_lowest", "_highest"), rates, strict=True)}  # fmt: skip
    return {"success_rate": success, "tries": 3.0, "wall_p50_s": wall_s if decode else None, **told}


def test_the_rule_by_which_it_is_kept():
    assert helped(measured(1.0, 10, 11, 12), measured(1.0, 13, 14, 15, wall_s=0.5)).ok
    assert helped(measured(0.0), measured(1.0, 13, 14, 15)).ok
    assert helped(measured(1.0, 10, 11, 12), measured(1.0, 11.5, 14, 15, wall_s=0.5)).ok is False, "the tries overlap"
    assert helped(measured(1.0, 10, 11, 12), measured(1.0, 13, 14, 15, wall_s=2.0)).ok is False, "but done later"
    assert helped(measured(1.0, 10, 11, 12), measured(2 / 3, 90, 91, 92, wall_s=0.1)).ok is False, "fewer came back"
    assert helped(measured(0.0), measured(0.0)).ok is False
    assert helped(measured(None), measured(None)).ok is None, "not measured"


def test_too_few_tries_are_refused():
    with pytest.raises(ParameterError, match="tries from 3"):
        Book(NAME, {"target": "recorded", "tries": 2}).plan  # noqa: B018
