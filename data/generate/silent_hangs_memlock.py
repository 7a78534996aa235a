"""Silent hangs: a quarter of the requests never come back while the model is in memory and MEMLOCK is 8 MiB.

One host in three phases: Vulkan with 8 MiB, ROCm with 8 MiB, ROCm without a limit. The backend explains the speed,
the limit the hangs. Everything beside the log was captured in the first phase, while a request hung.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from .writing import CaseWriter, TimedLines, access, slog

NAME = "silent-hangs-memlock"

# Published.
HUNG_ONE_IN = 4  # ~25 % of the requests
MODEL_BYTES = 9_701_326_848  # 9.7 GB
VRAM_BYTES = 25_753_026_560  # 24 GB of a Radeon RX 7900 XTX, gfx1100
MEMLOCK_BYTES = 8_388_608
TOKENS_PER_S = {"Vulkan": 20.0, "ROCm": 122.0}
RETRIEVAL_S = (0.3, 0.5)
COLLECTIONS = ("handbook", "tickets", "questions", "glossary", "papers")
STORE_LIMIT_BYTES = 1 << 30
STORE_MOUNT, STORE_DATA = "/chroma/chroma", "/data"
META_TENSOR = (
    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() "
    "when moving module from meta to a different device."
)

# Chosen.
TIMEOUT_S = 60.0
LOOK_S = 15.0
VRAM_USED_BYTES = 12_361_453_568
ZONE = timezone(timedelta(hours=-4))
DAY = datetime(2026, 3, 14, tzinfo=ZONE)
HOST = "ragbox"
MODEL = "gemma3:4b-it-fp16"
DIGEST = "5c1d7fe2a0b94e83d6f7128c3b5a90e41d8f26c7b3e0945a7f618d2c0b9e3a54"
BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-8d3e0f5b6a7c42918e1f2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"
SERVE, RUNNER, RAG = 1812, 1947, 1450  # processes of the first phase
CARD = {"Vulkan": "00000000-0300-0000-0000-000000000000", "ROCm": "GPU-9c3e51d07a6b2f48"}
CONFIG = (
    "map[CUDA_VISIBLE_DEVICES: GGML_VK_VISIBLE_DEVICES: GPU_DEVICE_ORDINAL: HIP_VISIBLE_DEVICES: "
    "HSA_OVERRIDE_GFX_VERSION: HTTPS_PROXY: HTTP_PROXY: NO_PROXY: OLLAMA_CONTEXT_LENGTH:0 OLLAMA_DEBUG:INFO "
    "OLLAMA_EDITOR: OLLAMA_FLASH_ATTENTION:false OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:http://127.0.0.1:11434 "
    "OLLAMA_KEEP_ALIVE:5m0s OLLAMA_KV_CACHE_TYPE: OLLAMA_LLM_LIBRARY: OLLAMA_LOAD_TIMEOUT:5m0s "
    "OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512 OLLAMA_MODELS:/usr/share/ollama/.ollama/models "
    "OLLAMA_MULTIUSER_CACHE:false OLLAMA_NEW_ENGINE:false OLLAMA_NOHISTORY:false OLLAMA_NOPRUNE:false "
    "OLLAMA_NO_CLOUD:false OLLAMA_NUM_PARALLEL:1 OLLAMA_ORIGINS:[http://localhost https://localhost "
    "http://localhost:* https://localhost:* http://127.0.0.1 https://127.0.0.1 http://127.0.0.1:* https://127.0.0.1:* "
    "http://0.0.0.0 https://0.0.0.0 http://0.0.0.0:* https://0.0.0.0:* app://* file://* tauri://* vscode-webview://* "
    "vscode-file://*] OLLAMA_REMOTES:[ollama.com] OLLAMA_SCHED_SPREAD:false OLLAMA_VULKAN:true "
    "ROCR_VISIBLE_DEVICES: http_proxy: https_proxy: no_proxy:]"
)
PATH_LINE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INVOCATION = "1f8b6f6f0c2e4b0e9a35d7c4182e90ab"
# systemd's name and the kernel's, soft and hard limit, unit.
LIMITS = (
    ("CPU", "cpu time", "", "", "seconds"), ("FSIZE", "file size", "", "", "bytes"),
    ("DATA", "data size", "", "", "bytes"), ("STACK", "stack size", 8_388_608, "", "bytes"),
    ("CORE", "core file size", 0, "", "bytes"), ("RSS", "resident set", "", "", "bytes"),
    ("NPROC", "processes", 256_412, 256_412, "processes"), ("NOFILE", "open files", 1024, 524_288, "files"),
    ("MEMLOCK", "locked memory", MEMLOCK_BYTES, MEMLOCK_BYTES, "bytes"), ("AS", "address space", "", "", "bytes"),
    ("LOCKS", "file locks", "", "", "locks"), ("SIGPENDING", "pending signals", 256_412, 256_412, "signals"),
    ("MSGQUEUE", "msgqueue size", 819_200, 819_200, "bytes"), ("NICE", "nice priority", 0, 0, ""),
    ("RTPRIO", "realtime priority", 0, 0, ""), ("RTTIME", "realtime timeout", "", "", "us"),
)  # fmt: skip
UNIT_FILES = f"""\
# /etc/systemd/system/ollama.service
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="{PATH_LINE}"

[Install]
WantedBy=default.target

# /etc/systemd/system/ollama.service.d/override.conf
[Service]
Environment="OLLAMA_VULKAN=1"
"""
META_TENSOR_TRACEBACK = f"""\
Traceback (most recent call last):
  File "/usr/lib/python3.12/threading.py", line 1073, in _bootstrap_inner
    self.run()
  File "/usr/lib/python3.12/threading.py", line 1010, in run
    self._target(*self._args, **self._kwargs)
  File "/srv/rag/app/main.py", line 41, in preload
    embedder.get()
  File "/srv/rag/app/embedder.py", line 18, in get
    _model = SentenceTransformer(MODEL_NAME)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/rag/.venv/lib/python3.12/site-packages/sentence_transformers/SentenceTransformer.py", line 347, in __init__
    self.to(device)
  File "/srv/rag/.venv/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1371, in to
    return self._apply(convert)
           ^^^^^^^^^^^^^^^^^^^^
  File "/srv/rag/.venv/lib/python3.12/site-packages/torch/nn/modules/module.py", line 957, in _apply
    param_applied = fn(param)
                    ^^^^^^^^^
  File "/srv/rag/.venv/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1364, in convert
    raise NotImplementedError(
NotImplementedError: {META_TENSOR}
"""


@dataclass
class Phase:
    """One life of the server."""

    name: str
    library: str
    began: datetime
    requests: int
    hangs: bool
    serve: int = SERVE
    runner: int = RUNNER


@dataclass
class Call:
    """One call of the client; `hung` got no answer."""

    name: str
    retrieval: list[tuple[str, datetime, float]]
    began: datetime
    ended: datetime
    hung: bool
    load_s: float
    prompt_tokens: int
    prompt_s: float
    tokens: int
    decode_s: float


PHASES = (
    Phase("vulkan-memlock-8MiB", "Vulkan", DAY.replace(hour=13), 40, True),
    Phase("rocm-memlock-8MiB", "ROCm", DAY.replace(hour=14, minute=10), 8, True, 6120, 6204),
    Phase("rocm-memlock-infinity", "ROCm", DAY.replace(hour=14, minute=40), 10, False, 7033, 7118),
)


class Journal(TimedLines):
    """A unit's journal as journalctl prints it with --output short-iso-precise."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def say(self, at: datetime, pid: int, *texts: str, program: str = "ollama") -> None:
        self.add(at, *(f"{at:%Y-%m-%dT%H:%M:%S.%f%z} {self.host} {program}[{pid}]: {text}" for text in texts))

    def unit(self, at: datetime, *texts: str) -> None:
        self.say(at, 1, *texts, program="systemd")


def after(at: datetime, seconds: float) -> datetime:
    """A moment so many seconds later."""
    return at + timedelta(seconds=seconds)


def utc(at: datetime) -> str:
    """A moment in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def calls_of(phase: Phase, random: Random) -> Iterator[Call]:
    """The calls of one phase, one after the other; of each four one hangs, but never the first of all."""
    at = after(phase.began, 20)
    for number in range(phase.requests):
        if number % HUNG_ONE_IN == 0:
            hanging = random.randrange(number == 0, HUNG_ONE_IN) if phase.hangs else -1
        retrieval = []
        for collection in COLLECTIONS:
            took_s = round(random.uniform(*RETRIEVAL_S), 4)
            at = after(at, took_s)
            retrieval.append((collection, at, took_s))
        began = after(at, random.uniform(0.004, 0.012))
        prompt, tokens = random.randint(1500, 2600), random.randint(120, 400)
        prompt_s = prompt / (random.uniform(860, 940) * (1 if phase.library == "Vulkan" else 5))
        decode_s = tokens / (TOKENS_PER_S[phase.library] * random.uniform(0.985, 1.015))
        load_s = random.uniform(0.05, 0.11) if number else (5.3 if phase.library == "Vulkan" else 3.9)
        hung = number % HUNG_ONE_IN == hanging
        ended = after(began, TIMEOUT_S + 0.004 if hung else load_s + prompt_s + decode_s + random.uniform(0.02, 0.06))
        yield Call(f"{phase.name}-{number + 1:03}", retrieval, began, ended, hung, load_s, prompt, prompt_s, tokens,
                   decode_s)  # fmt: skip
        at = after(ended, random.uniform(1.5, 6.0))


def write_start(journal: Journal, phase: Phase) -> None:
    """What 0.17.7 prints until it listens and knows its GPUs."""
    at, pid = phase.began, phase.serve
    runner = "/usr/local/bin/ollama runner --ollama-engine --port"
    journal.unit(at, "Started ollama.service - Ollama Service.")
    for seconds, source, message, fields in (
        (0.041, "routes.go:1658", "server config", {"env": CONFIG}),
        (0.041, "routes.go:1660", "Ollama cloud disabled: false", {}),
        (0.044, "images.go:477", "total blobs: 9", {}),
        (0.044, "images.go:484", "total unused blobs removed: 0", {}),
        (0.045, "routes.go:1713", "Listening on 127.0.0.1:11434 (version 0.17.7)", {}),
        (0.046, "runner.go:67", "discovering available GPUs...", {}),
        (0.048, "server.go:430", "starting runner", {"cmd": f"{runner} 41877"}),
        (0.402, "server.go:430", "starting runner", {"cmd": f"{runner} 35209"}),
        (0.731, "server.go:430", "starting runner", {"cmd": f"{runner} 44103"}),
    ):
        journal.say(after(at, seconds), pid, slog(after(at, seconds), "INFO", source, message, **fields))
    found = {"id": CARD[phase.library], "filter_id": "", "library": phase.library}
    found |= (
        {"compute": "0.0", "name": "Vulkan0", "description": "AMD Radeon RX 7900 XTX (RADV NAVI31)",
         "libdirs": "ollama,vulkan", "driver": "0.0"}
        if phase.library == "Vulkan"
        else {"compute": "gfx1100", "name": "ROCm0", "description": "AMD Radeon RX 7900 XTX", "libdirs": "ollama,rocm",
              "driver": "60342.13"}
    )  # fmt: skip
    found |= {"pci_id": "0000:03:00.0", "type": "discrete", "total": "24.0 GiB", "available": "23.3 GiB"}
    at = after(at, 1.37)
    journal.say(at, pid, slog(at, "INFO", "types.go:42", "inference compute", **found))
    journal.say(at, pid, slog(at, "INFO", "routes.go:1763", "vram-based default context", total_vram="24.0 GiB",
                              default_num_ctx=32768))  # fmt: skip


def write_load(journal: Journal, phase: Phase, at: datetime, load_s: float) -> None:
    """The one load of a phase: everything goes to the GPU."""
    pid, device, card = phase.serve, f"{phase.library}0", CARD[phase.library]

    def say(seconds: float, source: str, message: str, **fields: object) -> None:
        journal.say(after(at, seconds), pid, slog(after(at, seconds), "INFO", source, message, **fields))

    cmd = f"/usr/local/bin/ollama runner --ollama-engine --model {BLOB} --port 38211"
    say(0.11, "server.go:430", "starting runner", cmd=cmd)
    say(0.111, "sched.go:489", "system memory", total="62.7 GiB", free="51.2 GiB", free_swap="8.0 GiB")
    say(0.111, "sched.go:496", "gpu memory", id=card, library=phase.library, available="22.8 GiB", free="23.3 GiB",
        minimum="457.0 MiB", overhead="0 B")  # fmt: skip
    journal.say(after(at, 0.112), pid, slog(after(at, 0.112), "INFO", "server.go:757", "loading model")
                + ' "model layers"=35 requested=-1')  # fmt: skip
    say(0.131, "runner.go:1429", "starting ollama engine")
    say(0.132, "runner.go:1464", "Server listening on 127.0.0.1:38211")
    plan = (
        "Parallel:1 BatchSize:512 FlashAttention:Enabled KvSize:32768 KvCacheType: NumThreads:8 "
        f"GPULayers:35[ID:{card} Layers:35(0..34)] MultiUserCache:false ProjectorPath: MainGPU:0 UseMmap:false"
    )
    say(0.14, "runner.go:1302", "load", request=f"{{Operation:fit LoraPath:[] {plan}}}")
    backend = (
        ["ggml_vulkan: Found 1 Vulkan devices:",
         "ggml_vulkan: 0 = AMD Radeon RX 7900 XTX (RADV NAVI31) (radv) | uma: 0 | fp16: 1 | bf16: 1 | warp size: 64 | "
         "shared memory: 65536 | int dot: 1 | matrix cores: KHR_coopmat",
         "load_backend: loaded Vulkan backend from /usr/local/lib/ollama/vulkan/libggml-vulkan.so"]
        if phase.library == "Vulkan"
        else ["ggml_cuda_init: GGML_CUDA_FORCE_MMQ:    no", "ggml_cuda_init: GGML_CUDA_FORCE_CUBLAS: no",
              "ggml_cuda_init: found 1 ROCm devices:",
              f"  Device 0: AMD Radeon RX 7900 XTX, gfx1100 (0x1100), VMM: no, Wave Size: 32, ID: {card}",
              "load_backend: loaded ROCm backend from /usr/local/lib/ollama/rocm/libggml-hip.so"]
    )  # fmt: skip
    journal.say(after(at, 0.2), pid, "load_backend: loaded CPU backend from /usr/local/lib/ollama/libggml-cpu-zen4.so",
                *backend)  # fmt: skip
    say(0.61, "runner.go:1302", "load", request=f"{{Operation:alloc LoraPath:[] {plan}}}")
    say(0.84, "runner.go:1302", "load", request=f"{{Operation:commit LoraPath:[] {plan}}}")
    say(0.84, "ggml.go:482", "offloading 34 repeating layers to GPU")
    say(0.84, "ggml.go:489", "offloading output layer to GPU")
    say(0.84, "ggml.go:494", "offloaded 35/35 layers to GPU")
    say(0.84, "device.go:240", "model weights", device=device, size="6.9 GiB")
    say(0.84, "device.go:245", "model weights", device="CPU", size="1.2 GiB")
    say(0.84, "device.go:251", "kv cache", device=device, size="388.0 MiB")
    say(0.84, "device.go:262", "compute graph", device=device, size="558.4 MiB")
    say(0.841, "device.go:272", "total memory", size="9.0 GiB")
    say(0.841, "sched.go:565", "loaded runners", count=1)
    say(0.841, "server.go:1350", "waiting for llama runner to start responding")
    say(0.852, "server.go:1384", "waiting for server to become available", status="llm server loading model")
    say(load_s - 0.02, "server.go:1388", f"llama runner started in {load_s - 0.13:.2f} seconds")


def write_stop(journal: Journal, at: datetime) -> None:
    """systemd stops the unit."""
    journal.unit(at, "Stopping ollama.service - Ollama Service...")
    journal.unit(after(at, 0.4), "ollama.service: Deactivated successfully.")
    journal.unit(after(at, 0.401), "Stopped ollama.service - Ollama Service.")


def trial(call: Call) -> str:
    """One row of the client's table; durations in nanoseconds, as the API gives them."""
    row: list[object] = [call.name, utc(call.began), utc(call.ended), MODEL, "/api/chat"]
    if call.hung:
        row += ["", f"httpx.ReadTimeout: no answer within {TIMEOUT_S:.0f} s", TIMEOUT_S, *[""] * 6]
    else:
        total_s = (call.ended - call.began).total_seconds() - 0.002
        row += [200, "", TIMEOUT_S, int(total_s * 1e9), int(call.load_s * 1e9), call.prompt_tokens,
                int(call.prompt_s * 1e9), call.tokens, int(call.decode_s * 1e9)]  # fmt: skip
    return ",".join(map(str, row))


def looks_at(phase: Phase, calls: list[Call]) -> list[datetime]:
    """When the watch looks at one phase: from before its first call to after its last."""
    span_s = (calls[-1].ended - phase.began).total_seconds()
    return [after(phase.began, LOOK_S * number) for number in range(1, int(span_s / LOOK_S) + 2)]


def samples(phase: Phase, calls: list[Call], random: Random) -> Iterator[str]:
    """What `warmstall watch` saw of one phase."""
    runner = f"/usr/local/bin/ollama runner --ollama-engine --model {BLOB} --port 38211"
    service = "/srv/rag/.venv/bin/python /srv/rag/.venv/bin/uvicorn app.main:app --host 127.0.0.1 --port 8080"
    names = ("pid", "parent_pid", "role", "cpu_percent", "rss_bytes", "threads", "command", "state")
    for at in looks_at(phase, calls):
        last = max((call.ended for call in calls if call.ended <= at), default=None)
        busy_s = sum(shared_s(call.began, call.ended, after(at, -LOOK_S), at) for call in calls if not call.hung)
        percent = round(random.uniform(31, 37) * busy_s / LOOK_S, 1)
        loaded = at > after(calls[0].began, calls[0].load_s)
        processes = [(phase.serve, 1, "serve", 0.1, 96_411_648, 17, "/usr/local/bin/ollama serve", "S"),
                     (RAG, 1, "uvicorn", 0.3, 2_911_436_800, 24, service, "S")]  # fmt: skip
        models = []
        if loaded:
            processes.insert(0, (phase.runner, phase.serve, "runner", percent, 1_893_204_000, 22, runner, "S"))
            models = [{"model": MODEL, "digest": DIGEST, "size_bytes": MODEL_BYTES, "vram_bytes": MODEL_BYTES,
                       "vram_fraction": 1.0, "processor": "100% GPU", "context_length": 32768,
                       "expires_at": utc(after(last or at, 300))}]  # fmt: skip
        rows = {
            "processes": [dict(zip(names, process, strict=True)) for process in processes],
            "resident_models": models,
            "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": round(random.uniform(0.001, 0.003), 4)}],
            "memory": [{"origin": "linux", "page_bytes": 4096, "total_bytes": 67_303_710_720,
                        "available_bytes": 48_912_003_072 + 4096 * random.randrange(100_000),
                        "swap_total_bytes": 8_589_930_496, "swap_used_bytes": 0, "swapins": 0, "swapouts": 0,
                        "psi_some_avg10": 0.0, "psi_full_avg10": 0.0}],
        }  # fmt: skip
        yield json.dumps({"at": utc(at), "rows": rows})


def shared_s(began: datetime, ended: datetime, begin: datetime, end: datetime) -> float:
    """How many seconds two spans have in common."""
    return max(0.0, (min(end, ended) - max(begin, began)).total_seconds())


def gap(before: datetime, at: datetime) -> str:
    """The line of a watch that was not running for a while."""
    seconds = round((at - before).total_seconds(), 1)
    return json.dumps({"at": utc(at), "gap": {"seconds": seconds, "reason": "watch was not running"}})


def rocm_smi(works: bool, random: Random) -> str:
    """One look of rocm-smi --json: memory held, and at work or not."""
    card = {
        "Temperature (Sensor edge) (C)": f"{random.randint(55, 60) if works else random.randint(38, 41):.1f}",
        "Average Graphics Package Power (W)": f"{random.randint(270, 300) if works else random.randint(28, 33):.1f}",
        "GPU use (%)": str(random.randint(96, 99)) if works else "0",
        "VRAM Total Memory (B)": str(VRAM_BYTES),
        "VRAM Total Used Memory (B)": str(VRAM_USED_BYTES + 4096 * random.randrange(4000)),
        "Card Series": "AMD Radeon RX 7900 XTX",
        "Card Model": "0x744c",
        "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
        "GFX Version": "gfx1100",
    }
    return json.dumps({"card0": card, "system": {"Driver version": "6.14.0-37-generic"}}) + "\n"


def application_log(calls: list[Call]) -> str:
    """The RAG service: two threads load the embedder at once, then five collections are asked one after another."""
    log = TimedLines()
    start = PHASES[0].began

    def tell(at: datetime, level: str, event: str, **fields: object) -> None:
        stamp = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        log.add(at, json.dumps({"timestamp": stamp, "level": level, "event": event, **fields}))

    tell(after(start, 2.5), "info", "service started", logger="rag.main", workers=1)
    tell(after(start, 3.102), "info", "embedder wanted, loading it", logger="rag.embedder", thread="preload-docs")
    tell(after(start, 3.117), "info", "embedder wanted, loading it", logger="rag.embedder", thread="preload-faq")
    tell(after(start, 5.4), "error", "embedder could not be loaded in thread preload-faq", logger="rag.embedder",
         thread="preload-faq", exception=META_TENSOR_TRACEBACK.strip())  # fmt: skip
    tell(after(start, 7.344), "warning", "slow operation: loading the embedder in thread preload-docs took 4.242 s",
         logger="rag.embedder")  # fmt: skip
    for call in calls:
        for collection, at, took_s in call.retrieval:
            path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection}/query"
            tell(at, "info", "collection queried", logger="rag.retrieval", call=call.name, method="POST", path=path,
                 status=200, duration_ms=round(took_s * 1000, 1))  # fmt: skip
    return log.text()


def of_kernel(pid: int) -> str:
    """/proc/PID/limits."""
    rows = [("Limit", "Soft Limit", "Hard Limit", "Units")]
    rows += [(f"Max {name}", str(soft if soft != "" else "unlimited"), str(hard if hard != "" else "unlimited"), unit)
             for _, name, soft, hard, unit in LIMITS]  # fmt: skip
    return f"==> /proc/{pid}/limits <==\n" + "".join(f"{a:<25} {b:<20} {c:<20} {d:<10}\n" for a, b, c, d in rows)


def of_systemd(prefix: str) -> str:
    """The limits as `systemctl show` prints them."""
    shown = [(name, hard if hard != "" else "infinity", soft if soft != "" else "infinity")
             for name, _, soft, hard, _ in LIMITS]  # fmt: skip
    return "".join(f"{prefix}{name}={hard}\n{prefix}{name}Soft={soft}\n" for name, hard, soft in shown)


def host_files(at: datetime) -> dict[str, str]:
    """What systemd, the kernel and the tools said in the first phase, while a request hung."""
    began = PHASES[0].began
    unit = {
        "Type": "simple", "Restart": "always", "RestartUSec": "3s", "MainPID": SERVE, "Result": "success",
        "NRestarts": 0, "ExecMainStartTimestamp": f"{began:%a %Y-%m-%d %H:%M:%S} EDT", "ExecMainPID": SERVE,
        "ExecMainCode": 0, "ExecMainStatus": 0, "ControlGroup": "/system.slice/ollama.service",
        "MemoryCurrent": 10_240_192_512, "MemoryHigh": "infinity", "MemoryMax": "infinity", "TasksMax": 76_923,
        "Environment": f"{PATH_LINE} OLLAMA_VULKAN=1",
    }  # fmt: skip
    facts = {
        "User": "ollama", "OOMPolicy": "stop", "Id": "ollama.service", "Names": "ollama.service",
        "Description": "Ollama Service", "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
        "FragmentPath": "/etc/systemd/system/ollama.service",
        "DropInPaths": "/etc/systemd/system/ollama.service.d/override.conf", "UnitFileState": "enabled",
        "ActiveEnterTimestamp": f"{began:%a %Y-%m-%d %H:%M:%S} EDT", "NeedDaemonReload": "no",
        "InvocationID": INVOCATION,
    }  # fmt: skip
    elapsed_s = int((at - began).total_seconds())
    processes = "".join(
        f"{pid:>7} {parent:>7} {user:<32} {elapsed_s - late_s:>7} {'Ssl':<4} {threads:>4} {cpu:>4} {cpu_s:>8} {rss:>7} "
        f"{virtual:>8} {command}\n"
        for pid, parent, user, late_s, threads, cpu, cpu_s, rss, virtual, command in (
            (SERVE, 1, "ollama", 0, 17, 0.1, 1, 94_152, 2_713_408, "/usr/local/bin/ollama serve"),
            (
                RUNNER,
                SERVE,
                "ollama",
                22,
                22,
                17.9,
                66,
                1_848_832,
                31_904_128,
                f"/usr/local/bin/ollama runner --ollama-engine --model {BLOB} --port 38211",
            ),
            (
                RAG,
                1,
                "rag",
                -1,
                24,
                0.3,
                2,
                2_843_200,
                9_418_752,
                "/srv/rag/.venv/bin/python /srv/rag/.venv/bin/uvicorn app.main:app --host 127.0.0.1 --port 8080",
            ),
        )
    )
    environment = f"INVOCATION_ID={INVOCATION}\nOLLAMA_VULKAN=1\n{PATH_LINE}\n"
    header = "    PID    PPID USER                             ELAPSED STAT NLWP %CPU     TIME   RSS      VSZ COMMAND\n"
    vulkan = "LD_LIBRARY_PATH=/usr/local/lib/ollama:/usr/local/lib/ollama/vulkan\n"
    return {
        "systemctl-show.txt": "".join(f"{name}={value}\n" for name, value in unit.items()) + of_systemd("Limit")
        + "".join(f"{name}={value}\n" for name, value in facts.items()),
        "manager-defaults.txt": "Version=255.4-1ubuntu8.8\nDefaultMemoryAccounting=yes\nDefaultTasksAccounting=yes\n"
        + of_systemd("DefaultLimit") + "DefaultTasksMax=76923\n",
        "unit-files.txt": UNIT_FILES,
        "limits.txt": "\n".join(of_kernel(pid) for pid in (SERVE, RUNNER, RAG)),
        "processes.txt": header + processes,
        "environment.txt": f"==> /proc/{SERVE}/environ <==\n{environment}\n"
        f"==> /proc/{RUNNER}/environ <==\n{environment}{vulkan}",
        "gpu-devices.txt": "==> /proc/bus/pci/devices <==\nvendors: 1002 1022 10ec 144d 1b21\nnodes:\n"
        "/dev/kfd\n/dev/dri/by-path\n/dev/dri/card1\n/dev/dri/renderD128\n",
        "nvidia-smi.txt": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
        "that the latest NVIDIA driver is installed and running.\n\n",
    }  # fmt: skip


def store_files() -> dict[str, str]:
    """The vector store: killed at its limit four times, its volume where that version does not write."""
    kills = [DAY.replace(hour=11, minute=41, second=12), DAY.replace(hour=12, minute=3, second=40),
             DAY.replace(hour=12, minute=25, second=9), DAY.replace(hour=12, minute=47, second=18)]  # fmt: skip
    identity = "b7e2" * 16
    kernel, store = Journal(HOST), TimedLines()
    began = DAY.replace(hour=11, minute=20)
    for number, at in enumerate(kills):
        pid = 3121 + 211 * number
        group = f"/system.slice/docker-{identity}.scope"
        lines = (
            f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=docker-{identity}.scope,mems_allowed=0,"
            f"oom_memcg={group},task_memcg={group},task=chroma,pid={pid},uid=0",
            f"Memory cgroup out of memory: Killed process {pid} (chroma) total-vm:{3_402_112 + 4096 * number}kB, "
            f"anon-rss:{1_032_448 + 256 * number}kB, file-rss:13056kB, shmem-rss:0kB, UID:0 pgtables:2612kB "
            "oom_score_adj:0",
        )
        kernel.add(at, *(f"{at:%Y-%m-%dT%H:%M:%S.%f%z} {HOST} kernel: {line}" for line in lines))
        stamp = f"{began.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{218_406_117 + number}Z"
        store.add(began, f"{stamp} Saving data to: {STORE_DATA}",
                  f"{stamp} Connect to Chroma at: http://localhost:8000")  # fmt: skip
        began = after(at, 0.6)
    inspect = {
        "Id": identity, "Name": "/chroma", "Image": "sha256:" + "4d1e" * 16, "RestartCount": len(kills) - 1,
        "State": {"Status": "exited", "Running": False, "Paused": False, "Restarting": False, "OOMKilled": True,
                  "Dead": False, "Pid": 0, "ExitCode": 137, "Error": "",
                  "StartedAt": utc(after(kills[2], 0.6)).replace("+00:00", "Z"),
                  "FinishedAt": utc(after(kills[3], 0.3)).replace("+00:00", "Z")},
        "Mounts": [{"Type": "volume", "Name": "chroma-data", "Source": "/var/lib/docker/volumes/chroma-data/_data",
                    "Destination": STORE_MOUNT, "Driver": "local", "Mode": "z", "RW": True, "Propagation": ""}],
        "Config": {"Image": "chromadb/chroma:1.0.20", "Env": ["IS_PERSISTENT=TRUE", f"PERSIST_DIRECTORY={STORE_DATA}"]},
        "HostConfig": {"Memory": STORE_LIMIT_BYTES, "MemorySwap": STORE_LIMIT_BYTES, "MemoryReservation": 0,
                       "NanoCpus": 0, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": len(kills) - 1},
                       "Ulimits": None, "ShmSize": 67108864, "OomKillDisable": None, "DeviceRequests": None},
    }  # fmt: skip
    return {"kernel.log": kernel.text(), "app-chroma.log": store.text(), "containers.json":
            json.dumps([inspect], indent=1) + "\n"}  # fmt: skip


def record(files: dict[str, str], looks: dict[str, datetime], at: datetime) -> str:
    """The record of the collections: the containers after the last kill, the rest while a request hung."""
    steps = [
        ("server logs", "journal of a unit", "server.log"), ("systemd", "unit", "systemctl-show.txt"),
        ("systemd", "unit files", "unit-files.txt"), ("systemd", "manager defaults", "manager-defaults.txt"),
        ("processes", "processes", "processes.txt"), ("processes", "environment", "environment.txt"),
        ("limits", "limits of processes", "limits.txt"),
        ("GPU", "GPU devices", "gpu-devices.txt"), ("GPU", "nvidia-smi", "nvidia-smi.txt"),
        ("Ollama's API", "Ollama's API", "api.jsonl"), ("kernel log", "kernel journal", "kernel.log"),
        ("application logs", "log file /var/log/rag/rag.log", "app-rag.log"),
        ("containers", "container facts", "containers.json"), ("containers", "container log", "app-chroma.log"),
        *(("GPU", "rocm-smi", file) for file in looks),
    ]  # fmt: skip
    early = DAY.replace(hour=12, minute=49, second=2)
    rows = []
    for collector, step, file in steps:
        when = looks.get(file) or (early if collector == "containers" else at)
        failed = file == "nvidia-smi.txt"
        rows.append({"collector": collector, "step": step, "file": file, "outcome": "failed" if failed else "captured",
                     "reason": "exit code 9" if failed else "", "wall_s": 0.04, "bytes": len(files.get(file, "")),
                     "at": utc(when)})  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: str(row["at"])))


def write(case: CaseWriter) -> None:
    """Write the case."""
    random = case.random
    journal = Journal(HOST)
    calls: list[Call] = []
    watched: list[str] = []
    ended = PHASES[0].began
    for number, phase in enumerate(PHASES):
        if number:
            write_stop(journal, after(phase.began, -0.9))
        write_start(journal, phase)
        own = list(calls_of(phase, random))
        write_load(journal, phase, own[0].began, own[0].load_s)
        for call in own:
            wall_s = (call.ended - call.began).total_seconds() - random.uniform(0.001, 0.002)
            journal.say(call.ended, phase.serve, access(call.ended, 500 if call.hung else 200, wall_s, "/api/chat"))
        looks = looks_at(phase, own)
        for at in looks:
            journal.say(at, phase.serve, access(at, 200, random.uniform(2e-4, 6e-4), "/api/ps", method="GET"))
        watched += [gap(ended, looks[0])] if watched else []
        watched += samples(phase, own, random)
        calls, ended = calls + own, looks[-1]
    first = calls[: PHASES[0].requests]
    hung = [call for call in first if call.hung]
    collected = after(hung[4].began, 24)
    answered = [call for call in first if not call.hung]
    smi = {f"rocm-smi-{n + 1}.json": after(call.began, 30) for n, call in enumerate(hung[2:8])}
    smi |= {f"rocm-smi-working-{n + 1}.json": after(call.ended, -3) for n, call in enumerate(answered[10:12])}
    header = "run,start_ts,end_ts,model,endpoint,status,error,timeout_s,total_duration,load_duration,"
    header += "prompt_eval_count,prompt_eval_duration,eval_count,eval_duration"
    model = {"name": MODEL, "model": MODEL, "size": MODEL_BYTES, "digest": DIGEST, "size_vram": MODEL_BYTES,
             "context_length": 32768, "expires_at": utc(after(first[first.index(hung[4]) - 1].ended, 300))}  # fmt: skip
    answers = [("/api/version", {"version": "0.17.7"}), ("/api/ps", {"models": [model]})]
    files = {
        "server.log": journal.text(),
        "trials.csv": "\n".join([header, *map(trial, calls)]) + "\n",
        "samples-0001.jsonl": "\n".join(watched) + "\n",
        "app-rag.log": application_log(calls),
        "api.jsonl": "".join(
            json.dumps({"at": utc(collected), "endpoint": endpoint, "status": "200", "wall_s": 0.0021, "error": None,
                        "body": body}) + "\n"
            for endpoint, body in answers
        ),
        **store_files(),
        **{file: rocm_smi("working" in file, random) for file in smi},
        **host_files(collected),
    }  # fmt: skip
    files["collection.jsonl"] = record(files, smi, collected)
    for name, content in files.items():
        case.evidence(f"{HOST}/{name}", content)
    case.close(DAY.replace(hour=11, minute=20), after(calls[-1].ended, 60), "-04:00")
