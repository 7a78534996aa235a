"""What each step of a question took, for whoever asked it: the spans of the trace, added up by name."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

# In the order in which a question goes through them; the others hold these, or take no time.
_STEPS = ("load embedder", "embed", "search", "merge", "prompt", "generate", "cite")


class StepTimes(SpanProcessor):
    """Keeps the spans that end; time in which steps ran side by side counts once.

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
        """The time in which any of them ran."""
        return _wall_s([(start, end) for _, start, end in self._spans])

    def __str__(self) -> str:
        return ", ".join(f"{row['step']} {row['wall_s']:.3f} s ({row['times']})" for row in self.as_json())


def _wall_s(spans: list[tuple[int, int]]) -> float:
    """The length of the union of intervals that are told in nanoseconds.

    >>> _wall_s([(2_000_000_000, 3_000_000_000), (0, 1_000_000_000), (500_000_000, 1_000_000_000)])
    2.0
    """
    total_ns = until_ns = 0
    for start, end in sorted(spans):
        total_ns += max(0, end - max(start, until_ns))
        until_ns = max(until_ns, end)
    return total_ns / 1e9
