"""Embedder race: two threads or processes initialised one embedding model at the same time.

PyTorch first builds a model without data (on the "meta" device) and then fills it, and what it sets meanwhile is
global. Two threads that load at once take the empty model from each other: one of them fails with `Cannot copy out of
meta tensor`, mostly at the first questions after a start, and only sometimes. A model that was loaded before a fork
breaks in the same way on a GPU.

Shown by:
    - a traceback `Cannot copy out of meta tensor` in a thread, while another thread loads the embedder
    - a traceback `Cannot re-initialize CUDA in forked subprocess`
    - a trace in which the load of an embedder failed like this beside another load of the same process
Ruled out by:
    - a trace with the loads of all embedders that were used, none of which failed like this
    - the embedder's log from its start on, in which no load of a model failed like this
Mistaken for it:
    - a loader that fails every time, also in several threads: device_map or low_cpu_mem_usage with a model that is
      then moved; so nothing is proven where no load has ever succeeded
    - a missing or damaged model file, which names the file
Severity: warning
Runbook: stabilise-embedding-service
Mitigation: Load the embedder once before any thread or worker is started, behind a lock.
Leads to: ungrounded_answers
References:
    - https://github.com/LearningCircuit/local-deep-research/pull/2183 (four threads at once, three fail; a lock)
    - https://github.com/memgraph/memgraph/issues/3913
    - https://github.com/docling-project/docling-serve/issues/175 (a model per thread)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, seconds_text
from .facts.services import NO_SERVICE, covers_trouble, embedder_logs, has_services, is_in, service_events, whole_logs
from .findings import Evidence, Finding, hints, proves, refutes, supports, unseen

_COLLECT = "the embedding application's own log from its start on, with tracebacks and thread names: --app-log PATH"
_EMPTY = "Cannot copy out of meta tensor"
_THREAD = re.compile(r"\bthread[ =:]{1,3}([\w.-]{1,40})", re.IGNORECASE)
_OF_A_LOAD = r"(?i)load.{0,40}(?:embed|model)|(?:embed|model).{0,40}load"
# Threads that load a model at once do so within the time that a load of an embedder takes, a minute on a slow disk.
_AT_ONCE = pd.Timedelta(minutes=1)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Tracebacks of models that were taken while another thread built them, or over a fork."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    traced = list(_by_trace(facts))
    yield from traced
    found = service_events(facts, "app_traceback")
    forked = found[found["text"].str.contains("Cannot re-initialize CUDA in forked subprocess", regex=False)]
    empty = found[found["text"].str.contains(_EMPTY, regex=False)]
    if len(forked):
        yield proves(f"{counted(len(forked), 'worker')} used CUDA after a fork that had inherited it, first at "
                     f"{clock_text(forked['at'].iloc[0])}.", *places(forked))  # fmt: skip
    if len(empty):
        shown = _race(facts, empty)
        yield shown
        if shown.strength == "weak":
            yield unseen(_COLLECT)
    elif forked.empty and not any(isinstance(item, Evidence) for item in traced):
        yield from _no_race(facts, found)


def _by_trace(facts: Facts) -> Iterator[Finding]:
    """Loads of embedders in the application's own trace, with thread and process of each."""
    loads = facts.spans("name = 'load embedder'")
    used = facts.spans("operation = 'embeddings'")
    rows = loads if len(loads) else used
    failed = rows[rows["error"].str.contains(_EMPTY, regex=False)]
    if failed.empty:
        # What a service of its own loads, this trace does not show.
        if len(loads) and set(used["model"]) <= set(loads["model"]) and not _of_a_service(used):
            yield refutes(f"0 of {counted(len(loads), 'load')} of embedders in the trace failed for an empty model.",
                          *places(loads))  # fmt: skip
        return
    threads = sorted({printable(name)[:40] for name in failed["thread"] if name})
    first = failed.iloc[0]
    sentence = (
        f"{len(failed):,} of {counted(len(rows), 'load')} of embedders in the trace failed with “{_EMPTY}”, first at "
        f"{clock_text(first['started_at'])}" + (f", in {', '.join(threads[:3])}" if threads else "")
    )
    beside = [_beside(one, rows) for _, one in failed.iterrows()]
    others = [other for found in beside for other in found.to_dict("records")]
    span = (failed["started_at"].min().to_pydatetime(), failed["ended_at"].max().to_pydatetime())
    if others and not (_loaded_well(loads, used, set(failed["model"])) or _loaded_by_log(facts)):
        yield supports(f"{sentence}; no load of it has ended well, so a loader that always fails looks the same.",
                       *places(failed, 2), *places(others, 1), span=span)  # fmt: skip
    elif others:
        ran = counted(sum(len(found) > 0 for found in beside), "failed load")
        yield proves(f"{sentence}; {ran} ran beside another load, in thread {printable(others[0]['thread'])[:40]}.",
                     *places(failed, 2), *places(others, 1), span=span)  # fmt: skip
    else:
        yield supports(f"{sentence}; the trace shows no other load at the time.", *places(failed), span=span)


def _loaded_well(loads: pd.DataFrame, used: pd.DataFrame, models: set[str]) -> bool:
    """Whether the trace has a load of one of these models without an error, or vectors of it."""
    ended = pd.concat([loads, used])
    return bool((ended["error"].eq("") & ended["model"].isin(models)).any())


def _loaded_by_log(facts: Facts) -> bool:
    """Whether the embedder's own log tells of a load that ended, or of vectors that were answered."""
    said = service_events(facts, "app_slow_request", "app_request")
    said = said[is_in(said, embedder_logs(facts))]
    loads = said["key"].eq("app_slow_request") & said["text"].str.contains(_OF_A_LOAD)
    answers = [str(fields.get("status")) == "200" and "embed" in str(fields.get("path")) for fields in said["fields"]]
    return bool(loads.any() or any(answers))


def _beside(one: pd.Series, loads: pd.DataFrame) -> pd.DataFrame:
    """The loads of the same process in other threads that were under way while this one was."""
    same = loads["host"].eq(one["host"]) & loads["pid"].eq(one["pid"]) & loads["thread"].ne(one["thread"])
    return loads[same & loads["started_at"].lt(one["ended_at"]) & loads["ended_at"].gt(one["started_at"])]


def _of_a_service(used: pd.DataFrame) -> bool:
    return any(fields.get("gen_ai.provider.name") == "http" for fields in used["fields"])


def _race(facts: Facts, empty: pd.DataFrame) -> Evidence:
    """What one or more failures say: in threads, beside another load, or neither."""
    threads = [_thread(fields) for fields in empty["fields"]]
    named = sorted({name for name in threads if name})
    began, last = empty["at"].min(), empty["at"].max()
    span = (None, None) if pd.isna(began) else (began.to_pydatetime(), last.to_pydatetime())
    loads = "1 load of a model" if len(empty) == 1 else f"{len(empty):,} loads of a model"
    sentence = f"{loads} failed with “{_EMPTY}”, first at {clock_text(began)}"
    if named:
        sentence += f", in {'thread' if len(named) == 1 else 'threads'} {', '.join(named[:3])}"
    other = _other_load(facts, empty)
    if len(other) and named:
        shown = other.iloc[0]
        took_s = shown["fields"].get("wall_s")
        took = (
            f" ({seconds_text(took_s)} until {clock_text(shown['at'])})" if took_s else f" at {clock_text(shown['at'])}"
        )
        return proves(f"{sentence}; another thread loaded the embedder at the same time{took}.",
                      *places(empty, 2), *places(other, 1), span=span)  # fmt: skip
    if len(named) > 1 and last - began <= _AT_ONCE and _loaded_by_log(facts):
        return proves(f"{sentence} within {seconds_text((last - began).total_seconds())}.", *places(empty), span=span)
    if named:
        return supports(f"{sentence}.", *places(empty), span=span)
    return hints(f"{sentence}; no thread is named, so a loader that fails alone looks the same.", *places(empty))


def _thread(fields: dict[str, object]) -> str:
    """The thread of a traceback: named, told by the record above it, or by frames of a thread's start."""
    logged = _THREAD.search(str(fields.get("logged") or ""))
    if name := str(fields.get("thread") or "") or (logged[1] if logged else ""):
        return printable(name)[:40]
    frames = fields.get("frames")
    inner = [str(frame) for frame in frames] if isinstance(frames, list) else []
    pooled = any(":_bootstrap_inner" in frame or "futures/thread.py" in frame for frame in inner)
    return "of a pool" if pooled else ""


def _other_load(facts: Facts, empty: pd.DataFrame) -> pd.DataFrame:
    """What the application says of another load of its embedder that was under way when one failed."""
    said = service_events(facts, "app_slow_request")
    said = said[said["text"].str.contains(_OF_A_LOAD)]
    said = said[is_in(said, frozenset(zip(empty["host"], empty["source"], strict=True)))]
    took = pd.to_timedelta([float(fields.get("wall_s") or 0) for fields in said["fields"]], unit="s").as_unit("us")
    failed, margin = empty["at"].iloc[0], pd.Timedelta(seconds=1)
    during = (said["at"] - took - margin <= failed) & (failed <= said["at"] + margin)
    return said[during]


def _no_race(facts: Facts, tracebacks: pd.DataFrame) -> Iterator[Finding]:
    logs = embedder_logs(facts)
    starts = service_events(facts, "app_start", "app_worker_start")
    starts = starts[is_in(starts, logs)]
    said = service_events(facts, *(key for key in facts.counts if key.startswith("app_")))
    if starts.empty or not covers_trouble(facts, said[is_in(said, logs)]):
        yield unseen(_COLLECT)
        return
    own = tracebacks[is_in(tracebacks, logs)]
    yield refutes(f"0 tracebacks in the embedder's log are of an empty model ({len(own):,} of something else), over "
                  f"{counted(len(starts), 'start')} of the service or its workers.",
                  *whole_logs(facts, logs))  # fmt: skip
