"""What stands around a log line: journald, docker, compose, Kubernetes, collectors and PowerShell.

A wrapper is a prefix; its pattern is understood by Polars and by Python alike. Prefixes nest
(`docker compose logs -t`), so they are taken off from the outside in. One of no known form is learned
from the log. Others are objects of JSON, one a line, and rows of CSV. PowerShell breaks the records of a
redirected `ollama serve` at the width of its window; those are joined again.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from .encodings import encodable

# Escapes that steer a terminal, as they are and as `less` and `cat -v` show them.
ANSI = r"(?:\x1b|\^\[)\[[0-9;?]*[A-Za-z]"

_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d+)?"
_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)"


@dataclass(frozen=True)
class Wrapper:
    """A prefix: its pattern, anchored at the start of the line, and a sample."""

    name: str
    pattern: str
    sample: str

    @property
    def is_timed(self) -> bool:
        """Whether it begins with a time that tells its zone."""
        return self.pattern.startswith(f"^{_ISO} ")


# Month names are whatever the locale says ("Mar", "3月", "mars", "Thg 3"), so any word may stand there.
WRAPPERS: tuple[Wrapper, ...] = (
    Wrapper("kubectl", r"^\[pod/[^\]\s]+\] ", "[pod/ollama-0/ollama] [GIN] 2026/11/20 - 20:49:02"),
    Wrapper("compose", r"^[A-Za-z0-9][\w.-]* +\| ", "ollama-1  | [GIN] 2026/11/20 - 20:49:02"),
    Wrapper(
        "cri", rf"^{_ISO} (?:stdout|stderr) [FP] ", "2026-11-20T20:49:02.1Z stderr F time=2026-11-20T20:49:02.100Z"
    ),
    Wrapper(
        "journald-iso",
        rf"^{_ISO} \S+ [\w.@:()\\-]+(?:\[\d+\])?: ",
        "2026-08-21T18:48:22-0700 box ollama[12]: [GIN] 2026/08/21",
    ),
    Wrapper("docker-timestamps", rf"^{_ISO} ", "2026-11-20T20:49:02.145607123Z [GIN] 2026/11/20 - 20:49:02"),
    Wrapper(
        "journald-full",
        rf"^ *\S+ \d{{4}}-\d\d-\d\d {_CLOCK} \S+ \S+ [\w.@:()\\-]+(?:\[\d+\])?: ",
        "Fri 2026-08-21 18:48:22 PDT box ollama[123]: [GIN] 2026/08/21 - 18:48:22",
    ),
    Wrapper(
        "journald",
        rf"^ *\S+(?: \d{{1,2}})? +\d{{1,2}} {_CLOCK} \S+ [\w.@:()\\-]+(?:\[\d+\])?: ",
        "Aug 21 18:48:22 box ollama[123]: [GIN] 2026/08/21 - 18:48:22",
    ),
)
_COMPILED = [(wrapper, re.compile(wrapper.pattern)) for wrapper in WRAPPERS]
# A prefix counts as a wrapper where a record of Ollama follows it. Only where there is none do other lines decide: with
# a prefix of no known form before it, the tag of a runner's line may look like the program of a journal.
_RECORD = re.compile(r"\[GIN\] 2\d{3}/|time=\d{4}-\d\d-\d\dT|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
_LONGEST_PREFIX = 160
_OTHER_START = re.compile(r"Started |Stopp|llama|ggml|load|slot |srv ")


def prefixes_in(lines: Iterable[str]) -> list[Wrapper]:
    """The wrappers in use, outermost first, judged by lines whose content is known.

    >>> [w.name for w in prefixes_in(["ollama-1  | 2026-11-20T20:49:02.1Z [GIN] 2026/11/20 - 20:49:02 | 200"])]
    ['compose', 'docker-timestamps']
    """
    chains: Counter[tuple[Wrapper, ...]] = Counter()
    of_others: Counter[tuple[Wrapper, ...]] = Counter()
    has_records = False
    for line in lines:
        chain: list[Wrapper] = []
        rest = re.sub(ANSI, "", line)
        while match := next(((w, m) for w, p in _COMPILED if w not in chain and (m := p.match(rest))), None):
            chain.append(match[0])
            rest = rest[match[1].end() :]
        if record := _RECORD.search(rest[: 2 * _LONGEST_PREFIX]):
            has_records = True
        if chain and record and record.start() == 0:
            chains[tuple(chain)] += 1
        elif chain and _OTHER_START.match(rest):
            of_others[tuple(chain)] += 1
    # The usual nesting decides the order; what only other lines have comes after what it stands behind.
    found: list[Wrapper] = []
    for usual, _ in (chains if has_records else of_others).most_common():
        place = 0
        for wrapper in usual:
            if wrapper not in found:
                found.insert(place, wrapper)
            place = found.index(wrapper) + 1
    return found


_FEWEST_LEARNED_FROM = 3
# What changes from line to line: numbers, and the names of months and days.
_CHANGING = re.compile(r"(?P<digits>\d+)|(?P<blanks> +)|\b(?P<name>[A-Z][a-z]{2})\b|(?P<other>.)", re.DOTALL)
_ANY = {"digits": r"\d+", "blanks": " +", "name": "[A-Z][a-z]{2}"}


def learned_prefix(lines: Iterable[str]) -> list[Wrapper]:
    """The prefix of no known form that nine of ten records have; none where lines begin in different ways.

    Its name is its pattern.

    >>> [learned.pattern for learned in learned_prefix(3 * ["0|ollama | time=2026-11-20T20:49:02.1Z level=INFO"])]
    ['^ *\\\\d+\\\\|ollama +\\\\| +']
    """
    shapes: Counter[str] = Counter()
    for line in lines:
        if record := _RECORD.search(line[: 2 * _LONGEST_PREFIX]):
            shapes[_shape(line[: record.start()])] += 1
    shape, uses = shapes.most_common(1)[0] if shapes else ("", 0)
    if not shape or uses < max(_FEWEST_LEARNED_FROM, 0.9 * shapes.total()):
        return []
    return [Wrapper(shape, shape, "")]


def _shape(prefix: str) -> str:
    """A pattern of what stands before a record; numbers and names may be padded on their left."""
    if not 0 < len(prefix) <= _LONGEST_PREFIX:
        return ""
    parts = _CHANGING.finditer(prefix.lstrip(" "))
    return "^ *" + "".join(_ANY.get(part.lastgroup or "") or re.escape(part[0]) for part in parts)


def named(names: Iterable[str]) -> list[Wrapper]:
    """The wrappers of these names."""
    known = {wrapper.name: wrapper for wrapper in WRAPPERS}
    return [known[name] if name in known else Wrapper(name, name, "") for name in names]


# Which member of an object is the line, and which is its time: docker, journald, Loki, collectors, clouds.
_TEXTS = ("log", "MESSAGE", "line", "message", "textPayload", "body", "msg")
_TIMES = ("time", "timestamp", "@timestamp", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP")
_FAR_FUTURE_S = 1e11
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# An object may go over several lines; the one with the text is enough.
_MEMBER = re.compile(rf'^\s*"(?:{"|".join(_TEXTS)})": ?(".*"),?$')


def is_json_wrapped(lines: Iterable[str]) -> bool:
    """Whether the lines are objects of docker's json-file driver, of `journalctl -o json`, or of other collectors."""
    return any(map(_is_json, lines))


def _is_json(line: str) -> bool:
    if line.startswith("{") and ('"log":' in line or '"MESSAGE"' in line):
        return True
    is_record = line.lstrip().startswith(("{", '"')) and _RECORD.search(line) is not None
    return is_record and unwrap_json(line)[0] != line


def is_one_json_document(head: str) -> bool:
    """Whether one line of JSON holds several records of Ollama, as an answer of an API does."""
    first = head.partition("\n")[0]
    several = first.startswith(("[", "{")) and len(_RECORD.findall(first)) > 1
    return several and unwrap_json(first)[0] == first


def unwrap_json(line: str) -> tuple[str, str | None]:
    r"""Text and ISO time of one JSON-wrapped line; anything else comes back as it is.

    >>> unwrap_json('{"log":"[GIN] x\\n","stream":"stdout","time":"2026-11-20T20:49:02.1Z"}')
    ('[GIN] x', '2026-11-20T20:49:02.1Z')
    >>> unwrap_json('{"MESSAGE":[104,105],"__REALTIME_TIMESTAMP":"1700000000000000"}')
    ('hi', '2023-11-14T22:13:20+00:00')
    """
    try:
        if member := _MEMBER.match(line):
            return encodable(json.loads(member[1])).removesuffix("\n").removesuffix("\r"), None
        record = json.loads(line)
        if not isinstance(record, dict):
            return line, None
        texts = [record[key] for key in _TEXTS if isinstance(record.get(key), str | list)]
        if not texts:
            return line, None
        # journald writes bytes that are not UTF-8 as numbers
        text = bytes(texts[0]).decode("utf-8", "replace") if isinstance(texts[0], list) else texts[0]
        at = next((record[key] for key in _TIMES if record.get(key)), None)
        return encodable(text).removesuffix("\n").removesuffix("\r"), _iso(at)
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return line, None


def _iso(at: object) -> str | None:
    """A time of JSON as text: one that is written so, or a number of seconds, milli-, micro- or nanoseconds."""
    if isinstance(at, str) and not at.isdigit():
        return at if _ISO_DAY.match(at) else None
    if not isinstance(at, int | float | str):
        return None
    seconds = float(at)
    for _ in range(3):
        seconds /= 1000 if seconds > _FAR_FUTURE_S else 1
    return datetime.fromtimestamp(seconds, UTC).isoformat() if 0 < seconds < _FAR_FUTURE_S else None


def is_csv_wrapped(lines: Iterable[str]) -> bool:
    """Whether the lines are rows of CSV, in which the quotes of a record are doubled."""
    records = [line for line in lines if _RECORD.search(line)]
    rows = [line for line in records if re.search(rf'(?:^|,)"[^"]*(?:{_RECORD.pattern})', line) and '""' in line]
    return 2 * len(rows) > len(records)


def unwrap_csv_lines(lines: list[str]) -> list[str]:
    """The column of records of every row; what is no row comes back as it is.

    >>> unwrap_csv_lines(['17000,"time=2026-11-20T20:49:02Z msg=""a b"" n=1"', "17001,llama_init: x", ""])
    ['time=2026-11-20T20:49:02Z msg="a b" n=1', 'llama_init: x', '']
    """
    rows = [_row(line) for line in lines]
    places = Counter(place for row in rows for place, text in enumerate(row) if _RECORD.search(text))
    column = places.most_common(1)[0][0] if places else -1
    return [row[column] if 0 <= column < len(row) else line for row, line in zip(rows, lines, strict=True)]


def _row(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


# Docker and containerd break long lines into pieces of 16 KiB; those of the two streams may interleave.
_CRI_PIECE = re.compile(rf"^{_ISO} (stdout|stderr) ([FP]) ")
PIECE_LENGTH = 16_000


def stream_of(line: str) -> tuple[str, bool]:
    r"""The stream of a line of docker's or containerd's, and whether the rest of it stands on a later line.

    >>> stream_of("2026-11-20T20:49:02.1Z stderr P time=2026"), stream_of("2026-11-20T20:49:02.1Z stderr F -11-20")
    (('stderr', True), ('stderr', False))
    >>> stream_of('{"log":"[GIN] x\\n","stream":"stdout","time":"2026-11-20T20:49:02.1Z"}'), stream_of("[GIN] x")
    (('stdout', False), ('', False))
    """
    if line.startswith('{"log":"'):
        stream = "stdout" if '"stream":"stdout"' in line[-400:] else "stderr"
        return stream, len(line) > PIECE_LENGTH and '\\n","' not in line
    match = _CRI_PIECE.match(line[:100])
    return (match[1], match[2] == "P") if match else ("", False)


def end_of_whole_lines(data: bytes, is_in_pieces: bool) -> int:
    """The offset behind the last line that is complete, and so are its pieces, where lines are broken into some."""
    cut = data.rfind(b"\n") + 1
    if not is_in_pieces and not data.startswith(b'{"log":"'):
        return cut
    begun: dict[str, int] = {}
    offset = 0
    for line in data[:cut].split(b"\n"):
        stream, partial = stream_of(line.decode("latin-1"))
        if partial:
            begun.setdefault(stream, offset)
        else:
            begun.pop(stream, None)
        offset += len(line) + 1
    return min(cut, *begun.values()) if begun else cut


def _joined(texts: list[str], streams: list[tuple[str, bool]]) -> list[str]:
    """Every piece put behind the first of its line. As many lines come back as before: where a piece was
    taken from, an empty line remains, so that line numbers keep their meaning."""
    joined = list(texts)
    begun: dict[str, tuple[int, list[str]]] = {}
    for number, (text, (stream, partial)) in enumerate(zip(texts, streams, strict=True)):
        if stream in begun:
            begun[stream][1].append(text)
            joined[number] = ""
        elif partial:
            begun[stream] = number, [text]
        if stream in begun and not partial:
            first, pieces = begun.pop(stream)
            joined[first] = "".join(pieces)
    for first, pieces in begun.values():
        joined[first] = "".join(pieces)
    return joined


def join_cri_lines(lines: list[str]) -> list[str]:
    """The pieces of CRI lines put together.

    >>> at = "2026-11-20T20:49:02.1Z stderr"
    >>> join_cri_lines([f"{at} P time=2026", f"{at} F -11-20", f"{at} F next"])
    ['2026-11-20T20:49:02.1Z stderr P time=2026-11-20', '', '2026-11-20T20:49:02.1Z stderr F next']
    """
    streams = [stream_of(line) for line in lines]
    texts = list(lines)
    waiting: set[str] = set()
    for number, (stream, partial) in enumerate(streams):
        if stream in waiting:
            texts[number] = _CRI_PIECE.sub("", lines[number])
        (waiting.add if partial else waiting.discard)(stream)
    return _joined(texts, streams)


def unwrap_json_lines(lines: list[str]) -> tuple[list[str], list[str | None]]:
    """Texts and ISO times of JSON-wrapped lines, the pieces of docker's put together."""
    unwrapped = [unwrap_json(line) for line in lines]
    return _joined([text for text, _ in unwrapped], [stream_of(line) for line in lines]), [at for _, at in unwrapped]


_POWERSHELL = re.compile(r"^\s*\+ CategoryInfo\s+: |^\s*\+ FullyQualifiedErrorId")
_POWERSHELL_RECORD = re.compile(
    r"^(?:ollama\S* : )?time=\d{4}|^\[GIN\]|^At line:|^\s*\+ |^[a-z_]+: |^[a-z]+ +[a-z_]+: |^\s*$|^\.{3,}"
)


def is_powershell_capture(lines: Iterable[str]) -> bool:
    """Whether PowerShell wrote the file: it leaves the frame of an error record in it."""
    return any(_POWERSHELL.match(line) for line in lines)


def join_powershell_lines(lines: list[str]) -> list[str]:
    """Put records that were broken at the window's width back on their first line.

    The result has as many lines as before: where text was taken from, None-like empty lines remain, so
    that line numbers keep their meaning. PowerShell keeps the blank it breaks at, so joining is plain
    concatenation. A line continues the one before when that one had no room for its first word.

    >>> join_powershell_lines(["time=2026-01-01T00:00:0", '0.000Z level=INFO msg="a ', 'b"', "[GIN] 2026"])
    ['time=2026-01-01T00:00:00.000Z level=INFO msg="a b"', '', '', '[GIN] 2026']
    """
    widths = [len(line) for line in lines if not line.startswith("[GIN]")]
    width = max(widths, default=0)
    joined, start, inside = list(lines), 0, False
    for number, line in enumerate(lines):
        if _POWERSHELL_RECORD.match(line):
            start, inside = number, line.lstrip().startswith(("time=", "ollama"))
            continue
        quotes_open = joined[start].count('"') - joined[start].count('\\"')
        first_word = line.split(" ", 1)[0]
        no_room = len(lines[number - 1]) + len(first_word) > width
        if inside and (quotes_open % 2 or no_room):
            joined[start] += line
            joined[number] = ""
        else:
            inside = False
    return joined
