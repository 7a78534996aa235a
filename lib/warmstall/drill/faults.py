"""The kinds of faults: where each acts, what it does, which hypotheses must find it, and the verdict it causes.

What is named here is what is true of the fault, written down before any analysis: the accuracy of the analysis is
measured against it. A scenario may name other hypotheses for a fault of its own, where its circumstances decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..records import Verdict

# Who does it: the runner's program, the server, the injector by signals and restarts, or the clients and settings.
Actor = Literal["runner", "server", "outside", "clients"]


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault; `intensity` says what its number counts, empty where it counts nothing."""

    name: str
    actor: Actor
    does: str
    verdict: Verdict
    hypotheses: tuple[str, ...]
    intensity: str = ""
    grows_memory: bool = False
    # While it acts, the model's runner gives no token: that time is a stall of whoever waits for it.
    stands_still: bool = False


KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("slow_load", "runner", "A load takes longer, as from a slow disk.",
                  "cold_start", ("cold_start",), "seconds added to a load"),
        FaultKind("failed_load", "runner", "The runner ends with an error while it loads its model.",
                  "load_failure", ()),
        FaultKind("load_hang", "runner", "A load begins and makes no progress any more.",
                  "load_failure", ("load_timeout",)),
        FaultKind("slow_prefill", "runner", "The prompt is read more slowly.",
                  "slow_prefill", ("flash_attention_cpu_spill",), "times slower"),
        FaultKind("slow_decode", "runner", "Tokens come more slowly and a core is busy, as when layers ran on the CPU.",
                  "slow_decode", ("flash_attention_cpu_spill",), "times slower"),
        FaultKind("spinning_runner", "runner", "The runner keeps a core busy and answers nothing.",
                  "warm_stall", ("warm_stall",), stands_still=True),
        FaultKind("hang_rate", "runner", "A share of the requests hangs until the client leaves.",
                  "warm_stall", ("model_hang_rate", "warm_stall")),
        FaultKind("growing_memory", "runner", "The runner's memory grows, up to 256 MiB.",
                  "warm_ok", ("memory_pressure",), "bytes a second", grows_memory=True),
        FaultKind("broken_stream", "runner", "The stream ends after its first chunk, with status 200.",
                  "runner_crash", ("runner_crash",)),
        FaultKind("reasoning_leak", "runner", "The model writes its reasoning into its answers, between <think> tags.",
                  "warm_ok", ("reasoning_leak",)),
        FaultKind("ungrounded_citation", "runner", "The model cites a source that it was not given.",
                  "warm_ok", ("ungrounded_answers",)),
        FaultKind("vram_not_freed", "server", "The GPU's memory does not come back after an unload.",
                  "cold_start", ("unload_not_freeing",)),
        FaultKind("stopped_runner", "outside", "The runner's process is stopped (SIGSTOP) and continued at the end.",
                  "warm_stall", ("warm_stall",), stands_still=True),
        FaultKind("runner_crash", "outside", "The runner's process is ended by a signal while it answers.",
                  "runner_crash", ("runner_crash",), "number of the signal"),
        FaultKind("stopping_deadlock", "outside", "The runner is stopped while it answers, its model is told to leave, "
                  "and at the end the runner is killed.",
                  "warm_stall", ("stopping_deadlock",), stands_still=True),
        FaultKind("restart", "outside", "The server is ended by SIGTERM and started again.",
                  "runner_crash", ("restart_or_upgrade",)),
        FaultKind("server_down", "outside", "The server is ended by SIGTERM and started again at the end.",
                  "rejected", ("restart_or_upgrade",)),
        FaultKind("embedding_service_crash", "outside", "Workers of the embedding service are ended by SIGSEGV.",
                  "warm_ok", ("embedding_service_crash",), "workers"),
        FaultKind("client_abort", "clients", "Clients close their connection before the answer has come.",
                  "client_abort", ("client_timeout_too_short",), "seconds until the client closes"),
        FaultKind("short_keep_alive", "clients", "Models leave memory between two requests.",
                  "cold_start", ("reload_thrash",)),
        FaultKind("eviction_thrash", "clients", "Models take turns in a memory that holds one.",
                  "cold_start", ("reload_thrash",)),
        FaultKind("queue_wait", "clients", "More requests come at once than the model has slots.",
                  "queue_wait", ("parallel_queue",)),
        FaultKind("queue_full", "clients", "More requests wait for a load than the queue may hold.",
                  "rejected", ("parallel_queue",)),
        FaultKind("context_truncation", "clients", "Prompts are longer than the context.",
                  "warm_ok", ("context_truncation",)),
        FaultKind("num_ctx_flapping", "clients", "Clients ask for different contexts in turn, and the model is loaded "
                  "anew for each.", "cold_start", ("reload_thrash",)),
        FaultKind("sequential_retrieval", "clients", "An application searches its collections one after another, and "
                  "embeds the question for each.", "warm_ok", ("sequential_retrieval",)),
        FaultKind("embedder_race", "clients", "Threads of an application load its embedder at the same time.",
                  "warm_ok", ("embedder_race",)),
        FaultKind("empty_retrieval", "clients", "An application finds nothing near enough to a question, and asks the "
                  "model all the same.", "warm_ok", ("empty_retrieval",)),
    )
}  # fmt: skip
