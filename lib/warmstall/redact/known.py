"""Finds every known value in a text in one pass, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .forms import Form

if TYPE_CHECKING:
    import numpy

_LONG, _SHORT = 8, 4
_TABLE_BITS = 20
_MULTIPLIER = 0x9E3779B97F4A7C15
_PIECE = 1 << 20
# Below this many comparisons, asking for each anchor is faster than hashing.
_FEW = 2_000_000


class Known:
    """The known values, by the literals that betray them.

    The first eight (or four) bytes of every literal are hashed into a table; every offset of a text is looked up
    in it at once, and only what hits is compared. So a pass takes as long for ten values as for ten thousand.

    >>> known = Known()
    >>> known.add(Form("hunter22", "password", "secret-1"))
    >>> [(line, form.token) for line, forms in known.lines_with(["a", "b HUNTER22"]).items() for form in forms]
    [(1, 'secret-1')]
    """

    def __init__(self) -> None:
        self._by_key: dict[bytes, list[tuple[bytes, Form]]] = defaultdict(list)
        self._tables: dict[int, numpy.ndarray[Any, Any]] = {}

    def add(self, form: Form) -> None:
        for anchor in form.anchors:
            data = anchor.encode("utf-8", "surrogatepass").lower()
            self._by_key[data[: _LONG if len(data) >= _LONG else _SHORT]].append((data, form))
        self._tables.clear()

    def lines_with(self, lines: list[str]) -> dict[int, list[Form]]:
        """The lines (numbers from 0) that hold a literal, and the forms to look for in each."""
        if not self._by_key:
            return {}
        found: dict[int, list[Form]] = defaultdict(list)
        if len(lines) < 50 and sum(map(len, lines)) * len(self._by_key) < _FEW:
            for number, line in enumerate(lines):
                data = line.encode("utf-8", "surrogatepass").lower()
                for key, entries in self._by_key.items():
                    if key in data:
                        found[number] += [form for anchor, form in entries if anchor in data]
            return {number: list(dict.fromkeys(forms)) for number, forms in found.items() if forms}
        import numpy

        data = "\n".join(lines).encode("utf-8", "surrogatepass").lower()
        ends = numpy.flatnonzero(numpy.frombuffer(data, numpy.uint8) == 10)
        for width in (_LONG, _SHORT):
            places = self._places(data, width)
            for place, number in zip(places.tolist(), numpy.searchsorted(ends, places).tolist(), strict=True):
                for anchor, form in self._by_key.get(data[place : place + width], ()):
                    if data.startswith(anchor, place) and form not in found[number]:
                        found[number].append(form)
        return {number: forms for number, forms in found.items() if forms}

    def _places(self, data: bytes, width: int) -> numpy.ndarray[Any, Any]:
        """Offsets where the first bytes of a literal may stand."""
        import numpy

        table = self._table(width)
        if table is None:
            return numpy.empty(0, numpy.int64)
        found = []
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE + width - 1]
            for shift in range(width):
                count = (len(piece) - shift) // width
                words = numpy.frombuffer(piece, f"<u{width}", count, shift)
                hits = numpy.flatnonzero(table[_slots(words)])
                if len(hits):
                    found.append(hits * width + (start + shift))
        return numpy.unique(numpy.concatenate(found)) if found else numpy.empty(0, numpy.int64)

    def _table(self, width: int) -> numpy.ndarray[Any, Any] | None:
        import numpy

        keys = [int.from_bytes(key, "little") for key in self._by_key if len(key) == width]
        if keys and width not in self._tables:
            self._tables[width] = numpy.zeros(1 << _TABLE_BITS, bool)
            self._tables[width][_slots(numpy.array(keys, f"<u{width}"))] = True
        return self._tables.get(width)


def _slots(words: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    import numpy

    return ((words.astype("<u8") * numpy.uint64(_MULTIPLIER)) >> numpy.uint64(64 - _TABLE_BITS)).view(numpy.int64)
