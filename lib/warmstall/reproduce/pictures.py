"""Figures of an experiment: every trial of each arm, and how far the arms are apart."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..figures import escaped
from ..proportions import wilson
from .effects import Interval
from .experiment_result import Arm, ExperimentResult
from .metrics import Metric

# Okabe and Ito's palette, as in figures.py; the control is grey.
_COLOURS = ("#6B7580", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C79A00", "#56B4E9")


def arms(result: ExperimentResult) -> go.Figure:
    """Left every trial of the metric that decides, by arm; right each effect on it with its 95 % interval.

    A rate is a bar with Wilson's interval. Without measurements it is a sentence.
    """
    metric = result.metrics[0]
    figure = make_subplots(cols=2, column_widths=[0.62, 0.38], horizontal_spacing=0.14)
    for number, arm in enumerate(result.arms):
        values = metric.values(row for row in result.measurements if row.arm == arm.name)
        colour = _COLOURS[number % len(_COLOURS)]
        figure.add_trace(_rate(arm, values, colour) if metric.kind == "rate" else _trials(arm, values, colour), 1, 1)
    _add_effects(figure, result, metric)
    unit = f", {metric.unit}" if metric.unit else ""
    caption = f"{metric.better.capitalize()} is better. Left: each trial. Right: the effect, with its 95 % interval."
    figure.update_yaxes(
        title_text=escaped(f"{metric.label}{unit}"), rangemode="tozero", row=1, col=1,
        tickformat=".0%" if metric.kind == "rate" else None,
    )  # fmt: skip
    return figure.update_layout(
        template="plotly_white", showlegend=False, height=380,
        title={"text": escaped(result.question), "subtitle": {"text": caption}},
    )  # fmt: skip


def _trials(arm: Arm, values: list[float], colour: str) -> go.Box:
    return go.Box(
        y=values, name=escaped(arm.name), boxpoints="all", jitter=0.5, pointpos=0, fillcolor="rgba(0,0,0,0)",
        marker={"color": colour, "size": 5, "opacity": 0.6}, line={"color": colour, "width": 1.5},
        hovertemplate="%{y:.4g}<extra>" + escaped(arm.name) + "</extra>",
    )  # fmt: skip


def _rate(arm: Arm, values: list[float], colour: str) -> go.Bar:
    count, of = int(sum(values)), len(values)
    rate, (low, high) = count / of if of else 0.0, wilson(count, of)
    return go.Bar(
        x=[escaped(arm.name)], y=[rate], marker={"color": colour}, hovertext=f"{count:,} of {of:,}", hoverinfo="text",
        error_y={"type": "data", "symmetric": False, "array": [high - rate], "arrayminus": [rate - low]},
    )  # fmt: skip


def _add_effects(figure: go.Figure, result: ExperimentResult, metric: Metric) -> None:
    """Each treatment as a point with its interval, and a line where nothing differs."""
    found = [one for one in result.compared if one.metric == metric.name and one.effect.enough]
    if not found:
        figure.update_xaxes(visible=False, row=1, col=2)
        figure.update_yaxes(visible=False, row=1, col=2)
        figure.add_annotation(text="not enough data", showarrow=False, xref="paper", yref="paper", x=0.85, y=0.5)
        return
    by_ratio = all(one.effect.ratio is not None for one in found)
    intervals = [one.effect.ratio if by_ratio else one.effect.difference for one in found]
    points = [one for one in intervals if isinstance(one, Interval)]
    values, lows, highs = (np.array([getattr(one, name) for one in points]) for name in ("value", "low", "high"))
    figure.add_trace(
        go.Scatter(
            x=values, y=[escaped(one.arm) for one in found], mode="markers", marker={"size": 9, "color": "#24292f"},
            error_x={"type": "data", "symmetric": False, "array": highs - values, "arrayminus": values - lows},
            hovertext=[escaped(one.sentence) for one in found], hoverinfo="text",
        ), 1, 2,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    told = "times" if by_ratio else "more than"
    figure.add_vline(x=1.0 if by_ratio else 0.0, line={"dash": "dot", "color": "#6B7580"}, row=1, col=2)
    figure.update_xaxes(title_text=escaped(f"{told} {result.arms[0].name}, 95 % interval"), row=1, col=2)
    if by_ratio and lows.min() > 0:
        figure.update_xaxes(type="log", row=1, col=2)
