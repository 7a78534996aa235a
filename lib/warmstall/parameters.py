"""Notebook parameters, checked: a mistyped name or a wrong type is refused, not ignored.

papermill injects whatever it is given: `-p slowset 20` defines a variable that nothing reads, and
`-p slowest twenty` passes a string. A notebook hands its names to `checked` right after its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import SimpleNamespace

from .errors import ParameterError

_PLAIN = (str, int, float, bool)


def checked(namespace: Mapping[str, object], **types: type) -> SimpleNamespace:
    """The parameters named in `types`, taken from a notebook's `globals()`.

    Raises ParameterError for a missing name, a wrong type, and a plain value whose name is nearly one of
    the parameters but is none.

    >>> checked({"case": "", "slowest": 15}, case=str, slowest=int)
    namespace(case='', slowest=15)
    >>> checked({"case": "", "slowest": 15, "slowset": 20}, case=str, slowest=int)
    Traceback (most recent call last):
    warmstall.errors.ParameterError: parameter slowset: there is none of this name; did you mean slowest?
    """
    for name, value in namespace.items():
        if name in types or name.startswith("_") or not isinstance(value, _PLAIN):
            continue
        if near := get_close_matches(name, types, n=1, cutoff=0.75):
            raise ParameterError(f"parameter {name}: there is none of this name; did you mean {near[0]}?")
    values = {}
    for name, kind in types.items():
        if name not in namespace:
            raise ParameterError(f"parameter {name}: it is missing; expected {kind.__name__}.")
        value = namespace[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)  # `-p hours 24`
        # True is an int for Python, but never what somebody meant by a number.
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise ParameterError(f"parameter {name}: got {value!r}, expected {kind.__name__}.")
        values[name] = value
    return SimpleNamespace(**values)
