"""Possible causes, judged by evidence for and against: one file per cause, whose docstring is its page."""

from .catalogue import Page, catalogue, page_of
from .judging import Judgement, judge
from .stacking import Stack, stacked

__all__ = ["Judgement", "Page", "Stack", "catalogue", "judge", "page_of", "stacked"]
