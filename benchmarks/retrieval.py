"""Retrieval at once against five times embed-and-search, as ratios: `python benchmarks/retrieval.py [vectors]`.

The path as it is (`warmstall.rag.retrieval`), over five collections that hold the vectors in equal parts: three of 384
numbers, two of 768, in clusters as those of texts are. Stores are a DuckDB file and a real Chroma server. The embedder
is an HTTP service in a process of its own that answers after a fixed time. Three pairs of times are measured, since the
ratios depend on them: 300 ms, as in the published incident that the path mirrors (300 to 500 ms for each call that
embeds and searches); two fast ones of 40 ms; and 25 and 50 ms, where (3 + 2 × 2) / 2 = 3.5 would be had if searching
took no time at all. The faster the embedder, the more it tells that five searches at once share this machine's cores.

The arms take turns, question by question, and each question is another. Told are

- sequential / parallel: the ratio of the medians of whole retrievals;
- parallel / slowest step: the median of whole retrievals at once against the largest of the medians of the single
  steps (one embedding, one search), these measured where each runs alone: in the sequential arm;
- recall@8: the share of the eight best that an exact search of all vectors finds, under the same top_k, of each arm.

Intervals are of 95 %, from a bootstrap. On a machine that does other work the steps that run at once wait for a core,
so the same ratios are told of the quietest tenth of each arm as well (their 10th percentiles).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import httpx
import numpy as np
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from warmstall.drill.runner import free_port
from warmstall.rag.embedders.http_service import HttpEmbedder
from warmstall.rag.parts import Vectors, VectorStore
from warmstall.rag.records import Chunk
from warmstall.rag.retrieval import retrieve
from warmstall.rag.settings import EmbedderSettings, PathSettings, RagSettings, StoreSettings
from warmstall.rag.stores.opening import open_store
from warmstall.rag.tracing import tracer_to
from warmstall.reproduce.effects import Effect, effect

# Milliseconds of the small and of the large embedder.
TIMES_MS = ((300, 300), (40, 40), (25, 50))
CLUSTERS = 500
DIMENSIONS = {"small": 384, "large": 768}
# Conversations are kept per user, and every user has as many chunks of them.
USERS, USER = 50, "7"
PATH = PathSettings(top_k=5, keep=8)


@lru_cache
def centres(dimensions: int) -> Vectors:
    return np.random.default_rng(dimensions).standard_normal((CLUSTERS, dimensions), np.float32)


def around(dimensions: int, clusters: list[int], seed: int) -> Vectors:
    """A vector near each of these centres, of length one."""
    noise = np.random.default_rng(seed).standard_normal((len(clusters), dimensions), np.float32)
    rows = centres(dimensions)[clusters] + noise
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def asked(question: str, dimensions: int) -> Vectors:
    """The vector of a question, which the service answers and the exact search uses."""
    seed = zlib.crc32(question.encode())
    return around(dimensions, [seed % CLUSTERS], seed)[0]


def serve(port: int) -> None:
    """The embedding service: POST /384/40/embed answers vectors of 384 numbers after 40 ms."""
    import asyncio

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def embed(request: Request) -> JSONResponse:
        ends = time.monotonic() + request.path_params["ms"] / 1000
        texts = (await request.json())["texts"]
        vectors = [asked(text, request.path_params["dimensions"]).tolist() for text in texts]
        await asyncio.sleep(max(0.0, ends - time.monotonic()))
        return JSONResponse({"vectors": vectors})

    application = Starlette(routes=[Route("/{dimensions:int}/{ms:int}/embed", embed, methods=["POST"])])
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="error")


@contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """A process, from when it answers at an address on."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx.get(url, timeout=5.0, trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)  # between two questions to a process that starts
        yield
    finally:
        process.kill()
        process.wait()


def fill(store: VectorStore, settings: RagSettings, vectors: dict[str, Vectors]) -> None:
    for one in settings.collections:
        store.create(one.name, HttpEmbedder(settings.embedders[one.embedder]))
        chunks = [
            Chunk(f"{n}", f"{one.name} {n}", f"{n % 50}.md", user=f"{n % USERS}") for n in range(len(vectors[one.name]))
        ]
        store.add(one.name, chunks, vectors[one.name])


def exact(question: str, settings: RagSettings, vectors: dict[str, Vectors]) -> set[str]:
    """The texts of the eight best, by hand."""
    found = []
    for one in settings.collections:
        near = vectors[one.name] @ asked(question, DIMENSIONS[one.embedder])
        if one.per_user:
            near[np.arange(len(near)) % USERS != int(USER)] = -1.0
        found += [(float(near[n]), f"{one.name} {n}") for n in np.argsort(-near)[: PATH.top_k]]
    return {text for _, text in sorted(found, reverse=True)[: PATH.keep]}


def compare(name: str, settings: RagSettings, store: VectorStore, vectors: dict[str, Vectors], questions: int) -> None:
    embedders = {name: HttpEmbedder(one) for name, one in settings.embedders.items()}
    spans = InMemorySpanExporter()
    tracer = tracer_to(SimpleSpanProcessor(spans))
    arms = {
        "sequential": replace(settings, path=replace(PATH, retrieval="sequential")),
        "parallel": replace(settings, path=PATH),
    }
    whole_s: dict[str, list[float]] = {arm: [] for arm in arms}
    recall: dict[str, list[float]] = {arm: [] for arm in arms}
    steps_s: dict[str, dict[str, list[float]]] = {arm: defaultdict(list) for arm in arms}
    for number in range(-3, questions):
        for arm, chosen in arms.items():
            question = f"{name} {arm} {number}"
            spans.clear()
            began = time.perf_counter()
            hits = retrieve(question, chosen, embedders, store, tracer, USER)
            took_s = time.perf_counter() - began
            if number < 0:  # the first ones open connections and read the vectors
                continue
            whole_s[arm].append(took_s)
            right = exact(question, settings, vectors)
            recall[arm].append(len(right & {hit.chunk.text for hit in hits}) / len(right))
            for span in spans.get_finished_spans():
                told = span.attributes
                part = told.get("db.collection.name") or told.get("gen_ai.request.model") or ""
                steps_s[arm][f"{span.name} {part}".strip()].append((span.end_time - span.start_time) / 1e9)
    alone = {step: values for step, values in steps_s["sequential"].items() if step.split()[0] in ("embed", "search")}
    slowest = max(alone, key=lambda step: float(np.median(alone[step])))
    print(f"\n{name}, {questions} questions each way")
    for step, values in alone.items():
        at_once = np.median(steps_s["parallel"][step])
        print(f"  {step:22} alone {np.median(values) * 1e3:6.1f} ms, at once {at_once * 1e3:6.1f} ms")
    for arm, values in whole_s.items():
        told = f"whole, {arm}"
        print(f"  {told:22} {np.median(values) * 1e3:12.1f} ms, recall@8 {np.mean(recall[arm]):.3f}")
    print(f"  sequential / parallel: {_told(effect(whole_s['parallel'], whole_s['sequential']))} (3 or more is wanted)")
    ratio = _told(effect(alone[slowest], whole_s["parallel"]))
    print(f"  parallel / slowest step ({slowest}): {ratio} (1.3 or less is wanted)")
    one_by_one, at_once, step_s = (
        np.quantile(values, 0.1) for values in (whole_s["sequential"], whole_s["parallel"], alone[slowest])
    )
    print(f"  of the quietest tenth: {one_by_one / at_once:.2f} and {at_once / step_s:.2f}", flush=True)


def _told(found: Effect) -> str:
    if found.ratio is None:
        return "not enough data"
    return f"{found.ratio.value:.2f} ({found.ratio.low:.2f} to {found.ratio.high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=int, nargs="?", default=50_000)
    parser.add_argument("--questions", type=int, default=20, help="of each arm, for each store and pair of times")
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    service, chroma = free_port(), free_port()
    url = f"http://127.0.0.1:{service}"
    with tempfile.TemporaryDirectory() as name, running([__file__, "--serve", str(service)], url):
        settings = [_settings(url, small_ms, large_ms) for small_ms, large_ms in TIMES_MS]
        vectors = {
            one.name: around(DIMENSIONS[one.embedder], list(np.arange(given.vectors // 5) % CLUSTERS), seed)
            for seed, one in enumerate(settings[0].collections)
        }
        server = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', 'run', *sys.argv[1:]])"
        command = ["-c", server, "--path", f"{name}/chroma", "--host", "127.0.0.1", "--port", str(chroma)]
        address = f"http://127.0.0.1:{chroma}"
        with running(command, f"{address}/api/v2/heartbeat"):
            opened: list[Callable[[], VectorStore]] = [
                lambda: open_store(StoreSettings(path=f"{name}/kept.duckdb")),
                lambda: open_store(StoreSettings("chroma", url=address, timeout_s=60.0)),
            ]
            for open_one in opened:
                store = open_one()
                began = time.perf_counter()
                fill(store, settings[0], vectors)
                told = f"{store.system}: {given.vectors:,} vectors in five collections"
                print(f"\n{told}, taken in within {time.perf_counter() - began:.0f} s", flush=True)
                for times_ms, one in zip(TIMES_MS, settings, strict=True):
                    times = f"embedders of {times_ms[0]} and {times_ms[1]} ms"
                    compare(f"{store.system}, {times}", one, store, vectors, given.questions)
                store.close()


def _settings(url: str, small_ms: int, large_ms: int) -> RagSettings:
    embedders = {
        name: EmbedderSettings("http", name, DIMENSIONS[name], f"{url}/{DIMENSIONS[name]}/{ms}/embed", 2.0)
        for name, ms in (("small", small_ms), ("large", large_ms))
    }
    return RagSettings(embedders=embedders, path=PATH)


if __name__ == "__main__":
    main()
