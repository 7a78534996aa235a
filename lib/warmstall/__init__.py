"""Was it a cold start or a warm stall? Evidence from Ollama hosts, turned into verdicts with reasons."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .guarding.pressure_guard import guard as guard

__version__ = "0.1.0"

# Where it finds this, jsonschema (which nbformat brings, and plotly that) spends a second of every start on a grammar
# of internationalised web addresses; no notebook's schema asks for one.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def __getattr__(name: str) -> object:
    """`warmstall.guard` is there when it is asked for, and `import warmstall` stays light."""
    if name == "guard":
        from .guarding.pressure_guard import guard

        return guard
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
