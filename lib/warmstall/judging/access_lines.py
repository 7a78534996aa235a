"""The access lines of a case on one clock, as columns in the order of the logs.

An access line is written when its request ends, in local time and whole seconds; a neighbouring line with
milliseconds narrows that second, a wrapper's stamp replaces it. The Parquet files of the table number their texts,
which DuckDB would spell out for each line: they are read as they are. All columns but the text of the line are stored
as the view shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..case import Case
from .words import Numbers, Words, stretches

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 250_000
_NUMBERS = {"line": np.int32, "wall_s": np.float64, "ended_from": np.int64, "ended_to": np.int64, "zone_s": np.int32}
_TEXTS = ("host", "source", "status", "client", "method", "path")
_STORED = (*_TEXTS, "line", "wall_s", "ended_local", "wrapper_at", "offset_s", "before_at", "after_at")
_SECOND, _MINUTE, _HOUR, _DAY = (np.timedelta64(seconds, "s") for seconds in (1, 60, 3600, 86400))
_HALF_HOUR = 30 * _MINUTE


@dataclass(frozen=True)
class AccessLines:
    """Access lines by columns: when each was written, at the earliest and at the latest, in microseconds since the
    epoch (NaT as a number where that is not known), its zone, and its wall (NaN). `zone_from` is what told the zone
    of a source, where something did."""

    numbers: dict[str, Numbers]
    texts: dict[str, Words]
    zone_from: Mapping[str, str]


def access_lines(case: Case, twins: Mapping[str, int]) -> AccessLines:
    """Read them. `twins`: by source, the zone of the log in which the same server wrote its events."""
    import pyarrow as pa

    rank = {account["path"]: number for number, account in enumerate(case.accounts)}
    parts, total, first_offsets = _in_order(case.parts("requests"), rank)
    of_sources, of_hosts = _zones_of_sources(case, twins, first_offsets), case.zones()
    numbers = {name: np.empty(total, dtype=kind) for name, kind in _NUMBERS.items()}
    codes = {name: np.empty(total, dtype=np.int8) for name in _TEXTS}
    known: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
    begin = 0
    for batch in _batches(parts):
        lines = slice(begin, begin + batch.num_rows)
        for name in _TEXTS:
            of_batch = _codes(batch.column(name), known[name])
            if (kind := np.min_scalar_type(-max(len(known[name]), 1))) != codes[name].dtype:
                codes[name] = codes[name].astype(kind)
            codes[name][lines] = of_batch
        by_source = np.array([of_sources.get(source, (None, ""))[0] for source in known["source"]], dtype=float)
        by_host = np.array([of_hosts.get(host, 0) for host in known["host"]])
        zone_s = numbers["zone_s"][lines]
        zone_s[:] = _zone_s(batch, codes["source"][lines], codes["host"][lines], by_source, by_host)
        numbers["ended_from"][lines], numbers["ended_to"][lines] = _ended(batch, zone_s)
        line = batch.column("line").to_numpy()
        if line.max() > np.iinfo(numbers["line"].dtype).max:
            numbers["line"] = numbers["line"].astype(np.int64)
        numbers["line"][lines], numbers["wall_s"][lines] = line, batch.column("wall_s").to_numpy(zero_copy_only=False)
        begin = lines.stop
    texts = {name: Words(codes[name], list(known[name])) for name in _TEXTS}
    pa.default_memory_pool().release_unused()  # it would keep it all for the next who reads so much
    _sort(rank, numbers, texts)
    return AccessLines(numbers, texts, {source: told for source, (_, told) in of_sources.items()})


def _in_order(parts: Sequence[Path], rank: Mapping[str, int]) -> tuple[list[Path], int, dict[str, int | None]]:
    """The files in the order of the logs, and of the lines with which they begin; how many lines they hold; and the
    offset of the first record of each source before which one stood (None: there is none)."""
    import pyarrow.parquet as pq

    total, ranked = 0, []
    firsts: dict[str, tuple[float, int | None]] = {}
    for part in parts:
        table = pq.ParquetFile(part, read_dictionary=["source"]).read(columns=["source", "line", "offset_s"])
        if not len(table):
            continue
        total += len(table)
        source, line, offset_s = (column.combine_chunks() for column in table.columns)
        ranked.append((rank.get(source[0].as_py(), len(rank)), source[0].as_py(), line[0].as_py(), part))
        codes, lines = source.indices.to_numpy(), line.to_numpy()
        told = offset_s.is_valid().to_numpy(zero_copy_only=False)
        for code in np.flatnonzero(np.bincount(codes)).tolist():
            rows = np.flatnonzero((codes == code) & told)
            first = rows[np.argmin(lines[rows])] if len(rows) else None
            found = (float("inf"), None) if first is None else (lines[first], offset_s[first].as_py())
            name = source.dictionary[code].as_py()
            firsts[name] = min(firsts.get(name, found), found, key=itemgetter(0))
    return [part for *_, part in sorted(ranked)], total, {name: offset for name, (_, offset) in firsts.items()}


def _batches(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    for part in parts:
        yield from pq.ParquetFile(part, read_dictionary=list(_TEXTS)).iter_batches(_BATCH_ROWS, columns=list(_STORED))


def _codes(column: Any, known: dict[str, int]) -> Numbers:
    """The texts of a column by their numbers in `known`, which gets those that are new."""
    names = [*column.dictionary.to_pylist(), ""]
    places = np.asarray(column.indices.fill_null(len(names) - 1))
    used = np.flatnonzero(np.bincount(places, minlength=len(names))).tolist()
    code_of = np.zeros(len(names), dtype=np.int32)
    code_of[used] = [known.setdefault(names[place] or "", len(known)) for place in used]
    of_column: Numbers = code_of[places]
    return of_column


def _zones_of_sources(
    case: Case, twins: Mapping[str, int], first_offsets: Mapping[str, int | None]
) -> dict[str, tuple[int, str]]:
    """The zone of the lines before which no record of their log tells one, and what tells it, by source."""
    found = {source: (zone_s, "twin") for source, zone_s in twins.items()}
    found |= {source: (offset_s, "slog") for source, offset_s in first_offsets.items() if offset_s is not None}
    if None in first_offsets.values():
        query = (files("warmstall") / "sql" / "zones_of_wrappers.sql").read_text()
        told = dict(case.connection.sql(query).fetchall())
        found |= {source: (told[source], "wrapper") for source, offset_s in first_offsets.items()
                  if offset_s is None and told.get(source) is not None}  # fmt: skip
    return found


def _zone_s(batch: pa.RecordBatch, source: Numbers, host: Numbers, by_source: Numbers, by_host: Numbers) -> Numbers:
    """The zone of each line, in seconds east of UTC: as told by a record before it, else of its source or host."""
    zone_s: Numbers = batch.column("offset_s").to_numpy(zero_copy_only=False)
    untold = np.flatnonzero(np.isnan(zone_s))
    if len(untold):
        of_source = by_source[source[untold]]
        zone_s = zone_s.copy()
        zone_s[untold] = np.where(np.isnan(of_source), by_host[host[untold]], of_source)
    return zone_s


def _ended(batch: pa.RecordBatch, zone_s: Numbers) -> tuple[Numbers, Numbers]:
    """When each request ended, at the earliest and at the latest."""
    local, before, after = (_moments(batch.column(name)) for name in ("ended_local", "before_at", "after_at"))
    second = _in_summer_time(local - zone_s.astype("timedelta64[s]"), before, after)
    beyond = second + _SECOND
    ended_from = np.where((before > second) & (before <= beyond), before, second)
    ended_to = np.where((after >= second) & (after < beyond), after, beyond)
    if batch.column("wrapper_at").null_count < len(batch):
        wrapper = _moments(batch.column("wrapper_at"))
        stamped = (wrapper >= second - _SECOND) & (wrapper <= beyond + _SECOND)
        ended_from, ended_to = np.where(stamped, wrapper, ended_from), np.where(stamped, wrapper, ended_to)
    return ended_from.view(np.int64), ended_to.view(np.int64)


def _moments(column: Any) -> Numbers:
    moments: Numbers = column.to_numpy(zero_copy_only=False).astype("datetime64[us]", copy=False)
    return moments


def _in_summer_time(second: Numbers, before: Numbers, after: Numbers) -> Numbers:
    """The times by the zone that holds then.

    When the clocks change, the first lines after it still carry the offset of the line before: an hour that puts them
    between their neighbours again is taken for that.
    """
    some = np.flatnonzero((second < before - _HALF_HOUR) | (second > after + _HALF_HOUR))
    at, before, after = second[some], before[some], after[some]
    later, sooner = at + _HOUR, at - _HOUR
    until = np.where(np.isnat(after), before + _DAY, after)
    fits_later = (at < before - _HALF_HOUR) & (later >= before - _MINUTE) & (later <= until + _MINUTE)
    fits_sooner = (at > after + _HALF_HOUR) & (sooner >= before - _MINUTE) & (sooner <= after + _MINUTE)
    second[some] = np.where(fits_later, later, np.where(fits_sooner, sooner, at))
    return second


def _sort(rank: Mapping[str, int], numbers: dict[str, Numbers], texts: dict[str, Words]) -> None:
    """Put the lines into the order of the sources, and of their lines."""
    source, line = texts["source"], numbers["line"]
    ranks = np.array([rank.get(name, len(rank)) for name in source.names] or [0], dtype=np.int32)
    # Most often each file of the table is a stretch of a log, and they were read in their order.
    cuts = np.array(stretches(source.codes, line[1:] <= line[:-1]))
    code, first, last = source.codes[cuts[:-1]], line[cuts[:-1]], line[cuts[1:] - 1]
    by_first = np.lexsort((first, code, ranks[code]))
    code, first, last = code[by_first], first[by_first], last[by_first]
    places: list[Any] = [slice(*cuts[place : place + 2]) for place in by_first.tolist()]
    if not ((code[1:] != code[:-1]) | (last[:-1] < first[1:])).all():
        places = [np.lexsort((line, source.codes, ranks[source.codes]))]
    elif (np.diff(by_first) > 0).all():
        return
    for name, values in numbers.items():
        numbers[name] = np.concatenate([values[some] for some in places])
    for name, words in texts.items():
        texts[name] = Words(np.concatenate([words.codes[some] for some in places]), words.names)
