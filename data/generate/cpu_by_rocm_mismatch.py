"""CPU by mismatch: the ROCm runner crashes while GPUs are looked for, so a machine with a good GPU computes on its CPU.

Ollama 0.16.1 brings ROCm 6.3, the system has 7.2. After OLLAMA_VULKAN=1 and a restart the same card answers in 1.5 s,
and a client that asks one thing after the other reaches 48.8 requests a minute of the 100 that were wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from .silent_hangs_memlock import CONFIG, PATH_LINE, Journal, after, gap, shared_s, utc, write_stop
from .writing import CaseWriter, TimedLines, access, slog

NAME = "cpu-by-rocm-mismatch"

# Published.
VRAM_BYTES = 17_163_091_968  # 16 GB of an MI50, gfx906
BUNDLED_ROCM, SYSTEM_ROCM = "6.3.60303", "7.2.0"
CPU_S = (6.0, 11.0)
VULKAN_S = 1.5
PER_MINUTE = 48.8
TARGET_PER_MINUTE = 100

# Chosen.
ON_CPU, ONE_BY_ONE, IN_A_ROW = 30, 12, 122  # 122 requests in 150 s are 48.8 a minute
LOOK_S = 10.0
ROW_S = IN_A_ROW / PER_MINUTE * 60
TOKENS_PER_S = {"CPU": 9.4, "Vulkan0": 52.0}
PROMPT_PER_S = {"CPU": 170.0, "Vulkan0": 980.0}
CRASH_AFTER_S = 12.8
HOST = "mi50box"
MODEL = "qwen2.5:7b-instruct"
MODEL_BYTES = 5_866_803_200
DIGEST = "3b7a0c915ed2f84610bd7e39a25c48f1d06e93b7481fa2c5e60d973b12c84f5a"
BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-c7f0d2a94b3e518f6a7d0c1e2b384956a1f0e3d2c4b596877a8b9c0d1e2f3041"
UNIT = "GPU-5d1c2e90ab7f4436"
DAY = datetime(2026, 2, 17, tzinfo=UTC)
BEGAN = (DAY.replace(hour=15, minute=20), DAY.replace(hour=15, minute=31))
SERVE, RUNNER = (2044, 3310), (2102, 3377)
CLIENT = 2087


@dataclass
class Call:
    """One call of the client."""

    name: str
    began: datetime
    load_s: float
    prompt_tokens: int
    prompt_s: float
    tokens: int
    decode_s: float

    @property
    def ended(self) -> datetime:
        return after(self.began, self.load_s + self.prompt_s + self.decode_s + 0.004)


def call(name: str, at: datetime, device: str, wall_s: float, load_s: float, random: Random) -> Call:
    """A call that takes so long on this device; the answer is as long as there is time for it."""
    prompt = random.randint(190, 260)
    prompt_s = prompt / (PROMPT_PER_S[device] * random.uniform(0.97, 1.03))
    decode_s = wall_s - load_s - prompt_s - 0.004
    tokens = round(decode_s * TOKENS_PER_S[device] * random.uniform(0.985, 1.015))
    return Call(name, at, load_s, prompt, prompt_s, tokens, decode_s)


def on_cpu(random: Random) -> Iterator[Call]:
    """The first run: every request takes 6 to 11 s, the first of them with its load."""
    at = after(BEGAN[0], 40)
    for number in range(ON_CPU):
        low, high = CPU_S
        wall_s = 9.6 if number == 0 else random.uniform(low + 0.1, high - 0.1)
        one = call(
            f"cpu-{number + 1:03}", at, "CPU", wall_s, 2.7 if number == 0 else random.uniform(0.03, 0.05), random
        )
        yield one
        at = after(one.ended, random.uniform(0.02, 0.4))


def on_vulkan(random: Random) -> Iterator[Call]:
    """After the restart: one that loads, some by hand at about 1.5 s, then 122 in a row in exactly 150 s."""
    at = after(BEGAN[1], 40)
    for number in range(ONE_BY_ONE + 1):
        wall_s = random.uniform(VULKAN_S - 0.06, VULKAN_S + 0.1) + (2.4 if number == 0 else 0)
        load_s = 2.4 if number == 0 else random.uniform(0.02, 0.03)
        one = call(f"vulkan-by-hand-{number + 1:03}", at, "Vulkan0", wall_s, load_s, random)
        yield one
        at = after(one.ended, random.uniform(3, 6))
    walls = [random.uniform(0.95, 1.45) for _ in range(IN_A_ROW)]
    gap_s = 0.022
    scale = (ROW_S - gap_s * (IN_A_ROW - 1)) / sum(walls)
    for number, wall_s in enumerate(walls):
        one = call(
            f"vulkan-in-a-row-{number + 1:03}", at, "Vulkan0", wall_s * scale, random.uniform(0.02, 0.03), random
        )
        yield one
        at = after(one.ended, gap_s)


def write_start(journal: Journal, life: int) -> None:
    """What 0.16.1 prints until it listens: the ROCm runner crashes both times, Vulkan is looked for only the second."""
    began, pid = BEGAN[life], SERVE[life]
    journal.unit(began, "Started ollama.service - Ollama Service.")

    def say(seconds: float, source: str, message: str, **fields: object) -> None:
        journal.say(after(began, seconds), pid, slog(after(began, seconds), "INFO", source, message, **fields))

    config = CONFIG.replace("OLLAMA_NO_CLOUD:false ", "").replace("NUM_PARALLEL:1", "NUM_PARALLEL:4")
    say(0.038, "routes.go:1636", "server config",
        env=config.replace("VULKAN:true", "VULKAN:true" if life else "VULKAN:false"))  # fmt: skip
    say(0.041, "images.go:473", "total blobs: 5")
    say(0.041, "images.go:480", "total unused blobs removed: 0")
    say(0.042, "routes.go:1689", "Listening on 127.0.0.1:11434 (version 0.16.1)")
    say(0.043, "runner.go:67", "discovering available GPUs...")
    runner = "/usr/local/bin/ollama runner --ollama-engine --port"
    for seconds, port in ((0.046, 38917), (0.31, 41120), (0.602, 36005), *(((3.9, 44871),) if life else ())):
        say(seconds, "server.go:431", "starting runner", cmd=f"{runner} {port}")
    if not life:
        say(5.81, "runner.go:106", "experimental Vulkan support disabled.  To enable, set OLLAMA_VULKAN=1")
    say(6.02, "server.go:431", "starting runner", cmd=f"{runner} 39563")
    say(CRASH_AFTER_S, "runner.go:464", "failure during GPU discovery",
        OLLAMA_LIBRARY_PATH="[/usr/local/lib/ollama /usr/local/lib/ollama/rocm]",
        extra_envs=f"map[GGML_CUDA_INIT:1 ROCR_VISIBLE_DEVICES:{UNIT}]", error="runner crashed")  # fmt: skip
    if life:
        say(CRASH_AFTER_S + 0.002, "types.go:42", "inference compute", id="00000000-0300-0000-0000-000000000000",
            filter_id="", library="Vulkan", compute="0.0", name="Vulkan0",
            description="AMD Instinct MI60 / MI50 (RADV VEGA20)", libdirs="ollama,vulkan", driver="0.0",
            pci_id="0000:03:00.0", type="discrete", total="16.0 GiB", available="16.0 GiB")  # fmt: skip
    else:
        say(CRASH_AFTER_S + 0.001, "types.go:60", "inference compute", id="cpu", library="cpu", compute="", name="cpu",
            description="cpu", libdirs="ollama", driver="", pci_id="", type="", total="31.2 GiB",
            available="28.9 GiB")  # fmt: skip
    say(CRASH_AFTER_S + 0.003, "routes.go:1739", "vram-based default context",
        total_vram="16.0 GiB" if life else "0 B", default_num_ctx=4096)  # fmt: skip


def write_load(journal: Journal, life: int, at: datetime, load_s: float) -> None:
    """The load of one run: all on the CPU, or all on the card."""
    pid, device = SERVE[life], "Vulkan0" if life else "CPU"

    def say(seconds: float, source: str, message: str, **fields: object) -> None:
        journal.say(after(at, seconds), pid, slog(after(at, seconds), "INFO", source, message, **fields))

    say(0.31, "server.go:431", "starting runner", cmd=f"/usr/local/bin/ollama runner --model {BLOB} --port 36791")
    say(0.311, "sched.go:463", "system memory", total="31.2 GiB", free="28.4 GiB", free_swap="8.0 GiB")
    if life:
        say(0.311, "sched.go:470", "gpu memory", id="00000000-0300-0000-0000-000000000000", library="Vulkan",
            available="15.5 GiB", free="16.0 GiB", minimum="457.0 MiB", overhead="0 B")  # fmt: skip
    record = slog(after(at, 0.311), "INFO", "server.go:498", "loading model")
    journal.say(after(at, 0.311), pid, f'{record} "model layers"=29 requested=-1')
    say(0.312, "device.go:240" if life else "device.go:245", "model weights", device=device, size="4.1 GiB")
    say(0.312, "device.go:251" if life else "device.go:256", "kv cache", device=device, size="896.0 MiB")
    say(0.312, "device.go:262" if life else "device.go:267", "compute graph", device=device, size="478.0 MiB")
    say(0.312, "device.go:272", "total memory", size="5.5 GiB")
    say(0.33, "runner.go:965", "starting go runner")
    lines = ["load_backend: loaded CPU backend from /usr/local/lib/ollama/libggml-cpu-haswell.so"]
    if life:
        lines += [
            "ggml_vulkan: Found 1 Vulkan devices:",
            "ggml_vulkan: 0 = AMD Instinct MI60 / MI50 (RADV VEGA20) (radv) | uma: 0 | fp16: 1 | bf16: 0 | "
            "warp size: 64 | shared memory: 65536 | int dot: 1 | matrix cores: none",
            "load_backend: loaded Vulkan backend from /usr/local/lib/ollama/vulkan/libggml-vulkan.so",
        ]
    journal.say(after(at, 0.36), pid, *lines)
    say(0.365, "runner.go:1001", "Server listening on 127.0.0.1:36791")
    shown = "29[ID:00000000-0300-0000-0000-000000000000 Layers:29(0..28)]" if life else "[]"
    say(0.37, "runner.go:895", "load", request="{Operation:commit LoraPath:[] Parallel:4 BatchSize:512 "
        f"FlashAttention:Auto KvSize:16384 KvCacheType: NumThreads:8 GPULayers:{shown} MultiUserCache:false "
        "ProjectorPath: MainGPU:0 UseMmap:false}")  # fmt: skip
    say(0.371, "server.go:1350", "waiting for llama runner to start responding")
    say(0.371, "server.go:1384", "waiting for server to become available", status="llm server loading model")
    layers = [
        "offloading 28 repeating layers to GPU",
        "offloading output layer to GPU",
        "offloaded 29/29 layers to GPU",
    ]
    journal.say(
        after(at, load_s - 0.3), pid, *(f"load_tensors: {line}" for line in layers if life),
        f"load_tensors: {device:>12} model buffer size =  4168.09 MiB",
        "llama_context: n_seq_max     = 4", "llama_context: n_ctx         = 16384",
        "llama_context: n_ctx_seq     = 4096",
        f"llama_kv_cache: {device:>10} KV buffer size =   896.00 MiB",
    )  # fmt: skip
    say(load_s - 0.02, "server.go:1388", f"llama runner started in {load_s - 0.33:.2f} seconds")
    say(load_s - 0.019, "sched.go:537", "loaded runners", count=1)
    say(load_s - 0.019, "server.go:1350", "waiting for llama runner to start responding")
    say(load_s - 0.019, "server.go:1388", f"llama runner started in {load_s - 0.33:.2f} seconds")


def trial(one: Call) -> str:
    """One row of the client's table; durations in nanoseconds, as the API gives them."""
    total_s = (one.ended - one.began).total_seconds() - 0.001
    seconds = [total_s, one.load_s], [one.prompt_tokens, one.prompt_s], [one.tokens, one.decode_s]
    (total, load), (prompts, prompt), (tokens, decode) = seconds
    row = [one.name, utc(one.began), utc(one.ended), MODEL, "/api/generate", 200, "", int(total * 1e9),
           int(load * 1e9), prompts, int(prompt * 1e9), tokens, int(decode * 1e9)]  # fmt: skip
    return ",".join(map(str, row))


def sample(at: datetime, calls: list[Call], random: Random) -> str:
    """What `warmstall watch` saw at a moment of one run: no shortage of memory, and where the model is."""
    life = int(at > BEGAN[1])
    busy_s = sum(shared_s(one.began, one.ended, after(at, -LOOK_S), at) for one in calls)
    busy = busy_s / LOOK_S * (random.uniform(92, 104) if life else random.uniform(770, 795))
    loaded = at > after(calls[0].began, calls[0].load_s)
    last = max((one.ended for one in calls if one.ended <= at), default=at)
    names = ("pid", "parent_pid", "role", "cpu_percent", "rss_bytes", "threads", "command", "state")
    runner = f"/usr/local/bin/ollama runner --model {BLOB} --port 36791"
    processes = [
        (RUNNER[life], SERVE[life], "runner", round(busy, 1), 611_430_400 if life else 5_902_848_000, 19, runner,
         "S" if life else "R"),
        (SERVE[life], 1, "serve", 0.2, 78_544_896, 16, "/usr/local/bin/ollama serve", "S"),
    ][not loaded:]  # fmt: skip
    vram = MODEL_BYTES if life else 0
    resident = {"model": MODEL, "digest": DIGEST, "size_bytes": MODEL_BYTES, "vram_bytes": vram,
                "vram_fraction": float(life), "processor": "100% GPU" if life else "100% CPU", "context_length": 4096,
                "expires_at": utc(after(last, 300))}  # fmt: skip
    free = 23_600_001_024 if loaded and not life else 28_900_003_840
    memory = {"origin": "linux", "page_bytes": 4096, "total_bytes": 33_501_757_440,
              "available_bytes": free + 4096 * random.randrange(50_000),
              "swap_total_bytes": 8_589_930_496, "swap_used_bytes": 0, "swapins": 0, "swapouts": 0,
              "psi_some_avg10": 0.0, "psi_full_avg10": 0.0}  # fmt: skip
    rows = {
        "processes": [dict(zip(names, process, strict=True)) for process in processes],
        "resident_models": [resident] if loaded else [],
        "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": round(random.uniform(0.001, 0.003), 4)}],
        "memory": [memory],
    }
    return json.dumps({"at": utc(at), "rows": rows})


def rocm_smi(use: int, used: int, celsius: int, watts: int) -> str:
    """One look of the system's rocm-smi --json."""
    card = {
        "Temperature (Sensor edge) (C)": f"{celsius:.1f}", "Average Graphics Package Power (W)": f"{watts:.1f}",
        "GPU use (%)": str(use), "VRAM Total Memory (B)": str(VRAM_BYTES), "VRAM Total Used Memory (B)": str(used),
        "Card Series": "AMD Instinct MI50/MI60", "Card Model": "0x66a1",
        "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]", "GFX Version": "gfx906",
    }  # fmt: skip
    return json.dumps({"card0": card, "system": {"Driver version": "6.16.13"}}) + "\n"


def amd_smi() -> str:
    """The table of plain amd-smi, which tells the system's ROCm."""
    return f"""\
+------------------------------------------------------------------------------+
| AMD-SMI 26.2.1+fc0010cf6a    amdgpu version: 6.16.13  ROCm version: {SYSTEM_ROCM:<9}|
| VBIOS version: 00041573                                                      |
| Platform: Linux Baremetal                                                    |
|-------------------------------------+----------------------------------------|
| BDF                        GPU-Name | Mem-Uti   Temp   UEC       Power-Usage |
| GPU  HIP-ID  OAM-ID  Partition-Mode | GFX-Uti    Fan               Mem-Usage |
|=====================================+========================================|
| 0000:03:00.0 AMD Instinct MI50/MI60 | 0 %      34 °C   0            18/225 W |
|   0       0     N/A             N/A | 0 %        N/A             10/16368 MB |
+-------------------------------------+----------------------------------------+
+------------------------------------------------------------------------------+
| Processes:                                                                   |
|  GPU        PID  Process Name          GTT_MEM  VRAM_MEM  MEM_USAGE     CU % |
|==============================================================================|
|  No running processes found                                                  |
+------------------------------------------------------------------------------+
"""


def client_log(cpu: list[Call], vulkan: list[Call]) -> str:
    """The client's own records: what it found before it began, and the throughput that it reached."""
    log = TimedLines()

    def tell(at: datetime, level: str, event: str, **fields: object) -> None:
        log.add(at, json.dumps({"timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", "level": level, "event": event,
                                "logger": "classify", **fields}))  # fmt: skip

    row = [one for one in vulkan if "in-a-row" in one.name]
    span_s = (row[-1].ended - row[0].began).total_seconds()
    found = (
        f"two versions of ROCm: libamdhip64.so.{BUNDLED_ROCM} in /usr/local/lib/ollama/rocm, "
        "libamdhip64.so.7.2.70200 in /opt/rocm-7.2.0/lib"
    )
    tell(after(cpu[0].began, -2), "error", found)
    tell(after(cpu[0].began, -1), "info", "run begins", requests=ON_CPU, concurrency=1)
    tell(after(cpu[-1].ended, 0.1), "info", "run ends", requests=ON_CPU)
    tell(after(row[0].began, -1), "info", "run begins", requests=IN_A_ROW, concurrency=1)
    tell(after(row[-1].ended, 0.1), "error",
         f"throughput below target: {IN_A_ROW / span_s * 60:.1f} of {TARGET_PER_MINUTE} requests/min, concurrency 1",
         requests=IN_A_ROW, seconds=round(span_s, 1))  # fmt: skip
    return log.text()


def host_files(at: datetime) -> dict[str, str]:
    """What systemd and the processes said while everything ran on the CPU."""
    began = BEGAN[0]
    environment = f"OLLAMA_NUM_PARALLEL=4\n{PATH_LINE}\n"
    elapsed_s = int((at - began).total_seconds())
    show = {
        "Restart": "always", "MainPID": SERVE[0], "NRestarts": 0, "ControlGroup": "/system.slice/ollama.service",
        "MemoryCurrent": 6_012_354_560, "MemoryHigh": "infinity", "MemoryMax": "infinity",
        "Environment": f"{PATH_LINE} OLLAMA_NUM_PARALLEL=4", "LimitNOFILE": 524_288, "LimitNOFILESoft": 1024,
        "LimitMEMLOCK": 8_388_608, "LimitMEMLOCKSoft": 8_388_608, "User": "ollama", "Id": "ollama.service",
        "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
        "FragmentPath": "/etc/systemd/system/ollama.service",
        "DropInPaths": "/etc/systemd/system/ollama.service.d/parallel.conf", "NeedDaemonReload": "no",
        "ActiveEnterTimestamp": f"{began:%a %Y-%m-%d %H:%M:%S} UTC",
    }  # fmt: skip
    return {
        "systemctl-show.txt": "".join(f"{name}={value}\n" for name, value in show.items()),
        "unit-files.txt": "# /etc/systemd/system/ollama.service\n[Unit]\nDescription=Ollama Service\n\n[Service]\n"
        f'ExecStart=/usr/local/bin/ollama serve\nUser=ollama\nRestart=always\nEnvironment="{PATH_LINE}"\n\n'
        "# /etc/systemd/system/ollama.service.d/parallel.conf\n[Service]\n"
        'Environment="OLLAMA_NUM_PARALLEL=4"\n',
        "environment.txt": f"==> /proc/{SERVE[0]}/environ <==\n{environment}",
        "processes.txt": f"    PID    PPID {'USER':<32} ELAPSED STAT NLWP %CPU     TIME   RSS    VSZ COMMAND\n"
        f"{SERVE[0]:>7} {1:>7} {'ollama':<32} {elapsed_s:>7} Ssl    16  0.2        1 76704 2604816 "
        "/usr/local/bin/ollama serve\n"
        f"{RUNNER[0]:>7} {SERVE[0]:>7} {'ollama':<32} {elapsed_s - 40:>7} Rl     19  768 "
        f"{int((elapsed_s - 43) * 7.7):>8} 5764500 9213540 /usr/local/bin/ollama runner --model {BLOB} --port 36791\n",
        "gpu-devices.txt": "==> /proc/bus/pci/devices <==\nvendors: 1002 1b21 8086\nnodes:\n/dev/kfd\n"
        "/dev/dri/by-path\n/dev/dri/card0\n/dev/dri/renderD128\n",
    }  # fmt: skip


def record(files: dict[str, str], times: dict[str, datetime], at: datetime) -> str:
    """The record of the collection; nvidia-smi was not there, as it should be."""
    steps = {"server.log": "journal of a unit", "systemctl-show.txt": "unit", "unit-files.txt": "unit files",
             "environment.txt": "environment", "processes.txt": "processes", "gpu-devices.txt": "GPU devices",
             "amd-smi.txt": "amd-smi", **dict.fromkeys(times, "rocm-smi")}  # fmt: skip
    rows = [{"collector": "collection", "step": step, "file": file, "outcome": "captured", "reason": "", "wall_s": 0.05,
             "bytes": len(files[file]), "at": utc(times.get(file, at))} for file, step in steps.items()]  # fmt: skip
    rows.append({"collector": "collection", "step": "nvidia-smi", "file": "", "outcome": "missing",
                 "reason": "nvidia-smi is not installed", "wall_s": 0.0, "bytes": 0, "at": utc(at)})  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: str(row["at"])))


def write(case: CaseWriter) -> None:
    """Write the case."""
    random = case.random
    cpu, vulkan = list(on_cpu(random)), list(on_vulkan(random))
    journal = Journal(HOST)
    watched: list[str] = []
    ended = BEGAN[0]
    for life, calls in enumerate((cpu, vulkan)):
        if life:
            write_stop(journal, after(BEGAN[1], -0.9))
        write_start(journal, life)
        write_load(journal, life, calls[0].began, calls[0].load_s)
        for one in calls:
            wall_s = (one.ended - one.began).total_seconds() - random.uniform(5e-4, 9e-4)
            journal.say(one.ended, SERVE[life], access(one.ended, 200, wall_s, "/api/generate"))
        span_s = (calls[-1].ended - BEGAN[life]).total_seconds()
        looks = [after(BEGAN[life], 25 + LOOK_S * n) for n in range(int((span_s - 25) / LOOK_S) + 2)]
        for at in looks:
            journal.say(at, SERVE[life], access(at, 200, random.uniform(2e-4, 6e-4), "/api/ps", method="GET"))
        watched += [gap(ended, looks[0])] if life else []
        watched += [sample(at, calls, random) for at in looks]
        ended = looks[-1]
    idle = {f"rocm-smi-{n + 1}.json": after(cpu[3 + 6 * n].began, 3) for n in range(4)}
    files = {
        "server.log": journal.text(),
        "trials.csv": "run,start_ts,end_ts,model,endpoint,status,error,total_duration,load_duration,prompt_eval_count,"
        "prompt_eval_duration,eval_count,eval_duration\n" + "".join(f"{trial(one)}\n" for one in (*cpu, *vulkan)),
        "samples-0001.jsonl": "".join(f"{line}\n" for line in watched),
        "app-classify.log": client_log(cpu, vulkan),
        "amd-smi.txt": amd_smi(),
        **{name: rocm_smi(0, 11_026_432 + 4096 * n, 34, 18) for n, name in enumerate(idle)},
        "rocm-smi-vulkan.json": rocm_smi(71, 6_021_120_000, 61, 148),
        **host_files(idle["rocm-smi-2.json"]),
    }  # fmt: skip
    times = idle | {"rocm-smi-vulkan.json": after(vulkan[80].began, 0.6)}
    files["collection.jsonl"] = record(files, times, idle["rocm-smi-2.json"])
    for name, content in files.items():
        case.evidence(f"{HOST}/{name}", content)
    case.close(BEGAN[0], after(vulkan[-1].ended, 30), "+00:00")
