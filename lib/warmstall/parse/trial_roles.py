"""What a column of a client's table can say, and the names under which it is known.

Names are those of Ollama's API, OpenAI's usage, LiteLLM's spend logs (its schema.prisma), guidellm's reports
(schemas/request_stats.py), vLLM's and SGLang's serving benchmarks, and those that people give by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["moment", "duration", "count", "number", "text"]


@dataclass(frozen=True)
class Role:
    """What a column can say, and the names under which it is known, best first."""

    name: str
    kind: Kind
    names: tuple[str, ...]


def _role(name: str, kind: Kind, names: str) -> Role:
    return Role(name, kind, tuple(names.split()))


# Of two roles that know the same name, the one that stands first takes the column.
ROLES = (
    _role("started", "moment", "started_at start_ts started start_time start start_at started_ts start_timestamp "
          "request_start_time request_start request_started_at time_start t_start ts_start begin begin_at begin_time "
          "began_at sent_at send_time dispatched_at claimed_at claim_time claimed request_time start_times t0"),
    _role("ended", "moment", "ended_at end_ts ended end_time end end_at ended_ts end_timestamp request_end_time "
          "request_end request_ended_at time_end t_end ts_end finished_at finish_time finished completed_at "
          "complete_at completion_time completed done_at received_at response_timestamp resolved_at t1"),
    _role("queued_at", "moment", "queued_at enqueued_at submitted_at scheduled_at queued_time enqueue_time "
          "claimed_at"),
    _role("first_token_at", "moment", "first_token_at first_token_time first_token_ts completion_start_time "
          "first_token_iteration"),
    _role("at", "moment", "timestamp ts time at datetime date_time when logged_at recorded_at created_at created "
          "date event_time @timestamp"),
    _role("wall", "duration", "wall wall_time wall_clock client_wall latency request_latency e2e_latency "
          "end_to_end_latency e2e e2el total_latency elapsed elapsed_time duration request_duration run_time runtime "
          "response_time time_taken took total_time total_wall round_trip round_trip_time rtt inference_time "
          "processing_time call_duration total latencies time"),
    _role("ttft", "duration", "ttft time_to_first_token first_token first_token_latency ttft_latency "
          "time_to_first_byte ttfb ttfts"),
    _role("queued", "duration", "queued queue_time queue_wait queue wait_time waiting_time queue_duration"),
    _role("total_duration", "duration", "total_duration total_time server_total"),
    _role("load_duration", "duration", "load_duration load_time model_load_time model_load load"),
    _role("prompt_eval_duration", "duration", "prompt_eval_duration prompt_eval_time prefill_time prefill_duration "
          "prefill prompt_time prompt_processing_time"),
    _role("eval_duration", "duration", "eval_duration eval_time decode_time decode_duration generation_time "
          "generation_duration decode gen_time"),
    _role("timeout", "duration", "timeout client_timeout request_timeout read_timeout timeout_setting"),
    _role("prompt_tokens", "count", "prompt_eval_count prompt_tokens input_tokens prompt_token_count tokens_in "
          "in_tokens num_prompt_tokens n_prompt_tokens input_token_count input_len prompt_len input_lens"),
    _role("output_tokens", "count", "eval_count completion_tokens output_tokens generated_tokens tokens_out "
          "out_tokens tokens_generated num_output_tokens num_completion_tokens n_tokens gen_tokens output_token_count "
          "completion_token_count new_tokens output_len output_lens tokens"),
    _role("tokens_per_s", "number", "eval_rate decode_tps gen_tps generation_tps output_tps eval_tps tps "
          "eval_tokens_per_second decode_tokens_per_second generation_tokens_per_second output_tokens_per_second "
          "output_tokens_per_s gen_tok_s decode_speed generation_speed tokens_per_s tokens_per_sec "
          "tokens_per_second tok_s tok_per_s tok_per_sec tokens_s token_per_second throughput_tps e2e_tps"),
    _role("attempts", "count", "attempts num_attempts n_attempts attempt_count tries total_attempts"),
    _role("retries", "count", "retries num_retries n_retries retry_count retried"),
    _role("status", "text", "status_code http_status http_status_code http_code response_code response_status "
          "status http code"),
    _role("outcome", "text", "outcome result state ok success succeeded passed is_success status successes"),
    _role("error", "text", "error error_message error_msg err error_str errmsg exception exception_string "
          "exception_message failure failure_reason error_detail error_text errors error_type exception_type "
          "error_class"),
    _role("finish_reason", "text", "finish_reason done_reason stop_reason finish_reasons"),
    _role("model", "text", "model model_name model_id llm llm_model served_model_name model_group "
          "litellm_model_name engine"),
    _role("path", "text", "path endpoint api_path request_path route url request_url uri api request_type"),
    _role("run_id", "text", "run_id trial_id request_id trial run call_id test_id job_id task_id case_id "
          "conversation_id session_id run_number run_index trial_number uuid id"),
)  # fmt: skip
BY_NAME = {role.name: role for role in ROLES}
# Names as Ollama's API writes them: whole numbers in them are nanoseconds.
OLLAMA_NAMES = {"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"}
