"""The exceptions, one tree.

WarmstallError
├── InputError          the path or file given cannot be used as evidence (exit code 2)
├── ParameterError      a notebook parameter is unknown or has the wrong type (exit code 2)
├── OutputError         the results cannot be written (exit code 2)
├── StepFailed          a step of the reference path could not be done (exit code 2)
├── CannotTell          what a runbook must know cannot be seen (exit code 3)
└── ActionFailed        what a runbook did had no effect, or was refused by the target (exit code 1)
"""


class WarmstallError(Exception):
    """Anything that warmstall says to its user in one sentence; the base of all its exceptions."""


class InputError(WarmstallError):
    """A path or file that was given cannot be used as evidence."""


class ParameterError(WarmstallError):
    """A notebook parameter is unknown or has the wrong type."""


class OutputError(WarmstallError):
    """The results cannot be written where they were asked for."""


class StepFailed(WarmstallError):
    """A step of the reference path (embed, search, generate …) could not be done; the sentence says which and why."""


class CannotTell(WarmstallError):
    """What a runbook must know before it acts cannot be seen; the sentence says what would show it."""


class ActionFailed(WarmstallError):
    """Something that a runbook did on its target was refused there, or had no effect."""
