"""The state machine over log events: what counts as a load, when a model is gone, which lines are one task."""

from __future__ import annotations

from datetime import datetime, timedelta

from warmstall.parse.log_events import event_in
from warmstall.timeline import Event, Timeline, build_timeline, model_key, telling_keys

START = datetime(2026, 1, 1)
BLOB_A = "/m/blobs/sha256-" + "a" * 64
BLOB_B = "/m/blobs/sha256-" + "b" * 64
A, B = model_key(BLOB_A), model_key(BLOB_B)


def lines(*given: tuple[float, str]) -> Timeline:
    """The timeline of log lines, each with its second; the slog head is put before what needs one."""
    events = []
    for number, (second, text) in enumerate(given, 1):
        at = START + timedelta(seconds=second)
        if text.startswith("msg="):
            text = f"time={at.isoformat(timespec='milliseconds')}Z level=INFO source=a.go:1 {text}"
        found = event_in(text)
        assert found, f"no event in {text}"
        events.append(Event("box", "server.log", number, found.key, at, at, found.fields, text))
    return build_timeline(events)


def spawn(blob: str, port: int = 1) -> str:
    return f'msg="starting runner" cmd="/usr/bin/ollama runner --model {blob} --port {port}"'


def started(seconds: float) -> str:
    return f'msg="llama runner started in {seconds:.2f} seconds"'


def test_lines_that_tell_nothing_without_another_change_nothing_without_it() -> None:
    """A model's file is named for engines inside the server, a load begins anew where others had to leave for it."""
    loading = 'msg="loading model" "model layers"=9 requested=-1'
    file = (
        f"llama_model_loader: loaded meta data with 23 key-value pairs and 75 tensors from {BLOB_B} (version GGUF V3)"
    )
    ready = (9, started(9))

    assert telling_keys({"runner_spawn", "loading_model", "model_file", "load_done", "no_key"}) == {
        "runner_spawn", "load_done"}  # fmt: skip
    assert lines((0, spawn(BLOB_A)), ready, (1, loading), (2, file)) == lines((0, spawn(BLOB_A)), ready)
    for key, began in (("model_file", "engine1_load"), ("loading_model", "evict_reason_mem")):
        assert telling_keys({key, began}) == {key, began}


def test_gpu_discovery_is_not_a_load() -> None:
    """A "starting runner" without a model looks for GPUs."""
    timeline = lines((0, 'msg="starting runner" cmd="/usr/bin/ollama runner --ollama-engine --port 4294"'))

    assert timeline.loads == []


def test_the_second_started_line_is_the_same_load() -> None:
    """Newer engines print the line twice; the first value counts."""
    timeline = lines((0, spawn(BLOB_A)), (0.81, started(0.81)), (0.83, started(0.83)))

    assert [(load.model, load.load_s, load.outcome) for load in timeline.loads] == [(A, 0.81, "completed")]


def test_two_loads_that_overlap_are_told_apart_by_their_beginning() -> None:
    """The seconds in the line say which spawn it belongs to, not the order of the lines."""
    timeline = lines((0, spawn(BLOB_A)), (5, spawn(BLOB_B)), (7, started(2.0)), (10, started(10.0)))

    assert {load.model: load.load_s for load in timeline.loads} == {A: 10.0, B: 2.0}


def test_a_load_whose_client_left_is_abandoned_once() -> None:
    """The warning and the error that follows it are one abandoned load."""
    timeline = lines(
        (0, spawn(BLOB_A)),
        (2, 'msg="client connection closed before server finished loading, aborting load"'),
        (2.1, 'msg="error loading llama server" error="timed out waiting for llama runner to start: context canceled"'),
    )

    assert [load.outcome for load in timeline.loads] == ["abandoned"]


def test_a_load_that_stands_still_times_out() -> None:
    timeline = lines(
        (0, spawn(BLOB_A)),
        (
            300,
            'msg="error loading llama server" error="timed out waiting for llama runner to start - progress 0.41 - "',
        ),
    )

    assert [load.outcome for load in timeline.loads] == ["timed_out"]


def test_a_failure_of_another_model_is_a_load_of_its_own() -> None:
    """A model that is refused before its runner is spawned does not end the load of another."""
    timeline = lines(
        (0, spawn(BLOB_A)),
        (0.5, f'msg="NewLlamaServer failed" model={BLOB_B} error="model requires more system memory"'),
        (1, started(1.0)),
    )

    assert sorted((load.model, load.outcome) for load in timeline.loads) == [(A, "completed"), (B, "failed")]


def test_a_model_that_is_spawned_again_had_left_memory() -> None:
    timeline = lines((0, spawn(BLOB_A)), (1, started(1.0)), (60, spawn(BLOB_A)), (61, started(1.0)))

    first, second = timeline.residencies
    assert (first.unloaded_at, second.unloaded_at) == (START + timedelta(seconds=60), None)
    assert [load.reload for load in timeline.loads] == [False, True]


def test_a_falling_count_of_runners_unloads_the_oldest() -> None:
    """No version says at INFO that a model was unloaded; the count of loaded runners does."""
    timeline = lines(
        (0, spawn(BLOB_A)),
        (1, started(1.0)),
        (9, spawn(BLOB_B)),
        (10, started(1.0)),
        (10, 'msg="loaded runners" count=1'),
    )

    gone = [r for r in timeline.residencies if r.unloaded_at]
    assert [r.model for r in gone] == [A]
    assert "fell to 1" in gone[0].unload_evidence


def test_a_server_start_ends_everything_before_it() -> None:
    timeline = lines(
        (0, spawn(BLOB_A)), (1, started(1.0)), (5, spawn(BLOB_B)),
        (8, 'msg="Listening on 127.0.0.1:11434 (version 0.13.5)"'),
    )  # fmt: skip

    assert {load.model: load.outcome for load in timeline.loads} == {A: "completed", B: "unfinished"}
    assert [r.unloaded_at for r in timeline.residencies] == [START + timedelta(seconds=8)]
    assert [run.version for run in timeline.runs] == ["0.13.5"]


def test_an_engine_inside_the_server_holds_one_model() -> None:
    """ "changing loaded model" is all it says of the one before; coming back to that one is a reload."""
    swap = 'msg="changing loaded model"'
    library = 'msg="Loading Dynamic llm server: /tmp/ollama1/runners/cuda_v11/libext_server.so"'
    ready = 'msg="Starting llama main loop"'
    log: list[tuple[float, str]] = []
    for second, blob in ((0, BLOB_A), (10, BLOB_B), (20, BLOB_A)):
        model = f"llama_model_loader: loaded meta data with 23 key-value pairs and 291 tensors from {blob} (version 3)"
        log += [(second, swap), (second + 1, library), (second + 1, model), (second + 3, ready)]
    timeline = lines(*log)

    assert [(load.model, load.reload) for load in timeline.loads] == [(A, False), (B, False), (A, True)]
    gone = [(r.model, r.unloaded_at) for r in timeline.residencies]
    assert gone == [(A, START + timedelta(seconds=10)), (B, START + timedelta(seconds=20)), (A, None)]


def test_slots_and_context_come_from_the_runners_command_line() -> None:
    command = f"/llama-server --model {BLOB_A} --port 7 -c 16384 -np 4 --flash-attn auto"
    timeline = lines(
        (0, f'msg="starting llama-server" cmd="{command}"'), (1, 'msg="llama-server started in 1.00 seconds"')
    )

    (load,) = timeline.loads
    assert (load.parallel, load.context_length) == (4, 16384)


def test_the_lines_of_a_slot_are_one_task() -> None:
    head = "slot print_timing: id  3 | task 25 | "
    timeline = lines(
        (0, "slot launch_slot_: id  3 | task 25 | processing task, is_child = 0"),
        (
            1,
            head
            + "prompt eval time =     100.00 ms /    50 tokens (    2.00 ms per token,   500.00 tokens per second)",
        ),
        (
            1,
            head
            + "       eval time =     200.00 ms /    20 tokens (   10.00 ms per token,   100.00 tokens per second)",
        ),
        (1, head + "      total time =     300.00 ms /    70 tokens"),
        (1, "slot      release: id  3 | task 25 | stop processing: n_tokens = 70, truncated = 1"),
    )

    (task,) = timeline.tasks
    assert (task.prefill_s, task.prefill_tokens, task.decode_s, task.decode_tokens) == (0.1, 50, 0.2, 20)
    assert (task.total_s, task.truncated) == (0.3, True)


def test_a_task_without_timing_was_cut_short() -> None:
    """The next task on the slot shows that the first one never finished."""
    timeline = lines(
        (0, "slot launch_slot_: id  0 | task 3 | processing task, is_child = 0"),
        (5, "slot launch_slot_: id  0 | task 0 | processing task, is_child = 0"),
    )

    assert [(task.task, task.total_s) for task in timeline.tasks] == [(3, None), (0, None)]


def test_a_lost_connection_that_was_cancelled_is_a_client_that_left() -> None:
    """The server words a client that left like a runner that died; "context canceled" tells them apart."""
    timeline = lines(
        (0, 'msg="post predict" error="Post \\"http://127.0.0.1:6/completion\\": context canceled"'),
        (1, 'msg="post predict" error="Post \\"http://127.0.0.1:6/completion\\": EOF"'),
    )

    assert (len(timeline.aborts), len(timeline.crashes)) == (1, 1)
