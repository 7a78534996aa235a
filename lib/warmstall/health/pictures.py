"""The pictures of a health report: trends, memory and where it leads, residencies, verdicts.

Every string may come from a log, so it goes through `figures`: cleaned, and escaped for plotly, which reads a subset of
HTML. The pictures carry no titles of their own, are as wide as their page, and have no gestures: a phone scrolls past.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..figures import VERDICT_COLOURS, escaped, plain
from .memory_looks import Looks
from .records import HealthReport
from .slis import SLIS
from .words import amount, measured_text, value_text

_LINE = {"color": "#0072B2", "width": 1.8}
_ACROSS = 168  # reports in a trend: a week of hours
_BACK_S = 86400.0  # of memory: what a day does
_GIB = 2.0**30
_TALL_PX, _MEMORY_PX, _BETWEEN_PX = 78, 150, 50
_LEFT_PX = 58


class Sentence(str):
    """What is said in place of a picture that would be empty; a notebook shows it without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def trends(report: HealthReport, history: pd.DataFrame) -> go.Figure | Sentence:
    """Each SLI over the last reports, one panel a row; shaded is what is usual at this hour, dashed its objective.

    `history` holds rows of kind `sli` (report_from, report_to, host, kind, name, value). A gap between reports is a gap
    in the line. A ring stands around a value that is unusual.
    """
    measured = [one for one in report.slis if one.value is not None and not one.host]
    if not measured:
        return Sentence("No service level could be measured in this period, so there is no line to continue.")
    past = history[(history["kind"] == "sli") & (history["host"].fillna("") == "")] if len(history) else history
    past = past[pd.to_datetime(past["report_to"], utc=True) < pd.Timestamp(report.to_at)] if len(past) else past
    if past.empty:
        return Sentence("This is the first report here: lines begin with the next one.")
    usual = {one.sli: one for one in report.comparisons if not one.host}
    targets = {one.objective.sli: one.objective.target for one in report.objectives}
    figure = _panels(len(measured))
    for row, sli in enumerate(measured, 1):
        line = _line_of(past, sli.name, report, float(sli.value or 0))
        texts = [value_text(value, sli.unit) for value in line["value"]]
        figure.add_scatter(
            x=_moments(line["at"]), y=line["value"].to_list(), mode="lines+markers", line=_LINE, connectgaps=False,
            marker={"size": 4}, hoverinfo="text", row=row, col=1,
            hovertext=[f"{text}<br>until {at:%Y-%m-%d %H:%M} UTC" for text, at in zip(texts, line["at"], strict=True)],
        )  # fmt: skip
        told = f"<b>{escaped(label_of(sli.name))}</b><br>{escaped(measured_text(sli))}"
        levels = list(line["value"].dropna())
        band = usual.get(sli.name)
        if band and band.low is not None and band.high is not None:
            figure.add_hrect(y0=band.low, y1=band.high, fillcolor="#009E73", opacity=0.16, line_width=0, row=row, col=1)
            told += f", usually {value_text(band.low, sli.unit)} to {value_text(band.high, sli.unit)}"
            levels += [band.low, band.high]
        if (target := targets.get(sli.name)) is not None:
            figure.add_hline(y=target, line={"color": "#7A1F4B", "width": 1.2, "dash": "dash"}, row=row, col=1)
        if band and band.unusual:
            figure.add_scatter(
                x=_moments([report.to_at]), y=[sli.value], mode="markers", hoverinfo="skip", row=row, col=1,
                marker={"symbol": "circle-open", "size": 13, "color": "#D55E00", "line": {"width": 2.5}},
            )  # fmt: skip
        _name_panel(figure, row, told)
        _value_axis(figure, row, levels, sli.unit)
    return _finished(figure, len(measured))


def memory(report: HealthReport, looks: Iterable[Looks]) -> go.Figure | Sentence:
    """What is left of each host's memory and swap, and where a fall leads: the line, and its 95 % interval as a fan."""
    known = {(one.host, one.what, one.group): one for one in report.memory}
    found = [(one, known.get((one.host, one.what, one.group))) for one in looks if len(one.at_s)]
    shown = [(seen, judged) for seen, judged in found if judged]
    if not shown:
        return Sentence("Nothing in this period shows how much memory was left.")
    figure = _panels(len(shown), _MEMORY_PX)
    for row, (seen, judged) in enumerate(shown, 1):
        kept = seen.at_s >= report.to_at.timestamp() - _BACK_S
        at = pd.to_datetime(seen.at_s[kept], unit="s", utc=True)
        kept_bytes, last = seen.available[kept], float(seen.available[-1])
        figure.add_scatter(
            x=_moments(at), y=(kept_bytes / _GIB).tolist(), mode="lines+markers", line=_LINE, marker={"size": 4},
            hoverinfo="text", row=row, col=1,
            hovertext=[f"{amount(left)} left<br>{when:%Y-%m-%d %H:%M:%S} UTC"
                       for left, when in zip(kept_bytes, at, strict=True)],
        )  # fmt: skip
        if judged.state == "falling" and judged.left_s is not None and judged.at is not None:
            begins = pd.Timestamp(judged.at), float(judged.available_bytes or last)
            _project(figure, row, *begins, judged.left_s, judged.left_low_s, judged.left_high_s)
        of = f"{judged.what} of {f'{shortened(seen.group, 30)} on ' if seen.group else ''}{seen.host}"
        _name_panel(figure, row, f"<b>{escaped(of)}</b><br>{amount(last)} left, {judged.state}")
        highest = max(float(kept_bytes.max(initial=0.0)), seen.total) / _GIB
        figure.update_yaxes(range=[0, highest * 1.05 or 1], nticks=4, ticksuffix=" GiB", row=row, col=1)
    return _finished(figure, len(shown), _MEMORY_PX)


def residency(residencies: pd.DataFrame, report: HealthReport) -> go.Figure | Sentence:
    """A bar for each stay of a model in memory within the period; the models that stayed longest, at most twelve."""
    first, last = (pd.Timestamp(at) for at in (report.from_at, report.to_at))
    if residencies.empty:
        return Sentence("The evidence does not show which models were in memory.")
    stays = residencies.assign(
        from_at=pd.to_datetime(residencies["loaded_at"], utc=True).fillna(first).clip(lower=first),
        to_at=pd.to_datetime(residencies["unloaded_at"], utc=True).fillna(last).clip(upper=last),
        label=residencies["model"].map(plain) + " on " + residencies["host"].map(plain),
    )  # fmt: skip
    stays = stays[stays["to_at"] > stays["from_at"]]
    if stays.empty:
        return Sentence("No model was in memory in this period, as far as the evidence shows.")
    totals = (stays["to_at"] - stays["from_at"]).groupby(stays["label"]).sum()
    labels = list(totals.sort_values(ascending=False, kind="stable").index[:12])
    stays = stays[stays["label"].isin(labels)]
    # Stays that would be nearer than a pixel are one bar: a model that is loaded each second is a million of them.
    pixel = (last - first) / 600
    stays = stays.sort_values(["label", "from_at"], kind="stable")
    apart = stays["from_at"] - stays.groupby("label")["to_at"].transform(lambda ends: ends.cummax().shift()) > pixel
    bars = stays.groupby([stays["label"], apart.groupby(stays["label"]).cumsum()], sort=False)
    drawn = bars.agg(
        label=("label", "first"), from_at=("from_at", "min"), to_at=("to_at", "max"), stays=("to_at", "size")
    )
    figure = go.Figure()
    lengths_ms = (drawn["to_at"] - drawn["from_at"]) / pd.Timedelta(milliseconds=1)
    figure.add_bar(
        base=_moments(drawn["from_at"]), x=lengths_ms.to_list(),
        y=[labels.index(label) for label in drawn["label"]], orientation="h", width=0.45, offset=0.0,
        marker={"color": "#8FB3CC", "line": {"width": 0.5, "color": "#5F8AA8"}}, hoverinfo="text",
        hovertext=[f"<b>{escaped(one.label[:80])}</b><br>{one.from_at:%H:%M:%S} to {one.to_at:%H:%M:%S} UTC"
                   + (f"<br>{one.stays} stays, drawn as one" if one.stays > 1 else "") for one in drawn.itertuples()],
    )  # fmt: skip
    # A name stands above its bar: on a phone there is no room beside it.
    for place, label in enumerate(labels):
        figure.add_annotation(
            text=escaped(shortened(label, 46)), x=0, xref="paper", xanchor="left", y=place, yanchor="bottom",
            showarrow=False, font={"size": 11},
        )  # fmt: skip
    figure.update_yaxes(visible=False, range=[len(labels) - 0.4, -0.6])
    figure.update_xaxes(type="date", range=_moments([first, last]))
    return _styled(figure).update_layout(height=70 + 40 * len(labels), margin_l=14)


def verdicts(requests: pd.DataFrame, report: HealthReport) -> go.Figure | Sentence:
    """How many inference requests ended in each stretch of the period, by verdict; the legend counts all."""
    asked = requests[requests["inference"].fillna(False).astype(bool)] if len(requests) else requests
    ended = pd.to_datetime(asked["ended_at"], utc=True) if len(asked) else pd.Series(dtype="datetime64[ns, UTC]")
    if asked.empty or ended.isna().all():
        return Sentence("No inference request with a time was seen in this period.")
    first, last = pd.Timestamp(report.from_at), pd.Timestamp(report.to_at)
    # As many stretches as can be told apart on a phone.
    edges = pd.date_range(first, last, periods=31)
    place = np.clip(edges.searchsorted(ended[ended.notna()]) - 1, 0, 29)
    labels = asked["verdict"].fillna("unknown").astype(str)[ended.notna()]
    counts = pd.crosstab(place, labels).reindex(range(30), fill_value=0)
    figure = go.Figure()
    for verdict in sorted(counts.columns, key=lambda name: (name != "warm_ok", -counts[name].sum())):
        figure.add_bar(
            x=_moments(edges[:-1] + (edges[1] - edges[0]) / 2), y=counts[verdict].to_list(),
            marker={"color": VERDICT_COLOURS.get(verdict, "#6B7580"), "line": {"width": 0}},
            name=f"{escaped(verdict)} ({counts[verdict].sum():,})", hoverinfo="text",
            hovertext=[f"<b>{escaped(verdict)}</b> {count:,}<br>{one:%H:%M:%S} to {other:%H:%M:%S} UTC"
                       for count, one, other in zip(counts[verdict], edges, edges[1:], strict=False)],
        )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.12, height=300, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}})
    figure.update_yaxes(title_text="requests", rangemode="tozero", nticks=5)
    figure.update_xaxes(type="date", range=_moments([first, last]))
    return _styled(figure)


def label_of(name: str) -> str:
    """What an SLI is called."""
    return SLIS[name].label if name in SLIS else plain(name)


def shortened(text: str, width: int) -> str:
    """The start and the end of a long name: both tell models apart.

    >>> shortened("a-model-with-a-long-name:70b", 12)
    'a-mod…me:70b'
    """
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-width // 2 :]}"


def _line_of(past: pd.DataFrame, name: str, report: HealthReport, value: float) -> pd.DataFrame:
    """Values by the end of their period, this report's last; an empty one where reports are missing."""
    own = past[past["name"] == name] if len(past) else past
    own = pd.DataFrame({
        "from": pd.to_datetime(own["report_from"], utc=True), "at": pd.to_datetime(own["report_to"], utc=True),
        "value": pd.to_numeric(own["value"]),
    }) if len(own) else pd.DataFrame({"from": [], "at": [], "value": []})  # fmt: skip
    now = {"from": pd.Timestamp(report.from_at), "at": pd.Timestamp(report.to_at), "value": value}
    own = own[own["at"] < now["at"]] if len(own) else own
    rows = sorted([*own.to_dict("records"), now], key=lambda row: row["at"])[-_ACROSS:]
    line = []
    for before, row in zip([None, *rows], rows, strict=False):
        # A report begins where the one before it ended; half a period late is a report that is missing.
        if before and row["from"] - before["at"] > (row["at"] - row["from"]) / 2:
            line.append({"at": before["at"] + (row["from"] - before["at"]) / 2, "value": np.nan})
        line.append({"at": row["at"], "value": row["value"]})
    return pd.DataFrame(line)


def _project(
    figure: go.Figure, row: int, at: pd.Timestamp, available_bytes: float, left_s: float, low_s: float | None,
    high_s: float | None,
) -> None:  # fmt: skip
    """The line down to nothing, and the fan of its interval; a fan without an end leads to the picture's edge."""
    start, gone = available_bytes / _GIB, at + pd.Timedelta(seconds=left_s)
    if low_s is not None:
        ends = [at + pd.Timedelta(seconds=low_s), at + pd.Timedelta(seconds=high_s or 2 * left_s)]
        level = 0.0 if high_s is not None else start / 2
        figure.add_scatter(
            x=_moments([at, ends[0], ends[1], at]), y=[start, 0, level, start], mode="lines", fill="toself", row=row,
            line={"width": 0}, fillcolor="rgba(213, 94, 0, 0.18)", hoverinfo="skip", col=1,
        )  # fmt: skip
    figure.add_scatter(
        x=_moments([at, gone]), y=[start, 0], mode="lines", line={"color": "#D55E00", "width": 2, "dash": "dot"},
        hoverinfo="text", hovertext=["", f"gone at {gone:%Y-%m-%d %H:%M} UTC at this pace"], row=row, col=1,
    )  # fmt: skip


# Looks


def _panels(rows: int, tall_px: int = _TALL_PX) -> go.Figure:
    height = _height(rows, tall_px)
    return make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=_BETWEEN_PX / height if rows > 1 else None)


def _name_panel(figure: go.Figure, row: int, told: str) -> None:
    figure.add_annotation(
        text=told, x=0, xref="paper", xanchor="left", y=1, yref=f"y{row if row > 1 else ''} domain", yanchor="bottom",
        showarrow=False, font={"size": 12}, align="left", xshift=6 - _LEFT_PX, yshift=4,
    )  # fmt: skip


def _value_axis(figure: go.Figure, row: int, levels: Sequence[float], unit: str) -> None:
    """From 0, unless all values lie so close together that their line would be flat."""
    low, high = min(levels), max(levels)
    around = low > 0.5 * high
    pad = max((high - low) * 0.3, abs(high) * 0.002, 1e-6)
    if unit == "share":
        _share_axis(figure, row, low, high)
        return
    form = {"ticksuffix": " s"} if unit == "s" else {}
    figure.update_yaxes(
        range=[low - pad if around else -0.04 * (high + pad), high + pad], nticks=4, row=row, col=1, **form
    )


def _share_axis(figure: go.Figure, row: int, low: float, high: float) -> None:
    """Whole percents, from 0 or, where all is near it, up to 100 %; never less of them than one."""
    first, last = math.floor(100 * low) if low > 0.5 else 0, math.ceil(100 * high)
    first, last = (min(first, 99), 100) if low > 0.5 else (first, max(last, 1))
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (last - first) / step <= 3)
    ticks = range(math.ceil(first / step) * step, last + 1, step)
    around = 0.06 * (last - first) / 100  # that a line on the edge is seen
    figure.update_yaxes(
        range=[first / 100 - around, last / 100 + around], tickvals=[tick / 100 for tick in ticks],
        ticktext=[f"{tick} %" for tick in ticks], row=row, col=1,
    )  # fmt: skip


def _finished(figure: go.Figure, rows: int, tall_px: int = _TALL_PX) -> go.Figure:
    return _styled(figure).update_layout(height=_height(rows, tall_px), showlegend=False)


def _height(rows: int, tall_px: int) -> int:
    return rows * (tall_px + _BETWEEN_PX) + 60


def _styled(figure: go.Figure) -> go.Figure:
    """What all pictures share: no title, narrow margins, and no gesture, so that a finger scrolls the page."""
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#24292f"}
    axis = {"gridcolor": "#edf0f3", "linecolor": "#c8cfd6", "zeroline": False, "fixedrange": True}
    figure.update_xaxes(type="date", nticks=6, tickangle=0, ticks="outside", tickcolor="#c8cfd6", **axis)
    figure.update_yaxes(**axis)
    return figure.update_layout(
        template="none", font=font, paper_bgcolor="white", plot_bgcolor="white", dragmode=False, hovermode="closest",
        margin={"l": _LEFT_PX, "r": 14, "t": 40, "b": 48}, hoverlabel={"align": "left", "bgcolor": "white"},
    )  # fmt: skip


def _moments(times: Iterable[object]) -> list[str]:
    """Times as plotly reads them: UTC, to the second."""
    return list(pd.to_datetime(pd.Series(list(times)), utc=True).dt.strftime("%Y-%m-%d %H:%M:%S"))
