"""Figures count everything, draw a bounded sample, and never let log text become markup."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import synthetic
from conftest import INCIDENTS
from warmstall import figures
from warmstall.analysis import analyze
from warmstall.errors import ParameterError


def every_figure(requests: pd.DataFrame) -> list:
    residencies, windows = synthetic.residencies(requests), synthetic.windows(requests)
    return [
        figures.timeline(requests, residencies, windows),
        figures.time_budget(requests),
        figures.per_minute(requests),
    ]


def request_traces(figure) -> list:
    return [trace for trace in figure.data if trace.type == "scatter" and trace.showlegend is not False]


def drawn(figure) -> int:
    return sum(len(trace.hovertext) for trace in request_traces(figure))


@pytest.mark.parametrize("count", [0, 1, 2, 30, 2000])
def test_any_number_of_requests_gives_figures(count):
    for figure in every_figure(synthetic.requests(count)):
        assert figure.layout.title.text


def test_an_empty_frame_says_in_a_sentence_that_there_is_nothing():
    for requests in (pd.DataFrame(), synthetic.requests(0)):
        for figure in (
            figures.timeline(requests, pd.DataFrame(), pd.DataFrame()),
            figures.time_budget(requests),
            figures.per_minute(requests),
        ):
            assert figure.layout.annotations[0].text.endswith(".")
        assert figures.slowest_requests(requests)._repr_html_() == "<p>None.</p>"
        assert figures.verdict_counts(requests)._repr_html_() == "<p>None.</p>"


def test_requests_without_times_or_parts_are_counted_and_do_not_break_anything():
    requests = synthetic.requests(50)
    requests.loc[:9, "wall_s"] = np.nan
    requests.loc[10:14, "started_at"] = pd.NaT
    requests.loc[15:19, "verdict"] = None
    requests["queue_s"] = np.nan
    figure, *_ = every_figure(requests.drop(columns="text"))
    assert "15 without a start or a wall time" in figure.layout.title.subtitle.text
    counts = [int(trace.name.split("(")[1].rstrip(")")) for trace in request_traces(figure)]
    assert sum(counts) == 50
    assert drawn(figure) == 35


def test_of_many_requests_a_bounded_sample_is_drawn_and_all_are_counted():
    requests = synthetic.requests(40_000)
    figure, *_ = every_figure(requests)
    assert drawn(figure) <= 6000
    assert "of 40,000 requests" in figure.layout.title.subtitle.text
    names = {trace.name for trace in request_traces(figure)}
    for verdict, count in requests[requests.inference].verdict.value_counts().items():
        assert f"{verdict} ({count:,})" in names


def test_the_slowest_and_everything_notable_below_the_cap_is_drawn():
    requests = synthetic.requests(20_000)
    requests.loc[:, "verdict"] = np.where(requests.inference, "warm_ok", "")
    requests.loc[7000, ["verdict", "inference", "wall_s"]] = ["warm_stall", True, 40.0]
    requests.loc[9000, ["verdict", "inference", "wall_s"]] = ["warm_ok", True, 5000.0]
    traces = {trace.name.split(" ")[0]: trace for trace in request_traces(every_figure(requests)[0])}
    assert list(traces["warm_stall"].y) == [40.0]
    assert max(traces["warm_ok"].y) == 5000.0


def test_the_figures_of_a_hundred_thousand_requests_leave_room_for_plotly_in_eight_megabytes():
    size = sum(len(figure.to_json()) for figure in every_figure(synthetic.requests(100_000)))
    assert size < 2_900_000


def test_markup_in_a_log_is_drawn_as_text():
    requests = synthetic.requests(60, hostile=True)
    for figure in every_figure(requests):
        texts = json.dumps(figure.to_plotly_json(), default=lambda value: np.asarray(value).tolist())
        assert "<script" not in texts
        assert "<img" not in texts
        assert "$x" not in texts
        assert not any(character in texts for character in ("\\u001b", "\\u2028"))
    for shown in (figures.slowest_requests(requests), figures.verdict_counts(requests)):
        assert "<script" not in shown._repr_html_()
        assert "\x1b" not in repr(shown)


def test_hover_holds_reason_log_line_and_place():
    requests = synthetic.requests(30)
    first = requests[requests.inference].iloc[0]
    hovers = [hover for trace in request_traces(every_figure(requests)[0]) for hover in trace.hovertext]
    hover = next(hover for hover in hovers if f"server.log:{first.line}<br>" in hover)
    assert "/api/chat" in hover
    assert first.model in hover
    assert "the model was resident" in hover
    assert "[GIN]" in hover
    assert all(len(line) < 120 for line in hover.split("<br>"))


def test_a_runner_still_resident_is_drawn_to_the_end_of_the_log():
    requests = synthetic.requests(30)
    figure, *_ = every_figure(requests)
    bars = next(trace for trace in figure.data if trace.type == "bar")
    assert sum("still resident where the log ends" in hover for hover in bars.hovertext) >= 1
    assert all(length >= 0 for length in bars.x)


def test_thousands_of_short_residencies_become_bars_a_pixel_apart():
    requests = synthetic.requests(30)
    times = pd.date_range(requests.started_at.min(), requests.started_at.max(), periods=20_001)
    many = pd.DataFrame({"host": "a", "model": "m", "loaded_at": times[:-1], "unloaded_at": times[1:]})
    many = many.assign(unload_evidence="", line=1)
    figure = figures.timeline(requests, many, pd.DataFrame())
    bars = next(trace for trace in figure.data if trace.type == "bar")
    assert len(bars.hovertext) < 2000
    assert "20000 residencies" in bars.hovertext[0]


def test_the_parts_of_a_budget_add_up_to_the_wall_time():
    requests = synthetic.requests(30)
    figure = figures.time_budget(requests)
    totals = np.sum([np.asarray(trace.y, dtype=float) for trace in figure.data], axis=0)
    walls = requests[requests.inference].sort_values("started_at").wall_s.to_numpy()
    assert totals == pytest.approx(walls, rel=0.03, abs=0.01)


@pytest.mark.parametrize(
    ("span", "count", "seconds"),
    [("100s", 47, 10), ("6h", 100_000, 60), ("2D", 100_000, 600), ("6h", 50, 1800), ("60D", 100_000, 21_600)],
)
def test_bins_widen_with_the_span_and_hold_a_handful(span, count, seconds):
    """As narrow as leaves about five requests in a bin, and at most some 400 bins."""
    assert figures._bin_width_s(pd.Timedelta(span), count) == seconds


def test_no_line_is_drawn_across_a_silence():
    requests = synthetic.requests(40).assign(inference=True)
    requests.loc[20:, "started_at"] += pd.Timedelta("30min")
    figure = figures.per_minute(requests)
    median = next(trace for trace in figure.data if trace.name == "median")
    assert np.isnan(np.asarray(median.y, dtype=float)).any()
    assert not median.connectgaps


def test_a_table_keeps_long_reasons_whole_and_says_how_much_it_shows():
    reason = ("because " * 60).strip()
    shown = figures.table(pd.DataFrame({"reason": [reason] * 20, "other": 1}), ["reason", "absent"])
    assert reason in shown._repr_html_()
    assert "Showing 15 of 20 rows." in shown._repr_html_()
    assert list(shown.frame.columns) == ["reason"]


def test_a_table_shows_bytes_as_people_say_them():
    frame = pd.DataFrame(
        {"rss_bytes": [44_675_072, 12], "bytes_per_hour_a": [-214_515_722.462, np.nan], "n": [2048, 1]}
    )
    shown = figures.table(frame).frame

    assert shown["rss_bytes"].tolist() == ["42.6 MiB", "12 bytes"]
    assert shown["bytes_per_hour_a"].tolist() == ["-204.6 MiB", ""]
    assert shown["n"].tolist() == ["2048", "1"]


@pytest.mark.parametrize("rows", [0, -1, "15", 2.5, True])
def test_a_table_refuses_a_number_of_rows_that_is_none(rows):
    with pytest.raises(ParameterError, match="whole number"):
        figures.table(pd.DataFrame({"a": [1]}), rows=rows)


def test_an_answer_is_prose_whose_headline_stands_out():
    text = "Ollama 0.13.5: <b>.log.\nTwo captures overlap.\n\nCold start or warm stall? 1 cold start.\n- a_b: x"
    shown = figures.answer(text)

    assert repr(shown) == text
    assert shown._repr_markdown_().split("\n\n") == [
        r"Ollama 0.13.5: \<b\>.log.", "Two captures overlap.", "", "**Cold start or warm stall? 1 cold start.**",
        r"- a\_b: x",
    ]  # fmt: skip
    assert figures.answer("nothing but this")._repr_markdown_() == "nothing but this"


def test_a_call_that_is_not_inference_has_no_verdict_in_the_picture():
    requests = synthetic.requests(30).assign(verdict="warm_ok")
    names = {trace.name for trace in request_traces(every_figure(requests)[0])}
    calls = int((~requests.inference).sum())
    assert names == {f"warm_ok ({30 - calls})", f"not inference ({calls})"}


@pytest.mark.parametrize("name", ["warm-stall-runner-stopped", "queue-one-slot", "reloads-two-models"])
def test_verdicts_alone_show_what_whole_requests_show(name):
    """What is shown of the few that are chosen is asked for; nothing else of it is different."""
    found = analyze(INCIDENTS / name)
    requests, verdicts, whole = found.requests(), found.verdicts(), found.requests
    residencies, windows = found.residencies(), found.windows()
    assert (figures.timeline(requests, residencies, windows).to_json()
            == figures.timeline(verdicts, residencies, windows, whole=whole).to_json())  # fmt: skip
    assert figures.time_budget(requests, 5).to_json() == figures.time_budget(verdicts, 5, whole).to_json()
    assert figures.per_minute(requests).to_json() == figures.per_minute(verdicts).to_json()
    assert figures.verdict_counts(requests)._repr_html_() == figures.verdict_counts(verdicts)._repr_html_()
    slowest = figures.slowest_requests(verdicts, 3, whole)
    assert slowest._repr_html_() == figures.slowest_requests(requests, 3)._repr_html_()


def test_only_what_is_shown_is_asked_for():
    requests = synthetic.requests(20_000)
    asked: list[int] = []

    def whole(rows: np.ndarray) -> pd.DataFrame:
        asked.append(len(rows))
        return requests.iloc[rows]

    verdicts = requests[["line", "started_at", "wall_s", "status", "inference", "verdict"]]
    figures.timeline(verdicts, pd.DataFrame(), pd.DataFrame(), whole=whole)
    figures.time_budget(verdicts, whole=whole)
    figures.slowest_requests(verdicts, 15, whole)
    assert asked == [6000, 40, 15]


def test_a_source_is_shown_by_its_folder_and_name():
    shown = figures.table(pd.DataFrame({"source": ["/srv/case/evidence/gpu-1/server.log", "server.log"], "line": 7}))
    assert list(shown.frame.source) == ["gpu-1/server.log", "server.log"]
