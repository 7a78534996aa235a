"""Why a call to a model failed, and whether another attempt may help."""

from __future__ import annotations

from ...errors import StepFailed


class InferenceFailed(StepFailed):
    """A call to a model failed. `kind` is a word for the trace's `error.type`, `status` 0 where none was told."""

    # How many attempts were made until it was raised.
    attempts: int = 1

    def __init__(self, message: str, kind: str, status: int = 0, again: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        # Whether another attempt may end better: an absent model and a refused request stay what they are.
        self.again = again
