"""Incident "Hangs over many models": a benchmark of five to eight models on four A10G, two of them in memory at most.

Simulates the night second by second: which model sits on which GPU, what an unload leaves behind there, and
therefore whether the 32B model still fits on one GPU. Log, trials and samples are three views of that one state.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from .writing import CaseWriter, TimedLines, access, slog

NAME = "hangs-over-many-models"

# Published figures.
GPUS, MAX_LOADED, NUM_CTX, RUNS = 4, 2, 2048, 100
HANGS = {"llama3.1:8b": 5, "mistral-nemo:12b": 8, "qwen2.5:14b": 25, "qwen2.5:32b": 40}  # of 100 runs each
FEWEST_MODELS, MOST_MODELS = 5, 8
SPLIT_S, WHOLE_S = (120.0, 180.0), (30.0, 45.0)  # one request of the 32B model, on several GPUs and on one

# Chosen here.
VERSION, HOST, ZONE = "0.9.6", "gpu-bench", "+02:00"
START = datetime(2026, 7, 14, 20, 0, 0, tzinfo=timezone(timedelta(hours=2)))
TIMEOUT_S, SAMPLE_S = 240.0, 15.0
TOTAL_MIB, FREE_MIB = 22600, 22430  # of an A10G (23028 MiB) as CUDA counts, and what is free of it when idle
STAYS, STAYS_AFTER_HANG = 0.22, 0.5  # how often an unload leaves its memory behind
BIG = "qwen2.5:32b"
STORE = "/usr/share/ollama/.ollama/models"


@dataclass(frozen=True)
class Model:
    """What the log says of a model; weights and key-value cache in MiB, tokens a second on one GPU."""

    name: str
    digest: str
    layers: int
    weights: int
    kv: int
    per_s: float

    @property
    def need(self) -> int:
        return self.weights + self.kv + 1250

    @property
    def blob(self) -> str:
        return f"{STORE}/blobs/sha256-{self.digest}"


@dataclass
class Runner:
    """A model in memory: how many MiB on which GPU, and its process."""

    model: Model
    share: dict[int, int]
    pid: int
    port: int
    cpu: float = 0.0
    hung: bool = False
    used_at: datetime = START


@dataclass
class Night:
    """The state of the machine, and everything that is written about it."""

    case: CaseWriter
    now: datetime = START
    log: TimedLines = field(default_factory=TimedLines)
    loaded: list[Runner] = field(default_factory=list)
    left: list[tuple[int, int, datetime]] = field(default_factory=list)  # GPU, MiB, until when
    samples: list[str] = field(default_factory=list)
    trials: list[list[object]] = field(default_factory=list)
    busy: dict[int, int] = field(default_factory=dict)
    next_sample: datetime = START + timedelta(seconds=40)
    pid: int = 4100

    def line(self, level: str, source: str, message: str, **fields: object) -> None:
        self.log.add(self.now, slog(self.now, level, source, message, **fields))

    def raw(self, *texts: str) -> None:
        self.log.add(self.now, *texts)

    def wait(self, seconds: float) -> None:
        """Let time pass; whoever samples looks every quarter of a minute."""
        until = self.now + timedelta(seconds=seconds)
        while self.next_sample <= until:
            self.left = [row for row in self.left if row[2] > self.next_sample]
            self.sample(self.next_sample)
            self.next_sample += timedelta(seconds=SAMPLE_S)
        self.now = until
        self.left = [row for row in self.left if row[2] > until]

    def used(self, gpu: int) -> int:
        """MiB in use on a GPU: by runners, and by nobody any more."""
        return sum(r.share.get(gpu, 0) for r in self.loaded) + sum(mib for at, mib, _ in self.left if at == gpu)

    def free(self, gpu: int) -> int:
        return FREE_MIB - self.used(gpu)

    def sample(self, at: datetime) -> None:
        """One look of `warmstall watch`, and the line that its question leaves in the server's log."""
        wall_ms = self.case.random.randint(3, 9) / 10
        self.log.add(at, access(at, 200, wall_ms / 1e3, "/api/ps", method="GET"))
        processes = [(1188, 1, "serve", 0.3, 118, "/usr/local/bin/ollama serve")]
        processes += [(r.pid, 1188, "runner", r.cpu, 900 + r.model.kv, f"/usr/local/bin/ollama runner --model "
                       f"{r.model.blob} --ctx-size {NUM_CTX} --port {r.port}") for r in self.loaded]  # fmt: skip
        rows = {
            "processes": [
                {"pid": pid, "parent_pid": parent, "role": role, "state": "R" if cpu > 50 else "S", "cpu_percent": cpu,
                 "rss_bytes": rss << 20, "threads": 58, "command": command}
                for pid, parent, role, cpu, rss, command in processes
            ],
            "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": wall_ms / 1e3}],
            "resident_models": [
                {"model": r.model.name, "digest": r.model.digest[::-1], "size_bytes": sum(r.share.values()) << 20,
                 "vram_bytes": sum(r.share.values()) << 20, "vram_fraction": 1.0, "processor": "100% GPU",
                 "expires_at": f"{(r.used_at + timedelta(minutes=30)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
                for r in self.loaded
            ],
            "gpus": [
                {"gpu": str(gpu), "name": "NVIDIA A10G", "vendor": "NVIDIA", "uuid": uuid(gpu),
                 "total_bytes": 23028 << 20, "used_bytes": self.used(gpu) + 4 << 20,
                 "utilization_percent": float(self.busy.get(gpu, 0)),
                 "power_w": 62.0 + 2 * self.busy.get(gpu, 0) if self.used(gpu) else 16.0}
                for gpu in range(GPUS)
            ],
        }  # fmt: skip
        self.samples.append(json.dumps({"at": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "rows": rows}))

    def unload(self, runner: Runner, stays: float) -> None:
        """Take a runner out of memory. Often its memory does not come back within the server's five seconds."""
        self.loaded.remove(runner)
        if self.case.random.random() > stays:
            self.wait(self.case.random.uniform(0.3, 0.9))
            return
        until = self.now + timedelta(seconds=self.case.random.uniform(60, 780))
        self.left += [(gpu, mib - mib // 20, until) for gpu, mib in runner.share.items()]
        seconds = self.case.random.uniform(5.02, 5.35)
        self.wait(seconds)
        size = gib(sum(runner.share.values()))
        self.line("WARN", "sched.go:687", "gpu VRAM usage didn't recover within timeout", seconds=f"{seconds:.9f}",
                  runner__name=f"registry.ollama.ai/library/{runner.model.name}", runner__inference="cuda",
                  runner__devices=len(runner.share), runner__size=size, runner__vram=size, runner__parallel=1,
                  runner__pid=runner.pid, runner__model=runner.model.blob, runner__num_ctx=NUM_CTX)  # fmt: skip

    def place(self, model: Model) -> dict[int, int]:
        """MiB by GPU: the freest GPU if the model fits there; the big one else on all that can hold an equal share."""
        while True:
            best = max(range(GPUS), key=self.free)
            if self.free(best) >= model.need:
                return {best: model.need}
            gpus = list(range(GPUS))
            while len(gpus) > 1 and model.name == BIG:
                each = (model.weights + model.kv) // len(gpus) + 1100
                if all(self.free(gpu) >= each for gpu in gpus):
                    return dict.fromkeys(gpus, each)
                gpus.remove(min(gpus, key=self.free))
            self.left.remove(min(self.left, key=lambda row: row[2]))  # as good as: a little later

    def preload(self, model: Model) -> Runner:
        """A request without a prompt, which brings the model into memory: a cold start, and nothing else."""
        began = self.now
        if len(self.loaded) >= MAX_LOADED:
            oldest = min(self.loaded, key=lambda r: r.used_at)
            self.unload(oldest, STAYS_AFTER_HANG if oldest.hung else STAYS)
        share = self.place(model)
        load_s = 1.3 + model.weights / 1650 * self.case.random.uniform(0.95, 1.15) + 0.9 * (len(share) - 1)
        self.pid += self.case.random.randint(20, 60)
        runner = Runner(model, {}, self.pid, self.case.random.randint(33000, 46000))
        write_load(self, runner, share, load_s)
        runner.cpu, runner.used_at = 0.0, self.now
        self.log.add(self.now, access(self.now, 200, (self.now - began).total_seconds() + 0.002, "/api/generate"))
        return runner

    def chat(self, run: int, runner: Runner, prompt: int, hangs: bool) -> None:
        """One measured request to a model that is in memory; it is answered, or the client's patience ends."""
        rng, model, began = self.case.random, runner.model, self.now
        if prompt > NUM_CTX:
            self.wait(0.03)
            self.line("WARN", "runner.go:131", "truncating input prompt", limit=NUM_CTX, prompt=prompt, keep=4,
                      new=NUM_CTX)  # fmt: skip
        read, several = min(prompt, NUM_CTX), len(runner.share) > 1
        row: list[object] = [f"run-{run:03d}", iso(began), "", model.name, "/api/chat"]
        if hangs:
            self.busy, runner.cpu = {}, 0.0
            self.wait(TIMEOUT_S - (self.now - began).total_seconds() + rng.uniform(0.001, 0.009))
            runner.used_at, runner.hung = self.now, True
            self.log.add(self.now, access(self.now, 500, (self.now - began).total_seconds(), "/api/chat"))
            error = f"ReadTimeout: timed out waiting for the response after {TIMEOUT_S:.0f} s"
            row += ["", "timeout", error, TIMEOUT_S, f"{(self.now - began).total_seconds():.3f}", *[""] * 6]
        else:
            slow = 4.0 if several else 1.0
            prefill_s = read / (62 * model.per_s) * slow * rng.uniform(0.97, 1.03)
            if model.name == BIG:
                low, high = SPLIT_S if several else WHOLE_S
                total_s = rng.uniform(low + 2, high - 2)
                tokens = round((total_s - prefill_s) * model.per_s / slow * rng.uniform(0.98, 1.02))
            else:
                tokens = rng.randint(600, 900)
                total_s = prefill_s + tokens / model.per_s * slow * rng.uniform(0.98, 1.03)
            load_s = rng.uniform(0.014, 0.038)
            self.busy, runner.cpu = dict.fromkeys(runner.share, 24 if several else 94), 100.2
            self.wait(total_s - (self.now - began).total_seconds())
            self.busy, runner.cpu, runner.used_at = {}, 0.0, self.now
            self.log.add(self.now, access(self.now, 200, total_s, "/api/chat"))
            decode_s = total_s - prefill_s - load_s - 0.004
            nanoseconds = [round(seconds * 1e9) for seconds in (total_s, load_s, prefill_s, decode_s)]
            self.now += timedelta(seconds=rng.uniform(0.002, 0.006))
            row += ["200", "ok", "", TIMEOUT_S, f"{(self.now - began).total_seconds():.3f}", *nanoseconds[:2], read,
                    nanoseconds[2], tokens, nanoseconds[3]]  # fmt: skip
        row[2] = iso(self.now)
        self.trials.append(row)


def iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def uuid(gpu: int) -> str:
    return f"GPU-7c1e40{gpu}a-52d3-4b8f-9a6{gpu}-0e5d1f3b8c2{gpu}"


def gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.1f} MiB"


def write_load(night: Night, runner: Runner, share: dict[int, int], load_s: float) -> None:
    """What 0.9.6 and its runner print from the choice of GPUs to `started in` (without the dump of metadata)."""
    model, gpus, log = runner.model, sorted(share), night.line
    if night.loaded:
        for gpu in range(GPUS):
            log("INFO", "sched.go:541", "updated VRAM based on existing loaded models", gpu=uuid(gpu), library="cuda",
                total=gib(TOTAL_MIB), available=gib(night.free(gpu)))  # fmt: skip
    full, counts = sum(share.values()), [model.layers // len(gpus)] * len(gpus)
    counts[0] += model.layers % len(gpus)
    split = ",".join(map(str, counts)) if len(gpus) > 1 else ""
    if split:
        log("INFO", "sched.go:797", "new model will fit in available VRAM, loading", model=model.blob, library="cuda",
            parallel=1, required=gib(full))  # fmt: skip
    else:
        log("INFO", "sched.go:788", "new model will fit in available VRAM in single GPU, loading", model=model.blob,
            gpu=uuid(gpus[0]), parallel=1, available=night.free(gpus[0]) << 20, required=gib(full))  # fmt: skip
    log("INFO", "server.go:135", "system memory", total="186.6 GiB", free="181.2 GiB", free_swap="8.0 GiB")
    listed = {
        "library": "cuda", "layers.requested": -1, "layers.model": model.layers, "layers.offload": model.layers,
        "layers.split": split, "memory.available": f"[{' '.join(gib(night.free(gpu)) for gpu in gpus)}]",
        "memory.gpu_overhead": "0 B", "memory.required.full": gib(full), "memory.required.partial": gib(full),
        "memory.required.kv": gib(model.kv),
        "memory.required.allocations": f"[{' '.join(gib(share[gpu]) for gpu in gpus)}]",
        "memory.weights.total": gib(model.weights), "memory.weights.repeating": gib(model.weights * 0.965),
        "memory.weights.nonrepeating": gib(model.weights * 0.035), "memory.graph.full": "348.0 MiB",
        "memory.graph.partial": "916.1 MiB",
    }  # fmt: skip
    log("INFO", "server.go:175", "offload", **{name.replace(".", "__"): value for name, value in listed.items()})
    loader = (
        f"llama_model_loader: loaded meta data with 33 key-value pairs and {model.layers * 12 - 9} tensors from "
        f"{model.blob} (version GGUF V3 (latest))"
    )
    night.raw(loader, "llama_model_load: vocab only - skipping tensors")
    night.wait(0.31)
    options = f" --tensor-split {split}" if split else ""
    log("INFO", "server.go:438", "starting llama server", cmd=f"/usr/local/bin/ollama runner --model {model.blob} "
        f"--ctx-size {NUM_CTX} --batch-size 512 --n-gpu-layers {model.layers} --threads 24 --parallel 1{options} "
        f"--port {runner.port}")  # fmt: skip
    spawned = night.now
    runner.share, runner.cpu, runner.used_at = share, 88.0, night.now
    night.loaded.append(runner)
    log("INFO", "sched.go:483", "loaded runners", count=len(night.loaded))
    log("INFO", "server.go:598", "waiting for llama runner to start responding")
    log("INFO", "server.go:632", "waiting for server to become available", status="llm server not responding")
    night.wait(0.02)
    log("INFO", "runner.go:815", "starting go runner")
    night.wait(0.4)
    night.raw(f"ggml_cuda_init: found {len(gpus)} CUDA devices:")
    night.raw(*[f"  Device {n}: NVIDIA A10G, compute capability 8.6, VMM: yes" for n in range(len(gpus))])
    night.raw("load_backend: loaded CUDA backend from /usr/local/lib/ollama/libggml-cuda.so",
              "load_backend: loaded CPU backend from /usr/local/lib/ollama/libggml-cpu-haswell.so")  # fmt: skip
    log("INFO", "runner.go:874", f"Server listening on 127.0.0.1:{runner.port}")
    for n, gpu in enumerate(gpus):
        free = night.free(gpu) + share[gpu]
        night.raw(f"llama_model_load_from_file_impl: using device CUDA{n} (NVIDIA A10G) - {free} MiB free")
    night.raw(loader)
    night.wait(0.09)
    log("INFO", "server.go:632", "waiting for server to become available", status="llm server loading model")
    parts = [model.weights * count / model.layers for count in counts]
    night.raw("load_tensors: loading model tensors, this can take a while... (mmap = true)",
              f"load_tensors: offloading {model.layers - 1} repeating layers to GPU",
              "load_tensors: offloading output layer to GPU",
              f"load_tensors: offloaded {model.layers}/{model.layers} layers to GPU",
              *[f"load_tensors:        CUDA{n} model buffer size = {mib:8.2f} MiB" for n, mib in enumerate(parts)],
              f"load_tensors:   CPU_Mapped model buffer size = {model.weights * 0.03:8.2f} MiB")  # fmt: skip
    night.wait(spawned.timestamp() + load_s - night.now.timestamp() - 0.12)
    caches = [model.kv * count / model.layers for count in counts]
    kept = [f"llama_kv_cache_unified:      CUDA{n} KV buffer size = {mib:8.2f} MiB" for n, mib in enumerate(caches)]
    night.raw(f"llama_context: n_ctx         = {NUM_CTX}", *kept,
              f"llama_kv_cache_unified: KV self size  = {model.kv:7.2f} MiB, K (f16): {model.kv / 2:7.2f} MiB, "
              f"V (f16): {model.kv / 2:7.2f} MiB",
              *[f"llama_context:      CUDA{n} compute buffer size =   307.00 MiB" for n in range(len(gpus))],
    )  # fmt: skip
    night.wait(0.12)
    log("INFO", "server.go:637", f"llama runner started in {load_s:.2f} seconds")


def write_start(night: Night) -> None:
    """The server's start: its settings and its GPUs."""
    shown = {
        "CUDA_VISIBLE_DEVICES": "", "GPU_DEVICE_ORDINAL": "", "HIP_VISIBLE_DEVICES": "", "HSA_OVERRIDE_GFX_VERSION": "",
        "HTTPS_PROXY": "", "HTTP_PROXY": "", "NO_PROXY": "", "OLLAMA_CONTEXT_LENGTH": NUM_CTX, "OLLAMA_DEBUG": "INFO",
        "OLLAMA_FLASH_ATTENTION": "false", "OLLAMA_GPU_OVERHEAD": 0, "OLLAMA_HOST": "http://127.0.0.1:11434",
        "OLLAMA_INTEL_GPU": "false", "OLLAMA_KEEP_ALIVE": "30m0s", "OLLAMA_KV_CACHE_TYPE": "", "OLLAMA_LLM_LIBRARY": "",
        "OLLAMA_LOAD_TIMEOUT": "5m0s", "OLLAMA_MAX_LOADED_MODELS": MAX_LOADED, "OLLAMA_MAX_QUEUE": 512,
        "OLLAMA_MODELS": STORE, "OLLAMA_MULTIUSER_CACHE": "false", "OLLAMA_NEW_ENGINE": "false",
        "OLLAMA_NOHISTORY": "false", "OLLAMA_NOPRUNE": "false", "OLLAMA_NUM_PARALLEL": 1,
        "OLLAMA_ORIGINS": "[http://localhost https://localhost http://127.0.0.1 https://127.0.0.1 app://* file://*]",
        "OLLAMA_SCHED_SPREAD": "false", "ROCR_VISIBLE_DEVICES": "", "http_proxy": "", "https_proxy": "", "no_proxy": "",
    }  # fmt: skip
    settings = " ".join(f"{name}:{value}" for name, value in shown.items())
    night.line("INFO", "routes.go:1235", "server config", env=f"map[{settings}]")
    night.line("INFO", "images.go:476", "total blobs: 41")
    night.line("INFO", "images.go:483", "total unused blobs removed: 0")
    night.line("INFO", "routes.go:1288", f"Listening on 127.0.0.1:11434 (version {VERSION})")
    night.line("INFO", "gpu.go:217", "looking for compatible GPUs")
    night.wait(1.1)
    for gpu in range(GPUS):
        night.line("INFO", "types.go:130", "inference compute", id=uuid(gpu), library="cuda", variant="v12",
                   compute="8.6", driver="12.4", name="NVIDIA A10G", total=gib(TOTAL_MIB),
                   available=gib(FREE_MIB))  # fmt: skip


def models(case: CaseWriter) -> dict[str, Model]:
    """The four measured models and four more, in the order in which a run asks them."""
    rows = (
        ("llama3.1:8b", 33, 4437, 256, 72.0), ("llama3.2:3b", 29, 1918, 224, 98.0),
        ("mistral-nemo:12b", 41, 6763, 320, 52.0), ("qwen2.5:7b", 29, 4460, 112, 74.0),
        ("qwen2.5:14b", 49, 8566, 384, 39.0), ("gemma2:9b", 43, 5185, 672, 55.0),
        (BIG, 65, 18926, 512, 20.0), ("phi4:14b", 41, 8633, 400, 38.0),
    )  # fmt: skip
    return {name: Model(name, f"{case.random.getrandbits(256):064x}", *rest) for name, *rest in rows}


def write(case: CaseWriter) -> None:
    """A night of a hundred runs, and what was captured before and after it."""
    known, rng = models(case), case.random
    hung = {name: set(rng.sample(range(1, RUNS + 1), hangs)) for name, hangs in HANGS.items()}
    others = [name for name in known if name not in HANGS]
    night = Night(case)
    write_start(night)
    night.wait(58)
    for run in range(1, RUNS + 1):
        asked = {*HANGS, *rng.sample(others, rng.randint(FEWEST_MODELS, MOST_MODELS) - len(HANGS))}
        prompt = rng.randint(2300, 6100) if rng.random() < 0.55 else rng.randint(900, 1980)
        for name in (name for name in known if name in asked):
            runner = night.preload(known[name])
            night.wait(rng.uniform(1.2, 1.6))
            night.chat(run, runner, prompt, run in hung.get(name, ()))
            night.wait(rng.uniform(1.2, 1.8))
        night.log.add(night.now, access(night.now, 200, rng.uniform(4e-4, 9e-4), "/api/generate"))  # keep_alive 0
        night.unload(night.loaded[-1], STAYS)
        night.wait(rng.uniform(9, 12))
    for runner in list(night.loaded):
        night.unload(runner, 1.0)
    night.wait(2 * SAMPLE_S)
    header = ["run_id", "started_at", "ended_at", "model", "endpoint", "status", "outcome", "error", "timeout_s",
              "wall_s", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
              "eval_duration"]  # fmt: skip
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([header, *night.trials])
    case.evidence(f"{HOST}/server.log.gz", night.log.text())
    case.evidence(f"{HOST}/trials.csv", table.getvalue())
    case.evidence(f"{HOST}/samples.jsonl.gz", "\n".join(night.samples) + "\n")
    write_beside(night)
    case.close(START, night.now, ZONE)


def write_beside(night: Night) -> None:
    """Topology, GPUs, limits, unit and memory."""
    case, end = night.case, night.now
    links = {(0, 1): "PHB", (2, 3): "NODE"}
    matrix = ["\t" + "\t".join(f"GPU{gpu}" for gpu in range(GPUS)) + "\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID"]
    for one in range(GPUS):
        cells = [" X " if one == two else links.get((min(one, two), max(one, two)), "SYS") for two in range(GPUS)]
        matrix.append(f"GPU{one}\t" + "\t".join(cells) + f"\t{'0-23' if one < 2 else '24-47'}\t{one // 2}\t\tN/A")
    case.evidence(f"{HOST}/nvidia-smi-topology.txt", "\n".join(matrix) + "\n")
    rows = ["index, name, uuid, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], pstate"]
    rows += [f"{gpu}, NVIDIA A10G, {uuid(gpu)}, 550.90.07, 23028 MiB, {night.used(gpu) + 4} MiB, 0 %, "
             f"{'P0' if night.used(gpu) else 'P8'}" for gpu in range(GPUS)]  # fmt: skip
    case.evidence(f"{HOST}/nvidia-smi.txt", "\n".join(rows) + "\n")
    environment = (
        f"OLLAMA_MAX_LOADED_MODELS={MAX_LOADED} OLLAMA_CONTEXT_LENGTH={NUM_CTX} OLLAMA_NUM_PARALLEL=1 "
        "OLLAMA_KEEP_ALIVE=30m"
    )
    unit = ["Id=ollama.service", "MainPID=1188", "NRestarts=0", "ActiveState=active", "SubState=running", "User=ollama",
            f"Environment={environment}", "LimitMEMLOCK=infinity", "LimitMEMLOCKSoft=infinity", "LimitNOFILE=524288",
            "LimitNOFILESoft=524288", "MemoryMax=infinity", "MemoryHigh=infinity", "TasksMax=infinity",
            "NeedDaemonReload=no"]  # fmt: skip
    case.evidence(f"{HOST}/systemctl-show.txt", "\n".join(unit) + "\n")
    limits = [("Max cpu time", "seconds"), ("Max data size", "bytes"), ("Max resident set", "bytes"),
              ("Max locked memory", "bytes"), ("Max address space", "bytes"), ("Max file locks", "locks")]  # fmt: skip
    text = "==> /proc/1188/limits <==\nLimit                     Soft Limit           Hard Limit           Units     \n"
    text += "".join(f"{name:<26}{'unlimited':<21}{'unlimited':<21}{unit:<10}\n" for name, unit in limits)
    text += f"{'Max open files':<26}{'524288':<21}{'524288':<21}{'files':<10}\n"
    case.evidence(f"{HOST}/limits.txt", text)
    looks = []
    for at, free, major in ((START, 183_402_116, 8_113), (end, 41_775_908, 9_402)):
        available = 189_600_000 - (major - 8_113) * 40
        looks.append(
            f"=== {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ===\n==> /proc/meminfo <==\n"
            f"MemTotal:       195663384 kB\nMemFree:        {free} kB\nMemAvailable:   {available} kB\n"
            f"AnonPages:        2318804 kB\nSwapTotal:       8388604 kB\nSwapFree:        8388604 kB\n\n"
            f"==> /proc/vmstat <==\npswpin 0\npswpout 0\npgmajfault {major}\noom_kill 0\n\n"
            f"==> /proc/pressure/memory <==\nsome avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
            f"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        )
    case.evidence(f"{HOST}/memory.txt", "\n".join(looks))
