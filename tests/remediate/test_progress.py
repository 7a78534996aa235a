"""What two looks at a runner say: it goes on, it computes, or it stands still."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from warmstall.host import RecordedHost
from warmstall.remediate.actions.progress import Look, Slot, _slot, _state, _told, movement, worked
from warmstall.remediate.processes import Process
from warmstall.remediate.target import Target

PROCESS = Process(7, "b00t:1", 3, "/usr/local/lib/ollama/llama-server", "llama-server --model x")
AT = datetime(2026, 11, 3, tzinfo=UTC)
LOOK = Look(0.0, AT, PROCESS, "S", 10.0, None)
WRITES, READS, RESTS = Slot(True, 3, 12, 40), Slot(True, 3, None, 0), Slot(False, -1, None, 0)


def looks(*changes: dict[str, Any]) -> list[Look]:
    """Looks 5 s apart."""
    return [replace(LOOK, at_s=5.0 * number, **change) for number, change in enumerate(changes)]


@pytest.mark.parametrize(("change", "told"), [
    ({"process": None}, "gone"),
    ({"process": replace(PROCESS, started="b00t:2")}, "another one"),
    ({"expires_at": None}, "renewed"),
    ({"slots": (replace(WRITES, decoded_tokens=41),)}, "slots go on"),
    ({"slots": (replace(WRITES, prompt_tokens=524),)}, "slots go on"),
    ({"slots": (replace(WRITES, task=4),)}, "slots go on"),
])  # fmt: skip
def test_every_sign_of_work_counts(change, told):
    before = replace(LOOK, slots=(WRITES,))
    assert movement(before, before) == ""
    assert told in movement(before, replace(before, **change))


def test_a_runner_that_was_stopped_and_goes_on_moves():
    assert "goes on" in movement(replace(LOOK, state="T"), LOOK)
    assert movement(LOOK, replace(LOOK, state="T")) == ""


def test_waiting_costs_little_and_work_more():
    assert not worked(LOOK, replace(LOOK, at_s=5.0, cpu_s=10.05))
    assert worked(LOOK, replace(LOOK, at_s=5.0, cpu_s=10.2)), "four hundredths of a core"
    assert worked(LOOK, replace(LOOK, at_s=3600.0, cpu_s=10.5)), "however long between: it worked once"
    assert worked(LOOK, replace(LOOK, at_s=5.0, cpu_s=None)), "what is not told is no standing still"
    assert worked(replace(LOOK, pages_read=7), replace(LOOK, at_s=5.0, pages_read=900)), "it crawls, for want of memory"
    assert worked(LOOK, replace(LOOK, at_s=5.0, state="R")), "others take the processor from it"


def test_a_runner_that_waits_stands_still_after_the_whole_span_only():
    assert _told(looks({}, {}, {}, {}), 20.0, False) is None
    assert _told(looks({}, {}, {}, {}, {}), 20.0, False).state == "still"
    assert _told(looks({}, {}, {}, {"cpu_s": 12.0}, {"cpu_s": 12.0}), 20.0, True).state == "busy"


def test_one_that_computes_stands_still_only_by_its_slots():
    """A slot that writes has a token more at each answer; while it reads a prompt, older versions tell nothing."""
    spins = [{"cpu_s": 10.0 + 5.0 * number} for number in range(5)]
    assert _told(looks(*spins), 20.0, True).state == "busy"
    assert _told(looks(*[{**one, "slots": (WRITES, RESTS)} for one in spins]), 20.0, True).state == "still"
    assert _told(looks(*[{**one, "slots": (READS, RESTS)} for one in spins]), 20.0, True).state == "busy"
    silent = [{**one, "slots": (WRITES,) if number == 0 else None} for number, one in enumerate(spins)]
    assert _told(looks(*silent), 20.0, True).state == "busy", "one answer shows nothing"


def test_idle_slots_and_debuggers_are_no_hang():
    assert _told(looks(*[{"slots": (RESTS,)}] * 5), 20.0, False).state == "idle"
    assert _told(looks({}, {"state": "t"}), 20.0, False).state == "held"


def test_slots_of_both_shapes_are_read():
    """Newer llama-servers tell of the prompt, and give next_token as a list."""
    old = {"id": 0, "id_task": 3, "is_processing": True, "next_token": {"n_decoded": 40}}
    new = {**old, "n_prompt_tokens_processed": 12, "next_token": [{"n_decoded": 40}]}
    assert _slot(old) == replace(WRITES, prompt_tokens=None)
    assert _slot(new) == WRITES
    assert _slot({"is_processing": True, "id_task": "x", "next_token": "y"}) == Slot(True, 0, None, 0)


def test_processor_time_of_both_systems():
    linux = Target("t", RecordedHost(contents={"/proc/7/stat": "7 (a) b) T 3 7 7 0 -1 4 0 0 9 0 3000 1300 0 0 20 0"}))
    assert _state(linux, 7) == ("T", 43.0, 9)
    assert _state(linux, 8) == ("", None, None)
    outputs = {"ps -o state=,time= -p 7": "S+   75:01.25\n", "ps -o state=,time= -p 8": "R    1:02:03.50\n"}
    macos = Target("t", RecordedHost(system="Darwin", outputs=outputs))
    assert _state(macos, 7) == ("S+", 75 * 60 + 1.25, None)
    assert _state(macos, 8) == ("R", 3723.5, None)
    assert _state(macos, 9) == ("", None, None)
