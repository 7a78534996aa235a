"""Sequential retrieval: the collections of a question are asked one after another.

A question over several collections costs the sum of their answers where they are asked in a loop, and the slowest of
them where they are asked at once. Five collections at 300 to 500 ms are two seconds before the model reads a word.

Shown by:
    - queries of different collections that follow each other without overlap or pause, question after question, so
      that their sum is the whole
    - the same in the application's trace, with what it embeds between them: often the question once for each
      collection, where once for each embedder is enough
Ruled out by:
    - queries of different collections that overlap, or that a trace shows in threads of their own
    - queries of one collection only
Mistaken for it:
    - one slow collection: it stays slow when the others are asked at once
    - the embedding of the question, which has to come first
    - searches so short that in several threads they happen to follow each other: of those nothing is said
    - questions of several users that happen to follow each other
Severity: warning
Runbook: none
Mitigation: Ask all collections at once (asyncio.gather or a thread pool) and merge their answers.
Leads to: client_timeout_too_short
References:
    - https://github.com/xorbitsai/xagent/pull/1194 (one at a time, then at once: the slowest instead of the sum)
    - https://github.com/langchain-ai/langchain/pull/10938
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from .facts import Facts, counted, places, seconds_text
from .facts.services import NO_SERVICE, has_services, where
from .findings import Finding, hints, proves, refutes, supports, unseen

_COLLECT = (
    "one line for each query of a collection, with its start or end in milliseconds and its duration: a trace of the "
    "retrieval, or the application's log at DEBUG (--app-log PATH)"
)
# How the HTTP interfaces of chroma and qdrant name the collection that is asked.
_QUERY = re.compile(r"/collections/(?P<collection>[^/]+)/(?:points/)?(?:query|search|get)\b")
# What a trace calls an operation of a store that asks it.
_ASKS = ("search", "query", "get", "select")
# Between two queries of a loop lies no more than the loop itself: what is merged or logged, not a model's answer.
_PAUSE_SHARE = 0.25
# Two lines of a log may be written in a slightly other order than things happened.
_OVERLAP_SHARE = 0.1
# Searches of several threads that take as long as this overlap where they are begun at once: a thread is there sooner.
_SEEN_SIDE_BY_SIDE_S = 0.02
# One question may be chance; three in the same pattern are how the program works.
_FEWEST_QUESTIONS = 3
_FEWEST_QUERIES = 5
# Below this nobody waits for it; a tenth of a second is noticed where it is a good part of the question.
_NOTICED_S = 0.5
_NOTICED_LEAST_S, _NOTICED_SHARE = 0.1, 0.3


def findings_in(facts: Facts) -> Iterator[Finding]:
    """How the queries of collections lie to each other in time."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    traced = list(_by_trace(facts))
    yield from traced
    spans = _spans(facts)
    if traced and len(spans) < 2:
        return
    if len(spans) < 2 or (spans["ended_at"].dt.microsecond == 0).all():
        yield unseen(_COLLECT)
        return
    spans = _chained(spans)
    questions = spans.groupby("chain", sort=True).agg(
        host=("host", "first"), source=("source", "first"), line=("line", "min"), began=("started_at", "min"),
        ended=("ended_at", "max"), sum_s=("wall_s", "sum"), longest_s=("wall_s", "max"),
        collections=("collection", "nunique"), queries=("wall_s", "size"),
    )  # fmt: skip
    several = questions[questions["collections"] > 1]
    overlapping = int(spans["overlaps"].sum())
    if len(several) and overlapping < len(several):
        yield from _sequential(spans, several)
    elif overlapping:
        yield refutes(f"{overlapping:,} of {len(spans):,} queries of collections began before another one had ended.",
                      *places(spans[spans["overlaps"]]))  # fmt: skip
    elif spans["collection"].nunique() == 1 and len(spans) >= _FEWEST_QUERIES:
        yield refutes(f"All {len(spans):,} queries ask 1 collection.", *places(spans))
    else:
        yield unseen(_COLLECT)


def _by_trace(facts: Facts) -> Iterator[Finding]:
    """How the searches of each question lie to each other, in the trace of the application that asked them."""
    searches = facts.spans("name = 'search' OR collection <> ''")
    asks = [str(fields.get("db.operation.name", "search")) in _ASKS for fields in searches["fields"]]
    searches = searches[pd.Series(asks, searches.index, bool) & searches["collection"].ne("")]
    if searches.empty:
        return
    embeds = facts.spans("operation = 'embeddings'")
    told = facts.spans("name = 'retrieve'")
    told = where(told, (fields.get("warmstall.retrieval") == "parallel" for fields in told["fields"]))
    questions = _questions(searches, embeds, set(told["trace_id"]))
    several = questions[questions["collections"] > 1]
    in_a_row = several[several["in_a_row"]]
    if several.empty:
        if searches["collection"].nunique() == 1 and len(searches) >= _FEWEST_QUERIES:
            yield refutes(f"All {len(searches):,} searches of the trace ask 1 collection.", *places(searches))
    elif len(in_a_row) >= _FEWEST_QUESTIONS or 2 * len(in_a_row) > len(several):
        yield _told_by_trace(facts, searches, in_a_row, len(several))
    elif 2 * len(at_once := several[several["at_once"]]) > len(several):
        rows = searches[searches["trace_id"].isin(at_once["trace_id"])]
        yield refutes(f"In {len(at_once):,} of {counted(len(several), 'question')} over several collections the "
                      "searches of the trace overlap, or ran in threads of their own.", *places(rows))  # fmt: skip


def _questions(searches: pd.DataFrame, embeds: pd.DataFrame, in_parallel: set[str]) -> pd.DataFrame:
    """What each question did: its searches and the embeddings before and between them, from the first to the last."""
    order = searches.sort_values(["trace_id", "started_at"])
    busy_until = order.groupby("trace_id")["ended_at"].cummax().groupby(order["trace_id"]).shift()
    overlap_s = (busy_until - order["started_at"]).dt.total_seconds()
    order = order.assign(overlaps=overlap_s > _OVERLAP_SHARE * order["wall_s"])
    found = order.groupby("trace_id").agg(
        began=("started_at", "min"), ended=("ended_at", "max"), sum_s=("wall_s", "sum"), least_s=("wall_s", "max"),
        collections=("collection", "nunique"), threads=("thread", "nunique"), overlaps=("overlaps", "any"),
        shortest_s=("wall_s", "min"),
    )  # fmt: skip
    embeds = embeds[embeds["started_at"] < embeds["trace_id"].map(found["ended"])]
    own = embeds.groupby("trace_id").agg(
        first=("started_at", "min"), sum_s=("wall_s", "sum"), longest_s=("wall_s", "max"), embeds=("wall_s", "size"),
        embedders=("model", "nunique"),
    ).reindex(found.index)  # fmt: skip
    found["began"] = found["began"].where(~(own["first"] < found["began"]), own["first"])
    found["whole_s"] = (found["ended"] - found["began"]).dt.total_seconds()
    found["sum_s"] += own["sum_s"].fillna(0.0)
    found["least_s"] += own["longest_s"].fillna(0.0)
    found[["embeds", "embedders"]] = own[["embeds", "embedders"]].fillna(0).astype(int)
    # Threads that merely take turns, as those of a pool under asyncio do, say nothing of how the searches were begun.
    found["at_once"] = found["overlaps"] | found["threads"].ge(found["collections"]) | found.index.isin(in_parallel)
    told = found["threads"].eq(1) | found["shortest_s"].ge(_SEEN_SIDE_BY_SIDE_S)
    found["in_a_row"] = ~found["at_once"] & told & found["sum_s"].ge((1 - _PAUSE_SHARE) * found["whole_s"])
    return found.reset_index()


def _told_by_trace(facts: Facts, searches: pd.DataFrame, questions: pd.DataFrame, of: int) -> Finding:
    part = searches[searches["trace_id"].isin(questions["trace_id"])]
    low_s, high_s = part["wall_s"].quantile(0.05), part["wall_s"].quantile(0.95)
    saved_s = float((questions["whole_s"] - questions["least_s"]).median())
    again = questions[questions["embeds"] > questions["embedders"]]
    embedded = (
        f", and the question was embedded {again['embeds'].median():.0f} times for "
        f"{counted(int(again['embedders'].median()), 'embedder')}" if len(again) else ""
    )  # fmt: skip
    sentence = (
        f"In {len(questions):,} of {counted(of, 'question')} of the trace "
        f"{questions['collections'].median():.0f} collections (median) were searched one after another, each in "
        f"{seconds_text(low_s)} to {seconds_text(high_s)}{embedded}: "
        f"{seconds_text(questions['whole_s'].median())} in all (median). With one embedding and all searches at once "
        f"it would take {seconds_text(questions['least_s'].median())}, {seconds_text(max(saved_s, 0.0))} less."
    )
    asked = facts.spans("parent_id = ''")
    usual_s = float(asked["wall_s"][asked["trace_id"].isin(questions["trace_id"])].median())
    noticed = saved_s >= _NOTICED_S or saved_s >= max(_NOTICED_LEAST_S, _NOTICED_SHARE * usual_s)
    show = proves if len(questions) >= _FEWEST_QUESTIONS else supports
    span = (questions["began"].min().to_pydatetime(), questions["ended"].max().to_pydatetime())
    return show(sentence, *places(part), span=span, severity="warning" if noticed else "info")


def _spans(facts: Facts) -> pd.DataFrame:
    """Queries of collections with start, end and duration, in the order in which they ended."""
    columns = ["host", "source", "line", "ended_at", "started_at", "wall_s", "collection"]
    if not facts.counts.get("app_request"):
        return pd.DataFrame(columns=columns)
    found = facts.case.sql(
        'SELECT host, source, line, "at" AS ended_at, fields, text FROM events WHERE key = \'app_request\' AND "at" '
        "IS NOT NULL AND contains(fields, '/collections/') AND contains(fields, '\"wall_s\"') ORDER BY 1, 2, \"at\", 3"
    )
    found["ended_at"] = pd.to_datetime(found["ended_at"], utc=True)
    fields = found["fields"]
    found["wall_s"] = pd.to_numeric(fields.str.extract(r'"wall_s": ([0-9.e-]+)')[0], errors="coerce")
    found["collection"] = fields.str.extract(_QUERY)["collection"]
    found = found.dropna(subset=["wall_s", "collection"])
    found["started_at"] = found["ended_at"] - pd.to_timedelta(found["wall_s"], unit="s").astype("timedelta64[us]")
    return found[columns].reset_index(drop=True)


def _chained(spans: pd.DataFrame) -> pd.DataFrame:
    """Adds `chain`, the number of the question that a query belongs to, and whether it `overlaps` the one before."""
    same = spans[["host", "source"]].eq(spans[["host", "source"]].shift()).all(axis=1)
    pause_s = (spans["started_at"] - spans["ended_at"].shift()).dt.total_seconds()
    shorter_s = pd.concat([spans["wall_s"], spans["wall_s"].shift()], axis=1).min(axis=1)
    overlaps = same & (pause_s < -_OVERLAP_SHARE * shorter_s)
    follows = same & ~overlaps & (pause_s <= _PAUSE_SHARE * shorter_s)
    return spans.assign(chain=(~follows).cumsum(), overlaps=overlaps)


def _sequential(spans: pd.DataFrame, questions: pd.DataFrame) -> Iterator[Finding]:
    whole_s = (questions["ended"] - questions["began"]).dt.total_seconds()
    share = questions["sum_s"].sum() / whole_s.sum()
    saved_s = (questions["sum_s"] - questions["longest_s"]).median()
    part = spans[spans["chain"].isin(questions.index)]
    low_s, high_s = part["wall_s"].quantile(0.05), part["wall_s"].quantile(0.95)
    sentence = (
        f"In {counted(len(questions), 'question')} {questions['collections'].median():.0f} collections (median) were "
        f"asked one after another, each in {seconds_text(low_s)} to {seconds_text(high_s)}: "
        f"{seconds_text(whole_s.median())} in all (median), {100 * share:.0f} % of it the sum of the queries. Asked at "
        f"once they would take {seconds_text(questions['longest_s'].median())}, {seconds_text(saved_s)} less."
    )
    show = proves if len(questions) >= _FEWEST_QUESTIONS else supports
    span = (questions["began"].min().to_pydatetime(), questions["ended"].max().to_pydatetime())
    yield show(sentence, *places(part), span=span, severity="warning" if saved_s >= _NOTICED_S else "info")
    middle = part.groupby("collection")["wall_s"].median().sort_values(ascending=False)
    if len(middle) > 1 and middle.iloc[0] > 3 * middle.iloc[1:].median():
        yield hints(f"1 collection alone takes {seconds_text(middle.iloc[0])} (median), more than three times the "
                    "others: asking at once saves less than it seems.", *places(part))  # fmt: skip
