"""What a channel is told, in words: one message for one report, however much there is to tell.

Sentences come from logs in part. They are one line each, printable, short, and nothing in them is taken for a link, a
mention or markup by a program that shows messages; Apprise escapes what is left for the service it sends to.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ...parse.plain_text import printable
from ...runbook_links import command_of
from ..records import Status
from .episodes import Episode, Kind, rank
from .settings import AlertSettings

# Short enough for every service that takes more than an SMS: Discord takes 2,000 characters, Telegram 4,096.
_MOST_TITLE = 120
_MOST_SENTENCE = 300
_MOST_BODY = 1700
_LABELS: Mapping[Kind, str] = {
    "new": "New", "worse": "Worse", "still": "Still", "was": "Came and went", "over": "No longer seen",
}  # fmt: skip
_ORDER: tuple[Kind, ...] = ("worse", "new", "still", "was", "over")
# Mentions (@everyone, <!channel>), HTML, Markdown's links and images, and addresses that programs make links of.
_DEFUSED = ((re.compile(r"@"), "＠"), (re.compile(r"<(?=[^\s=\d])"), "‹"), (re.compile(r"\](?=[(\[:])"), "] "),
            (re.compile(r"://"), ":∕∕"))  # fmt: skip


@dataclass(frozen=True)
class Message:
    """One message for one channel. `severity` is how Apprise marks it, by colour or sign."""

    channel: str
    title: str
    body: str
    severity: Literal["failure", "warning", "success"]


@dataclass(frozen=True)
class Item:
    """One line of a message: an episode, and what about it."""

    kind: Kind
    episode: Episode

    @property
    def status(self) -> Status:
        """How bad what is told is: of what is over, what was told of it."""
        return self.episode.worst if self.kind in ("was", "over") else self.episode.status


def compose(
    channel: str, items: Sequence[Item], verdict: Mapping[str, Any], folder: Path, settings: AlertSettings,
    open_episodes: Sequence[Episode] = (),
) -> Message:  # fmt: skip
    """The message with these items; `open_episodes` are all that are open, told now or not."""
    items = sorted(items, key=lambda item: (_ORDER.index(item.kind), -rank(item.status), item.episode.key))
    now = [item.status for item in items if item.kind not in ("was", "over")]
    host = plain(settings.host or _hosts(verdict) or platform.node(), 60)
    worst = _worst(now)
    title = f"warmstall: {worst or 'over'} on {host}"
    still = _worst([one.status for one in open_episodes])
    if still and (worst is None or rank(still) > rank(worst)):
        title += f", {still} still open"
    severity: Literal["failure", "warning", "success"] = "success"
    if worst or still:
        severity = "failure" if worst == "critical" else "warning"
    body = [plain(verdict.get("sentence", ""), _MOST_SENTENCE)] if verdict.get("sentence") else []
    ends = _ends(items, verdict, folder, settings)
    room = _MOST_BODY - sum(len(line) + 1 for line in [*body, *ends]) - len("… and 999 more on the page.\n")
    for number, item in enumerate(items):
        line = _line(item)
        if (room := room - len(line) - 1) < 0:
            body.append(f"… and {len(items) - number} more on the page.")
            break
        body.append(line)
    return Message(channel, title[:_MOST_TITLE], "\n".join([*body, *ends]), severity)


def plain(text: object, most: int = _MOST_SENTENCE) -> str:
    r"""Text of a log on one line, cut at `most` characters, that no program makes anything of.

    >>> plain("a\x1b[31m @everyone <!channel> ![x](http://b) p95 < 3 s")
    'a [31m ＠everyone ‹!channel> ![x] (http:∕∕b) p95 < 3 s'
    """
    told = " ".join(printable(str(text)[: 4 * most]).split())
    for found, instead in _DEFUSED:
        told = found.sub(instead, told)
    return told if len(told) <= most else f"{told[: most - 1]}…"


def span_text(seconds: float) -> str:
    """A length of time as people say it.

    >>> [span_text(s) for s in (40, 3600, 9000, 200_000)]
    ['40 s', '60 min', '2.5 h', '2.3 days']
    """
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h" if seconds < 48 * 3600 else f"{seconds / 86400:.2g} days"


def _worst(statuses: Sequence[Status]) -> Status | None:
    return sorted(statuses, key=rank)[-1] if statuses else None


def _line(item: Item) -> str:
    one = item.episode
    told = f"{_LABELS[item.kind]} ({item.status}): {plain(one.sentence).rstrip('.')}."
    if item.kind in ("was", "over"):
        seen = span_text((one.last_seen - one.since).total_seconds())
        return f"{told} Seen for {seen}, in reports from {_clock(one.since)} to {_clock(one.last_seen)}."
    return f"{told} Since {_clock(one.since)}." if item.kind in ("still", "worse") else told


def _ends(items: Sequence[Item], verdict: Mapping[str, Any], folder: Path, settings: AlertSettings) -> list[str]:
    """The last lines: the page, and the runbooks of the causes that are told."""
    lines = []
    if page := str(verdict.get("report") or ""):
        # The settings' own address may be a link; the path is text.
        where = (
            f"{settings.page_address.rstrip('/')}/{page}" if settings.page_address else str(folder.absolute() / page)
        )
        lines.append(f"Page: {printable(where)[:400]}")
    told = {item.episode.key.split(":")[1] for item in items
            if item.kind not in ("was", "over") and item.episode.key.startswith("cause:")}  # fmt: skip
    causes = verdict.get("causes")
    rows = [row for row in causes if isinstance(row, Mapping)] if isinstance(causes, list) else []
    names = [str(row.get("runbook") or "") for row in rows if row.get("id") in told]
    for name in list(dict.fromkeys(name for name in names if re.fullmatch(r"[a-z-]{1,60}", name)))[:3]:
        lines.append(f"Runbook, which shows its plan first: {command_of(name)}")
    return lines


def _hosts(verdict: Mapping[str, Any]) -> str:
    hosts = verdict.get("hosts")
    found = [str(host) for host in hosts if host] if isinstance(hosts, list | tuple) else []
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
