"""Context truncation: prompts were longer than the context, and the server cut them without telling the client.

The context is what the request, the model's Modelfile or the server's default says: 2,048 tokens before 0.6.7, 4,096
up to 0.15.4, then by the size of the GPU's memory. A longer prompt loses its middle (the first `keep` tokens and the
end stay), and from 0.30 on about half of the context is left for the answer. The answer comes with status 200.

Shown by:
    - `truncating input prompt` with its limit and the prompt's length
    - whole messages of a chat dropped, which only a log at DEBUG tells
    - the context shifted while an answer was written, or a request refused with 400 for its length
Ruled out by:
    - a log at DEBUG, or one of generate calls alone, of a version that warns of it, without any such line
Mistaken for it:
    - `done_reason` length, which num_predict causes too
    - a prompt_eval_count that is small because the prompt was cached (before 0.3.13 and in 0.30.0)
    - slow answers: truncation makes them wrong, not slow
Severity: warning
Runbook: fit-context
Mitigation: Set num_ctx in the request, or OLLAMA_CONTEXT_LENGTH, to what the longest prompt and its answer take.
Leads to: ungrounded_answers
References:
    - https://github.com/ollama/ollama/issues/17427 (half of the context remains for the prompt)
    - https://github.com/ollama/ollama/issues/3839 (nothing tells the client)
    - https://github.com/ollama/ollama/issues/6253 (whole messages are dropped, which DEBUG alone tells)
    - https://docs.ollama.com/faq (how to set the context)
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, counted, places, span
from .findings import Finding, Severity, hints, proves, refutes, supports, unseen

# From this version on every truncated prompt is told at WARN; one release before it did not.
_WARNS_FROM = (0, 4, 3)
_AT_DEBUG = ("true", "DEBUG", "DEBUG-4", "TRACE")
# Less often than once in twenty prompts is an outlier of the input, not how the client is set up; and who keeps three
# quarters of a prompt keeps most of what was asked.
_SELDOM, _LITTLE = 1 / 20, 1 / 4
# More contexts than this are told as a range.
_MOST_NAMED = 3


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the log says of prompts that were cut, answers that overran, and messages that were dropped."""
    cut = facts.events("prompt_truncated")
    if len(cut):
        told, severity = _cut(facts, cut)
        yield proves(told, *places(cut), span=span(cut, "at", "at"), severity=severity)
    dropped = facts.events("msgs_truncated")
    if len(dropped):
        messages = sum(int(fields.get("truncated", 0) or 0) for fields in dropped["fields"])
        told = (
            f"The server dropped {counted(messages, 'message')} of {counted(len(dropped), 'chat')} that went beyond "
            "the context."
        )
        yield proves(told, *places(dropped), span=span(dropped, "at", "at"))
    refused = facts.events("ctx_overflow_400")
    if len(refused):
        yield supports(f"By {counted(len(refused), 'line')}, requests were refused for being longer than the context.",
                       *places(refused), span=span(refused, "at", "at"))  # fmt: skip
    shifted = facts.events("ctx_shift", "ctx_shift_ls")
    if len(shifted):
        times = counted(len(shifted), "time")
        yield supports(f"An answer overran the context {times}, and the oldest half of it was dropped.",
                       *places(shifted), span=span(shifted, "at", "at"), severity="info")  # fmt: skip
    ended = facts.table("trials")
    ended = ended[ended["finish_reason"].eq("length")]
    if len(ended):
        yield hints(f"{len(ended):,} of {counted(len(facts.table('trials')), 'answer')} ended at a limit of length, "
                    "that of the "
                    "context or num_predict.", *places(ended))  # fmt: skip
    if len(cut) or len(dropped):
        return
    if not facts.has_server_log or facts.requests.empty:
        yield unseen("the server's log: it warns of each prompt that it truncates (`truncating input prompt`)")
    elif not facts.versions or min(facts.versions) < _WARNS_FROM:
        yield unseen("the version, from the log's start, and for versions before 0.4.3 a log with OLLAMA_DEBUG=1")
    elif not _at_debug(facts) and facts.requests["path"].str.contains("chat|messages|responses").any():
        yield unseen("a log with OLLAMA_DEBUG=1, which alone tells of dropped messages, or prompt_eval_count of each "
                     "answer beside the length of what was sent")  # fmt: skip
    else:
        yield refutes(f"The server truncated 0 of {counted(len(facts.requests), 'request')}, by a log that would tell.",
                      *facts.whole_log())  # fmt: skip


def _at_debug(facts: Facts) -> bool:
    return facts.has_debug_lines or facts.setting("OLLAMA_DEBUG") in _AT_DEBUG


def _cut(facts: Facts, cut: pd.DataFrame) -> tuple[str, Severity]:
    """How many prompts were cut, to what, and what was lost, and how bad that is.

    The oldest engine tells the context alone.
    """
    told_of = {name: pd.Series([fields.get(name) for fields in cut["fields"]], cut.index, dtype=object)
               for name in ("limit", "prompt", "keep", "new", "n_ctx")}  # fmt: skip
    numbers = pd.DataFrame(told_of).apply(pd.to_numeric, errors="coerce")
    limits = numbers["limit"].fillna(numbers["n_ctx"]).dropna()
    told = f"The server truncated {counted(len(cut), 'prompt')}"
    if len(facts.requests):
        told += f" ({counted(len(facts.requests), 'request')} in all)"
    if len(limits):
        least, most = int(limits.min()), int(limits.max())
        told += f", to {most:,} tokens" if least == most else f", to {least:,} to {most:,} tokens"
    # 0.4.2 tells the context alone, and by shifting it keeps no more of the prompt than that.
    numbers["new"] = numbers["new"].fillna(numbers["limit"])
    known = numbers.dropna(subset=["prompt", "new"])
    severity: Severity = "warning"
    if len(known):
        share = (known["prompt"] - known["new"]).clip(lower=0).sum() / known["prompt"].sum()
        told += (
            f"; the longest had {int(known['prompt'].max()):,}, and {100 * share:.0f} % of what was sent in them was "
            f"dropped, all but the first {int(known['keep'].fillna(0).min()):,} tokens and the end"
        )
        if len(cut) < _SELDOM * len(facts.requests) and share < _LITTLE:
            severity = "info"
    return f"{told}.{_whose(facts, {int(limit) for limit in limits})}", severity


def _whose(facts: Facts, limits: set[int]) -> str:
    """Where the context comes from, as far as the server's settings tell: the loads with that context, else all."""
    loaded = {int(value) for value in facts.loads["context_length"].dropna()}
    contexts = sorted(loaded & limits or loaded)
    if not contexts:
        return ""
    named = ", ".join(f"{context:,}" for context in contexts)
    if len(contexts) > _MOST_NAMED:
        named = f"{contexts[0]:,} to {contexts[-1]:,}"
    told = f" Models were loaded with a context of {named}"
    stated = facts.setting("OLLAMA_CONTEXT_LENGTH")
    if stated not in ("", "0"):
        return f"{told}; OLLAMA_CONTEXT_LENGTH is {printable(stated)[:20]}."
    # Without a start in the log, nothing tells whether it is set.
    return f"{told}; OLLAMA_CONTEXT_LENGTH is not set." if len(facts.printed_settings) else f"{told}."
