"""What several ask of the same thing is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

Of = TypeVar("Of")
Told = TypeVar("Told")


def once(asked: Callable[[Of], Told]) -> Callable[[Of], Told]:
    """The same function, whose answer is kept as long as what it was asked of; who asks must not change the answer."""
    known: WeakKeyDictionary[Of, Told] = WeakKeyDictionary()

    @wraps(asked)
    def kept(of: Of) -> Told:
        if of not in known:
            known[of] = asked(of)
        return known[of]

    return kept
