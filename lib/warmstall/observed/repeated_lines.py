"""Files that overlap, as two captures of one log do: what both hold counts twice, and no rate of it is true."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from ..case import Case
from ..parse.plain_text import printable

# So many lines of the shorter file are looked for in the other, and half of them are there. Latencies have four digits
# or more: no other server answers three requests in the same seconds, each in just the same time.
_LOOKED_FOR = 200
_SHARE = 0.5
_DIFFERENT_LATENCIES = 3
_COLUMNS = "ended_local, wall_s, status, client, method, path"


def sentences(case: Case) -> list[str]:
    """One sentence for each two files of a host that hold the same access lines."""
    if len(case.streams()) < 2:
        return []
    spans = case.sql(
        "SELECT host, source, min(ended_local) AS first, max(ended_local) AS last FROM access_lines "
        "WHERE ended_local IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
    pairs = [(one, other) for one, other in combinations(spans.itertuples(), 2) if one.host == other.host]
    return [told for pair in pairs if (told := _told(case, *pair))]


def _told(case: Case, one: Any, other: Any) -> str:
    first, last = max(one.first, other.first), min(one.last, other.last)
    if first > last:
        return ""
    span = {"first": first, "last": last}
    within = "FROM access_lines WHERE source = $source AND ended_local BETWEEN $first AND $last"
    counted = [(int(case.sql(f"SELECT count(*) AS lines {within}", source=name, **span)["lines"][0]), name)
               for name in (one.source, other.source)]  # fmt: skip
    (lines, shorter), (_, longer) = sorted(counted)
    sample = f"SELECT DISTINCT {_COLUMNS} {within.replace('$source', '$shorter')} ORDER BY ALL LIMIT {_LOOKED_FOR}"
    looked_for = case.sql(sample, shorter=shorter, **span)
    there = case.sql(f"({sample}) INTERSECT (SELECT {_COLUMNS} {within})", shorter=shorter, source=longer, **span)
    if there["wall_s"].nunique() < _DIFFERENT_LATENCIES or len(there) < _SHARE * len(looked_for):
        return ""
    return (
        f"{printable(one.source)} and {printable(other.source)} hold the same access lines, about {lines:,} from "
        f"{first:%Y-%m-%d %H:%M:%S} to {last:%H:%M:%S} by the log's clock: those requests count twice here. "
        "Give one log of the whole time."
    )
