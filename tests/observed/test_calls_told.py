"""What clients and proxies tell of calls that failed stands beside the log."""

from __future__ import annotations

from pathlib import Path

from warmstall.analysis import analyze
from warmstall.answer import answer
from warmstall.observed import facts

UPSTREAM = 'upstream: "http://10.0.0.3:11434/api/chat", host: "llm"'
NGINX = f"""2026/11/21 09:00:00 [error] 22#22: *7 upstream timed out (110: timed out) while reading response, {UPSTREAM}
2026/11/21 09:02:00 [error] 22#22: *8 upstream timed out (110: timed out) while reading response, {UPSTREAM}
2026/11/21 09:05:00 [error] 22#22: *9 connect() failed (111: Connection refused) while connecting, {UPSTREAM}
"""
ACCESS = '10.0.0.9 - - [21/Nov/2026:09:00:0{} +0000] "POST {} HTTP/1.1" {} 569 "-" "client"\n'
SERVER = """time=2026-11-21T08:00:00.000Z level=INFO source=routes.go:1186 msg="Listening on [::]:11434 (version 0.6.6)"
[GIN] 2026/11/21 - 09:01:00 | 200 |  2.5s |   10.0.0.9 | POST     "/api/chat"
"""


def told(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.log").write_text(text)
    found = analyze(folder)
    return facts.sentences(found.case, found.settings())


def test_a_proxy_tells_how_its_calls_failed_and_how_often(tmp_path):
    assert told(tmp_path, error=NGINX) == [
        "Calls to 10.0.0.3:11434 that failed, by error.log: 2 timed out on the caller's side (from line 1, 2026-11-21 "
        "09:00:00 UTC); 1 refused, as nothing listened there (line 3, 2026-11-21 09:05:00 UTC)."
    ]


def test_the_answer_tells_it_with_a_server_log_and_without(tmp_path):
    (tmp_path / "error.log").write_text(NGINX)
    assert "2 timed out on the caller's side" in answer(analyze(tmp_path))
    (tmp_path / "server.log").write_text(SERVER)
    assert "2 timed out on the caller's side" in answer(analyze(tmp_path))


def test_where_nobody_ever_answered_the_address_may_be_wrong(tmp_path):
    line = "Error: connect ECONNREFUSED {}:11434\n"
    (inside,) = told(tmp_path, app=line.format("127.0.0.1"))
    assert inside.endswith("Within a container, that address is the container itself.")
    (outside,) = told(tmp_path, app=line.format("10.0.0.3"))
    assert outside.endswith("Ollama listens on 127.0.0.1 alone unless OLLAMA_HOST says otherwise.")
    (beside_a_server,) = told(tmp_path, app=line.format("10.0.0.3"), server=SERVER)
    assert "unless OLLAMA_HOST" not in beside_a_server


def test_calls_of_no_named_server_are_told_apart_from_those_to_ollama(tmp_path):
    text = "Error: socket hang up\nERROR:app:llama runner process has terminated: exit status 2\n"
    assert told(tmp_path, app=text) == [
        "Calls to Ollama that failed, by app.log: 1 failed as the runner had ended (line 2).",
        "Calls that failed, by app.log: 1 broken off before the answer was whole (line 1).",
    ]


def test_access_lines_of_a_proxy_tell_what_it_could_not_answer(tmp_path):
    calls = [(1, "/api/chat", 504), (2, "/api/chat", 200), (3, "/api/embed", 502), (4, "/api/tags", 502)]
    text = "".join(ACCESS.format(*call) for call in calls)
    assert told(tmp_path, access=text) == [
        "2 of 3 requests to models in access.log ended with 502 or 504, the first in line 1."
    ]
