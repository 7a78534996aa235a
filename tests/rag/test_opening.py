"""One embedder for all threads of a process and one for each process; and what happens where there is no lock."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from warmstall.analysis import analyze
from warmstall.errors import StepFailed
from warmstall.hypotheses.facts import Facts
from warmstall.hypotheses.judging import judge_one
from warmstall.rag.embedders import opening
from warmstall.rag.embedders.opening import forget, open_embedder
from warmstall.rag.parts import Embedder
from warmstall.rag.settings import EmbedderSettings

SETTINGS = EmbedderSettings("two-phase", dimensions=64)
TEXTS = ["a runner stalls although it is warm", "quarterly sales by region"]
THREADS, PROCESSES = 32, 8


@pytest.fixture(autouse=True)
def not_yet_loaded() -> None:
    for settings in (SETTINGS, replace(SETTINGS, lock=False)):
        forget(settings)


def raced(settings: EmbedderSettings, threads: int = THREADS) -> tuple[list[Embedder], list[StepFailed]]:
    """What so many threads got that asked for the embedder at one moment."""
    barrier = threading.Barrier(threads)

    def first_use() -> Embedder | StepFailed:
        barrier.wait(30)
        try:
            embedder = open_embedder(settings)
            embedder.embed(TEXTS)
            return embedder
        except StepFailed as failed:
            return failed

    with ThreadPoolExecutor(threads) as pool:
        got = [future.result(30) for future in [pool.submit(first_use) for _ in range(threads)]]
    failures = [one for one in got if isinstance(one, StepFailed)]
    return [one for one in got if not isinstance(one, StepFailed)], failures


def loads_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "load of embedder" in record.getMessage()]


def test_32_threads_at_the_first_use_share_one_load(caplog: pytest.LogCaptureFixture) -> None:
    embedders, failures = raced(SETTINGS)
    assert not failures
    assert len({id(embedder) for embedder in embedders}) == 1
    assert len(loads_in(caplog)) == 1


def test_without_the_lock_threads_take_empty_models_from_each_other(caplog: pytest.LogCaptureFixture) -> None:
    """As PyTorch's users see it; the reason stands in the log once for each failure, with its thread."""
    embedders, failures = raced(replace(SETTINGS, lock=False), 8)
    assert failures
    assert embedders
    assert isinstance(failures[0].__cause__, NotImplementedError)
    assert str(failures[0].__cause__) == "Cannot copy out of meta tensor; no data!"
    failed = [record for record in loads_in(caplog) if record.exc_info]
    assert len(failed) == len(failures)
    assert all(f"in thread {record.threadName}" in record.getMessage() for record in failed)


def test_what_failed_can_be_loaded_later() -> None:
    raced(replace(SETTINGS, lock=False), 4)
    forget(SETTINGS)
    assert open_embedder(SETTINGS).embed(TEXTS).shape == (2, 64)


def test_8_forked_workers_load_one_each_and_answer_the_same(tmp_path: Path) -> None:
    """Also where a thread of the parent is in the midst of a load at the fork, and holds the lock."""
    loading = threading.Thread(target=open_embedder, args=(SETTINGS,))
    loading.start()
    children = [_forked(tmp_path / f"{number}.json") for number in range(PROCESSES)]
    loading.join()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * PROCESSES
    wanted = open_embedder(SETTINGS).embed(TEXTS)
    for number in range(PROCESSES):
        told = json.loads((tmp_path / f"{number}.json").read_text())
        assert told["error"] == ""
        assert told["own_loads"] == 1
        assert np.array_equal(np.array(told["vectors"], np.float32), wanted)


def _forked(told: Path) -> int:
    """A worker in which four threads use the embedder at once; it writes what came of it."""
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)  # a worker that waits for a lock of its parent waits for ever
    found: dict[str, object] = {"error": ""}
    try:
        embedders, failures = raced(SETTINGS, 4)
        own = [embedder for (process, _), embedder in opening._opened.items() if process == os.getpid()]
        found["own_loads"] = len({id(embedder) for embedder in own} & {id(embedder) for embedder in embedders})
        found["error"] = "; ".join(map(str, failures))
        found["vectors"] = embedders[0].embed(TEXTS).tolist()
    except BaseException:
        found["error"] = traceback.format_exc()
    finally:
        told.write_text(json.dumps(found))
        os._exit(0)


def test_a_failed_load_is_not_kept() -> None:
    settings = EmbedderSettings("sentence-transformers", model="m")
    for _ in range(2):
        with pytest.raises(StepFailed, match="pip install"):
            open_embedder(settings)


def test_the_race_is_proven_from_the_applications_log(tmp_path: Path) -> None:
    """In the format of a reproduction's log, each failure counted once though whoever called logs it again."""
    log = tmp_path / "host" / "application.log"
    log.parent.mkdir()
    handler = logging.FileHandler(log)
    line = "%(asctime)s.%(msecs)03d+00:00 %(levelname)s [%(threadName)s] %(name)s %(message)s"
    handler.setFormatter(written := logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    written.converter = time.gmtime
    logger = logging.getLogger("warmstall.rag")
    logger.addHandler(handler)
    try:
        _, failures = raced(replace(SETTINGS, lock=False), 4)
        for failure in failures:
            logger.error("question failed", exc_info=failure)
    finally:
        logger.removeHandler(handler)
        handler.close()
    judged = judge_one(Facts(analyze(tmp_path)), "embedder_race")
    assert judged.state == "confirmed"
    loads = f"{len(failures)} load{'s' * (len(failures) > 1)} of a model"
    assert any(item.sentence.startswith(loads) for item in judged.supporting), judged.supporting
    assert "another thread loaded the embedder at the same time (" in judged.supporting[0].sentence
