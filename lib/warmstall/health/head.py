"""The head of a health report's page: one sentence, one colour, three numbers."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..parse.plain_text import printable
from .conclusion import COLOURS
from .records import HealthReport, Status
from .words import sentence as sentence_of

# The kind of output that the report's template makes the head of the page.
OUTCOME = "application/vnd.warmstall.health+json"
# In a notebook; on the page the style sheet's own. White on it, or black on the amber, is read at 4.5:1 and more.
_COLOURS: Mapping[Status, tuple[str, str]] = {
    "healthy": ("#1a6b3c", "#fff"),
    "degraded": ("#f2b01e", "#1d1500"),
    "critical": ("#b3261e", "#fff"),
    "could not tell": ("#4a5568", "#fff"),
}
_LONGEST = 400  # of a sentence: a log can hold words of a megabyte


class Head:
    """One sentence, one colour, three numbers: the output of a notebook that becomes the head of its page."""

    def __init__(self, report: HealthReport) -> None:
        hosts = ", ".join(report.hosts) or "no host"
        word, told = _parted(report)
        day = "" if report.from_at.date() == report.to_at.date() else "%Y-%m-%d "
        until = report.to_at.strftime(f"{day}%H:%M:%S")
        self.outcome: dict[str, Any] = {
            "status": report.status,
            "word": word,
            "colour": COLOURS[report.status],
            "sentence": sentence_of(printable(told)[:_LONGEST]),
            "numbers": [{name: printable(text)[:80] for name, text in asdict(one).items()} for one in report.numbers],
            "period": printable(f"{report.from_at:%Y-%m-%d %H:%M:%S} to {until} UTC, {hosts}")[:_LONGEST],
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {OUTCOME: self.outcome, "text/html": self._html(), "text/plain": repr(self)}

    def _html(self) -> str:
        """For a notebook's own page, which knows no style sheet of ours."""
        ground, ink = _COLOURS[self.outcome["status"]]
        numbers = "".join(
            f'<td style="text-align: left; padding: 0 2em 0 0; color: {ink}">{html.escape(one["label"])}<br>'
            f"<b>{html.escape(one['text'])}</b></td>"
            for one in self.outcome["numbers"]
        )
        return (
            f'<div style="background: {ground}; color: {ink}; padding: 1em 1.5em; border-radius: 6px">'
            f"<b>{html.escape(self.outcome['word'].upper())}</b>"
            f'<p style="font-size: 1.5em; margin: .3em 0; color: {ink}">{html.escape(self.outcome["sentence"])}</p>'
            f'<table style="margin: 0; background: none"><tr style="background: none">{numbers}</tr></table>'
            f'<p style="color: {ink}">{html.escape(self.outcome["period"])}</p></div>'
        )

    def __repr__(self) -> str:
        numbers = "; ".join(f"{one['label']}: {one['text']}" for one in self.outcome["numbers"])
        return f"{self.outcome['word']}: {self.outcome['sentence']}\n{numbers}\n{self.outcome['period']}"


def _parted(report: HealthReport) -> tuple[str, str]:
    """The word for the status, which has its own line, and the sentence without it."""
    word, colon, told = report.sentence.partition(": ")
    if colon and word.lower().startswith(report.status):  # also "healthy again"
        return word.lower(), told
    return report.status, report.sentence
