"""A replay keeps what was before what, what overlapped, and how long clients waited."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from .recording import Recording
from .replay import replay

STARTED = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
BODY = {"model": "mid", "prompt": "slow network", "stream": False, "options": {"num_predict": 40}}


def _at(second: float) -> str:
    return (STARTED + timedelta(seconds=second)).isoformat(timespec="microseconds")


def _row(start_s: float, end_s: float, error: str = "", **request: object) -> dict[str, object]:
    return {"kind": "trial", "tag": None, "request": BODY | request, "start_ts": _at(start_s), "end_ts": _at(end_s),
            "model": "mid", "endpoint": "/api/generate", "status": 200, "error": error, "final": {}}  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """Five requests: a load, two at once, one whose client leaves, one whose runner is killed; then a look."""
    folder = tmp_path_factory.mktemp("recorded") / "v0.13.5" / "made_up"
    folder.mkdir(parents=True)
    rows = [
        _row(1.0, 1.2), _row(2.2, 3.0), _row(2.3, 3.1),
        _row(3.1, 3.6, "client timeout: closed connection after 0.5s", stream=True, options={"num_predict": 4000}),
        _row(3.6, 9.0, "gone", stream=True, options={"num_predict": 4000}),
        {"kind": "get", "path": "/api/ps", "start_ts": _at(9.5), "end_ts": _at(9.6), "status": 200, "body": ""},
    ]  # fmt: skip
    events = [
        {"ts": _at(0), "event": "serve started", "pid": 1},
        {"ts": _at(5.0), "event": "sent SIGKILL", "pid": 99},
        {"ts": _at(10.0), "event": "SIGTERM serve", "pid": 1},
    ]
    truth = {"env": {"OLLAMA_HOST": "127.0.0.1:1", "TZ": "UTC"}, "events": events}
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (folder / "trials_raw.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = replay(Recording(folder), tmp_path_factory.mktemp("played"))
    assert json.loads((out / "replay.json").read_text(encoding="utf-8"))["troubles"] == []
    assert "[GIN]" in (out / "server.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in (out / "trials_raw.jsonl").read_text(encoding="utf-8").splitlines()]


def _span(row: dict[str, object]) -> tuple[float, float]:
    start, end = (datetime.fromisoformat(str(row[name])).timestamp() for name in ("start_ts", "end_ts"))
    return start, end


def test_the_time_to_think_counts_from_the_end_before(played: list[dict[str, object]]) -> None:
    (_, first_end), (second, _) = _span(played[0]), _span(played[1])
    assert second - first_end == pytest.approx(1.0, abs=0.3)


def test_what_overlapped_overlaps(played: list[dict[str, object]]) -> None:
    (one, one_end), (two, _) = _span(played[1]), _span(played[2])
    assert one < two < one_end


def test_a_client_leaves_when_it_left(played: list[dict[str, object]]) -> None:
    start, end = _span(played[3])
    assert end - start == pytest.approx(0.5, abs=0.3)
    assert (played[3]["status"], played[3]["error"]) == (200, "client timeout: closed connection after 0.5s")


def test_the_runner_that_served_is_killed(played: list[dict[str, object]]) -> None:
    start, end = _span(played[4])
    assert end - start == pytest.approx(1.4, abs=0.7)
    assert "an error was encountered while running the model" in str(played[4]["error"])


def test_a_look_is_kept_as_it_came(played: list[dict[str, object]]) -> None:
    assert played[5]["status"] == 200
    assert "models" in json.loads(str(played[5]["body"]))
