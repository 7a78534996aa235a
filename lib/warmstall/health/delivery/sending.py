"""Messages on their way, through Apprise, in a process of its own that ends at a deadline.

The process is told everything on its standard input, so that no address stands in a table of processes. Before it loads
Apprise it forgets the environment: no proxy, no .netrc, no home folder and no template of Apprise's has a say in where
a message goes and as whom. What it keeps is how this machine finds programs, its certificates and its desktop.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote

from ...parse.plain_text import printable
from .messages import Message

# The process itself starts within seconds, on a machine that is short of everything within some more.
_START_S = 20.0
_MOST_TOLD = 300
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
         "CURL_CA_BUNDLE", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of one message: `why` it was not sent, without any part of the address."""

    channel: str
    sent: bool
    why: str = ""


def send(
    messages: Sequence[Message], addresses: Mapping[str, str], timeout_s: float, proxy: str = ""
) -> Iterator[Outcome]:
    """Send each message to the address of its channel, all at once; an outcome for each, as soon as it is known.

    `addresses` by channel. It ends within `timeout_s` and the time that a process takes to start, whatever a server
    does; a message of which nothing is known by then was not sent, as far as anybody can tell.
    """
    waiting = {message.channel for message in messages}
    job = {
        "messages": [{**asdict(message), "address": addresses[message.channel]} for message in messages],
        "timeout_s": timeout_s,
        "proxy": proxy,
    }
    words = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdin
        assert process.stdout
        watchdog = threading.Timer(timeout_s + _START_S, _end, (process,))
        watchdog.daemon = True
        watchdog.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            for line in process.stdout:
                outcome = Outcome(**json.loads(line))
                waiting.discard(outcome.channel)
                yield outcome
        finally:
            watchdog.cancel()
            _end(process)
            with suppress(BrokenPipeError):  # what could not be written to a process that has ended
                process.stdin.close()
    for channel in sorted(waiting):
        yield Outcome(channel, False, "The process that sends ended before it was sent.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever a service's program started in it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _forget_environment(proxy: str) -> None:
    kept = {name: value for name in _KEPT if (value := os.environ.get(name))}
    os.environ.clear()
    # A home that is none, so that nothing in it is found: a .netrc would log in by itself.
    os.environ.update(kept, HOME=os.devnull)
    if proxy:
        os.environ.update(HTTP_PROXY=proxy, HTTPS_PROXY=proxy, NO_PROXY="localhost,127.0.0.1,::1")
    else:
        os.environ["NO_PROXY"] = "*"  # also where the system has settings of its own, on macOS


def _services(messages: Sequence[Mapping[str, Any]], timeout_s: float) -> list[Any]:
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id="warmstall",
        app_desc="warmstall",
        app_url="",
        # Pictures from another server would tell it who reads alerts, and when.
        image_url_mask="",
        image_url_logo="",
        # After 301 and 302 a POST becomes a GET without its message, and a page that is found counts as sent.
        http_redirects=False,
        interpret_emojis=False,
        storage_mode="memory",
        allow_templates=False,
        language="en",
        timezone="UTC",
        service_timeout=timeout_s,
    )
    services = []
    for message in messages:
        service = Apprise(asset=asset)
        service.add([message["address"]])  # a list: a text would be taken apart at commas and spaces
        services.append(service)
    return services


def _notify(service: Any, message: Mapping[str, Any], timeout_s: float) -> Outcome:
    from apprise import AppriseResultStatus, NotifyFormat

    name = message["channel"]
    if len(service) != 1:
        return Outcome(name, False, "Its address is none that Apprise knows, or it is incomplete.")
    found = service.notify(
        body=message["body"], title=message["title"], notify_type=message["severity"], body_format=NotifyFormat.TEXT,
        timeout=timeout_s,
    )  # fmt: skip
    # By the attempts and not by the result: with ?optional=yes that one is a success in any case.
    attempts = [one.attempts[-1] for one in found.results if one.attempts]
    if attempts and all(one.status == AppriseResultStatus.SUCCESS for one in attempts):
        return Outcome(name, True)
    if any(one.status == AppriseResultStatus.TIMEOUT for one in attempts):
        return Outcome(name, False, f"No answer within {timeout_s:g} s.")
    told = [str(entry.message) for entry in found.logs()]
    return Outcome(name, False, _without_secrets(" ".join(told), message["address"]) or "It was refused.")


def _without_secrets(told: str, address: str) -> str:
    """What Apprise said, without any piece of the address: each may be a key, its host too.

    >>> _without_secrets("POST to hooks.example/T0KEN failed: error=403.", "slack://hooks.example/T0KEN")
    'POST to …/… failed: error=403.'
    """
    for text in (address, unquote(address)):
        _, _, rest = text.partition("://")
        for piece in sorted({part for part in re.split(r"[/:@?&=,#]+", rest) if len(part) >= 4}, key=len, reverse=True):
            told = told.replace(piece, "…")
    return " ".join(printable(told).split())[:_MOST_TOLD]


def _main() -> None:
    """The process: a job on standard input, an outcome a line on standard output."""
    job = json.loads(sys.stdin.buffer.read())
    _forget_environment(job["proxy"])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what a service prints is no outcome
    messages, timeout_s = job["messages"], job["timeout_s"]
    lock, answered = threading.Lock(), set()

    def answer(outcome: Outcome) -> None:
        with lock:
            if outcome.channel not in answered:
                answered.add(outcome.channel)
                answers.write(json.dumps(asdict(outcome)) + "\n")
                answers.flush()

    def work(service: Any, message: Mapping[str, Any]) -> None:
        try:
            answer(_notify(service, message, timeout_s))
        except Exception as error:
            # Its text may hold the address, its kind does not.
            answer(Outcome(message["channel"], False, f"Apprise failed: {type(error).__name__}."))

    threads = [
        threading.Thread(target=work, args=pair, daemon=True)
        for pair in zip(_services(messages, timeout_s), messages, strict=True)
    ]
    ends_at = time.monotonic() + timeout_s + 1.0  # Apprise's own deadline comes first, and says more
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))
    for message in messages:
        answer(Outcome(message["channel"], False, f"No answer within {timeout_s:g} s."))
    os._exit(0)  # a service that never returns keeps nobody


if __name__ == "__main__":
    _main()
