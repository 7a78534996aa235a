"""The timings that `ollama run --verbose` prints after each answer, in a captured terminal session."""

from __future__ import annotations

import re

from .go_values import duration_s
from .parsed import Parsed
from .tolerant import blank, capture_lines, number, whole

# What stands before it on its line is left of the spinner, never text: escape sequences are gone, dots remain.
_LINE = re.compile(
    r"(?P<key>total duration|load duration|prompt eval (?:count|duration|rate)|eval (?:count|duration|rate)): +"
    r"(?P<value>\d\S{0,40})(?: token\(s\)| tokens/s)?"
)
_COLUMNS = {
    "total duration": "total_duration_s", "load duration": "load_duration_s",
    "prompt eval duration": "prompt_eval_duration_s", "eval duration": "eval_duration_s",
    "prompt eval count": "prompt_eval_count", "eval count": "eval_count", "eval rate": "tokens_per_s",
}  # fmt: skip
_RUN = re.compile(
    r"\bollama(?:\.exe)?['\"]? run(?: --(?:keepalive|format)[ =]\S{1,40}| --?[a-z][\w=-]{0,40}){0,9} ['\"`]?"
    r"(?P<model>[A-Za-z0-9][\w./:-]{0,200})"
)
_NAMED = re.compile(
    r"(?:model(?:_name)?\s{0,20}[=:]|>>> /load)\s{0,20}['\"]?(?P<model>[A-Za-z0-9][\w./:-]{0,200})['\"]?"
)
_SPINNER = re.compile(r"[\s⠀-⣿]+")
_LONGEST = 2000


def is_verbose_timings(lines: list[str]) -> bool:
    """Whether these lines hold the timings of an answer.

    >>> is_verbose_timings(["total duration:       5.8s", "load duration:        49.5ms"])
    True
    >>> is_verbose_timings(["The total duration: 5 s of a call."])
    False
    """
    return bool(parse_verbose_timings("\n".join(lines)).lines)


def parse_verbose_timings(text: str) -> Parsed:
    """trials: one row an answer, in order; no times of day, those are not shown. Columns as the API's metrics.

    The model is that of the last `ollama run MODEL`, `/load MODEL` or `model_name = MODEL` before it.

    >>> parsed = parse_verbose_timings("$ ollama run tiny\\ntotal duration: 1m2s\\neval rate: 3.5 tokens/s")
    >>> [(row["model"], row["total_duration_s"], row["tokens_per_s"]) for row in parsed.tables["trials"]]
    [('tiny', 62.0, 3.5)]
    """
    parsed = Parsed()
    model: str | None = None
    block: dict[str, str] = {}
    numbers: list[int] = []
    for line_number, raw in enumerate([*capture_lines(text), ""], 1):
        spinner = _SPINNER.match(raw)
        line = raw[spinner.end() if spinner else 0 :].rstrip()
        found = _LINE.fullmatch(line) if len(line) <= _LONGEST else None
        if found is None or found["key"] in block:
            _add(parsed, numbers, block, model)
            block, numbers = {}, []
        if found:
            block[found["key"]] = found["value"]
            numbers.append(line_number)
        elif len(line) <= _LONGEST and (named := _RUN.search(line) or _NAMED.fullmatch(line)):
            model = named["model"]
    return parsed


def _add(parsed: Parsed, numbers: list[int], block: dict[str, str], model: str | None) -> None:
    """One answer's timings; a single line of them is not taken for one."""
    row: dict[str, object] = {}
    for key, column in _COLUMNS.items():
        text = block.get(key, "")
        value = duration_s(text) if column.endswith("duration_s") else number(text)
        row[column] = whole(text) if column.endswith("count") else value
    if len(block) < 2 or (row["total_duration_s"] is None and row["eval_duration_s"] is None):
        return
    parsed.understood(numbers)
    parsed.add("trials", numbers[0], **blank("trials") | row | {"model": model})
