"""What a model thinks before it answers, told apart from the answer, in every style that models are known to use.

Servers set reasoning apart themselves where they know the model (`thinking`, `reasoning_content`); where they do not,
it stands in the text between marks. A mark may come in several pieces, and a template may have written the opening one
itself: then a closing one stands alone, and all that came before it was reasoning.

A mark within a fenced code block, or within backticks on its line, is text: an answer may tell about `<think>`. What
opens and is never closed is reasoning to the end. Granite 3.2 writes sentences in place of marks ("Here is my thought
process:"); they are not told from an answer's own, and stay.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How some models mark their reasoning. `alone`: a closing mark without an opening one ends reasoning too."""

    opening: str
    closings: tuple[str, ...]
    models: str
    alone: bool = True


STYLES = (
    Style("<think>", ("</think>",), "DeepSeek R1, QwQ, Qwen 3, GLM 4.5, MiniMax M2, Phi 4 reasoning"),
    Style("<thinking>", ("</thinking>",), "Reflection, and models told so in their prompt"),
    Style("<reasoning>", ("</reasoning>",), "models trained on R1's recipe with other words"),
    Style("<thought>", ("</thought>",), "EXAONE Deep"),
    Style("<unused94>", ("<unused95>",), "MedGemma"),
    Style("<|channel>thought", ("<channel|>",), "Gemma 4"),
    Style("<|channel|>analysis", ("<|end|>", "<|channel|>final"), "gpt-oss (harmony)", alone=False),
    Style("<|channel|>commentary", ("<|end|>", "<|channel|>final"), "gpt-oss (harmony)", alone=False),
    # Without its special tokens, harmony leaves this between reasoning and answer.
    Style("", ("assistantfinal",), "gpt-oss, special tokens left out"),
    Style("[THINK]", ("[/THINK]",), "Magistral"),
    Style("◁think▷", ("◁/think▷",), "Kimi VL thinking, Kimi k1.5"),
    Style("<|open|>think<|sep|>", ("<|close|>think<|sep|>",), "Kimi K3"),
    Style("<seed:think>", ("</seed:think>",), "Seed OSS"),
    Style("<|START_THINKING|>", ("<|END_THINKING|>",), "Command A reasoning"),
    Style("<|begin_of_thought|>", ("<|end_of_thought|>",), "OpenThinker, Sky T1"),
)
# What stands around the answer itself in some of these styles, and is no word of it.
WRAPPING = (
    "<|start|>assistant", "<|channel|>final", "<|message|>", "<|return|>", "<|end|>", "<|START_RESPONSE|>",
    "<|END_RESPONSE|>", "<|begin_of_solution|>", "<|end_of_solution|>",
)  # fmt: skip


def _any_of(marks: Iterable[str]) -> re.Pattern[str]:
    """Tags are found in capitals too; words in brackets, or bare ones, only as their models write them."""
    written = (f"(?i:{re.escape(mark)})" if mark.startswith("<") else re.escape(mark) for mark in marks)
    return re.compile("|".join(written), re.ASCII)


_SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_OPENINGS = {style.opening.translate(_SMALL): style for style in STYLES if style.opening}
_CLOSINGS_ALONE = [closing for style in STYLES if style.alone for closing in style.closings]
_ALONE = {closing.translate(_SMALL) for closing in _CLOSINGS_ALONE}
_REASONING = [*(style.opening for style in STYLES if style.opening), *_CLOSINGS_ALONE]

_OUTSIDE = _any_of([*_REASONING, *WRAPPING])
_INSIDE = {style: _any_of(style.closings) for style in STYLES}
_ANY_REASONING = _any_of(_REASONING)
_WRAPPING = _any_of(WRAPPING)
# All that a mark may begin with, short of the whole.
_BEGINNINGS = {
    mark.translate(_SMALL)[:length] for mark in (*_REASONING, *WRAPPING, "<|end|>") for length in range(1, len(mark))
}
_FIRSTS = frozenset(each[0] for each in _BEGINNINGS)
_LONGEST = max(map(len, _BEGINNINGS))


class Reasoning:
    """Takes the pieces of an answer as they come, and tells reasoning from text; where they are cut does not matter.

    >>> told = Reasoning()
    >>> [told.feed(piece) for piece in ("<thi", "nk>Is it 4", "?</thin", "k>\\nIt is 4.")]
    ['', '', '', '\\nIt is 4.']
    >>> told.finish(), told.text, told.reasoning
    ('', 'It is 4.', 'Is it 4?')
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._style: Style | None = None
        self._code = _Code()
        self._text: list[str] = []
        self._thought: list[str] = []

    @property
    def text(self) -> str:
        """The answer so far. A closing mark that stands alone takes back what was given out before it."""
        return "".join(self._text).strip()

    @property
    def reasoning(self) -> str:
        """What the model thought so far."""
        return _WRAPPING.sub("", "".join(self._thought)).strip()

    @property
    def unclosed(self) -> bool:
        """Whether what came so far ends within reasoning."""
        return self._style is not None

    def feed(self, piece: str) -> str:
        """The text that may be given out now: all but what may be the beginning of a mark."""
        self._waiting += piece
        return self._read(final=False)

    def finish(self) -> str:
        """What was held back, when nothing comes any more."""
        return self._read(final=True)

    def _read(self, final: bool) -> str:
        given: list[str] = []
        while found := (_OUTSIDE if self._style is None else _INSIDE[self._style]).search(self._waiting):
            before, mark = self._waiting[: found.start()], found.group()
            self._waiting = self._waiting[found.end() :]
            if self._style is not None:
                self._thought.append(before)
                self._style, self._code = None, _Code()
            else:
                self._meet(before, mark, given)
        rest = self._waiting if final else self._waiting[: len(self._waiting) - _held(self._waiting)]
        self._waiting = self._waiting[len(rest) :]
        if self._style is not None:
            self._thought.append(rest)
        else:
            self._take(rest, given)
        return "".join(given)

    def _meet(self, before: str, mark: str, given: list[str]) -> None:
        """A mark outside of reasoning, and the text before it."""
        self._take(before, given)
        name = mark.translate(_SMALL)
        if self._code.inside:
            self._take(mark, given)
        elif name in _OPENINGS:
            self._style = _OPENINGS[name]
        elif name in _ALONE:
            self._thought += self._text
            self._text.clear()
            given.clear()
            self._code = _Code()

    def _take(self, text: str, given: list[str]) -> None:
        self._code.read(text)
        self._text.append(text)
        given.append(text)


def _held(waiting: str) -> int:
    """How many characters at the end may be the beginning of a mark."""
    end = waiting[-_LONGEST:].translate(_SMALL)
    return next((len(end) - at for at, first in enumerate(end) if first in _FIRSTS and end[at:] in _BEGINNINGS), 0)


class _Code:
    """Whether a text that is read in pieces stands within code: a fenced block, or backticks on its line."""

    def __init__(self) -> None:
        self._fenced = False
        self._backticks = 0
        self._start = ""

    @property
    def inside(self) -> bool:
        return self._fenced or self._backticks % 2 == 1

    def read(self, text: str) -> None:
        *ended, line = text.split("\n")
        for each in ended:
            self._go_on(each)
            if self._start.lstrip().startswith(("```", "~~~")):
                self._fenced = not self._fenced
            self._backticks, self._start = 0, ""
        self._go_on(line)

    def _go_on(self, text: str) -> None:
        self._backticks += text.count("`")
        self._start += text[: 8 - len(self._start)] if len(self._start) < 8 else ""


def split_reasoning(text: str) -> tuple[str, str]:
    """The answer and the reasoning of a whole text.

    >>> split_reasoning("[THINK]Two and two.[/THINK]4")
    ('4', 'Two and two.')
    >>> split_reasoning("Two and two.</think>4")
    ('4', 'Two and two.')
    >>> split_reasoning("A model thinks between `<think>` and `</think>`.")
    ('A model thinks between `<think>` and `</think>`.', '')
    """
    told = Reasoning()
    told.feed(text)
    told.finish()
    return told.text, told.reasoning


def holds_reasoning(text: str) -> bool:
    """Whether a mark of reasoning stands in a text, outside of code.

    >>> holds_reasoning("Is it 4?</think> It is 4."), holds_reasoning("It is 4.")
    (True, False)
    """
    code, at = _Code(), 0
    for found in _ANY_REASONING.finditer(text):
        code.read(text[at : found.start()])
        at = found.start()
        if not code.inside:
            return True
    return False
