"""Which of many patterns may match in which lines: one pass of RE2 over all of them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pyarrow

# Loading RE2 takes longer than Python needs for this much; but Python may take for ever over one long line.
SMALL = 20_000
_LONG_LINE = 1_000


class Gate:
    """Hints: patterns that RE2 and Python read alike, without regard to case.

    >>> gate = Gate(["://[a-z]", "passw"])
    >>> gate.open_for(["http://a", "nothing", "Password http://b"])
    {0: [0], 2: [0, 1]}
    >>> gate.open_for(["http://a", "nothing", "Password http://b"], small=0)
    {0: [0], 2: [0, 1]}
    """

    def __init__(self, hints: list[str]) -> None:
        self._hints = hints
        self._any = "|".join(f"(?:{hint})" for hint in hints)
        self._compiled = [re.compile(hint, re.IGNORECASE) for hint in hints]

    def open_for(self, lines: list[str], small: int = SMALL) -> dict[int, list[int]]:
        """For each line that a hint is found in (numbers from 0), the numbers of those hints."""
        if not self._hints:
            return {}
        if is_small(lines, small):
            found = {
                n: [h for h, hint in enumerate(self._compiled) if hint.search(line)] for n, line in enumerate(lines)
            }
            return {number: hints for number, hints in found.items() if hints}
        import numpy
        import pyarrow
        import pyarrow.compute as compute

        array = arrow_strings(lines)
        numbers = _where(compute.match_substring_regex(array, self._any, ignore_case=True))
        fewer = array.take(pyarrow.array(numbers))
        open_for: dict[int, list[int]] = defaultdict(list)
        for number, hint in enumerate(self._hints):
            hits = _where(compute.match_substring_regex(fewer, hint, ignore_case=True))
            for line in numpy.asarray(numbers)[hits].tolist():
                open_for[line].append(number)
        return dict(sorted(open_for.items()))


def is_small(lines: list[str], most: int = SMALL) -> bool:
    """Whether Python does as well here."""
    return sum(map(len, lines)) <= most and max(map(len, lines), default=0) <= _LONG_LINE


def _where(mask: Any) -> numpy.ndarray[Any, Any]:
    import numpy

    return numpy.flatnonzero(mask.to_numpy(zero_copy_only=False))


def arrow_strings(lines: list[str]) -> pyarrow.Array:
    """The lines as Arrow's strings, without a Python object for each."""
    import numpy
    import pyarrow

    data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
    ends = numpy.flatnonzero(numpy.frombuffer(data, numpy.uint8) == 10) + 1
    offsets = numpy.concatenate(([0], ends)).astype(numpy.int64)
    buffers = [None, pyarrow.py_buffer(offsets.tobytes()), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(pyarrow.large_utf8(), len(lines), buffers)
