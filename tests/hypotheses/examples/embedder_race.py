"""Examples of `embedder_race`."""

from hypotheses.example import Example, ServerLog
from hypotheses.traced import Trace, healthy

SERVER = ServerLog().start().load(5).request(10, 3.0).text()
STARTED = "[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0\n" + "".join(
    f"[2026-03-14 11:59:0{number} +0000] [{10 + number}] [INFO] Booting worker with pid: {10 + number}\n"
    for number in (1, 2)
)
EMPTY = "NotImplementedError: Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty()"


def failed(second: int, thread: str, message: str = EMPTY) -> str:
    """A record of a load that failed, with its traceback."""
    where = f" in thread {thread}" if thread else ""
    return (
        f"2026-03-14 11:59:{second:02} ERROR rag.embedder loading failed{where}\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/rag/embedder.py", line 18, in get\n    model = SentenceTransformer(NAME)\n'
        '  File "/srv/venv/lib/torch/nn/modules/module.py", line 1364, in convert\n    raise NotImplementedError(\n'
        f"{message}\n"
    )


OTHER = "2026-03-14 11:59:12 WARNING rag.embedder slow operation: loading the embedder in thread b took 6.2 s\n"
LATER = '127.0.0.1 - - [14/Mar/2026:12:01:20 +0000] "POST /embed HTTP/1.1" 200 12 "-" "-"\n'


def loads(*threads: str, apart_s: float = 0.1, broken: int = 1) -> str:
    """A trace of loads of an embedder in these threads, the first `broken` of which take an empty model."""
    trace = Trace()
    for number, thread in enumerate(threads):
        error = NotImplementedError(EMPTY.partition(": ")[2]) if number < broken else None
        trace.span("load embedder", number * apart_s, 0.5, None, error, thread, gen_ai__request__model="small")
    return trace.text()


def loaded_well() -> str:
    """The trace of an application that loads each embedder once, before its questions."""
    trace = Trace()
    for number, model in enumerate(("small", "large")):
        trace.span("load embedder", -5 + number, 0.5, gen_ai__request__model=model)
        trace.span("embed", number, 0.1, gen_ai__operation__name="embeddings", gen_ai__request__model=model)
    return trace.text()


EXAMPLES = [
    Example(
        "one thread fails while another loads",
        "confirmed",
        {"server.log": SERVER, "app-embedder.log": STARTED + failed(9, "a") + OTHER},
        ("in thread a; another thread loaded the embedder at the same time (6.2 s",),
    ),
    Example(
        "two threads fail within seconds",
        "confirmed",
        {"app-embedder.log": STARTED + failed(9, "a") + failed(10, "b") + LATER},
        ("within 1.0 s",),
    ),
    Example(
        "a loader that fails in every thread",
        "supported",
        {"app-embedder.log": STARTED + failed(9, "a") + failed(10, "b")},
    ),
    Example("one thread fails", "supported", {"app-embedder.log": STARTED + failed(9, "a")}),
    Example(
        "CUDA after a fork",
        "confirmed",
        {
            "app-embedder.log": STARTED
            + failed(
                9,
                "",
                "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, use "
                "the 'spawn' start method",
            )
        },
        ("after a fork",),
    ),
    Example("a loader that fails alone", "not_observable", {"app-embedder.log": failed(9, "")}, ("fails alone",)),
    Example(
        "starts without such a failure",
        "ruled_out",
        {"server.log": SERVER, "app-embedder.log": STARTED + failed(9, "a", "OSError: no file model") + LATER},
        ("0 tracebacks in the embedder's log are of an empty model (1 of",),
    ),
    Example(
        "the embedder's log ends before the trouble",
        "not_observable",
        {"server.log": SERVER, "app-embedder.log": STARTED},
    ),
    Example(
        "the embedder's log is cut",
        "not_observable",
        {"app-embedder.log": failed(9, "a", "OSError: no file model.safetensors")},
    ),
    Example("no service beside Ollama", "not_observable", {"server.log": SERVER}, ("if there are any",)),
    Example(
        "a trace of loads at once, of which one fails",
        "confirmed",
        {"server.log": SERVER, "trace.jsonl": loads("pool_0", "pool_1")},
        ("1 of 2 loads of embedders", "in pool_0; 1 failed load ran beside another load, in thread pool_1"),
    ),
    Example(
        "a trace of loads at once, all of which fail",
        "supported",
        {"trace.jsonl": loads("pool_0", "pool_1", broken=2)},
        ("no load of it has ended well",),
    ),
    Example("a trace of a load that fails alone", "supported", {"trace.jsonl": loads("pool_0", "pool_1", apart_s=9)}),
    Example("a trace of loads that go well", "ruled_out", {"trace.jsonl": loaded_well()}, ("0 of 2 loads",)),
    Example(
        "loads at once, which is no harm by itself",
        "ruled_out",
        {"trace.jsonl": loads("pool_0", "pool_1", broken=0)},
    ),
    Example("a trace that does not show loads", "not_observable", {"trace.jsonl": healthy()}),
]
