"""A traceback of many lines is one exception, and one bug has one fingerprint."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import multiprocessing
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.traceback_block import Traceback
from warmstall.parse.tracebacks import fold, has_traceback

FRAMES = '  File "/srv/rag/store.py", line 40, in load\n    return open(path)\n           ^^^^^^^^^^\n'
PLAIN = f"Traceback (most recent call last):\n{FRAMES}FileNotFoundError: [Errno 2] no index"


def found(text: str, start: int = 0) -> Traceback:
    traced = fold(text.split("\n"), start)
    assert traced is not None
    return traced


def printed(function: Callable[[], object]) -> str:
    """What this Python prints for the exception that a function raises."""
    try:
        function()
    except BaseException:
        return traceback.format_exc().rstrip("\n")
    raise AssertionError("it did not raise")


def lookup(key: str = "missing") -> object:
    return {}[key]


def chained() -> None:
    try:
        lookup()
    except KeyError as error:
        raise RuntimeError("no index") from error


def in_context() -> None:
    try:
        lookup()
    except KeyError:
        raise ValueError  # noqa: B904


def deep(depth: int) -> object:
    return lookup() if depth == 0 else deep(depth - 1)


def group(errors: int = 2) -> None:
    async def fails(number: int) -> None:
        raise ConnectionError(f"refused {number}")

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
            for number in range(errors):
                tasks.create_task(fails(number))

    asyncio.run(main())


def nested_group() -> None:
    def raised(error: Exception) -> Exception:
        try:
            raise error
        except Exception as same:
            return same

    inner = ExceptionGroup("inner", [raised(TypeError("t")), KeyError("never raised")])
    raise ExceptionGroup("outer", [raised(ValueError("v")), inner, raised(OSError("o"))])


def test_frames_are_innermost_first_with_file_line_and_function():
    traced = found(printed(lambda: deep(0)))
    assert (traced.exception, traced.message) == ("KeyError", "'missing'")
    first, second = traced.frames[:2]
    assert (first.function, second.function) == ("lookup", "deep")
    assert first.file == __file__
    assert first.line == lookup.__code__.co_firstlineno + 1


def test_the_end_is_behind_the_exception():
    assert found(f"{PLAIN}\nnext line").end == 5


def test_what_was_raised_in_the_end_stands_first_and_keeps_its_causes():
    traced = found(printed(chained))
    assert (traced.exception, traced.message, traced.frames[0].function) == ("RuntimeError", "no index", "chained")
    assert [(relation, cause.exception) for relation, cause in traced.causes] == [("cause", "KeyError")]
    assert [(relation, cause.exception) for relation, cause in found(printed(in_context)).causes] == [
        ("context", "KeyError")
    ]


def test_a_chain_of_three_names_the_nearest_cause_first():
    def outer() -> None:
        try:
            chained()
        except RuntimeError as error:
            raise ConnectionError("gave up") from error

    text = printed(outer)
    traced = found(text)
    assert [cause.exception for _, cause in traced.causes] == ["RuntimeError", "KeyError"]
    assert traced.end == len(text.split("\n"))


@pytest.mark.parametrize(
    ("function", "members"),
    [
        (group, ["ConnectionError", "ConnectionError"]),
        (nested_group, ["ValueError", "TypeError", "KeyError", "OSError"]),
    ],
)
def test_an_exception_group_is_taken_whole(function, members):
    text = printed(function)
    traced = found(text)
    assert traced.exception == "ExceptionGroup"
    assert traced.end == len(text.split("\n"))
    assert [member.exception for member in traced.members] == members


def test_how_many_members_failed_alike_does_not_matter():
    assert found(printed(lambda: group(3))).fingerprint == found(printed(lambda: group(5))).fingerprint


def test_a_group_can_be_a_cause():
    def outer() -> None:
        try:
            nested_group()
        except ExceptionGroup as error:
            raise RuntimeError("a task failed") from error

    text = printed(outer)
    traced = found(text)
    assert traced.exception == "RuntimeError"
    assert [cause.exception for _, cause in traced.causes] == ["ExceptionGroup"]
    assert len(traced.causes[0][1].members) == 4
    assert traced.end == len(text.split("\n"))


def test_a_syntax_error_names_the_file_that_has_it():
    traced = found(printed(lambda: compile("x = (\n def f(:\n", "settings.py", "exec")))
    assert traced.exception == "SyntaxError"
    assert (traced.frames[0].file, traced.frames[0].line) == ("settings.py", 2)


@pytest.mark.parametrize("name", ["indexer", "Thread-7 (embed)"])
def test_a_thread_is_named(name):
    printed_by_thread = io.StringIO()
    with contextlib.redirect_stderr(printed_by_thread):
        hook, threading.excepthook = threading.excepthook, threading.__excepthook__
        try:
            thread = threading.Thread(target=lookup, name=name)
            thread.start()
            thread.join()
        finally:
            threading.excepthook = hook
    traced = found(printed_by_thread.getvalue())
    assert traced.thread == name
    assert traced.frames[0].function == "lookup"


def test_what_stands_in_front_of_a_traceback_belongs_to_it():
    for intro in (
        "Exception ignored in: <function Store.__del__ at 0x7f00>",
        "Process SpawnProcess-1:",
        "Task exception was never retrieved\nfuture: <Task finished name='Task-5' coro=<f()> exception=KeyError()>",
        "Exception in callback poll() at /srv/rag/poll.py:3\nhandle: <Handle poll()>",
    ):
        traced = found(f"{intro}\n{PLAIN}")
        assert traced.intro == intro.split("\n")[0]
        assert traced.exception == "FileNotFoundError"
        assert traced.thread == ""


def test_an_exception_of_another_process_keeps_both_halves():
    def outer() -> None:
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(int, "seven").result()

    text = printed(outer)
    traced = found(text)
    assert traced.exception == "ValueError"
    assert [cause.exception for _, cause in traced.causes] == ["ValueError"]
    assert traced.end == len(text.split("\n"))


def test_a_dump_of_faulthandler_names_the_signal_and_the_thread_that_failed():
    code = "import ctypes, threading, time\n"
    code += "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    code += "def embed(): ctypes.string_at(0)\nembed()"
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True)
    traced = found(done.stderr.rstrip("\n"))
    assert (traced.exception, traced.signal) == ("Fatal Python error: Segmentation fault", "SIGSEGV")
    assert [frame.function for frame in traced.frames] == ["string_at", "embed", "<module>"]
    assert traced.end == len(done.stderr.rstrip("\n").split("\n"))


def test_a_later_dump_is_told_from_what_follows_it():
    text = "Fatal Python error: Aborted\n\nCurrent thread 0x00007f00 [python] (most recent call first):\n"
    text += '  File "/srv/rag/store.py", line 3 in load\n\nExtension modules: numpy (total: 1)\n\nnext'
    traced = found(text)
    assert (traced.signal, traced.end) == ("SIGABRT", 6)


@pytest.mark.parametrize("prefix", ["ERROR    ", "[12:00:00] web.1  | ", "09:00:07 "])
def test_a_prefix_on_every_line_is_taken_off(prefix):
    lines = [prefix + line for line in PLAIN.split("\n")]
    lines[1:] = [line.replace("07", "08") for line in lines[1:]]  # a time in it moves on
    traced = found("\n".join(lines))
    assert (traced.exception, traced.frames[0].function, traced.end) == ("FileNotFoundError", "load", 5)


def test_a_head_on_the_first_line_alone_is_taken_off():
    assert found(f"ERROR:    {PLAIN}").frames[0].function == "load"


def test_the_lines_that_loguru_leaves_empty_are_no_end():
    text = (
        'Traceback (most recent call last):\n\n  File "/srv/a.py", line 1, in <module>\n    run()\n    └ <function>\n\n'
    )
    text += '> File "/srv/a.py", line 9, in run\n    1 / 0\n\nZeroDivisionError: division by zero'
    traced = found(text)
    assert (traced.exception, [frame.function for frame in traced.frames]) == ("ZeroDivisionError", ["run", "<module>"])


def test_lines_of_the_message_belong_to_it_and_other_output_does_not():
    text = f"{PLAIN}\nollama_url\n  Field required [type=missing]\nsomething else was printed"
    traced = found(text)
    assert traced.message == "[Errno 2] no index\nollama_url\nField required [type=missing]"
    assert text.split("\n")[traced.end] == "something else was printed"


def test_a_record_ends_a_traceback_that_was_cut():
    text = f"Traceback (most recent call last):\n{FRAMES}INFO:     Started server process [7]"
    traced = fold(text.split("\n"), 0, lambda line: line.startswith("INFO:"))
    assert traced is not None
    assert (traced.exception, len(traced.frames), traced.end) == ("", 1, 4)


# --- fingerprints ---------------------------------------------------------------------------------------------------


def test_another_line_folder_message_or_address_is_the_same_bug():
    other = PLAIN.replace("line 40", "line 44").replace("/srv/rag/", "C:\\app\\").replace("no index", "at 0x7f3a")
    assert found(other).fingerprint == found(PLAIN).fingerprint


@pytest.mark.parametrize(("old", "new"), [("FileNotFoundError", "PermissionError"), ("in load", "in save"),
                                          ("store.py", "stock.py")])  # fmt: skip
def test_another_exception_function_or_file_is_another_bug(old, new):
    assert found(PLAIN.replace(old, new)).fingerprint != found(PLAIN).fingerprint


def test_how_deep_a_recursion_went_does_not_matter():
    prints = {found(printed(lambda depth=depth: deep(depth))).fingerprint for depth in (0, 1, 9, 200)}
    assert len(prints) == 1
    assert "Previous line repeated" in printed(lambda: deep(200))


def test_another_cause_is_another_bug():
    assert found(printed(chained).replace("KeyError", "IndexError")).fingerprint != found(printed(chained)).fingerprint


# --- what is none ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\nx y",
        "The log says 'Traceback (most recent call last):' and then stops.",
        "Exception in thread main:\nnothing",
        "Fatal: not a dump",
    ],
)
def test_what_is_no_traceback_is_none(text):
    assert fold(text.split("\n"), 0) is None
    assert not has_traceback(text.split("\n"))


PIECES = st.sampled_from(
    [
        *PLAIN.split("\n"),
        "",
        "  + Exception Group Traceback (most recent call last):",
        "  | ValueError: 1",
        "    | | + x",
        "  +-+---------------- 1 ----------------",
        "    +------------------------------------",
        "Fatal Python error: Aborted",
        "Current thread 0x0 (most recent call first):",
        "The above exception was the direct cause of the following exception:",
        "  [Previous line repeated 9 more times]",
        "Exception in thread x:",
        "RemoteTraceback: ",
        '"""',
        "\ud800: \0",
        " " * 600,
        " | " * 90 + "+ Exception Group Traceback (most recent call last):",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES | st.text(max_size=30), max_size=25))
def test_any_lines_can_be_folded(lines):
    for start in range(len(lines)):
        traced = fold(lines, start)
        if traced is not None:
            assert start < traced.end <= len(lines)
            assert re.fullmatch("[0-9a-f]{16}", traced.fingerprint)


@pytest.mark.parametrize("header", ["  Traceback (most recent call last):",
                                    "  + Exception Group Traceback (most recent call last):"])  # fmt: skip
def test_headers_without_an_end_are_none(header):
    lines = [header, "  |   x" if "+" in header else "    x"] * 20_000
    assert all(fold(lines, start) is None for start in range(0, len(lines), 2))
