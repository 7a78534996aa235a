"""Which files are evidence, of what kind, of which host, and in what order.

A path may be a log, a folder, or a case (a folder with `evidence/<host>/…`). Files are judged by their
content: a server log is a file in whose first lines some family of the log table is found.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import InputError
from .parse.encodings import decode, detect_encoding
from .parse.log_events import FAMILIES
from .parse.process_samples import is_process_samples
from .parse.trials import is_trial_table
from .parse.wrappers import is_json_wrapped, prefixes_in, unwrap_json

HEAD_BYTES = 256 * 1024
# server.log, server-1.log, server1.log, server.log.1, server.log.2.gz: the number tells the age.
_ROTATION = re.compile(r"^(?P<stem>.+?)(?:[-.]?(?P<age>\d{1,3}))?\.log(?:\.(?P<age_after>\d{1,3}))?(?:\.(?:gz|zst))?$")
_TELLING = re.compile("|".join(f"(?:{f.pattern})" for f in FAMILIES if f.name in ("access", "slog", "go_log")))
_RUNNER_TEXT = re.compile("|".join(f"(?:{f.pattern})" for f in FAMILIES if f.name in ("slot", "srv", "cpp", "runner")))


@dataclass(frozen=True)
class Evidence:
    """One file to read. `stream` is shared by the rotations of one log; `age` orders them, oldest highest."""

    path: Path
    kind: str
    host: str
    name: str
    stream: str = ""
    age: int = 0

    @property
    def is_stdin(self) -> bool:
        return str(self.path) == "-"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed when it is .gz or .zst; `-` is standard input."""
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as handle:
                yield handle  # type: ignore[misc]
        elif magic == b"\x28\xb5\x2f\xfd":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
                yield io.BufferedReader(reader)  # type: ignore[arg-type]
        else:
            yield raw


def is_compressed(path: Path) -> bool:
    """Whether the file is gzip or zstd, by its first bytes."""
    with path.open("rb") as raw:
        magic = raw.read(4)
    return magic[:2] == b"\x1f\x8b" or magic == b"\x28\xb5\x2f\xfd"


def read_head(path: Path) -> bytes:
    """The first bytes of a file; raises InputError with one sentence when it cannot be read."""
    try:
        with open_bytes(path) as handle:
            return handle.read(HEAD_BYTES)
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; run as a user who may, or copy the log.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the compressed file is cut short or damaged ({error}).") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # zstandard has an exception of its own, imported only where needed
        if type(error).__name__ == "ZstdError":
            raise InputError(f"{path}: the compressed file is cut short or damaged ({error}).") from None
        raise


def kind_of(head: bytes) -> str:
    """`server-log`, `trials`, `process-samples`, `case-file`, or `` for what is none of them."""
    text = decode(head, detect_encoding(head))
    lines = text.split("\n")[:4000]
    if is_trial_table(lines[0]):
        return "trials"
    if is_process_samples(lines[0]):
        return "process-samples"
    if is_json_wrapped(lines[:50]):
        lines = [unwrap_json(line)[0] for line in lines]
    patterns = [re.compile(wrapper.pattern) for wrapper in prefixes_in(lines)]
    for line in lines:
        for pattern in patterns:
            line = pattern.sub("", line)
        if _TELLING.search(line):
            return "server-log"
    # A log that begins in the middle of a load may show nothing but the runner's own lines for a while.
    telling = sum(bool(_RUNNER_TEXT.search(line)) for line in lines)
    return "server-log" if telling >= 3 and 2 * telling >= len([line for line in lines if line.strip()]) else ""


def _evidence(path: Path, kind: str, host: str, name: str) -> Evidence:
    rotation = _ROTATION.match(path.name)
    if kind != "server-log" or not rotation:
        return Evidence(path, kind, host, name, stream=f"{host}:{path.parent}/{path.name}")
    age = int(rotation["age"] or rotation["age_after"] or 0)
    return Evidence(path, kind, host, name, stream=f"{host}:{path.parent}/{rotation['stem']}", age=age)


def discover(paths: list[Path]) -> list[Evidence]:
    """All evidence under the given paths, rotations of one log oldest first.

    Raises InputError when a path is missing, empty, unreadable, binary, or holds no evidence.
    """
    found: list[Evidence] = []
    for path in paths:
        if str(path) == "-":
            found.append(Evidence(path, "server-log", "local", "-", stream="-"))
        elif path.is_dir():
            found.extend(_in_folder(path))
        elif path.exists():
            found.append(_single(path))
        else:
            raise InputError(f"{path}: there is no such file or folder.")
    unique = {str(e.path.resolve()) if not e.is_stdin else "-": e for e in found}
    return sorted(unique.values(), key=lambda e: (e.kind, e.stream, -e.age))


def _single(path: Path) -> Evidence:
    head = read_head(path)
    if not head:
        raise InputError(f"{path}: the file is empty.")
    kind = kind_of(head)
    if not kind:
        text = decode(head, detect_encoding(head))
        strange = sum(c == "\ufffd" or (c < " " and c not in "\t\r\n\x1b") for c in text[:65536])
        if strange > 0.05 * len(text[:65536]):
            raise InputError(f"{path}: this is a binary file, not a log.")
        first = next((line for line in text.split("\n") if line.strip()), "").strip()
        printable = "".join(c if c.isprintable() else "?" for c in first[:80])
        raise InputError(
            f'{path}: not one line looks like Ollama\'s server log; it begins "{printable}". If it is one, please '
            "report these lines, with the Ollama version and how the log was captured."
        )
    return _evidence(path, kind, "local", str(path))


def _in_folder(folder: Path) -> list[Evidence]:
    root = folder / "evidence" if (folder / "evidence").is_dir() else folder
    found = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        skipped = {"out", "tables", "history"} & set(relative.parts[:-1])
        if skipped or any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.stat().st_size == 0 or path.suffix in (".parquet", ".html", ".ipynb", ".md"):
            continue
        if kind := kind_of(read_head(path)):
            # In a case the first folder is the host; a bare folder is one host.
            host = relative.parts[0] if root != folder and len(relative.parts) > 1 else "local"
            found.append(_evidence(path, kind, host, str(relative)))
    if not found:
        raise InputError(f"{folder}: no evidence in this folder; expected a server log such as server.log.")
    return found
