"""A drill under load: many streams at once, a queue that is full, models that take turns, times that run out."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from warmstall.drill.eras import ERAS
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable

from .awaiting import PATIENCE_S, until

every_version = pytest.mark.parametrize("version", list(ERAS))
STREAMS, TOKENS = 50, 64
BUSY = {"error": "server busy, please try again.  maximum pending requests exceeded"}


def asking(server: DrillServer, at_once: int = 1) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=at_once)
    return httpx.AsyncClient(base_url=server.url, timeout=4 * PATIENCE_S, trust_env=False, verify=False, limits=limits)


def body(model: str, tokens: int = 3, **more: Any) -> dict[str, Any]:
    options = {"num_predict": tokens, **more.pop("options", {})}
    return {"model": model, "prompt": "why?", "stream": False, "options": options, **more}


def generate(server: DrillServer, model: str, **more: Any) -> dict[str, Any]:
    asked = httpx.post(
        f"{server.url}/api/generate", json=body(model, **more), timeout=PATIENCE_S, trust_env=False, verify=False
    )
    asked.raise_for_status()
    return dict(asked.json())


def resident(server: DrillServer) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{server.url}/api/ps", timeout=PATIENCE_S, trust_env=False, verify=False)
    return {model["name"]: model for model in answer.json()["models"]}


async def stream(client: httpx.AsyncClient, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    async with client.stream("POST", path, json={**asked, "stream": True}) as answer:
        assert answer.status_code == 200
        return [json.loads(line) async for line in answer.aiter_lines()]


@every_version
def test_fifty_streams_at_once_all_end_whole(tmp_path: Path, version: str) -> None:
    async def ask(server: DrillServer) -> list[list[dict[str, Any]]]:
        async with asking(server, STREAMS) as client:
            asked = body("mid", TOKENS)
            return await asyncio.gather(*(stream(client, "/api/generate", asked) for _ in range(STREAMS)))

    with DrillServer(tmp_path, version=version, environment={"OLLAMA_NUM_PARALLEL": str(STREAMS)}) as server:
        answers = asyncio.run(ask(server))
        truth = [json.loads(line) for line in server.truth.read_text().splitlines()]
        access = server.log.read_text().count('"/api/generate"')
    written = TOKENS + 1 if version == "0.3.14" else TOKENS
    for lines in answers:
        assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
        assert lines[-1]["eval_count"] == written
        assert len("".join(line["response"] for line in lines).split()) == written
    assert len(answers) == access == len(truth) == STREAMS
    assert {row["outcome"] for row in truth} == {"done"}
    assert sum(row["spawned"] for row in truth) == 1, "one load for all of them"


def test_fifty_streams_on_one_slot_come_one_after_the_other(tmp_path: Path) -> None:
    async def ask(server: DrillServer) -> list[list[dict[str, Any]]]:
        async with asking(server, STREAMS) as client:
            chat = {**body("tiny", 20), "messages": [{"role": "user", "content": "why?"}]}
            return await asyncio.gather(*(stream(client, "/api/chat", chat) for _ in range(STREAMS)))

    with DrillServer(tmp_path, environment={"OLLAMA_NUM_PARALLEL": "1"}) as server:
        answers = asyncio.run(ask(server))
    assert [lines[-1]["eval_count"] for lines in answers] == [20] * STREAMS


def slow_load(folder: Path) -> Path:
    path = folder / "timetable.json"
    Timetable(time.time(), (Fault("slow_load", "mid", intensity=5.0),)).save(path)
    return path


async def refused_and_served(
    server: DrillServer, first: int, then: int
) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Some at once, and as many more when the load that they caused has begun."""
    async with asking(server, first + then) as client:

        def ask(count: int) -> list[asyncio.Task[httpx.Response]]:
            return [asyncio.create_task(client.post("/api/generate", json=body("mid"))) for _ in range(count)]

        begun = ask(first)
        await asyncio.to_thread(until, server.runner_pids)
        answers = await asyncio.gather(*begun, *ask(then))
    return [each for each in answers if each.status_code == 503], [each for each in answers if each.status_code == 200]


@every_version
def test_a_full_queue_refuses_while_a_model_loads(tmp_path: Path, version: str) -> None:
    """One loads, two wait in the queue, the rest is refused; the oldest version may hold one more in its hand."""
    environment = {"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_MAX_QUEUE": "2"}
    timetable = slow_load(tmp_path)
    with DrillServer(tmp_path / "drill", version=version, environment=environment, timetable=timetable) as server:
        refused, served = asyncio.run(refused_and_served(server, first=1, then=11))
        log = server.log.read_text()
    assert len(served) in ((3, 4) if version == "0.3.14" else (3,))
    assert len(refused) == 12 - len(served) == log.count("| 503 |")
    assert [answer.json() for answer in refused] == [BUSY] * len(refused)
    assert min(answer.json()["load_duration"] for answer in served) > 2e9, "who waits for a load tells it as his"


def test_twelve_at_once_on_a_cold_server(tmp_path: Path) -> None:
    """The first goes past the queue to a scheduler that has nothing to do: 3 served, as real servers did."""
    environment = {"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_MAX_QUEUE": "2"}
    timetable = slow_load(tmp_path)
    with DrillServer(tmp_path / "drill", environment=environment, timetable=timetable) as server:
        refused, served = asyncio.run(refused_and_served(server, first=12, then=0))
    assert (len(served), len(refused)) == (3, 9)


def test_a_warm_model_is_not_bound_by_the_queue(tmp_path: Path) -> None:
    async def ask(server: DrillServer) -> list[int]:
        async with asking(server, 12) as client:
            asked = [client.post("/api/generate", json=body("mid", 30)) for _ in range(12)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    environment = {"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_MAX_QUEUE": "2"}
    with DrillServer(tmp_path, environment=environment) as server:
        generate(server, "mid")
        assert asyncio.run(ask(server)) == [200] * 12


@every_version
def test_one_model_at_most_makes_the_other_leave(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version, environment={"OLLAMA_MAX_LOADED_MODELS": "1"}) as server:
        for model in ("tiny", "tiny2", "tiny"):
            before = server.runner_pids()
            generate(server, model)
            assert list(resident(server)) == [f"{model}:latest"]
            (pid,) = server.runner_pids()
            assert pid not in before


def test_a_model_that_is_used_leaves_when_its_answer_is_whole(tmp_path: Path) -> None:
    async def ask(server: DrillServer) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with asking(server, 2) as client:
            first = asyncio.create_task(stream(client, "/api/generate", body("mid", 200)))
            await asyncio.to_thread(until, lambda: "mid:latest" in resident(server))
            second = await client.post("/api/generate", json=body("tiny"))
            return await first, second.json()

    with DrillServer(tmp_path, environment={"OLLAMA_MAX_LOADED_MODELS": "1"}) as server:
        first, second = asyncio.run(ask(server))
        assert (first[-1]["done"], first[-1]["eval_count"]) == (True, 200)
        assert second["done"] is True
        assert list(resident(server)) == ["tiny:latest"]


@every_version
def test_another_context_loads_the_model_anew(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server:
        pids = []
        for num_ctx in (1024, 1024, 2048, 1024):
            generate(server, "tiny", options={"num_ctx": num_ctx})
            pids += server.runner_pids()
            told = resident(server)["tiny:latest"]
            assert told.get("context_length", num_ctx) == num_ctx
        one, same, two, three = pids
        assert one == same
        assert len({one, two, three}) == 3


@every_version
def test_keep_alive_runs_out(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version, environment={"OLLAMA_KEEP_ALIVE": "1s"}) as server:
        generate(server, "tiny")
        generate(server, "tiny2", keep_alive="5m")
        runners = {process.pid: process for process in map(psutil.Process, server.runner_pids())}
        until(lambda: "tiny:latest" not in resident(server))
        until(lambda: len(server.runner_pids()) == 1)
        assert list(resident(server)) == ["tiny2:latest"]
        assert server.runner_pids()[0] in runners
        generate(server, "tiny", keep_alive="1s")
        generate(server, "tiny2", keep_alive=1)
        until(lambda: resident(server) == {})
        until(lambda: server.runner_pids() == [])


def test_a_client_that_goes_frees_its_slot(tmp_path: Path) -> None:
    with DrillServer(tmp_path, environment={"OLLAMA_NUM_PARALLEL": "1"}) as server:
        with (
            httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False, verify=False) as client,
            client.stream("POST", "/api/generate", json={**body("mid", 100_000), "stream": True}) as answer,
        ):
            next(answer.iter_lines())
        assert generate(server, "mid")["done"] is True
        rows = [json.loads(line) for line in server.truth.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["aborted", "done"]
