"""Examples of `context_too_large`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog


def log(layers: int, kv_mib: int, *extra: tuple[str, str, str], weights_mib: int = 5000, free_mib: int = 8000,
        device: str = "CUDA") -> str:  # fmt: skip
    """One load of a model of 33 layers with its cache, and further records of the scheduler."""
    found = ServerLog().start(device=device).load(5, 2.0).request(5, 4.0)
    at = NOON + timedelta(seconds=6)
    name = {"CUDA": "CUDA0", "cpu": "CPU"}.get(device, device)
    if name != "CPU":
        found.add(at, f"llama_model_load_from_file_impl: using device {name} (a GPU) - {free_mib} MiB free")
    found.add(
        at,
        f"load_tensors: offloaded {layers}/33 layers to GPU",
        f"load_tensors:        {name} model buffer size = {weights_mib:8.2f} MiB",
        f"llama_kv_cache_unified:      {name} KV buffer size = {kv_mib:8.2f} MiB",
        f"llama_context:      {name} compute buffer size =   300.00 MiB",
    )
    for level, source, message in extra:
        found.add(at, slog(at, level, source, message, model=BLOB, old_num_ctx=262144, new_num_ctx=32768))
    return found.text()


REDUCED = ("WARN", "sched.go:690", "llama-server load failed; reducing automatic context and retrying once")
EVICTED = ("INFO", "server.go:1060", "model requires more gpu memory than is currently available, evicting a model to "
           "make space")  # fmt: skip
TOO_LARGE = slog(NOON + timedelta(seconds=6), "WARN", "server.go:1058", "model request too large for system",
                 requested="4.3 GiB", available="3.9 GiB", total="8.0 GiB", free="3.9 GiB", swap="0 B")  # fmt: skip
KV_FAILED = "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache\n"
BYTES_FAILED = "ggml_backend_cuda_buffer_type_alloc_buffer: failed to allocate buffer of size {}\n"


def died(reason: str) -> str:
    """A load of 0.30 and later whose llama-server ends with these words."""
    found, at, ended = ServerLog().start(version="0.32.14"), NOON, NOON + timedelta(seconds=9)
    cmd = f"/usr/local/lib/ollama/llama-server --model {BLOB} --port 40001 -c 8192 -np 1"
    found.add(at, slog(at, "INFO", "llama_server.go:403", "starting llama-server", cmd=cmd))
    found.add(ended, slog(ended, "INFO", "sched.go:651", "Load failed", model=BLOB, error=reason))
    return found.request(0, 9.1, 500).text()


EXAMPLES = [
    Example(
        "the server reduced the context",
        "confirmed",
        {"server.log": log(33, 500, REDUCED)},
        ("from 262,144 to 32,768 tokens",),
    ),
    Example(
        "layers would fit without the cache",
        "supported",
        {"server.log": log(20, 4000)},
        ("20 of 33", "with 20 of 33 on it: 7.8 GiB free"),
    ),
    Example(
        "evicts others for a cache larger than the model",
        "supported",
        {"server.log": log(33, 9000, EVICTED, free_mib=24000)},
        ("larger than the weights",),
    ),
    Example(
        "a cache larger than the weights cannot be allocated",
        "supported",
        {"server.log": log(33, 300) + BYTES_FAILED.format(9 << 30) + KV_FAILED},
        ("9.0 GiB",),
    ),
    Example(
        "the server refuses the load",
        "supported",
        {"server.log": ServerLog().start(device="cpu").request(5, 0.4, 500).text() + TOO_LARGE + "\n"},
        ("refused 1 load: for model and context the first wanted 4.3 GiB where 3.9 GiB was available",),
    ),
    Example(
        "the server refuses the load, and 0.3 tells what is available in bytes",
        "supported",
        {
            "server.log": ServerLog().start(device="cpu", version="0.3.14").request(5, 0.4, 500).text()
            + TOO_LARGE.replace('"3.9 GiB"', "4187593113", 1)
            + "\n"
        },
        ("wanted 4.3 GiB where 3.9 GiB was available",),
    ),
    Example(
        "the GPU's memory runs out in a load",
        "supported",
        {"server.log": died("llama-server process has terminated: exit status 1: cudaMalloc failed: out of memory")},
        ("1 of 1 load failed for want of memory (cudaMalloc failed)", "a small num_ctx"),
    ),
    Example(
        "a load fails for another reason",
        "not_observable",
        {"server.log": died("llama-server process has terminated: exit status 1: unknown model architecture: 'new'")},
    ),
    Example(
        "a small cache that finds no room",
        "not_observable",
        {"server.log": log(33, 300) + BYTES_FAILED.format(300 << 20) + KV_FAILED},
        ("could not be allocated",),
    ),
    Example("a small cache and no lack of memory", "ruled_out", {"server.log": log(33, 300)}, ("300.0 MiB",)),
    Example(
        "the weights alone are too large",
        "ruled_out",
        {"server.log": log(20, 300, weights_mib=9000)},
        ("weights alone",),
    ),
    Example(
        "a large cache in the memory of a Mac",
        "not_observable",
        {"server.log": log(33, 9000, device="Metal", free_mib=24000)},
        ("warmstall watch",),
    ),
    Example("a log without the sizes", "not_observable", {"server.log": ServerLog().start().load(5).text()}),
]
