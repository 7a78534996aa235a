"""The table of log lines holds what it promises: each sample finds its own row, and Polars and Python agree."""

from __future__ import annotations

import json
import random
import re
import time
from itertools import pairwise
from pathlib import Path

import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.event_fields import fields_in
from warmstall.ingest import events
from warmstall.parse.log_events import ANCHORS, EVENTS, FAMILIES, event_in

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
REAL_LOGS = sorted(SHARED.glob("real-ollama/*/*/server.log"))
FOREIGN_LOGS = sorted(SHARED.glob("corpus/server-log/*.log"))

FAMILY_PATTERNS = [(family.name, re.compile(family.pattern)) for family in FAMILIES]
SAMPLES = [row.sample for row in EVENTS] + [family.sample for family in FAMILIES]

# The timeline reads these fields by name; of every key at least these, from every wording.
FIELDS = {
    "server_config": {"env"},
    "server_listening": {"address", "version"},
    "gpu_inventory": {"id", "library", "total", "available"},
    "runner_spawn": {"cmd", "model", "port"},
    "discovery_spawn": {"cmd"},
    "mlx_spawn": {"model", "port"},
    "load_done": {"seconds"},
    "runner_died_load": {"reason"},
    "runners_loaded": {"count"},
    "load_params": {"operation", "parallel", "kv_size"},
    "load_status": {"status"},
    "layers_offloaded": {"layers_gpu", "layers_total"},
    "ls_task_start": {"slot", "task"},
    "ls_prompt_new": {"slot", "task", "n_tokens"},
    "ls_prompt_cached": {"slot", "task", "n_cached"},
    "ls_prompt_progress": {"slot", "task"},
    "ls_gen_progress": {"slot", "task", "n_decoded", "tokens_per_s"},
    "ls_prompt_timing": {"slot", "task", "ms", "tokens"},
    "ls_eval_timing": {"slot", "task", "ms", "tokens"},
    "ls_total_timing": {"slot", "task", "ms"},
    "ls_task_end": {"slot", "task", "truncated"},
    "ls_cancel": {"task"},
    "cpp_task_start": {"slot", "task", "epoch"},
    "cpp_task_end": {"slot", "task", "epoch"},
}
WITHOUT_FIELDS = {
    "mlx_ready", "mlx_stop", "engine1_load", "engine1_ready", "load_client_gone", "load_timeout", "load_failed",
    "runner_gone", "runner_terminated", "predict_conn_err", "predict_http_err", "evict_reason_mem", "evict_predicted",
    "ctx_reduced_oom", "vram_slow", "offload_est", "prompt_truncated", "abort_waiting", "queue_full", "json_write_fail",
    "sched_eval", "sched_reload", "load_first", "fits", "fits_single", "fits_existing", "max_runners", "evict_mark",
    "evict_wait", "evict_done", "went_idle", "idle_zero", "timer_fired", "expired_event", "expired_busy", "unload_sent",
    "req_ctx_done", "queued_cancelled", "ls_idle", "ls_model_loaded",
}  # fmt: skip


def family_of(line: str) -> str | None:
    return next((name for name, pattern in FAMILY_PATTERNS if pattern.search(line)), None)


def row_ids(rows):
    return [f"{number}-{row.key}" for number, row in enumerate(rows)]


@pytest.mark.parametrize("row", EVENTS, ids=row_ids(EVENTS))
def test_sample_finds_its_own_row_and_no_other(row):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.key)
    assert row.seen_in
    assert row.anchor in row.sample
    assert row.regex.search(row.sample)
    others = [o for o in EVENTS if o is not row and o.anchor in row.sample and o.regex.search(row.sample)]
    assert not others
    event = event_in(row.sample)
    assert event is not None
    assert event.key == row.key
    assert FIELDS.get(row.key, set()) <= event.fields.keys()
    assert any(anchor in row.sample for anchor in ANCHORS)
    assert family_of(row.sample)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_sample_is_named_by_its_own_family(family):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
    assert family_of(family.sample) == family.name


def test_keys_the_timeline_needs_exist():
    assert FIELDS.keys() | WITHOUT_FIELDS <= {row.key for row in EVENTS}


def test_rows_are_distinct():
    assert len({(row.anchor, row.pattern) for row in EVENTS}) == len(EVENTS)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_values_of_slog_records_come_unquoted():
    event = event_in(
        r'time=2026-11-20T20:49:03.106+01:00 level=INFO source=server.go:429 msg="starting runner" '
        r'cmd="C:\\Program Files\\Ollama\\ollama.exe runner --model C:\\Users\\Ada L\\blobs\\sha256-0a --port 40001"'
    )
    assert event is not None
    assert event.key == "runner_spawn"
    assert event.fields["model"] == r"C:\Users\Ada L\blobs\sha256-0a"
    assert event.fields["port"] == "40001"


@pytest.mark.parametrize("key", ["runner_spawn", "discovery_spawn"])
def test_only_a_spawn_with_a_model_is_a_load(key):
    for row in EVENTS:
        if row.key == key:
            assert ("--model" in row.sample) == (key == "runner_spawn")


def test_progress_dots_and_runner_text_may_stand_before_a_record():
    record = 'time=2026-11-20T20:49:03.106Z level=INFO source=sched.go:517 msg="loaded runners" count=2'
    for glued in ("......", "llama_context: graph nodes  = 255"):
        event = event_in(glued + record)
        assert event is not None
        assert (event.key, event.fields["count"]) == ("runners_loaded", "2")


def test_text_inside_a_logged_prompt_is_no_event():
    quoted = r'msg="chat request" images=0 prompt="why msg=\"loaded runners\" count=2?\nCUDA error: out of memory"'
    assert event_in(f"time=2026-11-20T20:49:03.106Z level=DEBUG source=routes.go:1500 {quoted}") is None


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (
            "slot print_timing: id  3 | task 20 | n_decoded =    100, tg =  12.50 t/s, tg_3s =  12.50 t/s",
            "ls_gen_progress",
        ),
        ("slot update_slots: id  0 | task 0 | cached n_tokens = 49, memory_seq_rm [49, end)", "ls_prompt_cached"),
        ("srv  llama_server: server is listening on http://127.0.0.1:40001", "ls_listening"),
        (
            "common_params_fit_impl: projected to use 189 MiB of host memory vs. 24105 MiB of total host memory",
            "fit_report",
        ),
        ("llm_load_tensors: offloaded 33/33 layers to GPU", "layers_offloaded"),
        ("sched_reserve: Flash Attention was auto, set to enabled", "fa_resolved"),
        ("Started ollama.service - Ollama Service.", "service_started"),
        ("Memory cgroup out of memory: Killed process 7 (llama-server) total-vm:1kB", "kernel_oom"),
        (
            'time=2026-11-20T20:49:03.106Z level=INFO source=x.go:1 msg=mlx-runner msg="peak memory" size="4.1 GiB"',
            "mlx_stats",
        ),
    ],
)
def test_near_wordings_share_the_key(line, key):
    event = event_in(line)
    assert event is not None
    assert event.key == key


FOREIGN_LINES = [
    "lorem ipsum dolor sit amet",
    'INFO:     127.0.0.1:60766 - "GET /health HTTP/1.1" 200 OK',
    "ERROR:    Traceback (most recent call last):",
    '  File "/app/main.py", line 13, in lifespan',
    "2026-05-31T11:13:33.347070Z  INFO actix_server::builder: starting 15 workers",
    'time="2026-05-31T14:13:30+03:00" level=warning msg="orphan containers"',
    "#12 [builder 5/5] RUN python -m venv /app/.venv",
    "127.0.0.1 - - [20/Nov/2026:20:49:03 +0000] \"GET / HTTP/1.1\" 200 612",
    "INFO [main] org.example.App - started",
    "Started Session 4 of User ada.",
    '{"level":"info","message":"ready"}',
    "./lib/ollama/libggml-base.so",
    "name: value",
]  # fmt: skip


@pytest.mark.parametrize("line", FOREIGN_LINES)
def test_text_of_other_programs_has_no_family_and_no_event(line):
    assert family_of(line) is None
    assert event_in(line) is None


def test_random_bytes_have_no_family():
    chance = random.Random(20261120)
    for _ in range(3000):
        line = chance.randbytes(chance.randrange(4, 200)).decode("utf-8", "replace").strip()
        assert event_in(line) is None
        assert family_of(line) in (None, "blank")


# Polars runs over lines, so no line breaks; pieces of samples reach deeper into the patterns than plain text.
_PIECES = sorted({piece for sample in SAMPLES for piece in re.findall(r"\W+|\w+", sample)})
_TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00")
)
_LINES = st.one_of(
    _TEXT,
    st.lists(st.sampled_from(_PIECES) | _TEXT, max_size=12).map("".join),
    st.tuples(st.sampled_from(SAMPLES), st.integers(0, 200), _TEXT).map(lambda t: t[0][: t[1]] + t[2]),
    st.tuples(_TEXT, st.sampled_from(SAMPLES)).map("".join),
)


def polars_answers(lines):
    """Which families Polars finds in which lines."""
    texts = polars.Series(lines, dtype=polars.String)
    return {(number, family.name): found for family in FAMILIES
            for number, found in enumerate(texts.str.contains(family.pattern))}  # fmt: skip


def test_polars_and_python_agree_on_samples():
    lines = SAMPLES + FOREIGN_LINES
    for (line, name), found in polars_answers(lines).items():
        assert found == bool(dict(FAMILY_PATTERNS)[name].search(lines[line])), (name, lines[line])


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(_LINES, min_size=1, max_size=40))
def test_polars_and_python_agree_on_generated_lines(lines):
    for (line, name), found in polars_answers(lines).items():
        assert found == bool(dict(FAMILY_PATTERNS)[name].search(lines[line])), (name, lines[line])


def events_of(lines):
    """The key of the event in each line, and its fields, as those of many lines are found."""
    found = events.found_events(polars.Series("text", lines, dtype=polars.String)).with_row_index("line")
    found = found.filter(polars.col("key").is_not_null())
    whole = found["whole_text"].fill_null(found["text"])
    fields = [json.loads(read) for read in fields_in(found["anchor"].to_arrow(), whole.to_arrow()).to_pylist()]
    return {line: (key, read) for line, key, read in zip(found["line"], found["key"], fields, strict=True)}


def events_one_by_one(lines):
    found = {number: event_in(line) for number, line in enumerate(lines)}
    return {number: (event.key, event.fields) for number, event in found.items() if event}


def test_events_of_many_lines_are_those_of_each():
    lines = [*SAMPLES, *FOREIGN_LINES, *(f"glued {one}{two}" for one, two in pairwise(SAMPLES))]
    assert events_of(lines) == events_one_by_one(lines)
    assert len(events_of(lines)) > len(EVENTS)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(_LINES, min_size=1, max_size=40))
def test_events_of_many_generated_lines_are_those_of_each(lines):
    assert events_of(lines) == events_one_by_one(lines)


@settings(max_examples=300, deadline=None)
@given(line=_LINES | st.text())
def test_no_text_raises(line):
    event = event_in(line)
    assert event is None or event.key in {row.key for row in EVENTS}


HOSTILE = [
    *(row.anchor for row in EVENTS if row.pattern),
    "time=2026-11-20T", "msg=load request=\"{Operation:a", '{"a":"b",', "slot a: id 0 | task 0 | ", ' "', "\\", "a.b(",
    " ", "=", '"msg":"slot released","slot_id":0,', "INFO [a] ", '"starting runner" cmd="', "a/", "1", ": ",
    "[1/1] a - ", "'",
]  # fmt: skip


def test_a_line_of_megabytes_is_quick():
    for piece in HOSTILE:
        line = piece * (4_000_000 // len(piece))
        began = time.perf_counter()
        event_in(line)
        family_of(line)
        assert time.perf_counter() - began < 5, piece


# --- against whole logs; these lie beside the repository, not in it ------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WRAPPER = re.compile(
    r"^(?:(?:[^\s\d]{2,6} {1,2}\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:?\d\d) \S+"
    r" [\w.-]+(?:\[\d+\])?: |[\w.-]+ +\| |\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z )"
)


def unwrapped(path: Path) -> list[str]:
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    return [_WRAPPER.sub("", _ANSI.sub("", line), count=1) for line in re.split(r"\r?\n", text.removesuffix("\n"))]


def recognized(path: Path) -> tuple[int, int]:
    lines = unwrapped(path)
    return sum(family_of(line) is not None for line in lines), len(lines)


@pytest.mark.skipif(not REAL_LOGS, reason="the recorded Ollama logs are not beside the repository")
@pytest.mark.parametrize("path", REAL_LOGS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_recorded_log_is_recognized(path):
    known, total = recognized(path)
    assert known >= 0.99 * total


@pytest.mark.skipif(not REAL_LOGS, reason="the recorded Ollama logs are not beside the repository")
def test_recorded_logs_show_loads_and_work():
    found = {event.key for path in REAL_LOGS for line in unwrapped(path) if (event := event_in(line))}
    assert {
        "server_config", "server_listening", "gpu_inventory", "runner_spawn", "discovery_spawn", "load_done",
        "load_failed", "runner_died_load", "load_timeout", "load_client_gone", "runner_gone", "runners_loaded",
        "ls_task_start", "ls_task_end", "ls_cancel", "ls_gen_progress", "prompt_truncated", "evict_reason_mem",
    } <= found  # fmt: skip


@pytest.mark.skipif(not FOREIGN_LOGS, reason="the collected logs are not beside the repository")
def test_collected_logs_are_recognized():
    # Below 98 % are logs that PowerShell folded at the window's width, and terminal captures that hold the
    # output of other programs; their own lines have no family, rightly.
    shares = {}
    seen = read = 0
    for path in FOREIGN_LOGS:
        known, total = recognized(path)
        shares[path.name] = known / total
        seen, read = seen + known, read + total
    for name, share in sorted(shares.items(), key=lambda item: item[1]):
        print(f"{share:7.2%} {name}")
    low = [name for name, share in shares.items() if share < 0.98]
    assert seen >= 0.985 * read
    assert min(shares.values()) > 0.3
    assert len(low) <= 0.12 * len(shares)
