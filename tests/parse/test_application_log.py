"""What the services around Ollama log is typed, timed, and told apart from Ollama's own log."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.evidence import kind_of
from warmstall.parse.access_lines import access_in, unit_of
from warmstall.parse.application_lines import HEADS, MESSAGES
from warmstall.parse.application_log import holds_application_lines, is_application_log, parse_application_log
from warmstall.parse.application_records import message_in, record_in
from warmstall.parse.application_streams import lines_of
from warmstall.parse.encodings import decode, detect_encoding
from warmstall.schema import TABLES

ROOT = Path(__file__).resolve().parents[2]
GUNICORN = "[2026-11-21 09:00:00 +0100] [7] [INFO] "
TRACEBACK = (
    'Traceback (most recent call last):\n  File "/srv/rag.py", line 9, in ask\n    1 / 0\nZeroDivisionError: by zero'
)
GIN = '[GIN] 2026/11/20 - 20:49:02 | 200 |  1.2ms | 127.0.0.1 | POST     "/api/embed"'
SLOG = 'time=2026-11-21T08:59:58.000Z level=INFO source=images.go:493 msg="total blobs: 14"'


def events(text: str, **options: Any) -> list[dict[str, Any]]:
    rows = parse_application_log(text, **options).tables["events"]
    return [{**row, **json.loads(row["fields"])} for row in rows]


def only(text: str, **options: Any) -> dict[str, Any]:
    (event,) = events(text, **options)
    return event


# --- the tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_the_sample_of_a_head_is_found_by_it_first(head):
    assert next(row for row in HEADS if row.regex.match(head.sample)) is head
    record = record_in(head.sample)
    assert record is not None
    assert record.message
    assert record.level in ("INFO", "ERROR")


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row.sample[:40])
def test_the_sample_of_a_message_is_found_by_it_first(row):
    found = message_in(row.sample)
    assert found is not None
    assert found[0] is row


# --- worker crashes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Worker (pid:12) was sent SIGSEGV!", {"pid": 12, "signal": "SIGSEGV", "signal_number": 11}),
        ("Worker (pid:12) was sent SIGKILL! Perhaps out of memory?", {"pid": 12, "signal": "SIGKILL"}),
        ("Worker (pid:12) was sent code 139!", {"signal": "SIGSEGV", "signal_number": 11, "core_dumped": True}),
        ("Worker (pid:12) was sent code 134!", {"signal": "SIGABRT", "signal_number": 6, "core_dumped": True}),
        ("Worker (pid:12) was sent signal 64!", {"signal": "signal 64", "signal_number": 64}),
        ("Worker with pid 12 was terminated due to signal 9", {"pid": 12, "signal": "SIGKILL", "signal_number": 9}),
        ("Worker (pid:12) exited with code 3.", {"pid": 12, "exit_code": 3}),
    ],
)
def test_gunicorn_of_every_age_tells_how_a_worker_ended(line, expected):
    event = only(f"[2026-11-21 09:00:00 +0100] [7] [ERROR] {line}")
    assert event["key"] == "app_worker_crash"
    assert expected.items() <= event.items()
    assert str(event["at"]) == "2026-11-21 08:00:00"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Nov 21 09:00:00 box systemd[1]: embedder.service: Main process exited, code=dumped, status=11/SEGV",
         {"service": "embedder", "signal": "SIGSEGV", "core_dumped": True}),
        ("Nov 21 09:00:00 box systemd[1]: embedder.service: Main process exited, code=killed, status=9/KILL",
         {"service": "embedder", "signal": "SIGKILL", "signal_number": 9}),
        ("Nov 21 09:00:00 box systemd[1]: embedder.service: Main process exited, code=exited, status=1/FAILURE",
         {"service": "embedder", "exit_code": 1}),
        ("2026-11-21 09:00:00,123 INFO exited: embedder (terminated by SIGSEGV (core dumped); not expected)",
         {"service": "embedder", "signal": "SIGSEGV", "core_dumped": True}),
        ("2026-11-21 09:00:00,123 WARN exited: embedder (exit status 1; not expected)",
         {"service": "embedder", "exit_code": 1}),
        ("[2026-11-21 09:00:00,123: ERROR/MainProcess] Process 'Worker-1' pid:31 exited with 'signal 11 (SIGSEGV)'",
         {"process": "Worker-1", "pid": 31, "signal": "SIGSEGV"}),
        ("DAMN ! worker 2 (pid: 8) died, killed by signal 11 :( trying respawn ...", {"pid": 8, "signal": "SIGSEGV"}),
        ("embedder-1 exited with code 137", {"service": "embedder-1", "exit_code": 137, "signal": "SIGKILL"}),
        ("embedder_1 exited with code 139 (restarting)", {"signal": "SIGSEGV", "restarting": True}),
        ("2026-11-21T09:00:00.1Z container die 0123456789ab (exitCode=137, image=emb:1, name=emb-1)",
         {"service": "emb-1", "signal": "SIGKILL"}),
        ("/entrypoint.sh: line 5:    17 Segmentation fault      (core dumped) python app.py",
         {"pid": 17, "signal": "SIGSEGV", "core_dumped": True, "process": "python app.py"}),
        ("run.sh: line 2:    17 Killed                  gunicorn app:app", {"signal": "SIGKILL", "signal_number": 9}),
        ("INFO:     Child process [12] died", {"pid": 12}),
    ],
)  # fmt: skip
def test_other_supervisors_tell_it_too(line, expected):
    event = only(line)
    assert event["key"] == "app_worker_crash"
    assert expected.items() <= event.items()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (GUNICORN + "Worker (pid:12) was sent SIGTERM!", "app_worker_stop"),
        (GUNICORN + "Worker exiting (pid: 12)", "app_worker_stop"),
        ("embedder-1 exited with code 0", "app_stop"),
        ("embedder-1 exited with code 143", "app_stop"),
        ("2026-11-21 09:00:00,123 INFO stopped: embedder (terminated by SIGTERM)", "app_stop"),
        (
            "Nov 21 09:00:00 box systemd[1]: embedder.service: Main process exited, code=killed, status=15/TERM",
            "app_stop",
        ),
    ],
)
def test_an_end_in_good_order_is_no_crash(line, key):
    assert only(line)["key"] == key


def test_a_worker_killed_after_its_timeout_did_not_run_out_of_memory():
    text = "\n".join(
        [
            "[2026-11-21 09:00:30 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:12)",
            "[2026-11-21 09:00:31 +0000] [7] [ERROR] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?",
            "[2026-11-21 09:00:40 +0000] [7] [ERROR] Worker (pid:13) was sent SIGKILL! Perhaps out of memory?",
        ]
    )
    timeout, given_up, other = events(text)
    assert (timeout["key"], timeout["pid"]) == ("app_worker_timeout", 12)
    assert given_up["after_timeout"] is True
    assert "after_timeout" not in other


def test_units_and_containers_of_ollama_are_left_to_the_server_log():
    assert (
        events("Nov 21 09:00:00 box systemd[1]: ollama.service: Main process exited, code=killed, status=9/KILL") == []
    )
    assert events("ollama-1 exited with code 137") == []


# --- the life of a service ----------------------------------------------------------------------------------------


def test_a_life_of_gunicorn_with_uvicorn_workers():
    lines = [
        GUNICORN + "Starting gunicorn 23.0.0",
        GUNICORN + "Listening at: http://127.0.0.1:8000 (7)",
        GUNICORN + "Booting worker with pid: 12",
        "[2026-11-21 09:00:01 +0100] [12] [INFO] Started server process [12]",
        "[2026-11-21 09:00:02 +0100] [12] [INFO] Application startup complete.",
        "[2026-11-21 09:00:03 +0100] [7] [INFO] Shutting down: Master",
    ]
    parsed = parse_application_log("\n".join(lines))
    found = [row["key"] for row in parsed.tables["events"]]
    assert found == ["app_start", "app_worker_start", "app_stop"]  # the worker's second line is no second worker
    assert parsed.lines == set(range(1, 7))
    assert events(lines[0])[0]["version"] == "23.0.0"


def test_a_life_under_systemd():
    unit = "2026-11-21T09:10:05+0100 box systemd[1]: embedder.service:"
    lines = [
        "2026-11-21T09:00:00+0100 box systemd[1]: Started embedder.service - Embedding service.",
        "2026-11-21T09:00:01+0100 box python[40]: INFO:     Uvicorn running on http://0.0.0.0:8000 (CTRL+C quits)",
        f"{unit} A process of this unit has been killed by the OOM killer.",
        f"{unit} Main process exited, code=killed, status=9/KILL",
        f"{unit} Failed with result 'oom-kill'.",
        f"{unit} Scheduled restart job, restart counter is at 3.",
    ]
    found = events("\n".join(lines))
    assert [event["key"] for event in found] == [
        "app_start", "app_start", "app_oom_kill", "app_worker_crash", "app_restart",
    ]  # fmt: skip
    assert found[1]["service"] == "python"
    assert found[1]["address"] == "http://0.0.0.0:8000"
    assert found[4]["restarts"] == 3
    assert str(found[4]["at"]) == "2026-11-21 08:10:05"
    assert parse_application_log("\n".join(lines)).lines == set(range(1, 7))


def test_vector_stores_and_embedding_servers_say_who_they_are():
    assert only("Connect to Chroma at: http://localhost:8000")["service"] == "chroma"
    line = "2026-11-21T09:00:00.100000Z  INFO qdrant::actix: Qdrant HTTP listening on 6333"
    assert (only(line)["service"], str(only(line)["at"])) == ("qdrant", "2026-11-21 09:00:00.100000")


# --- requests -----------------------------------------------------------------------------------------------------

CLF = '10.0.0.9 - - [21/Nov/2026:09:00:02 +0100] "POST /embed?text=secret HTTP/1.1" 200 412 "-" "python-httpx/0.28"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (CLF, {"method": "POST", "path": "/embed", "status": "200", "client": "10.0.0.9"}),
        (f"{CLF} 1.250000", {"wall_s": 1.25}),
        (f"{CLF} 1.250 0.900", {"wall_s": 1.25}),
        (f'{CLF} "1.250"', {"wall_s": 1.25}),
        (f'{CLF} rt=1.250 uct="0.001" urt="1.249"', {"wall_s": 1.25}),
        (f"{CLF} 1250ms", {"wall_s": 1.25}),
        (f"{CLF} 1250 ms", {"wall_s": 1.25}),
        (f"{CLF} 1.250000s", {"wall_s": 1.25}),
        (f"{CLF} 1/1250000", {"wall_s": 1.25}),
        ('INFO:     10.0.0.9:51234 - "GET /health HTTP/1.1" 503 Service Unavailable',
         {"path": "/health", "status": "503", "client": "10.0.0.9:51234"}),
        ('INFO:     [21-11-2026 09:00:00] 10.0.0.9:51234 - "GET /api/v1/heartbeat HTTP/1.1" 200',
         {"path": "/api/v1/heartbeat", "local_at": datetime(2026, 11, 21, 9), "at": None}),
        ('2026-11-21T09:00:00.500000Z  INFO actix_web::middleware::logger: 10.0.0.9 "PUT /collections/docs/points '
         'HTTP/1.1" 200 90 "-" "python-client/1.15" 0.043096', {"wall_s": 0.043096, "client": "10.0.0.9"}),
        ('127.0.0.1 - - [21/Nov/2026 09:00:00] "GET / HTTP/1.1" 200 -', {"local_at": datetime(2026, 11, 21, 9)}),
        ('2026-11-21T09:00:00.500000Z  INFO embed{total_time="720.5ms" queue_time="1ms"}: text_embeddings_router: OK',
         {"path": "/embed", "wall_s": 0.7205}),
        ('{"timestamp": "2026-11-21T09:00:00Z", "level": "info", "event": "x", "method": "POST", "path": "/ask?q=x", '
         '"status": 200, "duration_ms": 1250}', {"path": "/ask", "wall_s": 1.25, "at": datetime(2026, 11, 21, 9)}),
    ],
)  # fmt: skip
def test_a_request_is_read_with_its_time(line, expected):
    event = only(line)
    assert event["key"] == "app_request"
    assert event.get("wall_s") == pytest.approx(expected.pop("wall_s", None))
    assert {name: event.get(name) for name in expected} == expected


def test_the_query_of_a_request_is_not_kept_as_its_path():
    assert "secret" not in json.dumps(only(CLF)["path"])


def test_a_figure_that_is_no_duration_is_not_taken_for_one():
    assert "wall_s" not in only(f'{CLF} "2.43"')  # $gzip_ratio
    assert "wall_s" not in only(f"{CLF} <4242>")  # %(p)s


def test_what_a_client_library_logs_is_no_request_served():
    assert access_in('http://ollama:11434 "POST /api/embed HTTP/1.1" 200 None') is None
    assert access_in('HTTP Request: POST http://ollama:11434/api/embed "HTTP/1.1 200 OK"') is None


def bare(*numbers: int) -> str:
    head = "[2026-11-21 09:00:00 +0100] [7] [INFO] Starting gunicorn 23.0.0\n"
    return head + "\n".join(f"{CLF.replace(':02 ', f':{second + 2:02} ')} {n}" for second, n in enumerate(numbers))


def test_bare_numbers_count_where_the_log_leaves_one_unit():
    # The service was three seconds old: 900 ms would do for the first, 400 s or 400,000 s not for the second.
    found = [event["wall_s"] for event in events(bare(900, 400_000)) if event["key"] == "app_request"]
    assert found == pytest.approx([0.0009, 0.4])


def test_bare_numbers_stay_numbers_where_several_units_make_sense():
    found = [event for event in events(bare(0, 2)) if event["key"] == "app_request"]
    assert [event.get("request_time") for event in found] == [0, 2]
    assert not any("wall_s" in event for event in found)
    assert unit_of([], []) == ""


def test_a_stated_unit_is_believed():
    found = [event["wall_s"] for event in events(bare(0, 2), request_time_unit="s") if event["key"] == "app_request"]
    assert found == [0.0, 2.0]


def requests(*walls: float, path: str = "/embed") -> str:
    return "\n".join(f"{CLF.replace('/embed', path)} {wall:.6f}" for wall in walls)


def slow(text: str) -> list[float]:
    return [event["wall_s"] for event in events(text) if event["key"] == "app_slow_request"]


def test_a_request_is_slow_against_the_others_of_its_path():
    event = next(e for e in events(requests(0.2, 0.2, 0.3, 0.2, 0.2, 2.5)) if e["key"] == "app_slow_request")
    assert (event["wall_s"], event["median_s"], event["line"]) == (2.5, 0.2, 6)


@pytest.mark.parametrize("walls", [(0.2, 0.2, 0.2, 0.2, 2.5), (0.01, 0.01, 0.01, 0.01, 0.01, 0.9),
                                   (0.3, 0.3, 0.3, 0.3, 0.3, 2.9)])  # fmt: skip
def test_a_request_is_not_called_slow_with_few_others_under_a_second_or_near_the_usual(walls):
    assert slow(requests(*walls)) == []


def test_paths_are_compared_with_themselves():
    assert slow(requests(0.01, 0.01, 0.01, 0.01, 0.01, 0.01, path="/health") + "\n" + requests(2.5)) == []


def test_what_a_service_calls_slow_is_slow():
    event = only("2026-11-21 09:00:00,123 WARNING chroma.api slow query: collection docs took 12.5s")
    assert (event["key"], event["wall_s"]) == ("app_slow_request", 12.5)
    event = only(
        "2026-11-21 09:00:00,123 WARNING asyncio: Executing <Handle index() at /srv/rag.py:3> took 1.250 seconds"
    )
    assert (event["key"], event["wall_s"]) == ("app_slow_request", 1.25)


# --- errors and tracebacks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 09:00:00,123 - app.rag - ERROR - no index",
        "2026-11-21 09:00:00,123 ERROR app.rag: no index",
        "2026-11-21 09:00:00,123 [ERROR] app.rag: no index",
        "2026-11-21 09:00:00.123 | CRITICAL | app.rag:load:12 - no index",
        "2026-11-21T09:00:00.123456Z ERROR qdrant::segment: no index",
        "2026-11-21T09:00:00.123456Z [error    ] no index",
        "ERROR:app.rag:no index",
        "ERROR:    no index",
        "2026/11/21 09:00:00 [crit] 22#22: *7 no index",
        '{"ts": 1795251600.5, "levelname": "ERROR", "message": "no index"}',
        '{"time": 1795251600500, "severity": "fatal", "msg": "no index"}',
    ],
)
def test_an_error_is_one_in_every_dialect(line):
    event = only(line)
    assert event["key"] == "app_error"
    assert event["message"].endswith("no index")
    assert event["level"] in ("ERROR", "CRITICAL")


def test_what_is_no_error_makes_no_event_but_is_understood():
    parsed = parse_application_log("2026-11-21 09:00:00,123 INFO app: indexing\nprinted by somebody")
    assert parsed.tables["events"] == []
    assert parsed.lines == {1}


def test_a_traceback_takes_time_and_writer_from_the_record_above_it():
    text = f"[2026-11-21 09:00:00 +0100] [12] [ERROR] Error handling request /ask\n{TRACEBACK}"
    error, traced = events(text)
    assert (error["key"], traced["key"], traced["line"]) == ("app_error", "app_traceback", 2)
    assert (traced["pid"], str(traced["at"])) == (12, "2026-11-21 08:00:00")
    assert traced["logged"] == "Error handling request /ask"
    assert (traced["exception"], traced["message"]) == ("ZeroDivisionError", "by zero")
    assert traced["frames"] == ["/srv/rag.py:9:ask"]
    assert parse_application_log(text).lines == {1, 2, 3, 4, 5}


def test_a_record_that_is_a_traceback_is_no_error_besides():
    event = only(f"ERROR:    {TRACEBACK}")
    assert event["key"] == "app_traceback"
    assert "logged" not in event


@pytest.mark.parametrize("intro", ["Exception in thread indexer:\n", "Fatal Python error: Aborted\n\n"])
def test_a_traceback_that_no_record_printed_has_no_time_of_its_own(intro):
    traced = events(f"[2026-11-21 09:00:00 +0100] [12] [ERROR] disk is full\n{intro}{TRACEBACK}")[1]
    assert traced["key"] == "app_traceback"
    assert (traced["at"], traced["before_at"]) == (None, datetime(2026, 11, 21, 8))
    assert "pid" not in traced


def test_a_traceback_within_json_is_read():
    line = json.dumps(
        {"timestamp": "2026-11-21T09:00:00Z", "level": "error", "event": "failed", "exception": TRACEBACK}
    )
    assert {event["key"] for event in events(line)} == {"app_error", "app_traceback"}
    assert len({event["at"] for event in events(line)}) == 1


# --- times --------------------------------------------------------------------------------------------------------


def test_a_zone_makes_a_time_utc_and_none_leaves_it_local():
    assert only("[2026-11-21 09:00:00 -0500] [7] [ERROR] x")["at"] == datetime(2026, 11, 21, 14)
    event = only("2026-11-21 09:00:00,123 ERROR app x")
    assert (event["at"], event["local_at"]) == (None, datetime(2026, 11, 21, 9, 0, 0, 123000))


def test_a_wrapper_with_a_zone_is_preferred_to_a_local_time():
    event = only("2026-11-21T08:00:00.5Z 2026-11-21 09:00:00,123 ERROR app x")
    assert (event["at"], event["local_at"]) == (datetime(2026, 11, 21, 8, 0, 0, 500000), None)


def test_a_line_without_time_lies_between_its_neighbours():
    first, last = GUNICORN.replace("09:00:00", "08:59:00"), GUNICORN.replace(":00 ", ":09 ")
    text = f"{first}Handling signal: hup\n{GUNICORN}Hang up: Master\nERROR:    no index\n{last}Shutting down: Master"
    event = next(event for event in events(text) if event["key"] == "app_error")
    assert (event["at"], event["before_at"], event["after_at"]) == (
        None, datetime(2026, 11, 21, 8), datetime(2026, 11, 21, 8, 0, 9),
    )  # fmt: skip


def test_a_local_time_is_no_neighbour():
    event = events("2026-11-21 09:00:00,123 ERROR app x\nERROR:    no index")[1]
    assert (event["before_at"], event["after_at"]) == (None, None)


def test_a_year_is_taken_from_when_it_was_captured():
    line = "Dec 31 23:59:58 box embedder[40]: ERROR:    no index"
    assert only(line)["time_without_year"] == "Dec 31 23:59:58"
    event = only(line, captured_at=datetime(2027, 1, 2))
    assert (event["local_at"], event["service"]) == (datetime(2026, 12, 31, 23, 59, 58), "embedder")


# --- several services in one log ----------------------------------------------------------------------------------


def test_interleaved_services_are_told_apart():
    app = [f"app-1     | {line}" for line in f"ERROR:    {TRACEBACK}".split("\n")]
    other = [f"chroma-1  | {line}" for line in TRACEBACK.replace("rag.py", "db.py").split("\n")]
    mixed = [line for pair in zip(app, other, strict=True) for line in pair]
    found = events("\n".join([f"ollama-1  | {SLOG}", *mixed, f"ollama-1  | {GIN}"]))
    assert [(event["service"], event["frames"]) for event in found] == [
        ("app-1", ["/srv/rag.py:9:ask"]),
        ("chroma-1", ["/srv/db.py:9:ask"]),
    ]
    # Ollama's lines are passed over, but their times count.
    assert found[0]["before_at"] == datetime(2026, 11, 21, 8, 59, 58)
    assert parse_application_log("\n".join(mixed)).lines == set(range(1, 9))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda line: f"app-1  | {line}",
        lambda line: f"2026-11-21T09:00:00.1Z {line}",
        lambda line: f"2026-11-21T09:00:00.1Z stderr F {line}",
        lambda line: f"[pod/rag-0/app] {line}",
        lambda line: f"Nov 21 09:00:00 box gunicorn[12]: {line}",
        lambda line: json.dumps({"log": line + "\n", "stream": "stderr", "time": "2026-11-21T09:00:00.1Z"}),
        lambda line: json.dumps({"MESSAGE": line, "SYSLOG_IDENTIFIER": "a", "__REALTIME_TIMESTAMP": "1795251600"}),
    ],
    ids=["compose", "docker", "cri", "kubectl", "journald", "docker json", "journald json"],
)  # fmt: skip
def test_wrapped_lines_say_the_same(wrap):
    crash = GUNICORN.replace("INFO", "ERROR") + "Worker (pid:12) was sent SIGSEGV!"
    text = f"{GUNICORN}Starting gunicorn 23.0.0\n{crash}\n{TRACEBACK}"
    text = "\n".join(map(wrap, text.split("\n")))
    found = events(text)
    assert [event["key"] for event in found] == ["app_start", "app_worker_crash", "app_traceback"]
    assert found[0]["at"] == datetime(2026, 11, 21, 8)
    assert is_application_log(text.split("\n"))
    assert len(parse_application_log(text).lines) == 6


def test_a_level_before_a_bar_is_no_container():
    assert [line.service for line in lines_of("ERROR  | no index\napp-1  | no index")] == ["", "app-1"]


def test_whatever_a_container_of_ollama_prints_is_left_to_the_server_log():
    lines = [f"ollama-1  | {GIN}", "ollama-1  | ERROR:    no index", "app-1     | ERROR:    no index"]
    assert only("\n".join(lines))["service"] == "app-1"


def test_lines_of_the_kernel_are_left_to_the_kernel_log():
    assert events("Nov 21 09:00:00 box kernel: ERROR:    Worker (pid:12) was sent SIGSEGV!") == []


# --- recognition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GUNICORN + "x", "INFO:     Started server process [7]", TRACEBACK, CLF,
                                  "2026-11-21 09:00:00,123 INFO app: a\n" * 3])  # fmt: skip
def test_an_application_log_is_one_wherever_it_begins(text):
    lines = ["$ docker logs app", "```", "", *([CLF] * 3 if text == CLF else text.split("\n")), "```"]
    assert is_application_log(lines)
    assert kind_of("\n".join(lines).encode()) != "server-log"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GIN,
        SLOG,
        "The worker said `[2026-11-21 09:00:00 +0000] [7] [INFO] x`, then *Traceback (most recent call last):* came.",
        "# Kernel: notes\n\nWorker timeouts (see below) are common.\n\n- ERROR: no\n- INFO: yes",
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 3.",
        "start_ts,end_ts,model,endpoint,status\n2026-11-20T20:49:03+00:00,2026-11-20T20:49:04+00:00,mid,/api/chat,200",
        '{"ts": "2026-11-20T20:49:03+00:00", "procs": []}\n' * 4,
        '{"function":"initialize","level":"INFO","line":448,"msg":"slots","tid":"1","timestamp":1795293000}\n' * 4,
        "[  510.762654] python invoked oom-killer: gfp_mask=0xcc0\n" * 4,
        "2026-11-21 09:00:00,123 INFO one line only",
    ],
)
def test_other_captures_and_prose_are_none(text):
    assert not is_application_log(text.split("\n"))
    assert not holds_application_lines(text.split("\n"))


def test_a_server_log_with_other_services_in_it_is_both():
    lines = [f"ollama-1  | {GIN}", "app-1  | INFO:     Started server process [7]"]
    assert not is_application_log(lines)
    assert holds_application_lines(lines)


def logs_of_ollama(shared: Path) -> list[Path]:
    found = [*(shared / "corpus").rglob("*"), *(shared / "real-ollama").rglob("*")]
    return [path for path in found if path.is_file()]


def test_no_capture_of_ollama_is_an_application_log(shared):
    paths = logs_of_ollama(shared)
    assert len(paths) > 150
    taken = []
    for path in paths:
        data = path.read_bytes()
        if is_application_log(decode(data, detect_encoding(data)).split("\n")):
            taken.append(path.name)
    assert taken == []


def test_a_real_capture_of_several_services_gives_those_of_the_others(shared):
    path = shared / "corpus" / "server-log" / "v0.24.0-compose-embed-404.log"
    text = path.read_text(encoding="utf-8", errors="replace")
    assert holds_application_lines(text.split("\n"))
    found = events(text)
    lines = text.split("\n")

    def numbers(*words: str) -> list[int]:
        return [number for number, line in enumerate(lines, 1) if all(word in line for word in words)]

    def of(key: str) -> list[int]:
        return [event["line"] for event in found if event["key"] == key]

    assert of("app_traceback") == numbers("Traceback (most recent call last)")
    assert len({event["fingerprint"] for event in found if event["key"] == "app_traceback"}) == 1
    assert of("app_worker_crash") == numbers("exited with code 3")
    assert of("app_worker_start") == numbers("Started server process")
    assert of("app_request") == numbers("app-1", "HTTP/1.1")
    assert not any("ollama-1" in lines[number - 1][:10] for number in parse_application_log(text).lines)


# --- hostile input ------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(head.sample for head in HEADS),
        *(row.sample for row in MESSAGES),
        *TRACEBACK.split("\n"),
        GIN,
        SLOG,
        CLF + " 900",
        'INFO:     10.0.0.9:1 - "GET / HTTP/1.1" 200',
        '10.0.0.9 - - [21/Nov/2026 09:00:00] "GET / HTTP/1.1" 200 -',
        " 1.250 rt=9",
        "app-1  | ",
        "2026-11-21T09:00:00.1Z ",
        "2026-11-21T09:00:00.1Z stderr P ",
        "[pod/a/b] ",
        "Nov 21 09:00:00 box a[1]: ",
        '{"log":"x\\n","time":"9"}',
        '{"level":"ERROR","message":"x","time":1e400}',
        '{"level":1,"message":[],"ts":-1}',
        '{"status":200,"method":"GET","path":"/","time":1,"duration_ms":' + "9" * 400 + "}",
        "[" * 5000,
        "9" * 400,
        "Worker (pid:999999999) was sent code 99999!",
        "[2026-13-45 99:99:99 +9999] [7] [ERROR] x",
        "\x1b[31m",
        "\0",
        "\ud800",
        '"GET /' + "x" * 9000,
        "1795251600.5 ",
        "31-02-2026 09:00:00 ",
        "-" * 3000,
        " " * 3000 + "INFO",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(PIECES | st.text(max_size=20), max_size=3).map("".join), max_size=25))
def test_any_lines_can_be_parsed(lines):
    is_application_log(lines)
    holds_application_lines(lines)
    text = "\n".join(lines)
    parsed = parse_application_log(text, datetime(2026, 11, 22))
    assert parsed.lines <= set(range(1, text.count("\n") + 2))
    assert {row["line"] for row in parsed.tables["events"]} <= parsed.lines
    for row in parsed.tables["events"]:
        assert set(row) | {"host", "source"} == set(TABLES["events"])
        json.loads(row["fields"]).keys()
    pyarrow.Table.from_pylist(parsed.tables["events"])


def test_haproxy_tells_when_a_request_came_how_long_it_took_and_how_it_ended():
    line = (
        "Feb  6 12:14:14 lb haproxy[4]: 10.0.1.2:33317 [06/Feb/2026:12:13:14.655] llm gpu/one 0/0/1/-1/60002 504 "
        '194 - - sH-- 1/1/1/1/0 0/0 "POST /api/chat HTTP/1.1"'
    )
    assert is_application_log([line] * 3)
    event = only(line)
    assert (event["key"], event["status"], event["path"], event["wall_s"]) == (
        "app_request",
        "504",
        "/api/chat",
        60.002,
    )
    assert str(event["local_at"]) == "2026-02-06 12:14:14.657000"


def test_envoy_writes_iso_times_in_brackets():
    line = (
        '[2026-03-01T10:00:00.123Z] "POST /v1/chat/completions HTTP/1.1" 504 UT "response_timeout" - "-" 1024 24 15000'
    )
    assert is_application_log([line] * 3)
    event = only(line)
    assert (event["status"], event["path"], str(event["at"])[:19]) == (
        "504",
        "/v1/chat/completions",
        "2026-03-01 10:00:00",
    )
