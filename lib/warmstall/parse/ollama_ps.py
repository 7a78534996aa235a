"""Models in memory and on disk as somebody captured them: the table of `ollama ps`, and answers of the API."""

from __future__ import annotations

import re

from .api_probes import add_body, endpoint_of_body, summary_of
from .parsed import Parsed
from .tolerant import blank, capture_lines, json_documents, number, whole
from .vm_stat import Clock

# People who show the table to others leave out the column of digests.
_HEADER = re.compile(r"NAME\s+(?:ID\s+)?SIZE\s+PROCESSOR\s+(?P<context>CONTEXT\s+)?UNTIL")
_PROCESSOR = r"100% (?:GPU|CPU)|(?P<on_cpu>\d{1,3})%/(?P<on_gpu>\d{1,3})% CPU/GPU|Unknown"
_ROW = re.compile(
    rf"(?P<model>\S{{1,300}})\s+(?:(?P<digest>[0-9a-f]{{12}})\s+)?(?P<size>[\d.]{{1,12}}) (?P<unit>[KMGT]?B)\s+"
    rf"(?P<processor>{_PROCESSOR})(?:\s+(?P<rest>\S.*))?"
)
# `ollama ps` counts in thousands; its figures have two digits.
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LONGEST = 1000


def is_ollama_ps(lines: list[str]) -> bool:
    """Whether these lines hold a table of `ollama ps` or an answer of the API.

    >>> is_ollama_ps(["NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL"])
    True
    >>> is_ollama_ps(["Use `ollama ps` to see NAME, ID and SIZE."])
    False
    """
    return bool(parse_ollama_ps("\n".join(lines)).lines)


def parse_ollama_ps(text: str) -> Parsed:
    """resident_models from the table (`size_bytes` is rounded there, `digest` cut to 12) and from /api/ps.

    Also models from /api/tags and /api/show, slots from /slots, probes from /api/version and /health (without
    status and time, which a bare body does not show). A line above a table that is a time is when it was printed.
    Of JSON that a person shortened, what is left is taken.

    >>> parsed = parse_ollama_ps('''NAME  ID            SIZE   PROCESSOR        UNTIL
    ... big   a418f5838eaf  21 GB  25%/75% CPU/GPU  4 minutes from now''')
    >>> [(row["model"], row["size_bytes"], row["vram_fraction"]) for row in parsed.tables["resident_models"]]
    [('big', 21000000000, 0.75)]
    """
    parsed = Parsed()
    lines = capture_lines(text)
    for numbers, body in json_documents(lines):
        endpoint = endpoint_of_body(body)
        if endpoint or body == {"models": []}:
            add_body(parsed, numbers.start, body, endpoint, (None, None))
            parsed.understood(numbers)
        if detail := summary_of(body):
            parsed.add("probes", numbers.start, **blank("probes") | {"endpoint": endpoint, "detail": detail})
    header: re.Match[str] | None = None
    clock, heading = Clock(), 0
    for line_number, raw in enumerate(lines, 1):
        line = raw.strip()
        if len(line) > _LONGEST:
            header = None
        elif found := _HEADER.fullmatch(line):
            header = found
            parsed.lines |= {line_number, heading} - {0}
        elif header and (row := _ROW.fullmatch(line)):
            _add_row(parsed, line_number, row, bool(header["context"]), clock)
        elif line and line_number not in parsed.lines:
            header = None
            heading = line_number if clock.read_heading(line) else 0
    return parsed


def _add_row(parsed: Parsed, line_number: int, found: re.Match[str], has_context: bool, clock: Clock) -> None:
    rest = (found["rest"] or "").strip()
    context, _, until = rest.partition(" ") if has_context else ("", "", rest)
    if "\t" in context:
        context, _, until = rest.partition("\t")
    size = number(found["size"])
    fraction = {"100% GPU": 1.0, "100% CPU": 0.0}.get(found["processor"])
    if found["on_gpu"]:
        fraction = int(found["on_gpu"]) / 100
    row = {
        "model": found["model"],
        "digest": found["digest"],
        "size_bytes": None if size is None else whole(round(size * _UNITS[found["unit"]])),
        "vram_fraction": fraction,
        "processor": found["processor"],
        "context_length": whole(context),
        "until": until.strip() or None,
    }
    parsed.add("resident_models", line_number, **blank("resident_models") | row | clock.columns())
