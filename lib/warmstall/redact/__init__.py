"""Redaction at capture: secrets become tokens before anything is written to a case.

The same value has the same token wherever it stands, so that relations survive; what the tokens stand for is kept
outside of the case. `KINDS` says what counts as a secret.
"""

from .kinds import KINDS
from .redactor import Leak, Redactor
from .rescan import FileLeak, rescan

__all__ = ["KINDS", "FileLeak", "Leak", "Redactor", "rescan"]
