"""Messages through Apprise to real servers: what arrives, what may go wrong, and that it ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from health.receivers import Web, mail, web
from warmstall.health.delivery import sending
from warmstall.health.delivery.messages import Message
from warmstall.health.delivery.sending import Outcome, send

TITLE = "warmstall: critical on box"


def message(channel: str = "ops", body: str = "memory: gone in 40 min.\nPage: /var/x.html") -> Message:
    return Message(channel, TITLE, body, "failure")


def sent_to(address: str, timeout_s: float = 20.0, proxy: str = "", body: str = "memory: gone in 40 min.") -> Outcome:
    (outcome,) = send([message(body=body)], {"ops": address}, timeout_s, proxy)
    return outcome


def test_a_message_arrives_as_it_is() -> None:
    with web() as hook:
        assert sent_to(hook.address, body="a <b> [x](y) \\n :smile:\nsecond") == Outcome("ops", True)
    (got,) = hook.got
    assert (got["title"], got["message"], got["type"]) == (TITLE, "a <b> [x](y) \\n :smile:\nsecond", "failure")
    assert hook.headers[0]["User-Agent"] == "warmstall"


def test_a_mail_arrives_as_text() -> None:
    with mail() as box:
        address = f"mailto://127.0.0.1:{box.port}?from=warmstall@box.example&to=ops@box.example&mode=insecure"
        assert sent_to(address, body="p95 <script>alert(1)</script>") == Outcome("ops", True)
    (letter,) = box.got
    assert box.to == ["ops@box.example"]
    assert letter["Subject"] == TITLE
    assert letter.get_content_type() == "text/plain"
    assert "p95 <script>alert(1)</script>" in letter.get_content()


def test_in_a_mail_that_is_html_log_text_stays_text() -> None:
    with mail() as box:
        address = f"mailto://127.0.0.1:{box.port}?from=w@box.example&to=o@box.example&mode=insecure&format=html"
        assert sent_to(address, body="<script>alert(1)</script><img src=x>").sent
    (letter,) = box.got
    text = letter.get_body(("html",))
    assert text is not None
    assert "<script>" not in text.get_content()
    assert "&lt;script&gt;" in text.get_content()
    assert "<img" not in text.get_content()  # neither the log's nor one from Apprise's own pages


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_server_that_refuses_has_not_been_told(status: int) -> None:
    with web(status) as hook:
        outcome = sent_to(hook.address + "/?optional=yes")
    assert not outcome.sent
    assert str(status) in outcome.why


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirection_is_no_delivery(status: int) -> None:
    """A client that follows it asks with GET for another page, without the message, and finds 200."""
    with web() as other, web(status, location="") as hook:
        hook.location = f"http://127.0.0.1:{other.port}/"
        assert not sent_to(hook.address).sent
    assert other.asked == []


def test_a_refused_connection_is_told_without_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it
        outcome = sent_to(f"json://reporter:hunter2secret@127.0.0.1:{taken.getsockname()[1]}/T0KENT0KEN")
    assert not outcome.sent
    assert outcome.why
    for secret in ("reporter", "hunter2secret", "127.0.0.1", "T0KENT0KEN"):
        assert secret not in outcome.why


@pytest.mark.parametrize("address", ["nonsense://x", "not an address", "slack://", "file:///etc/passwd"])
def test_what_is_no_address_is_told(address: str) -> None:
    assert "none that Apprise knows" in sent_to(address).why


@pytest.mark.parametrize("answers", ["hang", "trickle"])
def test_a_server_that_does_not_answer_ends_at_the_deadline_and_keeps_no_other_channel(answers: str) -> None:
    with web(answers) as slow, web() as hook:
        addresses = {"slow": slow.address + "?rto=600", "ops": hook.address}
        outcomes = list(send([message("slow"), message("ops")], addresses, 3.0))
    assert outcomes[0] == Outcome("ops", True)  # as soon as it is known
    assert outcomes[1] == Outcome("slow", False, "No answer within 3 s.")


def test_a_process_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_START_S", 1.0)
    with web("hang") as hook:
        stopper = threading.Thread(target=stop_sender, args=(hook,))
        stopper.start()
        outcome = sent_to(hook.address + "?rto=600", timeout_s=8.0)
        stopper.join()
    assert outcome == Outcome("ops", False, "The process that sends ended before it was sent.")
    assert not senders()


def senders() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if sending.__name__ in " ".join(one.cmdline())]


def stop_sender(hook: Web) -> None:
    assert hook.came.wait(60)
    (sender,) = senders()
    os.kill(sender.pid, signal.SIGSTOP)


def test_no_table_of_processes_shows_an_address() -> None:
    seen: list[str] = []

    def look(hook: Web) -> None:
        assert hook.came.wait(60)
        (sender,) = senders()
        seen.append(" ".join(sender.cmdline()) + str(sender.environ()))
        hook.released.set()

    with web("hang") as hook:
        looker = threading.Thread(target=look, args=(hook,))
        looker.start()
        sent_to(f"json://reporter:hunter2secret@127.0.0.1:{hook.port}/?rto=600")
        looker.join()
    assert hook.headers[0]["Authorization"].startswith("Basic ")
    assert len(seen) == 1
    assert "hunter2secret" not in seen[0]


def test_nothing_in_the_environment_says_where_to_or_as_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no .netrc; a proxy is used where it is given."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with web() as proxy, web() as hook:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert sent_to(hook.address).sent
        assert "Authorization" not in hook.headers[0]
        assert proxy.asked == []

        assert sent_to("json://collector.invalid/x", proxy=f"http://127.0.0.1:{proxy.port}").sent
        assert proxy.asked == ["POST http://collector.invalid/x"]
