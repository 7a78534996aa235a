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

from .facts import Facts, places, span
from .findings import Finding, hints, proves, refutes, supports, unseen

# From this version on every truncated prompt is told at WARN; one release before it did not.
_WARNS_FROM = (0, 4, 3)
_AT_DEBUG = ("true", "DEBUG", "DEBUG-4", "TRACE")


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the log says of prompts that were cut, answers that overran, and messages that were dropped."""
    cut = facts.events("prompt_truncated")
    if len(cut):
        yield proves(_cut(facts, cut), *places(cut), span=span(cut, "at", "at"))
    dropped = facts.events("msgs_truncated")
    if len(dropped):
        messages = sum(int(fields.get("truncated", 0) or 0) for fields in dropped["fields"])
        told = f"{len(dropped):,} chats were longer than the context: {messages:,} of their messages were dropped."
        yield proves(told, *places(dropped), span=span(dropped, "at", "at"))
    refused = facts.events("ctx_overflow_400")
    if len(refused):
        yield supports(f"{len(refused):,} lines tell of requests refused because they are longer than the context.",
                       *places(refused), span=span(refused, "at", "at"))  # fmt: skip
    shifted = facts.events("ctx_shift", "ctx_shift_ls")
    if len(shifted):
        yield supports(f"{len(shifted):,} times an answer overran the context, and the oldest half of it was dropped.",
                       *places(shifted), span=span(shifted, "at", "at"), severity="info")  # fmt: skip
    ended = facts.table("trials")
    ended = ended[ended["finish_reason"].eq("length")]
    if len(ended):
        yield hints(f"{len(ended):,} of {len(facts.table('trials')):,} answers ended at a limit of length, that of the "
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
        yield refutes(f"0 of {len(facts.requests):,} requests were truncated, by a log that would tell.",
                      *facts.whole_log())  # fmt: skip


def _at_debug(facts: Facts) -> bool:
    return facts.has_debug_lines or facts.setting("OLLAMA_DEBUG") in _AT_DEBUG


def _cut(facts: Facts, cut: pd.DataFrame) -> str:
    """How many prompts were cut, to what, and what was lost; the oldest engine tells the context alone."""
    fields = pd.DataFrame(list(cut["fields"]), index=cut.index)
    numbers = fields.reindex(columns=["limit", "prompt", "keep", "new", "n_ctx"]).apply(pd.to_numeric, errors="coerce")
    limits = numbers["limit"].fillna(numbers["n_ctx"]).dropna()
    told = f"{len(cut):,} prompts were truncated"
    if len(facts.requests):
        told += f" ({len(facts.requests):,} requests in all)"
    if len(limits):
        least, most = int(limits.min()), int(limits.max())
        told += f", to {most:,} tokens" if least == most else f", to {least:,} to {most:,} tokens"
    known = numbers.dropna(subset=["prompt", "new"])
    if len(known):
        lost = (known["prompt"] - known["new"]).clip(lower=0)
        told += (f"; the longest had {int(known['prompt'].max()):,}, and {lost.sum() / known['prompt'].sum():.0%} of "
                 f"what was sent in them was dropped, all but the first {int(known['keep'].fillna(0).min()):,} tokens "
                 "and the end")  # fmt: skip
    return f"{told}.{_whose(facts)}"


def _whose(facts: Facts) -> str:
    """Where the context comes from, as far as the server's settings tell."""
    stated = facts.setting("OLLAMA_CONTEXT_LENGTH")
    contexts = sorted({int(value) for value in facts.loads["context_length"].dropna()})
    if not contexts:
        return ""
    named = ", ".join(f"{context:,}" for context in contexts[:3])
    source = f"OLLAMA_CONTEXT_LENGTH is {stated}" if stated not in ("", "0") else "OLLAMA_CONTEXT_LENGTH is not set"
    return f" Models were loaded with a context of {named}; {source}."
