"""Reasoning leak: what a model thinks before it answers stands in the answers that users get.

A reasoning model writes its thoughts first, between tags that each family spells in its own way (`<think>`,
`<thought>`, `<unused94>`). Servers set them apart only for models and endpoints that they know, and a stream cuts a tag
into pieces; an application that looks for one spelling, or in one piece of text at a time, passes them on. Answers grow
long, quote what was never meant to be read, and cost their tokens again in every later turn.

Shown by:
    - a trace with answers in which tags of reasoning are left
    - such tags in the application's own messages
Ruled out by:
    - a trace of every answer, each looked through, with none left
Mistaken for it:
    - a server that sets the reasoning apart (`thinking`, `reasoning_content`): it is not part of the answer
    - an answer that explains such tags, in code
    - a slow model: the thoughts cost their time also where they are taken out
Severity: warning
Runbook: none
Mitigation: Ask for reasoning apart (`think`), and take out every known tag, over the boundaries of a stream's pieces.
References:
    - https://github.com/ollama/ollama/issues/18044 (a closing tag alone, with the reasoning before it)
    - https://github.com/ollama/ollama/issues/15754 (`<unused94>thought` of a medical model)
    - https://github.com/tinyhumansai/openhuman/issues/6184 (`<thought>`, split over three pieces of a stream)
"""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts, counted, places, span
from .facts.questions import HOW_MANY, all_answers, questions_of
from .facts.services import NO_SERVICE, has_services
from .findings import Finding, proves, refutes, supports, unseen

_TAG = r"(?i)</?(?:think|thinking|thought|reasoning)>|<unused9[45]>|<\|channel\|?>"
_COLLECT = "one bad answer as the user saw it, or the application's trace, which tells whether reasoning was left in it"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Answers with reasoning left in them, by the application's trace or its messages."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    answers = questions_of(facts)
    answers = answers[answers["reasoning_left"].notna()]
    left = answers[answers["reasoning_left"].eq(1)]
    if len(left):
        yield proves(f"{len(left):,} of {counted(len(answers), 'answer')} in the trace still hold the model's "
                     "reasoning.", *places(left), span=span(left))  # fmt: skip
    told = facts.events(*(key for key in facts.counts if key in ("app_error", "app_slow_request", "app_traceback")))
    told = told[told["text"].str.contains(_TAG)]
    if len(told):
        yield supports(f"Tags of a model's reasoning stand in {counted(len(told), 'message')} of the application, "
                       "which handles answers without taking it out.", *places(told))  # fmt: skip
    if len(answers) and left.empty:
        yield refutes(f"0 of {counted(len(answers), 'answer')} in the trace hold reasoning.", *places(answers))
    if not all_answers(facts, answers):
        yield unseen(_COLLECT)
        yield unseen(HOW_MANY)
