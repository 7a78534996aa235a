"""Calls that failed are told apart by how they failed, whoever tells it; prose and tables are no telling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from warmstall.evidence import kind_of
from warmstall.parse.application_log import is_application_log, parse_application_log
from warmstall.parse.failed_calls import UNTOLD, WORDINGS, failed_call_in

NODE = """TypeError: fetch failed
    at node:internal/deps/undici/undici:13502:13
    at async post (/app/node_modules/ollama/dist/shared/ollama.cjs:81:20) {
  [cause]: HeadersTimeoutError: Headers Timeout Error
      at Timeout.onParserTimeout [as callback] (node:internal/deps/undici/undici:6249:32) {
    code: 'UND_ERR_HEADERS_TIMEOUT'
  }
}"""
NGINX = (
    "2026/11/21 09:00:00 [error] 22#22: *7 upstream timed out (110: Operation timed out) while reading response header "
    'from upstream, client: 10.0.0.9, server: llm, request: "POST /api/chat HTTP/1.1", '
    'upstream: "http://10.0.0.3:11434/api/chat", host: "llm"'
)


def events(text: str) -> list[dict[str, Any]]:
    rows = parse_application_log(text).tables["events"]
    return [{**row, **json.loads(row["fields"])} for row in rows]


@pytest.mark.parametrize("row", WORDINGS, ids=lambda row: row.failure)
def test_the_sample_of_a_wording_is_found_by_it_first(row):
    found = failed_call_in(row.sample)
    assert found is not None
    assert found.failure == row.failure


@pytest.mark.parametrize(
    ("line", "failure", "target"),
    [
        (NGINX, "timed_out", "10.0.0.3:11434"),
        ('2026/11/21 09:00:00 failed: Post "http://gpu:11434/api/chat": dial tcp 10.0.0.3:11434: connect: connection '
         "refused", "refused", "gpu:11434"),
        ('2026/11/21 09:00:00 failed: Post "http://gpu:11434/api/embed": context deadline exceeded', "timed_out",
         "gpu:11434"),
        ("requests.exceptions.ReadTimeout: HTTPConnectionPool(host='gpu', port=11434): Read timed out. (read "
         "timeout=30)", "timed_out", "gpu:11434"),
        ("2026-11-21 09:00:00.123 | ERROR    | app.llm:get:10 - Cannot connect to host gpu:11434 ssl:default [Connect "
         "call failed ('10.0.0.3', 11434)]", "refused", "gpu:11434"),
        ("Error: connect ECONNREFUSED 127.0.0.1:11434", "refused", "127.0.0.1:11434"),
        ("Error: socket hang up", "cut_off", ""),
        ("2026-11-21 09:00:00 - error TypeError: fetch failed", UNTOLD, ""),
        ("Uncaught (in promise) Error: read ECONNRESET", "cut_off", ""),
        ("ERROR:root:litellm.APIConnectionError: OllamaException - litellm.Timeout: Connection timed out after 600.0 "
         "seconds.", "timed_out", ""),
        ('time="2026-11-21T09:00:00Z" level=debug msg="\'502 Bad Gateway\' caused by: dial tcp 10.0.0.3:11434: '
         'connect: connection refused"', "refused", "10.0.0.3:11434"),
        ('{"level":"error","ts":1795000000.5,"logger":"http.log.error","msg":"dial tcp 10.0.0.3:11434: i/o timeout",'
         '"status":502}', "timed_out", "10.0.0.3:11434"),
        ("2026-11-21 09:00:00.123 ERROR (MainThread) [homeassistant.components.ollama] Unexpected error talking to "
         "Ollama server: llama runner process has terminated: signal: killed", "runner_ended", ""),
        ('{"time":"2026-11-21T09:00:00Z","level":"ERROR","msg":"proxy","error":"net/http: timeout awaiting response '
         'headers"}', "timed_out", ""),
        ("[Extension] request to http://10.0.0.3:11434/api/chat failed, reason: connect ECONNREFUSED 10.0.0.3:11434",
         "refused", "10.0.0.3:11434"),
        ('ERROR:app:POST predict: Post "http://127.0.0.1:40123/completion": EOF', "runner_ended", ""),
    ],
)  # fmt: skip
def test_one_line_makes_a_log_and_one_event(line, failure, target):
    assert is_application_log([line])
    (event,) = events(line)
    assert (event["failure"], event.get("target", "")) == (failure, target)


def test_an_error_of_node_is_one_call_whose_cause_stands_below():
    (event,) = events(NODE)
    assert (event["key"], event["failure"], event["by"]) == ("app_call_failed", "timed_out", "a client of Ollama")
    assert parse_application_log(NODE).lines == {1, 4, 6} | {2, 3, 5, 7, 8}
    assert [event["failure"] for event in events(NODE + "\n" + NODE + "\nTypeError: fetch failed")] == [
        "timed_out", "timed_out", UNTOLD,
    ]  # fmt: skip


def test_stamps_before_each_line_of_an_error_are_read():
    stamped = "\n".join(f"2026-11-21 09:00:0{number} {line}" for number, line in enumerate(NODE.split("\n")))
    (event,) = events(stamped)
    assert (event["failure"], str(event["local_at"])) == ("timed_out", "2026-11-21 09:00:00")


def test_services_of_one_log_keep_their_errors_apart():
    lines = [f"n8n-1  | {line}" for line in NODE.split("\n")]
    lines[3:3] = ["web-1  | Error: connect ECONNREFUSED 10.0.0.3:11434"]
    assert [(event["service"], event["failure"]) for event in events("\n".join(lines))] == [
        ("n8n-1", "timed_out"), ("web-1", "refused"),
    ]  # fmt: skip


def test_a_traceback_tells_it_by_its_last_exception_or_by_its_cause():
    cause = 'Traceback (most recent call last):\n  File "/lib/httpx/d.py", line 1, in f\n    yield\n'
    cause += "httpcore.ReadTimeout: timed out\n\nThe above exception was the direct cause of the following exception:\n"
    last = '\nTraceback (most recent call last):\n  File "/app/rag.py", line 9, in ask\n    chat()\n'
    (by_cause,) = events(cause + last + "app.ModelError: no answer")
    (by_itself,) = events(last + "requests.exceptions.ConnectionError: HTTPConnectionPool(host='gpu', port=11434): Max "
                          "retries exceeded with url: /api/chat (Caused by NewConnectionError('Failed to establish a "
                          "new connection: [Errno 111] Connection refused'))")  # fmt: skip
    assert (by_cause["key"], by_cause["failure"]) == ("app_traceback", "timed_out")
    assert (by_itself["failure"], by_itself["target"], by_itself["called"]) == ("refused", "gpu:11434", "/api/chat")


def test_the_time_that_a_client_waited_is_read():
    assert failed_call_in("ReadTimeoutError: Read timed out. (read timeout=30)").waited_s == 30
    assert failed_call_in("AxiosError: timeout of 2500ms exceeded").waited_s == 2.5
    assert failed_call_in("Connection timed out. Timeout passed=600.0, time taken=579.681 seconds").waited_s == 600


def test_hey_counts_equal_errors():
    line = '  [4]\tPost "http://gpu:11434/api/generate": context deadline exceeded (Client.Timeout exceeded)'
    assert failed_call_in(line, bare=True).times == 4


@pytest.mark.parametrize(
    "text",
    [
        "We saw connection refused, and then it timed out again after a restart.",
        "started_at,wall_s,outcome,error\n2026-11-21T09:00:00Z,30.0,error,ReadTimeout: timed out",
        "| run | error |\n| 1 | Error: socket hang up |",
        "a model that is slow to load gives a ReadTimeout in the client",
        "If the client shows Error: socket hang up, restart it.\nAn httpx.ReadTimeout: timed out is too short a time.",
    ],
)
def test_prose_and_tables_are_no_log_of_an_application(text):
    assert "application-log" not in kind_of(text.encode())


def test_what_an_application_tells_without_alarm_is_no_failure():
    assert [event["key"] for event in events("2026-11-21 09:00:00 INFO app retry after connection refused")] == []
