"""One operator at a time: a lock on the target itself that tells whose it is and since when.

A symbolic link is made in one stroke, with its text, or not at all; it works the same here and over ssh.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ..errors import ActionFailed
from ..host import REMOVE, Command, Host, LocalHost
from .processes import process_of

_TIMEOUT_S = 5.0
# Longer than any runbook acts; the owner of such a lock is gone, wherever it ran.
_STALE_S = 2 * 3600.0
MAKE_LINK = Command("take the lock", ("ln", "-sn", "--", "{text}", "{path}"), "write")
# Whoever comes second moves nothing: the name of what is moved away is taken.
MOVE_AWAY = Command("put a stale lock aside", ("mv", "-n", "--", "{path}", "{to}"), "write")
_TEXT = re.compile(r"(?P<operator>.*) on (?P<machine>\S+) pid (?P<pid>\d+) started (?P<started>.+) since (?P<at>\S+)")


def lock_path(port: int) -> str:
    """Of the server at a port; any user may make it, and only its maker or root removes it."""
    return f"/tmp/warmstall-{port}.lock"


@contextmanager
def locked(host: Host, port: int, operator: str) -> Iterator[None]:
    """Hold the lock of a server. Raises ActionFailed with the owner and the age when somebody else holds it."""
    path = lock_path(port)
    here = process_of(LocalHost(), os.getpid())
    now = datetime.now(UTC)
    name = re.sub(r"[^\w.@ -]", "?", operator) or "somebody"
    started = here.started if here else "unknown"
    text = f"{name} on {platform.node()} pid {os.getpid()} started {started} since {now:%Y-%m-%dT%H:%M:%SZ}"
    taken = host.run(MAKE_LINK, _TIMEOUT_S, text=text, path=path)
    if taken.outcome != "captured" and (owner := host.link(path, _TIMEOUT_S)):
        if not _is_stale(owner, now):
            raise ActionFailed(f"Another run holds the lock of this server: {_told(owner, now)}. Wait for its end.")
        aside = f"{path}.{hashlib.sha256(owner.encode()).hexdigest()[:12]}"
        host.run(MOVE_AWAY, _TIMEOUT_S, path=path, to=aside)
        taken = host.run(MAKE_LINK, _TIMEOUT_S, text=text, path=path)
    if taken.outcome != "captured":
        raise ActionFailed(f"The lock {path} cannot be taken: {taken.reason}.")
    try:
        yield
    finally:
        if host.link(path, _TIMEOUT_S) == text:
            host.run(REMOVE, _TIMEOUT_S, path=path)


def _told(owner: str, now: datetime) -> str:
    found = _TEXT.fullmatch(owner)
    if not found:
        return owner[:200]
    return f"{found['operator']} on {found['machine']} (pid {found['pid']}), for {_age_s(found['at'], now):.0f} s"


def _age_s(at: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(at)).total_seconds()
    except ValueError:
        return 0.0


def _is_stale(owner: str, now: datetime) -> bool:
    """Whether its owner is gone: a process of this machine that is no more, or a lock that nobody holds so long."""
    found = _TEXT.fullmatch(owner)
    if not found:
        return False
    if _age_s(found["at"], now) > _STALE_S:
        return True
    if found["machine"] != platform.node():
        return False
    alive = process_of(LocalHost(), int(found["pid"]))
    return alive is None or alive.started != found["started"]
