"""JSON in a text, as tables of trials: lists of calls at any depth, JSON lines, columns as lists."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

from .trial_table import Table, is_wanted

_BEGINS = re.compile(r"[\ufeff \t]{0,200}(?:\{\s*(?:[\"}]|$)|\[\s*(?:[{\[]|$))")
# Lists that are parts of one call, not calls.
_PARTS_OF_A_CALL = {"messages", "choices", "attempts", "retries", "tool_calls", "content", "tools", "itls"}
# A record with such fields sums up many calls.
_SUMMARY = re.compile(r"^(?:mean|median|avg|average|std|p\d{1,2})_|_(?:mean|median|avg|p\d{1,2})(?:_|$)")


def begins_json(line: str) -> bool:
    """Whether a line may begin an object, or a list of objects or of lists."""
    return bool(_BEGINS.match(line))


class Documents:
    """JSON values in a text, each read where a line begins with one."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.text: str | None = None
        self.starts: list[int] = []
        # Text that only looks like JSON is looked at a few times at most.
        self.budget = 0
        self.places: dict[int, tuple[int, int]] = {}

    def read(self, at: int, wanted: set[str]) -> tuple[list[Table], int]:
        """The tables of the values that follow one another from this line on, and the line after them."""
        if self.text is None:
            self.text = "\n".join(self.lines)
            self.starts = [0, *accumulate(len(line) + 1 for line in self.lines)]
            self.budget = 2 * len(self.text) + 10_000
        loose: list[tuple[dict[str, Any], tuple[int, int]]] = []
        tables: list[Table] = []
        self.places = {}
        kept: list[Any] = []  # places are by identity: nothing may be freed before all are read
        while at < len(self.lines) and begins_json(self.lines[at]):
            value, end = self._decode(at)
            if end is None:
                at += 1
                break
            kept.append(value)
            last = bisect_right(self.starts, end - 1)
            found = list(self._tables(value, (at + 1, last), wanted, {}, "", 0))
            tables += found
            if not found and isinstance(value, dict):
                loose.append((flattened(value), (at + 1, last)))
            at = last
            while at < len(self.lines) and not self.lines[at].strip(", \t\r"):
                at += 1
        return [*tables, *self._records(loose, wanted)], at

    def _decode(self, at: int) -> tuple[Any, int | None]:
        """The value that begins this line and where in the text it ends; None when there is none."""
        assert self.text is not None
        line = self.lines[at].rstrip()
        skipped = len(line) - len(line.lstrip("\ufeff \t"))
        decoder: Any = json.JSONDecoder()
        try:
            value, end = decoder.raw_decode(line, skipped)
            return value, self.starts[at] + end
        except json.JSONDecodeError as error:
            if error.pos < len(line) or self.budget <= 0:
                return None, None
        except (ValueError, RecursionError):
            return None, None
        self._keep_places(decoder)
        try:
            value, end = decoder.raw_decode(self.text, self.starts[at] + skipped)
            return value, end
        except json.JSONDecodeError as error:
            self.budget -= max(1000, error.pos - self.starts[at], error.pos // 4)
        except (ValueError, RecursionError):
            self.budget -= max(1000, len(self.text) // 20)
        return None, None

    def _keep_places(self, decoder: Any) -> None:
        """Have the decoder note where each object of a value that spans lines stands."""
        parse = decoder.parse_object

        def noting(start: tuple[str, int], *rest: Any) -> Any:
            value, end = parse(start, *rest)
            self.places[id(value)] = (start[1] - 1, end)
            return value, end

        decoder.parse_object = noting
        decoder.scan_once = py_make_scanner(decoder)

    def _lines_of(self, record: Mapping[str, Any], whole: tuple[int, int]) -> tuple[int, int]:
        if (place := self.places.get(id(record))) is None:
            return whole
        return bisect_right(self.starts, place[0]), bisect_right(self.starts, place[1] - 1)

    def _tables(
        self, value: Any, span: tuple[int, int], wanted: set[str], above: dict[str, Any], group: str, depth: int
    ) -> Iterator[Table]:
        """Lists of calls, at whatever depth; a list of columns; an object that is itself one call is left."""
        if depth > 6:
            return
        if isinstance(value, list):
            objects = [item for item in value if isinstance(item, dict)]
            records = [above | flattened(item) for item in objects]
            columns = _columns(records)
            if records and is_wanted(columns, wanted, records):
                own = [self._lines_of(item, span) for item in objects]
                yield Table(columns, records, own, set(range(span[0], span[1] + 1)), group=group)
                return
            for item in objects:
                yield from self._tables(item, span, wanted, above, group, depth + 1)
        elif isinstance(value, dict):
            shared = {key: text for key, text in value.items() if key in ("model", "model_id", "endpoint", "timeout")}
            shared = above | {key: text for key, text in shared.items() if isinstance(text, (str, int, float))}
            if (records := by_columns(value)) and is_wanted(_columns(records), wanted, records):
                records = [shared | record for record in records]
                lines = set(range(span[0], span[1] + 1))
                yield Table(_columns(records), records, [span] * len(records), lines, group=group)
                return
            for key, item in value.items():
                if isinstance(item, (dict, list)) and key not in _PARTS_OF_A_CALL:
                    yield from self._tables(item, span, wanted, shared, str(key)[:100], depth + 1)

    def _records(self, loose: list[tuple[dict[str, Any], tuple[int, int]]], wanted: set[str]) -> Iterator[Table]:
        """JSON lines: the records that look alike enough to be one table."""
        records = [record for record, _ in loose]
        columns = _columns(records)
        calls = [place for place, record in enumerate(records) if not any(_SUMMARY.search(key) for key in record)]
        if not calls or not is_wanted(columns, wanted, records):
            return
        lines = [loose[place][1] for place in calls]
        yield Table(columns, [records[place] for place in calls], lines)


def _columns(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


def flattened(record: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """The fields of a JSON object, those of objects inside it under names with dots.

    >>> flattened({"usage": {"prompt_tokens": 3}, "choices": [{"finish_reason": "stop"}]})
    {'usage.prompt_tokens': 3, 'choices.finish_reason': 'stop'}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and key == "choices" and value and isinstance(value[0], dict):
            value = value[0]
        if isinstance(value, dict) and depth < 3 and len(value) <= 100:
            flat |= flattened(value, f"{name}.", depth + 1)
        else:
            flat[name] = value
    return flat


def by_columns(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of an object that holds its columns as lists of one length, as vLLM's `bench serve` writes them.

    >>> by_columns({"duration": 3, "ttfts": [0.1, 0.2], "output_lens": [5, 6]})
    [{'ttfts': 0.1, 'output_lens': 5}, {'ttfts': 0.2, 'output_lens': 6}]
    """
    lists = {str(key): item for key, item in value.items() if isinstance(item, list) and item}
    for length in sorted({len(item) for item in lists.values()}, reverse=True):
        alike = {key: item for key, item in lists.items() if len(item) == length}
        if len(alike) > 1 and not any(isinstance(item[0], dict) for item in alike.values()):
            return [_timed(dict(zip(alike, row, strict=True))) for row in zip(*alike.values(), strict=True)]
    return []


def _timed(record: dict[str, Any]) -> dict[str, Any]:
    """vLLM's benchmark has seconds to the first token and between the tokens: a call lasted as long as all of them."""
    first, gaps = record.get("ttfts"), record.get("itls")
    if isinstance(first, (int, float)) and isinstance(gaps, list):
        numbers = [gap for gap in gaps if isinstance(gap, (int, float))]
        record["ttft_s"] = record.pop("ttfts") or None  # 0 where no token came
        record.setdefault("latency_s", (first + sum(numbers)) or None)
    return record
