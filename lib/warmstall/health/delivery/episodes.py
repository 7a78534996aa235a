"""What troubles there are and were, and what each channel has been told of them: the state of delivery, `alerts.json`.

A trouble is one key of a report's reasons. Its episode begins with the first report that has it and is over with a
report that could have seen it and did not. Each channel is told of every episode once, of a reminder now and then, and
of its end; what a channel was told is remembered for that channel alone, and only after it took it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ...writing import whole_file
from ..records import SEVERITY_ORDER, Reason, Status
from .settings import AlertSettings, Channel

SCHEMA = 1
Kind = Literal["new", "worse", "still", "was", "over"]
DELIVERY = "delivery:"  # begins the keys of channels that do not work
# A trouble that comes back within a day must stay away twice as long as before until it is called over: one that comes
# and goes with every report is told of a few times, and then with the daily reminder.
_REMEMBERED_S = 24 * 3600.0
_FIRST_STAY_S = 3600.0
# What a channel that never works is owed is kept so long, and so many.
_OWED_S = 7 * 24 * 3600.0
_MOST_EPISODES = 500
# One attempt that failed is a hiccup, and made good by the next report.
_FAILING_REPORTS = 2


@dataclass
class Told:
    """What one channel knows of an episode: how bad it was told, when, and whether it knows that it is over."""

    status: Status
    at: datetime
    over: bool = False


@dataclass
class Episode:
    """One trouble from its first report to its last. `gone_at`: not seen since; `over_at`: it stayed away."""

    key: str
    status: Status
    worst: Status
    sentence: str
    since: datetime
    last_seen: datetime
    reports: int = 0
    gone_at: datetime | None = None
    over_at: datetime | None = None
    stay_away_s: float = 0.0
    told: dict[str, Told] = field(default_factory=dict)


@dataclass
class Failing:
    """A channel whose last attempts failed."""

    since: datetime
    reports: int
    why: str


@dataclass
class State:
    """Everything that delivery remembers from one report to the next."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    failing: dict[str, Failing] = field(default_factory=dict)


def rank(status: Status) -> int:
    """The place of a status in the order of severity."""
    return SEVERITY_ORDER.index(status)


def read_state(path: Path) -> tuple[State, str]:
    """The state and, where a file is there that cannot be read, a sentence on it.

    Then nothing is known to be told, and what is open is told again: twice is better than never.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["schema"] != SCHEMA:
            raise ValueError(f"schema {said['schema']}")
        return State(
            {key: _episode(key, row) for key, row in said["episodes"].items()},
            {name: Failing(_time(row["since"]), int(row["reports"]), str(row["why"]))
             for name, row in said["failing"].items()},
        ), ""  # fmt: skip
    except FileNotFoundError:
        return State(), ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return State(), f"{path.name} could not be read ({type(error).__name__}): what is open is told again."


def write_state(state: State, path: Path) -> None:
    """Write the state in one stroke. Raises OutputError."""
    said = {
        "schema": SCHEMA,
        "episodes": {key: asdict(one) for key, one in state.episodes.items()},
        "failing": {name: asdict(one) for name, one in state.failing.items()},
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(said, indent=1, default=_stamp), encoding="utf-8")


def observe(state: State, verdict: Mapping[str, Any], settings: AlertSettings, now: datetime) -> set[str]:
    """Bring the episodes up to what a verdict says; returns the keys that it has. The same verdict twice is no matter.

    A report that could not tell ends nothing: what it does not name may still be there.
    """
    from_at, to_at = (moment(verdict.get(name), now) for name in ("from", "to"))
    reasons = reasons_of(verdict)
    unknown = [reason.key for reason in reasons if reason.status == "could not tell"]
    state.failing = {
        name: one for name, one in state.failing.items() if name in {channel.name for channel in settings.channels}
    }
    reasons += _failing(state)
    for reason in reasons:
        _seen(state, reason, from_at, to_at)
    keys = {reason.key for reason in reasons}
    for key, one in state.episodes.items():
        if one.over_at or key in keys or any(_hides(other, key) for other in unknown):
            continue
        one.gone_at = min(one.gone_at or to_at, to_at)  # a clock may have been set back
        if (to_at - one.gone_at).total_seconds() >= one.stay_away_s:
            one.over_at = to_at
    return keys


def reasons_of(verdict: Mapping[str, Any]) -> list[Reason]:
    """The reasons of a verdict. One that is not healthy and gives none is a reason of its own."""
    found: dict[str, Reason] = {}
    rows = verdict.get("reasons")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and row.get("status") in SEVERITY_ORDER[1:]:
            one = Reason(str(row.get("key", "")), row["status"], str(row.get("sentence", "")))
            found.setdefault(one.key, one)
    status = verdict.get("status")
    if verdict.get("error"):
        found.setdefault(
            "report:error", Reason("report:error", "could not tell", f"The report failed: {verdict['error']}")
        )
    elif status != "healthy" and not any(one.status == status for one in found.values()):
        told: Status = status if status in SEVERITY_ORDER else "could not tell"
        found.setdefault("report", Reason("report", told, str(verdict.get("sentence", ""))))
    return list(found.values())


def due(one: Episode, channel: Channel, settings: AlertSettings, keys: set[str], now: datetime) -> Kind | None:
    """What a channel is to be told of an episode now, were there no quiet period; None for nothing."""
    told = one.told.get(channel.name)
    if one.key == f"{DELIVERY}{channel.name}":
        return None
    if told and told.over:
        return None
    worst = one.worst if one.over_at else one.status
    is_told = rank(worst) >= rank(channel.least) and (
        worst != "could not tell" or one.key.startswith(DELIVERY) or one.reports >= settings.could_not_tell_after
    )
    if one.over_at:
        return "over" if told else "was" if is_told else None
    if one.gone_at or not is_told:
        return None
    if told is None:
        return "new"
    if rank(one.status) > rank(told.status):
        return "worse"
    # Told in the future: the clock was wrong then, and nobody knows how long ago it was.
    old = now - told.at >= timedelta(seconds=settings.remind_every_s) or told.at - now > timedelta(minutes=5)
    return "still" if old and one.key in keys else None


def forget(state: State, settings: AlertSettings, now: datetime) -> None:
    """Drop what is over, known to all whom it concerns, and too old to matter if it comes back."""
    for key, one in list(state.episodes.items()):
        if one.over_at is None:
            continue
        age_s = (now - one.over_at).total_seconds()
        owed = any(due(one, channel, settings, set(), now) for channel in settings.channels)
        if age_s > (_OWED_S if owed else _REMEMBERED_S):
            del state.episodes[key]
    for key in sorted(state.episodes, key=lambda key: state.episodes[key].last_seen)[:-_MOST_EPISODES]:
        del state.episodes[key]


def moment(value: object, otherwise: datetime) -> datetime:
    """An aware time in UTC of its ISO text; `otherwise` for what is none."""
    with suppress(ValueError, TypeError, OverflowError):
        return _time(value)
    return otherwise


def _seen(state: State, reason: Reason, from_at: datetime, to_at: datetime) -> None:
    one = state.episodes.get(reason.key)
    if one is None or one.over_at:
        stay_s, told = 0.0, {}
        if one and one.over_at:
            if (to_at - one.over_at).total_seconds() <= _REMEMBERED_S:
                stay_s = min(_REMEMBERED_S, max(_FIRST_STAY_S, 2 * one.stay_away_s))
            # For a channel that never heard of its end it is the same trouble still.
            told = {name: each for name, each in one.told.items() if not each.over}
        one = Episode(reason.key, reason.status, reason.status, "", from_at, to_at, stay_away_s=stay_s, told=told)
        state.episodes[reason.key] = one
    one.status, one.sentence, one.last_seen, one.gone_at = reason.status, reason.sentence[:1000], to_at, None
    one.worst = max(one.worst, reason.status, key=rank)
    one.reports += 1


def _hides(unknown: str, key: str) -> bool:
    """Whether a report with this reason that it could not tell says nothing on a trouble that it does not name.

    >>> _hides("unseen:box", "silent:box"), _hides("unseen:box", "silent:other"), _hides("report:error", "silent:other")
    (True, False, True)
    """
    if key.startswith(DELIVERY):
        return False
    kind, _, host = unknown.partition(":")
    # Of one host nothing is known: what is of another host, and not of all of them, was seen.
    return not (kind == "unseen" and host) or key.endswith((f":{host}", ":"))


def _failing(state: State) -> list[Reason]:
    return [
        Reason(f"{DELIVERY}{name}", "could not tell",
               f"Messages do not reach the channel {name} since {one.since:%Y-%m-%d %H:%M} UTC: {one.why}")
        for name, one in state.failing.items() if one.reports >= _FAILING_REPORTS
    ]  # fmt: skip


def _episode(key: str, row: Mapping[str, Any]) -> Episode:
    gone_at, over_at = (_time(row[name]) if row[name] else None for name in ("gone_at", "over_at"))
    told = {
        name: Told(_status(each["status"]), _time(each["at"]), bool(each["over"])) for name, each in row["told"].items()
    }
    return Episode(
        key, _status(row["status"]), _status(row["worst"]), str(row["sentence"]), _time(row["since"]),
        _time(row["last_seen"]), int(row["reports"]), gone_at, over_at, float(row["stay_away_s"]), told,
    )  # fmt: skip


def _status(value: object) -> Status:
    return SEVERITY_ORDER[SEVERITY_ORDER.index(value)]  # ValueError for what is none


def _time(value: object) -> datetime:
    found = datetime.fromisoformat(str(value))
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _stamp(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
