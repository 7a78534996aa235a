"""stabilise-embedding-service: Give an embedding service whose workers die fewer threads, fewer workers and a limit.

Tokenizers, OpenMP and the math libraries start a thread for each core, in each worker; what is forked after they were
started dies by SIGSEGV sooner or later, and all of it together outgrows the memory. This sets the variables that limit
threads and workers, and a memory limit, by a drop-in of the service's unit, and restarts it once. What stands on the
command line (--preload, --workers, --max-requests) wins over variables and is a person's to change: the drop-in for it
is printed, and whether it was done is seen. Health and embeddings are asked before and after, and the service is
watched; more ends or fewer answers take everything back. In a container the patch is printed.

Sources: https://gunicorn.org/configure (the command line wins over variables),
https://github.com/huggingface/sentence-transformers/issues/2228 (SIGSEGV in encode),
https://github.com/ogx-ai/ogx/pull/3879 (one OpenMP thread ends the crashes),
https://github.com/huggingface/transformers/issues/5486 (TOKENIZERS_PARALLELISM and fork),
https://github.com/benoitc/gunicorn/issues/28 (max_requests, made for leaks).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from statistics import median
from typing import Any

from ...errors import InputError
from ..services import manifests
from ..services.service import by_hand_step, change_service
from ..services.wanted import wanted
from ..step import Action, Check, Measures, Precondition, Step, Verified
from ..target import Target
from .embedding_service import (
    EmbeddingService,
    ends_of,
    exec_start,
    find_service,
    shown_words,
    signals_of,
    words_wanted,
    workers_of,
)

SETTINGS: dict[str, Any] = {
    "service_unit": "",
    "service_port": 0,
    "health_path": "/health",
    "embed_path": "/v1/embeddings",
    "embed_field": "input",
    "embed_model": "",
    "threads": 1,
    "workers": 1,
    "memory_max_bytes": 0,
    "malloc_arenas": 0,
    "max_requests": 0,
    "without_crash": False,
    "hours": 24.0,
    "tries": 5,
    "watch_s": 10.0,
    "ready_s": 120.0,
    "deadline_s": 20.0,
}
RECORDING = "embedding-service"
_NAME = "stabilise-embedding-service"
_EMBED_PATHS = ("", "/embed", "/embeddings", "/v1/embeddings", "/api/embed", "/api/embeddings")
_TEXTS = ["What is a warm stall?", "The server answers, but not in time."]


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """Find the service, what its processes ended by, and how its workers are made."""
    path = str(settings["embed_path"])
    if path not in _EMBED_PATHS:
        raise InputError(f"embed_path {path!r}: expected one of {', '.join(_EMBED_PATHS[1:])}, or nothing.")
    service = find_service(target, str(settings["service_unit"]), int(settings["service_port"]))
    environment, limits = _wanted(service, settings)
    ended = _ended(target, service, settings)
    preconditions = [
        Precondition("service", "met", f"{service.name}: {shown_words(service.words) or service.main}."),
        ended, *_fork(service), *_memory(target, service, int(settings["memory_max_bytes"])),
    ]  # fmt: skip
    if ended.state == "not needed":
        return Action(f"{service.name} runs without a bad end.", tuple(preconditions))
    if service.service.manager == "systemd":
        steps = change_service(target, _NAME, environment, limits, service.service.unit)
    else:
        steps = (_patch(target, service, environment, limits),)
    words = words_wanted(service, int(settings["workers"]), int(settings["max_requests"]))
    if service.words and words != service.words and service.service.manager == "systemd":
        steps += (_command_line(service, settings, words),)
    return Action(
        f"{service.name} is to run with {wanted(environment, limits)}.", tuple(preconditions), steps,
        lambda t: measure(t, settings), helped, _afterwards(service, words),
    )  # fmt: skip


def _wanted(service: EmbeddingService, settings: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, str]]:
    """Variables and limits; what the command line says already is no variable's."""
    threads, workers = int(settings["threads"]), int(settings["workers"])
    if min(threads, workers, int(settings["memory_max_bytes"]), int(settings["malloc_arenas"])) < 0:
        raise InputError("threads, workers, malloc_arenas and memory_max_bytes: expected numbers from 0 on; 0 leaves "
                         "it as it is.")  # fmt: skip
    environment: dict[str, str | None] = {}
    if threads:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(threads)
        environment["TOKENIZERS_PARALLELISM"] = "false"
    if workers and service.workers_on_command_line is None:
        environment["WEB_CONCURRENCY"] = str(workers)
    if arenas := int(settings["malloc_arenas"]):
        environment["MALLOC_ARENA_MAX"] = str(arenas)
    if service.is_gunicorn and environment:
        environment["SPT_NOENV"] = "1"  # its title leaves the variables where they can be seen
    memory = int(settings["memory_max_bytes"])
    return environment, {"MemoryMax": str(memory)} if memory else {}


def _ended(target: Target, service: EmbeddingService, settings: Mapping[str, Any]) -> Precondition:
    hours = float(settings["hours"])
    if settings["without_crash"]:
        return Precondition("bad ends", "met", "The change is wanted whether a process ended or not (without_crash).")
    ends = ends_of(target, service, hours)
    if not ends:
        return Precondition("bad ends", "not needed", f"No process of {service.name} ended by a signal in the last "
                            f"{hours:g} hours, and systemd restarted none.")  # fmt: skip
    told = ", ".join(f"{how} {count}" for how, count in sorted(ends.items()))
    return Precondition("bad ends", "met", f"In the last {hours:g} hours of {service.name}: {told}.")


def _fork(service: EmbeddingService) -> tuple[Precondition, ...]:
    if not service.forks_after_loading:
        return ()
    return (Precondition("fork after threads", "met", "The application is loaded before its workers are forked "
                         "(--preload): threads that it started are gone in them, and the locks that these held are "
                         "not. This is the first thing to change; it is on the command line."),)  # fmt: skip


def _memory(target: Target, service: EmbeddingService, limit: int) -> tuple[Precondition, ...]:
    if not limit:
        return ()
    rows = workers_of(target, service.main)
    largest = max((row["rss_bytes"] for row in rows), default=0)
    if largest >= limit:
        return (Precondition("memory", "not met", f"One worker holds {largest:,} bytes: with a limit of {limit:,} it "
                             "would be killed at once."),)  # fmt: skip
    return (Precondition("memory", "met", f"The largest worker holds {largest:,} bytes of the {limit:,} wanted."),)


def _patch(
    target: Target, service: EmbeddingService, environment: Mapping[str, str | None], limits: Mapping[str, str]
) -> Step:  # fmt: skip
    """What a person does where the service is in a container, or nobody starts it."""
    wants = wanted(environment, limits)
    commands = manifests.by_hand(service.service, wants, _NAME, service.main.command)
    return by_hand_step(
        "change the service", f"for {service.name}", wants, wanted(environment, {}),
        lambda target: find_service(target, "", service.port).main, commands,
        "everyone who retrieves, while it starts",
    )  # fmt: skip


def _command_line(service: EmbeddingService, settings: Mapping[str, Any], words: tuple[str, ...]) -> Step:
    """Not changed from here: whether the service can start with another command line, only a person knows."""
    unit = service.service.unit

    def now(target: Target) -> EmbeddingService:
        return find_service(target, unit, service.port)

    def check(target: Target) -> Check:
        found = now(target)
        if words_wanted(found, int(settings["workers"]), int(settings["max_requests"])) == found.words:
            return Check("done", "it is started so")
        return Check("needed", shown_words(found.words))

    def verify(target: Target) -> Verified:
        return Verified(check(target).state == "done", f"It is started as {shown_words(now(target).words)}.")

    text = exec_start(words)
    return Step(
        "change the command line", f"By hand, in {unit}: start it as {shown_words(words)}", shown_words(words), check,
        None, verify, felt_by="everyone who retrieves, while it starts", patience_s=1.0,
        by_hand=(f"# systemctl edit {shlex.quote(unit)}, and enter there:\n{text}",
                 f"systemctl restart {shlex.quote(unit)}"),
    )  # fmt: skip


def measure(target: Target, settings: Mapping[str, Any]) -> Measures:
    """Health and embeddings, asked over the time of the watch; workers, memory, and what ended."""
    service = find_service(target, str(settings["service_unit"]), int(settings["service_port"]))
    tries, deadline_s = max(1, int(settings["tries"])), float(settings["deadline_s"])
    health: list[bool] = []
    walls: list[float | None] = []
    if service.port:
        _await_answer(target, service, settings)
    for number in range(tries):
        if number:
            target.wait(float(settings["watch_s"]) / tries)
        if service.port:
            health.append(_is_healthy(target, service, str(settings["health_path"])))
            walls += _embed(target, service, settings, deadline_s)
    answered = [wall_s for wall_s in walls if wall_s is not None]
    rows = workers_of(target, service.main)
    after = find_service(target, str(settings["service_unit"]), int(settings["service_port"]))
    signals = signals_of(target, service, float(settings["hours"]))
    return {
        "health_success_rate": sum(health) / len(health) if health else None,
        "embed_success_rate": len(answered) / len(walls) if walls else None,
        "embed_wall_p50_s": round(median(answered), 3) if answered else None,
        "workers": float(len(rows)) if rows else None,
        "memory_bytes": float(sum(row["rss_bytes"] for row in rows)) if rows else None,
        "workers_ended_by_signals": None if signals is None else float(sum(signals.values())),
        # systemd forgets its own count when the service is restarted by hand.
        "restarts_while_watched": float(
            (after.main.pid, after.main.started) != (service.main.pid, service.main.started)
        ),
    }


def _await_answer(target: Target, service: EmbeddingService, settings: Mapping[str, Any]) -> None:
    """After a start the model is read first: until then nobody listens, or the page says that it is not ready."""
    ends = target.monotonic_s() + float(settings["ready_s"])
    while target.monotonic_s() < ends:
        if target.ask_service(str(settings["health_path"]), service.port, 5.0)["status"] not in ("", "502", "503"):
            return
        target.wait(0.25)


def _is_healthy(target: Target, service: EmbeddingService, path: str) -> bool:
    return str(target.ask_service(path, service.port, 5.0)["status"]).startswith("2")


def _embed(
    target: Target, service: EmbeddingService, settings: Mapping[str, Any], deadline_s: float
) -> list[float | None]:  # fmt: skip
    """The wall time of one request, None when it failed; nothing where no path was given."""
    path, model = str(settings["embed_path"]), str(settings["embed_model"])
    if not path:
        return []
    body = {str(settings["embed_field"]): _TEXTS, **({"model": model} if model else {})}
    row = target.send(path, body, deadline_s, service.port)
    return [float(row["wall_s"]) if row["status"] == "200" else None]


def helped(before: Measures, after: Measures) -> Verified:
    """No fewer answers than before, and no further bad end while it was watched."""
    for name, what in (("health_success_rate", "health checks"), ("embed_success_rate", "embeddings")):
        was, now = before.get(name), after.get(name)
        if was is not None and (now is None or now < was):
            return Verified(False, f"{now or 0.0:.0%} of the {what} were answered, {was:.0%} before.")
    ended = (after.get("workers_ended_by_signals") or 0.0) - (before.get("workers_ended_by_signals") or 0.0)
    if ended > 0 or after.get("restarts_while_watched"):
        return Verified(False, f"{max(ended, 1.0):.0f} of its processes ended badly since.")
    rate = after.get("embed_success_rate")
    if not rate:
        return Verified(None, "No process ended badly while it was watched; whether it embeds was not seen: give "
                        "embed_path and embed_field.")  # fmt: skip
    was_s, now_s = before.get("embed_wall_p50_s"), after.get("embed_wall_p50_s")
    pace = f", the median in {now_s:.3f} s ({was_s:.3f} s before)" if now_s is not None and was_s is not None else ""
    return Verified(True, f"{rate:.0%} of the embeddings were answered{pace}, and no process ended badly since. That "
                    "was a short watch: look again after as long as it took to die before.")  # fmt: skip


def _afterwards(service: EmbeddingService, words: tuple[str, ...]) -> tuple[str, ...]:
    told = ["Watch its memory and its workers for as long as it took to die before: warmstall watch CASE --for 1h."]
    if service.shown.get("Restart") == "no":
        told.append(f"{service.name} has Restart=no: when its master dies nobody starts it. Set Restart=on-failure.")
    if service.words and words != service.words:
        told.append("Until the command line is changed too, what it says of workers and --preload wins.")
    return tuple(told)
