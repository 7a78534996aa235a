"""What each step of a question took, for whoever asked it: the spans of the trace, added up by name."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

# In the order in which a question goes through them; the others hold these, or take no time.
_STEPS = ("load embedder", "embed", "search", "merge", "prompt", "generate", "cite")


class StepTimes(SpanProcessor):
    """Keeps the spans that end; steps that ran side by side count once, from the first start to the last end.

    >>> from .tracing import tracer_to
    >>> times = StepTimes()
    >>> with tracer_to(times).start_as_current_span("embed"):
    ...     pass
    >>> [(row["step"], row["times"]) for row in times.as_json()]
    [('embed', 1)]
    """

    def __init__(self) -> None:
        self._spans: list[tuple[str, int, int]] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.name in _STEPS and span.start_time and span.end_time:
            self._spans.append((span.name, span.start_time, span.end_time))

    def forget(self) -> None:
        """Begin anew: what came before belongs to no question."""
        self._spans.clear()

    def as_json(self) -> list[dict[str, object]]:
        """One row a step: its name, how often it ran, and its wall time in seconds."""
        rows: list[dict[str, object]] = []
        for step in _STEPS:
            spans = [(start, end) for name, start, end in self._spans if name == step]
            if spans:
                rows.append({"step": step, "times": len(spans), "wall_s": _wall_s(spans)})
        return rows

    def total_s(self) -> float:
        """From the first start to the last end of all."""
        return _wall_s([(start, end) for _, start, end in self._spans])

    def __str__(self) -> str:
        return ", ".join(f"{row['step']} {row['wall_s']:.3f} s ({row['times']})" for row in self.as_json())


def _wall_s(spans: list[tuple[int, int]]) -> float:
    return (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9 if spans else 0.0
