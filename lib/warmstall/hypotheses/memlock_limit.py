"""Memory lock limit: the server may pin a few MiB of memory, and its GPU runtime wants to pin the model's buffers.

Systemd's default is 8 MiB. HIP (ROCm) pins the host buffers through which a model reaches an AMD card, `use_mlock`
pins the weights; both are refused beyond the limit of the process, and what then happens ranges from pageable copies
to requests that never return. CUDA's driver pins by itself and is hardly held by this limit, a CPU or Metal server
pins nothing unless it is told to. A low limit alone is the ordinary state of most servers.

Shown by:
    - `failed to mlock`: the limit was hit
    - a limit in force far below the model's size, on an AMD card, while requests hang with the model in memory
    - fewer hangs, by more than chance, in a run of the server with a higher limit
Ruled out by:
    - a limit in force, for the process that served then, above the size of its models
    - the low limit in force, and no request that hung
Mistaken for it:
    - the unit's limit, where the live process has another one
    - pinned memory that CUDA cannot have because the machine's memory is full
    - hangs of a GPU backend that a higher limit does not end: compare the rates before and after
Severity: critical
Runbook: raise-service-limits
Mitigation: Set LimitMEMLOCK=infinity in a drop-in of the service, reload systemd and restart the service.
Leads to: model_hang_rate, warm_stall, gpu_idle_but_held, retry_amplification
References:
    - https://man.archlinux.org/man/getrlimit.2.en (RLIMIT_MEMLOCK)
    - https://github.com/xmrig/xmrig/issues/3493 (an AMD card fails under systemd's limit)
    - https://github.com/LMCache/LMCache-Ascend/issues/5 (host memory cannot be pinned, LimitMEMLOCK=infinity)
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..parse.go_values import size_bytes
from ..proportions import clearly_more, rate_text
from .facts import Facts, counted, places, size_text, span
from .facts.server_starts import server_starts
from .findings import Finding, Severity, hints, proves, refutes, supports, unseen

# A part of a request that is its smaller half does not explain it.
_MOSTLY = 0.5
# One request that does not come back may have had any reason.
_HANGS = 2
# With fewer requests, none that hung may be luck: of ten that hang in one of four cases, none does in 6 %.
_REQUESTS = 10
_BY_CHANCE = 0.05


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the log says of pinning, and the limit of each run of the server beside its model and its hangs."""
    yield from _lines(facts)
    hung = _hung(facts)
    runs = _runs(facts, hung)
    known = runs.dropna(subset=["limit"])
    if known.empty:
        yield unseen("the limit in force: /proc/PID/limits of the server and its runner (warmstall collect CASE)")
        return
    model = _model_bytes(facts)
    if not model:
        yield unseen("the model's size while it is in memory: /api/ps, or the server's log")
        return
    low, high = known[known["limit"] < model], known[known["limit"] >= model]
    for row in low.to_dict("records"):
        yield from _judged(facts, row, hung, model)
    if len(low) and len(high):
        yield from _compared(low, high)
    blamed = runs[runs["hung"] > 0]
    for row in high.to_dict("records"):
        told = f"The server may pin {_amount(row['limit'])}; the largest model in memory had {size_text(model)}."
        if blamed.empty or row["start"] in set(blamed["start"]):
            yield refutes(told, *places([row]))
    if len(blamed) and not set(blamed["start"]) <= set(known["start"]):
        yield unseen("/proc/PID/limits of the server that runs while requests hang: these are of another run")


def _lines(facts: Facts) -> Iterator[Finding]:
    refused = facts.events("mlock_fail")
    if len(refused):
        severity: Severity = "warning" if len(_hung(facts)) else "info"
        yield proves(f"The server could not pin {counted(len(refused), 'buffer')}: the limit is too small for what "
                     "was asked for. "
                     "Their pages can be swapped out, and all else goes on.", *places(refused),
                     span=span(refused, "at", "at"), severity=severity)  # fmt: skip
    pageable = facts.events("pinned_failed")
    if len(pageable):
        largest = max(float(fields.get("mib", 0)) for fields in pageable["fields"])
        yield hints(f"{counted(len(pageable), 'buffer')} of pinned memory, up to {size_text(largest * 2**20)}, could "
                    "not be "
                    "had: for this limit, or because memory was full.", *places(pageable))  # fmt: skip


def _judged(facts: Facts, row: dict[str, object], hung: pd.DataFrame, model: float) -> Iterator[Finding]:
    """A run whose limit is smaller than its model."""
    libraries = {str(fields.get("library", "")).lower() for fields in facts.events("gpu_inventory")["fields"]}
    is_amd = "rocm" in libraries or facts.table("gpus")["vendor"].eq("AMD").any()
    told = f"The server may pin {_amount(row['limit'])}, its model has {size_text(model)}"
    n, of = int(float(str(row["hung"]))), int(float(str(row["requests"])))
    own = hung[hung["start"].eq(row["start"])]
    if n >= _HANGS and is_amd:
        yield supports(f"{told}, on an AMD card; with the model in memory, {rate_text(n, of)} of the requests never "
                       "came back.", *places([row]), *places(own, 2), span=span(own))  # fmt: skip
    elif n:
        yield hints(f"{told}; {n:,} of {counted(of, 'request')} hung, which this limit explains on AMD cards only.",
                    *places([row]), *places(own, 2))  # fmt: skip
        yield unseen("the rate of hangs after a restart with LimitMEMLOCK=infinity, over as many requests")
    elif libraries and libraries <= {"cpu", "metal"}:
        told += f"; on {' and '.join(sorted(libraries))} nothing is pinned unless the server is told to"
        yield refutes(f"{told}, and no line says that pinning failed.", *places([row]),
                      *places(facts.events("gpu_inventory"), 1))  # fmt: skip
    elif of >= _REQUESTS and facts.has("trials"):
        yield refutes(f"{told}, and 0 of {counted(of, 'request')} hung.", *places([row]), *facts.whole_log())
    else:
        yield unseen("the clients' own records of their calls: one that hangs leaves no line in the server's log")


def _compared(low: pd.DataFrame, high: pd.DataFrame) -> Iterator[Finding]:
    one, other = ((int(frame["hung"].sum()), int(frame["requests"].sum())) for frame in (low, high))
    if clearly_more(one, other, _BY_CHANCE):
        yield proves(f"With at most {_amount(low['limit'].max())} to pin {one[0]:,} of "
                     f"{counted(one[1], 'request')} hung, "
                     f"with {_amount(high['limit'].min())} {other[0]:,} of {other[1]:,}.",
                     *places(low), *places(high))  # fmt: skip


def _hung(facts: Facts) -> pd.DataFrame:
    """Requests that did not come back although their model was in memory, and since when their server ran."""
    rows = facts.with_verdict("warm_stall", "client_abort")
    rows = rows[rows["load_s"].lt(_MOSTLY * rows["wall_s"]) & rows["queue_s"].lt(_MOSTLY * rows["wall_s"])]
    columns = ["host", "source", "line", "started_at", "ended_at"]
    lost = facts.lost_trials[columns].copy()
    for name in ("started_at", "ended_at"):
        lost[name] = pd.to_datetime(lost[name], utc=True)
    rows = pd.concat([rows[columns], lost]) if len(lost) else rows[columns]
    return rows.assign(start=_start_of(facts, rows["started_at"]))


def _runs(facts: Facts, hung: pd.DataFrame) -> pd.DataFrame:
    """One row per run of the server: its requests, those that hung, and the limit if it was captured while it ran."""
    rows = facts.table("limits")
    rows = rows[rows["resource"].eq("MEMLOCK") & rows["origin"].eq("process")]
    compared = facts.limits[facts.limits["resource"].eq("MEMLOCK")]
    servers = {*compared["serve_pid"].dropna(), *compared["runner_pid"].dropna()} if facts.has_server_log else set()
    rows = rows[rows["subject"].isin(servers)]
    rows = rows.assign(start=_start_of(facts, rows["at"]))
    limits = rows.sort_values("hard").groupby("start", sort=True)[["host", "source", "line", "hard"]].first()
    began = _start_of(facts, facts.requests["started_at"])
    found = pd.DataFrame({"requests": began.value_counts(), "hung": hung["start"].value_counts()})
    found = found.join(limits.rename(columns={"hard": "limit"}), how="outer").fillna({"requests": 0, "hung": 0})
    found["requests"] = found["requests"].clip(lower=found["hung"])
    return found.rename_axis("start").reset_index()


def _start_of(facts: Facts, moments: pd.Series) -> pd.Series:
    """By number, the start of the server before each moment; where there is one only, everything is of it."""
    starts = server_starts(facts)["at"].dropna().sort_values()
    if len(starts) < 2:
        return pd.Series(1, index=moments.index)
    return pd.Series(starts.searchsorted(moments.fillna(starts.iloc[0]), side="right"), index=moments.index)


def _model_bytes(facts: Facts) -> float:
    """The largest model that was seen in memory, as /api/ps or the log tells."""
    sizes: list[float] = [0.0, *facts.table("resident_models")["size_bytes"].dropna().astype(float)]
    for fields in facts.events("mem_layout")["fields"]:
        if fields.get("msg") == "total memory":
            sizes.append(float(size_bytes(str(fields.get("size", ""))) or 0))
    return max(sizes)


def _amount(limit: object) -> str:
    value = float(str(limit))
    return "any amount" if value == float("inf") else size_text(value)
