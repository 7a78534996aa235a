"""The versions that a drill can be, and what differs in how they behave (the log's text stands in wording/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Said of a runner that ended before its first token (from v0.5 on).
_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama "
    "server logs for details"
)

# Said of a runner that ended in an answer.
_UNEXPECTED_END = "an error was encountered while running the model: unexpected EOF"
# A prompt that is cut keeps its first tokens.
KEPT_TOKENS = 5


@dataclass(frozen=True)
class Era:
    """One version's behaviour, as read in its scheduler and seen in real captures."""

    version: str
    default_num_ctx: int
    auto_parallel: int
    # A card of 23 GiB or more raises the default context.
    raises_context_with_vram: bool
    # A request for a model in memory goes straight to its runner, past the queue (from v0.11.5).
    attaches_directly: bool
    # The scheduler goes on to the next request while a runner loads.
    loads_in_background: bool
    # `/api/ps` names a model that is still loading.
    lists_while_loading: bool
    # `/api/ps` waits for each runner's lock (from v0.32.4).
    ps_takes_locks: bool
    tells_context_length: bool
    # A runner looks whether its client is still there between two batches of a prompt.
    notices_abort_in_prefill: bool
    # A prompt that fills the context is cut to about half of it; else one that is longer is cut to fill it.
    halves_long_prompts: bool
    # A prompt longer than the context that may not be cut goes to the runner, which refuses it.
    runner_refuses_long_prompts: bool
    # Only embedding models make vectors; others answer 501 without a word in the log.
    embeds_with_embedding_models_only: bool
    # A load that stalls is given up so long after the runner's last output, not after the load's begin.
    output_renews_load_timeout: bool
    # A load that fails in an allocation is tried once more, after all other models have left.
    retries_failed_loads: bool
    # The server waits until the runner answers at all before it says that it waits for the model.
    waits_for_launch: bool
    # The status that the first line of waiting already tells.
    first_status: str
    # A runner writes one token more than asked for.
    one_token_more: bool
    # The figures of the API are cut to this many nanoseconds.
    duration_grain_ns: int
    # A stream that fails before its first chunk is a 500 (from v0.12.6).
    fails_before_first_chunk: bool
    process_name: str
    runner_name: str
    unexpected_end: str
    load_timeout: str
    not_found: str
    too_long: str
    # A model whose file is gone: the status, and what the client is told.
    missing_blob: tuple[int, str]
    # A format that is none: the status, what the client is told, and whether the model is loaded first.
    bad_format: tuple[int, str, bool]
    # A context beyond what the model was trained for is cut to that.
    caps_num_ctx: bool
    # Memory that a load needs is compared with what there is before the runner is started, or after.
    fits_before_spawn: bool
    # A model that needs more memory than there is is refused; else its runner fails to allocate.
    refuses_too_large: bool
    # The runner reads the model only when the server, which has reached it, says so.
    loads_when_asked: bool
    # A runner that was killed in a request is waited for in the log.
    waits_for_killed: bool
    # The status that a poll tells when the runner was just killed while it loaded; empty: the load has failed at once.
    status_when_killed: str
    # What the client is told when the runner ends before its first token.
    unanswered_end: str
    # Files that the server refuses before it starts a runner, with what it tells the client.
    refuses: Mapping[str, str]
    # What the client is told when a runner fails while it loads, by the section that the log says.
    load_errors: Mapping[str, str]

    def tokens_after_cut(self, num_ctx: int) -> int:
        """What is left of a prompt that is longer than the context."""
        return num_ctx - (num_ctx - KEPT_TOKENS) // 2 if self.halves_long_prompts else num_ctx


ERAS = {
    era.version: era
    for era in (
        Era(
            "0.3.14", default_num_ctx=2048, raises_context_with_vram=False, auto_parallel=4, attaches_directly=False,
            loads_in_background=True,
            lists_while_loading=True, ps_takes_locks=False, tells_context_length=False,
            notices_abort_in_prefill=False, halves_long_prompts=False, waits_for_launch=False,
            runner_refuses_long_prompts=False,
            embeds_with_embedding_models_only=False, output_renews_load_timeout=False, retries_failed_loads=False,
            first_status="refused",
            one_token_more=True, duration_grain_ns=1_000_000, fails_before_first_chunk=False,
            missing_blob=(404, 'model "{model}" not found, try pulling it first'),
            bad_format=(400, 'format must be empty or "json"', False), caps_num_ctx=False, fits_before_spawn=True,
            refuses_too_large=True,
            loads_when_asked=False, status_when_killed="refused", waits_for_killed=False,
            unanswered_end='POST predict: Post "http://127.0.0.1:{port}/completion": EOF',
            process_name="ollama_llama_server", runner_name="llama runner",
            unexpected_end="an unknown error was encountered while running the model ",
            load_timeout="timed out waiting for llama runner to start - progress {progress} - ",
            refuses={"bad_magic": "invalid file magic"},
            load_errors={
                "load_failed_truncated_file": "llama runner process has terminated: error loading model: tensor "
                "'{tensor}' data is not within the file bounds, model is corrupted or incomplete\n"
                "llama_load_model_from_file: failed to load model\nllama_new_context_with_model: model cannot be NULL",
                "load_failed_unknown_architecture": "llama runner process has terminated: this model is not supported "
                "by your version of Ollama. You may need to upgrade",
            },
            not_found='model "{model}" not found, try pulling it first',
            too_long="input length exceeds maximum context length",
        ),
        Era(
            "0.13.5", default_num_ctx=4096, raises_context_with_vram=False, auto_parallel=1, attaches_directly=True,
            loads_in_background=False,
            lists_while_loading=False, ps_takes_locks=False, tells_context_length=True,
            notices_abort_in_prefill=True, halves_long_prompts=False, waits_for_launch=True,
            runner_refuses_long_prompts=False,
            embeds_with_embedding_models_only=False, output_renews_load_timeout=False, retries_failed_loads=False,
            first_status="loading",
            one_token_more=False, duration_grain_ns=1, fails_before_first_chunk=True,
            missing_blob=(400, '"{model}" does not support {route}'),
            bad_format=(500, 'invalid format: {format}; expected "json" or a valid JSON Schema object', True),
            caps_num_ctx=True, fits_before_spawn=False,
            refuses_too_large=True, loads_when_asked=True, status_when_killed="silent",
            waits_for_killed=True,
            unanswered_end=_STOPPED,
            process_name="ollama", runner_name="llama runner",
            unexpected_end=_UNEXPECTED_END,
            load_timeout="timed out waiting for llama runner to start - progress {progress} - ",
            refuses={
                "bad_magic": "invalid file magic", "truncated_file": "unable to load model: {blob}",
                "unknown_architecture": "unable to load model: {blob}",
            },
            load_errors={
                "load_failed_allocation": "llama runner process has terminated: error loading model: unable to "
                "allocate CPU buffer\nllama_model_load_from_file_impl: failed to load model",
            },
            not_found="model '{model}' not found",
            too_long="the input length exceeds the context length",
        ),
        Era(
            "0.32.15", default_num_ctx=4096, raises_context_with_vram=True, auto_parallel=1, attaches_directly=True,
            loads_in_background=False,
            lists_while_loading=False, ps_takes_locks=True, tells_context_length=True,
            notices_abort_in_prefill=True, halves_long_prompts=True, waits_for_launch=False, first_status="silent",
            runner_refuses_long_prompts=True,
            embeds_with_embedding_models_only=True, output_renews_load_timeout=True, retries_failed_loads=True,
            one_token_more=False, duration_grain_ns=1000, fails_before_first_chunk=True,
            missing_blob=(400, '"{model}" does not support {route}'),
            bad_format=(500, 'invalid format: {format}; expected "json" or a valid JSON Schema object', True),
            caps_num_ctx=True, fits_before_spawn=False,
            refuses_too_large=False, loads_when_asked=False, status_when_killed="",
            waits_for_killed=True,
            unanswered_end=_UNEXPECTED_END,
            process_name="llama-server", runner_name="llama-server",
            unexpected_end=_UNEXPECTED_END,
            load_timeout="timed out waiting for llama-server to start - ",
            refuses={"bad_magic": "invalid file magic"},
            load_errors={
                "load_failed_allocation": "llama-server process has terminated: exit status 1: ggml_aligned_malloc: "
                "insufficient memory (attempted to allocate {kv_mib} MB)\nggml_backend_cpu_buffer_type_alloc_buffer: "
                "failed to allocate buffer of size {kv_bytes}\nalloc_tensor_range: failed to allocate CPU buffer of "
                "size {kv_bytes}\nllama_init_from_model: failed to initialize the context: failed to allocate buffer "
                "for kv cache",
            },
            not_found="model '{model}' not found",
            too_long="the input length exceeds the context length",
        ),
    )
}  # fmt: skip
DEFAULT_VERSION = "0.13.5"
