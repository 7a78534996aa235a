"""From a verdict to messages: what is new, worse, still there or over is told to every channel that is configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import OutputError
from .episodes import Failing, State, Told, due, forget, observe, read_state, write_state
from .messages import Item, Message, compose
from .sending import Outcome, send
from .settings import AlertSettings, Channel, address_of

Sender = Callable[[Sequence[Message], Mapping[str, str], float, str], Iterable[Outcome]]
STATE = "alerts.json"
_LOCK = "alerts.lock"
# Somebody else delivers: he is done when his messages are.
_LOCK_SPARE_S = 30.0


def deliver(
    verdict: Mapping[str, Any], folder: Path, settings: AlertSettings | None, now: datetime, sender: Sender = send
) -> dict[str, list[Any]]:
    """Tell the channels what they do not know yet, and say what came of it, for verdict["delivery"].

    Returns `sent` (channel, title, keys), `failed` (channel, title, keys, why), `held` (channel, keys, until: the end
    of the quiet period) and `notes`. Nothing is sent without settings, nor without channels in them. `now` is aware.

    What was sent is written to `alerts.json` in the folder after each channel that took its message. Killed before
    that, the next report sends that channel's message once more; nothing is lost. Never raises for what a channel, the
    network or the disk does: a report comes about without its delivery too.
    """
    told: dict[str, list[Any]] = {"sent": [], "failed": [], "held": [], "notes": []}
    if settings is None or not settings.channels:
        return told
    now = now.astimezone(UTC)
    with _locked(folder, settings.timeout_s + _LOCK_SPARE_S, told) as is_mine:
        if not is_mine:
            told["failed"] = [
                _row(channel, "", [], why="Another run delivers and did not end.") for channel in settings.channels
            ]
            return told
        state, note = read_state(folder / STATE)
        told["notes"] += [note] if note else []
        keys = observe(state, verdict, settings, now)
        _tell(verdict, folder, settings, now, state, keys, told, sender)
        forget(state, settings, now)
        _keep(state, folder, told)
    return told


def _tell(
    verdict: Mapping[str, Any], folder: Path, settings: AlertSettings, now: datetime, state: State, keys: set[str],
    told: dict[str, list[Any]], sender: Sender,
) -> None:  # fmt: skip
    items = {channel.name: _items(channel, settings, now, state, keys, told) for channel in settings.channels}
    open_episodes = [one for one in state.episodes.values() if not one.over_at]
    messages, addresses = {}, {}
    for channel in settings.channels:
        if not items[channel.name]:
            continue
        message = compose(channel.name, items[channel.name], verdict, folder, settings, open_episodes)
        messages[channel.name] = message
        if address := address_of(channel):
            addresses[channel.name] = address
        else:
            why = f"The variable {channel.url_variable}, which holds its address, is not set."
            _learn(Outcome(channel.name, False, why), items[channel.name], message.title, state, now, told)
    if not addresses:
        return
    proxy = os.environ.get(settings.proxy_variable, "") if settings.proxy_variable else ""
    for outcome in sender([messages[name] for name in addresses], addresses, settings.timeout_s, proxy):
        _learn(outcome, items[outcome.channel], messages[outcome.channel].title, state, now, told)
        _keep(state, folder, told)


def _items(
    channel: Channel, settings: AlertSettings, now: datetime, state: State, keys: set[str], told: dict[str, list[Any]]
) -> list[Item]:
    """What a channel is told now; what a quiet period holds back is named in `told`."""
    quiet = [(period, ends_at) for period in settings.quiet if (ends_at := period.until(now))]
    found, held, untils = [], [], []
    for one in state.episodes.values():
        kind = due(one, channel, settings, keys, now)
        if kind is None:
            continue
        item = Item(kind, one)
        if holding := [ends_at for period, ends_at in quiet if item.status not in period.through]:
            held.append(one.key)
            untils += holding
        else:
            found.append(item)
    if held:
        until = max(untils).astimezone(UTC).isoformat()
        told["held"].append({"channel": channel.name, "keys": sorted(held), "until": until})
    return found


def _learn(
    outcome: Outcome, items: list[Item], title: str, state: State, now: datetime, told: dict[str, list[Any]]
) -> None:
    keys = sorted(item.episode.key for item in items)
    row = {"channel": outcome.channel, "title": title, "keys": keys}
    if not outcome.sent:
        told["failed"].append({**row, "why": outcome.why})
        before = state.failing.get(outcome.channel, Failing(now, 0, ""))
        state.failing[outcome.channel] = Failing(before.since, before.reports + 1, outcome.why)
        return
    told["sent"].append(row)
    state.failing.pop(outcome.channel, None)
    for item in items:
        item.episode.told[outcome.channel] = Told(item.status, now, item.kind in ("was", "over"))


def _keep(state: State, folder: Path, told: dict[str, list[Any]]) -> None:
    try:
        write_state(state, folder / STATE)
    except (OSError, OutputError) as error:
        note = f"What was sent could not be kept, and is sent again: {error}"
        told["notes"] += [] if note in told["notes"] else [note]


@contextmanager
def _locked(folder: Path, timeout_s: float, told: dict[str, list[Any]]) -> Iterator[bool]:
    """One delivery at a time, so that a check of freshness beside a report tells nothing twice."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout_s)
    except Timeout:
        yield False
        return
    except OSError as error:  # a disk that is full or read-only: better told twice than not at all
        told["notes"].append(f"{_LOCK} cannot be held ({error.strerror or error}).")
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _row(channel: Channel, title: str, keys: list[str], why: str) -> dict[str, Any]:
    return {"channel": channel.name, "title": title, "keys": keys, "why": why}
