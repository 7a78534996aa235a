"""One seam to the outside: run a command or read a file, on this machine or on another over OpenSSH.

Every command is a row of a table, typed *read* or *write*; a host runs nothing else, and writes only when it
was opened for writing. Everything has a deadline and a bound on its output, and a command that cannot be
killed (stuck in the kernel, as nvidia-smi on a lost GPU) is left behind rather than waited for.
"""

from __future__ import annotations

import contextlib
import fnmatch
import math
import os
import platform
import re
import secrets
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from .errors import InputError

Outcome = Literal["captured", "missing", "refused", "timed_out", "failed", "skipped"]

MOST_BYTES = 64 * 1024 * 1024
SMALL_FILE_BYTES = 4 * 1024 * 1024
_STDERR_BYTES = 64 * 1024
_KILL_GRACE_S = 1.0
# What commands say, in the languages of their libraries, when they may not; the C locale is asked for below.
_REFUSALS = (
    "permission denied", "not permitted", "access denied", "insufficient permissions", "must be root",
    "not seeing messages from other users",
)  # fmt: skip
_ENVIRONMENT = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Command:
    """One command that may be run. A word `{name}` is filled in, `{name...}` by several words."""

    name: str
    argv: tuple[str, ...]
    effect: Literal["read", "write"] = "read"
    # docker logs writes what the container wrote to stderr to its own stderr: both streams are the log.
    both_streams: bool = False

    def words(self, **values: str | list[str]) -> list[str]:
        """The words of the command with the values in their places; nothing goes through a shell.

        >>> Command("tail", ("tail", "-c", "{bytes}", "--", "{paths...}")).words(bytes="9", paths=["a b", "c"])
        ['tail', '-c', '9', '--', 'a b', 'c']
        """
        words: list[str] = []
        for word in self.argv:
            blank = re.fullmatch(r"\{(\w+)(\.\.\.)?\}", word)
            value = values[blank[1]] if blank else word
            words.extend([value] if isinstance(value, str) else value)
        return words


@dataclass(frozen=True)
class Output:
    """What came of a command or of reading a file. `reason` is one sentence where nothing was captured."""

    outcome: Outcome
    data: bytes = b""
    reason: str = ""
    wall_s: float = 0.0
    exit_code: int | None = None
    truncated: bool = False

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


READ_FILE = Command("read a file", ("tail", "-c", "{bytes}", "--", "{path}"))
READ_FILES = Command("read several files", ("tail", "-n", "+1", "--", "{paths...}"))
LIST_FILES = Command("list files", ("find", "{folder}", "-maxdepth", "1", "-name", "{pattern}"))
READ_LINK = Command("where a link leads", ("readlink", "--", "{path}"))
IDENTITY = Command("which system", ("uname", "-sn"))
CLOCK = Command("what time it is", ("date", "-u", "+%s.%N"))
ZONE = Command("which zone it is in", ("date", "+%z"))
MAKE_FOLDER = Command("make a folder", ("mkdir", "-p", "--", "{path}"), "write")
PUT = Command("write a file", ("tee", "--", "{path}"), "write")
SYNC = Command("put a file on the disk", ("sync", "{path}"), "write")
MOVE = Command("rename a file", ("mv", "-f", "--", "{path}", "{to}"), "write")
REMOVE = Command("remove a file", ("rm", "-f", "--", "{path}"), "write")
REMOVE_FOLDER = Command("remove an empty folder", ("rmdir", "--", "{path}"), "write")
SIGNAL = Command("signal a process", ("kill", "-s", "{signal}", "{pid}"), "write")


class Host(ABC):
    """A machine that can be observed. `name` is what it calls itself; `system` is Linux, Darwin or Windows."""

    name: str
    system: str
    is_remote = False
    ahead_s = 0.0  # how far its clock is ahead of the observer's

    def __init__(self, writing: bool = False) -> None:
        self.writing = writing

    def run(
        self, command: Command, timeout_s: float, most_bytes: int = MOST_BYTES, **values: str | list[str]
    ) -> Output:
        """Run one command to its end or its deadline, never through a shell.

        Raises PermissionError when a command that writes is asked of a host that was opened for reading.
        """
        self.may(command)
        return self._run(command, command.words(**values), timeout_s, most_bytes, b"")

    def may(self, command: Command) -> None:
        """Raises PermissionError when the command writes and the host was opened for reading."""
        if command.effect != "read" and not self.writing:
            raise PermissionError(f"{command.name}: a command that writes, on a host opened for reading only.")

    @abstractmethod
    def _run(self, command: Command, words: list[str], timeout_s: float, most_bytes: int, stdin: bytes) -> Output: ...

    def read(self, path: str, timeout_s: float, most_bytes: int = MOST_BYTES) -> Output:
        """The last bytes of a file."""
        output = self.run(READ_FILE, timeout_s, most_bytes, bytes=str(most_bytes), path=path)
        if output.outcome == "failed" and "no such file" in output.reason.lower():
            return Output("missing", reason=f"there is no {path}", wall_s=output.wall_s)
        return output

    def read_several(self, paths: list[str], timeout_s: float) -> tuple[dict[str, str], Output]:
        """The texts of small files by path, and the worst that happened to one of them."""
        texts: dict[str, str] = {}
        worst = Output("captured")
        for path in paths:
            output = self.read(path, timeout_s, SMALL_FILE_BYTES)
            if output.outcome == "captured":
                texts[path] = output.text
            elif worst.outcome in ("captured", "missing"):
                worst = output
        return texts, worst

    def write(self, path: str, text: str, timeout_s: float = 10.0) -> Output:
        """Write a whole file: under another name, put on the disk, then renamed; the first step that failed.

        The other name ends in `.partial` and cannot be foreseen: in /tmp somebody else might put a link there.
        """
        partial = f"{path}.{secrets.token_hex(6)}.partial"
        self.may(PUT)
        made = self.run(MAKE_FOLDER, timeout_s, path=os.path.dirname(path))
        if made.outcome != "captured":
            return made
        put = self._run(PUT, PUT.words(path=partial), timeout_s, MOST_BYTES, text.encode())
        if put.outcome != "captured":
            return put
        synced = self.run(SYNC, timeout_s, path=partial)
        return self.run(MOVE, timeout_s, path=partial, to=path) if synced.outcome == "captured" else synced

    def signal(self, pid: int, name: str, still_it: Callable[[], bool]) -> Output:
        """Send a signal (TERM, KILL …) to a process, after asking once more whether it is still the one meant."""
        self.may(SIGNAL)
        if not still_it():
            return Output("missing", reason=f"process {pid} is another one by now, or is gone")
        return self.run(SIGNAL, 5.0, signal=name, pid=str(pid))

    def files(self, folder: str, pattern: str, timeout_s: float) -> list[str]:
        """The paths in a folder whose names match a pattern, sorted; none when it is not there."""
        found = self.run(LIST_FILES, timeout_s, folder=folder, pattern=pattern).text
        return sorted(path for path in found.splitlines() if path != folder)

    def link(self, path: str, timeout_s: float) -> str:
        """Where a symbolic link leads, or nothing."""
        return self.run(READ_LINK, timeout_s, path=path).text.strip()

    def clock_offset_s(self, timeout_s: float) -> tuple[float, float] | None:
        """How far this machine's clock is ahead of the observer's, ± what the question itself took."""
        return (0.0, 0.0)

    def zone_offset_s(self, timeout_s: float) -> int | None:
        """How far its local time is east of UTC now, in seconds."""
        told = re.fullmatch(r"([+-])(\d\d)(\d\d)", self.run(ZONE, timeout_s).text.strip())
        return (-1 if told[1] == "-" else 1) * (3600 * int(told[2]) + 60 * int(told[3])) if told else None

    @contextlib.contextmanager
    def reach(self, port: int) -> Iterator[str]:
        """A base URL under which this machine's own loopback port is reached from here."""
        yield f"http://127.0.0.1:{port}"

    def close(self) -> None:  # noqa: B027  most hosts hold nothing
        """Give back what the host holds."""


class LocalHost(Host):
    """This machine."""

    def __init__(self, writing: bool = False) -> None:
        super().__init__(writing)
        self.name = platform.node()
        self.system = platform.system()

    def _run(self, command: Command, words: list[str], timeout_s: float, most_bytes: int, stdin: bytes) -> Output:
        return run_bounded(words, timeout_s, most_bytes, command.both_streams, stdin)

    def signal(self, pid: int, name: str, still_it: Callable[[], bool]) -> Output:
        """On Linux through a handle of the process: no other can get its number between the look and the signal."""
        if not hasattr(os, "pidfd_open"):
            return super().signal(pid, name, still_it)
        self.may(SIGNAL)
        try:
            handle = os.pidfd_open(pid)
        except OSError as error:
            return Output("missing", reason=f"process {pid}: {error.strerror}")
        try:
            if not still_it():
                return Output("missing", reason=f"process {pid} is another one by now, or is gone")
            signal.pidfd_send_signal(handle, signal.Signals[f"SIG{name}"])
        except OSError as error:
            refused = isinstance(error, PermissionError)
            return Output("refused" if refused else "failed", reason=f"process {pid}: {error.strerror}")
        finally:
            os.close(handle)
        return Output("captured", exit_code=0)

    def read(self, path: str, timeout_s: float, most_bytes: int = MOST_BYTES) -> Output:
        """The last bytes of a file; a file system that hangs is given up at the deadline."""
        if path.endswith("/") or os.path.isdir(path):
            return Output("missing", reason=f"{path} is a folder")
        return _in_time(lambda: _read(path, most_bytes), timeout_s, f"reading {path}")

    def files(self, folder: str, pattern: str, timeout_s: float) -> list[str]:
        def listed() -> Output:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            return Output("captured", "\n".join(fnmatch.filter(names, pattern)).encode("utf-8", "surrogateescape"))

        names = _in_time(listed, timeout_s, f"listing {folder}").data.decode("utf-8", "surrogateescape")
        return sorted(os.path.join(folder, name) for name in names.splitlines())

    def link(self, path: str, timeout_s: float) -> str:
        try:
            return os.readlink(path)
        except OSError:
            return ""

    def zone_offset_s(self, timeout_s: float) -> int | None:
        return time.localtime().tm_gmtoff


class SshHost(Host):
    """Another machine, over the system's OpenSSH client: `ssh://user@box[:port]`.

    One connection is opened (BatchMode: it never asks for a password) and shared by all commands. The remote
    side needs a POSIX shell and the commands of the tables; nothing is installed or left there.
    Raises InputError when the machine cannot be reached.
    """

    is_remote = True

    def __init__(self, address: str, options: tuple[str, ...] = (), writing: bool = False) -> None:
        super().__init__(writing)
        target, port = _ssh_target(address)
        self._folder = tempfile.TemporaryDirectory(prefix="warmstall-ssh-")
        shared = ["-o", f"ControlPath={self._folder.name}/%C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        patience = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5"]
        self._ssh = ["ssh", *shared, *patience, *options, *(["-p", port] if port else [])]
        self._target = target
        identity = self.run(IDENTITY, timeout_s=15)
        if identity.outcome != "captured":
            self.close()
            raise InputError(f"{address}: cannot be reached over ssh ({identity.reason}).")
        self.system, self.name = [*identity.text.split(maxsplit=1), ""][:2]
        self.name = self.name.strip() or "remote"
        if offset := self.clock_offset_s(5.0):
            self.ahead_s = offset[0]

    def _run(self, command: Command, words: list[str], timeout_s: float, most_bytes: int, stdin: bytes) -> Output:
        settings = " ".join(f"{name}={value}" for name, value in _ENVIRONMENT.items() if value)
        if getattr(self, "system", "") == "Linux":  # ending ssh here does not end the command there
            words = ["timeout", "-k", "1", str(math.ceil(timeout_s)), *words]
        line = f"env {settings} {shlex.join(words)}"  # `env`, because not every shell takes NAME=value first
        words_here = [*self._ssh, self._target, "--", line]
        output = run_bounded(words_here, timeout_s, most_bytes, command.both_streams, stdin)
        if output.exit_code == 127:
            return Output("missing", reason=f"{command.argv[0]} is not installed there", wall_s=output.wall_s)
        if output.exit_code == 124 and words[0] == "timeout":
            reason = f"{command.argv[0]} did not end within {timeout_s:.0f} s"
            return Output("timed_out", output.data, reason, output.wall_s)
        return output

    def read(self, path: str, timeout_s: float, most_bytes: int = MOST_BYTES) -> Output:
        output = super().read(path, timeout_s, most_bytes + 1)  # one more tells that there is more
        if len(output.data) > most_bytes:
            return replace(output, data=output.data[-most_bytes:], truncated=True)
        return output

    def read_several(self, paths: list[str], timeout_s: float) -> tuple[dict[str, str], Output]:
        if len(paths) < 2:
            return super().read_several(paths, timeout_s)
        # One question instead of many; `tail` heads each file and goes on after one that is not there.
        output = self.run(READ_FILES, timeout_s, len(paths) * SMALL_FILE_BYTES, paths=paths)
        pieces = re.split(r"(?m)^==> (.+) <==\n", output.text)
        texts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
        if texts and "no such file" in output.reason.lower():
            output = Output("missing", reason=output.reason, wall_s=output.wall_s)
        return texts, output

    def clock_offset_s(self, timeout_s: float) -> tuple[float, float] | None:
        before = time.time()
        answer = self.run(CLOCK, timeout_s).text.strip()
        after = time.time()
        try:
            there = float(answer.removesuffix("N").removesuffix(".%"))
        except ValueError:
            return None
        # macOS knows no fractions of a second: the true time is up to a second later.
        coarse = 0.0 if "." in answer and answer[-1].isdigit() else 0.5
        return there + coarse - (before + after) / 2, (after - before) / 2 + coarse

    @contextlib.contextmanager
    def reach(self, port: int) -> Iterator[str]:
        here = _free_port()
        wanted = f"127.0.0.1:{here}:127.0.0.1:{port}"
        told = run_bounded([*self._ssh, "-O", "forward", "-L", wanted, self._target], 10, _STDERR_BYTES)
        if told.outcome != "captured":
            raise ConnectionError(f"no forwarding to port {port} over ssh ({told.reason})")
        try:
            yield f"http://127.0.0.1:{here}"
        finally:
            run_bounded([*self._ssh, "-O", "cancel", "-L", wanted, self._target], 10, _STDERR_BYTES)

    def close(self) -> None:
        run_bounded([*self._ssh, "-O", "exit", self._target], 5, _STDERR_BYTES)
        self._folder.cleanup()


@dataclass
class RecordedHost(Host):
    """A host made of what was recorded: outputs by command line, contents by path. What is asked is kept.

    Opened for writing it keeps the files that are written, and a command that writes does nothing else.
    """

    name: str = "recorded"
    system: str = "Linux"
    outputs: Mapping[str, Output | str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    asked: list[Command] = field(default_factory=list)
    writing: bool = False

    def _run(self, command: Command, words: list[str], timeout_s: float, most_bytes: int, stdin: bytes) -> Output:
        self.asked.append(command)
        if command is PUT:
            self.contents[words[-1]] = stdin.decode()
        elif command is MOVE:
            self.contents[words[-1]] = self.contents.pop(words[-2])
        elif command is REMOVE:
            self.contents.pop(words[-1], None)
        if command is READ_FILE and words[-1] in self.contents:
            return Output("captured", self.contents[words[-1]].encode()[-most_bytes:], exit_code=0)
        if command is READ_FILE and shlex.join(words) not in self.outputs:
            return Output("missing", reason=f"there is no {words[-1]}")
        if command is LIST_FILES:
            there = [
                p for p in self.contents if os.path.dirname(p) == words[1] and fnmatch.fnmatch(p, f"*/{words[-1]}")
            ]
            return Output("captured", "\n".join(there).encode(), exit_code=0)
        found = self.outputs.get(shlex.join(words))
        if found is None and command.effect == "write":
            return Output("captured", exit_code=0)
        if found is None:
            return Output("missing", reason=f"{words[0]} is not installed there")
        return found if isinstance(found, Output) else Output("captured", found.encode(), exit_code=0)

    @contextlib.contextmanager
    def reach(self, port: int) -> Iterator[str]:
        yield "http://127.0.0.1:9"  # the discard port: nothing answers there


def open_host(address: str, options: tuple[str, ...] = (), writing: bool = False) -> Host:
    """This machine for an empty address, another for `ssh://user@box[:port]`; for reading only, unless told.

    Raises InputError for any other address, or when the machine cannot be reached.

    >>> open_host("").is_remote
    False
    """
    if not address:
        return LocalHost(writing)
    return SshHost(address, options, writing)


def run_bounded(
    words: list[str], timeout_s: float, most_bytes: int, both_streams: bool = False, stdin: bytes = b""
) -> Output:
    """Run a command with a deadline and at most so many bytes of output; its whole process group ends with it."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        return _run_bounded(words, timeout_s, most_bytes, both_streams, errors, given)


def _run_bounded(
    words: list[str], timeout_s: float, most_bytes: int, both_streams: bool, errors: IO[bytes], given: IO[bytes]
) -> Output:
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            words,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both_streams else errors,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        )
    except FileNotFoundError:
        return Output("missing", reason=f"{words[0]} is not installed")
    except PermissionError:
        return Output("refused", reason=f"{words[0]}: no permission to run it")
    except OSError as error:
        return Output("failed", reason=f"{words[0]}: {error.strerror or error}")
    received, dropped = bytearray(), [0]

    def receive() -> None:
        while piece := process.stdout.read1(1 << 20):  # type: ignore[union-attr]
            received.extend(piece)
            if len(received) > most_bytes:  # the newest matters
                dropped[0] += len(received) - most_bytes
                del received[: len(received) - most_bytes]

    reader = threading.Thread(target=receive, daemon=True)  # a daemon: it may hang for ever
    reader.start()
    reader.join(max(0.0, timeout_s))
    late = reader.is_alive()
    if late:
        _end_group(process)
    try:
        exit_code = process.wait(max(_KILL_GRACE_S, timeout_s - (time.monotonic() - began)))
    except subprocess.TimeoutExpired:
        _end_group(process)
        exit_code, late = None, True
    reader.join(_KILL_GRACE_S)
    data, truncated = bytes(received), dropped[0] > 0
    with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)  # children that it left behind
    wall_s = time.monotonic() - began
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _STDERR_BYTES))
    said = errors.read().decode("utf-8", "replace").strip()
    if late:
        reason = f"{words[0]} did not end within {timeout_s:.0f} s"
        return Output("timed_out", data, reason, wall_s, exit_code, truncated)
    return Output(*_judged(words, data, said, exit_code), wall_s, exit_code, truncated)


def _judged(words: list[str], data: bytes, said: str, exit_code: int | None) -> tuple[Outcome, bytes, str]:
    complaint = said or data[-2000:].decode("utf-8", "replace").strip()
    last = next((line.strip() for line in reversed(complaint.splitlines()) if line.strip()), "")
    refused = next((line.strip() for line in said.splitlines() if any(w in line.lower() for w in _REFUSALS)), "")
    if refused and (exit_code or not data.strip()):
        return "refused", data, f"{words[0]}: {refused[:300]}"
    if exit_code:
        return "failed", data, f"{words[0]} ended with {exit_code}" + (f": {last[:300]}" if last else "")
    return "captured", data, ""


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what was started here, its children too; whoever does not die within moments is left behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: start_new_session
        with contextlib.suppress(OSError):
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_GRACE_S)


def _in_time(work: Callable[[], Output], timeout_s: float, what: str) -> Output:
    """The result of some work, or a note that it took too long; the work is then left to itself."""
    results: list[Output] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(max(0.0, timeout_s))
    return results[0] if results else Output("timed_out", reason=f"{what} took longer than {timeout_s:.0f} s")


def _read(path: str, most_bytes: int) -> Output:
    try:
        with Path(path).open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size > most_bytes:  # files of /proc say 0
                handle.seek(size - most_bytes)
            return Output("captured", handle.read(most_bytes), truncated=size > most_bytes)
    except FileNotFoundError:
        return Output("missing", reason=f"there is no {path}")
    except PermissionError:
        return Output("refused", reason=f"no permission to read {path}")
    except OSError as error:
        return Output("failed", reason=f"{path}: {error.strerror or error}")


def _ssh_target(address: str) -> tuple[str, str]:
    """Destination and port of an ssh address; nothing in it may be taken for an option."""
    rest = address.removeprefix("ssh://").rstrip("/")
    destination, _, port = rest.rpartition(":") if rest.count(":") == 1 else (rest, "", "")
    if (
        not address.startswith("ssh://")
        or not destination
        or destination.startswith("-")
        or (port and not port.isdigit())
    ):
        raise InputError(f"{address}: expected ssh://user@box or ssh://user@box:port.")
    return destination, port


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
