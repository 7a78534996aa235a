"""The table of experiments: what each asks, and what decides it."""

from __future__ import annotations

from ...errors import ParameterError
from ..experiment import Experiment
from ..metrics import Metric
from . import embedder_lock, memory, retrieval, serving

_TTFT = Metric("ttft_s", "time to the first token")
_CALL = Metric("wall_s", "time of a call")
_LOAD = Metric("load_duration_s", "load time, as the server tells it")
_FAILED = Metric("failed", "calls that failed", "", "rate")
_OLLAMA = "a server of Ollama with a model that writes text"

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        Experiment(
            "cold_vs_warm", "What does a call cost whose model is not in memory?",
            memory.COLD_OR_WARM, (_TTFT, _LOAD, _CALL), memory.cold_or_warm, _OLLAMA,
        ),
        Experiment(
            "keep_alive", "What does a short keep_alive cost when calls come with pauses?",
            memory.KEPT, (_TTFT, _LOAD), memory.kept, _OLLAMA,
        ),
        Experiment(
            "concurrency", "What do calls at once gain in throughput, and what does each of them wait for it?",
            serving.clients_of((1, 2, 4, 8)),
            (Metric("calls_per_s", "answered calls per second", "", better="higher", of_failed=True),
             Metric("call_s", "time of a call", of_failed=True),
             Metric("failed", "trials in which a call failed", "", "rate")),
            serving.clients,
        ),
        Experiment(
            "context_sweep", "What does a longer context cost in memory, and until the first token of a cold call?",
            memory.CONTEXTS,
            (Metric("size_bytes", "memory by /api/ps", "bytes"), _LOAD, _TTFT), memory.contexts, _OLLAMA,
        ),
        Experiment(
            "flash_attention", "Is this model faster without flash attention on this machine?",
            serving.FLASH_ATTENTION, (_TTFT, _CALL, Metric("tokens_per_s", "tokens per second", "", better="higher")),
            serving.flash_attention,
            "two servers of Ollama that differ in OLLAMA_FLASH_ATTENTION alone, the second one as `second_target` "
            "(`--second-target`)",
            servers=serving.FLASH_ATTENTION_SERVERS,
        ),
        Experiment(
            "retrieval", "What does it gain to embed once and to search all collections at once?",
            retrieval.RETRIEVAL,
            (Metric("wall_s", "time of a retrieval"),
             Metric("recall", "share found of what one search after another finds", "", "mean", "higher")),
            retrieval.retrieval, "embedders and a store; the knowledge that ships is taken in where it is empty",
        ),
        Experiment(
            "embedder_lock", "Does the first use of an embedder fail when many threads come at once?",
            embedder_lock.LOCK,
            (Metric("failed", "trials in which a thread failed", "", "rate"),
             Metric("failed_threads_share", "share of threads that failed", "", "mean", of_failed=True)),
            embedder_lock.embedder_lock,
            "nothing: it runs in this process, on the first embedder of `--settings` that is loaded, or else on "
            f"{embedder_lock.DEMONSTRATION}",
            servers=(),
        ),
        Experiment(
            "retries", "How many calls do retries save, and how many more does the server get?",
            serving.RETRIES,
            (_FAILED, Metric("attempts", "attempts of a call", "", "mean", of_failed=True), _CALL), serving.retries,
            servers=serving.RETRIES_SERVERS,
        ),
    )
}  # fmt: skip


def experiment_named(name: str) -> Experiment:
    """One of the table; raises ParameterError with the names that there are."""
    if name not in EXPERIMENTS:
        raise ParameterError(f"experiment {name!r}: there is none of this name; there are {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]
