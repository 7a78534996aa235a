"""What stands around a log line: journald, docker, compose, Kubernetes and PowerShell.

A wrapper is a prefix; its pattern is understood by Polars and by Python alike. Prefixes nest
(`docker compose logs -t`), so they are taken off from the outside in. Two wrappers are JSON objects,
one a line. PowerShell breaks the records of a redirected `ollama serve` at the width of its window;
those are joined again.
"""

from __future__ import annotations

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
# Anything a timeline can start with; a prefix counts as a wrapper where one of these follows it.
_KNOWN_START = re.compile(r"\[GIN\] 2|time=\d{4}-|\d{4}/\d\d/\d\d \d|Started |Stopp|llama|ggml|load|slot |srv ")


def prefixes_in(lines: Iterable[str]) -> list[Wrapper]:
    """The wrappers in use, outermost first, judged by lines whose content is known.

    >>> [w.name for w in prefixes_in(["ollama-1  | 2026-11-20T20:49:02.1Z [GIN] 2026/11/20 - 20:49:02 | 200"])]
    ['compose', 'docker-timestamps']
    """
    chains: Counter[tuple[Wrapper, ...]] = Counter()
    for line in lines:
        chain: list[Wrapper] = []
        rest = re.sub(ANSI, "", line)
        while match := next(((w, m) for w, p in _COMPILED if w not in chain and (m := p.match(rest))), None):
            chain.append(match[0])
            rest = rest[match[1].end() :]
        if chain and _KNOWN_START.match(rest):
            chains[tuple(chain)] += 1
    # The usual nesting decides the order; what only other lines have comes after what it stands behind.
    found: list[Wrapper] = []
    for usual, _ in chains.most_common():
        place = 0
        for wrapper in usual:
            if wrapper not in found:
                found.insert(place, wrapper)
            place = found.index(wrapper) + 1
    return found


def is_json_wrapped(lines: Iterable[str]) -> bool:
    """Whether the lines are objects of docker's json-file driver or of `journalctl -o json`."""
    return any(line.startswith("{") and ('"log":' in line or '"MESSAGE"' in line) for line in lines)


def unwrap_json(line: str) -> tuple[str, str | None]:
    r"""Text and ISO time of one JSON-wrapped line; anything else comes back as it is.

    >>> unwrap_json('{"log":"[GIN] x\\n","stream":"stdout","time":"2026-11-20T20:49:02.1Z"}')
    ('[GIN] x', '2026-11-20T20:49:02.1Z')
    >>> unwrap_json('{"MESSAGE":[104,105],"__REALTIME_TIMESTAMP":"1700000000000000"}')
    ('hi', '2023-11-14T22:13:20+00:00')
    """
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return line, None
        if isinstance(text := record.get("log"), str):
            at = record.get("time")
            return encodable(text).removesuffix("\n").removesuffix("\r"), at if isinstance(at, str) else None
        message = record.get("MESSAGE")
        if isinstance(message, list):  # journald writes bytes that are not UTF-8 as numbers
            message = bytes(message).decode("utf-8", "replace")
        if not isinstance(message, str):
            return line, None
        stamp = record.get("__REALTIME_TIMESTAMP") or record.get("_SOURCE_REALTIME_TIMESTAMP")
        at = datetime.fromtimestamp(int(stamp) / 1e6, UTC).isoformat() if stamp else None
        return encodable(message), at
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return line, None


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
_RECORD_START = re.compile(
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
        if _RECORD_START.match(line):
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
