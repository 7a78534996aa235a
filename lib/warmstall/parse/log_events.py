r"""The table of Ollama log lines: the families every line belongs to, and the events a timeline is made of.

A *family* is a grammar: access line, slog text, raw runner line, crash dump. Families account for every
line of a log. An *event* is one meaningful message. Each row has a literal anchor (the cheap test, run
over every line), a pattern where the anchor is not proof enough or fields stand in the text, the
versions in which it is seen, and a sample. Every sample matches its own row and no other; a test holds
the table to that. Wordings that mean the same share a key.

New wording: add one row with its sample, taken from a real log, in the block it belongs to.

>>> event = event_in('time=2026-11-20T20:49:03.079Z level=INFO source=server.go:1372 msg="loaded runners" count=2')
>>> event.key, event.fields["count"]
('runners_loaded', '2')
>>> event_in("a line of no importance") is None
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, cached_property

from .go_values import pairs, unquote


@dataclass(frozen=True)
class Family:
    """A grammar of log lines. `pattern` is searched in the unwrapped line; Polars and Python agree on it."""

    name: str
    pattern: str
    sample: str


@dataclass(frozen=True)
class LogEvent:
    """One wording of one message; `key` is its name in the events table."""

    key: str
    anchor: str
    sample: str
    seen_in: str
    pattern: str = ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern or re.escape(self.anchor))


@dataclass(frozen=True)
class FoundEvent:
    """An event found in a line: its key, and its fields (named groups of the pattern, then slog pairs)."""

    key: str
    fields: dict[str, str] = field(default_factory=dict)


# Order matters: the first family that matches names the line. Polars and Python run the same text, and the patterns
# spell their classes out: `\d` and `\w` mean the characters of all scripts, which takes Polars ten times as long.
# There is no catch-all; text of other programs must stay without a family.
FAMILIES: tuple[Family, ...] = (
    Family(
        "access",
        r"\[GIN\] [0-9]{4}/[0-9]{2}/[0-9]{2} - [0-9]{2}:[0-9]{2}:[0-9]{2} \|",
        '[GIN] 2026/11/20 - 20:49:03 | 200 |  333.156µs |       127.0.0.1 | POST     "/api/generate"',
    ),
    # Searched anywhere, as raw runner text may be glued in front of a record.
    Family(
        "slog",
        r"time=[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]{8,40} level=[A-Z]",
        'time=2026-11-20T20:49:01.981Z level=INFO source=images.go:493 msg="total blobs: 14"',
    ),
    Family(
        "go_log",
        r"^[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:[A-Za-z0-9_]{1,40}\.go:[0-9]+: "
        r"|(?:DEBUG|INFO|WARN|ERROR) )",
        "2026/11/20 21:09:53 routes.go:1158: INFO server config env=map[OLLAMA_DEBUG:false]",
    ),
    Family("command_error", r"^Error: listen tcp ", "Error: listen tcp 127.0.0.1:11434: bind: address already in use"),
    Family(
        "gin_debug",
        r"^(?:\[GIN-debug\] | ?- using (?:env|code):)",
        "[GIN-debug] GET    /api/version              --> github.com/ollama/ollama/server.VersionHandler (5 handlers)",
    ),
    Family(
        "cpp",
        r"^(?:VERB|DEBUG|INFO|WARN|ERROR|ERR) +\[ *[A-Za-z0-9_:~<>() ]{1,60}\] .*timestamp=[0-9]{9,}",
        'INFO [main] model loaded | tid="140244164268032" timestamp=1795293000',
    ),
    Family(
        "cpp_json",
        r'^\{(?:"[a-z_]{1,20}":(?:"[^"]{0,200}"|-?[0-9.]{1,20}),){0,3}"function":"[A-Za-z0-9_:~<>() ]{1,60}"',
        '{"function":"initialize","level":"INFO","line":448,"msg":"initializing '
        'slots","n_slots":1,"tid":"140244164268032",'
        '"timestamp":1795293000}',
    ),
    Family(
        "slot",
        r"^\.*slot +[^ :|][^:|]{0,30}: id +[0-9]+ \| task -?[0-9]+ \|",
        "slot launch_slot_: id  0 | task 0 | processing task, is_child = 0",
    ),
    Family("srv", r"^\.*srv +[^ :|][^:|]{0,30}: ", "srv  llama_server: model loaded"),
    Family("que", r"^\.*que +[^ :|][^:|]{0,30}: ", "que    start_loop: processing new tasks"),
    Family("res", r"^\.*res +[^ :|][^:|]{0,30}: ", "res  remove_waiti: remove task 3 from waiting list"),
    Family("cmn", r"^\.*cmn +[^ :|][^:|]{0,30}: ", "cmn          init: llama threadpool init, n_threads = 1"),
    Family(
        "spec",
        r"^\.*spec +[^ :|][^:|]{0,30}: ",
        "spec common_specu: no implementations specified for speculative decoding",
    ),
    # Functions of llama.cpp and ggml by their first word; a bare `name: text` would take in any program.
    Family(
        "runner",
        r"^\.*~?(?:llama|llm|ggml|gguf|clip|mtmd|common|load|llava|mlx|gptneox|"
        r"unicode)_[A-Za-z0-9_:~]{1,70}(?:\(\))?(?:[: ]|$)",
        "load_tensors:          CPU model buffer size =    97.20 MiB",
    ),
    Family(
        "runner_short",
        r"^\.*(?:load|init|print_info|warmup|init_tokenizer|create_tensor|done_getting_tensors|graph_reserve|"
        r"sched_reserve|resolve_fused_ops|set_abort_callback|alloc_tensor_range|alloc_compute_meta|"
        r"reserve_compute_meta|output_reserve|check_double_bos_eos|system_info|device_info|log_info|build_info|"
        r"cudaSetDevice err|MLX|encode_image_with_clip|process_mmproj|get_tensor|find_slot|prepare|decode|encode|"
        r"update_slots|"
        r"state_[a-z_]{1,40}|seq_[a-z]{1,20}|decoding (?:image|audio) batch|(?:image|audio) decoded \(batch|"
        r"image slice encoded|encoding mtmd batch|image encoded|time_[a-z_]{1,40}|print_timings?|"
        r"main: (?:server|model|HTTP|build|exiting|loading|starting|setting))(?:[: ]|$)",
        "print_info: n_ctx_train           = 4096",
    ),
    Family(
        "runner_text",
        r"^\.*(?:loading library [^ ]|image_tokens->n[xy] = |batch_f32 size = |--- (?:vision|audio|projector) "
        r"hparams ---|"
        r"version: [^ ]+ \((?:build )?[0-9]|version: [0-9]+ \([0-9a-f]{7,}\)|built with [^ ]+ .* for |"
        r"\[mlx\] |llama-server |update: applying K-shift|statistics +draft-|rocBLAS error|offload(?:ing|ed) [0-9])",
        "built with GNU 12.2.0 for Linux x86_64",
    ),
    Family(
        "device_row",
        r"^ *(?:Device [0-9]+: [^ ]|- [A-Za-z0-9_]{2,20} *: .*MiB free\))",
        "  Device 0: NVIDIA GeForce RTX 4090, compute capability 8.9, VMM: yes",
    ),
    Family(
        "quantize_row",
        r"^\[ *[0-9]+/ *[0-9]+\] +[A-Za-z0-9_.]+ +- \[",
        "[   4/  75] blk.0.attn_k.weight                  - [  1024,    512,      1,      1], type =   q8_0, size =  "
        "  0.531 MiB",
    ),
    Family(
        "sampler_params",
        r"^\t[a-z_]{3,30} = -?[0-9]",
        "\trepeat_last_n = 64, repeat_penalty = 1.000, frequency_penalty = 0.000, presence_penalty = 0.000",
    ),
    # llama-server prints its built-in example conversation in the markup of the loaded model.
    Family(
        "chat_example",
        r"^(?:<\|[a-z_]{1,30}\|>|<(?:start|end)_of_turn>|"
        r"(?:You are a helpful assistant|Hello|Hi there|How are you\?)(?:<[^<> ]{1,30}>)*'?$|'$)",
        "<|im_start|>user",
    ),
    Family(
        "go_crash",
        r"^(?:panic: |\tpanic: |fatal error: |runtime: |goroutine [0-9]+ |created by [^ ]|SIG[A-Z]{2,8}: "
        r"|PC=0x[0-9a-f]+ |"
        r"signal arrived during |\[signal |\[Recovery\] |(?:r[a-z0-9]{1,2}|rflags|[cdefgs]s|lr|sp|pc|fault) "
        r"+0x[0-9a-f]|"
        r"\t[^\t]{1,400}:[0-9]+(?: \+0x[0-9a-f]| fp=0x|$)|"
        r"(?:[a-z][A-Za-z0-9_.@-]*/)*[a-z][A-Za-z0-9_]*\.[A-Za-z0-9_.*()\[\]-]+\((?:0x|\.\.\.|\{|\)|[0-9])|"
        r"\.\.\.[0-9a-z ]* frames elided\.\.\.|Exception 0x[0-9a-f]+ )",
        "goroutine 1 gp=0x73a6199a1e0 m=nil [IO wait]:",
    ),
    Family(
        "native_crash",
        r"^(?:[^ ]{1,300}:[0-9]+: (?:GGML_ASSERT|GGML_ABORT|(?:CUDA|ROCm|HIP|MUSA|SYCL) error|fatal error|Deepseek)|"
        r"[^ ]{1,300}:[0-9]+: [^:]{1,200}Assertion|[^ ]{1,300}: [^ ]{1,300}:[0-9]+: .*Assertion|GGML_ASSERT|"
        r"(?:CUDA|ROCm|HIP|MUSA|SYCL) error|  current device: [0-9]|  "
        r"(?:cuda|cublas|hip|hipblas|rocblas)[A-Za-z_0-9]+\(|  err$|"
        r"ptrace: |No stack\.$|The program is not being run\.$|Could not attach to process\.|"
        r"process, check the setting of /proc/sys/kernel/yama|again as the root user\.|\[New LWP |\[Thread debugging|"
        r"\[Inferior [0-9]|Using host libthread_db|#[0-9]+ +0x[0-9a-f]|#[0-9]+ +<signal handler|Aborted$|Aborted "
        r"\(core|"
        r"Segmentation fault|Killed$|terminate called |  what\(\):|libc\+\+abi: |error: Insufficient Memory|"
        r"\.*(?:Memory access fault|HW Exception) by GPU node-[0-9])",
        "/tmp/ollama/ggml/src/ggml.c:4101: GGML_ASSERT(ggml_nelements(a) == ne0) failed",
    ),
    Family("progress_dots", r"^\.{3,}", ".................................................."),
    Family(
        "service_manager",
        r"^(?:(?:Started|Starting|Stopping|Stopped|Reloading|Reloaded|Failed to start|Dependency failed for) [Oo]llama|"
        r"ollama[A-Za-z0-9@_-]*\.service: |-- (?:Boot [0-9a-f]+ --|Reboot --|Logs begin at |Journal begins at |No "
        r"entries --)|"
        r"(?:Memory cgroup out|Out) of memory: Killed process [0-9]+ |oom-kill:constraint=|oom_reaper: |"
        r"(?:ollama|ollama_llama_se|llama-server)[A-Za-z0-9_-]* invoked oom-killer: |"
        r"(?:\[ *[0-9]+\.[0-9]{6}\] )?(?:NVRM: Xid \(|\[drm:amdgpu_|amdgpu [0-9a-f]{4}:|"
        r"[^ \[]{1,16}\[[0-9]+\]: segfault at ))",
        "ollama.service: Main process exited, code=killed, status=9/KILL",
    ),
    Family(
        "systemctl_status",
        r"^(?:[●○×*] ollama[A-Za-z0-9@_-]*\.service - | +(?:Loaded: (?:loaded|masked|not-found)|Active: [a-z]+ |"
        r"Main PID: [0-9]+ |Tasks: [0-9]|Memory: [0-9]|CPU: [0-9]|CGroup: /|Drop-In: /|Invocation: [0-9a-f]{32}|└─))",
        "     Active: active (running) since Fri 2026-11-20 20:49:00 UTC; 8min ago",
    ),
    Family(
        "shell",
        r"^ *(?:At line:[0-9]+ char:[0-9]+|In [A-Z]:\\.{1,300}:[0-9]+ |\+ "
        r"(?:CategoryInfo|FullyQualifiedErrorId|~+|.{0,200}ollama)|"
        r"PS [A-Z]:\\|\[?[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+[: ][^ ]{1,200}[$#] ?|nohup: ignoring input|"
        r"ollama(?:\.exe)? : |ollama\([0-9]+\) Malloc)",
        "At line:1 char:1",
    ),
    # PowerShell folds what a program writes to stderr; these are ends of records it folded.
    Family(
        "slog_rest",
        r'^(?:(?:[0-9:]{2,6} )?level=(?:DEBUG|INFO|WARN|ERROR)|source=[a-z0-9_]{1,40}\.go:[0-9]+|msg="?[A-Za-z]|'
        r'env="map\[|cmd="|'
        r"(?:OLLAMA|GGML|LLAMA)_[A-Z_]{3,40}:|(?:CUDA|HIP|ROCR)_VISIBLE_DEVICES:|GPU_DEVICE_ORDINAL:|"
        r"HSA_OVERRIDE_GFX_VERSION:|"
        r"HTTPS?_PROXY:|NO_PROXY:|https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)[: "
        r"]|(?:total|free|free_swap|size|threshold)=\")",
        'msg="server config" env="map[',
    ),
    Family(
        "first_run",
        r"^(?:Couldn't find '.{1,400}id_ed25519'\. Generating|Your new public key is:|ssh-ed25519 AAAA)",
        "Couldn't find '/usr/share/ollama/.ollama/id_ed25519'. Generating new private key.",
    ),
    Family(
        "pull_progress",
        r"^(?:pulling (?:manifest|[0-9a-f]{12}|config|dependencies)|verifying sha256 digest|writing manifest|"
        r"removing (?:any )?unused layers|success *$)",
        "pulling manifest",
    ),
    # Handler errors that GIN prints under an access line, and answers kept beside the log.
    Family("api_error", r'^(?:Error #[0-9]+: |\{"error":")', "Error #01: server busy"),
    Family("blank", r"^[ \t\r]*$", ""),
)

_TIME = "time=2026-11-20T20:49:03.106Z"
_BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-ff9088351f6c15786e2807b384d5a942ebed486de8ae03e6468428e6ebd86c57"
_RUNNER = (
    f'runner.name=registry.ollama.ai/library/mid:latest runner.size="160.4 MiB" runner.pid=31289 runner.model={_BLOB}'
)
_MESSAGE = re.compile(r'msg=(?:"(?:[^"\\]|\\.)*"|\S+(?= |$))')


def _slog(key: str, seen_in: str, where: str, message: str, pattern: str = "") -> LogEvent:
    """A row for a slog record: `where` is level and source, `message` the rest. The anchor is the whole `msg=`.

    What stands before the message is no part of the wording, so all samples share one time.
    """
    level, source = where.split()
    msg = _MESSAGE.match(message)
    assert msg, message
    # An unquoted word needs the blank behind it: `msg=load` is not `msg=loading`.
    anchor = msg[0] if msg[0].endswith('"') else msg[0] + " "
    return LogEvent(key, anchor, f"{_TIME} level={level} source={source} {message}", seen_in, pattern)


def _begins(key: str, seen_in: str, where: str, anchor: str, rest: str, pattern: str = "") -> LogEvent:
    """A row for a slog record whose message only begins like `anchor`; `rest` completes the sample."""
    level, source = where.split()
    return LogEvent(key, anchor, f"{_TIME} level={level} source={source} {anchor}{rest}", seen_in, pattern)


# One slot line of llama-server; the function name is cut to 12 characters and padded, so it proves nothing.
_SLOT = r"^\.*slot +[^ :|][^:|]{0,30}: id +(?P<slot>[0-9]+) \| task (?P<task>-?[0-9]+) \| "
_SRV = r"^\.*srv +[^ :|][^:|]{0,30}: "
# Old engine, JSON dialect: keys are sorted, so slot_id, task_id, tid and timestamp stand in this order.
_JSON_IDS = (
    r'[^{}]{0,400}"slot_id":(?P<slot>[0-9]+),[^{}]{0,300}"task_id":(?P<task>-?[0-9]+),[^{}]{0,80}"timestamp":(?P<ep'
    r"och>[0-9]+)"
)
_JSON_EPOCH = r'[^{}]{0,400}"timestamp":(?P<epoch>[0-9]+)'
# Old engine, `LEVEL [function] message | key=value` dialect.
_CPP = r"^(?:VERB|DEBUG|INFO|WARN|ERROR|ERR) +\[ *[A-Za-z0-9_:~<>() ]{1,60}\] +"
_CPP_IDS = (
    r" +\|[^|]{0,400} slot_id=(?P<slot>[0-9]+) (?:[a-z_]+=\S{1,40} ){0,4}?task_id=(?P<task>-?[0-9]+) .{0,80}?"
    r"timestamp=(?P<epoch>[0-9]+)"
)
_CPP_SHIFT = (
    r" \| .{0,80}?n_discard=(?P<n_discard>[0-9]+) n_keep=(?P<n_keep>[0-9]+) n_left=(?P<n_left>[0-9]+) .{0,80}?"
    r"slot_id=(?P<slot>[0-9]+) task_id=(?P<task>-?[0-9]+) .{0,80}?timestamp=(?P<epoch>[0-9]+)"
)
_CPP_EPOCH = r" +\| .{0,400}?timestamp=(?P<epoch>[0-9]+)"
# `load_tensors:   CPU model buffer size = 97.20 MiB`: a function, a device, a kind.
_BUFFER = r"^\.*[A-Za-z0-9_]{1,60}: +(?P<device>[A-Za-z0-9_]{1,40}) +(?P<kind>"
_BUFFER_SIZE = r") buffer size = +(?P<mib>[0-9.]+) MiB"
_MODEL_PORT = r'"[^"]*?--model (?P<model>(?:[^"\\ ]|\\.| (?!--))+)(?:[^"]*? --port (?P<port>[0-9]+))?'
# These errors have keys of their own; the failure record that carries one takes that key.
_MLX_DIED = r"mlx runner (?:failed: (?:[^\"\\]|\\.)*\(exit: |exited unexpectedly: )signal: "
_OTHER = (
    r'(?!"(?:timed out waiting for llama|llama runner process has terminated|llama-server process has terminated|'
    rf"timeout waiting for (?:mlx|image) runner|{_MLX_DIED}))"
)
_FAILED = (
    r'msg="(?:Load failed|error loading llama server|NewLlamaServer failed|failed to create server)" (?:model=\S+ '
    r")?error="
)
_REASON = r'(?P<reason>(?:[^"\\]|\\.)*)'

EVENTS: tuple[LogEvent, ...] = (
    # --- server start ---------------------------------------------------------------------------------------
    _slog(
        "server_config",
        "v0.7.0 →",
        "INFO routes.go:1554",
        'msg="server config" env="map[OLLAMA_CONTEXT_LENGTH:4096 OLLAMA_DEBUG:INFO OLLAMA_KEEP_ALIVE:5m0s]"',
    ),
    # Logged before the slog handler is installed.
    LogEvent(
        "server_config",
        'INFO server config env="map[',
        '2026/11/20 21:22:04 INFO server config env="map[OLLAMA_DEBUG:false OLLAMA_KEEP_ALIVE:5m0s '
        'OLLAMA_NUM_PARALLEL:0]"',
        "v0.1.34–v0.6.8",
    ),
    LogEvent(
        "server_config",
        "INFO server config env=map[",
        "2026/11/20 21:09:53 routes.go:1158: INFO server config env=map[OLLAMA_DEBUG:false]",
        "v0.1.34–v0.6.8",
        r"INFO server config env=(?P<env>map\[.*\])",
    ),
    LogEvent(
        "server_listening",
        "Listening on ",
        f'{_TIME} level=INFO source=routes.go:1607 msg="Listening on 127.0.0.1:11434 (version 0.13.5)"',
        "v0.1.4 →",
        r"Listening on (?P<address>\S+) \(version (?P<version>[^)]+)\)",
    ),
    LogEvent(
        "blobs_pruned",
        "total blobs: ",
        f'{_TIME} level=INFO source=images.go:493 msg="total blobs: 14"',
        "v0.0.19 →",
        r"total blobs: (?P<count>[0-9]+)",
    ),
    LogEvent(
        "blobs_pruned",
        "total unused blobs removed: ",
        f'{_TIME} level=INFO source=images.go:500 msg="total unused blobs removed: 0"',
        "v0.0.19 →",
        r"total unused blobs removed: (?P<removed>[0-9]+)",
    ),
    _begins(
        "cloud_disabled",
        "v0.16.2 →",
        "INFO routes.go:1754",
        'msg="Ollama cloud disabled: ',
        'true"',
        r"Ollama cloud disabled: (?P<disabled>true|false)",
    ),
    _slog(
        "low_vram_mode",
        "v0.11.4–v0.15.4",
        "INFO routes.go:1648",
        'msg="entering low vram mode" "total vram"="0 B" threshold="20.0 GiB"',
    ),
    _slog(
        "default_ctx_tier",
        "v0.15.5 →",
        "INFO routes.go:1852",
        'msg="vram-based default context" total_vram="0 B" default_num_ctx=4096',
    ),
    _slog(
        "model_cache_hydrated",
        "v0.30.0 →",
        "INFO model_list_cache.go:98",
        'msg="model list cache hydration complete" models=5 failures=0 elapsed=12.92011ms',
    ),
    _begins(
        "request_bodies_logged",
        "v0.18.3 →",
        "INFO inference_request_log.go:40",
        'msg="request debug logging enabled; ',
        'requests are kept" path=/tmp/ollama-request-logs',
    ),
    LogEvent(
        "request_bodies_logged",
        " replay using curl",
        f'{_TIME} level=INFO source=inference_request_log.go:88 msg="logged to /tmp/ollama-request-logs, replay '
        f'using curl"',
        "v0.18.3 →",
        r'msg="[^"]{0,400}logged to [^"]{0,400}replay using curl',
    ),
    _slog(
        "env_invalid",
        "v0.3.2 →",
        "WARN config.go:204",
        'msg="invalid environment variable, using default" key=OLLAMA_NUM_PARALLEL value=many default=0',
    ),
    _slog("option_invalid", "v0.1.35 →", "WARN types.go:723", 'msg="invalid option provided" option=use_mlock'),
    _begins(
        "experiment_gone",
        "v0.31.2 →",
        "WARN routes.go:1990",
        'msg="OLLAMA_EXPERIMENT=client2 is no longer available',
        '"',
    ),
    # --- GPU discovery --------------------------------------------------------------------------------------
    _slog(
        "gpu_inventory",
        "v0.1.35 →",
        "INFO types.go:60",
        'msg="inference compute" id=cpu library=cpu compute="" name=cpu description=cpu libdirs=ollama driver="" '
        'pci_id="" '
        'type="" total="23.5 GiB" available="22.8 GiB"',
    ),
    _slog("gpu_discovery_start", "v0.2.0–v0.12.3", "INFO gpu.go:217", 'msg="looking for compatible GPUs"'),
    _slog("gpu_discovery_start", "v0.12.4 →", "INFO runner.go:67", 'msg="discovering available GPUs..."'),
    _slog("gpu_none", "v0.2.0–v0.12.3", "INFO gpu.go:377", 'msg="no compatible GPUs were discovered"'),
    LogEvent(
        "gpu_driver_mismatch",
        "version mismatch between driver and cuda driver library",
        f'{_TIME} level=WARN source=gpu.go:591 msg="version mismatch between driver and cuda driver library - reboot '
        f"or "
        'upgrade may be required" library=/usr/lib/libcuda.so.1 error="cuda driver library init failure: 803"',
        "v0.2.0–v0.12.3",
    ),
    _begins(
        "gpu_driver_old", "v0.9.3–v0.12.3", "WARN cuda_common.go:65", 'msg="old CUDA driver detected', '" version=11.8'
    ),
    _begins(
        "gpu_driver_old",
        "v0.30.0 →",
        "WARN cuda_compat.go:50",
        'msg="NVIDIA driver too old',
        '" device=CUDA0 compute=6.1 driver=11.8 required_driver=12.0',
    ),
    _begins("gpu_driver_old", "v0.30.0 →", "WARN amd.go:120", 'msg="AMD driver is too old', '"'),
    _slog(
        "gpu_cpu_too_old",
        "v0.1.45–v0.5.1",
        "WARN gpu.go:224",
        'msg="CPU does not have minimum vector extensions, GPU inference disabled" required=avx detected="no vector '
        'extensions"',
    ),
    _begins(
        "rocm_missing",
        "v0.1.29–v0.12.3",
        "WARN amd_linux.go:378",
        'msg="amdgpu detected, but no compatible rocm library found.',
        '  Either install rocm v6, or follow manual install instructions"',
    ),
    _begins(
        "rocm_unsupported",
        "v0.1.33–v0.12.3",
        "WARN amd_linux.go:402",
        'msg="amdgpu is not supported',
        '" gpu=0 gpu_type=gfx1103 library=/opt/rocm/lib',
    ),
    _begins("rocm_unsupported", "v0.1.33–v0.12.3", "WARN amd_linux.go:286", 'msg="amdgpu too old ', 'gfx803" gpu=0'),
    _begins(
        "rocm_unsupported",
        "v0.1.35–v0.12.3",
        "INFO amd_linux.go:297",
        'msg="unsupported Radeon iGPU detected skipping',
        '" id=0 total="512.0 MiB"',
    ),
    _begins(
        "rocm_denied",
        "v0.3.11–v0.12.3",
        "ERROR amd_linux.go:420",
        'msg="amdgpu devices detected but permission problems block access',
        '" error="open /dev/kfd: permission denied"',
    ),
    _begins(
        "rocm_gfx_dropped",
        "v0.30.0 →",
        "WARN amd.go:88",
        'msg="dropping ROCm device — no rocblas support for gfx target',
        '" device=ROCm0 gfx_target=gfx1103 supported="[gfx1030 gfx1100]"',
    ),
    _begins(
        "igpu_dropped",
        "v0.30.0 →",
        "INFO runner.go:150",
        'msg="dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1',
        '" id=0 library=Vulkan name=Vulkan0 description="Integrated Graphics" pci_id=0000:00:02.0',
    ),
    _begins(
        "vulkan_off",
        "v0.12.11–v0.24.0",
        "INFO runner.go:106",
        'msg="experimental Vulkan support disabled.',
        '  To enable, set OLLAMA_VULKAN=1"',
    ),
    _slog(
        "discovery_failed",
        "v0.12.4–v0.24.0",
        "INFO runner.go:464",
        'msg="failure during GPU discovery" OLLAMA_LIBRARY_PATH=[/usr/local/lib/ollama] extra_envs=map[] '
        'error="failed to finish discovery before timeout"',
    ),
    _slog(
        "discovery_failed",
        "v0.30.0 →",
        "INFO runner.go:470",
        'msg="failure during llama-server GPU discovery" error="exit status 1" detail=""',
    ),
    LogEvent(
        "gpu_init_failed",
        "_init: failed to initialize ",
        "ggml_cuda_init: failed to initialize CUDA: unknown error",
        "v0.5.2 →",
        r"ggml_cuda_init: failed to initialize (?P<library>CUDA|ROCm|MUSA): (?P<reason>.{1,200})",
    ),
    LogEvent(
        "gpu_init_failed",
        "unknown error initializing cuda driver library",
        f'{_TIME} level=WARN source=gpu.go:604 msg="unknown error initializing cuda driver library '
        f'/usr/lib/libcuda.so.550.90: cuda driver library init failure: 999. see https://example.org"',
        "v0.2.0–v0.12.3",
        r"unknown error initializing cuda driver library(?:.{1,400}?init failure: (?P<code>[0-9]+))?",
    ),
    LogEvent(
        "gpu_init_failed",
        "nable to load cud",
        f'{_TIME} level=INFO source=gpu.go:613 msg="Unable to load cudart library /usr/lib/libcuda.so.535.54: '
        f'cuda driver library init failure: 3"',
        "v0.2.0–v0.12.3",
        r"nable to load cud.{1,400}?cuda driver library init failure: (?P<code>[0-9]+)",
    ),
    # The driver's complaint has no end of line, so the record stands glued behind it.
    LogEvent(
        "gpu_memory_unread",
        'msg="error looking up nvidia GPU memory"',
        f"cuda driver library failed to get device context 800{_TIME} level=WARN source=gpu.go:434 "
        f'msg="error looking up nvidia GPU memory"',
        "v0.1.33–v0.12.3",
        r'(?:device context (?P<code>[0-9]+)time=.{0,200})?msg="error looking up nvidia GPU memory"',
    ),
    _slog(
        "discovery_timeout",
        "v0.30.0 →",
        "WARN runner.go:480",
        'msg="llama-server GPU discovery watchdog timed out" error="context deadline exceeded"',
    ),
    _slog(
        "discovery_timeout",
        "v0.30.0 →",
        "WARN llama_server.go:210",
        'msg="llama-server discovery: timed out waiting for server startup" lines_captured=3',
    ),
    _begins(
        "cuda_arch_skipped",
        "v0.30.0 →",
        "INFO llama_server.go:260",
        'msg="skipping CUDA device — compute capability not in compiled architectures',
        '" device=CUDA0 cc=3.5 archs="[500 600]"',
    ),
    _slog(
        "metal_retry",
        "v0.23.0–v0.24.0",
        "WARN runner.go:300",
        'msg="retrying GPU discovery with Metal tensor API disabled" error="exit status 2"',
    ),
    _slog(
        "metal_retry",
        "v0.30.0 →",
        "WARN runner.go:310",
        'msg="retrying llama-server GPU discovery with Metal tensor API disabled" error="exit status 2"',
    ),
    _slog(
        "env_override", "v0.13.0 →", "WARN runner.go:485", 'msg="user overrode visible devices" CUDA_VISIBLE_DEVICES=0'
    ),
    _slog(
        "vram_refresh_stale",
        "v0.12.4 →",
        "WARN runner.go:358",
        'msg="unable to refresh free memory, using old values"',
    ),
    # A spawn without --model is a probe of the devices, not a load.
    _slog(
        "discovery_spawn",
        "v0.12.7–v0.24.0",
        "INFO server.go:429",
        'msg="starting runner" cmd="/usr/local/bin/ollama runner --ollama-engine --port 39313"',
        r'msg="starting runner" cmd="(?:(?!--model)(?:[^"\\]|\\.))*?--port '
        r'(?P<port>[0-9]+)(?:(?!--model)(?:[^"\\]|\\.))*"',
    ),
    # --- scheduler ------------------------------------------------------------------------------------------
    _slog("sched_start", "v0.1.33 →", "DEBUG sched.go:121", 'msg="starting llm scheduler"'),
    _slog("sched_reuse", "v0.12.10 →", "TRACE sched.go:190", f'msg="using existing loaded runner" model={_BLOB}'),
    _slog("sched_eval", "v0.1.33 →", "DEBUG sched.go:579", f'msg="evaluating already loaded" model={_BLOB}'),
    _slog("sched_reload", "v0.6.8 →", "DEBUG sched.go:150", f"msg=reloading {_RUNNER}"),
    _slog("load_first", "v0.1.33 →", "DEBUG sched.go:208", f'msg="loading first model" model={_BLOB}'),
    _slog(
        "load_retry_first", "v0.30.0 →", "DEBUG sched.go:220", f'msg="first model load requested retry" model={_BLOB}'
    ),
    _slog(
        "fits_single",
        "v0.1.33–v0.11.4",
        "INFO sched.go:786",
        f'msg="new model will fit in available VRAM in single GPU, loading" model={_BLOB} gpu=GPU-0 parallel=2 '
        'available=8589934592 required="1.3 GiB"',
    ),
    _slog(
        "fits",
        "v0.1.33–v0.12.10",
        "INFO sched.go:804",
        f'msg="new model will fit in available VRAM, loading" model={_BLOB} library=cuda parallel=2 required="1.3 GiB"',
    ),
    _slog(
        "fits",
        "v0.11.5–v0.12.10",
        "INFO sched.go:812",
        f'msg="new model will fit in available VRAM across minimum required GPUs, loading" model={_BLOB} library=cuda '
        'parallel=1 required="30.0 GiB" gpus=2',
    ),
    _begins(
        "fits",
        "v0.12.7–v0.12.10",
        "INFO sched.go:820",
        'msg="new model will fit in available system memory for CPU inference',
        f', loading" model={_BLOB} parallel=1 required="1.3 GiB"',
    ),
    _slog("fits_existing", "v0.1.33 →", "DEBUG sched.go:238", 'msg="new model fits with existing models, loading"'),
    # Wordings of the CPU path beside `fits`, read from a v0.3.14 log.
    _slog("fits_cpu", "v0.3.14", "DEBUG sched.go:258", 'msg="cpu mode with first model, loading"'),
    _slog(
        "fits_cpu",
        "v0.3.14",
        "DEBUG sched.go:262",
        'msg="cpu mode with available system memory or first model, loading"',
    ),
    _slog(
        "fits_cpu",
        "v0.3.14",
        "DEBUG sched.go:791",
        'msg="cpu inference mode, model fits in available system memory" model="108.0 MiB" available="23.0 GiB"',
    ),
    _slog(
        "vram_ledger",
        "v0.1.45 →",
        "INFO sched.go:549",
        'msg="updated VRAM based on existing loaded models" gpu=0 library=Metal total="16.0 GiB" available="10.0 GiB"',
    ),
    _slog(
        "max_runners",
        "v0.1.33 →",
        "DEBUG sched.go:180",
        'msg="max runners achieved, unloading one to make room" runner_count=1',
    ),
    _slog("evict_idle", "v0.1.33 →", "DEBUG sched.go:861", f'msg="found an idle runner to unload" {_RUNNER}'),
    _slog(
        "evict_mark",
        "v0.1.33 →",
        "DEBUG sched.go:248",
        f'msg="resetting model to expire immediately to make room" {_RUNNER} refCount=0',
    ),
    _slog(
        "evict_wait",
        "v0.1.33 →",
        "DEBUG sched.go:259",
        f'msg="waiting for pending requests to complete and unload to occur" {_RUNNER}',
    ),
    _slog("evict_done", "v0.1.33 →", "DEBUG sched.go:264", f'msg="unload completed" {_RUNNER}'),
    _slog(
        "evict_reason_mem",
        "v0.11.7–v0.13.0",
        "INFO server.go:900",
        'msg="model requires more memory than is currently available, evicting a model to make space" "loaded '
        'layers"=80',
    ),
    _slog(
        "evict_reason_mem",
        "v0.13.1–v0.24.0",
        "INFO server.go:1060",
        'msg="model requires more gpu memory than is currently available, evicting a model to make space" '
        '"loaded layers"=80',
    ),
    _slog(
        "evict_reason_mem",
        "v0.12.11–v0.24.0",
        "INFO server.go:1075",
        'msg="model requires more system memory than is currently available, evicting a model to make space" '
        "required=49253131776 free=21773246464",
    ),
    _slog(
        "evict_predicted",
        "v0.30.0 →",
        "INFO sched.go:610",
        'msg="llama-server model predicted to exceed available memory, evicting" predicted="20.1 GiB" '
        'predicted_num_ctx=4096 num_batch=512 available="12.0 GiB" system_limited=true',
    ),
    _slog(
        "coload_ok",
        "v0.30.0 →",
        "INFO sched.go:620",
        'msg="llama-server model fits alongside existing models" predicted="1.1 GiB" available="12.0 GiB"',
    ),
    _slog(
        "evict_all_oom",
        "v0.30.0 →",
        "WARN sched.go:700",
        f'msg="llama-server load failed; evicting all other models and retrying once" model={_BLOB} '
        'error="llama-server process has terminated: exit status 1: ggml_aligned_malloc: insufficient memory"',
    ),
    _slog(
        "evict_all_oom",
        "v0.30.0 →",
        "INFO sched.go:720",
        'msg="evicting all other loaded models for OOM retry" count=1',
    ),
    _slog(
        "ctx_reduced_oom",
        "v0.30.0 →",
        "WARN sched.go:690",
        'msg="llama-server load failed; reducing automatic context and retrying once" old_num_ctx=262144 '
        'effective_num_ctx=262144 new_num_ctx=32768 loaded_count=0 evict_all=false error="out of memory"',
    ),
    _slog(
        "runtime_oom_expire",
        "v0.30.0 →",
        "WARN sched.go:740",
        'msg="runtime OOM detected; expiring loaded models to clear memory before next request" '
        f'model={_BLOB} error="out of memory"',
    ),
    _slog(
        "gpu_selected",
        "v0.30.0 →",
        "INFO llama_server.go:400",
        'msg="selecting single GPU for llama-server model" main_gpu=0 id=GPU-0 library=CUDA name=CUDA0 '
        'available="22.0 GiB"',
    ),
    _begins(
        "gpu_selected",
        "v0.30.0 →",
        "INFO llama_server.go:410",
        'msg="selecting requested single GPU',
        ' for llama-server model" main_gpu=1',
    ),
    _begins("gpu_selected", "v0.30.0 →", "INFO llama_server.go:420", 'msg="selecting GPU backend', '" gpu_count=2'),
    _slog(
        "mmap_off",
        "v0.30.0 →",
        "INFO llama_server.go:318",
        f'msg="disabling mmap for llama-server load by default" model={_BLOB} reason=cpu',
    ),
    _begins(
        "mmap_off",
        "v0.30.0 →",
        "INFO llama_server.go:330",
        'msg="disabling mmap for llama-server load due to host memory pressure',
        f'" model={_BLOB}',
    ),
    _slog("runners_loaded", "v0.1.33 →", "INFO sched.go:517", 'msg="loaded runners" count=1'),
    _slog(
        "went_idle",
        "v0.1.33 →",
        "DEBUG sched.go:312",
        f'msg="runner with non-zero duration has gone idle, adding timer" {_RUNNER} duration=5m0s',
    ),
    _slog(
        "went_idle",
        "v0.1.33 →",
        "DEBUG sched.go:330",
        f'msg="runner with non-zero duration has gone idle, resetting timer" {_RUNNER} duration=5m0s',
    ),
    _slog(
        "idle_zero",
        "v0.1.33 →",
        "DEBUG sched.go:303",
        f'msg="runner with zero duration has gone idle, expiring to unload" {_RUNNER}',
    ),
    _slog("timer_fired", "v0.1.33 →", "DEBUG sched.go:314", f'msg="timer expired, expiring to unload" {_RUNNER}'),
    _slog("expired_event", "v0.1.33 →", "DEBUG sched.go:335", f'msg="runner expired event received" {_RUNNER}'),
    _slog(
        "expired_busy",
        "v0.1.33 →",
        "DEBUG sched.go:340",
        f'msg="expired event with positive ref count, retrying" {_RUNNER} refCount=1',
    ),
    _slog("unload_sent", "v0.1.33 →", "DEBUG sched.go:376", f'msg="sending an unloaded event" {_RUNNER}'),
    _slog("unload_sent", "v0.1.33–v0.6.8", "DEBUG sched.go:360", f'msg="runner released" modelPath={_BLOB}'),
    # Seen since v0.13.5; the moment the process is gone.
    _slog(
        "unload_killed",
        "v0.13.5 →",
        "DEBUG sched.go:367",
        f'msg="runner terminated and removed from list, blocking for VRAM recovery" {_RUNNER}',
    ),
    _slog(
        "vram_slow",
        "v0.1.35 →",
        "WARN sched.go:647",
        f"""msg="gpu VRAM usage didn't recover within timeout" seconds=5.1 model={_BLOB}""",
    ),
    _begins(
        "vram_ok",
        "v0.1.35 →",
        "DEBUG sched.go:660",
        'msg="gpu VRAM free memory converged after ',
        f'0.53 seconds" free_before="1.0 GiB" free_now="6.0 GiB" {_RUNNER}',
        r"converged after (?P<seconds>[0-9.]+) seconds",
    ),
    _slog("vram_nowait", "v0.7.0 →", "DEBUG sched.go:630", f'msg="no need to wait for VRAM recovery" {_RUNNER}'),
    _slog("req_ctx_done", "v0.1.33 →", "DEBUG sched.go:284", 'msg="context for request finished"'),
    _slog(
        "req_ctx_done",
        "v0.1.33 →",
        "DEBUG sched.go:327",
        f'msg="after processing request finished event" {_RUNNER} refCount=0',
    ),
    _slog(
        "queued_cancelled",
        "v0.1.34 →",
        "DEBUG sched.go:140",
        'msg="pending request cancelled or timed out, skipping scheduling"',
    ),
    _begins(
        "queue_full",
        "v0.1.34 →",
        "ERROR routes.go:300",
        'msg="server busy, please try again.',
        '  maximum pending requests exceeded"',
    ),
    LogEvent(
        "queue_full",
        "server busy, please try again.",
        "Error #01: server busy, please try again.  maximum pending requests exceeded",
        "v0.1.34 →",
        r"^(?:Error #[0-9]+: |\{\"error\":\")server busy, please try again\. +maximum pending requests exceeded",
    ),
    _slog(
        "resched_delay",
        "v0.1.45–v0.11.4",
        "DEBUG sched.go:200",
        f'msg="delaying scheduling while other models finish loading" attempts=1 model={_BLOB}',
    ),
    _slog("orphan", "v0.7.1 →", "DEBUG sched.go:345", 'msg="orphaned runner shutting down" orphan=1 loaded=0'),
    _slog(
        "late_finish",
        "v0.1.39 →",
        "ERROR sched.go:295",
        f'msg="finished request signal received after model unloaded" modelPath={_BLOB}',
    ),
    _slog("still_loaded", "v0.7.0 →", "WARN sched.go:500", 'msg="model was still loaded" old_runner=a new_runner=b'),
    _slog(
        "too_large",
        "v0.2.0–v0.24.0",
        "WARN server.go:152",
        'msg="model request too large for system" requested="45.9 GiB" available="22.2 GiB" total="23.5 GiB" '
        'free="22.2 GiB" swap="0 B"',
    ),
    _slog(
        "too_large_final",
        "v0.12.7 →",
        "INFO sched.go:480",
        'msg="model is too large for system memory" requireFull=true',
    ),
    _slog(
        "no_parallel",
        "v0.12.7 →",
        "WARN sched.go:410",
        'msg="model architecture does not currently support parallel requests" architecture=mllama',
    ),
    _begins(
        "no_parallel",
        "v0.1.34–v0.12.6",
        "WARN sched.go:400",
        "msg=\"multimodal models don't support parallel",
        ' requests yet"',
    ),
    _begins(
        "no_parallel", "v0.1.34–v0.12.6", "WARN sched.go:400", 'msg="mllama ', 'does not support parallel requests yet"'
    ),
    _slog(
        "pred_exceeds",
        "v0.1.33 →",
        "WARN sched.go:560",
        'msg="predicted usage exceeds VRAM" gpu=GPU-0 totalMemory=8589934592 predicted=9663676416',
    ),
    _slog("sched_stopped", "v0.1.33 →", "DEBUG sched.go:130", 'msg="shutting down scheduler pending loop"'),
    _slog("sched_stopped", "v0.1.33 →", "DEBUG sched.go:275", 'msg="shutting down scheduler completed loop"'),
    # --- runner start and load ------------------------------------------------------------------------------
    _slog(
        "runner_spawn",
        "v0.1.32–v0.11.4",
        "INFO server.go:399",
        f'msg="starting llama server" cmd="/usr/local/lib/ollama/runners/cpu_avx2/ollama_llama_server --model {_BLOB} '
        '--ctx-size 8192 --batch-size 512 --threads 1 --parallel 4 --port 38435"',
        rf'msg="starting llama server" cmd={_MODEL_PORT}',
    ),
    _slog(
        "runner_spawn",
        "v0.11.5–v0.24.0",
        "INFO server.go:429",
        f'msg="starting runner" cmd="/usr/local/bin/ollama runner --model {_BLOB} --port 40001"',
        rf'msg="starting runner" cmd={_MODEL_PORT}',
    ),
    _slog(
        "runner_spawn",
        "v0.30.0 →",
        "INFO llama_server.go:520",
        f'msg="starting llama-server" cmd="/usr/local/lib/ollama/llama-server --model {_BLOB} --port 45381 '
        '--host 127.0.0.1 --no-webui --offline -c 4096 -np 1"',
        rf'msg="starting llama-server" cmd={_MODEL_PORT}',
    ),
    _slog("engine_start", "v0.3.13–v0.24.0", "INFO runner.go:963", 'msg="starting go runner"'),
    _slog("engine_start", "v0.5.12–v0.24.0", "INFO runner.go:1405", 'msg="starting ollama engine"'),
    _begins(
        "runner_listen",
        "v0.3.13–v0.24.0",
        "INFO runner.go:999",
        'msg="Server listening on ',
        '127.0.0.1:38435"',
        r"Server listening on (?P<address>[^\s\"]+)",
    ),
    LogEvent(
        "load_params",
        "msg=load request=",
        f'{_TIME} level=INFO source=runner.go:895 msg=load request="{{Operation:commit LoraPath:[] Parallel:1 '
        f"BatchSize:512 "
        'FlashAttention:Auto KvSize:4096 KvCacheType: NumThreads:1 GPULayers:[] MultiUserCache:false}"',
        "v0.11.5–v0.24.0",
        r'msg=load request="\{Operation:(?P<operation>[A-Za-z0-9_]+)(?:[^"]*? Parallel:(?P<parallel>[0-9]+))?(?:[^"]*? '
        r"KvSize:(?P<kv_size>[0-9]+))?",
    ),
    _slog(
        "loading_model",
        "v0.11.5–v0.24.0",
        "INFO server.go:496",
        'msg="loading model" "model layers"=9 requested=-1',
        r'msg="loading model" "model layers"=',
    ),
    LogEvent(
        "model_file",
        "llama_model_loader: loaded meta data",
        "llama_model_loader: loaded meta data with 23 key-value pairs and 75 tensors from "
        "/usr/share/ollama/.ollama/models/blobs/"
        "sha256-ff9088351f6c15786e2807b384d5a942ebed486de8ae03e6468428e6ebd86c57 (version GGUF V3 (latest))",
        "v0.1.18 →",
        r"llama_model_loader: loaded meta data with [0-9]+ key-value pairs and [0-9]+ tensors from "
        r"(?P<path>.{1,1000}) \(version",
    ),
    _slog(
        "use_llama_server", "v0.30.0 →", "INFO llama_server.go:200", f'msg="using llama-server for model" model={_BLOB}'
    ),
    _slog("use_llama_server", "v0.30.0 →", "INFO sched.go:450", f'msg="loading model via llama-server" model={_BLOB}'),
    _slog("load_wait", "v0.1.32–v0.24.0", "INFO server.go:1338", 'msg="waiting for llama runner to start responding"'),
    _slog("load_wait", "v0.30.0 →", "INFO llama_server.go:800", 'msg="waiting for llama-server to start responding"'),
    _slog(
        "load_status",
        "v0.1.35–v0.24.0",
        "INFO server.go:1372",
        'msg="waiting for server to become available" status="llm server loading model"',
    ),
    _slog(
        "load_status",
        "v0.30.0 →",
        "INFO llama_server.go:830",
        'msg="waiting for llama-server to become available" status="llm server not responding"',
    ),
    _begins(
        "load_progress",
        "v0.1.39–v0.24.0",
        "DEBUG server.go:1382",
        'msg="model load progress ',
        '0.42"',
        r"model load progress (?P<progress>[0-9.]+)",
    ),
    _slog(
        "load_progress",
        "v0.1.39–v0.24.0",
        "DEBUG server.go:1385",
        'msg="model load completed, waiting for server to become available" status="llm server loading model"',
    ),
    _begins(
        "load_done",
        "v0.1.32–v0.24.0",
        "INFO server.go:1376",
        'msg="llama runner started in ',
        '0.51 seconds"',
        r"llama runner started in (?P<seconds>[0-9.]+) seconds",
    ),
    _begins(
        "load_done",
        "v0.30.0 →",
        "INFO llama_server.go:840",
        'msg="llama-server started in ',
        '0.51 seconds"',
        r"llama-server started in (?P<seconds>[0-9.]+) seconds",
    ),
    _slog(
        "template_selected",
        "v0.30.1 →",
        "INFO routes.go:400",
        'msg="template selection" model=registry.ollama.ai/library/mid:latest selected=go_template renderer="" '
        'parser=""',
    ),
    _slog(
        "load_client_gone",
        "v0.1.39–v0.24.0",
        "WARN server.go:1345",
        'msg="client connection closed before server finished loading, aborting load"',
    ),
    _slog(
        "load_client_gone",
        "v0.30.0 →",
        "WARN llama_server.go:805",
        'msg="client connection closed before llama-server finished loading, aborting load"',
    ),
    # The failure record of the same abort.
    LogEvent(
        "load_client_gone",
        'error="timed out waiting for llama runner to start: context canceled',
        f'{_TIME} level=ERROR source=sched.go:455 msg="error loading llama server" '
        'error="timed out waiting for llama runner to start: context canceled"',
        "v0.1.39–v0.24.0",
    ),
    LogEvent(
        "load_client_gone",
        'error="timed out waiting for llama-server to start: context canceled',
        f'{_TIME} level=INFO source=sched.go:470 msg="Load failed" model={_BLOB} '
        'error="timed out waiting for llama-server to start: context canceled"',
        "v0.30.0 →",
    ),
    LogEvent(
        "load_timeout",
        'error="timed out waiting for llama runner to start - ',
        f'{_TIME} level=ERROR source=sched.go:455 msg="error loading llama server" '
        'error="timed out waiting for llama runner to start - progress 0.42 - "',
        "v0.1.39–v0.24.0",
        r'error="timed out waiting for llama runner to start - (?:progress (?P<progress>[0-9.]+))?',
    ),
    LogEvent(
        "load_timeout",
        'error="timed out waiting for llama-server to start - ',
        f'{_TIME} level=INFO source=sched.go:470 msg="Load failed" model={_BLOB} '
        'error="timed out waiting for llama-server to start - "',
        "v0.30.0 →",
    ),
    LogEvent(
        "runner_died_load",
        "llama runner process has terminated",
        f'{_TIME} level=ERROR source=sched.go:455 msg="error loading llama server" '
        'error="llama runner process has terminated: signal: killed"',
        "v0.1.32–v0.24.0",
        rf'{_FAILED}"llama runner process has terminated: {_REASON}',
    ),
    LogEvent(
        "runner_died_load",
        "llama-server process has terminated",
        f'{_TIME} level=INFO source=sched.go:470 msg="Load failed" model={_BLOB} '
        'error="llama-server process has terminated: signal: killed"',
        "v0.30.0 →",
        rf'{_FAILED}"llama-server process has terminated: {_REASON}',
    ),
    LogEvent(
        "load_timeout",
        'error="timeout waiting for mlx runner',
        f'{_TIME} level=ERROR source=sched.go:745 msg="error loading llama server" '
        'error="timeout waiting for mlx runner to start"',
        "v0.15.5 →",
    ),
    LogEvent(
        "load_timeout",
        'error="timeout waiting for image runner',
        f'{_TIME} level=ERROR source=sched.go:520 msg="error loading llama server" '
        'error="timeout waiting for image runner to start"',
        "v0.14.0–v0.15.4",
    ),
    # An MLX runner that ends with a status of its own says why it could not load; by a signal it died.
    LogEvent(
        "runner_died_load",
        'error="mlx runner ',
        f'{_TIME} level=ERROR source=sched.go:745 msg="error loading llama server" '
        'error="mlx runner failed: error: [METAL] Command buffer execution failed (exit: signal: abort trap)"',
        "v0.15.5 →",
        rf'{_FAILED}"(?P<reason>{_MLX_DIED}[a-z ]+)',
    ),
    _slog(
        "load_failed",
        "v0.1.32 →",
        "ERROR sched.go:455",
        'msg="error loading llama server" error="unable to load model"',
        rf'msg="error loading llama server" error={_OTHER}',
    ),
    _slog(
        "load_failed",
        "v0.11.5 →",
        "INFO sched.go:470",
        f'msg="Load failed" model={_BLOB} error="model requires more system memory (45.9 GiB) than is available '
        f'(22.2 GiB)"',
        rf'msg="Load failed" model=\S+ error={_OTHER}',
    ),
    _slog(
        "load_failed",
        "v0.18.2 →",
        "INFO sched.go:440",
        f'msg="failed to create server" model={_BLOB} error="unable to load model"',
        rf'msg="failed to create server" (?:model=\S+ )?error={_OTHER}',
    ),
    _slog(
        "load_failed",
        "v0.1.33–v0.18.1",
        "INFO sched.go:435",
        f'msg="NewLlamaServer failed" model={_BLOB} error="unable to load model: {_BLOB}"',
        rf'msg="NewLlamaServer failed" model=\S+ error={_OTHER}',
    ),
    _slog(
        "load_failed",
        "v0.18.2 →",
        "INFO sched.go:430",
        f'msg="failed to load model metadata" model={_BLOB} error="invalid file magic"',
    ),
    _slog(
        "model_file_unreadable",
        "v0.3.14–v0.13.5",
        "ERROR images.go:88",
        f'''msg="couldn't open model file" error="open {_BLOB}: no such file or directory"''',
    ),
    _slog(
        "load_backoff",
        "v0.11.5–v0.24.0",
        "INFO server.go:870",
        'msg="model layout did not fit, applying backoff" backoff=0.1',
    ),
    _slog("load_backoff", "v0.11.5–v0.24.0", "WARN server.go:880", 'msg="memory layout cannot be allocated" memory={}'),
    _slog("load_backoff", "v0.11.5–v0.24.0", "WARN server.go:890", 'msg="failed to commit memory for model" memory={}'),
    _slog(
        "runner_gone",
        "v0.1.35–v0.24.0",
        "WARN server.go:1310",
        'msg="llama runner process no longer running" sys=9 string="signal: killed"',
    ),
    _slog(
        "runner_gone",
        "v0.30.0 →",
        "WARN llama_server.go:780",
        'msg="llama-server process no longer running" sys=11 string="signal: segmentation fault"',
    ),
    _slog(
        "runner_terminated",
        "v0.2.8–v0.24.0",
        "ERROR server.go:480",
        'msg="llama runner terminated" error="exit status 2"',
    ),
    _slog(
        "runner_terminated",
        "v0.30.0 →",
        "ERROR llama_server.go:560",
        'msg="llama-server terminated" error="signal: killed" exit=unknown',
    ),
    _begins(
        "mmproj_retry",
        "v0.30.0 →",
        "WARN llama_server.go:600",
        'msg="llama-server startup failed with projector GPU offload; retrying with projector CPU offload',
        f'" model={_BLOB} error="out of memory"',
    ),
    _slog(
        "mmproj_retry",
        "v0.30.0 →",
        "INFO llama_server.go:590",
        'msg="disabling multimodal projector offload" reason=cpu-only',
    ),
    _begins(
        "vram_unparsed",
        "v0.30.0 →",
        "WARN llama_server.go:900",
        'msg="llama-server VRAM tracking: no per-device buffer sizes were parsed',
        f'" model={_BLOB} gpus=1',
    ),
    _slog(
        "ctx_clamped",
        "v0.9.3 →",
        "WARN server.go:159",
        'msg="requested context size too large for model" num_ctx=4000000 n_ctx_train=8192',
    ),
    _slog(
        "sysmem",
        "v0.3.10 →",
        "INFO server.go:455",
        'msg="system memory" total="23.5 GiB" free="22.8 GiB" free_swap="0 B"',
    ),
    _slog(
        "gpumem",
        "v0.11.5 →",
        "INFO server.go:460",
        'msg="gpu memory" id=GPU-0 library=CUDA available="22.0 GiB" free="22.5 GiB" minimum="457.0 MiB" overhead="0 '
        'B"',
    ),
    _begins(
        "offload_est",
        "v0.1.45–v0.5.11",
        "INFO memory.go:326",
        'msg="offload to ',
        'cpu" layers.requested=-1 layers.model=9 layers.offload=0 layers.split="" memory.available="[22.3 GiB]"',
        r'msg="offload to (?P<library>[a-z0-9_]+)"',
    ),
    _slog(
        "offload_est",
        "v0.5.12–v0.12.10",
        "INFO server.go:168",
        'msg=offload library=cpu layers.requested=-1 layers.model=23 layers.offload=0 layers.split=""',
    ),
    _slog("mem_layout", "v0.11.5–v0.24.0", "INFO device.go:240", 'msg="model weights" device=CPU size="96.4 MiB"'),
    _slog("mem_layout", "v0.11.5–v0.24.0", "INFO device.go:251", 'msg="kv cache" device=CPU size="64.0 MiB"'),
    _slog("mem_layout", "v0.11.5–v0.24.0", "INFO device.go:262", 'msg="compute graph" device=Metal size="150.0 MiB"'),
    _slog("mem_layout", "v0.11.5–v0.24.0", "INFO device.go:272", 'msg="total memory" size="160.4 MiB"'),
    _begins(
        "layers_offloaded",
        "v0.9.6–v0.24.0",
        "INFO ggml.go:494",
        'msg="offloaded ',
        '41/41 layers to GPU"',
        r'msg="offloaded (?P<layers_gpu>[0-9]+)/(?P<layers_total>[0-9]+) layers to GPU"',
    ),
    LogEvent(
        "layers_offloaded",
        "load_tensors: offloaded ",
        "load_tensors: offloaded 11/37 layers to GPU",
        "v0.3.13 →",
        r"load_tensors: offloaded (?P<layers_gpu>[0-9]+)/(?P<layers_total>[0-9]+) layers to GPU",
    ),
    LogEvent(
        "buffers",
        " model buffer size = ",
        "load_tensors:          CPU model buffer size =    97.20 MiB",
        "v0.5.2 →",
        f"{_BUFFER}model{_BUFFER_SIZE}",
    ),
    LogEvent(
        "buffers",
        " KV buffer size = ",
        "llama_kv_cache:        CPU KV buffer size =    64.00 MiB",
        "v0.3.13 →",
        f"{_BUFFER}KV{_BUFFER_SIZE}",
    ),
    LogEvent(
        "buffers",
        " compute buffer size = ",
        "llama_context:        CPU compute buffer size =    30.51 MiB",
        "v0.3.13 →",
        f"{_BUFFER}compute{_BUFFER_SIZE}",
    ),
    LogEvent(
        "buffers",
        " output buffer size = ",
        "llama_context:        CPU  output buffer size =     0.01 MiB",
        "v0.3.13 →",
        f"{_BUFFER}output{_BUFFER_SIZE}",
    ),
    LogEvent(
        "buffers",
        " RS buffer size = ",
        "llama_memory_recurrent:        CPU RS buffer size =    19.07 MiB",
        "v0.5.2 →",
        f"{_BUFFER}RS{_BUFFER_SIZE}",
    ),
    LogEvent(
        "buffers",
        "llm_load_tensors: ",
        "llm_load_tensors:        CPU buffer size =    97.20 MiB",
        "v0.3.14",
        r"^\.*llm_load_tensors: +(?P<device>[A-Za-z0-9_]{1,40}) buffer size = +(?P<mib>[0-9.]+) MiB",
    ),
    LogEvent(
        "kv_total",
        "KV self size  = ",
        "llama_new_context_with_model: KV self size  =  128.00 MiB, K (f16):   64.00 MiB, V (f16):   64.00 MiB",
        "v0.3.13–v0.11.4",
        r"KV self size  = +(?P<mib>[0-9.]+) MiB, K \((?P<type_k>[A-Za-z0-9_]+)\)",
    ),
    LogEvent(
        "kv_total",
        " cells, ",
        "llama_kv_cache: size =   64.00 MiB (  4096 cells,   8 layers,  1/1 seqs), K (f16):   32.00 MiB, V (f16):   "
        "32.00 MiB",
        "v0.9.0 →",
        r": size = +(?P<mib>[0-9.]+) MiB \( *(?P<cells>[0-9]+) cells, +[0-9]+ layers, +[0-9/ ]+seqs\), K "
        r"\((?P<type_k>[A-Za-z0-9_]+)\)",
    ),
    LogEvent(
        "device_free",
        "using device ",
        "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 4090) (0000:01:00.0) - 23000 MiB free",
        "v0.5.2 →",
        r"using device (?P<device>[A-Za-z0-9_]+) .{1,200}? - (?P<mib>[0-9]+) MiB free",
    ),
    LogEvent(
        "fit_report",
        "projected to use ",
        "common_params_fit_impl: projected to use 9189 MiB of device memory vs. 8105 MiB of free device memory",
        "v0.30.0 →",
        r"projected to use (?P<need_mib>[0-9]+) MiB of (?:device|host) memory vs\. (?P<have_mib>[0-9]+) MiB of",
    ),
    LogEvent(
        "fit_report",
        "context size set by user to ",
        "common_params_fit_impl: context size set by user to 4096 -> no change",
        "v0.30.0 →",
        r"context size set by user to (?P<n_ctx>[0-9]+) -> no change",
    ),
    LogEvent(
        "fit_report",
        "failed to fit params to free device memory",
        "common_fit_params: failed to fit params to free device memory",
        "v0.30.0 →",
    ),
    _slog("fa_enabled", "v0.5.0–v0.24.0", "INFO server.go:222", 'msg="enabling flash attention"'),
    _slog(
        "fa_unsupported",
        "v0.5.0–v0.24.0",
        "WARN server.go:210",
        'msg="flash attention enabled but not supported by gpu"',
    ),
    _slog(
        "fa_unsupported",
        "v0.5.0–v0.24.0",
        "WARN server.go:215",
        'msg="flash attention enabled but not supported by model"',
    ),
    _slog("fa_model_wants", "v0.11.8–v0.12.3", "INFO server.go:205", 'msg="model wants flash attention"'),
    LogEvent(
        "fa_resolved",
        "Flash Attention was auto, set to ",
        "llama_context: Flash Attention was auto, set to enabled",
        "v0.12.4 →",
        r"Flash Attention was auto, set to (?P<state>enabled|disabled)",
    ),
    LogEvent("fa_resolved", ": Flash Attention enabled", "resolve_fused_ops: Flash Attention enabled", "v0.32.15"),
    LogEvent(
        "fa_resolved",
        ": Flash Attention not supported, set to disabled",
        "resolve_fused_ops: Flash Attention not supported, set to disabled",
        "v0.32.8 →",
    ),
    _begins(
        "kv_quant",
        "v0.5.0–v0.24.0",
        "WARN server.go:230",
        'msg="quantized kv cache requested but flash attention disabled',
        '" type=q8_0',
    ),
    _slog("kv_quant", "v0.5.0–v0.24.0", "WARN server.go:235", 'msg="kv cache type not supported by model" type=q8_0'),
    _begins(
        "kv_quant",
        "v0.13.4–v0.24.0",
        "WARN server.go:240",
        'msg="OLLAMA_FLASH_ATTENTION must be enabled to use a quantized OLLAMA_KV_CACHE_TYPE',
        '" type=q8_0',
    ),
    _begins("kv_quant", "v0.13.4–v0.24.0", "WARN server.go:245", 'msg="unsupported OLLAMA_KV_CACHE_TYPE', '" type=q3'),
    LogEvent(
        "mlock_fail",
        "failed to mlock ",
        "llama_mlock: failed to mlock 101928960-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
        "v0.3.13 →",
        r"failed to mlock (?P<bytes>[0-9]+)-byte buffer",
    ),
    # --- runner stop ----------------------------------------------------------------------------------------
    _slog("runner_stopping", "v0.3.14–v0.13.5", "DEBUG server.go:1800", 'msg="stopping llama server" pid=31289'),
    _slog("runner_stopping", "v0.32.15", "DEBUG llama_server.go:1300", 'msg="stopping llama-server" pid=16682'),
    _slog("runner_stopped", "v0.3.14–v0.13.5", "DEBUG server.go:1810", 'msg="llama server stopped" pid=31289'),
    _slog("runner_stopped", "v0.32.15", "DEBUG llama_server.go:1310", 'msg="llama-server stopped" pid=16682'),
    _slog(
        "runner_unhealthy",
        "v0.3.14–v0.13.5",
        "DEBUG server.go:1360",
        'msg="server unhealthy" error="llama runner process no longer running: 2 "',
    ),
    _slog(
        "runner_unhealthy",
        "v0.32.15",
        "DEBUG llama_server.go:820",
        'msg="llama-server unhealthy" error="server not responding"',
    ),
    # --- MLX ------------------------------------------------------------------------------------------------
    _slog(
        "mlx_spawn", "v0.15.5 →", "INFO client.go:120", 'msg="starting mlx runner subprocess" model=mid:mlx port=40001'
    ),
    _slog("mlx_ready", "v0.15.5 →", "INFO client.go:160", 'msg="mlx runner is ready" port=40001'),
    _slog("mlx_stop", "v0.15.5 →", "INFO client.go:200", 'msg="stopping mlx runner subprocess" pid=31289'),
    _slog(
        "mlx_spawn",
        "v0.14.0–v0.15.4",
        "INFO server.go:110",
        'msg="starting image runner subprocess" model=pic port=40001',
    ),
    _slog("mlx_ready", "v0.14.0–v0.15.4", "INFO server.go:150", 'msg="image runner is ready" port=40001'),
    _slog("mlx_stop", "v0.14.0–v0.15.4", "INFO server.go:190", 'msg="stopping image runner subprocess" pid=31289'),
    _slog(
        "mlx_progress", "v0.16.0 →", "INFO pipeline.go:90", 'msg="Prompt processing progress" processed=2048 total=8192'
    ),
    _slog(
        "mlx_req",
        "v0.16.0 →",
        "INFO server.go:130",
        'msg=ServeHTTP method=POST path=/v1/completions took=1.2s status="200 OK"',
    ),
    _slog("mlx_stats", "v0.17.6 →", "INFO pipeline.go:200", 'msg="peak memory" size="4.1 GiB"'),
    _slog("mlx_stats", "v0.30.11 →", "INFO pipeline.go:210", 'msg="speculative decode stats" accepted=10'),
    # --- requests -------------------------------------------------------------------------------------------
    _slog(
        "abort_waiting",
        "v0.4.4 →",
        "INFO server.go:1520",
        'msg="aborting completion request due to client closing the connection"',
    ),
    _slog(
        "abort_waiting",
        "v0.30.0 →",
        "INFO llama_server.go:950",
        'msg="aborting chat request due to client closing the connection"',
    ),
    _begins(
        "abort_waiting",
        "v0.4.4–v0.24.0",
        "INFO runner.go:720",
        'msg="aborting embedding',
        ' request due to client closing the connection"',
        r'msg="aborting embeddings? request due to client closing the connection"',
    ),
    _slog("repeat_stop", "v0.1.29 →", "DEBUG server.go:1600", 'msg="prediction aborted, token repeat limit reached"'),
    _slog(
        "predict_conn_err",
        "v0.9.1–v0.24.0",
        "ERROR server.go:1583",
        r'msg="post predict" error="Post \"http://127.0.0.1:40001/completion\": EOF"',
    ),
    _slog(
        "predict_conn_err",
        "v0.30.0 →",
        "ERROR llama_server.go:1000",
        r'msg="llama-server completion error" error="Post \"http://127.0.0.1:40001/completion\": EOF"',
    ),
    _slog(
        "predict_conn_err",
        "v0.30.0 →",
        "ERROR llama_server.go:1100",
        r'msg="llama-server chat error" error="Post \"http://127.0.0.1:40001/v1/chat/completions\": EOF"',
    ),
    LogEvent(
        "predict_conn_err",
        "do embedding request: Post ",
        f'{_TIME} level=INFO source=routes.go:400 msg="embedding generation failed: do embedding request: Post '
        f'\\"http://127.0.0.1:40001/embedding\\": EOF"',
        "v0.1.32–v0.6.0",
    ),
    LogEvent(
        "predict_http_err",
        'msg="llm ',
        f'{_TIME} level=INFO source=.:0 msg="llm predict error: the input length exceeds the context length"',
        "v0.1.32–v0.24.0",
        r'msg="llm (?P<call>predict|embedding|encode|decode) error: (?P<reason>(?:[^"\\]|\\.)*)',
    ),
    LogEvent(
        "stream_broken",
        " error was encountered while running the model: ",
        "Error #01: an error was encountered while running the model: unexpected EOF",
        "v0.1.32 →",
        r'^(?:Error #[0-9]+: |\{"error":")an (?:unknown )?error was encountered while running the model: ',
    ),
    LogEvent(
        "json_write_fail",
        "streamResponse: w.Write failed with ",
        f'{_TIME} level=INFO source=routes.go:1200 msg="streamResponse: w.Write failed with write tcp '
        f'127.0.0.1:11434: broken pipe"',
        "v0.1.21 →",
    ),
    _slog(
        "prompt_err", "v0.4.6 →", "ERROR routes.go:1560", 'msg="chat prompt error" error="template: :3: unexpected EOF"'
    ),
    _slog(
        "prompt_err",
        "v0.30.0 →",
        "ERROR routes.go:1570",
        'msg="chat template prompt error" error="template: unexpected EOF"',
    ),
    _slog("kv_defrag", "v0.4.3–v0.12.11", "DEBUG runner.go:450", 'msg="defragmenting kv cache"'),
    _slog("slot_evict", "v0.3.13–v0.24.0", "DEBUG cache.go:190", 'msg="evicting cache slot" id=0'),
    _slog(
        "cache_slot",
        "v0.3.13–v0.24.0",
        "DEBUG cache.go:141",
        'msg="loading cache slot" id=0 cache=0 prompt=50 used=0 remaining=50',
    ),
    _slog(
        "remote_model",
        "v0.12.0 →",
        "INFO images.go:600",
        'msg="remote model" remotes=[ollama.com] remoteURL=https://ollama.com',
    ),
    _slog(
        "cloud_broken",
        "v0.18.0 →",
        "WARN cloud_proxy.go:258",
        'msg="cloud proxy response copy failed" path=/api/chat upstream_path=/api/chat status=200 '
        'request_context_canceled=false request_context_err=<nil> error="unexpected EOF"',
    ),
    LogEvent(
        "vision_compat",
        " by CLIP (",
        "encode_image_with_clip: image encoded in  1000.00 ms by CLIP (    1.74 ms per image patch)",
        "v0.3.13–v0.11.4",
        r"image encoded in +(?P<ms>[0-9.]+) ms by CLIP \(",
    ),
    _begins(
        "vision_gemma4",
        "v0.20.0–v0.24.0",
        "INFO model.go:150",
        'msg="vision: ',
        'encoded" elapsed=120ms',
        r'msg="vision: (?P<step>decode|preprocess|pixelValues|patches|encoded)',
    ),
    _begins("vision_gemma4", "v0.20.0–v0.24.0", "INFO model.go:190", 'msg="audio: ', 'encoded" elapsed=80ms'),
    LogEvent(
        "vision_ls",
        "image decoded (batch ",
        "image decoded (batch 1/1) in 812 ms",
        "v0.30.0 →",
        r"(?:image|audio) decoded \(batch (?P<batch>[0-9]+)/(?P<batches>[0-9]+)\) in (?P<ms>[0-9.]+) ms",
    ),
    LogEvent(
        "vision_ls",
        "audio decoded (batch ",
        "audio decoded (batch 1/2) in 812 ms",
        "v0.30.0 →",
        r"audio decoded \(batch (?P<batch>[0-9]+)/(?P<batches>[0-9]+)\) in (?P<ms>[0-9.]+) ms",
    ),
    LogEvent(
        "vision_ls",
        "image slice encoded in ",
        "image slice encoded in 640 ms",
        "v0.30.5–v0.30.8",
        r"image slice encoded in (?P<ms>[0-9.]+) ms",
    ),
    # --- model downloads: disk and network are busy, a load competes with them -------------------------------
    _begins(
        "pull_start",
        "v0.1.30 →",
        "INFO download.go:177",
        'msg="downloading ',
        '0a1b2c3d4e5f in 20 100 MB part(s)"',
        r'msg="downloading (?P<digest>[0-9a-f]{6,64}) in (?P<parts>[0-9]+) ',
    ),
    LogEvent(
        "pull_retry",
        " stalled; retrying",
        f'{_TIME} level=INFO source=download.go:374 msg="0a1b2c3d4e5f part 4 stalled; retrying. If this persists, '
        "press ctrl-c to exit, then 'ollama pull' to find a faster connection.\"",
        "v0.3.6 →",
        r'msg="(?P<digest>[0-9a-f]{6,64}) part (?P<part>[0-9]+) stalled; retrying',
    ),
    LogEvent(
        "pull_retry",
        " failed: ",
        f'{_TIME} level=INFO source=download.go:295 msg="0a1b2c3d4e5f part 4 attempt 0 failed: unexpected EOF, '
        'retrying in 1s"',
        "v0.5.12 →",
        r'msg="(?P<digest>[0-9a-f]{6,64}) part (?P<part>[0-9]+) attempt [0-9]+ failed: ',
    ),
    # --- context and truncation -----------------------------------------------------------------------------
    _slog(
        "prompt_truncated",
        "v0.3.13 →",
        "WARN runner.go:170",
        'msg="truncating input prompt" limit=512 prompt=1753 keep=5 new=512',
    ),
    _slog(
        "prompt_truncated",
        "v0.4.2",
        "WARN runner.go:122",
        'msg="input exceeds context length" prompt=1753 limit=512',
    ),
    LogEvent(
        "prompt_truncated",
        "input truncated",
        'DEBUG [update_slots] input truncated | n_ctx=2048 n_erase=1024 n_keep=24 n_left=2024 tid="140244164268032" '
        "timestamp=1795293000",
        "v0.1.30–v0.3.14",
        rf"{_CPP}input truncated{_CPP_EPOCH}",
    ),
    LogEvent(
        "prompt_truncated",
        '"msg":"input truncated"',
        '{"function":"update_slots","level":"VERB","line":1679,"msg":"input '
        'truncated","n_ctx":2048,"n_erase":1024,"n_keep":24,'
        '"n_left":2024,"tid":"140244164268032","timestamp":1795293000}',
        "v0.1.30–v0.1.34",
        rf'"msg":"input truncated",{_JSON_EPOCH}',
    ),
    _begins(
        "msgs_truncated",
        "v0.30.0 →",
        "DEBUG prompt.go:90",
        'msg="truncating native chat messages which exceed context length',
        '" truncated=2',
    ),
    _slog(
        "msgs_truncated",
        "v0.32.15",
        "DEBUG prompt.go:80",
        'msg="truncating input messages which exceed context length" truncated=2',
    ),
    _slog(
        "ctx_shift",
        "v0.3.13–v0.24.0",
        "DEBUG cache.go:236",
        'msg="context limit hit - shifting" id=0 limit=512 input=512 keep=5 discard=253',
    ),
    LogEvent(
        "ctx_shift",
        "slot context shift |",
        "DEBUG [update_slots] slot context shift | n_cache_tokens=2048 n_ctx=2048 n_discard=1021 n_keep=5 n_left=2042 "
        'n_past=2047 n_system_tokens=0 slot_id=0 task_id=276 tid="140244164268032" timestamp=1795293000',
        "v0.1.32–v0.3.14",
        rf"{_CPP}slot context shift{_CPP_SHIFT}",
    ),
    LogEvent(
        "ctx_shift",
        '"msg":"slot context shift"',
        '{"function":"update_slots","level":"INFO","line":1613,"msg":"slot context shift","n_cache_tokens":2048,'
        '"n_ctx":2048,"n_discard":1023,"n_keep":1,"n_left":2046,"n_past":2047,"n_system_tokens":0,"slot_id":0,'
        '"task_id":276,"tid":"140244164268032","timestamp":1795293000}',
        "v0.1.18–v0.1.34",
        r'"msg":"slot context shift",[^{}]{0,80}"n_discard":(?P<n_discard>[0-9]+),"n_keep":(?P<n_keep>[0-9]+),'
        r'"n_left":(?P<n_left>[0-9]+)' + _JSON_IDS,
    ),
    LogEvent(
        "ctx_shift_ls",
        "slot context shift, ",
        "slot   operator(): id  0 | task 51 | slot context shift, n_keep = 5, n_left = 506, n_discard = 253",
        "v0.30.0 →",
        _SLOT
        + r"slot context shift, n_keep = (?P<n_keep>[0-9]+), n_left = (?P<n_left>[0-9]+), "
        + r"n_discard = (?P<n_discard>[0-9]+)",
    ),
    LogEvent(
        "ctx_overflow_400",
        "exceeds the available context size",
        "srv    send_error: task id = 952, error: request (1753 tokens) exceeds the available context size (512 "
        "tokens), "
        "try increasing it",
        "v0.30.0 →",
        _SRV
        + r"task id = (?P<task>[0-9]+), error: request \((?P<n_tokens>[0-9]+) tokens\) exceeds the available "
        + r"context size",
    ),
    LogEvent(
        "ctx_overflow_400",
        "the prompt is longer than the context length currently available to the model",
        "Error #01: the prompt is longer than the context length currently available to the model",
        "v0.30.9 →",
    ),
    # --- llama-server slots ---------------------------------------------------------------------------------
    LogEvent(
        "ls_model_loaded", ": model loaded", "srv  llama_server: model loaded", "v0.30.0 →", _SRV + r"model loaded"
    ),
    LogEvent(
        "ls_listening",
        "listening on http://",
        "srv  llama_server: listening on http://127.0.0.1:45381",
        "v0.30.0 →",
        _SRV + r"(?:server is )?listening on (?P<address>http://\S+)",
    ),
    LogEvent(
        "ls_load_error",
        "exiting due to model loading error",
        "srv  llama_server: exiting due to model loading error",
        "v0.30.0 →",
        _SRV + r"exiting due to model loading error",
    ),
    LogEvent(
        "ls_task_start",
        "processing task, is_child = ",
        "slot launch_slot_: id  0 | task 0 | processing task, is_child = 0",
        "v0.30.0 →",
        _SLOT + r"processing task, is_child = ",
    ),
    LogEvent(
        "ls_prompt_new",
        "new prompt, n_ctx_slot = ",
        "slot   operator(): id  0 | task 0 | new prompt, n_ctx_slot = 4096, n_keep = 4, task.n_tokens = 50",
        "v0.30.0 →",
        _SLOT
        + r"new prompt, n_ctx_slot = (?P<n_ctx_slot>[0-9]+), n_keep = -?[0-9]+, task\.n_tokens = (?P<n_tokens>[0-9]+)",
    ),
    LogEvent(
        "ls_prompt_cached",
        "cached n_tokens = ",
        "slot   operator(): id  0 | task 0 | cached n_tokens = 0, memory_seq_rm [0, end)",
        "v0.30.0 →",
        _SLOT + r"cached n_tokens = (?P<n_cached>[0-9]+)",
    ),
    LogEvent(
        "ls_prompt_progress",
        "prompt processing, n_tokens = ",
        "slot print_timing: id  0 | task 0 | prompt processing, n_tokens =    512, progress = 0.91, t =   4.00 s / "
        "128.00 tokens per second",
        "v0.30.0 →",
        _SLOT
        + r"prompt processing, n_tokens = +(?P<n_tokens>[0-9]+), progress = +(?P<progress>[0-9.]+)"
        + r"(?:, t = +[0-9.]+ s / +(?P<tokens_per_s>[0-9.]+) tokens per second)?",
    ),
    LogEvent(
        "ls_gen_progress",
        "| n_decoded = ",
        "slot print_timing: id  0 | task 20 | n_decoded =    100, tg =  12.50 t/s",
        "v0.30.0–v0.32.13",
        _SLOT + r"n_decoded = +(?P<n_decoded>[0-9]+), tg = +(?P<tokens_per_s>[0-9.]+) t/s",
    ),
    LogEvent(
        "ls_gen_progress",
        "| n_gen = ",
        "slot print_timing: id  0 | task 0 | n_gen =    177, tg =  58.59 t/s, tg_3s =  58.91 t/s",
        "v0.32.15",
        _SLOT + r"n_gen = +(?P<n_decoded>[0-9]+), tg = +(?P<tokens_per_s>[0-9.]+) t/s",
    ),
    LogEvent(
        "ls_prompt_timing",
        "| prompt eval time = ",
        "slot print_timing: id  0 | task 0 | prompt eval time =      85.70 ms /    50 tokens (    1.71 ms per token,   "
        "583.40 tokens per second)",
        "v0.30.0 →",
        _SLOT + r"prompt eval time = +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) tokens",
    ),
    LogEvent(
        "ls_eval_timing",
        "  eval time = ",
        "slot print_timing: id  0 | task 0 |        eval time =     102.84 ms /    24 tokens (    4.47 ms per token,   "
        "223.65 tokens per second)",
        "v0.30.0 →",
        _SLOT + r" +eval time = +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) tokens",
    ),
    LogEvent(
        "ls_total_timing",
        "  total time = ",
        "slot print_timing: id  0 | task 0 |       total time =     188.54 ms /    74 tokens",
        "v0.30.0 →",
        _SLOT + r" +total time = +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) tokens",
    ),
    LogEvent(
        "ls_task_end",
        "stop processing: n_tokens = ",
        "slot      release: id  0 | task 0 | stop processing: n_tokens = 73, truncated = 0",
        "v0.30.0 →",
        _SLOT + r"stop processing: n_tokens = +(?P<n_tokens>[0-9]+), truncated = (?P<truncated>[0-9])",
    ),
    LogEvent(
        "ls_cancel",
        "cancel task, id_task = ",
        "srv          stop: cancel task, id_task = 3",
        "v0.30.0 →",
        _SRV + r"cancel task, id_task = (?P<task>[0-9]+)",
    ),
    LogEvent(
        "ls_idle",
        "all slots are idle",
        "srv  update_slots: all slots are idle",
        "v0.30.0 →",
        _SRV + r"all slots are idle",
    ),
    LogEvent(
        "ls_http",
        "done request: ",
        "srv  log_server_r: done request: POST /completion 127.0.0.1 200",
        "v0.30.5–v0.30.8",
        _SRV + r"done request: (?P<method>[A-Z]+) (?P<path>\S+) \S+ (?P<status>[0-9]+)",
    ),
    # --- old C++ engine: v0.1.x in process, then ollama_llama_server ----------------------------------------
    LogEvent(
        "engine1_load",
        "Loading Dynamic llm server: ",
        f'{_TIME} level=INFO source=dyn_ext_server.go:87 msg="Loading Dynamic llm server: '
        f"/tmp/ollama1/runners/cuda_v11/"
        'libext_server.so"',
        "v0.1.18–v0.1.31",
        r"Loading Dynamic llm server: (?P<library>[^\s\"]+)",
    ),
    LogEvent(
        "engine1_init",
        "Initializing llama server",
        f'{_TIME} level=INFO source=dyn_ext_server.go:147 msg="Initializing llama server"',
        "v0.1.18–v0.1.31",
    ),
    LogEvent(
        "engine1_ready",
        "Starting llama main loop",
        f'{_TIME} level=INFO source=dyn_ext_server.go:159 msg="Starting llama main loop"',
        "v0.1.18–v0.1.31",
    ),
    LogEvent(
        "engine1_swap",
        "changing loaded model",
        f'{_TIME} level=INFO source=routes.go:79 msg="changing loaded model"',
        "v0.1.18–v0.1.32",
    ),
    LogEvent(
        "cpp_task_start",
        '"msg":"slot is processing task"',
        '{"function":"launch_slot_with_data","level":"INFO","line":833,"msg":"slot is processing '
        'task","slot_id":0,"task_id":12,'
        '"tid":"140244164268032","timestamp":1795293000}',
        "v0.1.18–v0.1.34",
        rf'"msg":"slot is processing task",{_JSON_IDS}',
    ),
    LogEvent(
        "cpp_task_start",
        "] slot is processing task |",
        'INFO [launch_slot_with_data] slot is processing task | slot_id=0 task_id=12 tid="140244164268032" '
        "timestamp=1795293000",
        "v0.1.32–v0.3.14",
        rf"{_CPP}slot is processing task{_CPP_IDS}",
    ),
    LogEvent(
        "cpp_task_end",
        '"msg":"slot released"',
        '{"function":"update_slots","level":"INFO","line":1648,"msg":"slot released","n_cache_tokens":300,"n_ctx":2048,'
        '"n_past":299,"n_system_tokens":0,"slot_id":0,"task_id":12,"tid":"140244164268032","timestamp":1795293004,'
        '"truncated":false}',
        "v0.1.18–v0.1.34",
        rf'"msg":"slot released",{_JSON_IDS}(?:,"truncated":(?P<truncated>true|false))?',
    ),
    LogEvent(
        "cpp_task_end",
        "] slot released |",
        "INFO [update_slots] slot released | n_cache_tokens=300 n_ctx=2048 n_past=299 n_system_tokens=0 slot_id=0 "
        'task_id=12 tid="140244164268032" timestamp=1795293004 truncated=false',
        "v0.1.32–v0.3.14",
        rf"{_CPP}slot released{_CPP_IDS}",
    ),
    LogEvent(
        "old_timing",
        '"msg":"prompt eval time ',
        '{"function":"print_timings","level":"INFO","line":276,"msg":"prompt eval time     =      100.00 ms /    29 '
        "tokens "
        '(    4.00 ms per token,   250.00 tokens per second)","n_prompt_tokens_processed":25,"n_tokens_second":250.00,'
        '"slot_id":0,"t_prompt_processing":100.00,"t_token":4.00,"task_id":12,"tid":"140244164268032",'
        '"timestamp":1795293004}',
        "v0.1.30–v0.1.34",
        rf'"msg":"(?P<kind>prompt eval) time +=+ +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) tokens{_JSON_IDS}',
    ),
    LogEvent(
        "old_timing",
        '"msg":"generation eval time ',
        '{"function":"print_timings","level":"INFO","line":290,"msg":"generation eval time =    5000.00 ms /   278 '
        "runs   "
        '(   20.00 ms per token,    50.00 tokens per second)","n_decoded":250,"n_tokens_second":50.00,"slot_id":0,'
        '"t_token":20.00,"t_token_generation":5000.00,"task_id":12,"tid":"140244164268032","timestamp":1795293004}',
        "v0.1.30–v0.1.34",
        rf'"msg":"(?P<kind>generation eval) time +=+ +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) runs{_JSON_IDS}',
    ),
    LogEvent(
        "old_timing",
        '"msg":"          total time ',
        '{"function":"print_timings","level":"INFO","line":299,"msg":"          total time =    5100.00 '
        'ms","slot_id":0,'
        '"t_prompt_processing":100.00,"t_token_generation":5000.00,"t_total":5100.00,"task_id":12,'
        '"tid":"140244164268032","timestamp":1795293004}',
        "v0.1.30–v0.1.34",
        rf'"msg":" +(?P<kind>total) time +=+ +(?P<ms>[0-9.]+) ms{_JSON_IDS}',
    ),
    LogEvent(
        "old_timing",
        "] prompt eval time ",
        "DEBUG [print_timings] prompt eval time     =      100.00 ms /    25 tokens (    4.00 ms per token,   250.00 "
        "tokens "
        "per second) | n_prompt_tokens_processed=25 n_tokens_second=250.00 slot_id=0 t_prompt_processing=100.00 "
        "t_token=4.00 "
        'task_id=12 tid="140244164268032" timestamp=1795293004',
        "v0.1.32–v0.3.14",
        rf"{_CPP}(?P<kind>prompt eval) time +=+ +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) tokens"
        rf"[^|]{{0,100}}{_CPP_IDS}",
    ),
    LogEvent(
        "old_timing",
        "] generation eval time ",
        "DEBUG [print_timings] generation eval time =    5000.00 ms /   250 runs   (   20.00 ms per token,    50.00 "
        "tokens "
        "per second) | n_decoded=250 n_tokens_second=50.00 slot_id=0 t_token=20.00 t_token_generation=5000.00 "
        "task_id=12 "
        'tid="140244164268032" timestamp=1795293004',
        "v0.1.32–v0.3.14",
        rf"{_CPP}(?P<kind>generation eval) time +=+ +(?P<ms>[0-9.]+) ms / +(?P<tokens>[0-9]+) runs"
        rf"[^|]{{0,100}}{_CPP_IDS}",
    ),
    LogEvent(
        "old_timing",
        "]           total time ",
        "DEBUG [print_timings]           total time =    5100.00 ms | slot_id=0 t_prompt_processing=100.00 "
        't_token_generation=5000.00 t_total=5100.00 task_id=12 tid="140244164268032" timestamp=1795293004',
        "v0.1.32–v0.3.14",
        rf"{_CPP}(?P<kind>total) time +=+ +(?P<ms>[0-9.]+) ms{_CPP_IDS}",
    ),
    LogEvent(
        "cpp_model_loaded",
        "] model loaded |",
        'INFO [main] model loaded | tid="140244164268032" timestamp=1795293000',
        "v0.1.32–v0.3.14",
        rf"{_CPP}model loaded{_CPP_EPOCH}",
    ),
    LogEvent(
        "cpp_model_loaded",
        '"msg":"model loaded"',
        '{"function":"main","level":"INFO","line":3064,"msg":"model '
        'loaded","tid":"140244164268032","timestamp":1795293000}',
        "v0.1.32–v0.1.34",
        rf'"msg":"model loaded",{_JSON_EPOCH}',
    ),
    LogEvent(
        "cpp_idle",
        '"msg":"all slots are idle',
        '{"function":"update_slots","level":"INFO","line":1578,"msg":"all slots are idle and system prompt is empty, '
        "clear the "
        'KV cache","tid":"140244164268032","timestamp":1795293004}',
        "v0.1.18–v0.1.34",
        rf'"msg":"all slots are idle[^"]*",{_JSON_EPOCH}',
    ),
    LogEvent(
        "cpp_idle",
        "] all slots are idle",
        "INFO [update_slots] all slots are idle and system prompt is empty, clear the KV cache | "
        'tid="140244164268032" timestamp=1795293004',
        "v0.1.32–v0.3.14",
        rf"{_CPP}all slots are idle[^|]{{0,100}}{_CPP_EPOCH}",
    ),
    # --- memory and device failures -------------------------------------------------------------------------
    LogEvent(
        "device_oom",
        "CUDA error: out of memory",
        "CUDA error: out of memory",
        "v0.5.2 →",
        r"^\.*CUDA error: out of memory",
    ),
    LogEvent(
        "device_error",
        "CUDA error: ",
        "CUDA error: an illegal memory access was encountered",
        "v0.5.2 →",
        r"^\.*CUDA error: (?!out of memory)(?P<reason>.{0,200})",
    ),
    LogEvent(
        "device_error",
        "ROCm error: ",
        "ROCm error: invalid argument",
        "v0.5.2 →",
        r"^\.*ROCm error: (?P<reason>.{0,200})",
    ),
    LogEvent(
        "device_oom",
        "cudaMalloc failed: out of memory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of "
        "memory",
        "v0.5.2 →",
        r"^\.*[A-Za-z0-9_]{1,80}: allocating (?P<mib>[0-9.]+) MiB on device [0-9]+: cudaMalloc failed: out of memory",
    ),
    LogEvent(
        "alloc_failed",
        "failed to allocate buffer of size ",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1767809024",
        "v0.5.2 →",
        r"^\.*[A-Za-z0-9_]{1,80}: failed to allocate buffer of size (?P<bytes>[0-9]+)",
    ),
    LogEvent(
        "alloc_failed",
        " buffer of size ",
        "alloc_tensor_range: failed to allocate CPU buffer of size 1767809024",
        "v0.13.5 →",
        r"^\.*[A-Za-z0-9_]{1,80}: failed to allocate (?P<device>[A-Za-z0-9_]{1,40}) buffer of size (?P<bytes>[0-9]+)",
    ),
    LogEvent(
        "alloc_failed",
        "failed to allocate compute ",
        "graph_reserve: failed to allocate compute buffers",
        "v0.5.2 →",
        r"^\.*[A-Za-z0-9_]{1,80}: failed to allocate compute (?:pp )?buffers",
    ),
    LogEvent(
        "alloc_failed",
        "insufficient memory (attempted to allocate ",
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 1685.91 MB)",
        "v0.13.5 →",
        r"^\.*[A-Za-z0-9_]{1,80}: insufficient memory \(attempted to allocate +(?P<mb>[0-9.]+) MB\)",
    ),
    # The allocation falls back to pageable memory: slower, not fatal.
    LogEvent(
        "pinned_failed",
        " of pinned memory: out of memory",
        "ggml_cuda_host_malloc: failed to allocate 4096.00 MiB of pinned memory: out of memory",
        "v0.3.6",
        r"^\.*ggml_cuda_host_malloc: failed to allocate (?P<mib>[0-9.]+) MiB of pinned memory",
    ),
    LogEvent(
        "pipeline_retry",
        "compute buffer allocation failed, retrying without pipeline parallelism",
        "graph_reserve: compute buffer allocation failed, retrying without pipeline parallelism",
        "v0.5.2 →",
    ),
    LogEvent(
        "device_oom",
        "ggml_vulkan: Device memory allocation of size ",
        "ggml_vulkan: Device memory allocation of size 1073741824 failed.",
        "v0.12.6 →",
        r"^\.*ggml_vulkan: Device memory allocation of size (?P<bytes>[0-9]+) failed",
    ),
    LogEvent(
        "device_oom",
        "ErrorOutOfDeviceMemory",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "v0.12.6 →",
        r"^\.*ggml_vulkan: .{0,200}ErrorOutOfDeviceMemory",
    ),
    LogEvent("device_lost", "ggml_vulkan: device lost on ", "ggml_vulkan: device lost on Vulkan0", "v0.32.8 →"),
    LogEvent(
        "device_error",
        "command buffer ",
        "ggml_metal_graph_compute: command buffer 0 failed with status 5",
        "v0.5.2 →",
        r"^\.*[A-Za-z0-9_]{1,80}: command buffer [0-9]+ failed with status (?P<status>[0-9]+)",
    ),
    LogEvent(
        "device_oom",
        "error: Insufficient Memory",
        "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        "v0.5.2 →",
        r"^error: Insufficient Memory",
    ),
    LogEvent(
        "device_oom",
        "current allocated size is greater than the recommended max working set size",
        "ggml_metal_log_allocated_size: warning: current allocated size is greater than the recommended max working "
        "set size",
        "v0.5.2 →",
    ),
    LogEvent(
        "kv_full",
        "failed to find a memory slot for batch of size ",
        "decode: failed to find a memory slot for batch of size 512",
        "v0.9.0 →",
        r"failed to find a memory slot for batch of size (?P<tokens>[0-9]+)",
    ),
    LogEvent(
        "kv_full",
        "could not find a KV slot for the batch",
        f'{_TIME} level=ERROR source=runner.go:400 msg="could not find a KV slot for the batch"',
        "v0.3.13 →",
    ),
    LogEvent(
        "model_load_error",
        "error loading model: ",
        "llama_model_load: error loading model: unable to allocate CPU buffer",
        "v0.3.14 →",
        r"^\.*llama_model_load: error loading model: (?P<reason>.{0,300})",
    ),
    LogEvent(
        "model_load_error",
        "failed to initialize the context: ",
        "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
        "v0.9.0 →",
        r"^\.*llama_init_from_model: failed to initialize the context: (?P<reason>.{0,300})",
    ),
    # --- crashes --------------------------------------------------------------------------------------------
    LogEvent(
        "crash_panic", "panic: ", "panic: unable to load model: /models/a", "v0.0.1 →", r"^panic: (?P<reason>.{0,300})"
    ),
    LogEvent(
        "crash_fatal",
        "fatal error: ",
        "fatal error: unexpected signal",
        "v0.0.1 →",
        r"^fatal error: (?P<reason>.{0,300})",
    ),
    LogEvent(
        "crash_signal",
        "SIG",
        "SIGSEGV: segmentation violation",
        "v0.0.1 →",
        r"^(?P<signal>SIG(?:SEGV|ABRT|BUS|FPE|ILL|TRAP|QUIT)): ",
    ),
    LogEvent("crash_cgo", "signal arrived during cgo execution", "signal arrived during cgo execution", "v0.0.1 →"),
    LogEvent(
        "crash_assert",
        "GGML_ASSERT(",
        "/tmp/ollama/ggml/src/ggml.c:4101: GGML_ASSERT(ggml_nelements(a) == ne0) failed",
        "v0.0.1 →",
        r"^\.*(?:[^ ]{1,300}:[0-9]+: )?GGML_ASSERT\((?P<reason>.{0,300})",
    ),
    LogEvent(
        "crash_assert",
        "GGML_ASSERT: ",
        "GGML_ASSERT: /go/src/ollama/llm/llama.cpp/llama.cpp:11010: seq_id < n_tokens",
        "v0.0.1–v0.3.0",
        r"^\.*GGML_ASSERT: [^ ]{1,300}:[0-9]+: (?P<reason>.{0,300})",
    ),
    LogEvent(
        "crash_assert",
        ": Assertion ",
        "ollama: llama-sampling.cpp:660: void llama_sampler_apply(): Assertion `found' failed.",
        "v0.17.0",
        r"^[^ ]{1,300}: [^ ]{1,300}:[0-9]+: .{0,400}?: Assertion (?P<reason>.{0,300}) failed",
    ),
    LogEvent(
        "crash_device",
        ": CUDA error",
        "/tmp/ollama/ggml/src/ggml-cuda/ggml-cuda.cu:101: CUDA error",
        "v0.3.6 →",
        r"^\.*[^ ]{1,300}:[0-9]+: CUDA error",
    ),
    LogEvent(
        "crash_device",
        ": ROCm error",
        "/tmp/ollama/ggml/src/ggml-cuda/ggml-cuda.cu:101: ROCm error",
        "v0.3.6 →",
        r"^\.*[^ ]{1,300}:[0-9]+: ROCm error",
    ),
    LogEvent(
        "crash_device",
        ": SYCL error",
        "/tmp/ollama/ggml/src/ggml-cuda/ggml-cuda.cu:101: SYCL error",
        "v0.3.6 →",
        r"^\.*[^ ]{1,300}:[0-9]+: SYCL error",
    ),
    # What the runtime of C++ says before it aborts.
    LogEvent(
        "crash_fatal",
        "terminate called ",
        "terminate called after throwing an instance of 'vk::DeviceLostError'",
        "v0.0.1 →",
        r"^terminate called (?:after throwing an instance of (?P<reason>.{0,300})|without|recursively)",
    ),
    LogEvent(
        "crash_fatal",
        "libc++abi: terminating",
        "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
        "failed",
        "v0.0.1 →",
        r"^libc\+\+abi: terminating(?:.{0,40}? uncaught exception of type (?P<reason>.{0,300}))?",
    ),
    # ROCm's runtime ends the process with these words, and nothing else is written.
    LogEvent(
        "crash_device",
        "Memory access fault by GPU node-",
        "Memory access fault by GPU node-1 (Agent handle: 0x55d0c8) on address 0x7f1897000. Reason: Page not present.",
        "ROCm",
        r"^\.*Memory access fault by GPU node-(?P<gpu>[0-9]+) ",
    ),
    LogEvent(
        "crash_device",
        "HW Exception by GPU node-",
        "HW Exception by GPU node-1 (Agent handle: 0x55d0c8) reason :GPU Hang",
        "ROCm",
        r"^\.*HW Exception by GPU node-(?P<gpu>[0-9]+) ",
    ),
    LogEvent(
        "handler_panic",
        " panic recovered:",
        "[Recovery] 2026/11/20 - 20:49:03 panic recovered:",
        "v0.0.1 →",
        r"^\[Recovery\] .{0,60}panic recovered:",
    ),
    # --- the desktop app, in a log of its own -----------------------------------------------------------------
    _slog("app_started", "v0.1.27–v0.12.3", "INFO logging.go:32", 'msg="ollama app started"'),
    _slog(
        "app_started",
        "v0.12.4 →",
        "INFO app_windows.go:282",
        'msg="starting Ollama" app=C:\\Ollama version=0.30.6 OS=Windows/10.0.26200',
    ),
    _slog("app_started", "v0.12.4 →", "INFO app.go:250", 'msg="starting ollama server"'),
    LogEvent(
        "server_respawned",
        'msg="server crash ',
        f'{_TIME} level=WARN source=server.go:163 msg="server crash 1 - exit code 2 - respawning"',
        "v0.1.27–v0.12.3",
        r'msg="server crash (?P<count>[0-9]+) - exit code (?P<code>-?[0-9]+) - respawning"',
    ),
    LogEvent(
        "listen_failed",
        "Error: listen tcp ",
        "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
        "v0.0.1 →",
        r"^Error: listen tcp (?P<address>[^ ]{1,80}): bind: (?:address already in use|Only one usage of each socket)",
    ),
    # --- service manager ------------------------------------------------------------------------------------
    LogEvent(
        "service_started", "Started ", "Started Ollama Service.", "systemd", r"^Started (?:Ollama|ollama\.service)"
    ),
    LogEvent(
        "service_stopping",
        "Stopping ",
        "Stopping Ollama Service...",
        "systemd",
        r"^Stopping (?:Ollama|ollama\.service)",
    ),
    LogEvent(
        "service_stopped", "Stopped ", "Stopped Ollama Service.", "systemd", r"^Stopped (?:Ollama|ollama\.service)"
    ),
    LogEvent(
        "service_exited",
        "ain process exited, code=",
        "ollama.service: Main process exited, code=killed, status=9/KILL",
        "systemd",
        r"\.service: [Mm]ain process exited, code=(?P<code>[A-Za-z0-9_]+), status=(?P<status>\S+)",
    ),
    LogEvent(
        "service_failed",
        "Failed with result ",
        "ollama.service: Failed with result 'oom-kill'.",
        "systemd",
        r"\.service: Failed with result '(?P<result>[^']{1,40})'",
    ),
    LogEvent(
        "service_exited",
        ".service: Deactivated successfully",
        "ollama.service: Deactivated successfully.",
        "systemd",
    ),
    LogEvent(
        "service_restart",
        ".service: Scheduled restart job",
        "ollama.service: Scheduled restart job, restart counter is at 3.",
        "systemd",
        r"\.service: Scheduled restart job, restart counter is at (?P<count>[0-9]+)",
    ),
    LogEvent(
        "service_oom",
        "has been killed by the OOM killer",
        "ollama.service: A process of this unit has been killed by the OOM killer.",
        "systemd",
    ),
    LogEvent(
        "kernel_oom",
        "emory: Killed process ",
        "Out of memory: Killed process 31289 (ollama) total-vm:43251232kB, anon-rss:22345678kB",
        "Linux",
        r"(?:O|o)ut of memory: Killed process (?P<pid>[0-9]+) \((?P<process>[^)]{1,40})\)",
    ),
    LogEvent(
        "kernel_oom",
        "oom-kill:constraint=",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=ollama,pid=31289,uid=997",
        "Linux",
        r"^oom-kill:constraint=(?:.{0,600}?task=(?P<process>[^,]{1,40}),pid=(?P<pid>[0-9]+))?",
    ),
    # A journal of the whole system has the kernel's lines between those of the server.
    LogEvent(
        "kernel_gpu_fault",
        "NVRM: Xid (",
        "NVRM: Xid (PCI:0000:01:00): 79, pid=31289, name=ollama, GPU has fallen off the bus.",
        "Linux",
        r"NVRM: Xid \((?:PCI:)?[0-9a-fA-F:.]{1,20}\): (?P<xid>[0-9]{1,4})"
        r"(?:, pid='?(?P<pid>[0-9]{1,9})'?)?(?:, name=(?P<process>[^,]{1,64}))?(?:, (?P<detail>.{1,200}))?",
    ),
    LogEvent(
        "kernel_gpu_fault",
        " timeout, signaled seq=",
        "amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=384, emitted seq=387",
        "Linux",
        r"ring (?P<detail>[A-Za-z0-9_.]{1,30} timeout), signaled seq=",
    ),
    LogEvent(
        "kernel_gpu_fault",
        ": GPU reset begin!",
        "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!",
        "Linux",
        r"amdgpu: (?P<detail>GPU reset begin)!",
    ),
    LogEvent(
        "kernel_segfault",
        "]: segfault at ",
        "ollama[31289]: segfault at 0 ip 00007f3a1c2b9d41 sp 00007ffd8a1e2f10 error 4 in libggml.so",
        "Linux",
        r"(?P<process>[A-Za-z0-9_.:-]{1,16})\[(?P<pid>[0-9]+)\]: segfault at ",
    ),
    LogEvent(
        "host_boot", "-- Boot ", "-- Boot 0f2c4a6e8b0d4f1a9c3e5d7b1a2c4e6f --", "journald", r"^-- Boot [0-9a-f]+ --"
    ),
    LogEvent("host_boot", "-- Reboot --", "-- Reboot --", "journald"),
)

# An event stands at the head of its line. Only progress dots and a glued record come before it, so a line of
# megabytes costs no more than this.
_REACH = 65_536


def _by_anchor() -> dict[str, list[LogEvent]]:
    """Rows to try where an anchor is found: its own, then those of shorter anchors it begins with."""
    rows: dict[str, list[LogEvent]] = {}
    for row in EVENTS:
        rows.setdefault(row.anchor, []).append(row)
    longest_first = sorted(rows, key=len, reverse=True)
    return {
        anchor: [row for shorter in longest_first if anchor.startswith(shorter) for row in rows[shorter]]
        for anchor in rows
    }


_ROWS_BY_ANCHOR = _by_anchor()
_ROWS_BY_KEY = {key: [row for row in EVENTS if row.key == key] for key in {row.key for row in EVENTS}}
# Longest first, so that an anchor which begins like another is preferred to it.
ANCHORS = tuple(sorted(_ROWS_BY_ANCHOR, key=len, reverse=True))


@cache
def _any_anchor() -> re.Pattern[str]:
    """It takes long to compile, and who knows the anchors of its lines does without."""
    return re.compile("|".join(re.escape(anchor) for anchor in ANCHORS))


def rows_of(anchor: str) -> list[LogEvent]:
    """The rows to try, in order, where this anchor is found."""
    return _ROWS_BY_ANCHOR[anchor]


def event_in(text: str, anchor: str = "") -> FoundEvent | None:
    """The first event in an unwrapped line, or None.

    `anchor` is the one that leads to it where that is known: finding it is most of the work.
    """
    text = text[:_REACH]
    for row in _ROWS_BY_ANCHOR.get(anchor, ()):
        if match := row.regex.search(text):
            return FoundEvent(row.key, _fields(text, match))
    tried = {anchor}  # a row is searched in the whole line, so once is enough
    hit = _any_anchor().search(text)
    while hit:
        if hit[0] not in tried:
            tried.add(hit[0])
            for row in _ROWS_BY_ANCHOR[hit[0]]:
                if match := row.regex.search(text):
                    return FoundEvent(row.key, _fields(text, match))
        # One step on, not behind the anchor: the next one may begin inside it.
        hit = _any_anchor().search(text, hit.start() + 1)
    return None


def fields_of(key: str, text: str) -> dict[str, str]:
    """The fields of an unwrapped line that is known to hold an event of this key, which need not be found any more.

    >>> fields_of("server_listening", "Listening on [::]:11434 (version 0.13.5)")["version"]
    '0.13.5'
    """
    matches = [match for row in _ROWS_BY_KEY.get(key, ()) if (match := row.regex.search(text))]
    if len(matches) == 1:
        return _fields(text, matches[0])
    found = event_in(text)
    return found.fields if found else {}


def _fields(text: str, match: re.Match[str]) -> dict[str, str]:
    groups = {name: value for name, value in match.groupdict().items() if value is not None}
    if "level=" in text:  # a value of a slog record is quoted as Go quotes
        groups = {name: unquote(f'"{value}"') for name, value in groups.items()}
    # Runner lines hold an equals sign too ("eval time = …"), but no pairs.
    return {**pairs(text), **groups} if "level=" in text or '="' in text else groups
