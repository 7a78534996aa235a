"""Whom to tell, when and about what: a TOML file (`data/alerts.toml` is a commented one), checked.

Nothing in it is a secret. The address of a channel comes from an environment variable that the file names; an address
stands in the file itself only where nothing in it can be a credential.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from ...errors import InputError, ParameterError
from ...parse.go_values import duration_s
from ..records import SEVERITY_ORDER, Status

# What can be told; `healthy` is no trouble.
TOLD: tuple[Status, ...] = SEVERITY_ORDER[1:]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Services that are spoken to without any key: of this machine, of a host's own syslog, mail and web servers. With all
# others the address is the key, whichever part of it.
_OPEN_SCHEMES = ("dbus", "form", "forms", "glib", "gnome", "json", "jsons", "kde", "macosx", "mailto", "mailtos", "qt",
                 "rsyslog", "syslog", "windows", "xml", "xmls")  # fmt: skip
_OPEN_OPTIONS = ("bcc", "cc", "cto", "format", "from", "method", "mode", "name", "overflow", "retry", "rto", "smtp",
                 "to", "verify", "wait")  # fmt: skip
_LONGEST_TIMEOUT_S = 600.0
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,39}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Channel:
    """One way to tell somebody: one address, in the variable `url_variable` or, where it holds no secret, in `url`.

    `least`: what is milder is not told here. "could not tell" is the mildest: such a channel is told everything.
    """

    name: str
    url_variable: str = ""
    url: str = ""
    least: Status = "could not tell"


@dataclass(frozen=True)
class Quiet:
    """A period of the day, by the clocks of `zone`, in which only what is in `through` is told.

    A period whose end is not later than its beginning goes on into the next day, and belongs to the day it began on.
    """

    begins: time
    ends: time
    days: tuple[str, ...] = DAYS
    zone: str = "UTC"
    through: tuple[Status, ...] = ("critical",)

    def until(self, now: datetime) -> datetime | None:
        """The end of the period that `now` (aware) is in, None when it is in none.

        >>> from datetime import UTC
        >>> night = Quiet(time(22), time(7), ("fri",), "Europe/Berlin")
        >>> night.until(datetime(2026, 1, 10, 2, tzinfo=UTC)).isoformat()  # a Saturday's night began on Friday
        '2026-01-10T07:00:00+01:00'
        """
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            begins = datetime.combine(day, self.begins, zone)
            ends = datetime.combine(day + timedelta(days=int(self.ends <= self.begins)), self.ends, zone)
            # Compared as instants: Python compares times of one zone by what its clocks show, twice in autumn.
            if DAYS[day.weekday()] in self.days and begins.timestamp() <= now.timestamp() < ends.timestamp():
                return ends
        return None


@dataclass(frozen=True)
class AlertSettings:
    """What alerts.toml says. Without channels nothing is sent."""

    channels: tuple[Channel, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    host: str = ""  # how messages call this machine; '' is its own name
    remind_every_s: float = 24 * 3600.0
    # One report that could not tell may be the last one there is: a silent failure is worse than a message too many.
    could_not_tell_after: int = 1
    timeout_s: float = 30.0  # for all messages of one report
    page_address: str = ""  # where the folder of reports is served, if it is
    proxy_variable: str = ""  # the environment's own proxies are not used
    metrics_file: str = ""


def read_settings(path: Path) -> AlertSettings:
    """The settings of a file; raises InputError where it cannot be read, ParameterError for its words."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path.name}: it is not TOML ({error}).") from None
    return checked_settings(said, path.name)


def checked_settings(said: Mapping[str, Any], where: str) -> AlertSettings:
    """The settings of a table; raises ParameterError with one sentence for the first thing that is wrong.

    >>> checked_settings({"chanels": []}, "alerts.toml")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: alerts.toml: there is no key 'chanels'; did you mean channels?
    """
    _known(said, (*_PLAIN, "channels", "quiet"), where)
    found: dict[str, Any] = {}
    for name, (field, check) in _PLAIN.items():
        if name in said:
            found[field] = check(said[name], f"{where}: {name}")
    channels = tuple(_channel(row, f"{where}, channel {n}") for n, row in enumerate(_rows(said, "channels", where), 1))
    for number, one in enumerate(channels):
        if any(one.name == other.name for other in channels[:number]):
            raise ParameterError(f"{where}, channel {number + 1}: the name {one.name} is there twice.")
    quiet = tuple(_quiet(row, f"{where}, quiet {n}") for n, row in enumerate(_rows(said, "quiet", where), 1))
    return AlertSettings(channels, quiet, **found)


def address_of(channel: Channel) -> str:
    """The address of a channel, from its variable where it names one; '' when that is not set."""
    return os.environ.get(channel.url_variable, "").strip() if channel.url_variable else channel.url


def _channel(row: Mapping[str, Any], where: str) -> Channel:
    _known(row, tuple(one.name for one in fields(Channel)), where)
    name = _text(row.get("name", ""), f"{where}: name")
    if not _NAME.fullmatch(name):
        raise ParameterError(f"{where}: name is {name!r}; expected letters, digits, '.', '_' and '-'.")
    variable, url = (_text(row.get(key, ""), f"{where}: {key}") for key in ("url_variable", "url"))
    if bool(variable) == bool(url):
        raise ParameterError(f"{where}: expected url_variable, or else url for an address without a secret.")
    if variable:
        _variable(variable, f"{where}: url_variable")
    elif not _is_open(url):
        # The address is not repeated: this sentence may end up in a journal.
        raise ParameterError(
            f"{where}: its url may hold a secret. Put the address into an environment variable, and the name of that "
            'into the file: url_variable = "WARMSTALL_ALERT_URL".'
        )
    return Channel(name, variable, url, _status(row.get("least", TOLD[0]), f"{where}: least"))


def _is_open(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    options = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    return (
        parts.scheme.lower() in _OPEN_SCHEMES
        and "@" not in parts.netloc
        and not re.search(r"[\w-]{20}", parts.path)  # a path that is a key
        and all(name in _OPEN_OPTIONS for name in options)
        and not any(character in url for character in " ,;#\n")
    )


def _quiet(row: Mapping[str, Any], where: str) -> Quiet:
    _known(row, ("from", "to", "days", "zone", "through"), where)
    begins, ends = (_clock(row.get(key), f"{where}: {key}") for key in ("from", "to"))
    days = _some(row.get("days", list(DAYS)), DAYS, f"{where}: days")
    zone = _text(row.get("zone", "UTC"), f"{where}: zone")
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError):
        raise ParameterError(f"{where}: there is no zone {zone!r}; expected one such as Europe/Berlin.") from None
    through = _some(row.get("through", ["critical"]), TOLD, f"{where}: through", least=0)
    return Quiet(begins, ends, days, zone, tuple(status for status in TOLD if status in through))


def _clock(value: object, where: str) -> time:
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        return time.fromisoformat(value)
    raise ParameterError(f'{where} is {value!r}; expected a time of the day such as "22:00".')


def _some(value: object, of: tuple[str, ...], where: str, least: int = 1) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < least or not all(one in of for one in value):
        raise ParameterError(f"{where} is {value!r}; expected a list of {', '.join(of)}.")
    return tuple(value)


def _rows(said: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    rows = said.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ParameterError(f"{where}: {name} is no list of tables; expected [[{name}]].")
    return rows


def _known(said: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in said:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
            raise ParameterError(f"{where}: there is no key {name!r}; {hint}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ParameterError(f"{where} is {value!r}; expected a text.")
    return value.strip()


def _variable(value: object, where: str) -> str:
    name = _text(value, where)
    if name and not _VARIABLE.fullmatch(name):
        # Not repeated: whoever takes this for the address has pasted a secret.
        raise ParameterError(f'{where}: expected the name of an environment variable, such as "WARMSTALL_ALERT_URL".')
    return name


def _status(value: object, where: str) -> Status:
    for status in TOLD:
        if value == status:
            return status
    raise ParameterError(f"{where} is {value!r}; expected one of {', '.join(TOLD)}.")


def _duration(value: object, where: str) -> float:
    seconds = duration_s(value) if isinstance(value, str) else None
    if not seconds or seconds <= 0:
        raise ParameterError(f'{where} is {value!r}; expected a duration such as "30s", "10m" or "24h".')
    return seconds


def _timeout(value: object, where: str) -> float:
    seconds = _duration(value, where)
    if seconds > _LONGEST_TIMEOUT_S:
        raise ParameterError(f"{where} is {value!r}; expected 10m or less, because a report waits for it.")
    return seconds


def _count(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise ParameterError(f"{where} is {value!r}; expected a number of reports, 1 or more.")
    return value


_PLAIN = {
    "host": ("host", _text),
    "remind_every": ("remind_every_s", _duration),
    "could_not_tell_after": ("could_not_tell_after", _count),
    "timeout": ("timeout_s", _timeout),
    "page_address": ("page_address", _text),
    "proxy_variable": ("proxy_variable", _variable),
    "metrics_file": ("metrics_file", _text),
}
