"""The events that tell of servers (starts, loads, crashes, slots), read from the files of the events table as they are.

The files number their texts and leave out the time that a record begins with, so that many records are alike: each
different one is read once. DuckDB would write all of them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .case import Case, Period
from .parse.log_events import event_in, fields_of
from .schema import TEXT_CHARACTERS
from .timeline import KEPT_KEYS, USED_KEYS, Event, telling_keys

if TYPE_CHECKING:
    import pyarrow as pa

Column: TypeAlias = npt.NDArray[Any]
_TEXTS = ("host", "source", "key", "text", "anchor", "whole_text", "fields")
_NUMBERS = ("line", "at", "before_at", "after_at", "local_at", "offset_s")
_TIMES = ("at", "before_at", "after_at")
_BATCH_ROWS = 250_000
_LONGEST_TIME = len("time=2026-01-01T00:00:00.000+00:00 ")
_NAMES_A_RUNNER = "runner.name"


def server_events(case: Case, sources: Sequence[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Rows of the events that tell of servers with their source, in the order of `sources` and of their lines.

    Columns are those of the files, texts as dictionaries; `at` is on the case's clock, and `tells` is whether the line
    tells more than a time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    zones, batches = case.zones(), []
    for path in case.parts("events"):
        file = pq.ParquetFile(path, read_dictionary=list(_TEXTS))
        for batch in file.iter_batches(_BATCH_ROWS, columns=[*_TEXTS, *_NUMBERS]):
            if some := _of_servers(batch, zones, case.period):
                batches.append(some)
    if not batches:
        return
    found = {source for batch in batches for source in batch.column("source").dictionary.to_pylist()}
    places = {source: place for place, source in enumerate([*sources, *sorted(found.difference(sources))])}
    batches.sort(key=lambda batch: (places[batch.column("source")[0].as_py()], batch.column("line")[0].as_py()))
    place = np.concatenate([_looked_up(batch.column("source"), places.get, np.int64) for batch in batches])
    line = np.concatenate([batch.column("line").to_numpy() for batch in batches])
    # Most often each file of the table is a stretch of a log.
    if not ((place[1:] > place[:-1]) | ((place[1:] == place[:-1]) & (line[1:] >= line[:-1]))).all():
        table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
        batches = table.take(np.lexsort((line, place))).to_batches()
    telling = telling_keys({key for batch in batches for key in batch.column("key").dictionary.to_pylist()})
    for batch in map(_with_tells, batches, repeat(telling)):
        codes = batch.column("source").indices.to_numpy()
        edges = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
        for begin, end in pairwise(edges):
            yield batch.column("source")[begin].as_py(), batch.slice(begin, end - begin)
    del batch, batches
    pa.default_memory_pool().release_unused()  # it would keep it all for the next who reads so much


def _of_servers(batch: pa.RecordBatch, zones: Mapping[str, int], period: Period | None) -> pa.RecordBatch | None:
    """The rows that tell of servers, in the period if there is one."""
    import pyarrow as pa

    used = _looked_up(batch.column("key"), lambda key: key in USED_KEYS or (key or "").startswith("ls_"), bool)
    named = _looked_up(batch.column("text"), lambda text: _NAMES_A_RUNNER in (text or ""), bool)
    rows = np.flatnonzero(used | named)
    if not len(rows):
        return None
    batch, named = batch.take(rows), named[rows]
    columns = {name: _compact(batch.column(name)) for name in _TEXTS}
    columns |= {name: batch.column(name) for name in ("line", "offset_s")}
    at, before, after, local = (_moments(batch.column(name)) for name in (*_TIMES, "local_at"))
    zone_s = _looked_up(columns["host"], lambda host: zones.get(host, 0), "timedelta64[s]")
    at = np.where(np.isnat(at), local - zone_s, at)
    columns |= {name: pa.array(values) for name, values in zip(_TIMES, (at, before, after), strict=True)}
    batch = pa.RecordBatch.from_pydict(columns | {"named": pa.array(named)})
    return batch.filter(pa.array(_within(batch, period))) if period else batch


def _with_tells(batch: pa.RecordBatch, telling: frozenset[str]) -> pa.RecordBatch:
    """The rows with `tells` instead of `named`."""
    import pyarrow as pa

    tells = _looked_up(batch.column("key"), telling.__contains__, bool)
    tells |= batch.column("named").to_numpy(zero_copy_only=False)
    return batch.drop_columns(["named"]).append_column("tells", pa.array(tells))


def _compact(column: Any) -> pa.DictionaryArray:
    """A column of texts with no more in its dictionary than its rows need."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string()).dictionary_encode()
    used, codes = np.unique(column.indices.fill_null(-1).to_numpy(zero_copy_only=False), return_inverse=True)
    none = int((used < 0).any())
    indices = pa.array((codes - none).astype(np.int32), mask=codes < none)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary.take(used[none:]).cast(pa.string()))


def _looked_up(column: Any, tell: Any, kind: npt.DTypeLike) -> Column:
    """What is told of the text of each row, asked once of each different text."""
    words = column.dictionary.to_pylist()
    told = np.array([*map(tell, words), *[tell(None)] * (column.null_count > 0)], dtype=kind)
    of_rows: Column = told[column.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]
    return of_rows


def _moments(column: Any) -> Column:
    moments: Column = column.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    return moments


def _within(batch: pa.RecordBatch, period: Period) -> Column:
    """Which rows are of the period, or tell what still holds in it."""
    at, before, after = (_moments(batch.column(name)) for name in _TIMES)
    known = np.where(np.isnat(at), np.where(np.isnat(before), after, before), at)
    from_at, to_at = np.datetime64(period.from_at, "us"), np.datetime64(period.to_at, "us")
    within: Column = np.isnat(known) | ((known > from_at) & (known <= to_at))
    line = batch.column("line").to_numpy()
    for source, first, last in period.kept:
        within |= _looked_up(batch.column("source"), source.__eq__, bool) & (line >= first) & (line <= last)
    return within


def events_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Event]:
    """Events of one log from its rows (`server_events`), in their order, each with a time as good as it gets."""
    clock, first = np.datetime64("NaT", "us"), None
    early: list[Event] = []
    for batch in batches:
        at, latest = _times(batch, clock)
        clock = at[-1] if len(at) else clock
        if first is None and (known := at[~np.isnat(at)]).size:
            first = known[0].item()
        told = _told(batch, at, latest)
        if not early and len(at) and not np.isnat(at[0]):
            yield from told
            continue
        for event in told:
            if event.at is None:
                early.append(event)
                continue
            # Lines before the first stamp of a file take the first time that is known.
            yield from (one._replace(at=one.at_latest or first) for one in early)
            early.clear()
            yield event
    yield from (one._replace(at=one.at_latest or first) for one in early)


def _times(batch: pa.RecordBatch, clock: np.datetime64) -> tuple[Column, Column]:
    """When each line was written, at the earliest and at the latest; `clock` is what the lines before them show."""
    own, before, after = (_moments(batch.column(name)) for name in _TIMES)
    # Some versions print it before their clock has a zone; what follows it is milliseconds later,
    # what comes before it may be the day before.
    starts = _looked_up(batch.column("key"), lambda key: key == "server_config", bool)
    told = np.where(np.isnat(own), np.where(starts & ~np.isnat(after), after, before), own)
    last = np.maximum.accumulate(np.where(np.isnat(told), -1, np.arange(len(told))))
    return np.concatenate([told, [clock]])[last], np.where(np.isnat(own), after, own)


def _told(batch: pa.RecordBatch, at: Column, latest: Column) -> Iterator[Event]:
    """The lines that tell something."""
    rows = np.flatnonzero(batch.column("tells").to_numpy(zero_copy_only=False))
    if not len(rows):
        return
    batch = batch.take(rows)
    fields, text = _fields_and_texts(batch)
    if len(some := _news(batch, fields)) < len(rows):
        batch, rows, fields, text = batch.take(some), rows[some], fields[some], text[some]
    host, source, key = (_looked_up(batch.column(name), str, object).tolist() for name in ("host", "source", "key"))
    line = batch.column("line").to_pylist()
    yield from map(Event._make, zip(host, source, line, key, at[rows].tolist(), latest[rows].tolist(), fields.tolist(),
                                    text.tolist(), strict=True))  # fmt: skip


def _news(batch: pa.RecordBatch, fields: Column) -> Column:
    """The rows but for those that name the runner of a model file and do nothing else, just as an earlier and a later
    one do."""
    news = _looked_up(batch.column("key"), USED_KEYS.__contains__, bool)
    naming = np.flatnonzero(~news)
    if len(naming):
        # Lines that are alike have the same fields, not only equal ones.
        alike = np.array(list(map(id, fields[naming])))
        first, last = (np.unique(numbers, return_index=True)[1] for numbers in (alike, alike[::-1]))
        news[naming[first]] = news[naming[::-1][last]] = True
        news[naming] |= [not one.get("runner.model") for one in fields[naming]]
    return np.flatnonzero(news)


def _fields_and_texts(batch: pa.RecordBatch) -> tuple[Column, Column]:
    """The fields of each line, and the line itself of those that are kept."""
    import pyarrow.compute as pc

    key, text = batch.column("key"), batch.column("text")
    keys, texts = key.dictionary.to_pylist(), text.dictionary.to_pylist()
    timed = batch.column("offset_s").is_valid().to_numpy(zero_copy_only=False)
    length = pc.binary_length(text.dictionary).to_numpy()[text.indices.to_numpy()]
    alone = _looked_up(key, KEPT_KEYS.__contains__, bool) | (length + _LONGEST_TIME >= TEXT_CHARACTERS)
    fields, lines = np.empty(len(batch), dtype=object), np.full(len(batch), "", dtype=object)
    codes = (key.indices.to_numpy().astype(np.int64) * len(texts) + text.indices.to_numpy()) * 2 + timed
    different, numbers = np.unique(codes[~alone], return_inverse=True)
    read = np.empty(len(different), dtype=object)
    for number, code in enumerate(different.tolist()):
        pair, has_time = divmod(code, 2)
        read[number] = _fields(keys[pair // len(texts)], texts[pair % len(texts)], bool(has_time))
    fields[~alone] = read[numbers]
    rows = np.flatnonzero(alone)
    for row, one in zip(rows.tolist(), batch.take(rows).to_pylist(), strict=True):
        fields[row], lines[row] = _alone(one)
    return fields, lines


def _alone(row: Mapping[str, Any]) -> tuple[Mapping[str, str], str]:
    """The fields of a line that is kept, or of which the table shows no more than the beginning; and that text."""
    time = _time(row["at"], row["offset_s"])
    line = (time + row["text"])[:TEXT_CHARACTERS] if time else row["text"]
    if len(line.encode()) >= TEXT_CHARACTERS:
        if row["fields"] is not None:
            return json.loads(row["fields"]), line
        if row["anchor"] is not None:
            found = event_in(time + (row["whole_text"] or row["text"]), row["anchor"])
            return found.fields if found else {}, line
    if row["key"] in KEPT_KEYS:
        return fields_of(row["key"], line), line
    return _fields(row["key"], line, False), line


def _time(at: datetime, offset_s: int | None) -> str:
    """The time that a record begins with, as slog writes it; empty where none was cut off."""
    if offset_s is None:
        return ""
    minutes = abs(offset_s) // 60
    zone = f"{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}" if offset_s else "Z"
    return f"time={(at + timedelta(seconds=offset_s)).isoformat(timespec='milliseconds')}{zone} "


def _fields(key: str, text: str, timed: bool) -> Mapping[str, str]:
    """The fields of a line, but for its time: it was cut off (`timed`), or is now, and many are alike."""
    if not timed and text.startswith("time="):
        return _fields_of_record(key, text.partition(" ")[2])
    return _fields_of_record(key, text)


@lru_cache(maxsize=4096)
def _fields_of_record(key: str, text: str) -> Mapping[str, str]:
    return fields_of(key, text)
