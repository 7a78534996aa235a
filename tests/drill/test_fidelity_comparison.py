"""The comparison itself: nothing differs from itself, and what was changed is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import INCIDENTS
from warmstall.parse.log_events import event_in

from .differences import Difference
from .fidelity import RECORDINGS, compare, recordings
from .log_streams import streams_of
from .recording import Recording
from .same_answers import compare_answers, groups
from .same_events import compare_events, compare_shapes
from .same_verdicts import compare_verdicts

STALL = INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "server.log"


def _real(name: str) -> Recording:
    if not (folder := RECORDINGS / name).exists():
        pytest.skip("the recorded servers are not beside this checkout (../shared/real-ollama)")
    return Recording(folder)


def _without(log: Path, line: int, folder: Path) -> Path:
    lines = log.read_text(encoding="utf-8").split("\n")
    del lines[line - 1]
    (folder / "server.log").write_text("\n".join(lines), encoding="utf-8")
    return folder / "server.log"


def test_a_log_does_not_differ_from_itself() -> None:
    streams = streams_of(STALL)
    found = compare_events(streams, streams, concurrent=False)
    assert found.similarity == 1.0
    assert found.differences == compare_shapes(streams, streams) == []
    assert streams.server
    assert streams.access
    assert any(streams.runners)


def test_every_dropped_event_is_found(tmp_path: Path) -> None:
    streams = streams_of(STALL)
    for said in (streams.server[3], streams.access[5], streams.runners[-1][0]):
        without = streams_of(_without(STALL, said.line, tmp_path))
        found = compare_events(streams, without, concurrent=False)
        assert [(one.kind, one.what, one.count) for one in found.differences if one.kind != "fields"] == [
            ("missing", said.key, 1)
        ]
        assert found.similarity < 1.0


def test_a_moved_event_and_a_lost_field_are_found(tmp_path: Path) -> None:
    lines = STALL.read_text(encoding="utf-8").split("\n")
    streams = streams_of(STALL)
    one, two = (event.line - 1 for event in streams.server[1:3])
    field = next(n for n, line in enumerate(lines) if "inference compute" in line)
    assert event_in(lines[field]) is not None
    lines[one], lines[two] = lines[two], lines[one]
    lines[field] = lines[field].replace(" library=cpu", "")
    (tmp_path / "server.log").write_text("\n".join(lines), encoding="utf-8")
    kinds = {
        one.kind: one.what for one in compare_events(streams, streams_of(tmp_path / "server.log"), False).differences
    }
    assert kinds["fields"] == "gpu_inventory.library: text, drill absent"
    assert kinds.get("moved") or streams.server[1].key == streams.server[2].key


def _row(start: int, end: int, status: int = 200, **more: object) -> dict[str, object]:
    return {"kind": "trial", "start_ts": f"{start:03}", "end_ts": f"{end:03}", "endpoint": "/api/generate",
            "status": status, "error": "", "final": {}, **more}  # fmt: skip


def test_requests_that_compete_are_one_group() -> None:
    rows = [_row(0, 9), _row(1, 20), _row(5, 8, tag="unload"), _row(21, 25)]
    assert list(groups(rows).values()) == [[0, 1], [2], [3]]


def test_chance_may_refuse_another_request_but_not_one_more() -> None:
    real = [_row(0, 9), _row(0, 1, 503), _row(0, 20)]
    assert compare_answers(real, [_row(0, 1, 503), _row(0, 9), _row(0, 20)]) == []
    found = compare_answers(real, [_row(0, 1, 503), _row(0, 1, 503), _row(0, 20)])
    assert [(one.kind, one.what) for one in found] == [("missing", "200"), ("extra", "503")]


def test_keys_types_and_errors_of_answers() -> None:
    real = [_row(0, 1, final={"done": True, "eval_count": 3}), _row(2, 3, 500, error="model /a/b/c: 3 of 4")]
    drill = [_row(0, 1, final={"done": "yes"}), _row(2, 3, 500, error="model /d/e/f: 5 of 6")]
    assert {(one.kind, one.what) for one in compare_answers(real, drill)} == {
        ("missing", "eval_count: number"), ("missing", "done: true/false"), ("extra", "done: text"),
    }  # fmt: skip


def test_verdicts_of_a_group_find_each_other() -> None:
    rows = [_row(0, 9), _row(1, 9), _row(2, 9)]
    real, accepted = ["cold_start", "queue_wait", "warm_ok"], [{"queue_wait"}, set(), {"queue_wait"}]
    assert compare_verdicts(real, ["queue_wait", "queue_wait", "cold_start"], accepted, rows) == []
    found = compare_verdicts(real, ["queue_wait", "warm_stall", "cold_start"], accepted, rows)
    assert [(one.kind, "drill warm_stall" in one.what) for one in found] == [("other", True)]


@pytest.mark.parametrize("name", ["v0.3.14/eviction_thrash", "v0.13.5/queue_full", "v0.32.15/runner_crash"])
def test_a_recording_does_not_differ_from_itself(name: str) -> None:
    found = compare(_real(name), _real(name).folder)
    assert found.differences == []
    assert found.similarity == 1.0


def test_another_version_differs_much() -> None:
    found = compare(_real("v0.13.5/eviction_thrash"), _real("v0.3.14/eviction_thrash").folder)
    assert found.similarity < 0.8
    assert {one.area for one in found.differences} >= {"events", "raw"}


def test_a_dropped_line_of_a_recording_is_found(tmp_path: Path) -> None:
    real = _real("v0.13.5/eviction_thrash")
    shutil.copytree(real.folder, tmp_path / "drill")
    line = next(said.line for said in streams_of(real.folder / "server.log").server if said.key == "runners_loaded")
    _without(real.folder / "server.log", line, tmp_path / "drill")
    found = compare(real, tmp_path / "drill")
    assert [one for one in found.differences if one.area == "events"] == [
        Difference("events", "missing", "server", "runners_loaded")
    ]


def test_every_recording_can_be_read() -> None:
    """Long values have the recorded length, and every request a moment."""
    if not recordings():
        pytest.skip("the recorded servers are not beside this checkout (../shared/real-ollama)")
    for recording in recordings():
        if recording.not_replayed:
            continue
        assert recording.acts[-1].kind == "stop", recording.name
        assert recording.duration_s > 0, recording.name
        assert all("bytes>" not in json.dumps(act.body) for act in recording.acts if act.kind == "trial")
