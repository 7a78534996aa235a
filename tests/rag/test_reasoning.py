"""Reasoning is told from an answer in every known style, wherever a stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.rag.inference.reasoning import STYLES, WRAPPING, Reasoning, holds_reasoning, split_reasoning

MARKS = [*(style.opening for style in STYLES if style.opening), *(mark for style in STYLES for mark in style.closings)]
PARTS = st.sampled_from(
    [*MARKS, *WRAPPING, "a", " b\n", "`", "\n```\n", "<", "</", "<|", "[", "◁", "ſ", "K", "İ", "<THINK>"]
)
PAIRS = [(style.opening, closing) for style in STYLES if style.opening for closing in style.closings]


def fed(pieces: list[str]) -> Reasoning:
    told = Reasoning()
    for piece in pieces:
        told.feed(piece)
    told.finish()
    return told


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_every_style_is_told_apart_wherever_its_stream_is_cut(opening: str, closing: str):
    text = f"{opening}\nwhat is 2+2?{closing}\n\nIt is 4 [1]."
    for cut in range(len(text) + 1):
        told = fed([text[:cut], text[cut:]])
        assert (told.text, told.reasoning) == ("It is 4 [1].", "what is 2+2?")
    told = fed(list(text))
    assert (told.text, told.reasoning) == ("It is 4 [1].", "what is 2+2?")


@pytest.mark.parametrize("closing", [closing for style in STYLES if style.alone for closing in style.closings])
def test_all_before_a_closing_mark_that_stands_alone_is_reasoning(closing: str):
    """A template may have written the opening mark itself."""
    assert split_reasoning(f"what is 2+2?{closing}It is 4.") == ("It is 4.", "what is 2+2?")


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=12).map("".join), st.data())
def test_any_cut_of_any_text_gives_what_the_whole_gives(text: str, data: st.DataObject):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    told = fed(pieces)
    assert (told.text, told.reasoning) == split_reasoning(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab <>/`\n|[]", max_size=60))
def test_a_text_without_marks_stays_as_it_is(text: str):
    assert split_reasoning(text) == (text.strip(), "")


def test_what_is_given_out_meanwhile_is_the_text():
    """As long as no closing mark stands alone, whoever streams on shows what the whole text is."""
    told = Reasoning()
    shown = "".join(told.feed(letter) for letter in "<think>a</think>It is < 4 [1].") + told.finish()
    assert shown == told.text == "It is < 4 [1]."


def test_what_is_never_closed_is_reasoning_to_the_end():
    told = fed(["<think>is it 4? is it 5? is it"])
    assert (told.text, told.reasoning, told.unclosed) == ("", "is it 4? is it 5? is it", True)


def test_harmony_without_its_wrapping():
    text = (
        "<|channel|>analysis<|message|>User asks 2+2.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "Let me see.<|end|><|start|>assistant<|channel|>final<|message|>It is 4.<|return|>"
    )
    assert split_reasoning(text) == ("It is 4.", "User asks 2+2.Let me see.")
    assert split_reasoning("analysisUser asks 2+2.assistantfinalIt is 4.") == ("It is 4.", "analysisUser asks 2+2.")


def test_reasoning_in_the_midst_and_twice():
    assert split_reasoning("One <think>a</think>two<think>b</think> three") == ("One two three", "ab")


@pytest.mark.parametrize(
    "text",
    [
        "Models think between `<think>` and `</think>`.",
        "Run `grep '<think>' log` to see it.",
        "Look:\n```xml\n<think>\nx\n</think>\n```\nDone.",
        "Look:\n~~~\n[THINK]\n~~~\nDone.",
    ],
)
def test_marks_within_code_are_text(text: str):
    assert split_reasoning(text) == (text, "")
    assert fed(list(text)).text == text
    assert not holds_reasoning(text)


def test_a_backtick_of_another_line_does_not_hide_a_mark():
    assert split_reasoning("it's a ` here\n<think>a</think>b") == ("it's a ` here\nb", "a")


def test_marks_left_in_a_text_are_seen():
    assert all(holds_reasoning(f"text {mark} text") for opening, _ in PAIRS for mark in (opening,))
    assert holds_reasoning("text </THINK> text")
    assert not holds_reasoning("Is 3 < 4? I think so [1].")
