"""How a drill's server compares with a bare one, in one run: `python benchmarks/drill.py [ROUNDS]`.

The bare server is uvicorn and starlette, one route, which streams as many lines and thinks nothing. Two figures of
each: seconds from the start of the process to its first answer, and seconds for 50 streams of 64 tokens at once.
Seconds depend on the machine, ratios hardly do. Each stream must end whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from warmstall.drill.eras import DEFAULT_VERSION
from warmstall.drill.runner import free_port
from warmstall.drill.server_process import DrillServer

STREAMS, TOKENS = 50, 64
BARE = f"""
import sys, json, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

async def version(request):
    return JSONResponse({{"version": "bare"}})

async def generate(request):
    await request.json()
    async def lines():
        for n in range({TOKENS}):
            yield json.dumps({{"response": "word", "done": n == {TOKENS} - 1, "eval_count": {TOKENS}}}) + "\\n"
    return StreamingResponse(lines())

app = Starlette(routes=[Route("/api/version", version), Route("/api/generate", generate, methods=["POST"])])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
"""


@contextmanager
def drill(folder: Path) -> Iterator[str]:
    environment = {"OLLAMA_NUM_PARALLEL": str(STREAMS)}
    with DrillServer(folder, version=DEFAULT_VERSION, environment=environment) as server:
        yield server.url


@contextmanager
def bare(folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSTARTUP"}
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)], env=environment)
    try:
        while True:
            try:
                httpx.get(f"{url}/api/version", timeout=2.0, trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None:
                    raise
                time.sleep(0.02)  # as DrillServer asks
        yield url
    finally:
        process.terminate()
        process.wait()


async def streams(url: str, count: int) -> list[dict[str, object]]:
    """The last lines of that many streams, asked for at once."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(timeout=300.0, trust_env=False, limits=limits) as client:

        async def one() -> dict[str, object]:
            body = {"model": "tiny", "prompt": "why is the sky blue?", "options": {"num_predict": TOKENS}}
            async with client.stream("POST", f"{url}/api/generate", json=body) as answer:
                *_, last = [json.loads(line) async for line in answer.aiter_lines()]
                return last

        return await asyncio.gather(*(one() for _ in range(count)))


def main(rounds: int) -> int:
    starts: dict[str, list[float]] = {"drill": [], "bare": []}
    answers: dict[str, list[float]] = {"drill": [], "bare": []}
    for number in range(rounds):  # interleaved, so that a busy moment hits both
        for name, server in (("bare", bare), ("drill", drill)):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                with server(Path(folder)) as url:
                    starts[name].append(time.perf_counter() - began)
                    asyncio.run(streams(url, 1))  # the model is in memory
                    began = time.perf_counter()
                    lasts = asyncio.run(streams(url, STREAMS))
                    answers[name].append(time.perf_counter() - began)
            broken = [last for last in lasts if last.get("done") is not True or last.get("eval_count") != TOKENS]
            if broken:
                print(f"{name}, round {number + 1}: a stream did not end whole: {broken[0]}", file=sys.stderr)
                return 1
    print(f"{rounds} rounds on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; best and median seconds")
    for title, taken in (("start to first answer", starts), (f"{STREAMS} streams x {TOKENS} tokens", answers)):
        for name, seconds in taken.items():
            ratio = min(seconds) / min(taken["bare"])
            print(f"{title:26} {name:6} {min(seconds):7.2f} {statistics.median(seconds):7.2f}   x{ratio:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
