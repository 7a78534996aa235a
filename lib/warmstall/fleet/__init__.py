"""Many hosts side by side: which are unlike the rest, and why. Each host is summarized apart, then all are compared."""

from .comparing import Fleet, unlike
from .summaries import cases_in, summaries_of, summary_of

__all__ = ["Fleet", "cases_in", "summaries_of", "summary_of", "unlike"]
