"""Memory stays after an unload: a model has left, and the GPU still holds its memory.

After an unload Ollama waits up to 5 s for the GPU's memory to come back, and plans the next load with what it then
sees. Where the memory does not come back, each change of models costs those seconds, and the next model finds less
room: it is split over several GPUs, left in part on the processor, or not loaded at all.

Shown by:
    - GPU memory that stays in use although the model has left /api/ps and nothing was loaded instead
    - "gpu VRAM usage didn't recover within timeout" in the log (a warning from 0.1.35 to 0.12.5, later only at DEBUG)
Ruled out by:
    - unloads in the samples after which the GPU's memory fell by what the model had
    - a log of 0.1.35 to 0.12.5, in which models change and that warning does not stand
    - a machine without a GPU
Mistaken for it:
    - one such warning now and then: a slow driver, and 5 s
    - several of these warnings 250 ms apart: the ticks of one wait for one model
    - memory that another program holds
    - a driver that does not tell its memory any more: the GPU is lost, and nothing is known of what it holds
    - the next model, which takes memory before /api/ps lists it
Severity: warning
Runbook: free-vram
Mitigation: Keep fewer models changing places (a longer keep_alive, fewer models), and end runners that hold memory.
Leads to: multi_gpu_split, cpu_fallback, load_timeout
References:
    - https://github.com/ollama/ollama/issues/7130
    - https://github.com/ollama/ollama/issues/9160
    - https://github.com/ollama/ollama/issues/4427
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..proportions import rate_text
from .facts import Facts, clock_text, counted, places, seconds_text, size_text
from .facts.devices import found_devices
from .facts.trouble import covers, trouble_times
from .findings import Finding, Severity, proves, refutes, supports, unseen, weakens

# The versions that log it at their usual level, and since when there is a wait at all.
_WARNED_FROM, _WARNED_TO = (0, 1, 35), (0, 12, 5)
# The server itself gives the memory 5 s; what is still there after twice that has stayed.
_SETTLED_S = 10.0
# One wait is warned of at each of its ticks of 250 ms, which agree on when it began; each wait lasts 5 s and more.
_ONE_WAIT_S = 1.0
# Of a model's memory, the part that stays from which on most of it did.
_MOST = 0.5
# The share of the slow requests' time below which nobody would call the waits a cause.
_ONE_IN_TWENTY = 0.05
_COLLECT = (
    "samples of /api/ps and of the GPUs' memory while models come and go (warmstall watch CASE); from 0.12.6 on the "
    "log shows it only with OLLAMA_DEBUG=1"
)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the samples of GPUs and /api/ps show after unloads, and what the log warns of."""
    devices = found_devices(facts)
    if len(devices) and devices["library"].eq("cpu").all():
        yield refutes(f"No GPU's memory can stay taken: processors are the only devices ({len(devices):,}) found.",
                       *places(devices))  # fmt: skip
        return
    unloads = _unloads(facts)
    stayed = unloads[unloads["stayed_bytes"] >= _MOST * unloads["model_bytes"]] if len(unloads) else unloads
    slow = _waits(facts)
    unread = facts.events("gpu_memory_unread")
    blind = _while_unread(slow, unread)
    if blind.any():
        yield weakens(f"In {counted(int(blind.sum()), 'wait')} the GPU's driver did not tell its memory: whether it "
                      "came back is not known.", *places(slow[blind], 1), *places(unread, 1))  # fmt: skip
        yield unseen(_COLLECT)
        slow = slow[~blind]
    if len(stayed):
        worst = stayed.sort_values("stayed_bytes", ascending=False).iloc[0]
        show = proves if len(stayed) > 1 else supports
        yield show(
            f"After {rate_text(len(stayed), len(unloads))} of the unloads seen, most of the model's memory stayed on "
            f"the GPU: {size_text(worst['stayed_bytes'])} of {size_text(worst['model_bytes'])} of {worst['model']} at "
            f"{clock_text(worst['at'])}.",
            *places(stayed), span=(stayed["at"].min().to_pydatetime(), stayed["at"].max().to_pydatetime()),
        )  # fmt: skip
    if len(slow):
        yield from _warned(facts, slow)
    if len(stayed) or len(slow):
        return
    # A source clears it only if it would have shown it: samples with unloads, or a log that warns of them.
    if len(unloads):
        times = trouble_times(facts)
        whole = times.empty or covers(facts.table("gpus")["at"], times)
        yield (refutes if whole else weakens)(
            f"In the samples the GPU's memory came back after {counted(len(unloads), 'unload')}, and stayed after 0.",
            *places(unloads),
        )
        if not whole:
            yield unseen(_COLLECT)
    warned = [_WARNED_FROM <= version <= _WARNED_TO for version in facts.versions]
    left = facts.residencies.dropna(subset=["unloaded_at"])
    discrete = len(devices) and not devices["library"].isin(["metal", "cpu"]).any()
    if discrete and warned and all(warned) and len(left):
        yield refutes(f"Models left memory ({len(left):,}×), and the log warns 0 times that it was not freed.",
                      *facts.whole_log())  # fmt: skip
    elif not len(unloads):
        yield unseen(_COLLECT)


def _waits(facts: Facts) -> pd.DataFrame:
    """The waits that the server warns of, with waited_s: of the lines that belong to one wait, the first."""
    slow = facts.events("vram_slow").copy()
    if slow.empty:
        return slow
    told = [each.get("seconds") for each in slow["fields"]]
    slow["waited_s"] = pd.to_numeric(pd.Series(told, slow.index, dtype=object), errors="coerce").astype(float)
    slow["model"] = [str(each.get("model") or each.get("runner.model") or "") for each in slow["fields"]]
    slow["began_at"] = slow["at"] - pd.to_timedelta(slow["waited_s"], unit="s").astype("timedelta64[us]")
    slow = slow.sort_values(["host", "source", "model", "began_at", "line"])
    since_s = slow.groupby(["host", "source", "model"], sort=False)["began_at"].diff().dt.total_seconds()
    slow["wait"] = (~since_s.lt(_ONE_WAIT_S)).cumsum()
    return slow.sort_values(["at", "line"]).drop_duplicates("wait")


def _while_unread(slow: pd.DataFrame, unread: pd.DataFrame) -> pd.Series:
    """Whether the memory of a GPU could not be read during each of the waits."""
    if slow.empty or unread.empty:
        return pd.Series(False, slow.index)
    spans = zip(slow["began_at"], slow["at"], strict=True)
    return pd.Series([unread["at"].between(*span).any() for span in spans], slow.index)


def _warned(facts: Facts, slow: pd.DataFrame) -> Iterator[Finding]:
    """The server's own warnings, weighed by what the waits cost."""
    waited_s = slow["waited_s"]
    lost_s = facts.troubled["wall_s"].sum() + facts.lost_trials["wall_s"].sum()
    loads = len(facts.loads)
    sentence = f"The server waited {counted(len(slow), 'time')} in vain for a GPU's memory to come back"
    if waited_s.notna().any():
        sentence += f", {seconds_text(waited_s.sum())} in all"
    much = loads > 0 and len(slow) >= _ONE_IN_TWENTY * loads and waited_s.sum() > 0
    severity: Severity = "warning" if much and lost_s > 0 and len(slow) > 1 else "info"
    span = (
        (slow["at"].min().to_pydatetime(), slow["at"].max().to_pydatetime())
        if slow["at"].notna().any()
        else (None, None)
    )
    yield supports(f"{sentence}, over {counted(loads, 'load')}.", *places(slow), span=span, severity=severity)


def _unloads(facts: Facts) -> pd.DataFrame:
    """Unloads between two looks without a load about: host, source, line, at, model, model_bytes, stayed_bytes."""
    columns = ["host", "source", "line", "at", "model", "model_bytes", "stayed_bytes"]
    gpus = facts.table("gpus").dropna(subset=["at", "used_bytes"])
    models = facts.table("resident_models").dropna(subset=["at", "vram_bytes"])
    if gpus.empty or models.empty:
        return pd.DataFrame(columns=columns)
    rows = [row for host in sorted(set(gpus["host"]) & set(models["host"])) for row in
            _unloads_of(facts, gpus[gpus["host"] == host], models[models["host"] == host])]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _unloads_of(facts: Facts, gpus: pd.DataFrame, models: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Looks hold both: what is in use on all GPUs, and what the models in memory have of it."""
    looks = gpus.groupby(["source", "line", "at"], as_index=False).agg(used=("used_bytes", "sum"), n=("gpu", "nunique"))
    held = models.groupby("at")["vram_bytes"].sum()
    named: dict[pd.Timestamp, dict[str, float]] = {}
    for at, model, size in zip(models["at"], models["model"], models["vram_bytes"], strict=True):
        named.setdefault(at, {})[model] = size
    looks = looks[looks["n"].eq(looks["n"].max())].sort_values("at")
    answered = facts.table("probes")
    answered = set(answered.loc[answered["endpoint"].eq("/api/ps") & answered["status"].eq("200"), "at"]) | set(
        held.index
    )
    looks = looks[looks["at"].isin(answered)]
    looks["free_of_models"] = looks["used"] - looks["at"].map(held).fillna(0)
    quiet = looks[~_loading(facts, looks["at"])]
    before: dict[str, object] | None = None
    for look in quiet.to_dict("records"):
        now = named.get(look["at"], {})
        if before is not None:
            then = named.get(before["at"], {})
            gone = {model: size for model, size in then.items() if model not in now and size > 0}
            if gone:
                yield look | {
                    "host": models["host"].iloc[0], "model": ", ".join(gone), "model_bytes": sum(gone.values()),
                    "stayed_bytes": max(0.0, look["free_of_models"] - before["free_of_models"]),
                }  # fmt: skip
        before = look


def _loading(facts: Facts, at: pd.Series) -> pd.Series:
    """Looks during a load, or right after one: the memory of a model that /api/ps does not list yet."""
    loads = facts.loads.dropna(subset=["spawned_at"]).sort_values("spawned_at")
    if loads.empty:
        return pd.Series(False, at.index)
    frame = pd.DataFrame({"at": at}).assign(order=range(len(at)))
    begun = loads[["spawned_at", "ended_at"]].astype("datetime64[us, UTC]")
    frame["at"] = frame["at"].astype("datetime64[us, UTC]")
    last = pd.merge_asof(frame.sort_values("at"), begun, left_on="at", right_on="spawned_at").sort_values("order")
    until = last["ended_at"].fillna(last["spawned_at"] + pd.Timedelta(seconds=_SETTLED_S))
    return pd.Series((last["spawned_at"].notna() & (last["at"] < until)).to_numpy(), at.index)
