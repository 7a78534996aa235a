"""A trace as evidence: every span is a row, every call a trial, every line counted, and no content is kept."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hypotheses.traced import Trace, healthy
from warmstall.case import open_case
from warmstall.evidence import kind_of
from warmstall.parse.traces import parse_traces
from warmstall.rag.tracing import TraceFile, tracer_to
from warmstall.schema import TABLES

SERVER_LINE = 'time=2026-01-05T10:15:00.000Z level=INFO source=a.go:1 msg="starting runner"'
SECRET = "What does the contract with Example say?"
HOSTILE = "\x1b[31m<img src=x onerror=alert(1)>|$x$|\ud800"


def otlp(*spans: dict[str, object]) -> str:
    """A line as a collector's file exporter writes it."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]})


def otlp_span(span_id: str = "01", parent: str = "", **attributes: dict[str, object]) -> dict[str, object]:
    return {
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": span_id, "parentSpanId": parent, "name": "chat tiny",
        "startTimeUnixNano": "1773489600000000000", "endTimeUnixNano": 1773489602500000000,
        "attributes": [{"key": key.replace("__", "."), "value": value} for key, value in attributes.items()],
    }  # fmt: skip


CHAT = {
    "gen_ai__operation__name": {"stringValue": "chat"}, "gen_ai__system": {"stringValue": "ollama"},
    "gen_ai__request__model": {"stringValue": "llama3.2"}, "gen_ai__usage__input_tokens": {"intValue": "812"},
    "gen_ai__response__finish_reasons": {"arrayValue": {"values": [{"stringValue": "stop"}]}},
}  # fmt: skip


def test_what_the_sdk_writes_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    tracer = tracer_to(TraceFile(path))
    facts = {"db.collection.name": "faq", "db.response.returned_rows": 5, "warmstall.kept": 0}
    with (
        suppress(ValueError), tracer.start_as_current_span("question"),
        tracer.start_as_current_span("search", attributes=facts),
    ):  # fmt: skip
        raise ValueError("too far") from KeyError("the root of it")
    case = open_case(path)
    (account,) = case.accounts
    assert (account["kind"], account["lines"], account["recognized"]) == ("traces", 2, 2)
    search, question = case.rows("spans")
    assert set(search) == set(TABLES["spans"])
    assert (search["name"], search["collection"], search["returned_rows"], search["kept"]) == ("search", "faq", 5, 0)
    assert (search["trace_id"], search["parent_id"]) == (question["trace_id"], question["span_id"])
    assert (search["outcome"], search["service"], search["thread"]) == ("error", "warmstall.rag", "MainThread")
    assert search["error"] == "ValueError: too far; caused by KeyError: 'the root of it'"
    assert question["parent_id"] == ""
    assert question["started_at"] <= search["started_at"] <= search["ended_at"] <= question["ended_at"]
    assert json.loads(search["attributes"])["warmstall.kept"] == 0


def test_a_call_to_a_model_server_is_a_trial() -> None:
    trace = Trace()
    more = {"ttft_s": 0.4, "total_duration_s": 1.9, "gen_ai__usage__output_tokens": 128, "attempts": 2}
    trace.generate(10, 2, **more, gen_ai__response__finish_reasons=["stop"])
    (trial,) = parse_traces(trace.text()).tables["trials"]
    (span,) = parse_traces(trace.text()).tables["spans"]
    assert set(trial) <= set(TABLES["trials"])
    assert trial["started_at"] == datetime(2026, 3, 14, 12, 0, 10)
    assert (trial["wall_s"], trial["run_id"], trial["time_from"]) == (2.0, span["trace_id"], "start and end")
    assert (trial["path"], trial["status"], trial["outcome"], trial["model"]) == ("/api/chat", "200", "ok", "tiny")
    assert (trial["ttft_s"], trial["total_duration_s"], trial["eval_count"]) == (0.4, 1.9, 128)
    assert (trial["attempts"], trial["timeout_s"], trial["finish_reason"]) == (2, 30.0, "stop")


def test_of_a_question_the_calls_to_the_model_server_are_trials_and_nothing_else() -> None:
    trace = Trace()
    root = trace.span("question", 0, 5)
    trace.embed(0, 0.1, root)  # of a service that is no model server
    trace.embed(0, 0.1, root, gen_ai__provider__name="ollama")
    trace.search(0.1, 0.1, root, "faq")
    whole = trace.span("chat", 1, 3, root, gen_ai__operation__name="chat", url__path="/gateway/v1/chat/completions")
    for number in range(2):
        trace.generate(1 + number, 1, whole)  # the same call, as the library within tells of it
        trace.span("attempt", 1 + number, 1, whole, gen_ai__operation__name="chat", gen_ai__provider__name="ollama")
    parsed = parse_traces(trace.text())
    assert sorted(row["path"] for row in parsed.tables["trials"]) == ["/api/embed", "/gateway/v1/chat/completions"]
    assert len(parsed.tables["spans"]) == 9


def test_otlp_lines_are_read_with_their_types() -> None:
    failed = otlp_span("02", "01", http__response__status_code={"intValue": "500"})
    failed |= {"status": {"code": 2, "message": "runner gone"}, "name": "POST"}
    parsed = parse_traces(otlp(otlp_span("01", "0000000000000000", **CHAT), failed) + "\n" + otlp())
    chat, post = parsed.tables["spans"]
    assert (chat["trace_id"], chat["parent_id"]) == ("5b8efff798038103d269b633813fc60c", "")
    assert (chat["service"], chat["operation"], chat["model"]) == ("shop", "chat", "llama3.2")
    assert (chat["started_at"], chat["wall_s"]) == (datetime(2026, 3, 14, 12), 2.5)
    assert (post["parent_id"], post["outcome"], post["error"]) == ("01", "error", "runner gone")
    (trial,) = parsed.tables["trials"]
    assert (trial["path"], trial["prompt_eval_count"], trial["finish_reason"]) == ("/api/chat", 812, "stop")
    assert parsed.lines == {1, 2}


def test_what_was_asked_and_answered_is_left_behind() -> None:
    contents = {
        "gen_ai.input.messages": SECRET, "gen_ai.output.messages": SECRET, "gen_ai.prompt.0.content": SECRET,
        "gen_ai.completion": [SECRET], "gen_ai.system_instructions": SECRET, "db.query.text": SECRET,
        "url.query": SECRET, "url.full": SECRET, "input.value": SECRET, "warmstall.question": SECRET,
        "http.request.header.authorization": [SECRET], "gen_ai.usage.input_tokens": 7,
    }  # fmt: skip
    trace = Trace()
    trace.span("chat", 0, 1, **{name.replace(".", "__"): value for name, value in contents.items()})
    line = json.loads(trace.text())
    line["events"] = [{"name": "gen_ai.user.message", "attributes": {"content": SECRET}}]
    parsed = parse_traces(json.dumps(line))
    assert SECRET not in repr(parsed.tables)
    (span,) = parsed.tables["spans"]
    assert json.loads(span["attributes"])["gen_ai.usage.input_tokens"] == 7


def test_torn_and_foreign_lines_are_counted_and_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    whole = healthy(1).splitlines()
    foreign = ["[1]", '{"trace_id": "a", "span_id": "b", "start_time": 1, "context": 7}', "", whole[0][:200]]
    path.write_text("\n".join([*whole, *foreign]), encoding="utf-8")
    (account,) = open_case(path).accounts
    assert (account["lines"], account["recognized"]) == (len(whole) + len(foreign), len(whole))
    assert account["recognized"] + account["unrecognized"] + account["undecodable"] == account["lines"]


def test_a_trace_is_known_by_its_content_alone() -> None:
    quoting = Trace()
    quoting.span("generate", 0, 1, error=RuntimeError(SERVER_LINE))
    assert kind_of(quoting.text().encode()) == "traces"
    assert kind_of(otlp(otlp_span(**CHAT)).encode()) == "traces"
    assert kind_of(otlp(*[otlp_span()] * 500)[:9000].encode()) == "traces"  # the head of one very long line
    assert kind_of(f"{SERVER_LINE}\n{quoting.text()}{SERVER_LINE}\n".encode()) == "server-log"
    assert kind_of(b'{"trace_id": "a", "span_id": "b", "status": 200, "latency_ms": 7, "model": "x"}\n') != "traces"


def test_hostile_values_stay_bounded_text(tmp_path: Path) -> None:
    trace = Trace()
    trace.span("search", 0, 1, db__collection__name="<img>" * 9999, error=ValueError("x" * 99999))
    line = json.loads(trace.text())
    line |= {"name": HOSTILE * 50, "parent_id": ["0x1"], "status": 7, "resource": [], "links": None}
    line["attributes"] |= {"warmstall.kept": 10**400, "process.pid": -1, "db.response.returned_rows": 2**70}
    line["attributes"] |= {f"warmstall.n{number}": 1e308 for number in range(999)}
    path = tmp_path / "trace.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    (span,) = open_case(path).rows("spans")
    assert len(span["name"]) <= 120
    assert "\x1b" not in span["name"]
    assert (span["kept"], span["pid"], span["parent_id"]) == (None, None, "")
    assert len(span["attributes"]) <= 4000
    assert len(span["collection"]) <= 100
    assert len(span["error"]) < 1000


def test_spans_in_a_circle_end() -> None:
    spans = [otlp_span("01", "02", **CHAT), otlp_span("02", "01", **CHAT), otlp_span("03", "03", **CHAT)]
    parsed = parse_traces(otlp(*spans))
    assert len(parsed.tables["spans"]) == 3
    assert len(parsed.tables["trials"]) >= 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(list(json.loads(healthy(1).splitlines()[0]))), _JSON))
def test_whatever_stands_in_a_line_it_is_read_or_left_out(replaced: dict[str, object]) -> None:
    whole = json.loads(healthy(1).splitlines()[0])
    parsed = parse_traces(json.dumps(whole | replaced))
    assert all(set(row) <= set(TABLES["spans"]) for row in parsed.tables["spans"])
    otlp_too = parse_traces(otlp(otlp_span(**CHAT) | {"attributes": replaced.get("attributes"), "events": replaced}))
    assert parsed.lines <= {1}
    assert otlp_too.lines <= {1}
