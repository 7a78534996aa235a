"""The answer: a paragraph in plain English, `summary.json` and `requests.csv`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from . import causes
from .analysis import REQUEST_COLUMNS, Analysis
from .hypotheses import Judgement, judge, stacked
from .judging.rules import NOTHING_TO_EXPLAIN_S
from .judging.words import Numbers, Words
from .mitigations import runs_of
from .observed import mitigations, repeated_lines, steps
from .observed.facts import memory_findings, sentences
from .parse.plain_text import printable
from .postmortem import draft
from .runbook_links import runbook_links
from .writing import whole_file

if TYPE_CHECKING:
    import polars as pl

SCHEMA = 1
_COLLECT = re.compile(r"Collect: (.*)$")
_LINES = 25
# Of each list the answer tells so many, or fewer where it would be too long.
_MOST = 4
# Singular and plural of what a request was, in the order in which they are told.
_WHAT_IT_WAS = {
    "warm_stall": ("warm stall", "warm stalls"),
    "cold_start": ("cold start", "cold starts"),
    "queue_wait": ("wait in the queue", "waits in the queue"),
    "slow_prefill": ("slow to read its prompt", "slow to read their prompts"),
    "slow_decode": ("slow to write its answer", "slow to write their answers"),
    "load_failure": ("failed load", "failed loads"),
    "runner_crash": ("lost to a runner crash", "lost to runner crashes"),
    "client_abort": ("given up by its client", "given up by their clients"),
    "rejected": ("refused before it ran", "refused before they ran"),
    "unknown": ("not explained by this evidence", "not explained by this evidence"),
}
# What is a thing of its own; all else is told of requests.
_NOUNS = ("warm_stall", "cold_start", "queue_wait", "load_failure")


# Events that are worth a word beside the verdicts: their keys, and how one and many of them are told.
_WORTH_A_WORD: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("prompt_truncated",), "1 prompt was cut to fit its context", "{n:,} prompts were cut to fit their context"),
    (
        ("evict_reason_mem", "evict_predicted", "evict_all_oom", "evict_done"),
        "1 model was evicted to make room for another",
        "models were evicted {n:,} times to make room for others",
    ),
    (("vram_slow",), "GPU memory was slow to come back once", "GPU memory was slow to come back {n:,} times"),
    (
        ("gpu_memory_unread", "vram_refresh_stale"),
        "the GPU's memory could not be read once",
        "the GPU's memory could not be read {n:,} times",
    ),
    (
        ("listen_failed",),
        "the server could not start once, as something listens on its address already",
        "the server could not start {n:,} times, as something listens on its address already",
    ),
    (("cloud_broken",), "an answer of a cloud model broke off", "{n:,} answers of cloud models broke off"),
    (("pull_retry",), "a part of a download stalled once", "parts of downloads stalled {n:,} times"),
    (("rocm_missing", "rocm_unsupported", "rocm_denied"), "ROCm was refused for a GPU", "ROCm was refused for GPUs"),
)

# So many models may have been loaded for requests that hang.
_LOADS_WITHOUT_END = 3
# Causes that say why a runner ended.
_ENDS_RUNNERS = ("runner_crash", "oom_kill", "load_timeout", "context_too_large")
# Requests of which sentences and texts are held at once, to write requests.csv.
_ROWS_WRITTEN_AT_ONCE = 65_536


def summarize(found: Analysis) -> dict[str, Any]:
    """The summary of an analysis, with the keys of the summary.json contract."""
    requests = found.verdicts()
    inference = found.inferences()
    loads = found.loads()
    completed = loads[loads["outcome"] == "completed"]
    walls = inference["wall_s"]
    runs = [run for timeline in found.timelines.values() for run in timeline.runs]
    beside = _beside(found)
    return {
        "schema": SCHEMA,
        "inputs": _records(_stamped(found.inputs(), "first_at", "last_at")),
        "servers": {"starts": len(runs), "versions": found.versions()},
        "requests": {
            "total": len(requests),
            "by_status": _counts(requests["status"]),
            "inference": len(inference),
            "inference_by_status": _counts(inference["status"]),
            "by_verdict": _counts(inference["verdict"]),
            "latency_s": {
                "p50": _number(walls.quantile(0.5)), "p95": _number(walls.quantile(0.95)), "max": _number(walls.max()),
            },
            "slowest": _slowest(inference),
        },
        "loads": {
            "count": len(loads),
            "completed": len(completed),
            "failed": len(loads[loads["outcome"].isin(["failed", "timed_out", "abandoned"])]),
            "seconds": [round(float(value), 3) for value in completed["load_s"].dropna()],
        },
        "counts": {
            "truncations": found.count("prompt_truncated"),
            "evictions": found.count("evict_reason_mem", "evict_predicted", "evict_all_oom", "evict_done"),
            "runner_crashes": int((inference["verdict"] == "runner_crash").sum()),
            "client_aborts": int((inference["verdict"] == "client_abort").sum()),
            "load_timeouts": int((loads["outcome"] == "timed_out").sum()),
            "vram_not_recovered": found.count("vram_slow"),
            "queue_full": int((inference["status"] == "503").sum()),
        },
        "offload": _records(found.offload()[["model", "layers_gpu", "layers_total"]].drop_duplicates()),
        "devices": _records(found.devices()[["library", "name", "total_bytes"]]),
        "windows": [
            {
                "kind": row["kind"], "from": _stamp(row["from_at"]), "to": _stamp(row["to_at"]),
                "requests": int(row["requests"]), "failed": int(row["failed"]), "sentence": row["sentence"],
            }
            for row in found.windows().to_dict("records")
        ],
        "hypotheses": causes.summarized(judge(found)),
        "stack": stacked(judge(found)).sentences,
        "mitigations": mitigations.summarized(found.case),
        "trials": {"unmatched": len(found.unmatched_trials)},
        "clocks": _clocks(found),
        "beside_the_log": beside,
        "steps": steps.summarized(found.case),
        "answer": _answer(found, beside),
    }  # fmt: skip


def answer(found: Analysis) -> str:
    """What happened and why, in plain English and at most 25 lines; what matters less makes room first."""
    return _answer(found, _beside(found))


def _answer(found: Analysis, beside: list[str]) -> str:
    inference = found.inferences()
    first, then = _what_it_was(found, inference, beside), _what_else(found)
    worst = _worst(found, inference) if len(inference) else []
    collect = cannot_tell(found)
    told: list[str] = []
    for most in range(_MOST, 0, -1):
        lines = [*first, *worst[: max(2, most)], *then]
        told = [*lines, *_beside_told(lines, beside, most)]
        if collect:
            told += ["", "What this evidence cannot tell:", *[f"- {item}" for item in collect[:most]]]
        if len(told) <= _LINES:
            break
    return "\n".join(printable(line) for line in told[:_LINES])


def _what_it_was(found: Analysis, inference: pd.DataFrame, beside: list[str]) -> list[str]:
    """What was read, the verdicts, the causes, what was done about it, and where the seconds went."""
    lines = [_what_was_read(found, found.verdicts()), *repeated_lines.sentences(found.case)[:2], ""]
    if not _has_log(found):
        told = bool(beside) or any(one.found for one in judge(found))
        of_captures = "what else was captured is told below" if told else "and nothing else here stands out"
        lines.append(f"There is no server's log here, so no request can be judged; {of_captures}.")
    elif inference.empty and _of_the_app(found):
        lines.append("This is the log of Ollama's desktop app, which holds no requests to models.")
    elif found.verdicts().empty and _holds_work(found):
        lines.append(
            "Models were loaded and answered, but no access line ([GIN]) stands here: the server writes those to its "
            "standard output, all else to its standard error."
        )
    elif inference.empty:
        lines.append(
            "No request to a model has ended in this evidence. A request that hangs leaves no line until it ends."
        )
    else:
        lines += _headline(inference, judge(found), found.logs_of_access_lines())
    lines += causes.told(judge(found), runbook_links(found, judge(found)))
    lines += _done_about_it(found)
    return lines + (_seconds(inference) if len(inference) else [])


def _what_else(found: Analysis) -> list[str]:
    """Spans that are unlike the rest, clocks, and what else stands in the log."""
    lines = []
    for row in found.windows().drop_duplicates("kind").head(2).to_dict("records"):
        until = "%H:%M:%S" if row["from_at"].date() == row["to_at"].date() else "%Y-%m-%d %H:%M:%S"
        span = f"{row['from_at']:%Y-%m-%d %H:%M:%S} to {row['to_at'].strftime(until)} UTC"
        lines.append(f"Unlike the rest, {span}: {row['sentence']}.")
    if clocks := _clocks_told(found):
        lines.append(clocks)
    if facts := _also_in_the_log(found):
        lines += ["Also in the log: " + "; ".join(facts) + "."]
    return lines


def _beside_told(lines: list[str], beside: list[str], most: int) -> list[str]:
    """What stands beside the log; what these lines have said already is not said again."""
    said = " ".join(lines)
    fresh = [sentence for sentence in beside if sentence.rstrip(".") not in said]
    if not fresh:
        return []
    more = f" And {len(fresh) - most} more in the report." if len(fresh) > most else ""
    told = ["Beside the log:", *[f"- {sentence}" for sentence in fresh[:most]]]
    return [*told[:-1], told[-1] + more]


def _beside(found: Analysis) -> list[str]:
    """What other captures tell, first the application's own trace."""
    return steps.sentences(found.case) + sentences(found.case, found.settings())


def _done_about_it(found: Analysis) -> list[str]:
    """What runbooks did, the last run of them in full; nothing where no journal tells."""
    runs = runs_of(found.case)
    if not runs:
        return []
    earlier = f" ({len(runs) - 1} earlier in the report.)" if len(runs) > 1 else ""
    text = mitigations.run_told(runs[-1])
    return [f"Done about it: {text if len(text) <= 240 else text[:239] + '…'}{earlier}"]


def _also_in_the_log(found: Analysis) -> list[str]:
    """Facts beside the verdicts that an operator would want to know, each only where it is one."""
    facts = []
    devices = found.devices()
    if len(devices) and devices["library"].eq("cpu").all():
        facts.append("the server found no GPU and runs on the CPU")
    offload = found.offload()
    partial = offload[offload["layers_gpu"] < offload["layers_total"]]
    if len(partial) and not (len(devices) and devices["library"].eq("cpu").all()):
        row = partial.iloc[0]
        facts.append(
            f"only {row['layers_gpu']} of {row['layers_total']} layers of a model on the GPU (line {row['line']})"
        )
    for keys, one, many in _WORTH_A_WORD:
        if n := found.count(*keys):
            facts.append((one if n == 1 else many).format(n=n))
    facts += _loads_without_a_request(found)
    starts = sum(len(timeline.runs) for timeline in found.timelines.values())
    if starts > 1:
        facts.append(f"the server started {starts} times")
    if lost := len(found.unmatched_trials) * _has_log(found):
        facts.append(f"{lost:,} of the client's calls have no line in the server's log")
    attempts = found.attempts()
    several = (
        attempts[attempts["part"].eq("attempt") & attempts["attempt"].gt(1)].groupby(["source", "line"]).attempt.max()
    )
    if len(several):
        row = attempts[(attempts["source"] == several.index[0][0]) & (attempts["line"] == several.index[0][1])].iloc[0]
        calls = "1 call of the client was" if len(several) == 1 else f"{len(several):,} calls of the client were"
        facts.append(f"{calls} several attempts (one of {row['wall_s']:.1f} s held {several.iloc[0]:.0f})")
    return facts


def _loads_without_a_request(found: Analysis) -> list[str]:
    """Models that were loaded for requests of which the log does not show the end."""
    requests, loads = found.verdicts(), found.loads()
    loads = loads[loads["outcome"].eq("completed") & loads["load_s"].notna()]
    if loads.empty or requests["inference"].any():
        return []
    longest = _seconds_text(loads["load_s"].max())
    told = [
        f"a model was loaded in {longest}" if len(loads) == 1 else f"{len(loads):,} loads, the longest of {longest}"
    ]
    last = loads.sort_values("ready_at").iloc[-1]
    after = requests[requests["source"].eq(last["source"]) & requests["line"].gt(last["line"])]
    open_s = (after["ended_at"].max() - last["ready_at"]).total_seconds()
    if open_s >= NOTHING_TO_EXPLAIN_S:  # without another access line, the log may not hold any
        told.append(f"the request it was loaded for (line {last['line']}) had not ended {_seconds_text(open_s)} later")
    return told


def _clocks(found: Analysis) -> list[dict[str, Any]]:
    rows = found.clocks().to_dict("records")
    return [row | {"uncertainty_s": _number(row["uncertainty_s"])} for row in rows]


def _clocks_told(found: Analysis) -> str:
    """Which clocks were moved or had to be taken for equal; nothing where all evidence is of one host."""
    rows = found.clocks()
    moved = (rows["offset_s"].abs() > rows["uncertainty_s"]) | (rows["source"].eq("stated") & rows["offset_s"].ne(0))
    told = rows[rows["uncertainty_s"].isna() | moved]
    if told.empty:
        return ""
    more = f"; and so on for {len(told) - 2} more" if len(told) > 2 else ""
    text = "; ".join(told["sentence"].head(2)) + more
    return f"{text[0].upper()}{text[1:]}."


def cannot_tell(found: Analysis) -> list[str]:
    """What the evidence leaves open, and what to collect for it, most pressing first."""
    requests = found.verdicts()
    inference = found.inferences()
    items = []
    for row in memory_findings(found.case).itertuples():
        if row.state == "cannot tell" and row.collect:
            items.append(f"Whether memory was running out: {row.sentence} Collect {row.collect}.")
    if not _has_log(found):
        return [*items, "Why requests were slow: collect the server's log (warmstall collect, or --log PATH)."]
    if _of_the_app(found):
        items.append("Why requests were slow: collect the server's own log, server.log beside the app's.")
    if requests.empty and _holds_work(found):
        items.append("How long requests took: collect the server's standard output too, in one file with this (2>&1).")
    for what, n in _advice(found, inference[inference["verdict"] == "unknown"]).most_common():
        stays = "stays" if n == 1 else "stay"
        items.append(f"{n:,} of {len(inference):,} requests {stays} unexplained; collect {what}.")
    items += _why_it_died(found)
    ran = inference.loc[~inference["verdict"].isin(["rejected", "load_failure"]), "sources"].drop_duplicates()
    if len(ran) and not ran.str.contains("decode=(?:api|slot)").any():
        items.append(
            "Time to read the prompt and time to write the answer are not apart in this log. "
            "Ollama 0.30 and later can log them; else keep the final chunk of each answer."
        )
    if not found.versions():
        items.append("The log does not hold a server start, so version and settings are not known.")
    if len(requests):
        items.append(f"Requests that hung until the log ends have left no line; {_who_would_tell(found)}.")
    return items


def _who_would_tell(found: Analysis) -> str:
    if any("trials" in account["kind"].split("+") for account in found.case.accounts):
        return "only clients whose records are here can show them"
    return "compare with the client's records"


def _why_it_died(found: Analysis) -> list[str]:
    """What to collect where a runner died and nothing proves why; a hint is evidence that decides nothing."""
    judged = {one.id: one for one in judge(found)}
    killed, crashed = judged["oom_kill"], judged["runner_crash"]
    if killed.supporting and not killed.found and killed.collect:
        return [f"Whether a runner was killed for want of memory; collect {killed.collect[0]}."]
    if crashed.supporting and crashed.collect and not any(judged[name].found for name in _ENDS_RUNNERS):
        return [f"Why a runner ended; collect {crashed.collect[0]}."]
    return []


def _advice(found: Analysis, unknown: pd.DataFrame) -> Counter[str]:
    """What to collect for requests that stay unexplained, and for how many of them; it is the same for each gist."""
    gists = pd.Series(found.gists(unknown), unknown.index)
    firsts = unknown[~gists.duplicated()]
    counts, advice = gists.value_counts(), Counter[str]()
    for row, reason in zip(firsts.index, found.reasons(firsts), strict=True):
        if order := _COLLECT.search(reason):
            advice[order[1]] += int(counts[gists[row]])
    return advice


def _has_log(found: Analysis) -> bool:
    return any(account["kind"] == "server-log" for account in found.case.accounts)


def _holds_work(found: Analysis) -> bool:
    """Whether the log shows requests that ended, without their lines: tasks that finished, or model upon model."""
    finished = sum(task.finished_line > 0 for timeline in found.timelines.values() for task in timeline.tasks)
    return finished > 1 or bool(found.loads()["outcome"].eq("completed").sum() > _LOADS_WITHOUT_END)


def _of_the_app(found: Analysis) -> bool:
    """Whether there is nothing but the log of the desktop app, which starts the server."""
    starts = any(timeline.runs for timeline in found.timelines.values())
    return bool(found.count("app_started")) and not starts and found.loads().empty and found.inferences().empty


def _what_was_read(found: Analysis, requests: pd.DataFrame) -> str:
    inputs = found.inputs()
    logs = inputs[inputs["kind"] == "server-log"]
    lines = int(logs["lines"].sum())
    versions = found.versions()
    if logs.empty:
        kinds = sorted({kind for kinds in inputs["kind"] for kind in kinds.split("+")} - {"collection-record"})
        return f"{len(inputs)} captures without a server's log: {', '.join(kinds)}."
    named = f"Ollama {', '.join(versions)}" if versions else "Ollama (version not in the log)"
    files = str(logs["path"].iloc[0]) if len(logs) == 1 else f"{len(logs)} logs"
    text = f"{named}: {files}, {lines:,} lines"
    first, last = logs["first_at"].min(), logs["last_at"].max()
    if len(requests):
        first, last = requests["started_at"].min(), requests["ended_at"].max()
    if not pd.isna(first):
        text += f", {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    # Lines that have no stamps of their own and no local times need no zone.
    assumed = logs["zone_from"].eq("assumed") & logs["path"].isin(requests["source"].unique())
    if assumed.any():
        silent = int(assumed.sum())
        which = "the log tells" if len(logs) == 1 else f"{silent} of them {'tells' if silent == 1 else 'tell'}"
        text += f" ({which} no zone; {' and '.join(logs['zone'][assumed].unique())} is assumed)"
    elif zones := [zone for zone in logs["zone"][~logs["zone_from"].eq("assumed")].unique() if zone != "+00:00"]:
        text += f" (the log's own clock is at {' and '.join(zones)})"
    return text + "."


def _headline(inference: pd.DataFrame, judged: Collection[Judgement], silent: Collection[str]) -> list[str]:
    """What it was, in a line, and the requests behind it; a cause may show a stall where no single verdict does.

    `silent` logs show no loads, so that who was answered as usual may have met one.
    """
    stalled = next((one for one in judged if one.id == "warm_stall" and one.found), None)
    may_be_cold = inference["source"].isin(silent).all()
    n = len(inference)
    counts = _counts(inference["verdict"])
    told = [f"{counts[verdict]:,} {_named(verdict, counts[verdict])}" for verdict in _WHAT_IT_WAS if verdict in counts]
    ok = counts.get("warm_ok", 0)
    p50, p95 = inference["wall_s"].quantile(0.5), inference["wall_s"].quantile(0.95)
    cold, stalls = counts.get("cold_start", 0), counts.get("warm_stall", 0)
    if stalls:
        verdict = f"{stalls:,} {_named('warm_stall', stalls)}" + (
            f", and {_cold(inference, cold)}." if cold else "; nothing was cold."
        )
    elif stalled:
        verdict = f"a warm stall ({stalled.state}, see the causes)" + (
            f"; also {_cold(inference, cold)}." if cold else "."
        )
    elif cold:
        verdict = f"{_cold(inference, cold)}; no stall is proven."
    else:
        untold = "unknown" in counts and not _troubles(inference)
        verdict = "neither is proven." if may_be_cold or untold else "neither."
    verdict = " ".join([verdict, *_beside_the_question(inference, judged)])
    lines = [f"Cold start or warm stall? {verdict[0].upper()}{verdict[1:]}"]
    if ok:
        fine = inference.loc[inference["verdict"] == "warm_ok", ["model", "wall_s"]]
        by_a_model = (fine["model"].ne("") | fine["wall_s"].ge(NOTHING_TO_EXPLAIN_S)).any()
        usual = "as usual" if may_be_cold else "as usual on a model in memory"
        told.insert(0, f"{ok:,} {usual if by_a_model else 'answered within a second'}")
    walls = f"median {_seconds_text(p50)}, 95 % within {_seconds_text(p95)}"
    requests = f"{n:,} requests to models, {walls}" if n > 1 else f"1 request to a model, {_seconds_text(p50)}"
    lines.append(f"{requests}: {', '.join(told)}.")
    return lines


def _cold(inference: pd.DataFrame, cold: int) -> str:
    again = int((inference["verdict"].eq("cold_start") & inference["flags"].str.contains("reload")).sum())
    text = f"{cold:,} {_named('cold_start', cold)}"
    if not again:
        return text
    which = "" if cold == 1 else "all of them " if again == cold else f"{again:,} of them "
    return f"{text}, {which}{'a reload' if again == 1 else 'reloads'} of a model that had been in memory before"


def _named(verdict: str, count: int) -> str:
    return _WHAT_IT_WAS[verdict][count != 1]


def _troubles(inference: pd.DataFrame) -> dict[str, int]:
    """How many requests there are of each verdict that is a trouble, but no answer to the question."""
    counts = _counts(inference["verdict"])
    return {v: n for v, n in counts.items() if v not in ("warm_ok", "unknown", "cold_start", "warm_stall")}


def _beside_the_question(inference: pd.DataFrame, judged: Collection[Judgement]) -> list[str]:
    """Whatever the question was: what most requests met, what cost the most time, and the gravest causes."""
    troubles, wall_s = _troubles(inference), inference.groupby("verdict", observed=True)["wall_s"].sum()
    common = max(troubles, key=lambda verdict: troubles[verdict], default="")
    slow_s = wall_s.drop(["warm_ok", "rejected"], errors="ignore")
    dearest = str(slow_s.idxmax()) if slow_s.max() > 0 else ""
    told = []
    if common and 2 * troubles[common] > len(inference):
        statuses = f" ({_refusals(inference)})" if common == "rejected" else ""
        told.append(f"Above all: {_things(common, troubles[common])}{statuses}.")
        dearest = "" if dearest == common else dearest
    if dearest in (*troubles, "unknown"):
        count = int(inference["verdict"].eq(dearest).sum())
        told.append(f"Most of the slow time went to {_things(dearest, count)}.")
    # Beside a stall its causes are told anyhow, and they are the gravest.
    stalled = "warm_stall" in wall_s.index or any(one.id == "warm_stall" and one.found for one in judged)
    grave = [one for one in judged if one.found and one.severity == "critical" and one.id not in (dearest, common)]
    if grave and not stalled:
        told.append(f"Critical beside that: {', '.join(f'{one.page.name} ({one.state})' for one in grave[:2])}.")
    return told


def _refusals(inference: pd.DataFrame) -> str:
    return ", ".join(_counts(inference.loc[inference["verdict"].eq("rejected"), "status"]))


def _things(verdict: str, count: int) -> str:
    """So many requests of a verdict, where a sentence needs a noun."""
    noun = "" if verdict in _NOUNS else "request " if count == 1 else "requests "
    return f"{count:,} {noun}{_named(verdict, count)}"


def _seconds(inference: pd.DataFrame) -> list[str]:
    """Where the seconds of the requests that were not as usual went."""
    slow = inference[~inference["verdict"].isin(["warm_ok", "rejected"])]
    wall_s = slow["wall_s"].sum()
    if wall_s < 1:
        return []
    stood_still_s = slow["unexplained_s"][slow["verdict"] == "warm_stall"].sum()
    assumed = slow["sources"].str.contains("decode=baseline")
    parts = [
        ("standing still", stood_still_s),
        ("loading", slow["load_s"].sum()),
        ("waiting in the queue", slow["queue_s"].sum()),
        ("reading prompts", slow["prefill_s"].sum()),
        ("writing answers", slow["decode_s"][~assumed].sum()),
        ("what such a request usually takes", slow["decode_s"][assumed].sum()),
        ("not accounted for", slow["unexplained_s"].sum() - stood_still_s),
    ]
    shares = sorted(((seconds / wall_s, label) for label, seconds in parts), reverse=True)
    named = [f"{100 * share:.0f} % {label}" for share, label in shares if share >= 0.005]
    others = "The one request that was" if len(slow) == 1 else f"The {len(slow):,} requests that were"
    return [f"{others} not as usual took {_seconds_text(wall_s)}: {', '.join(named)}."]


def _worst(found: Analysis, inference: pd.DataFrame) -> list[str]:
    """The slowest request of all, then the slowest that were not as usual; what repeats itself is told once."""
    unusual = inference.loc[~inference["verdict"].isin(["warm_ok", "rejected"]), ["wall_s", "line"]]
    unusual["gist"] = found.gists(unusual)
    slowest = _longest(inference)
    ends = found.verdicts()["ended_at"]
    dated = pd.notna(ends.min()) and ends.min().date() != ends.max().date()
    lines = [f"Slowest of all: {_told(found, slowest, dated)}{_alike(unusual, slowest.index[0])}"]
    own = unusual["gist"].get(slowest.index[0])
    by_length = unusual[unusual["gist"].ne(own)].sort_values(["wall_s", "line"], ascending=[False, True])
    for row in by_length.drop_duplicates("gist").index[: _MOST - 1]:
        lines.append(f"- {_told(found, inference.loc[[row]], dated)}{_alike(unusual, row)}")
    return lines


def _told(found: Analysis, rows: pd.DataFrame, dated: bool) -> str:
    """One request: how long, where, and why; `dated` where a time of day leaves open which day it was."""
    row, reason = rows.iloc[0], found.reasons(rows)[0].split(" Collect:")[0].rstrip(". ")
    reason = reason if len(reason) <= 200 else reason[:199] + "…"
    stop = "" if reason.endswith("…") else "."
    times = (("from", row["started_at"]), ("to", row["ended_at"]))
    clock = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"
    when = next((f"{word} {at.strftime(clock)}" for word, at in times if pd.notna(at)), "at an unknown time")
    where = f"{when}, {row['path'].split('?')[0][:40]}, line {row['line']}"
    return f"{_seconds_text(row['wall_s'])} ({where}) {row['verdict']}: {reason}{stop}"


def _alike(unusual: pd.DataFrame, row: int) -> str:
    """How many more requests have the reason of this one, and where the first of them stand."""
    same = unusual.loc[unusual["gist"].eq(unusual["gist"].get(row)) & (unusual.index != row), "line"]
    if same.empty:
        return ""
    lines = ", ".join(str(line) for line in same.nsmallest(3)) + (", …" if len(same) > 3 else "")
    return f" And {len(same):,} like it (line{'s' * (len(same) > 1)} {lines})."


def _seconds_text(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    if 0 < seconds < 0.01:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _slowest(inference: pd.DataFrame) -> dict[str, Any] | None:
    if inference.empty:
        return None
    row = _longest(inference).iloc[0]
    return {
        "wall_s": _number(row["wall_s"]), "status": row["status"], "path": row["path"],
        "ended_at": _stamp(row["ended_at"]), "verdict": row["verdict"], "line": int(row["line"]),
        "source": row["source"],
    }  # fmt: skip


def _longest(inference: pd.DataFrame) -> pd.DataFrame:
    """The row of the request that took longest, the first of them by its line."""
    longest = inference[inference["wall_s"].eq(inference["wall_s"].max())]
    return longest.sort_values("line", kind="stable").head(1)


def _counts(values: pd.Series) -> dict[str, int]:
    """How many there are of each value of a column of categories; those of which there are none are left out."""
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items() if count}


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)


def _stamp(at: pd.Timestamp) -> str | None:
    return None if pd.isna(at) else at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _stamped(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    stamps = {}
    for column in columns:
        at = frame[column].dt.tz_localize(None).to_numpy()
        text = pd.Series(np.datetime_as_string(at, unit="ms"), index=frame.index) + "Z"
        stamps[column] = text.astype(object).where(frame[column].notna(), None)
    return frame.assign(**stamps)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return records


def write_answer(found: Analysis, out: Path, with_draft: bool = False) -> dict[str, Any]:
    """Write summary.json and requests.csv (and the draft postmortem.md) into `out` and return the summary.

    Raises OutputError when they cannot be written; nothing half-written stays behind.
    """
    summary = summarize(found)
    write_files(found, summary, out, with_draft)
    return summary


def write_files(found: Analysis, summary: Mapping[str, Any], out: Path, with_draft: bool = False) -> None:
    """What `write_answer` writes, of a summary that is there already."""
    with whole_file(out / "requests.csv") as path, path.open("wb") as file:
        _write_requests(found, summary["requests"]["total"], file)
    with whole_file(out / "summary.json") as path:
        path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if with_draft:
        with whole_file(out / "postmortem.md") as path:
            path.write_text(draft(found), encoding="utf-8")


def _write_requests(found: Analysis, count: int, file: BinaryIO) -> None:
    """All requests with their sentences, some at a time."""
    import polars as pl

    stamps = pl.col("started_at", "ended_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    for begin in range(0, max(count, 1), _ROWS_WRITTEN_AT_ONCE):
        columns, reasons = found.columns(slice(begin, min(begin + _ROWS_WRITTEN_AT_ONCE, count)))
        told = {name: _as_written(column) for name, column in columns.items()} | {"reason": pl.Series(reasons)}
        frame = pl.DataFrame([told[name].alias(name) for name in REQUEST_COLUMNS])
        frame.with_columns(stamps).write_csv(file, include_header=begin == 0)


def _as_written(column: Numbers | Words) -> pl.Series:
    """A column for a file; what is not known, or an empty text, which would be quoted, is nothing."""
    import polars as pl

    if not isinstance(column, Words):
        return pl.Series(column, nan_to_null=True)
    names = pl.Series([*(name or None for name in column.names), None], dtype=pl.String)
    return names.gather(column.codes % len(names))
