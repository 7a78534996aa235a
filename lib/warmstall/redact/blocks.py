"""Secrets that only many lines together show: keys in PEM, columns of tables, broken texts, the journal's hosts."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from ..parse.log_events import FAMILIES
from ..parse.wrappers import WRAPPERS, is_powershell_capture, join_powershell_lines, stream_of, unwrap_json
from .gate import SMALL, arrow_strings, is_small
from .judging import is_secret
from .reading import Value, quoted_from, value_at

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_LAST_WORD = re.compile(r"(?:^|(?<=\s))[A-Za-z0-9+/=]+(?=\s*$)")
_NAME_LINE = re.compile(
    r"\s*(?:- )?\\*[\"']?name\\*[\"']?\s*:\s*\\*[\"']?"
    r"(?P<name>[A-Za-z0-9_.-]{0,80}?(?i:key|token|secret|passw(?:or)?d|pass|pwd|credentials?|auth|jwt))\\*[\"']?,?\s*$"
)
_VALUE_LINE = re.compile(r"\s*\\*[\"']?value\\*[\"']?\s*:\s*")
_LONGEST_KEY = 400  # lines
_SURELY_KEY = 16  # characters of a line that is of a key although the key's end is missing

_RECORD = re.compile("|".join(f"(?:{family.pattern})" for family in FAMILIES))
_WRAPPERS = [re.compile(wrapper.pattern) for wrapper in WRAPPERS]
_MESSAGE_OF_NUMBERS = re.compile(r'"MESSAGE"\s*:\s*(\[[0-9,\s]*\])')
_DOCKER = re.compile(r'\{"log": ?"')
_LONGEST_TEXT = 2000  # lines
_PIECE_OF_JOURNAL = 49_000  # bytes
_RECORDS_BETWEEN = 3

# A line of the journal: its time in any locale, the host, the writer. RE2 and Python read it alike.
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"
_HOST = r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
_JOURNAL = (
    rf"^ *(?:(?:[^ ]+(?: [0-9]{{1,2}})? +[0-9]{{1,2}} {_CLOCK}|[^ ]+ [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} {_CLOCK} [^ ]+) "
    rf"{_HOST} [A-Za-z0-9_.@:()\\/-]+(?:\[[0-9]+\])?: |"
    # Docker's and Kubernetes's times look the same; what stands behind theirs has no process's number.
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}}) {_HOST.replace('host', 'iso_host')} "
    r"(?:kernel|[A-Za-z0-9_.@:()\\/-]+\[[0-9]+\]): )"
)
_JOURNAL_LINE = re.compile(_JOURNAL)

TEXT_COLUMNS = frozenset(
    ("prompt", "prompts", "question", "answer", "response", "content", "text", "input", "output", "completion",
     "system", "message", "messages", "query", "generated_text", "input_text", "output_text", "response_text",
     "prompt_text",
     "expected", "reference_answer", "request_body", "response_body", "body", "transcript")
)  # fmt: skip
_CELL = re.compile(r"[\w .()%/:-]{1,60}")


def readable(text: str) -> list[str]:
    """The lines of a text, without what would hide a secret and means nothing: as many lines as before.

    journald writes as numbers what is not plain text, and PowerShell breaks records at the width of its window.

    >>> readable('{"MESSAGE":[104,105]}')
    ['{"MESSAGE":"hi"}']
    """
    lines = text.split("\n")
    if "CategoryInfo" in text and is_powershell_capture(lines):
        lines = join_powershell_lines(lines)
    if '"MESSAGE"' in text:
        for number, line in enumerate(lines):
            if found := _MESSAGE_OF_NUMBERS.search(line):
                message = unwrap_json(f'{{"MESSAGE":{found[1]}}}')[0]
                lines[number] = line[: found.start(1)] + json.dumps(message, ensure_ascii=False) + line[found.end(1) :]
    return lines


def private_key_lines(lines: list[str]) -> Iterator[tuple[int, Value]]:
    """The lines of a private key, each as a value; a key that began or ends elsewhere is told by its long lines.

    >>> lines = ["-----BEGIN PRIVATE KEY-----", "MC4CAQAwBQYDK2Vw", "BCIE=", "-----END PRIVATE KEY-----"]
    >>> [(number, value.text) for number, value in private_key_lines(lines)]
    [(1, 'MC4CAQAwBQYDK2Vw'), (2, 'BCIE=')]
    """
    marks = [number for number, line in enumerate(lines) if "PRIVATE KEY" in line]
    done = -1
    for mark in marks:
        if mark <= done:
            continue
        if (begin := _KEY_BEGINS.search(lines[mark])) and not _KEY_ENDS.search(lines[mark], begin.end()):
            reach = range(mark + 1, min(mark + _LONGEST_KEY, len(lines)))
            end = next((number for number in reach if _KEY_ENDS.search(lines[number])), None)
            done = end or mark
            for number in range(mark + 1, end) if end else reach:
                value = _last_word(lines[number])
                if value and (end or len(value.text) >= _SURELY_KEY):
                    yield number, value
                elif not end:
                    break
        elif not begin and _KEY_ENDS.search(lines[mark]):
            for number in range(mark - 1, max(-1, mark - _LONGEST_KEY), -1):
                value = _last_word(lines[number])
                if value is None or (len(value.text) < _SURELY_KEY and number != mark - 1):
                    break
                yield number, value


def named_values(lines: list[str]) -> Iterator[tuple[int, Value]]:
    """Values on the line behind their name, as Kubernetes and compose write them.

    >>> [value.text for _, value in named_values(["- name: CHROMA_TOKEN", "  value: k3y-9"])]
    ['k3y-9']
    """
    for number in [number for number, line in enumerate(lines) if "value" in line and number]:
        name, key = _NAME_LINE.match(lines[number - 1]), _VALUE_LINE.match(lines[number])
        if name and key and (value := value_at(lines[number], key.end())) and is_secret(name["name"], value.text, True):
            yield number, value


def _last_word(line: str) -> Value | None:
    found = _LAST_WORD.search(line)
    return Value(*found.span(), found[0]) if found else None


def continued(lines: list[str], number: int, depth: int) -> Iterator[tuple[int, Value]]:
    r"""The pieces of a quoted text on the lines behind the one that it began on.

    Docker and containerd break lines at 16 KiB, journald at 48 KiB. Records of others may stand between the pieces.

    >>> at = "2026-11-20T20:49:02.1Z stderr"
    >>> lines = [f'{at} P msg="chat request" prompt="why', f"{at} P so", f'{at} F slow?" images=0', f"{at} F next"]
    >>> [(number, value.text) for number, value in continued(lines, 0, 0)]
    [(1, 'so'), (2, 'slow?')]
    """
    stream, broken = _manner(lines[number])
    records = 0
    for at in range(number + 1, min(number + _LONGEST_TEXT, len(lines))):
        if not broken or records == _RECORDS_BETWEEN:
            return
        line = lines[at]
        start = _behind_wrappers(line)
        if _manner(line)[0] != stream:
            continue
        if not stream and _RECORD.match(line[start : start + 2000]):
            records += 1
            continue
        value = quoted_from(line, start, depth)
        if value.end > value.start:
            yield at, value
        broken = _manner(line)[1] and not value.closed


def _manner(line: str) -> tuple[str, bool]:
    """The stream that a line is of, where that is told, and whether it is broken off."""
    stream, broken = stream_of(line)
    return stream, broken if stream else len(line.encode("utf-8", "replace")) >= _PIECE_OF_JOURNAL


def _behind_wrappers(line: str) -> int:
    if docker := _DOCKER.match(line):
        return docker.end()
    start = 0
    while found := next(
        (found for w in _WRAPPERS if (found := w.match(line[start : start + 400])) and found.end()), None
    ):
        start += found.end()
    return start


def journal_hosts(lines: list[str], small: int = SMALL) -> dict[str, list[int]]:
    """The hosts that the lines of a journal begin with, and on which lines each of them does.

    >>> journal_hosts(["Aug 21 18:48:22 gpu7 ollama[123]: Listening", "[GIN] 2026/11/20 - 20:49:02 | 200 |"])
    {'gpu7': [0]}
    >>> journal_hosts(["Aug 21 18:48:22 gpu7 ollama[123]: Listening", "2026-08-21T18:48:22+0000 b kernel: x"], small=0)
    {'gpu7': [0], 'b': [1]}
    """
    if is_small(lines, small):
        found: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            if match := _JOURNAL_LINE.match(line):
                found[match["host"] or match["iso_host"]].append(number)
        return dict(found)
    import numpy
    import pyarrow
    import pyarrow.compute as compute

    array = arrow_strings(lines)
    mask = compute.match_substring_regex(array, _JOURNAL)
    places = numpy.flatnonzero(mask.to_numpy(zero_copy_only=False))
    groups = compute.extract_regex(array.filter(mask), _JOURNAL)
    both = (compute.struct_field(groups, name) for name in ("host", "iso_host"))
    hosts = compute.binary_join_element_wise(*both, pyarrow.scalar("", pyarrow.large_utf8())).dictionary_encode()
    codes = hosts.indices.to_numpy(zero_copy_only=False)
    return {str(host): places[codes == code].tolist() for code, host in enumerate(hosts.dictionary.to_pylist())}


def place_of_host(line: str) -> tuple[int, int]:
    """Where the host of a line of the journal stands.

    >>> place_of_host("Aug 21 18:48:22 gpu7 ollama[123]: Listening")
    (16, 20)
    """
    found = _JOURNAL_LINE.match(line)
    return found.span("host" if found["host"] else "iso_host") if found else (0, 0)


def text_columns(lines: list[str]) -> Iterator[tuple[int, Value]]:
    """The cells of a table's columns of prompts and answers, where the first line names its columns.

    A cell with line breaks counts for its first line; its further lines are values without text.

    >>> lines = ["run_id,prompt,latency_ms", '1,"why so slow?",20', "2,,30", "3,42 is why,40"]
    >>> [(number, value.text) for number, value in text_columns(lines)]
    [(1, 'why so slow?'), (3, '42 is why')]
    """
    header = lines[0].removeprefix("\\ufeff").rstrip("\r") if lines else ""
    if len(header) > 4000 or len(lines) < 2:
        return
    mark = max(",;\t|", key=header.count)
    names = [name.strip(' "').lower() for name in header.split(mark)]
    columns = {column for column, name in enumerate(names) if name in TEXT_COLUMNS}
    if len(names) < 2 or not columns or not all(_CELL.fullmatch(name) for name in names if name):
        return
    text = "\n".join(lines)
    begins = [0, *accumulate(len(line) + 1 for line in lines)]
    cell = re.compile(rf'("(?:[^"]|"")*(?:"|$)|[^{re.escape(mark)}\n]*)({re.escape(mark)}|\n|$)')
    place, column = begins[1], 0
    while place < len(text):
        found = cell.match(text, place)
        if found is None or found.end() == place:
            place += 1  # junk behind a quoted cell
            continue
        if column in columns and _is_text(found[1]):
            yield from _by_line(found, begins)
        column = column + 1 if found[2] == mark else 0
        place = found.end()


def _is_text(cell: str) -> bool:
    cell = cell.strip().strip('"')
    return bool(cell) and not re.fullmatch(r"-?[0-9.eE+-]+", cell)


def _by_line(cell: re.Match[str], begins: list[int]) -> Iterator[tuple[int, Value]]:
    quoted = cell[1].startswith('"')
    start, end = cell.start(1) + quoted, cell.end(1) - (len(cell[1]) > 1 and quoted and cell[1].endswith('"'))
    end -= cell.string[start:end].endswith("\r")
    said = cell.string[start:end].replace('""', '"')
    first, last = bisect_right(begins, start) - 1, bisect_right(begins, max(start, end - 1)) - 1
    for number in range(first, last + 1):
        begin = begins[number]
        until = min(end, begins[number + 1] - 1) - begin
        yield number, Value(max(start - begin, 0), until, said if number == first else "", quoted)
