"""What is otherwise than at the last report: versions, settings and limits in force, devices, models, offload.

A configuration is a flat mapping "host|kind|name" -> value, so that a verdict can carry it. What one side did not
capture is no drift: nobody has seen that it changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ..hypotheses.facts import version_numbers
from ..observed.facts import limits_in_force, settings_in_force
from ..parse.ollama_settings import same
from ..parse.plain_text import printable
from .records import Drift

if TYPE_CHECKING:
    from ..analysis import Analysis

# Kinds that are captured whole: where a side has this key of a host, a name that it lacks is not there.
_LISTED = {"model": "captured|models", "environment": "captured|environment"}
# A proxy's address may hold a password.
_PROXIES = frozenset(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"))
_LONGEST = 80


def configuration(found: Analysis) -> dict[str, str]:
    """What is in force at the end of the evidence, as "host|kind|name" -> value.

    Kinds: version (Ollama's and drivers'), setting (as the server printed them at its last start, unset ones empty),
    environment (variables of its process, where captured), limit (in force for the server, a runner, its control
    group), device (those found at the last start), model (on disk, by digest), offload (layers on the GPU at the last
    load). Sizes that move by themselves, such as free memory, are left out.

    >>> from warmstall.analysis import analyze
    >>> from warmstall.case import sample_incident
    >>> known = configuration(analyze(sample_incident()))
    >>> known["server|version|Ollama"], known["server|setting|OLLAMA_KEEP_ALIVE"], known["server|device|found"]
    ('0.32.15', '5m0s', 'cpu')
    """
    rows = [*_starts(found), *_drivers(found), *_environments(found), *_limits(found), *_models(found),
            *_offload(found)]  # fmt: skip
    # The bar divides the key; nothing else may look like one.
    return {"|".join(printable(part).replace("|", "/") for part in key): printable(value) for *key, value in rows}


def drifted(before: Mapping[str, str], now: Mapping[str, str]) -> list[Drift]:
    """What differs between two configurations, in order of host, kind and name.

    >>> [each.sentence for each in drifted({"a|version|Ollama": "0.20.2"}, {"a|version|Ollama": "0.20.10"})]
    ['a: Ollama was upgraded from 0.20.2 to 0.20.10.']
    """
    found = []
    for key in sorted({*before, *now}):
        host, kind, name = ([*key.split("|", 2), "", ""])[:3]
        if kind == "captured":
            continue
        if key not in before or key not in now:
            listed = f"{host}|{_LISTED[kind]}" if kind in _LISTED else ""
            if listed not in before or listed not in now:
                continue
        was, is_now = str(before.get(key, "")), str(now.get(key, ""))
        alike = same(name, was, is_now) if kind == "setting" else was == is_now
        if not alike:
            sentence = _sentence(kind, name, was, is_now)
            found.append(Drift(host, kind, name, was, is_now, f"{host}: {sentence}." if host else f"{sentence}."))
    return found


def audit(found: Analysis) -> list[str]:
    """Settings and limits that are not in force as intended, or cannot work: one sentence each, named by its host."""
    told = []
    for frame in (limits_in_force(found.case), settings_in_force(found.case, found.settings())):
        for row in frame.itertuples():
            if row.differs is True or getattr(row, "ineffective", False) is True:
                told.append(printable(f"{row.host}: {row.sentence}" if row.host else str(row.sentence)))
    return list(dict.fromkeys(told))


def _sentence(kind: str, name: str, was: str, now: str) -> str:
    name, (was_text, now_text) = _short(name), (_short(text) or "nothing" for text in (was, now))
    if kind == "version":
        return f"{name} was {_direction(was, now)} from {was_text} to {now_text}"
    if kind == "model":
        if not was or not now:
            return f"the model {name} was {'added' if now else 'removed'}"
        return f"the model {name} is another one under the same name (digest {was_text} before, {now_text} now)"
    if kind == "offload":
        return f"{name} has {now_text} on the GPU, it had {was_text}"
    if kind == "device":
        return f"the devices that the server found changed from {was_text} to {now_text}"
    return f"{'the limit ' if kind == 'limit' else ''}{name} changed from {was_text} to {now_text}"


def _direction(was: str, now: str) -> str:
    older, newer = version_numbers(was), version_numbers(now)
    if not older or not newer or older == newer:
        return "changed"
    return "upgraded" if older < newer else "downgraded"


def _short(text: str) -> str:
    plain = printable(text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"


_Rows = Iterator[tuple[str, str, str, str]]


def _starts(found: Analysis) -> _Rows:
    """The version, the settings and the devices of each host's last start."""
    runs = {}
    for run in sorted((run for timeline in found.timelines.values() for run in timeline.runs if run.started_at),
                      key=lambda run: run.started_at or 0):  # fmt: skip
        runs[run.host] = run
    devices = found.events("gpu_inventory") if runs else []
    for host, run in runs.items():
        if run.version and run.version != "0.0.0":  # a build of one's own says 0.0.0, which tells nothing
            yield host, "version", "Ollama", run.version
        for name, value in run.settings.items():
            hidden = value and name.upper() in _PROXIES
            yield host, "setting", name, "set" if hidden else value
        own = [row["fields"] for row in devices if row["source"] == run.source and row["line"] > run.line]
        if own:
            names = sorted(_device(fields) for fields in own)
            counts = {name: names.count(name) for name in names}
            yield host, "device", "found", ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())


def _device(fields: Mapping[str, str]) -> str:
    """A device by its library and name: not by a size, which moves with what else is in its memory."""
    library = fields.get("library", "").lower()
    name = (fields.get("description") or fields.get("name") or "").strip()
    return library if name.lower() in ("", library) else f"{library} {name}"


def _drivers(found: Analysis) -> _Rows:
    frame = found.case.sql('FROM gpus ORDER BY "at" NULLS FIRST')
    for host, vendor, driver, runtime in zip(frame["host"], frame["vendor"], frame["driver"], frame["runtime"],
                                             strict=True):  # fmt: skip
        for name, value in (("driver", driver), ("runtime", runtime)):
            if pd.notna(value) and value and pd.notna(vendor):
                yield host, "version", f"{vendor} {name}", str(value)


def _environments(found: Analysis) -> _Rows:
    """Variables of the server's process that it does not print itself."""
    compared = settings_in_force(found.case, found.settings())
    compared = compared[compared["in_force"].notna() & compared["in_force_from"].ne("server config")]
    for host in dict.fromkeys(compared["host"]):
        yield host, "captured", "environment", "yes"
    for row in compared.itertuples():
        value = "set" if row.name.upper() in _PROXIES else str(row.in_force)
        yield row.host, "environment", " ".join(filter(None, (row.name, row.unit))), value


def _limits(found: Analysis) -> _Rows:
    for row in limits_in_force(found.case).itertuples():
        unit = f" ({row.unit})" if row.unit else ""
        for whose, value in (("the server", row.serve_soft), ("a runner", row.runner_soft),
                             ("the control group", row.cgroup)):  # fmt: skip
            if value is not None and not math.isnan(value):
                yield row.host, "limit", f"{row.resource} of {whose}{unit}", _amount(float(value), str(row.measure))


def _amount(value: float, measure: str) -> str:
    return "unlimited" if math.isinf(value) else f"{value:,.0f} {measure if measure != 'None' else ''}".strip()


def _models(found: Analysis) -> _Rows:
    """The models on disk, by the last listing of each host: an older one may name what is gone."""
    frame = found.case.sql("FROM models WHERE model <> '' AND digest <> ''")
    for host, own in frame.groupby("host"):
        newest = own[own["at"].eq(own["at"].max())] if own["at"].notna().any() else own
        yield str(host), "captured", "models", "yes"
        for model, digest in zip(newest["model"], newest["digest"], strict=True):
            yield str(host), "model", str(model), str(digest).removeprefix("sha256:")[:12]


def _offload(found: Analysis) -> _Rows:
    loads = [load for timeline in found.timelines.values() for load in timeline.loads]
    for row in found.events("layers_offloaded"):
        before = [load for load in loads if load.source == row["source"] and load.line <= row["line"]]
        if before:
            model = max(before, key=lambda load: load.line).model
            layers = f"{row['fields']['layers_gpu']} of {row['fields']['layers_total']} layers"
            yield row["host"], "offload", found.names.get(model, model), layers
