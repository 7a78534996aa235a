"""The trace and the store's lock survive a fork, and a trace that cannot be written breaks no answer."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from warmstall.rag.stores import duckdb_store
from warmstall.rag.tracing import TraceFile, tracer_to


def in_a_child_forked_while_held(
    lock: Callable[[], threading.Lock | threading.RLock], work: Callable[[], object]
) -> int:
    """The exit code of a child that does the work, forked while another thread holds the lock; it may take 20 s."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock():
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        if not (child := os.fork()):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        done.set()
        holder.join()


def test_a_lock_that_is_held_at_a_fork_does_not_hang_the_child(tmp_path: Path) -> None:
    trace = TraceFile(tmp_path / "trace.jsonl")
    tracer = tracer_to(trace)
    assert in_a_child_forked_while_held(lambda: trace._lock, lambda: tracer.start_span("question").end()) == 0
    assert '"question"' in trace.path.read_text()

    def write() -> None:
        with duckdb_store._writing:
            pass

    assert in_a_child_forked_while_held(lambda: duckdb_store._writing, write) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is Linux's /dev/full")
def test_a_full_disk_breaks_no_question(tmp_path: Path) -> None:
    trace = TraceFile(Path("/dev/full"))
    tracer = tracer_to(trace)
    for _ in range(2):
        with tracer.start_as_current_span("question"):
            pass
    assert isinstance(trace.problem, OSError)


def test_a_closed_file_breaks_no_question(tmp_path: Path) -> None:
    trace = TraceFile(tmp_path / "trace.jsonl")
    tracer = tracer_to(trace)
    trace.shutdown()
    with tracer.start_as_current_span("question"):
        pass
    assert isinstance(trace.problem, ValueError)
