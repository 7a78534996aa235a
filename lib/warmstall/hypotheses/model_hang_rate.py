"""Hang rate by model: some models hang more often than others, by more than chance.

Where one model hangs and its neighbours on the same machine do not, the cause is in the model: its size, its
architecture, the backend that runs it. Where all hang alike, it is in what they share. Five of twenty and forty of a
hundred are different claims: each rate comes with its interval and its count.

Shown by:
    - rates of two models that differ by more than chance (Fisher's exact test, corrected for the number of models)
Ruled out by:
    - rates of two or more models whose intervals are narrow and lie together
Mistaken for it:
    - few trials: 2 of 5 and 0 of 5 are the same within chance
    - models that were tried at different times, when the machine was in different states
    - a model with longer answers, which a fixed timeout cuts more often
Severity: warning
Runbook: move-backend
Mitigation: Use one of the models that do not hang on this machine until the others' hangs are explained.
References:
    - https://www.mdpi.com/2073-8994/14/6/1104 (intervals of binomial rates)
"""

from __future__ import annotations

from collections.abc import Iterator

from ..parse.plain_text import printable
from ..proportions import fisher, noticeably_more, rate_text, wilson
from .facts import Facts, counted, places, span
from .facts.hangs import hangs_of
from .facts.judged_calls import judged_calls
from .findings import Finding, hints, proves, refutes, supports, unseen

# The usual two levels: one in twenty, and one in a thousand, that it is chance.
_UNLIKELY, _HARDLY_CHANCE = 0.05, 0.001
# Intervals no wider than this would have shown a difference that anybody cares for.
_NARROW = 0.2
_TOKENS = "eval_count and eval_duration of each answer: they tell hangs from long answers, which some of them may be"
_MORE = "more calls of each model in turn (a hundred of each tells 5 % from 20 %): start, end, model, status, error"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The rate of each model, and whether the one that hangs most stands out from the others."""
    rows = judged_calls(facts)
    if rows.empty:
        yield unseen("the clients' records with the model of each call (start, end, model, status, error)")
        return
    known = int(rows["hung"].sum())
    if len(hangs_of(facts)) > known:
        yield unseen(_TOKENS)
    rates = rows.groupby("model")["hung"].agg(["sum", "size"]).astype(int)
    rates = rates.sort_values(["sum", "size"], ascending=False)
    if len(rates) < 2:
        name, hung, of = printable(str(rates.index[0]))[:60], int(rates["sum"].iloc[0]), int(rates["size"].iloc[0])
        yield hints(f"{name}: {rate_text(hung, of)} hung, and no other model was tried.",
                    *places(rows.sort_values("hung", ascending=False)))  # fmt: skip
        yield unseen(_MORE)
        return
    hangs, total = int(rates["sum"].sum()), int(rates["size"].sum())
    chances = {
        str(name): fisher(int(hung), int(of), hangs - int(hung), total - int(of))
        for name, hung, of in rates.itertuples(name=None)
    }
    # Each model is held against the others, so one of them looks odd by chance that many times as often.
    odd = min(chances, key=lambda name: chances[name])
    chance = min(1.0, chances[odd] * len(rates))
    own = int(rates.loc[odd, "sum"]), int(rates.loc[odd, "size"])
    others = (hangs - own[0], total - own[1])
    apart = chance < _UNLIKELY and (noticeably_more(own, others) or noticeably_more(others, own))
    said = "; ".join(f"{printable(str(name))[:60]} {rate_text(int(hung), int(of))}" for name, hung, of in
                     sorted(rates.itertuples(name=None), key=lambda row: -row[1] / row[2])[:4])  # fmt: skip
    of_odd = rows.loc[rows["model"].eq(odd), "hung"].sort_values(ascending=False)
    where = places(rows.loc[of_odd.index[:3]])
    if apart and not rows["sure"].all():
        yield hints(f"Of {len(rates):,} models, {printable(odd)[:60]} has more calls given up than chance explains "
                    f"(p = {chance:.2g}): {said}. The log alone does not tell that they hung.", *where)  # fmt: skip
        yield unseen(_TOKENS)
        return
    if apart:
        show = proves if chance < _HARDLY_CHANCE else supports
        yield show(f"Of {len(rates):,} models, {printable(odd)[:60]} differs from the others by more than chance "
                   f"(p = {chance:.2g}): {said}.", *where, span=span(rows[rows["hung"]]))  # fmt: skip
        return
    intervals = [wilson(int(hung), int(of)) for _, hung, of in rates.itertuples(name=None)]
    if max(high - low for low, high in intervals) <= _NARROW:
        yield refutes(
            f"Of {counted(len(rates), 'model')} none hangs noticeably more often than the others (p = {chance:.2g}): "
            f"{said}.",
            *where,
        )
    else:
        yield hints(f"The rates of {len(rates):,} models do not differ by more than chance (p = {chance:.2g}), but the "
                    f"calls are few: {said}.", *where)  # fmt: skip
        yield unseen(_MORE)
