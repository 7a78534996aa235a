"""Pictures and tables of a case: plotly figures, and frames shown as HTML tables.

The one room that imports plotly. Every string that came from a log is cleaned of control characters and escaped here,
because plotly reads a subset of HTML in labels and hover texts. What is drawn is a sample when there is much to draw;
what is counted is always everything.
"""

from __future__ import annotations

import html
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from warmstall.errors import ParameterError
from warmstall.hypotheses.facts import size_text
from warmstall.observed.lanes import ACTS, Lane
from warmstall.parse.plain_text import markdown_escaped, printable

# Okabe and Ito's palette, told apart by the colour-blind; grey for what needs no attention. Symbols differ as well.
_VERDICT_LOOKS: dict[str, tuple[str, str, int]] = {
    "warm_stall": ("#D55E00", "star", 11),
    "cold_start": ("#0072B2", "diamond", 9),
    "load_failure": ("#7A1F4B", "x", 9),
    "runner_crash": ("#000000", "cross", 9),
    "client_abort": ("#CC79A7", "triangle-down", 9),
    "rejected": ("#6A3D9A", "hourglass", 8),
    "queue_wait": ("#56B4E9", "triangle-up", 9),
    "slow_prefill": ("#009E73", "square", 7),
    "slow_decode": ("#C79A00", "pentagon", 9),
    "unknown": ("#6B7580", "circle-open", 6),
    "warm_ok": ("#B4BEC8", "circle", 5),
    "": ("#D5DAE0", "circle", 4),
}
VERDICT_COLOURS = {verdict: colour for verdict, (colour, _, _) in _VERDICT_LOOKS.items()}
_QUIET = ("warm_ok", "unknown", "")
_NOT_INFERENCE = "not inference"
_PARTS: dict[str, tuple[str, str]] = {
    "queue_s": ("queue", "#56B4E9"),
    "load_s": ("load", "#0072B2"),
    "prefill_s": ("prefill", "#009E73"),
    "decode_s": ("decode", "#E5C100"),
    "unexplained_s": ("unexplained", "#D55E00"),
}
_NOT_MEASURED = ("not divided", "#D5DAE0")
_WINDOW_COLOURS = {"failure": "#7A1F4B", "slow": "#E69F00", "silence": "#5B7FA6", "throughput": "#009E73"}

_DRAWN_MAX = 6000
_NOTABLE_DRAWN_MAX = 4000
_HOVER_CHARACTERS_MAX = 1_300_000  # keeps a page with 100,000 requests below 8 MB, plotly.js included
_BRIEF_HOVER_CHARACTERS = 90
_BINS_MAX = 400
_OF_BYTES = re.compile(r"(?:^|_)bytes(?:$|_per_)")
_BINS_MIN = 12
_REQUESTS_A_BIN = 5
_WINDOWS_DRAWN_MAX = 60
_MODELS_DRAWN_MAX = 12
_LANE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C79A00", "#56B4E9", "#6B7580")
_LANE_POINTS_MAX = 1500
_MARK_LABELS_MAX = 6
_MARKS_DRAWN_MAX = 1000
_SHORTEST_WALL_S = 1e-4  # a logarithmic axis has no place for 0

_TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "#24292f"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "title": {"x": 0.012, "xref": "container", "xanchor": "left", "yanchor": "top", "yref": "container", "y": 0.97,
                  "font": {"size": 17}, "subtitle": {"font": {"size": 12.5, "color": "#57606a"}}},
        "margin": {"l": 78, "r": 20, "t": 92, "b": 80},
        "legend": {"itemsizing": "constant", "font": {"size": 12}, "traceorder": "normal"},
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"size": 12}},
        "hovermode": "closest",
        "xaxis": {"gridcolor": "#edf0f3", "linecolor": "#c8cfd6", "zeroline": False, "ticks": "outside",
                  "tickcolor": "#c8cfd6", "automargin": True, "title": {"standoff": 14}},
        "yaxis": {"gridcolor": "#edf0f3", "linecolor": "#c8cfd6", "zeroline": False, "automargin": True},
    }
)  # fmt: skip


# Text that came from a log


def plain(text: object) -> str:
    """`text` on one line, without control characters.

    >>> plain("a\\x1b[31m\\nb")
    'a [31m b'
    """
    if isinstance(text, list | tuple | set | np.ndarray):
        text = ", ".join(str(part) for part in text)
    whole = "" if text is None or text is pd.NaT or text != text else str(text)
    return printable(whole)


def escaped(text: object) -> str:
    """`text` as plotly must be given it, so that it is drawn and never read as markup.

    Quotes stay as they are: plotly would draw `&quot;` in full. A dollar sign could start a formula.

    >>> escaped('<b>"$"')
    '&lt;b&gt;"&#36;"'
    """
    return html.escape(plain(text), quote=False).replace("$", "&#36;")


def _wrapped(text: object, width: int = 80) -> str:
    line = plain(text).rstrip(" ")
    if len(line) <= width:
        return escaped(line)
    return "<br>".join(escaped(part) for part in textwrap.wrap(line, width))


def duration_text(seconds: float) -> str:
    """A duration as a person says it.

    >>> [duration_text(seconds) for seconds in (0.0004, 0.25, 3.14159, 75, 7260)]
    ['0.4 ms', '250 ms', '3.14 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds is None or seconds != seconds:
        return "not known"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if round(seconds * 1000) < 1000 else "1 s"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole % 3600 // 60 else f"{whole // 3600} h"


# Figures

# `requests` of a figure or table need not hold more than `Analysis.verdicts()` does: what else is shown of the few that
# are shown comes from `whole`, which is given their numbers; without it `requests` hold all of it themselves.
Whole = Callable[[np.ndarray], pd.DataFrame]


def timeline(
    requests: pd.DataFrame, residencies: pd.DataFrame, windows: pd.DataFrame, lanes: Sequence[Lane] = (),
    whole: Whole | None = None,
) -> go.Figure:  # fmt: skip
    """Every request by start and wall time, coloured by verdict; below it, when each model was resident, and `lanes`.

    Spans in `windows` are shaded. Legend counts are of all requests, also when only a sample is drawn.
    """
    title = "Which requests stand out, and was their model resident?"
    shown = _drawable(requests)
    if shown.empty and not lanes:
        return _sentence_only(title, "No request with a start and a wall time was found, so there is nothing to draw.")
    drawn = shown if shown.empty else _whole(requests, shown.iloc[_chosen(shown)], whole)
    first, last = _span(shown, residencies, windows, lanes)
    rows = _residency_rows(residencies, first, last)
    models = list(dict.fromkeys(row.label for row in rows))
    heights = [400 if len(shown) else 60, *([24 * len(models) + 12] if models else []), *map(_lane_height, lanes)]
    figure = make_subplots(
        rows=len(heights), shared_xaxes=True, vertical_spacing=20 / sum(heights) if len(heights) > 1 else None,
        row_heights=heights,
    )  # fmt: skip
    if len(shown):
        _add_requests(figure, requests, drawn)
    # What stands out is drawn last, so that it lies on top; the legend keeps its own order.
    figure.data = figure.data[::-1]
    if models:
        _add_residencies(figure, rows, models)
    for row, lane in enumerate(lanes, 3 if models else 2):
        _add_lane(figure, lane, row)
    high = 1.0
    if len(shown):
        # Calls that are not inference start hidden: they must not stretch the axis.
        labels = _labels(drawn)
        walls = drawn.wall_s[labels != ""] if (labels != "").any() else drawn.wall_s
        low, high = (math.log10(max(float(wall), _SHORTEST_WALL_S)) for wall in (walls.min(), walls.max()))
        figure.update_yaxes(title_text="wall time", row=1, col=1, **_duration_axis(low - 0.2, high + 0.4))
    _add_windows(figure, windows, first, last, 10 ** (high + 0.28))
    pad = max((last - first) * 0.015, pd.Timedelta(seconds=2))
    figure.update_xaxes(type="date", range=[_utc_text(first - pad), _utc_text(last + pad)])
    figure.update_xaxes(title_text="start of the request (UTC)", row=len(heights), col=1)
    caption = _caption(len(drawn), len(shown), len(requests) - len(shown), "requests")
    if not models:
        caption += " The evidence does not show which models were resident."
    figure.update_layout(legend_title_text="verdict (requests)", height=150 + sum(heights))
    return _titled(figure, title, caption)


def _add_requests(figure: go.Figure, requests: pd.DataFrame, drawn: pd.DataFrame) -> None:
    counts, drawn_labels = _labels(requests).value_counts(), _labels(drawn)
    hover = pd.Series(_request_hovers(drawn), index=drawn.index)
    nowhere: list[float | None] = [None]  # plotly leaves a trace without any point out of the legend
    crowding = 1.0 if len(drawn) < 1500 else 0.7
    for verdict, (colour, symbol, size) in _VERDICT_LOOKS.items():
        outline = 1.2 if symbol.endswith("open") else 0
        if counted := counts[verdict]:
            own = drawn[drawn_labels == verdict]
            figure.add_scatter(
                x=_utc_texts(own.started_at) if len(own) else nowhere,
                y=own.wall_s.clip(lower=_SHORTEST_WALL_S).round(6).to_numpy() if len(own) else nowhere,
                hovertext=list(hover[own.index]),
                hoverinfo="text",
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": size * crowding, "line": {"width": outline}},
                name=f"{verdict or _NOT_INFERENCE} ({counted:,})",
                legendrank=list(_VERDICT_LOOKS).index(verdict) + 1,
                visible=True if verdict else "legendonly",
                row=1,
                col=1,
            )


def time_budget(requests: pd.DataFrame, slowest: int = 40, whole: Whole | None = None) -> go.Figure:
    """The `slowest` inference requests in order of time, each wall time divided into its parts."""
    title = "Where did the slowest requests spend their time?"
    shown = _inference(_drawable(requests))
    if shown.empty:
        return _sentence_only(title, "No inference request with a wall time was found, so there is nothing to divide.")
    top = shown.nlargest(slowest, "wall_s", keep="first").sort_values(["started_at", "line"], kind="stable")
    top = _whole(requests, top, whole)
    places = np.arange(len(top))
    parts = pd.DataFrame({name: top.get(name, pd.Series(np.nan, top.index)) for name in _PARTS}).astype(float)
    not_divided = (top.wall_s - parts.fillna(0).clip(lower=0).sum(axis=1)).clip(lower=0)
    not_divided = not_divided.where(not_divided > np.maximum(0.02 * top.wall_s, 0.002), 0)
    budgets = zip(parts.iterrows(), _request_hovers(top), strict=True)
    hovers = [f"{_budget_text(row)}<br>{hover}" for (_, row), hover in budgets]
    figure = go.Figure()
    columns = [(*_PARTS[name], parts[name].fillna(0).clip(lower=0)) for name in _PARTS]
    for name, colour, seconds in [*columns, (*_NOT_MEASURED, not_divided)]:
        if (seconds > 0).any():
            figure.add_bar(
                x=places, y=seconds.round(4).to_numpy(), name=name, marker={"color": colour, "line": {"width": 0}},
                hovertext=hovers, hoverinfo="text",
            )  # fmt: skip
    days = top.started_at.dt.normalize().nunique()
    figure.update_xaxes(
        tickvals=places,
        ticktext=list(top.started_at.dt.strftime("%H:%M:%S" if days == 1 else "%b %d %H:%M")),
        tickangle=-60,
        title_text=f"start of the request (UTC{f', {top.started_at.iloc[0]:%Y-%m-%d}' if days == 1 else ''})",
        range=[-0.7, max(len(top), 8) - 0.3],
        showgrid=False,
    )
    figure.update_yaxes(title_text="wall time", **_linear_duration_axis(float(top.wall_s.max())))
    figure.update_layout(barmode="stack", bargap=0.25, height=480, legend_title_text="part of the wall time")
    which = f"The {len(top)} slowest of" if len(top) < len(shown) else "All"
    caption = f"{which} {len(shown):,} inference requests, in order of time."
    if not_divided.any():
        caption += " Not divided: the log does not say how that time was spent."
    return _titled(figure, title, caption)


def per_minute(requests: pd.DataFrame) -> go.Figure:
    """Median and 95th percentile of wall time, and the share of failures, per bin of time.

    A bin is as narrow as leaves a handful of requests in it; its width is in the axis title.
    """
    title = "Did it get slower, or fail more, over time?"
    shown = _inference(_drawable(requests))
    if shown.empty:
        return _sentence_only(title, "No inference request with a wall time was found, so there is no development.")
    width_s = _bin_width_s(shown.started_at.max() - shown.started_at.min(), len(shown))
    width = pd.Timedelta(seconds=width_s)
    groups = shown.assign(failed=_failed(shown)).groupby(shown.started_at.dt.floor(width))
    table = groups.wall_s.quantile([0.5, 0.95]).unstack().set_axis(["p50", "p95"], axis=1)
    table["requests"], table["failed"] = groups.size(), groups.failed.sum()
    # Bins without a request stay in the table, so that no line is drawn across a silence.
    table = table.reindex(pd.date_range(table.index.min(), table.index.max(), freq=width))
    bin_text = duration_text(float(width_s))
    hovers = [
        f"{at:%Y-%m-%d %H:%M} UTC, {bin_text}<br>n = {row.requests:.0f}, {row.failed:.0f} failed<br>"
        f"p50 {duration_text(row.p50)}, p95 {duration_text(row.p95)}"
        if row.requests == row.requests
        else ""
        for at, row in zip(table.index, table.itertuples(index=False), strict=True)
    ]
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.7, 0.3])
    middles = _utc_texts(pd.Series(table.index + width / 2))
    for column, name, colour, symbol in [
        ("p95", "95th percentile", "#D55E00", "diamond"), ("p50", "median", "#0072B2", "circle")
    ]:  # fmt: skip
        figure.add_scatter(
            x=middles, y=table[column].clip(lower=_SHORTEST_WALL_S).round(6).to_numpy(), name=name, hovertext=hovers,
            hoverinfo="text", mode="lines+markers", line={"color": colour, "width": 1.6},
            marker={"size": 5 if len(table) < 150 else 3.5, "symbol": symbol}, row=1, col=1,
        )  # fmt: skip
    figure.add_bar(
        x=middles, y=(100 * table.failed / table.requests).round(2).to_numpy(), name="failed", hovertext=hovers,
        hoverinfo="text", marker={"color": "#7A1F4B", "line": {"width": 0}}, row=2, col=1,
        width=0.8 * width / pd.Timedelta(milliseconds=1),
    )  # fmt: skip
    low, high = (math.log10(max(float(value), _SHORTEST_WALL_S)) for value in (table.p50.min(), table.p95.max()))
    figure.update_yaxes(title_text="wall time", row=1, col=1, **_duration_axis(low - 0.2, high + 0.2))
    highest = float((100 * table.failed / table.requests).max())
    figure.update_yaxes(title_text="failed", ticksuffix=" %", range=[0, max(highest * 1.1, 5)], nticks=4, row=2, col=1)
    edge = [_utc_text(table.index.min() - width / 2), _utc_text(table.index.max() + width * 1.5)]
    figure.update_xaxes(type="date", range=edge)
    figure.update_xaxes(title_text=f"start of the request (UTC), one point per {bin_text}", row=2, col=1)
    figure.update_layout(height=520)
    caption = f"{len(shown):,} inference requests in bins of {bin_text}; failed: the status was 400 or higher."
    return _titled(figure, title, caption)


def latency_map(questions: pd.DataFrame) -> go.Figure:
    """The spans of the questions in `observed.steps.shown_questions` as bars: below each span what is part of it."""
    title = "What did a question wait for?"
    if questions.empty:
        return _sentence_only(title, "No trace of an application is in this evidence, so no question can be divided.")
    parts = [(which, own) for which, own in questions.groupby("which", sort=False)]
    rows = [int(own.row.max()) + 1 for _, own in parts]
    longest = [float(own.from_s.add(own.wall_s).max()) for _, own in parts]
    figure = make_subplots(
        rows=len(parts), row_heights=[count + 1 for count in rows], vertical_spacing=70 / (26 * sum(rows) + 200),
        subplot_titles=[f"{which} question: {duration_text(own.wall_s[own.row.eq(0)].max())}, from "
                        f"{own.started_at.min():%Y-%m-%d %H:%M:%S} UTC" for which, own in parts],
    )  # fmt: skip
    names = list(dict.fromkeys(questions.sort_values("from_s", kind="stable").step))
    told: set[str] = set()
    for place, (_, own) in enumerate(parts, 1):
        for step, spans in own.groupby("step", sort=False):
            failed = spans.outcome.eq("error")
            figure.add_bar(
                base=spans.from_s.round(6).to_list(), x=spans.wall_s.clip(lower=longest[place - 1] / 1000).to_list(),
                y=spans.row.to_list(), orientation="h", width=0.86, hoverinfo="text",
                hovertext=[_span_hover(span) for span in spans.itertuples(index=False)],
                text=[escaped(_shortened(f"{step} {of}".strip(), 40)) for of in spans.of], textposition="inside",
                insidetextanchor="start", name=escaped(step), legendgroup=escaped(step), showlegend=step not in told,
                marker={"color": _LANE_COLOURS[names.index(step) % len(_LANE_COLOURS)],
                        "line": {"width": [3 if each else 0.5 for each in failed],
                                 "color": ["#7A1F4B" if each else "white" for each in failed]}},
                row=place, col=1,
            )  # fmt: skip
            told.add(step)
        figure.update_yaxes(range=[rows[place - 1] - 0.4, -0.6], visible=False, row=place, col=1)
        figure.update_xaxes(row=place, col=1, **_linear_duration_axis(longest[place - 1]))
    figure.update_xaxes(title_text="after the start of the question", row=len(parts), col=1)
    figure.update_layout(
        barmode="overlay", height=220 + 26 * sum(rows), legend_title_text="step",
        uniformtext={"minsize": 9, "mode": "hide"},
    )  # fmt: skip
    caption = "Each bar is a step, below it what is part of it or ran beside it; a thick dark edge: it failed."
    return _titled(figure, title, caption)


def _span_hover(span: Any) -> str:
    pieces = [
        f"<b>{escaped(f'{span.step} {span.of}'.strip())}</b>, {duration_text(span.wall_s)}, "
        f"of its own {duration_text(span.own_s)}",
        f"thread {escaped(span.thread)}" if span.thread else "",
        _wrapped(plain(span.error)[:300]),
        f"{escaped(_tail(span.source))}:{span.line}",
    ]
    return "<br>".join(piece for piece in pieces if piece)


# Tables


@dataclass(frozen=True)
class Table:
    """A frame as a notebook shows it: few rows, whole texts, everything escaped."""

    frame: pd.DataFrame
    rows_in_all: int

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return "<p>None.</p>"
        with pd.option_context("display.max_colwidth", None):  # pandas would cut a reason after 50 characters
            body = str(self.frame.to_html(index=False, border=0, justify="left", classes="warmstall", na_rep=""))
        # JupyterLab sets cells and their heads to the right; an unescaped tag can only be pandas' own.
        for tag in ("td", "th"):
            body = body.replace(f"<{tag}>", f'<{tag} style="text-align: left; vertical-align: top">')
        more = self.rows_in_all > len(self.frame)
        return body + (f"<p>Showing {len(self.frame)} of {self.rows_in_all:,} rows.</p>" if more else "")

    def __repr__(self) -> str:
        return "None." if self.frame.empty else str(self.frame.to_string(index=False, na_rep=""))


def table(frame: pd.DataFrame, columns: Sequence[str] = (), rows: int = 15) -> Table:
    """The first `rows` of `frame` with the given `columns` (all when empty), rounded and cleaned for reading."""
    present = [name for name in columns if name in frame.columns] if len(columns) else list(frame.columns)
    head = frame[present].head(_row_count(rows))
    if "source" in present:
        head = head.assign(source=head.source.map(_tail))
    texts = {plain(name): [_cell(value, name) for value in head[name]] for name in present}
    return Table(pd.DataFrame(texts), len(frame))


def _row_count(rows: object) -> int:
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise ParameterError(f"the number of rows must be a whole number from 1, not {rows!r}")
    return rows


@dataclass(frozen=True)
class Prose:
    """Lines of text as a notebook shows them: what is printed, JupyterLab breaks within words."""

    lines: tuple[str, ...]
    headline: int = -1

    def _repr_markdown_(self) -> str:
        told = []
        for number, line in enumerate(self.lines):
            bullet, text = ("- ", line[2:]) if line.startswith("- ") else ("", line)
            mark = "**" if number == self.headline and text else ""
            told.append(f"{bullet}{mark}{markdown_escaped(text)}{mark}")
        return "\n\n".join(told)

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def prose(lines: Iterable[str]) -> Prose:
    """Sentences, each a paragraph."""
    return Prose(tuple(lines))


def answer(text: str) -> Prose:
    """The answer of a case; its headline, which follows what was read and an empty line, stands out."""
    lines = text.split("\n")
    return Prose(tuple(lines), lines.index("") + 1 if "" in lines else -1)


def slowest_requests(requests: pd.DataFrame, rows: int = 15, whole: Whole | None = None) -> Table:
    """The slowest inference requests, each with its verdict and the reason for it."""
    shown = _inference(_drawable(requests))
    if shown.empty:
        return table(shown, rows=rows)
    slowest = shown.iloc[np.lexsort((shown.line, -shown.wall_s))[: _row_count(rows)]]
    columns = ["started_at", "wall_s", "status", "path", "model", "verdict", "reason", "source", "line"]
    return Table(table(_whole(requests, slowest, whole), columns, rows).frame, len(shown))


def verdict_counts(requests: pd.DataFrame) -> Table:
    """How many inference requests got each verdict, and how long they took."""
    shown = _inference(requests)
    if shown.empty:
        return Table(pd.DataFrame(), 0)
    groups = shown.wall_s.groupby(_labels(shown), observed=True)
    counts = groups.agg(requests="size", p50_s="median", p95_s=lambda walls: walls.quantile(0.95), max_s="max")
    counts.insert(1, "share", [f"{share:.1%}" for share in counts.requests / len(shown)])
    counts = counts.rename_axis("verdict").reset_index()
    return table(counts.sort_values(["requests"], ascending=False, kind="stable"))


def _tail(source: object) -> str:
    """A file's name and its folder: enough to know it again, and it leaves room for the reason."""
    return "/".join(re.split(r"[\\/]", plain(source))[-2:])[-60:]


def _cell(value: Any, column: object) -> str:
    """One value as text: times in UTC to the millisecond, seconds with as many digits as help, bytes in MiB and GiB."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S}" + (f".{value.microsecond // 1000:03d}" if value.microsecond else "")
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if _OF_BYTES.search(str(column)) and isinstance(value, int | float | np.number) and value == value:
        return f"{'-' if value < 0 else ''}{size_text(abs(float(value)))}"
    if isinstance(value, float):
        return "" if value != value else f"{value:,.0f}" if value.is_integer() else f"{value:,.3f}"
    return plain(value)


# What the figures share


def _titled(figure: go.Figure, title: str, caption: str) -> go.Figure:
    caption = "<br>".join(textwrap.wrap(caption, 150))
    return figure.update_layout(template=_TEMPLATE, title={"text": title, "subtitle": {"text": caption}})


def _sentence_only(title: str, sentence: str) -> go.Figure:
    figure = go.Figure()
    figure.add_annotation(text=sentence, showarrow=False, xref="paper", yref="paper", x=0, y=0.5, xanchor="left")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return _titled(figure, title, "").update_layout(height=200)


def _caption(drawn: int, of: int, without_time: int, noun: str) -> str:
    caption = f"Showing all {of:,} {noun}." if drawn == of else (
        f"Showing {drawn:,} of {of:,} {noun}: what stands out and the extremes first; the legend counts all."
    )  # fmt: skip
    return caption + (f" {without_time:,} without a start or a wall time are only counted." if without_time else "")


def _drawable(requests: pd.DataFrame) -> pd.DataFrame:
    """Requests that have a place in the picture, in order of time, with UTC times, and with their `number` before."""
    if requests.empty:
        return requests
    started_at = pd.to_datetime(requests.started_at, utc=True)
    wall_s = np.round(pd.to_numeric(requests.wall_s, errors="coerce").astype(float), 6)
    kept = np.flatnonzero(started_at.notna() & np.isfinite(wall_s))
    number = kept[np.lexsort((requests.line.to_numpy()[kept], started_at.astype("int64").to_numpy()[kept]))]
    placed = requests.assign(started_at=started_at, wall_s=wall_s).iloc[number]
    return placed.assign(number=number).reset_index(drop=True)


def _whole(requests: pd.DataFrame, chosen: pd.DataFrame, whole: Whole | None) -> pd.DataFrame:
    """All that is known of what was chosen of `_drawable(requests)`."""
    rows = chosen.number.to_numpy()
    known = requests.iloc[rows] if whole is None else whole(rows)
    # A place in the picture is what it was chosen by.
    return known.assign(started_at=chosen.started_at.array, wall_s=chosen.wall_s.array).reset_index(drop=True)


def _inference(requests: pd.DataFrame) -> pd.DataFrame:
    return requests if requests.empty else requests[_runs_a_model(requests)]


def _runs_a_model(requests: pd.DataFrame) -> pd.Series:
    return requests.inference.fillna(False).astype(bool)


def _failed(requests: pd.DataFrame) -> np.ndarray:
    """Whether each status is one of failure; of many requests there are few statuses."""
    status = requests.status.astype("category").cat
    failed = pd.to_numeric(pd.Series([*status.categories, ""], dtype=object), errors="coerce") >= 400
    of_each: np.ndarray = failed.to_numpy()[status.codes]
    return of_each


def _labels(requests: pd.DataFrame) -> pd.Series:
    """The verdict of each request, '' when it is not inference; one without a look of its own is unknown."""
    names = sorted(_VERDICT_LOOKS)
    verdicts = requests.verdict.astype("category").cat
    codes = [names.index(name if name and name in names else "unknown") for name in [*verdicts.categories, "unknown"]]
    labels = np.where(_runs_a_model(requests), np.array(codes)[verdicts.codes], names.index(""))
    return pd.Series(pd.Categorical.from_codes(labels, names), index=requests.index)


def _chosen(requests: pd.DataFrame) -> np.ndarray:
    """Positions of the requests to draw: what stands out, the extremes of each span, and an even sample of the rest."""
    labels = _labels(requests)
    quiet = labels.isin(_QUIET).to_numpy()
    notable = _sample(requests, labels, np.flatnonzero(~quiet), _NOTABLE_DRAWN_MAX)
    rest = _sample(requests, labels, np.flatnonzero(quiet), _DRAWN_MAX - len(notable))
    return np.sort(np.concatenate([notable, rest]))


def _sample(requests: pd.DataFrame, labels: pd.Series, places: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of `places`: per span and verdict the longest and the shortest, then evenly many of the rest."""
    if len(places) <= limit:
        return places
    some = pd.DataFrame({"label": labels.cat.codes.to_numpy()[places], "wall_s": requests.wall_s.to_numpy()[places]})
    bins = max(limit // (4 * some.label.nunique()), 1)
    seconds = (requests.started_at - requests.started_at.iloc[0]).dt.total_seconds().to_numpy()[places]
    some["bin"] = np.floor(seconds / (max(seconds[-1] - seconds[0], 1e-9) * 1.0001) * bins).astype(int)
    groups = some.groupby(["bin", "label"]).wall_s
    extremes = np.union1d(groups.idxmax().to_numpy(), groups.idxmin().to_numpy())[:limit]
    rest = np.delete(np.arange(len(places)), extremes)
    even = rest[np.linspace(0, len(rest) - 1, min(limit - len(extremes), len(rest))).astype(int)]
    chosen: np.ndarray = places[np.union1d(extremes, even)]
    return chosen


def _request_hovers(requests: pd.DataFrame) -> list[str]:
    """What the pointer shows on each request; the quick and quiet ones are brief once the page would grow too large."""
    labels = _labels(requests)
    order = np.lexsort((-requests.wall_s.to_numpy(), labels.isin(_QUIET).to_numpy()))
    left = _HOVER_CHARACTERS_MAX - _BRIEF_HOVER_CHARACTERS * len(requests)
    rows = list(requests.assign(verdict=labels).itertuples(index=False))
    hovers = [""] * len(rows)
    for place in order:
        brief = _brief_hover(rows[place])
        hover = brief + _hover_details(rows[place]) if left > 0 else brief
        left -= len(hover) - len(brief)
        hovers[place] = hover
    return hovers


def _brief_hover(row: Any) -> str:
    verdict = f"<b>{row.verdict or _NOT_INFERENCE}</b>, {duration_text(row.wall_s)}, status {escaped(row.status)}"
    return f"{verdict}<br>{row.started_at:%Y-%m-%d %H:%M:%S} UTC, {escaped(_tail(row.source))}:{row.line}"


def _hover_details(row: Any) -> str:
    where = f"{row.method} {row.path}  {plain(row.model)}"
    log_line = plain(getattr(row, "text", ""))[:300]
    pieces = [_wrapped(where), _wrapped(row.reason), f"<i>{_wrapped(log_line)}</i>" if log_line else ""]
    return "".join("<br>" + piece for piece in pieces if piece)


def _budget_text(parts: pd.Series) -> str:
    known = [f"{_PARTS[name][0]} {duration_text(seconds)}" for name, seconds in parts.items() if seconds > 0]
    return ", ".join(known) or "not divided"


def _span(
    requests: pd.DataFrame, residencies: pd.DataFrame, windows: pd.DataFrame, lanes: Sequence[Lane]
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last moment of everything that is drawn; what lanes add far away from the requests is left out.

    What was done about it comes after it: of that, what is as near as the requests' own span, and an hour at least.
    """
    moments = []
    if len(requests):
        ends = requests.started_at + pd.to_timedelta(requests.wall_s, unit="s").astype("timedelta64[us]")
        moments = [requests.started_at, ends.iloc[[ends.argmax()]]]
        reach = max(ends.max() - requests.started_at.min(), pd.Timedelta(hours=1))
        acts = [lane.marks["at"] for lane in lanes if lane.title == ACTS]
        moments += [at[at.between(requests.started_at.min(), ends.max() + reach)] for at in acts]
    else:
        moments = [line["at"] for lane in lanes for line in lane.lines.values()]
        moments += [lane.marks["at"] for lane in lanes if len(lane.marks)]
    for frame, names in ((residencies, ["loaded_at", "unloaded_at"]), (windows, ["from_at", "to_at"])):
        moments += [pd.to_datetime(frame[name], utc=True) for name in names if not frame.empty]
    known = pd.concat([pd.Series([each.min(), each.max()]) for each in moments if len(each)]).dropna()
    return known.min(), known.max()


# Lanes


def _lane_height(lane: Lane) -> int:
    return 90 if lane.lines else 22 * min(lane.marks.label.nunique(), _MARK_LABELS_MAX) + 14


def _add_lane(figure: go.Figure, lane: Lane, row: int) -> None:
    """Lines over the requests' own time, each named at its end; or marks, a row for each label."""
    if not lane.lines:
        _add_marks(figure, lane, row)
        return
    divisor, unit = _readable_unit(lane)
    colours = itertools.cycle(_LANE_COLOURS)
    for place, ((name, line), colour) in enumerate(zip(lane.lines.items(), colours, strict=False)):
        points = _thinned(line)
        values = (points.value / divisor).round(4).to_numpy()
        hovers = [f"<b>{escaped(name)}</b> {value:,.4g} {unit}<br>{at:%Y-%m-%d %H:%M:%S} UTC"
                  for at, value in zip(points["at"], values, strict=True)]  # fmt: skip
        figure.add_scatter(
            x=_utc_texts(points["at"]), y=values, mode="lines", line={"color": colour, "width": 1.5}, showlegend=False,
            hovertext=hovers, hoverinfo="text", row=row, col=1,
        )  # fmt: skip
        figure.add_annotation(
            text=escaped(_shortened(name)), x=1.005, xref="paper", xanchor="left", y=1 - 0.22 * place, yanchor="top",
            yref=f"y{row} domain", showarrow=False, font={"size": 11, "color": colour},
        )  # fmt: skip
    highest = max(float(line.value.max()) for line in lane.lines.values()) / divisor
    title = f"{lane.title}<br>{unit}" if unit else lane.title
    figure.update_yaxes(
        title_text=title, title_font={"size": 11}, range=[0, max(highest * 1.1, 1e-3)], nticks=4, row=row, col=1
    )


def _add_marks(figure: go.Figure, lane: Lane, row: int) -> None:
    labels = list(lane.marks.label.value_counts().index[:_MARK_LABELS_MAX])
    marks = lane.marks[lane.marks.label.isin(labels)].head(_MARKS_DRAWN_MAX)
    figure.add_scatter(
        x=_utc_texts(marks["at"]), y=[labels.index(label) for label in marks.label], mode="markers", showlegend=False,
        marker={"symbol": "line-ns-open", "size": 11, "color": "#7A1F4B"}, hoverinfo="text", row=row, col=1,
        hovertext=[f"<b>{escaped(mark.label)}</b><br>{_wrapped(mark.text)}" for mark in marks.itertuples()],
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=[escaped(_shortened(label)) for label in labels],
        range=[len(labels) - 0.4, -0.6], showgrid=False, tickfont={"size": 11}, row=row, col=1,
    )  # fmt: skip


def _readable_unit(lane: Lane) -> tuple[float, str]:
    """What to divide values by, and the unit that is left: bytes are read in MB or GB."""
    if not lane.unit.startswith("bytes"):
        return 1.0, {"percent of a core": "% of a core", "percent": "%"}.get(lane.unit, lane.unit)
    highest = max(float(line.value.abs().max()) for line in lane.lines.values())
    divisor, prefix = (1e9, "GB") if highest >= 1e9 else (1e6, "MB")
    return divisor, prefix + lane.unit.removeprefix("bytes")


def _thinned(line: pd.DataFrame) -> pd.DataFrame:
    """At most so many points: the lowest and the highest of each stretch."""
    if len(line) <= _LANE_POINTS_MAX:
        return line
    stretches = np.arange(len(line)) * (_LANE_POINTS_MAX // 2) // len(line)
    values = line.value.reset_index(drop=True).groupby(stretches)
    return line.iloc[np.union1d(values.idxmin().to_numpy(), values.idxmax().to_numpy())]


# Residencies and windows


@dataclass(frozen=True)
class _ResidencyRow:
    label: str
    from_at: pd.Timestamp
    to_at: pd.Timestamp
    hover: str


def _residency_rows(residencies: pd.DataFrame, first: pd.Timestamp, last: pd.Timestamp) -> list[_ResidencyRow]:
    """Bars to draw, longest-resident models first; bars nearer than a pixel to each other become one."""
    if residencies.empty:
        return []
    spans = residencies.assign(
        from_at=_filled(residencies.loaded_at, first),
        to_at=_filled(residencies.unloaded_at, last),
        open_end=residencies.unloaded_at.isna(),
    )
    spans["label"] = spans.model.map(plain) + (" on " + spans.host.map(plain) if spans.host.nunique() > 1 else "")
    totals = (spans.to_at - spans.from_at).groupby(spans.label).sum().sort_values(ascending=False, kind="stable")
    pixel = (last - first) / 1500
    rows: list[_ResidencyRow] = []
    for label in totals.index[:_MODELS_DRAWN_MAX]:
        own = spans[spans.label == label].sort_values("from_at")
        joint = (own.from_at - own.to_at.cummax().shift()).gt(pixel).cumsum()
        groups = own.groupby(joint)
        bars = groups.agg(from_at=("from_at", "min"), to_at=("to_at", "max"), times=("label", "size"))
        last = own[~joint.duplicated(keep="last")].set_axis(bars.index)
        bars = bars.assign(last_to_at=last.to_at, open_end=last.open_end, evidence=last.unload_evidence)
        rows += [
            _ResidencyRow(label, bar.from_at, bar.to_at, _residency_hover(label, bar)) for bar in bars.itertuples()
        ]
    return rows


def _residency_hover(label: str, bar: Any) -> str:
    until = "still resident where the log ends" if bar.open_end else f"until {bar.last_to_at:%Y-%m-%d %H:%M:%S} UTC"
    times = f" ({bar.times} residencies, drawn as one)" if bar.times > 1 else ""
    evidence = _wrapped(bar.evidence)
    return f"<b>{_wrapped(label)}</b>{times}<br>resident from {bar.from_at:%Y-%m-%d %H:%M:%S} UTC<br>{until}" + (
        f"<br>{evidence}" if evidence else ""
    )


def _add_residencies(figure: go.Figure, rows: list[_ResidencyRow], models: list[str]) -> None:
    figure.add_bar(
        base=_utc_texts([row.from_at for row in rows]),
        x=[(row.to_at - row.from_at) / pd.Timedelta(milliseconds=1) for row in rows],
        y=[models.index(row.label) for row in rows],
        hovertext=[row.hover for row in rows],
        hoverinfo="text",
        orientation="h",
        width=0.6,
        marker={"color": "#8FB3CC", "line": {"width": 0.5, "color": "#5F8AA8"}},
        showlegend=False,
        row=2,
        col=1,
    )
    figure.update_yaxes(
        tickvals=list(range(len(models))), ticktext=[escaped(_shortened(model)) for model in models],
        range=[len(models) - 0.4, -0.6], showgrid=False, title_text="", tickfont={"size": 11}, row=2, col=1,
    )  # fmt: skip


def _shortened(text: str, width: int = 26) -> str:
    """The start and the end of a long name: both tell models apart."""
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-width // 2 :]}"


def _add_windows(
    figure: go.Figure, windows: pd.DataFrame, first: pd.Timestamp, last: pd.Timestamp, marker_s: float
) -> None:
    """Shades each window over the whole height; its sentence is the hover of a mark at the top."""
    if windows.empty:
        return
    spans = windows.assign(
        from_at=_filled(windows.from_at, first),
        to_at=_filled(windows.to_at, last),
    )
    longest = (spans.to_at - spans.from_at).nlargest(_WINDOWS_DRAWN_MAX).index
    spans = spans.loc[longest].sort_values(["from_at", "to_at"])
    colours = [_WINDOW_COLOURS.get(kind, "#5B7FA6") for kind in spans.kind]
    middles = spans.from_at + (spans.to_at - spans.from_at) / 2
    shapes, annotations = [], []
    label_free_from = first
    for row, colour, middle in zip(spans.itertuples(index=False), colours, middles, strict=True):
        shapes.append(
            {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": _utc_text(row.from_at),
             "x1": _utc_text(row.to_at), "fillcolor": colour, "opacity": 0.12, "line": {"width": 0}, "layer": "below"}
        )  # fmt: skip
        label = _window_label(row)
        half = (last - first) * (0.0045 * len(label))  # about half a label's width on a page 1000 pixels wide
        if middle - half >= label_free_from:
            annotations.append(
                {"text": label, "x": _utc_text(middle), "xref": "x", "y": 1, "yref": "paper", "yanchor": "bottom",
                 "showarrow": False, "font": {"size": 11, "color": colour}}
            )  # fmt: skip
            label_free_from = middle + half
    figure.update_layout(shapes=shapes, annotations=[*figure.layout.annotations, *annotations])
    figure.add_scatter(
        x=_utc_texts(middles), y=[marker_s] * len(spans), mode="markers", showlegend=False, hoverinfo="text",
        hovertext=[f"<b>{_window_label(row)}</b><br>{_wrapped(row.sentence)}" for row in spans.itertuples(index=False)],
        marker={"symbol": "triangle-down", "size": 9, "color": colours}, row=1, col=1,
    )  # fmt: skip


def _window_label(window: Any) -> str:
    counts = f" {window.failed:.0f}/{window.requests:.0f}" if window.kind == "failure" else ""
    return escaped(f"{window.kind}{counts}")


# Axes


def _utc_texts(times: Iterable[pd.Timestamp]) -> list[str]:
    naive = pd.to_datetime(pd.Series(times), utc=True).dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return [str(text) for text in np.datetime_as_string(naive, unit="ms")]


def _filled(times: pd.Series, missing: pd.Timestamp) -> pd.Series:
    """Times in UTC, all as precise as our logs are, with a time for those that are not known."""
    return pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]").fillna(missing.as_unit("us"))


def _utc_text(time: pd.Timestamp) -> str:
    return _utc_texts([time])[0]


def _duration_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis in seconds between two powers of ten, with ticks a person reads."""
    coarse = [0.0001, 0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 360000]
    fine = [0.0002, 0.0005, 0.002, 0.005, 0.02, 0.05, 0.2, 0.5, 2, 5, 30, 120, 300, 1200, 1800, 7200, 18000]
    inside = [tick for tick in coarse if low <= math.log10(tick) <= high]
    if len(inside) < 4:
        inside = [tick for tick in sorted(coarse + fine) if low <= math.log10(tick) <= high]
    texts = [duration_text(tick) for tick in inside]
    return {"type": "log", "range": [low, high], "tickvals": inside, "ticktext": texts}


def _linear_duration_axis(longest_s: float) -> dict[str, Any]:
    """A linear axis in seconds from 0, with ticks at round durations."""
    steps = [base * 10**power for power in range(-4, 2) for base in (1, 2, 5)][:-2]
    steps += [20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400]
    step = next((step for step in steps if longest_s / step <= 7), longest_s / 5)
    ticks = [step * place for place in range(int(longest_s / step) + 2)]
    texts = ["0", *(duration_text(tick) for tick in ticks[1:])]
    return {"range": [0, max(longest_s * 1.06, 1e-4)], "tickvals": ticks, "ticktext": texts}


def _bin_width_s(span: pd.Timedelta, requests: int) -> int:
    """The narrowest round width with a handful of requests in a bin, and no more bins than can be read."""
    bins = min(max(requests / _REQUESTS_A_BIN, _BINS_MIN), _BINS_MAX - 1)
    minute, day = 60, 86400
    widths = [1, 2, 5, 10, 15, 30, minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute]
    widths += [3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, day, 2 * day, 7 * day]
    seconds = span.total_seconds()
    fallback = math.ceil(seconds / bins / (7 * day)) * 7 * day
    return next((width for width in widths if seconds / width <= bins), fallback)
