"""Numbers that stand right-aligned in columns of text, many at a time."""

from __future__ import annotations

import numpy as np


class Decimals:
    """Decimal numbers of up to twelve characters, by their bytes: a row per column of the text, an element per number.

    `is_plain` tells which of them are written as programs do it: blanks at the left alone, no leading zero, and behind
    a point at least a digit, the last of them no zero. For these, `value` is the nearest number there is, `whole` its
    part before the point, and `places` how many digits are behind it.

    >>> columns = np.array([list(text) for text in (b" 20.5", b"  4.0", b" 1 .5", b"  317")], np.uint8).T
    >>> found = Decimals(columns)
    >>> found.is_plain.tolist(), found.value[found.is_plain].tolist()
    ([True, False, False, True], [20.5, 317.0])
    """

    def __init__(self, columns: np.ndarray) -> None:
        digits = columns - np.uint8(ord("0"))  # of anything else it is more than nine
        is_digit, is_point, is_blank = digits < 10, columns == ord("."), columns == ord(" ")
        was_blank = np.concatenate((np.ones_like(is_blank[:1]), is_blank[:-1]))
        points = is_point.sum(axis=0, dtype=np.uint8)
        self.is_plain = (is_digit | is_point | is_blank & was_blank).all(axis=0) & (points < 2)
        self.is_plain &= (is_blank | ~was_blank | (digits - 1 < 9)).all(axis=0)
        self.is_plain &= is_digit[-1] & ((digits[-1] > 0) | (points == 0))
        behind = np.arange(len(columns), dtype=np.uint8)[::-1, None]
        self.places = (is_point * behind).max(axis=0)
        # Whole numbers below 2**53, all of them, as floats: those are divided in a tenth of the time.
        number = _joined(digits * is_digit).astype(float)  # the point as one more zero
        power = (10.0 ** np.arange(len(columns))).take(self.places)
        self.whole = np.where(points > 0, np.floor(number / (10 * power)), number)
        self.value = np.where(points > 0, number - 9 * power * self.whole, number) / power


def _joined(digits: np.ndarray) -> np.ndarray:
    """Up to twelve digits of each number put together, in pairs, as small numbers take less time."""
    digits = np.concatenate((np.zeros((12 - len(digits), digits.shape[1]), np.uint8), digits))
    pairs = (10 * digits[0::2] + digits[1::2]).astype(np.uint16)
    first, second, third = (100 * pairs[0::2] + pairs[1::2]).astype(np.int64)
    joined: np.ndarray = (10_000 * first + second) * 10_000 + third
    return joined
