"""The latency map: every second of a question is given to one step, and what is told of it is bounded and safe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import INCIDENTS
from hypotheses.traced import Trace, healthy
from warmstall import figures
from warmstall.analysis import analyze
from warmstall.answer import answer, summarize
from warmstall.case import Case, open_case
from warmstall.hypotheses import judge
from warmstall.observed import steps

HOSTILE = "<img src=x onerror=alert(1)>$x$"


def case_of(folder: Path, text: str) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.jsonl").write_text(text, encoding="utf-8")
    return open_case(folder)


def shares(case: Case) -> dict[tuple[str, str], float]:
    found = steps.steps(case)
    return {(row.step, row.of): round(float(row.share), 6) for row in found.itertuples()}


def test_of_steps_side_by_side_the_one_that_ends_last_is_what_was_waited_for(tmp_path: Path) -> None:
    trace = Trace()
    root = trace.span("question", 0, 10)
    retrieve = trace.span("retrieve", 1, 4, root)
    trace.search(1, 3, retrieve, "faq")  # to 4: nobody waited for it but before the other began
    trace.search(2, 3, retrieve, "papers")  # to 5
    trace.generate(5, 4, root)
    found = steps.steps(case_of(tmp_path, trace.text()))
    assert shares(open_case(tmp_path)) == {
        ("generate", "tiny"): 0.4, ("search", "papers"): 0.3, ("search", "faq"): 0.1, ("question", ""): 0.2,
        ("retrieve", ""): 0.0,
    }  # fmt: skip
    assert list(found["share"]) == sorted(found["share"], reverse=True)


def test_one_row_a_step_with_its_collection_or_model(tmp_path: Path) -> None:
    trace = Trace()
    for number in range(20):
        trace.question(10.0 * number, answer_s=1.0 + (number == 19))
    trace.question(300, error=RuntimeError("gone"))
    found = steps.steps(case_of(tmp_path, trace.text())).set_index(["step", "of"])
    assert set(found.index) == {
        ("question", ""), ("embed", "small"), ("embed", "large"), ("search", "faq"), ("search", "papers"),
        ("generate", "tiny"),
    }  # fmt: skip
    assert list(found["n"].unique()) == [21]
    assert found["p50_s"]["generate", "tiny"] == pytest.approx(1.0)
    assert found["p95_s"]["generate", "tiny"] == pytest.approx(2.0)
    assert found["errors"]["question", ""] == 1
    assert float(found["share"].sum()) == pytest.approx(1.0)


def test_what_belongs_to_no_question_is_left_out(tmp_path: Path) -> None:
    trace = Trace()
    trace.span("load embedder", 0, 60)
    trace.question(100)
    assert "load embedder" not in set(steps.steps(case_of(tmp_path, trace.text()))["step"])


def test_without_a_span_of_that_name_the_outermost_of_a_call_is_the_question(tmp_path: Path) -> None:
    trace = Trace()
    for number in range(3):
        root = trace.span("POST /ask", 10.0 * number, 5)
        trace.generate(10.0 * number + 1, 4, root)
    trace.span("GET /health", 50, 9)
    case = case_of(tmp_path, trace.text())
    assert shares(case) == {("generate", "tiny"): 0.8, ("POST /ask", ""): 0.2}
    assert len(steps.questions(case)) == 3


def test_nothing_is_told_where_there_is_no_trace() -> None:
    case = open_case(INCIDENTS / "warm-stall-runner-stopped")
    assert steps.steps(case).empty
    assert steps.shown_questions(case).empty
    assert steps.sentences(case) == steps.summarized(case) == []
    assert "no question can be divided" in figures.latency_map(steps.shown_questions(case)).layout.annotations[0].text


def test_the_slowest_and_a_median_question_are_drawn_each_span_below_what_it_is_part_of(tmp_path: Path) -> None:
    trace = Trace()
    for answer_s in (1.0, 2.0, 9.0):
        trace.question(20 * answer_s, answer_s=answer_s)
    shown = steps.shown_questions(case_of(tmp_path, trace.text()))
    tops = shown[shown["row"].eq(0)].set_index("which")["wall_s"]
    assert tops.round(6).to_dict() == {"slowest": 9.3, "median": 2.3}
    for _, own in shown.groupby(["which", "row"]):
        ordered = own.sort_values("from_s")
        assert (ordered["from_s"].shift(-1).dropna() >= (ordered["from_s"] + ordered["wall_s"])[:-1] - 1e-6).all()
    figure = figures.latency_map(shown)
    assert sum(len(bar.x) for bar in figure.data) == len(shown)
    assert {bar.name for bar in figure.data} == {"question", "embed", "search", "generate"}


def test_a_question_of_thousands_of_spans_is_drawn_in_part_and_counted_whole(tmp_path: Path) -> None:
    trace = Trace()
    root = trace.span("question", 0, 3000)
    for number in range(3000):
        trace.search(number, 0.5, root, f"c{number}")
    case = case_of(tmp_path, trace.text())
    assert len(steps.shown_questions(case)) <= 201
    assert len(steps.summarized(case)) == 40
    assert int(steps.steps(case)["n"].sum()) == 3001


def test_names_of_a_trace_never_become_markup(tmp_path: Path) -> None:
    trace = Trace()
    root = trace.span(HOSTILE, 0, 3, gen_ai__operation__name="chat", error=ValueError(HOSTILE))
    trace.search(0, 1, root, HOSTILE, thread=HOSTILE, error=ValueError(HOSTILE))
    case = case_of(tmp_path, trace.text())
    drawn = figures.latency_map(steps.shown_questions(case)).to_json()
    table = figures.table(steps.steps(case))._repr_html_()
    assert "<img" not in drawn.replace("\\u003c", "<")
    assert "<img" not in table
    assert "&lt;img" in table


def test_the_answer_and_the_summary_tell_of_the_steps(tmp_path: Path) -> None:
    trace = Trace()
    for number in range(4):
        trace.question(10.0 * number)
    root = trace.span("question", 50, 3)
    trace.search(50, 2, root, "faq", error=RuntimeError("down"))
    case_of(tmp_path, trace.text())
    found = analyze(tmp_path)
    told = answer(found)
    assert "Where a question's seconds went (5 questions, median 2.30 s, by the application's trace): " in told
    assert "Steps of questions that failed: search faq 1 of 5 times." in told
    summary = json.loads(json.dumps(summarize(found)))
    assert summary["steps"][0] == {
        "step": "generate", "of": "tiny", "n": 4, "p50_s": 2.0, "p95_s": 2.0, "share": 0.6557, "errors": 0,
    }  # fmt: skip
    assert sum(step["share"] for step in summary["steps"]) <= 1.001


def test_a_healthy_trace_is_not_called_ill(tmp_path: Path) -> None:
    case_of(tmp_path, healthy(30))
    ill = [(one.id, one.severity) for one in judge(analyze(tmp_path)) if one.found and one.severity != "info"]
    assert ill == []


_SPANS = st.lists(st.tuples(st.integers(-1, 12), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(_SPANS)
def test_whatever_the_spans_are_the_shares_add_up_to_one(tmp_path_factory, spans: list[tuple[int, int, int]]) -> None:
    trace = Trace()
    made: list = [trace.span("question", 0, 60)]
    for within, at_s, wall_s in spans:
        made.append(trace.span(f"step {within}", at_s, wall_s, made[within % len(made)]))
    found = steps.steps(case_of(tmp_path_factory.mktemp("spans"), trace.text()))
    assert float(found["share"].sum()) == pytest.approx(1.0)
    assert (found["share"] >= 0).all()
