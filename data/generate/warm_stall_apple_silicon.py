"""A vision model on a Mac stalls while it is in memory: memory pressure, attention on the CPU, a runner never idle.

Ollama 0.20.2, because that version prints encoder lines for gemma4 and still lacks the Metal kernels that gemma4's
flash attention needs (0.20.4 has them). The day is simulated: workers that start a trial
every minute, a first-in-first-out queue in front of four slots, and from the stall on a runner that never answers.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from random import Random
from statistics import NormalDist, quantiles

from .writing import CaseWriter, TimedLines, access, go_duration, slog

NAME = "warm-stall-apple-silicon"
HOST = "mac"

# What was published.
SUCCESSES, FAILURES = 12_454, 376
MAIN_P50_S, MAIN_P95_S, MAIN_FAILED_PERCENT = 4.1, 6.1, 0.05
STALL_TIMEOUTS, STALL_TIMEOUT_PERCENT = 273, 98
TIMEOUT_S, EVICT_THRESHOLD, CONCURRENCY = 60, 3, 4
ENCODED_S = 0.017
RUNNER_CPU_PERCENT, RUNNER_RSS_BYTES = 99.7, 646_973 * 16_384  # 10.6 GB
LONGEST_TRIAL_S = 248.239
PAGE_BYTES = 16_384
LOOKS = ("17:00", "17:30", "17:45", "18:00", "18:15")
PAGES_FREE = (2_103_449, 1_220_118, 412_302, 58_402, 58_011)
SWAPOUTS = (0, 0, 42_118, 504_282, 837_610)
PURGED_AT_LAST = 1_988_377

# What was not, and is chosen here.
ZONE = timezone(timedelta(hours=2))
VERSION, MODEL = "0.20.2", "gemma4:e4b"
OLLAMA = "/opt/homebrew/Cellar/ollama/0.20.2/bin/ollama"
MODELS = "/Users/lab/.ollama/models"
MANIFEST, WEIGHTS = (hashlib.sha256(f"{part} of {MODEL}".encode()).hexdigest() for part in ("manifest", "weights"))
BLOB = f"{MODELS}/blobs/sha256-{WEIGHTS}"
SLOTS = 4
MAIN_FAILURES, PRESSURE_FAILURES, CUT_BY_RESTART = 6, 12, 4
LATE_FAILURES = FAILURES - STALL_TIMEOUTS - MAIN_FAILURES - PRESSURE_FAILURES
PERIOD_S = 60.5  # between two starts of one worker
WITH_PICTURE = 0.4  # of the trials; the others ask about text
ANSWERED_IN_SPAN = 6  # trials of the span that were still answered


def at(clock: str) -> datetime:
    """A time of that day, from H:MM or H:MM:SS(.fff)."""
    return datetime.fromisoformat(f"2026-04-07T{clock:0>5}").replace(tzinfo=ZONE)


SERVED, FIRST_TRIAL, MAIN, PRESSURE, SPAN, SPAN_END = (
    at(clock) for clock in ("08:38:10", "08:41:36.200", "09:00", "17:42", "17:58", "18:04")
)
KILLED, SERVED_AGAIN, RESUMED = at("18:21:32.400"), at("18:21:35.118"), at("18:22:10.300")
STALL = SPAN_END - timedelta(seconds=STALL_TIMEOUTS * PERIOD_S / 48)
# From, to, workers: four to a client, twelve clients at the most. At 11:00 all of them, with no harm done.
STAGES = (
    (at("8:42"), at("11:00"), 20), (at("11:00"), at("11:40"), 48), (at("11:40"), at("17:40"), 20),
    (at("17:40"), at("17:57:42"), 12),
)  # fmt: skip


@dataclass
class Trial:
    """One call of a client: what it was to take, and what became of it."""

    start: datetime
    worker: int
    client: int
    service_s: float = 0.0
    slow: float = 1.0
    hangs: bool = False
    wait_s: float = 0.0
    wall_s: float = 0.0
    load_s: float = 0.0
    outcome: str = "ok"
    encoded_at: datetime | None = None
    picture: bool = False

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.wall_s)


def _ticks(seconds: float) -> float:
    """A duration as this machine's clock counts it: 24 million ticks a second, in whole nanoseconds."""
    return int(int(seconds * 24e6) * 125 / 3) / 1e9


def _starts(random: Random, begin: datetime, until: datetime, workers: int) -> Iterator[Trial]:
    """The trials of one stage: each worker starts one in every period, the workers one after the other."""
    step_s = PERIOD_S / workers
    for number in range(int((until - begin).total_seconds() / step_s)):
        start = begin + timedelta(seconds=number * step_s + random.uniform(0, 0.4))
        yield Trial(start, number % workers, number % workers % (workers // CONCURRENCY))


def _services(random: Random, n: int) -> list[float]:
    """What trials take on an unhindered runner: log-normal, its quantiles the published ones."""
    z95 = NormalDist().inv_cdf(0.95)
    walls = NormalDist(0, 1)
    found = [MAIN_P50_S * (MAIN_P95_S / MAIN_P50_S) ** (walls.inv_cdf((i + 0.5) / n) / z95) for i in range(n)]
    random.shuffle(found)
    return [0.994 * service for service in found]  # a little of the published walls is waiting for a slot


def _answered(random: Random) -> list[Trial]:
    """The trials before the stall, through four slots; some of them stay without an answer."""
    trials = [Trial(FIRST_TRIAL, 0, 0), *(trial for stage in STAGES for trial in _starts(random, *stage))]
    longest = next(trial for trial in trials if trial.start > at("17:49:30"))
    until = longest.start + timedelta(seconds=LONGEST_TRIAL_S)
    trials = [trial for trial in trials if trial.worker != longest.worker or not longest.start < trial.start < until]
    trials += [
        Trial(SPAN + timedelta(seconds=0.3 + 0.35 * number + random.uniform(0, 0.2)), number, number % 3)
        for number in range(ANSWERED_IN_SPAN)
    ]
    for trial, service_s in zip(trials, _services(random, len(trials)), strict=True):
        trial.service_s = service_s
    main = [trial for trial in trials if MAIN <= trial.start < at("10:58") or at("11:42") < trial.start < at("17:38")]
    late = [trial for trial in trials if PRESSURE < trial.start < at("17:55") and trial is not longest]
    for trial in random.sample(main, MAIN_FAILURES) + random.sample(late, PRESSURE_FAILURES):
        trial.hangs = True
    for trial in trials[-ANSWERED_IN_SPAN:]:
        trial.service_s, trial.slow = min(trial.service_s, 4.2), 1.5
    for trial in trials:
        pressed_s = (trial.start - at("17:44")).total_seconds()
        if pressed_s > 0 and trial.start < SPAN:
            trial.slow = min(1 + pressed_s / 400 * random.lognormvariate(0, 0.5), 14 / trial.service_s)
    longest.slow = 60.0
    free_at: list[datetime] = []
    for trial in trials:
        begin = max(trial.start, heapq.heappop(free_at)) if len(free_at) >= SLOTS else trial.start
        trial.wait_s = (begin - trial.start).total_seconds()
        if trial is longest:
            trial.wall_s = LONGEST_TRIAL_S
        elif trial.hangs:
            trial.wall_s, trial.outcome = TIMEOUT_S + random.uniform(0.001, 0.006), "timeout"
        else:
            trial.wall_s = trial.wait_s + trial.service_s * trial.slow
        trial.encoded_at = begin + timedelta(seconds=0.008)
        heapq.heappush(free_at, trial.end)
    _loads(trials[0], 4.83)
    return trials


def _loads(trial: Trial, load_s: float) -> None:
    """Make this the call that has to wait for the model to be read from disk."""
    trial.load_s = load_s
    trial.wall_s += load_s
    trial.encoded_at = trial.start + timedelta(seconds=load_s + 0.008)


def _stalled(random: Random) -> list[Trial]:
    """From the first call that the runner never answers to the restart: all wait for the client's patience to end."""
    step = timedelta(seconds=PERIOD_S / 48)
    number, trials = 0, []
    while (start := STALL + number * step + timedelta(seconds=random.uniform(0, 0.4))) < KILLED:
        # After 18:04 the clients give up one after the other; the last goes on, four calls at a time.
        clients = 12 if number < STALL_TIMEOUTS else 2 if start < at("18:07:48") else 1
        if number % 12 < clients:
            trials.append(
                Trial(
                    start, number % 48, number % 12, wall_s=TIMEOUT_S + random.uniform(0.001, 0.006), outcome="timeout"
                )
            )
        number += 1
    holders: deque[Trial] = deque()
    for trial in trials:  # the server lets four at a time through to the runner, in order of arrival
        let_through = max(trial.start, holders.popleft().end) if len(holders) >= SLOTS else trial.start
        trial.wait_s = (let_through - trial.start).total_seconds()
        trial.encoded_at = let_through + timedelta(seconds=0.008)
        holders.append(trial)
        if trial.end > KILLED:
            trial.wall_s, trial.outcome = (KILLED - trial.start).total_seconds(), "connection reset"
    return trials


def _after(random: Random, n: int) -> list[Trial]:
    """After the restart: a load, then trials as usual, of one client."""
    trials = []
    for number, service_s in enumerate(_services(random, n)):
        start = RESUMED + timedelta(seconds=number * PERIOD_S / CONCURRENCY + random.uniform(0, 0.4))
        trials.append(Trial(start, number % CONCURRENCY, 0, service_s, wall_s=service_s))
    for trial in trials:
        trial.encoded_at = trial.start + timedelta(seconds=0.008)
    _loads(trials[0], 6.12)
    return trials


def _vision(random: Random, log: TimedLines, trial: Trial) -> None:
    """The five lines of the encoder: they are written once a call has been let through to the runner."""
    if not trial.picture:
        return
    began = trial.encoded_at or trial.start
    decode_s, encoded_s = _ticks(random.uniform(0.0021, 0.0029)), _ticks(ENCODED_S + random.uniform(-0.0004, 0.0004))
    preprocess_s = _ticks(encoded_s - decode_s - 0.0018)
    for after_s, line, message, fields in (
        (decode_s, 138, "decode", {"elapsed": go_duration(decode_s), "bounds": "(0,0)-(1024,1024)"}),
        (encoded_s - 0.0018, 145, "preprocess", {"elapsed": go_duration(preprocess_s), "size": "[768 768]"}),
        (encoded_s - 0.0018, 148, "pixelValues", {"shape": "[768 768 3]", "dim0": 768, "dim1": 768, "dim2": 3}),
        (encoded_s - 0.0018, 152, "patches", {"patchesX": 48, "patchesY": 48, "total": 2304, "patchSize": 16}),
        (encoded_s, 156, "encoded", {"elapsed": go_duration(encoded_s), "shape": "[2560 256]"}),
    ):
        when = began + timedelta(seconds=after_s)
        log.add(when, slog(when, "INFO", f"model.go:{line}", f"vision: {message}", **fields))


def _start(log: TimedLines, when: datetime) -> None:
    """What the server prints when it starts: settings, version, GPU."""
    settings = (
        "HTTPS_PROXY: HTTP_PROXY: NO_PROXY: OLLAMA_CONTEXT_LENGTH:8192 OLLAMA_DEBUG:INFO "
        "OLLAMA_DEBUG_LOG_REQUESTS:false OLLAMA_EDITOR: OLLAMA_FLASH_ATTENTION:true OLLAMA_GPU_OVERHEAD:0 "
        "OLLAMA_HOST:http://127.0.0.1:11434 OLLAMA_KEEP_ALIVE:5m0s OLLAMA_KV_CACHE_TYPE: OLLAMA_LLM_LIBRARY: "
        f"OLLAMA_LOAD_TIMEOUT:5m0s OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512 OLLAMA_MODELS:{MODELS} "
        "OLLAMA_MULTIUSER_CACHE:false OLLAMA_NEW_ENGINE:false OLLAMA_NOHISTORY:false OLLAMA_NOPRUNE:false "
        f"OLLAMA_NO_CLOUD:false OLLAMA_NUM_PARALLEL:{SLOTS} OLLAMA_ORIGINS:[http://localhost https://localhost "
        "http://localhost:* https://localhost:* http://127.0.0.1 https://127.0.0.1 http://127.0.0.1:* "
        "https://127.0.0.1:* http://0.0.0.0 https://0.0.0.0 http://0.0.0.0:* https://0.0.0.0:* app://* file://* "
        "tauri://* vscode-webview://* vscode-file://*] OLLAMA_REMOTES:[ollama.com] OLLAMA_SCHED_SPREAD:false "
        "http_proxy: https_proxy: no_proxy:"
    )
    gpu = {"id": 0, "filter_id": 0, "library": "Metal", "compute": "0.0", "name": "Metal",
           "description": "Apple M4 Max", "libdirs": "", "driver": "0.0", "pci_id": "", "type": "discrete",
           "total": "48.0 GiB", "available": "48.0 GiB"}  # fmt: skip
    context = {"total_vram": "48.0 GiB", "default_num_ctx": 262144}
    for after_ms, source, message, fields in (
        (0, "routes.go:1744", "server config", {"env": f"map[{settings}]"}),
        (0, "routes.go:1746", "Ollama cloud disabled: false", {}),
        (1, "images.go:477", "total blobs: 5", {}),
        (1, "images.go:484", "total unused blobs removed: 0", {}),
        (2, "routes.go:1802", f"Listening on 127.0.0.1:11434 (version {VERSION})", {}),
        (2, "runner.go:67", "discovering available GPUs...", {}),
        (4, "server.go:432", "starting runner", {"cmd": f"{OLLAMA} runner --ollama-engine --port 51120"}),
        (196, "types.go:42", "inference compute", gpu),
        (196, "routes.go:1852", "vram-based default context", context),
    ):
        moment = when + timedelta(milliseconds=after_ms)
        log.add(moment, slog(moment, "INFO", source, message, **fields))


def _load(log: TimedLines, begin: datetime, load_s: float, port: int, free: str) -> None:
    """What a load prints: all layers are on the GPU, and yet a large part of the compute graph is on the CPU."""

    def request(operation: str) -> str:
        return (
            f"{{Operation:{operation} LoraPath:[] Parallel:{SLOTS} BatchSize:512 FlashAttention:Enabled KvSize:32768 "
            f"KvCacheType: NumThreads:12 GPULayers:43[ID:0 Layers:43(0..42)] MultiUserCache:false "
            "ProjectorPath: MainGPU:0 UseMmap:false}"
        )

    lines = [
        (0.010, "server.go:247", 'msg="enabling flash attention"'),
        (0.011, "server.go:432", f'msg="starting runner" cmd="{OLLAMA} runner --ollama-engine --model {BLOB} '
         f'--port {port}"'),
        (0.013, "sched.go:484", f'msg="system memory" total="64.0 GiB" free="{free}" free_swap="0 B"'),
        (0.013, "sched.go:491", 'msg="gpu memory" id=0 library=Metal available="47.5 GiB" free="48.0 GiB" '
         'minimum="512.0 MiB" overhead="0 B"'),
        (0.013, "server.go:759", 'msg="loading model" "model layers"=43 requested=-1'),
        (0.061, "runner.go:1417", 'msg="starting ollama engine"'),
        (0.061, "runner.go:1452", f'msg="Server listening on 127.0.0.1:{port}"'),
        (0.070, "runner.go:1290", f'msg=load request="{request("fit")}"'),
        (0.091, "ggml.go:136", 'msg="" architecture=gemma4 file_type=Q4_K_M name="" description="" num_tensors=2131 '
         "num_key_values=56"),
        (0.118, "ggml.go:104", "msg=system Metal.0.EMBED_LIBRARY=1 CPU.0.NEON=1 CPU.0.ARM_FMA=1 CPU.0.FP16_VA=1 "
         "CPU.0.DOTPROD=1 CPU.0.LLAMAFILE=1 CPU.0.ACCELERATE=1 compiler=cgo(clang)"),
        (0.402, "runner.go:1290", f'msg=load request="{request("alloc")}"'),
        (0.731, "runner.go:1290", f'msg=load request="{request("commit")}"'),
        (0.731, "ggml.go:482", 'msg="offloading 42 repeating layers to GPU"'),
        (0.731, "ggml.go:489", 'msg="offloading output layer to GPU"'),
        (0.731, "ggml.go:494", 'msg="offloaded 43/43 layers to GPU"'),
        (0.731, "device.go:240", 'msg="model weights" device=Metal size="6.7 GiB"'),
        (0.731, "device.go:245", 'msg="model weights" device=CPU size="2.2 GiB"'),
        (0.731, "device.go:251", 'msg="kv cache" device=Metal size="604.0 MiB"'),
        (0.731, "device.go:262", 'msg="compute graph" device=Metal size="402.5 MiB"'),
        (0.731, "device.go:267", 'msg="compute graph" device=CPU size="655.0 MiB"'),
        (0.731, "device.go:272", 'msg="total memory" size="10.5 GiB"'),
        (0.731, "sched.go:561", 'msg="loaded runners" count=1'),
        (0.731, "server.go:1352", 'msg="waiting for llama runner to start responding"'),
        (0.732, "server.go:1386", 'msg="waiting for server to become available" status="llm server loading model"'),
        (load_s - 0.009, "server.go:1390", f'msg="llama runner started in {load_s - 0.02:.2f} seconds"'),
    ]  # fmt: skip
    for after_s, source, text in lines:
        when = begin + timedelta(seconds=after_s)
        stamp = slog(when, "INFO", source, "x").removesuffix(" msg=x")
        log.add(when, f"{stamp} {text}")
    metal = begin + timedelta(seconds=0.1)
    log.add(metal, "ggml_metal_device_init: tensor API disabled for pre-M5 and pre-A19 devices",
            "ggml_metal_library_init: using embedded metal library", "ggml_metal_library_init: loaded in 0.008 sec",
            "ggml_metal_device_init: GPU name:   Apple M4 Max",
            "ggml_metal_device_init: GPU family: MTLGPUFamilyApple9  (1009)",
            "ggml_metal_device_init: has unified memory    = true",
            "ggml_metal_device_init: recommendedMaxWorkingSetSize  = 51539.61 MB")  # fmt: skip


def _server_log(random: Random, trials: list[Trial], evicted_at: datetime, looks: list[datetime]) -> str:
    """Both streams of the server: encoder lines and access lines, two starts, two loads, and whoever asked /api/ps."""
    log = TimedLines()
    _start(log, SERVED)
    _start(log, SERVED_AGAIN)
    stuck = [trial for trial in trials if trial.start >= STALL and trial.outcome == "timeout"][:SLOTS]
    for trial in trials:
        if trial.load_s:
            first = trial.start < STALL
            free = "46.9 GiB" if first else "9.3 GiB"
            _load(log, trial.start + timedelta(seconds=0.06), trial.load_s - 0.07, 51144 if first else 58806, free)
        _vision(random, log, trial)
        if trial.outcome == "connection reset":
            continue
        if STALL <= trial.start < KILLED and not any(trial is one for one in stuck):
            # The runner has no free slot for it: the four calls that it hangs in are never released.
            text = "aborting completion request due to client closing the connection"
            log.add(trial.end, slog(trial.end, "INFO", "runner.go:889", text))
        status = 200 if trial.outcome == "ok" else 500
        log.add(trial.end, access(trial.end, status, _ticks(trial.wall_s - 0.0006), "/api/chat"))
    log.add(evicted_at, access(evicted_at, 200, _ticks(0.00137), "/api/generate"))
    for look in looks:
        log.add(look, access(look, 200, _ticks(random.uniform(60e-6, 240e-6)), "/api/ps", method="GET"))
    return log.text()


def _trials_csv(random: Random, trials: list[Trial]) -> str:
    """What the clients kept: whole milliseconds, and of an answer the durations and counts of its final chunk."""
    rows = ["trial,started_at,latency_ms,model,endpoint,status,outcome,error,total_duration_ms,load_duration_ms,"
            "prompt_eval_count,prompt_eval_duration_ms,eval_count,eval_duration_ms,timeout_s"]  # fmt: skip
    for number, trial in enumerate(trials, 1):
        started = f"{trial.start:%Y-%m-%dT%H:%M:%S}.{trial.start.microsecond // 1000:03d}+02:00"
        call = f"c{trial.client + 1:02d}-{number},{started},{round(trial.wall_s * 1000)},{MODEL},/api/chat"
        if trial.outcome != "ok":
            error = (
                "ReadTimeout: timed out after 60s without a byte"
                if trial.outcome == "timeout"
                else "ConnectionResetError: connection reset by peer"
            )
            rows.append(f"{call},,{trial.outcome.split()[-1]},{error},,,,,,,{TIMEOUT_S}")
            continue
        worked_s = trial.wall_s - trial.wait_s - trial.load_s - 0.09
        prompt, pace_s = random.randint(540, 690) + 256 * trial.picture, random.gauss(1 / 62, 0.0006)
        prefill_s = min(prompt / 1100 * trial.slow, worked_s / 3)
        decode_s = worked_s - prefill_s
        tokens = max(8, round(decode_s / pace_s / trial.slow))
        durations = [round(1000 * seconds) for seconds in (trial.wall_s - 0.002, trial.load_s + 0.052)]
        rows.append(f"{call},200,ok,,{durations[0]},{durations[1]},{prompt},{prefill_s * 1000:.0f},{tokens},"
                    f"{decode_s * 1000:.0f},{TIMEOUT_S}")  # fmt: skip
    return "\n".join(rows) + "\n"


# By look: wired, in the compressor, speculative, inactive, file-backed, purgeable, purged, stored in the compressor,
# decompressions, compressions, pageins, swapins. The rest follows from the published counts.
_OTHER_PAGES = (
    (352_811, 0, 61_204, 702_455, 540_112, 21_440, 118_204, 0, 0, 0, 1_904_377, 0),
    (355_204, 1_388, 48_772, 1_190_340, 538_900, 19_872, 120_011, 3_904, 212, 4_116, 1_911_020, 0),
    (371_940, 96_214, 9_310, 1_560_227, 402_377, 6_204, 610_338, 301_118, 18_220, 388_904, 1_960_541, 1_204),
    (402_118, 611_902, 1_944, 1_498_511, 171_250, 112, 1_702_554, 2_204_377, 904_118, 4_411_206, 2_204_883, 96_310),
    (401_377, 893_340, 2_012, 1_360_882, 158_904, 96, PURGED_AT_LAST, 3_418_065, 2_377_510, 8_206_644, 2_911_740,
     231_775),
)  # fmt: skip
_ALL_PAGES = 4_128_416


def _vm_stat() -> str:
    """Five looks, each under its time."""
    text = ""
    for look, free, swapouts, others in zip(LOOKS, PAGES_FREE, SWAPOUTS, _OTHER_PAGES, strict=True):
        wired, held, speculative, inactive, backed, purgeable, purged, stored, *counters = others
        active = _ALL_PAGES - free - wired - held - speculative - inactive
        rows = [
            ("Pages free", free), ("Pages active", active), ("Pages inactive", inactive),
            ("Pages speculative", speculative), ("Pages throttled", 0), ("Pages wired down", wired),
            ("Pages purgeable", purgeable), ('"Translation faults"', 88_204_516 + 9 * counters[1] + 3 * active),
            ("Pages copy-on-write", 4_120_377 + counters[3]), ("Pages zero filled", 41_305_222 + 4 * active),
            ("Pages reactivated", 12_044 + counters[0]), ("Pages purged", purged), ("File-backed pages", backed),
            ("Anonymous pages", active + inactive + speculative - backed), ("Pages stored in compressor", stored),
            ("Pages occupied by compressor", held), ("Decompressions", counters[0]), ("Compressions", counters[1]),
            ("Pageins", counters[2]), ("Pageouts", 2_118 + counters[3] // 90), ("Swapins", counters[3]),
            ("Swapouts", swapouts),
        ]  # fmt: skip
        text += f"=== 2026-04-07 {look}:00 +0200 ===\n"
        text += f"Mach Virtual Memory Statistics: (page size of {PAGE_BYTES} bytes)\n"
        text += "".join(f"{name + ':':<36}{count:>16}.\n" for name, count in rows)
    return text


def _samples(random: Random, trials: list[Trial], evicted_at: datetime) -> Iterator[tuple[datetime, str]]:
    """Every half minute: the server's processes, and what /api/ps answers."""
    pids, runner = [4127, 4188], f"{OLLAMA} runner --ollama-engine --model {BLOB} --port "
    idle_from = trials[0].start
    events = sorted([(trial.start, 1) for trial in trials] + [(trial.end, -1) for trial in trials])
    busy, at_event = 0, 0
    look = at("17:30")
    while look < at("18:35"):
        while at_event < len(events) and events[at_event][0] <= look:
            busy += events[at_event][1]
            idle_from = events[at_event][0] if not busy else idle_from
            at_event += 1
        stalled, again = STALL <= look < KILLED, look > SERVED_AGAIN
        if again:
            pids = [9310, 9352]
        loaded = not again or look > RESUMED + timedelta(seconds=7)
        expires = evicted_at if evicted_at < look < KILLED else idle_from + timedelta(minutes=5)
        around = RUNNER_CPU_PERCENT + random.choice((-0.1, 0.0, 0.0, 0.1))
        cpu = round(around, 1) if stalled else round(random.uniform(120, 260) if busy else 0.3, 1)
        rss = RUNNER_RSS_BYTES if not again else RUNNER_RSS_BYTES - 24_731 * PAGE_BYTES
        serve = {
            "pid": pids[0], "ppid": 1, "role": "serve", "state": "S", "cpu_pct": round(random.uniform(0.1, 1.4), 1),
            "rss": (3_904 + random.randrange(300)) * PAGE_BYTES, "cmd": f"{OLLAMA} serve",
        }  # fmt: skip
        work = {
            "pid": pids[1], "ppid": pids[0], "role": "runner", "state": "R" if busy or stalled else "S",
            "cpu_pct": cpu, "rss": rss, "cmd": runner + ("58806" if again else "51144"),
        }  # fmt: skip
        model = {"name": MODEL, "model": MODEL, "size": 11_274_289_152, "size_vram": 11_274_289_152,
                 "digest": MANIFEST, "context_length": 8192,
                 "expires_at": expires.isoformat(timespec="microseconds")}  # fmt: skip
        yield look, json.dumps({
            "ts": look.isoformat(timespec="milliseconds"), "procs": [serve, work] if loaded else [serve],
            "api_ps_status": 200, "api_ps": {"models": [model] if loaded else []},
            "api_ps_latency_ms": round(random.uniform(0.7, 2.9), 1)})  # fmt: skip
        look += timedelta(seconds=30)


_SHOWN_UNTIL = (
    ("17:05:12", "4 minutes from now"), ("17:58:44", "4 minutes from now"), ("18:01:03", "Stopping..."),
    ("18:20:20", "Stopping..."), ("18:30:30", "4 minutes from now"),
)  # fmt: skip


def _ollama_ps() -> str:
    """What `ollama ps` showed before, twice during and once after; the client prints Stopping... itself."""
    text = ""
    for clock, until in _SHOWN_UNTIL:
        text += f"=== 2026-04-07 {clock} +0200 ===\n"
        text += "NAME          ID              SIZE     PROCESSOR    CONTEXT    UNTIL\n"
        text += f"{MODEL:<14}{MANIFEST[:12]:<16}{'11 GB':<9}{'100% GPU':<13}{'8192':<11}{until}\n"
    return text


def _processes() -> str:
    """What `ps` showed at 18:06."""
    rows = [
        "  PID  PPID USER                ELAPSED STAT  %CPU    RSS      VSZ ARGS",
        f" 4127     1 lab                09:27:53 S      0.4  64512 35512576 {OLLAMA} serve",
        f" 4188  4127 lab                09:24:27 R     {RUNNER_CPU_PERCENT} {RUNNER_RSS_BYTES // 1024} 47214080 "
        f"{OLLAMA} runner --ollama-engine --model {BLOB} --port 51144",
    ]
    return "\n".join(rows) + "\n"


def _settings() -> str:
    """The variable that was set by hand."""
    return "$ launchctl getenv OLLAMA_FLASH_ATTENTION\n1\n"


def _sysctl() -> str:
    """The machine's memory, its page size, and its swap; the swap follows from the counters."""
    swapped_mib = (SWAPOUTS[-1] - _OTHER_PAGES[-1][-1]) * PAGE_BYTES / 2**20
    return (
        "=== 2026-04-07 18:15:02 +0200 ===\nhw.memsize: 68719476736\n"
        f"hw.pagesize: {PAGE_BYTES}\nvm.swapusage: total = 10240.00M  used = {swapped_mib:.2f}M  "
        f"free = {10240 - swapped_mib:.2f}M  (encrypted)\nkern.memorystatus_vm_pressure_level: 2\n"
    )


def _check(trials: list[Trial]) -> None:
    """The published figures hold."""
    failed = [trial for trial in trials if trial.outcome != "ok"]
    assert (len(trials) - len(failed), len(failed)) == (SUCCESSES, FAILURES)
    main = [trial for trial in trials if MAIN <= trial.start < PRESSURE]
    walls = quantiles([trial.wall_s for trial in main], n=100)
    assert (round(walls[49], 1), round(walls[94], 1)) == (MAIN_P50_S, MAIN_P95_S), walls[94]
    assert round(100 * sum(trial.outcome != "ok" for trial in main) / len(main), 2) == MAIN_FAILED_PERCENT
    span = [trial for trial in trials if SPAN <= trial.start < SPAN_END]
    timed_out = sum(trial.outcome == "timeout" for trial in span)
    assert (timed_out, round(100 * timed_out / len(span))) == (STALL_TIMEOUTS, STALL_TIMEOUT_PERCENT)
    assert sum(trial.outcome != "ok" for trial in trials if trial.start >= SPAN_END) == LATE_FAILURES
    assert sum(trial.outcome == "connection reset" for trial in trials) == CUT_BY_RESTART
    assert [trial.wall_s for trial in trials if trial.wall_s > TIMEOUT_S + 1] == [LONGEST_TRIAL_S]
    assert max(trial.end for trial in trials if trial.start < STALL) < STALL
    in_a_row = "".join("." if trial.outcome == "ok" else "x" for trial in sorted(trials, key=lambda each: each.end)
                       if trial.end < STALL)  # fmt: skip
    assert "x" * EVICT_THRESHOLD not in in_a_row
    stuck = sorted((trial.start, trial.end) for trial in trials if STALL <= trial.start < KILLED)
    assert all(later < max(end for _, end in stuck[: at + 1]) for at, (later, _) in enumerate(stuck[1:]))


def write(case: CaseWriter) -> None:
    """Write the incident."""
    answered, stalled = _answered(case.random), _stalled(case.random)
    trials = answered + stalled
    trials += _after(case.random, SUCCESSES + FAILURES - len(trials))
    _check(trials)
    for trial in trials:
        trial.picture = case.random.random() < WITH_PICTURE
    third = sorted(trial.end for trial in stalled)[EVICT_THRESHOLD - 1]
    evicted_at = third + timedelta(seconds=0.012)
    samples = list(_samples(case.random, trials, evicted_at))
    looks = [look for look, _ in samples] + [at(clock) for clock, _ in _SHOWN_UNTIL]
    case.evidence(f"{HOST}/server.log.gz", _server_log(case.random, trials, evicted_at, looks))
    case.evidence(f"{HOST}/trials.csv.gz", _trials_csv(case.random, trials))
    case.evidence(f"{HOST}/ps.jsonl.gz", "".join(f"{line}\n" for _, line in samples))
    case.evidence(f"{HOST}/vm_stat.txt", _vm_stat())
    case.evidence(f"{HOST}/sysctl.txt", _sysctl())
    case.evidence(f"{HOST}/ollama-ps.txt", _ollama_ps())
    case.evidence(f"{HOST}/processes.txt", _processes())
    case.evidence(f"{HOST}/environment.txt", _settings())
    case.close(SERVED, trials[-1].end, "+02:00")
