"""Incident "Embedding service dies": forked workers with threads in PyTorch end with SIGSEGV; one worker does not.

The morning has four forked workers and no limit of threads, the afternoon one worker and four threads. Ollama, on
the same host, is well all day.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .writing import CaseWriter, TimedLines, access, slog

NAME = "embedding-service-dies"

# Published figures.
LIMIT_BYTES = 8 << 30  # 8 GB of memory for the service
SIGNAL = "SIGSEGV"  # signal 11
STABLE_MIB = (2100, 2900)  # 2-3 GB, one worker

# Chosen here.
HOST, ZONE, VERSION = "rag-box", "+00:00", "0.13.5"
START = datetime(2026, 9, 8, 8, 0, 0, tzinfo=UTC)
FIXED = START + timedelta(hours=5, minutes=4)
END = START + timedelta(hours=13)
WORKERS, GTHREADS, CORES = 4, 8, 16
SAMPLE_S, EMBED_S = 30, 45
FRESH_MIB, CRASH_MIB = 640, (7480, 7840)  # a forked worker at its start; what all hold together when one dies
CONTAINER = "b7d2f0a94c1e5836f19a07cd42e88b6053f7a1d9c46e2b80975d3e1fa4c6b218"
PACKAGES = "/usr/local/lib/python3.11/site-packages"
DIGEST = "3a8f1c6e9d50b72e44c1a6f08b93d57e1f2c4a6b8d90e3f5172839405a6b7c8d"
MODEL, GPU = "llama3.1:8b", "GPU-5b1f60d2-93ac-4e07-8c15-a2d8f4e6701c"


@dataclass
class Worker:
    """A gunicorn worker: its number inside the container, its number on the host, and its memory."""

    pid: int
    host_pid: int
    mib: float
    threads: int


@dataclass
class Day:
    """Everything that is written, by file."""

    case: CaseWriter
    app: TimedLines = field(default_factory=TimedLines)
    rag: TimedLines = field(default_factory=TimedLines)
    kernel: TimedLines = field(default_factory=TimedLines)
    samples: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    peak_mib: float = 0.0
    pid: int = 7
    host_pid: int = 24180

    def say(self, at: datetime, pid: int, level: str, text: str) -> None:
        """A line of gunicorn's, as `docker logs --timestamps` shows it."""
        self.plain(at, f"[{at:%Y-%m-%d %H:%M:%S} +0000] [{pid}] [{level}] {text}")

    def plain(self, at: datetime, *lines: str) -> None:
        self.app.add(at, *(f"{at:%Y-%m-%dT%H:%M:%S.%f}{317:03d}Z {line}" for line in lines))

    def fork(self, at: datetime, threads: int) -> None:
        self.pid, self.host_pid = self.pid + self.case.random.randint(1, 3), self.host_pid + 41
        mib = FRESH_MIB if threads > CORES * 2 else STABLE_MIB[0] + 60
        self.workers.append(Worker(self.pid, self.host_pid, mib, threads))
        self.say(at, self.pid, "INFO", f"Booting worker with pid: {self.pid}")

    def held_mib(self) -> float:
        return 302 + sum(worker.mib for worker in self.workers)


def start_service(day: Day, at: datetime, workers: int) -> None:
    """gunicorn's start: the model is loaded in the master, then the workers are forked."""
    day.workers.clear()
    day.pid, day.peak_mib = 7, 0.0
    day.say(at, 1, "INFO", "Starting gunicorn 23.0.0")
    day.say(at, 1, "INFO", "Listening at: http://0.0.0.0:8001 (1)")
    day.say(at, 1, "INFO", "Using worker: gthread")
    for number in range(workers):
        # Each of a worker's threads that calls PyTorch gets a team of OpenMP threads of its own: one a core.
        threads = GTHREADS * CORES + 11 if workers > 1 else 4 + 4 + 6
        day.fork(at + timedelta(milliseconds=40 * number + 30), threads)


def crash(day: Day, at: datetime) -> None:
    """The worker that holds most dies: Python's dump, the kernel's line, the master's line, a new worker."""
    rng = day.case.random
    worker = max(day.workers, key=lambda one: one.mib)
    day.workers.remove(worker)
    address, base = rng.getrandbits(28) * 16 + 0x7F0000000000, rng.getrandbits(16) * 0x1000 + 0x7F3A00000000
    library, size, offset = (
        ("libtorch_cpu.so", 0x1C6A4000, 0x7A31C4E) if rng.random() < 0.6 else ("libgomp-a34b3233.so.1", 0x2A000, 0x1D88)
    )
    stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}+0000 {HOST} kernel: "
    day.kernel.add(
        at,
        f"{stamp}python[{worker.host_pid}]: segfault at {rng.choice((0, 0x18, address)):x} ip {base + offset:016x} "
        f"sp {address + 0x5E20:016x} error {rng.choice((4, 6))} in {library}[{base:x}+{size:x}] likely on CPU "
        f"{rng.randrange(CORES)} (core {rng.randrange(CORES // 2)}, socket 0)",
    )
    threads = [address + 0x800000 * number for number in range(3)]
    dump = ["Fatal Python error: Segmentation fault", "", f"Thread 0x{threads[0]:016x} (most recent call first):"]
    dump += ['  File "/usr/local/lib/python3.11/concurrent/futures/thread.py", line 81 in _worker',
             '  File "/usr/local/lib/python3.11/threading.py", line 982 in run', ""]  # fmt: skip
    dump += [f"Current thread 0x{threads[1]:016x} (most recent call first):"]
    calls = [(f"{PACKAGES}/torch/nn/modules/linear.py", 125, "forward"),
             (f"{PACKAGES}/torch/nn/modules/module.py", 1747, "_call_impl"),
             (f"{PACKAGES}/sentence_transformers/SentenceTransformer.py", 685, "encode"), ("/app/app.py", 58, "embed"),
             ("/usr/local/lib/python3.11/concurrent/futures/thread.py", 58, "run")]  # fmt: skip
    dump += [f'  File "{file}", line {line} in {function}' for file, line, function in calls]
    day.plain(at + timedelta(milliseconds=3), *dump)
    noticed = at + timedelta(milliseconds=rng.randint(240, 520))
    day.say(noticed, 1, "ERROR", f"Worker (pid:{worker.pid}) was sent {SIGNAL}!")
    text = "RemoteProtocolError: Server disconnected without sending a response."
    day.rag.add(at, f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d} ERROR rag.embed embedding failed: {text}")
    day.fork(noticed + timedelta(milliseconds=35), worker.threads)


def serve(day: Day) -> None:
    """The whole day in steps of a sample."""
    rng, at, number = day.case.random, START, 0
    start_service(day, START + timedelta(seconds=4), WORKERS)
    limit_mib, fixed, next_embed = rng.uniform(*CRASH_MIB), False, START + timedelta(seconds=20)
    while at < END:
        at, number = at + timedelta(seconds=SAMPLE_S), number + 1
        if not fixed and at >= FIXED:
            stop = FIXED - timedelta(seconds=12)
            day.say(stop, 1, "INFO", "Handling signal: term")
            for worker in day.workers:
                day.say(stop + timedelta(milliseconds=20), worker.pid, "INFO", f"Worker exiting (pid: {worker.pid})")
            day.say(stop + timedelta(seconds=1), 1, "INFO", "Shutting down: Master")
            start_service(day, FIXED, 1)
            fixed = True
        for worker in day.workers:
            if not fixed:
                worker.mib += rng.uniform(4, 19)
            else:  # its allocator finds its level, and stays there
                worker.mib += (2380 - worker.mib) * 0.05 + rng.uniform(-22, 22)
        if not fixed and day.held_mib() > limit_mib:
            day.peak_mib = max(day.peak_mib, day.held_mib())
            crash(day, at - timedelta(seconds=rng.uniform(3, SAMPLE_S - 3)))
            limit_mib = rng.uniform(*CRASH_MIB)
        while next_embed < at:
            if not FIXED - timedelta(seconds=14) < next_embed < FIXED + timedelta(seconds=2):  # it was down
                embed(day, next_embed, fixed)
            next_embed += timedelta(seconds=rng.uniform(0.5, 1.5) * EMBED_S)
        day.peak_mib = max(day.peak_mib, day.held_mib())
        sample(day, at, fixed)
        if number % 20 == 0:
            group(day, at)


def embed(day: Day, at: datetime, fixed: bool) -> None:
    """A request to the service, as its access log shows it."""
    wall_s = day.case.random.uniform(0.35, 0.7) if fixed else day.case.random.uniform(0.5, 1.6)
    size = day.case.random.randint(8, 40) * 8231
    stamp = f"{at:%d/%b/%Y:%H:%M:%S} +0000"
    day.plain(at, f'127.0.0.1 - - [{stamp}] "POST /embed HTTP/1.1" 200 {size} "-" "python-httpx/0.28.1" {wall_s:.6f}')


def sample(day: Day, at: datetime, fixed: bool) -> None:
    """One look of `warmstall watch`."""
    rng, workers, threads = day.case.random, 1 if fixed else WORKERS, 4 if fixed else GTHREADS
    command = f"/usr/local/bin/python -m gunicorn --preload --workers {workers} --worker-class gthread "
    command += f"--threads {threads} --bind 0.0.0.0:8001 app:app"
    master = 31877 if fixed else 24112
    rows: list[tuple[int, int, str, float, int, int, str]] = [
        (1204, 1, "serve", 0.1, 96, 22, "/usr/local/bin/ollama serve"),
        (2291, 1204, "runner", rng.choice((0.0, 0.0, 0.1)), 1132, 31,
         f"/usr/local/bin/ollama runner --model /usr/share/ollama/.ollama/models/blobs/sha256-{DIGEST} --port 39411"),
        (master, 24090, "gunicorn", 0.0, 302, 3, command),
    ]  # fmt: skip
    for one in day.workers:
        busy = round(rng.uniform(30, 90) if fixed else rng.uniform(250, 700), 1)
        rows.append((one.host_pid, master, "gunicorn", busy, round(one.mib), one.threads, command))
    look = {
        "processes": [
            {"pid": pid, "parent_pid": parent, "role": role, "state": "S", "cpu_percent": cpu, "rss_bytes": mib << 20,
             "threads": count, "command": shown}
            for pid, parent, role, cpu, mib, count, shown in rows
        ],
        "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": 0.0007}],
        "resident_models": [{"model": MODEL, "digest": DIGEST[::-1], "size_bytes": 6_186_598_400,
                             "vram_bytes": 6_186_598_400, "vram_fraction": 1.0, "processor": "100% GPU",
                             "context_length": 8192}] if at > START + timedelta(minutes=3) else [],
        "memory": [{"origin": "linux", "page_bytes": 4096, "total_bytes": 65421148 << 10,
                    "available_bytes": (54 << 30) - int(day.held_mib()) * 2**20, "swap_total_bytes": 8 << 30,
                    "swap_used_bytes": 0, "swapins": 0, "swapouts": 0, "oom_kills": 0}],
    }  # fmt: skip
    day.samples.append(json.dumps({"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "rows": look}))


def group(day: Day, at: datetime) -> None:
    """The control group of the container: what it may hold, what it holds, and that nothing was ever killed in it."""
    path = f"/sys/fs/cgroup/system.slice/docker-{CONTAINER if at < FIXED else CONTAINER[::-1]}.scope"
    files = {
        "max": LIMIT_BYTES, "current": int(day.held_mib() + 64) << 20, "peak": int(day.peak_mib + 66) << 20,
        "events": "low 0|high 0|max 0|oom 0|oom_kill 0|oom_group_kill 0",
    }  # fmt: skip
    day.groups.append(f"=== {at:%Y-%m-%d %H:%M:%S} UTC ===")
    for name, value in files.items():
        day.groups += [f"{path}/memory.{name}:{line}" for line in str(value).split("|")]


def write(case: CaseWriter) -> None:
    """The day of the service, of the kernel, and of Ollama beside them."""
    day = Day(case)
    kernel_start = START - timedelta(hours=20)
    stamp = f"{kernel_start:%Y-%m-%dT%H:%M:%S.%f}+0000 {HOST} kernel: "
    said = ("Linux version 6.8.0-78-generic (x86_64)", "Memory: 65421148K/67108864K available",
            f"smp: Brought up 1 node, {CORES} CPUs")  # fmt: skip
    day.kernel.add(kernel_start, *(stamp + text for text in said))
    day.rag.add(START, f"{START:%Y-%m-%d %H:%M:%S},004 INFO rag.app ready, embeddings at http://127.0.0.1:8001")
    day.rag.add(FIXED, f"{FIXED:%Y-%m-%d %H:%M:%S},771 INFO rag.app ready, embeddings at http://127.0.0.1:8001")
    later = START + timedelta(hours=9, minutes=12)
    day.kernel.add(later, f"{later:%Y-%m-%dT%H:%M:%S.%f}+0000 {HOST} kernel: perf: interrupt took too long "
                   "(2541 > 2500), lowering kernel.perf_event_max_sample_rate to 78000")  # fmt: skip
    serve(day)
    case.evidence(f"{HOST}/app-embedder.log", day.app.text())
    case.evidence(f"{HOST}/app-rag.log", day.rag.text())
    case.evidence(f"{HOST}/kernel.log", day.kernel.text())
    case.evidence(f"{HOST}/samples.jsonl.gz", "\n".join(day.samples) + "\n")
    case.evidence(f"{HOST}/cgroup.txt", "\n".join(day.groups) + "\n")
    limits = ["OMP_NUM_THREADS=4", "MKL_NUM_THREADS=4", "TOKENIZERS_PARALLELISM=false"]
    case.evidence(f"{HOST}/containers-morning.json", inspect(CONTAINER, START, WORKERS, []))
    case.evidence(f"{HOST}/containers.json", inspect(CONTAINER[::-1], FIXED, 1, limits))
    write_ollama(case)
    case.close(START, END, ZONE)


def inspect(identity: str, started: datetime, workers: int, variables: list[str]) -> str:
    """`docker inspect` of the service, of which a collection keeps what matters."""
    state = {
        "Status": "running", "Running": True, "OOMKilled": False, "Pid": 24112 if workers > 1 else 31877,
        "ExitCode": 0, "StartedAt": f"{started:%Y-%m-%dT%H:%M:%S}.118204331Z", "FinishedAt": "0001-01-01T00:00:00Z",
    }  # fmt: skip
    facts = {
        "Id": identity, "Name": "/embedder", "RestartCount": 0, "State": state,
        "HostConfig": {"Memory": LIMIT_BYTES, "MemorySwap": LIMIT_BYTES, "NanoCpus": 0, "OomKillDisable": False,
                       "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
        "Config": {"Image": "embedder:1.4", "Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                                                    f"WEB_CONCURRENCY={workers}", *variables]},
        "Mounts": [{"Type": "bind", "Source": "/srv/models", "Destination": "/models", "RW": False}],
    }  # fmt: skip
    return json.dumps([facts], indent=1) + "\n"


def write_ollama(case: CaseWriter) -> None:
    """A server that starts, loads its model once, and answers all day at one speed; and what its client saw."""
    rng, log, at = case.random, TimedLines(), START + timedelta(seconds=1)
    blob = f"/usr/share/ollama/.ollama/models/blobs/sha256-{DIGEST}"

    def line(level: str, source: str, message: str, **fields: object) -> None:
        log.add(at, slog(at, level, source, message, **fields))

    env = (
        "map[CUDA_VISIBLE_DEVICES: OLLAMA_CONTEXT_LENGTH:8192 OLLAMA_DEBUG:INFO OLLAMA_FLASH_ATTENTION:false "
        "OLLAMA_HOST:http://127.0.0.1:11434 OLLAMA_KEEP_ALIVE:24h0m0s OLLAMA_LOAD_TIMEOUT:5m0s "
        "OLLAMA_MAX_LOADED_MODELS:0 OLLAMA_MAX_QUEUE:512 OLLAMA_MODELS:/usr/share/ollama/.ollama/models "
        "OLLAMA_NUM_PARALLEL:1 OLLAMA_SCHED_SPREAD:false OLLAMA_VULKAN:false]"
    )
    line("INFO", "routes.go:1554", "server config", env=env)
    line("INFO", "images.go:493", "total blobs: 9")
    line("INFO", "images.go:500", "total unused blobs removed: 0")
    line("INFO", "routes.go:1607", f"Listening on 127.0.0.1:11434 (version {VERSION})")
    line("INFO", "runner.go:67", "discovering available GPUs...")
    line("INFO", "server.go:429", "starting runner", cmd="/usr/local/bin/ollama runner --ollama-engine --port 34021")
    at += timedelta(seconds=1.4)
    line("INFO", "types.go:42", "inference compute", id=GPU, filter_id="", library="CUDA", compute="8.9", name="CUDA0",
         description="NVIDIA L4", libdirs="ollama,cuda_v13", driver="13.0", pci_id="0000:31:00.0", type="discrete",
         total="22.5 GiB", available="22.2 GiB")  # fmt: skip
    at = began = START + timedelta(seconds=95)
    at += timedelta(seconds=0.4)
    line("INFO", "server.go:429", "starting runner", cmd=f"/usr/local/bin/ollama runner --model {blob} --port 39411")
    line("INFO", "sched.go:443", "system memory", total="62.4 GiB", free="53.1 GiB", free_swap="8.0 GiB")
    line("INFO", "sched.go:450", "gpu memory", id=GPU, library="CUDA", available="21.7 GiB", free="22.2 GiB",
         minimum="457.0 MiB", overhead="0 B")  # fmt: skip
    line("INFO", "device.go:240", "model weights", device="CUDA0", size="4.3 GiB")
    line("INFO", "device.go:251", "kv cache", device="CUDA0", size="1.0 GiB")
    line("INFO", "device.go:272", "total memory", size="5.8 GiB")
    line("INFO", "runner.go:965", "starting go runner")
    line("INFO", "runner.go:1001", "Server listening on 127.0.0.1:39411")
    line("INFO", "server.go:1338", "waiting for llama runner to start responding")
    log.add(at, "load_tensors: offloading 32 repeating layers to GPU", "load_tensors: offloaded 33/33 layers to GPU",
            "load_tensors:        CUDA0 model buffer size =  4403.49 MiB",
            "llama_kv_cache:      CUDA0 KV buffer size =  1024.00 MiB")  # fmt: skip
    load_s = 3.87
    at += timedelta(seconds=load_s)
    line("INFO", "server.go:1376", f"llama runner started in {load_s:.2f} seconds")
    line("INFO", "sched.go:517", "loaded runners", count=1)
    rows: list[list[object]] = []
    while at < END - timedelta(minutes=1):
        prompt, tokens = rng.randint(1400, 5200), rng.randint(120, 420)
        load = (at - began).total_seconds() + 0.003 if not rows else rng.uniform(0.06, 0.11)
        prefill, decode = prompt / 2900 * rng.uniform(0.95, 1.05), tokens / 46 * rng.uniform(0.97, 1.04)
        total = load + prefill + decode + 0.004
        ended = began + timedelta(seconds=total)
        log.add(ended, access(ended, 200, total, "/api/chat"))
        client = ended + timedelta(seconds=0.003)
        nanoseconds = [round(seconds * 1e9) for seconds in (total, load, prefill, decode)]
        rows.append([f"q{len(rows) + 1:04d}", began.isoformat(timespec="microseconds"),
                     client.isoformat(timespec="microseconds"), MODEL, "/api/chat", 200, "ok", *nanoseconds[:2], prompt,
                     nanoseconds[2], tokens, nanoseconds[3]])  # fmt: skip
        at = began = ended + timedelta(seconds=rng.uniform(40, 300))
    header = ["run_id", "started_at", "ended_at", "model", "endpoint", "status", "outcome", "total_duration",
              "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]  # fmt: skip
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    case.evidence(f"{HOST}/server.log", log.text())
    case.evidence(f"{HOST}/trials.csv", table.getvalue())
