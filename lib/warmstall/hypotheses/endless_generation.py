"""Endless generation: a model did not come to the end of its answer, and held its slot until somebody stopped it.

A model ends an answer with a token of its own; one that repeats itself, or whose template is wrong, may never write
it. Without num_predict, Ollama lets it write ten contexts' worth, which takes minutes to hours. Whenever the context
is full, its older half is dropped, so that the model forgets the question as well. Meanwhile others wait for the slot,
and a model that is to be unloaded stands at Stopping….

Shown by:
    - the context shifted several times during one answer, which logs before 0.30 tell with OLLAMA_DEBUG=1 alone
    - answers that the server ended for repeating one token
    - an answer of more tokens than anybody reads, by the progress that llama-server logs
Ruled out by:
    - a log that tells of each shift, and tells of none
Mistaken for it:
    - a stall: the runner stands still there, while here it computes all the time
    - a prompt beyond the context, which 0.4.2 read by shifting
    - a long answer in a small context, or a model that reasons at length
Severity: warning
Runbook: none
Mitigation: Set num_predict to the longest answer that is of use, and a repeat_penalty or another model if it recurs.
Leads to: parallel_queue, stopping_deadlock, client_timeout_too_short
References:
    - https://github.com/ollama/ollama/issues/2805 (requests that never end, and the shifts in the log)
    - https://github.com/ollama/ollama/pull/3918 (ten contexts at most)
    - https://github.com/ollama/ollama/issues/9273 (why the model then stands at Stopping…)
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from .facts import Facts, counted, places, seconds_text, span
from .findings import Finding, proves, refutes, supports, unseen

# Each shift drops half a context: after three the question is forgotten, and hardly any answer is worth eight.
_SEVERAL, _FOR_SURE = 3, 8
# A small context is overrun by ordinary answers.
_LONG_TOKENS = 1_500
# Twenty thousand tokens are some forty pages.
_UNREAD_TOKENS = 20_000
_LONGEST_PROGRESS = """
    SELECT host, source, line, regexp_extract(text, 'n_[a-z]+ = +([0-9]+)', 1)::BIGINT AS tokens,
        regexp_extract(text, 'tg = +([0-9.]+)', 1)::DOUBLE AS tokens_per_s
    FROM events WHERE key = 'ls_gen_progress' AND regexp_matches(text, 'n_[a-z]+ = +[0-9]{5,9},')
    ORDER BY tokens DESC, source, line LIMIT 1"""
_SHIFTS = ("ctx_shift", "ctx_shift_ls")
# What logs that would tell of a shift hold besides.
_TELL_OF_SHIFTS = ("cache_slot", "ls_task_start")
_COLLECT = "a log with OLLAMA_DEBUG=1 (0.30 and later need none): it tells when an answer overruns its context"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Answers that shifted their context again and again, and those that were ended for repeating themselves."""
    overran = [shifts for shifts in _answers(facts) if len(shifts) >= _SEVERAL and _tokens(shifts) >= _LONG_TOKENS]
    if overran:
        longest = max(overran, key=_tokens)
        took_s = (longest["at"].iloc[-1] - longest["at"].iloc[0]).total_seconds()
        took = f" in {seconds_text(took_s)}" if took_s > 0 else ""
        show = proves if len(longest) >= _FOR_SURE else supports
        yield show(f"{counted(len(overran), 'answer')} overran the context again and again; the longest shifted it "
                   f"{len(longest)} times{took}: {_tokens(longest):,} tokens or more, "
                   f"{_tokens(longest) / longest['context'].iloc[0]:.1f} times its context.",
                   *places(longest), span=span(longest, "at", "at"))  # fmt: skip
    unread = _longest_progress(facts)
    if len(unread):
        tokens, tokens_per_s = int(unread["tokens"].iloc[0]), float(unread["tokens_per_s"].iloc[0])
        yield supports(f"An answer came to {tokens:,} tokens or more, at {tokens_per_s:.1f} a second: "
                       f"{seconds_text(tokens / tokens_per_s)}.", *places(unread))  # fmt: skip
    repeated = facts.events("repeat_stop")
    if len(repeated):
        yield proves(f"The server ended {counted(len(repeated), 'answer')} for repeating one token.",
                     *places(repeated), span=span(repeated, "at", "at"))  # fmt: skip
    if overran or len(unread) or len(repeated):
        return
    if len(facts.requests) and any(facts.counts.get(key) for key in _TELL_OF_SHIFTS):
        shifted = sum(facts.counts.get(key, 0) for key in _SHIFTS)
        yield refutes(f"By a log that would tell, {counted(len(facts.requests), 'request')} shifted a context "
                      f"{counted(shifted, 'time')}, and no answer overran a large one again and again.",
                      *facts.whole_log())  # fmt: skip
    else:
        yield unseen(_COLLECT)


def _longest_progress(facts: Facts) -> pd.DataFrame:
    """The line of progress of the longest answer, where it is longer than any should be."""
    if not facts.counts.get("ls_gen_progress"):
        return facts.events()
    found = facts.case.sql(_LONGEST_PROGRESS)
    return found[found["tokens"].ge(_UNREAD_TOKENS) & found["tokens_per_s"].gt(0)]


def _answers(facts: Facts) -> Iterator[pd.DataFrame]:
    """The shifts of each answer, with the size of their context and what each dropped of it."""
    if not any(facts.counts.get(key) for key in _SHIFTS):
        return
    rows = facts.events(*_SHIFTS, "cache_slot")
    names = ("id", "slot", "task", "limit", "discard", "n_discard", "numDiscard", "n_keep", "n_left", "prompt")
    told = pd.DataFrame({name: [fields.get(name) for fields in rows["fields"]] for name in names}, rows.index)
    told = told.apply(pd.to_numeric, errors="coerce")
    rows = rows.assign(
        slot=told["slot"].fillna(told["id"]).fillna(0), task=told["task"].fillna(0), prompt=told["prompt"],
        context=told["limit"].fillna(told["n_keep"] + told["n_left"]),
        discard=told["discard"].fillna(told["n_discard"]).fillna(told["numDiscard"]),
    )  # fmt: skip
    for _, own in rows.groupby(["host", "source", "slot"], sort=False):
        begins = own["key"].eq("cache_slot") | own["task"].ne(own["task"].shift())
        for _, answer in own.groupby(begins.cumsum()):
            shifts = answer[answer["key"].isin(_SHIFTS)].dropna(subset=["context", "discard"])
            if len(shifts) and not answer["prompt"].max() > shifts["context"].iloc[0]:
                yield shifts


def _tokens(shifts: pd.DataFrame) -> int:
    """What was written between the first shift and the last, at least: each made room for as much as it dropped."""
    return int(shifts["discard"].iloc[1:].sum())
