"""Which files are evidence, of what kind, of which host, and in what order.

A path may be a log, a folder, or a case (a folder with `evidence/<host>/…`). Files are judged by their
content: a server log is a file in whose first lines some family of the log table is found.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from .errors import InputError
from .parse.captures import kinds_in
from .parse.collection_record import captured_at
from .parse.encodings import decode, detect_encoding
from .parse.log_events import FAMILIES
from .parse.mitigation_journal import is_mitigation_journal
from .parse.packed import MAGIC_BYTES, archive_of, decompressed, is_damage, suffix_of
from .parse.plain_text import printable
from .parse.traces import is_traces
from .parse.trial_files import is_trial_file, read_trial_file
from .parse.wrappers import ANSI, is_json_wrapped, is_one_json_document, prefixes_in, unwrap_json

HEAD_BYTES = 256 * 1024
JOURNAL_KIND = "mitigation-journal"
# Where a runbook that is run for a case copies the journal of its run.
JOURNAL = Path("out", "journal.jsonl")
# server.log, server-1.log, server1.log, server.log.1, server.log.2.gz: the number tells the age. A number of
# more digits is a date.
_ROTATION = re.compile(
    r"^(?P<stem>.*?[^\d]??)(?:[-.]?(?<!\d)(?P<age>\d{1,3}))?\.log(?:\.(?P<age_after>\d{1,3}))?(?:\.(?:gz|zst|xz|bz2))?$"
)
_OF_SERVERS = ("access", "slog", "go_log", "command_error")
_TELLING = re.compile("|".join(f"(?:{f.pattern})" for f in FAMILIES if f.name in _OF_SERVERS))
_OF_RUNNERS = ("slot", "srv", "cpp", "cpp_json", "runner")
_RUNNER_TEXT = re.compile("|".join(f"(?:{f.pattern})" for f in FAMILIES if f.name in _OF_RUNNERS))


@dataclass(frozen=True)
class Evidence:
    """One file to read. `stream` is shared by the rotations of one log; `age` orders them, oldest highest.

    `captured_at` is when a collection took it (UTC, ISO), where its record tells.
    """

    path: Path
    kind: str
    host: str
    name: str
    stream: str = ""
    age: int = 0
    captured_at: str = ""

    @property
    def is_stdin(self) -> bool:
        return str(self.path) == "-"


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed when it is gzip, zstd, xz or bzip2; `-` is standard input."""
    source: Any = nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb")
    with source as raw, decompressed(raw) as handle:
        yield handle


def is_compressed(path: Path) -> bool:
    """Whether the file is compressed, by its first bytes."""
    with path.open("rb") as raw:
        return bool(suffix_of(raw.read(MAGIC_BYTES)))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong while evidence is read, as an InputError of one sentence."""
    try:
        yield
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; run as a user who may, or copy the log.") from None
    except Exception as error:
        if is_damage(error):
            raise InputError(f"{path}: the compressed file is cut short or damaged ({error}).") from None
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
        raise


def read_head(path: Path) -> bytes:
    """The first bytes of a file; raises InputError with one sentence when it cannot be read."""
    with reading(path):
        if not path.is_file():
            raise InputError(f"{path}: not a regular file; a pipe is read with: warmstall analyze - < {path}")
        with open_bytes(path) as handle:
            return handle.read(HEAD_BYTES)


def kind_of(head: bytes, trial_columns: Mapping[str, str] | None = None) -> str:
    """`server-log`, `trial-file`, kinds of `parse.captures` joined by `+`, or nothing for what is none of them."""
    if archive_of(head):  # the text of what it holds may lie in it as it is
        return ""
    if is_trial_file(head):
        return "trial-file"
    text = decode(head, detect_encoding(head))
    whole = [re.sub(ANSI, "", line) for line in text.split("\n")[:4000]]
    if is_mitigation_journal(whole):  # its sentences may quote lines of a log
        return JOURNAL_KIND
    if is_traces(whole):  # its errors may quote some as well
        return "traces"
    if is_one_json_document(text):
        return ""
    return "server-log" if _is_server_log(whole) else kinds_in([line.rstrip("\r") for line in whole], trial_columns)


def _is_server_log(lines: list[str]) -> bool:
    if is_json_wrapped(lines[:50]):
        lines = [unwrap_json(line)[0] for line in lines]
    patterns = [re.compile(wrapper.pattern) for wrapper in prefixes_in(lines)]
    for line in lines:
        for pattern in patterns:
            line = pattern.sub("", line)
        if _TELLING.search(line):
            return True
    # A log that begins in the middle of a load may show nothing but the runner's own lines for a while.
    telling = sum(bool(_RUNNER_TEXT.search(line)) for line in lines)
    return telling >= 3 and 2 * telling >= len([line for line in lines if line.strip()])


def _evidence(path: Path, kind: str, host: str, name: str) -> Evidence:
    rotation = _ROTATION.match(path.name)
    if kind != "server-log" or not rotation:
        return Evidence(path, kind, host, name, stream=f"{host}:{path.parent}/{path.name}")
    age = int(rotation["age"] or rotation["age_after"] or 0)
    return Evidence(path, kind, host, name, stream=f"{host}:{path.parent}/{rotation['stem']}", age=age)


def discover(paths: list[Path], trial_columns: Mapping[str, str] | None = None) -> list[Evidence]:
    """All evidence under the given paths, rotations of one log oldest first.

    `trial_columns` says which column of a trial table plays which role, where its names do not tell.
    Raises InputError when a path is missing, empty, unreadable, binary, or holds no evidence.
    """
    found: list[Evidence] = []
    for path in paths:
        with reading(path):
            if str(path) == "-":
                found.append(Evidence(path, "server-log", "local", "-", stream="-"))
            elif path.is_dir():
                found.extend(_in_folder(path, trial_columns))
            elif path.exists():
                found.append(_single(path, trial_columns))
            else:
                raise InputError(f"{path}: there is no such file or folder.")
    # A journal tells of a server; as a file of a host without any other it would bring a clock of its own.
    hosts = sorted((e.kind != "server-log", e.host) for e in found if e.kind != JOURNAL_KIND)
    server = hosts[0][1] if hosts else "local"
    found = [replace(e, host=server) if e.kind == JOURNAL_KIND else e for e in found]
    unique = _without_copies({str(e.path.resolve()) if not e.is_stdin else "-": e for e in found}.values())
    # Names tell the rows of one file from those of another; two folders may hold a server.log each.
    uses = Counter(e.name for e in unique)
    named = [e if uses[e.name] == 1 else replace(e, name=_shown(e.path)) for e in unique]
    return sorted(named, key=lambda e: (e.kind, e.stream, -e.age, e.name))


def _without_copies(found: Iterable[Evidence]) -> list[Evidence]:
    """Each content once per host: a log and its copy, compressed or taken earlier, would count every request twice."""
    kept: dict[object, list[Evidence]] = {}
    for item in found:
        alike = kept.setdefault((item.host, item.kind, "-" if item.is_stdin else _beginning(item.path)), [])
        if any(_is_held_by(item, other) for other in alike):
            continue
        alike[:] = [other for other in alike if not _is_held_by(other, item)] + [item]
    return [item for alike in kept.values() for item in alike]


def _beginning(path: Path) -> bytes:
    with reading(path), open_bytes(path) as handle:
        return handle.read(1024)


def _is_held_by(one: Evidence, other: Evidence) -> bool:
    """Whether all of one file is in the other; what is appended to a log makes no other log of it."""
    if one.is_stdin:
        return True
    with reading(one.path), open_bytes(one.path) as part, open_bytes(other.path) as whole:
        while piece := part.read(1 << 20):
            if whole.read(len(piece)) != piece:
                return False
        return one.kind == "server-log" or not whole.read(1)


def _shown(path: Path) -> str:
    """A path as text; bytes of it that are no text are written as escapes, because Parquet holds UTF-8 only."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _single(path: Path, trial_columns: Mapping[str, str] | None) -> Evidence:
    return _evidence(path, checked_kind(read_head(path), str(path), trial_columns), "local", _shown(path))


def checked_kind(head: bytes, name: str, trial_columns: Mapping[str, str] | None = None) -> str:
    """The kind of evidence that begins like this; raises InputError when it is none."""
    if not head:
        raise InputError(
            f"{name}: the file is empty; docker logs and ollama serve write to standard error, so capture with 2>&1."
        )
    if kind := kind_of(head, trial_columns):
        return kind
    if archive := archive_of(head):
        raise InputError(f"{name}: this is a {archive} archive; unpack it and give the folder.")
    text = decode(head, detect_encoding(head))[:65536]
    # decode() leaves zero bytes out, but many of them tell a binary file.
    strange = head[:65536].count(0) if detect_encoding(head) == "utf-8" else 0
    strange += sum(c == "\ufffd" or (c < " " and c not in "\t\r\n\x1b") for c in text)
    if strange > 0.05 * len(text):
        raise InputError(
            f"{name}: this is a binary file, not a log; expected text, as server.log or journalctl -u ollama holds."
        )
    if is_one_json_document(text):
        raise InputError(
            f"{name}: one line of JSON with many records; a line for each is made by: jq -r '.. | strings'"
        )
    first = next((line for line in text.split("\n") if line.strip()), "").strip()
    if not first:
        raise InputError(f"{name}: the file holds nothing but empty lines.")
    raise InputError(
        f"{name}: not one line looks like Ollama's server log or another capture; it begins "
        f'"{printable(first[:80])}". If it is one, '
        "please report these lines, with the Ollama version and how the log was captured."
    )


def _in_folder(folder: Path, trial_columns: Mapping[str, str] | None) -> list[Evidence]:
    root = _root(folder)
    found = []
    times: dict[Path, dict[str, datetime]] = {}
    for path in _candidates(root):
        relative = path.relative_to(root)
        kind = kind_of(read_head(path), trial_columns)
        if kind and not (kind == "trial-file" and _holds_no_trials(path, trial_columns)):
            # In a case the first folder is the host; a bare folder is one host.
            host = _shown(Path(relative.parts[0])) if root != folder and len(relative.parts) > 1 else "local"
            if path.parent not in times:
                times[path.parent] = _captured(path.parent)
            at = times[path.parent].get(path.name)
            item = _evidence(path, kind, host, _shown(relative))
            found.append(replace(item, captured_at=at.isoformat() if at else ""))
    if not found:
        unknown = [_shown(path.relative_to(root)) for path in _candidates(root)]
        named = f"; nothing is known of {', '.join(unknown[:3])}" if unknown else ""
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise InputError(
            f"{folder}: no evidence in this folder; expected a server log such as server.log{named}{more}."
        )
    return found + _journal_of(folder)


def left_out(folder: Path, taken: list[Evidence]) -> list[Path]:
    """The files of a folder that may have been meant as evidence, and of which nothing is known; none is in `taken`."""
    known = {item.path for item in taken}
    return [path for path in _candidates(_root(folder)) if path not in known and not kind_of(read_head(path))]


def _root(folder: Path) -> Path:
    return folder / "evidence" if (folder / "evidence").is_dir() else folder


def _candidates(root: Path) -> Iterator[Path]:
    """The files below a folder that may be evidence: no results, nothing hidden, no prose."""
    for path in _files_under(root):
        relative = path.relative_to(root)
        skipped = {"out", "tables", "history"} & set(relative.parts[:-1])
        if skipped or any(part.startswith(".") for part in relative.parts):
            continue
        if path.stat().st_size and path.suffix not in (".html", ".ipynb", ".md"):  # prose
            yield path


def _journal_of(case: Path) -> list[Evidence]:
    """What runbooks did about a case: the one file among its results that is evidence too."""
    path = case / JOURNAL
    if not path.is_file() or kind_of(read_head(path)) != JOURNAL_KIND:
        return []
    return [_evidence(path, JOURNAL_KIND, "local", _shown(JOURNAL))]


def _holds_no_trials(path: Path, trial_columns: Mapping[str, str] | None) -> bool:
    """A database that happens to lie there: a vector store's, for one."""
    try:
        return not read_trial_file(path, trial_columns).tables.get("trials")
    except InputError:
        return True


def _captured(folder: Path) -> dict[str, datetime]:
    record = folder / "collection.jsonl"
    return captured_at(record.read_text(encoding="utf-8", errors="replace")) if record.is_file() else {}


def _files_under(root: Path) -> list[Path]:
    """All regular files below a folder; a folder that may not be read is an error, not an empty one."""

    def refuse(error: OSError) -> None:
        raise error

    walk = os.walk(root, onerror=refuse)
    return sorted(path for folder, _, names in walk for name in names if (path := Path(folder, name)).is_file())
