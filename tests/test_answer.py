"""The printed answer, summary.json and requests.csv keep their contracts, for any log."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import REQUEST_COLUMNS, Analysis, analyze
from warmstall.answer import answer, summarize, write_answer

HOSTILE = (
    "[GIN] 2026/11/20 - 20:49:03 | 200 |  1.5s |  127.0.0.1 | POST     "
    '"/api/chat?\x1b]0;owned\x07=<script>alert(1)</script>"\n'
)


def test_summary_has_every_key_of_the_contract(stall: Analysis) -> None:
    summary = summarize(stall)

    assert {"schema", "inputs", "servers", "requests", "loads", "counts", "offload", "devices", "windows", "hypotheses",
            "answer"} <= set(summary)  # fmt: skip
    assert {"path", "kind", "encoding", "lines", "recognized", "unrecognized", "undecodable", "first_at", "last_at",
            "zone", "zone_from"} <= set(summary["inputs"][0])  # fmt: skip
    assert {"total", "by_status", "inference", "inference_by_status", "by_verdict", "latency_s",
            "slowest"} <= set(summary["requests"])  # fmt: skip
    assert {"truncations", "evictions", "runner_crashes", "client_aborts", "load_timeouts", "vram_not_recovered",
            "queue_full"} == set(summary["counts"])  # fmt: skip
    assert summary["requests"]["by_verdict"] == {"cold_start": 1, "warm_ok": 44, "warm_stall": 2}
    assert summary["loads"] == {"count": 1, "completed": 1, "failed": 0, "seconds": [0.25]}


def test_summary_is_json_and_the_table_has_its_columns(stall: Analysis, tmp_path: Path) -> None:
    write_answer(stall, tmp_path)

    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((tmp_path / "requests.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == summary["requests"]["total"]
    assert list(rows[0]) == list(REQUEST_COLUMNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["requests.csv", "summary.json"]


def test_every_cell_of_the_table_reads_back_as_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas, quotes, empty texts, numbers that are not known, and more rows than are written at once."""
    log = tmp_path / "server.log"
    paths = ("/api/chat", '/a,"b"', " /x ", "#", "/ü\u2028", "'/api/generate'")
    walls = ["1.5s", "70µs", "20.000001ms", "1µs", "2m1s"] * 4
    lines = [
        f'[GIN] 2026/11/20 - 20:49:{second:02d} | 200 | {wall} |  127.0.0.1 | POST     "{paths[second % 6]}"\n'
        for second, wall in enumerate(walls)
    ]
    log.write_text("".join(lines), encoding="utf-8")
    monkeypatch.setattr("warmstall.answer._ROWS_WRITTEN_AT_ONCE", 7)
    found = analyze(log)
    write_answer(found, tmp_path / "out")

    written = pd.read_csv(tmp_path / "out" / "requests.csv", dtype=str, keep_default_na=False, encoding="utf-8")
    requests = found.requests()
    assert len(written) == 20
    for name in REQUEST_COLUMNS:
        if requests[name].dtype == float:
            assert pd.to_numeric(written[name]).tolist() == pytest.approx(requests[name].tolist(), abs=0, nan_ok=True)
        elif name.endswith("_at"):
            assert (
                written[name].tolist() == requests[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3].add("Z").tolist()
            )
        else:
            assert written[name].tolist() == requests[name].astype(str).tolist()


@pytest.mark.parametrize("name", ["warm-stall-runner-stopped", "reloads-two-models", "queue-one-slot"])
def test_the_answer_is_short_and_opens_with_the_verdict(name: str) -> None:
    lines = answer(analyze(INCIDENTS / name)).splitlines()

    assert len(lines) <= 25
    assert lines[2].startswith("Cold start or warm stall? ")


def test_hostile_text_does_not_reach_the_terminal(tmp_path: Path) -> None:
    """A path may hold an escape sequence; what is printed holds no control character."""
    log = tmp_path / "server.log"
    log.write_text(HOSTILE * 3, encoding="utf-8")
    text = answer(analyze(log))

    assert not [c for c in text if ord(c) < 32 and c != "\n"]


def test_a_log_of_access_lines_alone_shows_no_loads(tmp_path: Path) -> None:
    """As of somebody who searched for [GIN]: a slow one may have been cold, and so may all that are alike."""
    lines = [
        f'[GIN] 2025/01/18 - 20:{minute:02}:19 | 200 |  {wall:.3f}s |  172.30.0.1 | POST     "/api/chat"\n'
        for minute, wall in enumerate([5.1, 5.2, 48.6, 5.4, 5.0, 52.2, 4.9])
    ]
    log = tmp_path / "server.log"
    log.write_text("".join(lines))
    filtered = answer(analyze(log))
    log.write_text(
        "".join(lines) + 'time=2025-01-18T21:00:00.000Z level=INFO source=images.go:493 msg="total blobs: 1"\n'
    )
    whole = answer(analyze(log))

    assert "does not show whether its model was loaded" in filtered
    assert "its [GIN] lines alone" in filtered
    assert "not a cold start" in whole
    for text, claimed in ((filtered, False), (whole, True)):
        assert (" on a model in memory" in text, "no load" in text) == (claimed, claimed)


def test_a_log_without_requests_says_so(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        "time=2026-01-01T00:00:00.000Z level=INFO source=routes.go:1607 "
        'msg="Listening on 127.0.0.1:11434 (version 0.13.5)"\n'
    )
    found = analyze(log)

    assert "No request to a model has ended" in answer(found)
    assert summarize(found)["requests"]["slowest"] is None


def test_the_log_of_the_desktop_app_is_told_from_that_of_the_server(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    started = "time=2026-01-01T00:00:00.000Z level=INFO source=app_windows.go:282 "
    log.write_text(
        f'{started}msg="starting Ollama" app=C:\\Ollama version=0.30.6 OS=Windows/10.0.26200\n'
        f'{started}msg="starting ollama server"\n'
    )
    told = answer(analyze(log))

    assert "the log of Ollama's desktop app" in told
    assert "collect the server's own log" in told
    assert "hangs leaves no line" not in told


def test_a_load_whose_request_never_ends_is_told(tmp_path: Path) -> None:
    """Nobody loads a model for nothing; an access line of something else shows that such lines are kept."""
    loaded = (
        'time=2026-01-01T00:00:05.000Z level=INFO source=server.go:1385 msg="llama runner started in 13.89 seconds"\n'
    )
    other = '[GIN] 2026/01/01 - 00:02:45 | 404 |  0s |  127.0.0.1 | POST     "/api/event_logging/batch"\n'
    log = tmp_path / "server.log"
    texts = []
    for lines in (loaded + other, loaded):
        log.write_text(lines)
        texts.append(answer(analyze(log)))

    assert "the request it was loaded for (line 1) had not ended 2.7 min later" in texts[0]
    assert "a model was loaded in 13.9 s" in texts[1]
    assert "had not ended" not in texts[1]


def test_parts_of_a_download_that_stall_are_told(tmp_path: Path) -> None:
    stalled = (
        'time=2026-01-01T00:00:{:02}.000Z level=INFO source=download.go:370 msg="0a1b2c3d4e5f part {} stalled; '
        "retrying. If this persists, press ctrl-c to exit, then 'ollama pull' to find a faster connection.\"\n"
    )
    log = tmp_path / "server.log"
    log.write_text("".join(stalled.format(number, number) for number in range(3)))

    assert "parts of downloads stalled 3 times" in answer(analyze(log))


def test_a_cloud_model_whose_answer_broke_off_is_told(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        'time=2026-01-01T00:00:45.000Z level=WARN source=cloud_proxy.go:258 msg="cloud proxy response copy failed" '
        'path=/api/chat upstream_path=/api/chat status=200 error="stream error: stream ID 7; INTERNAL_ERROR"\n'
        '[GIN] 2026/01/01 - 00:00:45 | 200 |  45.1s |  127.0.0.1 | POST     "/api/chat"\n'
    )

    assert "an answer of a cloud model broke off" in answer(analyze(log))


def test_a_log_of_the_standard_error_alone_lacks_the_access_lines(tmp_path: Path) -> None:
    log = tmp_path / "ollama.err.log"
    task = "slot {}: id  0 | task {} | {}\n"
    lines = [
        task.format("launch_slot_", number, "processing task, is_child = 0")
        + task.format("print_timing", number, "      total time =    2100.00 ms /   120 tokens")
        + task.format("     release", number, "stop processing: n_tokens = 120, truncated = 0")
        for number in range(2)
    ]
    started = "time=2026-01-01T00:00:00.000Z level=INFO source=routes.go:1607 "
    log.write_text(f'{started}msg="Listening on 127.0.0.1:11434 (version 0.30.10)"\n' + "".join(lines))
    told = answer(analyze(log))

    assert "no access line ([GIN]) stands here" in told
    assert "collect the server's standard output too" in told


def test_local_times_without_a_zone_are_said_to_be_assumed(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text('[GIN] 2026/11/20 - 20:49:03 | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n')
    found = analyze(log, assumed_offset_s=3600)

    assert found.inputs()["zone_from"].tolist() == ["assumed"]
    assert "+01:00 is assumed" in answer(found)
    assert found.requests()["ended_at"].dt.hour.tolist() == [19]


def test_a_copy_of_a_log_is_not_counted_twice(tmp_path: Path) -> None:
    line = '[GIN] 2026/11/20 - 20:49:03 | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n'
    for name in ("server.log", "server (copy).log"):
        (tmp_path / name).write_text(line, encoding="utf-8")

    assert len(analyze(tmp_path).requests()) == 1


def test_lines_after_the_clocks_changed_stay_between_their_neighbours(tmp_path: Path) -> None:
    """The first access lines after the change still follow a line of the old offset."""
    log = tmp_path / "server.log"
    slog = 'time={} level=INFO source=sched.go:517 msg="loaded runners" count=1\n'
    gin = '[GIN] 2026/11/01 - {} | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n'
    log.write_text(
        slog.format("2026-11-01T01:50:00.000-04:00")  # 05:50 UTC
        + gin.format("01:10:00")  # by the old offset 05:10, before the line before it; by the new one 06:10
        + slog.format("2026-11-01T01:15:00.000-05:00"),  # 06:15 UTC
        encoding="utf-8",
    )

    assert analyze(log).requests()["ended_at"].dt.strftime("%H:%M").tolist() == ["06:10"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("cpu-by-rocm-mismatch", "2 cold starts, 1 of them a reload of a model"),
     ("silent-hangs-memlock", "3 cold starts, 2 of them reloads of a model")],
)  # fmt: skip
def test_reloads_are_counted_in_words(name: str, told: str) -> None:
    assert told in answer(analyze(INCIDENTS / name))


def test_a_call_that_needed_no_model_is_not_said_to_have_had_one(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text('[GIN] 2026/11/20 - 20:49:03 | 200 | 12.1ms |  127.0.0.1 | POST     "/api/generate"\n')

    assert "1 answered within a second" in answer(analyze(log))
    assert "on a model in memory" not in answer(analyze(log))


@pytest.mark.parametrize(
    ("end", "asks"),
    [("exit status 2", "Why a runner ended; collect"), ("signal: killed", "want of memory; collect the kernel's log")],
)
def test_a_runner_that_died_for_no_told_reason_is_asked_about(end: str, asks: str, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        'time=2026-03-14T12:00:05.000Z level=ERROR source=sched.go:455 msg="error loading llama server" '
        f'error="llama runner process has terminated: {end}"\n'
        '[GIN] 2026/03/14 - 12:00:05 | 500 |  2.5s |       127.0.0.1 | POST     "/api/chat"\n'
    )
    assert any(asks in line for line in answer(analyze(log)).splitlines())


@pytest.mark.parametrize("name", ["warm-stall-apple-silicon", "hangs-over-many-models"])
def test_layers_are_of_the_load_in_whose_lines_they_stand(name: str) -> None:
    found = analyze(INCIDENTS / name)
    loads = [load for timeline in found.timelines.values() for load in timeline.loads]
    offload = found.offload()

    assert len(offload)
    for row in offload.itertuples():
        before = max((load for load in loads if load.line <= row.line), key=lambda load: load.line)
        assert row.model == found.names.get(before.model, before.model)


@pytest.mark.parametrize(
    ("name", "told"),
    [("warm-stall-apple-silicon", "Most of the slow time went to 372 requests given up by their clients."),
     ("queue-one-slot", "no stall is proven. Above all: 23 waits in the queue."),
     ("cpu-by-rocm-mismatch", "Most of the slow time went to 29 requests slow to write their answers."),
     ("embedding-service-dies", "no stall is proven. Critical beside that: embedding service crash (confirmed).")],
)  # fmt: skip
def test_the_headline_tells_what_was_worst_whatever_the_question(name: str, told: str) -> None:
    headline = answer(analyze(INCIDENTS / name)).splitlines()[2]

    assert headline.endswith(told)


def test_the_headline_does_not_hide_that_most_is_not_explained(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    walls = ("1.2s", "1.1s", "1.3s", "1.2s", "1.1s", "1.2s", "95.0s")
    log.write_text(
        'time=2026-11-20T20:00:00.000Z level=INFO source=images.go:493 msg="total blobs: 1"\n'
        + "".join(
            f'[GIN] 2026/11/20 - 20:4{minute}:03 | 200 |  {wall} |  127.0.0.1 | POST     "/api/chat"\n'
            for minute, wall in enumerate(walls)
        )
    )
    told = answer(analyze(log))

    assert "Neither is proven. Most of the slow time went to 1 request not explained by this evidence." in told


def test_a_single_cause_comes_with_what_helps() -> None:
    lines = answer(analyze(INCIDENTS / "queue-one-slot")).splitlines()

    assert [line for line in lines if line.startswith("What helps against it: Send no more calls at once than")]
    assert not [line for line in lines if line.startswith("Together:")]


def test_refusals_are_told_first_where_most_requests_met_them(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    refused = '[GIN] 2026/11/20 - 20:49:0{} | 404 | 412.3µs |  127.0.0.1 | POST     "/api/chat"\n'
    log.write_text("".join(refused.format(second) for second in range(3)), encoding="utf-8")
    told = answer(analyze(log))

    assert "Above all: 3 requests refused before they ran (404)." in told
    assert "median 0.41 ms, 95 % within 0.41 ms" in told


@pytest.mark.parametrize(("day", "when"), [(20, "(from 20:48:51, "), (21, "(from 2026-11-21 20:48:51, ")])
def test_a_request_is_told_with_its_day_where_the_log_has_several(day: int, when: str, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        '[GIN] 2026/11/20 - 20:45:03 | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n'
        f'[GIN] 2026/11/{day} - 20:49:03 | 200 | 12.0s |  127.0.0.1 | POST     "/api/chat"\n'
    )

    assert when in answer(analyze(log))


def test_what_only_clients_know_is_asked_of_those_whose_records_are_not_here(tmp_path: Path) -> None:
    bare = tmp_path / "server.log"
    bare.write_bytes((INCIDENTS / "queue-one-slot" / "evidence" / "server" / "server.log").read_bytes())

    assert "have left no line; compare with the client's records." in answer(analyze(bare))
    assert "compare with the client's records" not in answer(analyze(INCIDENTS / "queue-one-slot"))


def test_of_several_logs_those_without_a_zone_are_counted(tmp_path: Path) -> None:
    """A rotated log may hold access lines alone; the newest one tells the zone of all."""
    (tmp_path / "server-1.log").write_text(
        'time=2026-11-20T18:00:00.000-05:00 level=INFO source=sched.go:517 msg="loaded runners" count=1\n'
        '[GIN] 2026/11/20 - 18:00:03 | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n'
    )
    (tmp_path / "server.log").write_text(
        '[GIN] 2026/11/20 - 20:49:03 | 200 |  1.5s |  127.0.0.1 | POST     "/api/chat"\n'
    )

    assert "(1 of them tells no zone; -05:00 is assumed)" in answer(analyze(tmp_path))


def test_a_server_whose_address_is_taken_is_told(tmp_path: Path) -> None:
    log = tmp_path / "journal.log"
    line = "Nov 20 20:4{0}:03 box {1}\n"
    log.write_text("".join(
        line.format(minute, "systemd[1]: Started Ollama Service.")
        + line.format(minute, "ollama[7]: Error: listen tcp 127.0.0.1:11434: bind: address already in use")
        for minute in range(3)
    ))  # fmt: skip

    assert "the server could not start 3 times, as something listens on its address already" in answer(analyze(log))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Error: connect ECONNREFUSED 127.0.0.1:11434\n", "what else was captured is told below"),
        ("INFO:     Started server process [12]\n", "and nothing else here stands out"),
    ],
)
def test_without_a_server_log_it_says_whether_there_is_more_to_read(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "app.log").write_text(text)

    assert told in answer(analyze(tmp_path))
