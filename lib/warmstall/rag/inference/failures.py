"""Why a call to a model failed, and whether another attempt may help."""

from __future__ import annotations

from ...errors import StepFailed

_LONGEST = 200
# So many characters of a prompt in an error are a quotation, not a coincidence.
_QUOTED = 24


class InferenceFailed(StepFailed):
    """A call to a model failed. `kind` is a word for the trace's `error.type`, `status` 0 where none was told."""

    def __init__(self, message: str, kind: str, status: int = 0, again: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        # Whether another attempt may end better: an absent model and a refused request stay what they are.
        self.again = again


def told(text: object, private: str = "", secret: str = "") -> str:
    """What a server said of an error: one short line, without a key and without what it quotes of the prompt.

    >>> told("cannot parse 'What does our contract with X say?'", private="What does our contract with X say?")
    "cannot parse '…'"
    """
    line = " ".join(str(text).split())
    if secret:
        line = line.replace(secret, "…")
    line = "".join(letter for letter in line if letter.isprintable())[: 2 * _LONGEST]
    plain, at, kept = " ".join(private.split()), 0, ""
    while at < len(line):
        if len(window := line[at : at + _QUOTED]) == _QUOTED and window in plain:
            length = _QUOTED
            while at + length < len(line) and line[at : at + length + 1] in plain:
                length += 1
            at, kept = at + length, kept + "…"
        else:
            at, kept = at + 1, kept + line[at]
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"
