"""Many hosts at once: each is analyzed by a task of its own, anywhere, and then all are compared.

Which are unlike the rest and why (`unlike`), and what an upgrade or a setting changed (`effects`).
"""

from .comparing import Fleet, unlike
from .effects import effect_rows, effects
from .example import write_example
from .run import analyze_fleet
from .summaries import cases_in, summaries_of, summary_of
from .tables import open_fleet

__all__ = [
    "Fleet",
    "analyze_fleet",
    "cases_in",
    "effect_rows",
    "effects",
    "open_fleet",
    "summaries_of",
    "summary_of",
    "unlike",
    "write_example",
]
