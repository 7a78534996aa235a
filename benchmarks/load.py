"""Can one core send 200 calls a second when they are due? `python benchmarks/load.py [--rate 200] [--seconds 15]`.

The generator is `warmstall.reproduce` as it runs for a user: an open loop, streamed calls through the path's inference,
a span and a row written for each. It is pinned to one core, the server to the others: a small server of Ollama's
streamed form, because a drill cannot answer so many (`--drill` asks one all the same). Told are how late calls were
sent, the generator's share of its core, and, as a ratio, the processor time of a call beside that of a bare client:
asyncio and httpx in a closed loop, which writes nothing down. Its calls take turns with the generator's, by rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from warmstall.drill.server_process import DrillServer
from warmstall.rag.settings import InferenceSettings, PathSettings
from warmstall.reproduce.case import ReproductionCase
from warmstall.reproduce.driving import Driven, drive
from warmstall.reproduce.profiles import arrivals_of
from warmstall.reproduce.records import Profile
from warmstall.reproduce.senders import Inferences, call_sender, word_prompts

_PIECES = 16
_FIRST_S, _GAP_S = 0.05, 0.01
_ROUNDS = 3


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One call: its pieces, a line each, at their times."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(_FIRST_S)
        for number in range(_PIECES + 1):
            said = {"model": "tiny", "message": {"role": "assistant", "content": " word"}, "done": number == _PIECES}
            if said["done"]:
                said |= {"done_reason": "stop", "eval_count": _PIECES, "eval_duration": 160_000_000}
            line = json.dumps(said).encode() + b"\n"
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()
            await asyncio.sleep(_GAP_S)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def _small_server() -> Iterator[tuple[str, int]]:
    words = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def _drill(folder: Path) -> Iterator[tuple[str, int]]:
    with DrillServer(folder, environment={"OLLAMA_NUM_PARALLEL": "64", "OLLAMA_MAX_QUEUE": "4096"}) as server:
        yield server.url, server.pid


def _pin(server: int) -> str:
    """This process on one core, the server and its children on the others; how, in words."""
    cores = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else []
    if len(cores) < 2:
        return "nothing is pinned: this machine has one core, or does not pin"
    for process in (psutil.Process(server), *psutil.Process(server).children(recursive=True)):
        process.cpu_affinity(cores[1:])
    os.sched_setaffinity(0, cores[:1])
    return f"the generator on core {cores[0]}, the server on {', '.join(map(str, cores[1:]))}"


def _generate(url: str, profile: Profile, folder: Path) -> Driven:
    """The load as `warmstall reproduce` sends it."""
    inferences = Inferences(InferenceSettings(model="tiny", url=url, options={"num_predict": _PIECES}), 0.15)
    with ReproductionCase(folder, {}) as case:
        send = call_sender(inferences, PathSettings(attempts=1), case.trace(), word_prompts(1))
        driven = drive(arrivals_of(profile), send, case.measurements.append, profile.seconds, threading.Event())
        case.close = lambda: None  # type: ignore[method-assign] # what is looked through afterwards is no part of a load
    return driven


async def _peer(url: str, clients: int, seconds: float) -> tuple[int, float, float]:
    """Calls, processor time and wall time of a bare client in a closed loop."""
    ends, sent = time.monotonic() + seconds, 0
    prompt = {"role": "user", "content": "word " * 100}
    body = {"model": "tiny", "messages": [prompt], "stream": True, "options": {"num_predict": _PIECES}}

    async def client(http: httpx.AsyncClient) -> None:
        nonlocal sent
        while time.monotonic() < ends:
            async with http.stream("POST", "/api/chat", json=body) as response:
                async for line in response.aiter_lines():
                    json.loads(line)
            sent += 1

    cpu_s, began = time.process_time(), time.monotonic()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return sent, time.process_time() - cpu_s, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of all rounds together")
    parser.add_argument("--drill", action="store_true", help="ask a drill's server in place of the small one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(_serve())
        return
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        with _drill(Path(name) / "drill") if asked.drill else _small_server() as (url, server):
            print(f"{asked.rate:g} calls/s of {_PIECES} pieces from {'a drill' if asked.drill else 'a small server'}; "
                  f"{_pin(server)}")  # fmt: skip
            _generate(url, Profile("rate", calls=20, rate_per_s=20), Path(name) / "warm")
            each_s = asked.seconds / _ROUNDS
            profile = Profile("rate", calls=0, rate_per_s=asked.rate, seconds=each_s)
            rounds, ratios, shares, needs = [], [], [], []
            for number in range(_ROUNDS):
                driven = _generate(url, profile, Path(name) / f"round {number}")
                sent, cpu_s, wall_s = asyncio.run(_peer(url, round(asked.rate * 0.25), each_s))
                own_ms, peer_ms = 1e3 * driven.processor_share * driven.wall_s / driven.sent, 1e3 * cpu_s / sent
                rounds.append(driven)
                ratios.append(own_ms / peer_ms)
                shares.append(driven.processor_share)
                needs.append(own_ms / 1e3 * asked.rate)
                late = (driven.late_p50_s, driven.late_p99_s, driven.late_max_s)
                print(f"round {number + 1}: {driven.sent} sent, {driven.failed} failed; late p50, p99, most "
                      f"{', '.join(f'{1e3 * one:.1f}' for one in late)} ms; {driven.processor_share:.0%} of its core, "
                      f"{own_ms:.2f} ms a call; "
                      f"peer {peer_ms:.2f} ms a call at {sent / wall_s:.0f} calls/s")  # fmt: skip
                if driven.bottleneck:
                    print(f"  {driven.bottleneck}")
    print(f"processor time of a call: {statistics.median(ratios):.2f} × the bare client's "
          f"({min(ratios):.2f} to {max(ratios):.2f}); share of the core {statistics.median(shares):.0%}")  # fmt: skip
    print(f"{asked.rate:g} calls/s need {statistics.median(needs):.0%} of a core by that.")
    on_time = sum(not driven.bottleneck for driven in rounds)
    print(f"{asked.rate:g} calls/s were sent on time in {on_time} of {_ROUNDS} rounds.")


if __name__ == "__main__":
    main()
