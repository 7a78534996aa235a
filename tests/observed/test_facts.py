"""What the captures beside the log tell: sentences with their numbers, and lanes on the axis of the requests."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall import figures
from warmstall.analysis import Analysis, analyze
from warmstall.answer import answer
from warmstall.case import open_case
from warmstall.observed import facts, lanes
from warmstall.observed.live_processes import LiveProcesses, of_host

LIMITS = (
    "==> /proc/22134/limits <==\nLimit                     Soft Limit           Hard Limit           Units\n"
    "Max locked memory         8388608              8388608              bytes\n"
)
SHOW = "Id=ollama.service\nMainPID=22134\nLimitMEMLOCK=infinity\nLimitMEMLOCKSoft=infinity\n"
GUNICORN = (
    "[2026-11-20 21:00:22 +0000] [100] [INFO] Booting worker with pid: 101\n"
    "[2026-11-20 21:00:40 +0000] [100] [ERROR] Worker (pid:101) was sent SIGSEGV!\n"
)


def case_with(folder: Path, **files: str) -> Path:
    place = folder / "case" / "evidence" / "server"
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name.replace("__", ".").replace("_", "-")).write_text(text)
    return folder / "case"


def record(**steps: tuple[str, str]) -> str:
    rows = [{"collector": "GPU", "step": step.replace("_", " ").replace("nvidia smi", "nvidia-smi"), "file": file,
             "outcome": outcome, "reason": "", "at": "2026-11-20T21:00:00+00:00"}
            for step, (outcome, file) in steps.items()]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows)


def told(path: Path) -> list[str]:
    found = analyze(path)
    return facts.sentences(found.case, found.settings())


def test_a_limit_that_is_not_in_force_is_told(tmp_path):
    (sentence,) = told(case_with(tmp_path, show__txt=SHOW, limits__txt=LIMITS))
    assert sentence.startswith("MEMLOCK: the unit says infinity, the live process 22134 has 8 MiB")


def test_a_limit_that_is_in_force_is_not_told(tmp_path):
    show = SHOW.replace("infinity", "8388608")
    assert told(case_with(tmp_path, show__txt=show, limits__txt=LIMITS)) == []


def test_a_worker_that_crashed_is_told_with_its_place(tmp_path):
    (sentence,) = told(case_with(tmp_path, embedder__log=GUNICORN))
    assert sentence.startswith("worker crash: ")
    assert "SIGSEGV" in sentence
    assert sentence.endswith("at 2026-11-20 21:00:40 UTC, server/embedder.log:2.")


JOURNAL = """Nov 20 20:58:58 box ollama[700]: time=2026-11-20T20:58:58.000Z level=INFO source=images.go:493 msg=blobs
Nov 20 21:00:00 box systemd[1]: Started embedder.service - Embedding service.
Nov 20 21:00:30 box kernel: python[40]: segfault at 0 ip 00007f3a1c2b9d41 sp 00007ffd8a1e2f10 error 4 in libtorch.so
Nov 20 21:00:40 box systemd[1]: embedder.service: Main process exited, code=dumped, status=11/SEGV
"""


def test_other_services_in_a_journal_of_the_whole_system_are_heard(tmp_path):
    """Their times have no year, which the server's lines tell; a line that has no time of its own has one before it."""
    assert told(case_with(tmp_path, server__log=JOURNAL)) == [
        "segmentation fault: process python, pid 40 after 2026-11-20 20:58:58 UTC, server/server.log:3.",
        "worker crash: signal SIGSEGV at 2026-11-20 21:00:40 UTC, server/server.log:4.",
    ]


def test_nvidia_smi_without_a_device_is_a_ghost(tmp_path):
    steps = record(GPU_devices=("captured", "gpu-devices.txt"), nvidia_smi=("failed", ""))
    case = case_with(tmp_path, collection__jsonl=steps, gpu_devices__txt="vendors: 8086\nnodes:\n")
    assert any("a ghost, not a GPU" in sentence for sentence in told(case))


@pytest.mark.parametrize(
    ("outcome", "devices"),
    [
        ("missing", "vendors: 8086\nnodes:\n"),  # the tool is not there
        ("captured", "vendors: 10de 8086\nnodes:\n/dev/nvidia0\n"),  # and here is its GPU
        ("captured", "vendors: 1002 10de\nnodes:\n/dev/dxg\n"),
    ],
)
def test_a_tool_with_its_gpu_or_no_tool_at_all_is_no_ghost(tmp_path, outcome, devices):
    steps = record(GPU_devices=("captured", "gpu-devices.txt"), nvidia_smi=(outcome, ""))
    case = case_with(tmp_path, collection__jsonl=steps, gpu_devices__txt=devices)
    assert facts.ghost_gpu_tools(open_case(case)) == []


def test_api_ps_shows_from_when_to_when_a_model_was_in_memory(tmp_path):
    def sample(second: int, *models: str) -> str:
        listed = [{"name": name, "size": 5, "size_vram": 5} for name in models]
        return json.dumps({"ts": f"2026-11-20T21:00:{second:02d}+00:00", "procs": [], "api_ps_status": 200,
                           "api_ps": {"models": listed}, "api_ps_latency_ms": 1.0}) + "\n"  # fmt: skip

    text = sample(0) + sample(10, "a") + sample(20, "a", "b") + sample(30, "b") + sample(40, "a", "b")
    found = facts.observed_residencies(open_case(case_with(tmp_path, ps__jsonl=text)))
    spans = {(row.model, row.loaded_at.second, None if pd.isna(row.unloaded_at) else row.unloaded_at.second)
             for row in found.itertuples()}  # fmt: skip
    assert spans == {("a (/api/ps)", 10, 30), ("a (/api/ps)", 40, None), ("b (/api/ps)", 20, None)}


def test_the_sample_incident_has_its_processes_under_its_requests(stall: Analysis):
    found = lanes.lanes(stall.case)
    assert [lane.title for lane in found] == ["CPU", "RSS", "answer of /api/ps"]
    assert set(found[0].lines) == {"runner", "serve"}
    # While the requests stood, so did the runner.
    slow = stall.requests().nlargest(1, "wall_s").iloc[0]
    runner = found[0].lines["runner"]
    during = runner[runner["at"].between(slow.started_at + pd.Timedelta("2s"), slow.ended_at - pd.Timedelta("2s"))]
    assert len(during) > 20
    assert during.value.max() < 1


def test_lanes_share_the_axis_of_the_requests(tmp_path, stall: Analysis):
    residents = facts.with_observed(stall.residencies(), stall.case)
    assert any("/api/ps" in model for model in residents.model)
    figure = figures.timeline(stall.requests(), residents, stall.windows(), lanes.lanes(stall.case))
    shared = {axis.matches for axis in figure.select_xaxes()} - {None}
    assert len(shared) == 1  # zooming into one zooms into all
    titles = [axis.title.text for axis in figure.select_yaxes() if axis.title.text]
    assert titles == ["wall time", "CPU<br>% of a core", "RSS<br>MB", "answer of /api/ps<br>s"]


def test_a_case_without_a_log_is_drawn_and_answered(tmp_path):
    source = INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "ps.jsonl"
    found = analyze(case_with(tmp_path, ps__jsonl=source.read_text(), embedder__log=GUNICORN))
    text = answer(found)
    assert text.startswith("2 captures without a server's log: application-log, process-samples.")
    assert "no request can be judged" in text
    assert "collect the server's log" in text
    figure = figures.timeline(found.requests(), found.residencies(), found.windows(), lanes.lanes(found.case))
    assert "worker crash" in figure.to_json()


def test_hostile_text_of_a_capture_is_escaped_in_the_picture(tmp_path):
    log = GUNICORN + (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in <module>\n'
        "ValueError: <script>alert(1)</script>\x1b[31m\n"
    )
    found = analyze(case_with(tmp_path, embedder__log=log))
    drawn = figures.timeline(found.requests(), found.residencies(), found.windows(), lanes.lanes(found.case)).to_json()
    assert "<script>" not in drawn.replace("\\u003c", "<")
    assert "\x1b" not in answer(found)


def test_looks_that_got_no_answer_end_no_residency(tmp_path):
    """While a server hangs nobody knows what is in its memory; that is not the same as: it is gone."""

    def sample(second: int, answered: bool) -> str:
        answer = {"api_ps_status": 200, "api_ps": {"models": [{"name": "a", "size": 5, "size_vram": 5}]}}
        hung = {"api_ps_error": "timed out"}
        row = {"ts": f"2026-11-20T21:00:{second:02d}+00:00", "procs": []} | (answer if answered else hung)
        return json.dumps(row) + "\n"

    bridged = sample(0, True) + sample(10, False) + sample(20, True)
    (span,) = facts.observed_residencies(open_case(case_with(tmp_path / "1", ps__jsonl=bridged))).itertuples()
    assert (span.loaded_at.second, pd.isna(span.unloaded_at)) == (0, True)
    to_the_end = sample(0, True) + sample(10, True) + sample(20, False)
    (span,) = facts.observed_residencies(open_case(case_with(tmp_path / "2", ps__jsonl=to_the_end))).itertuples()
    assert span.unloaded_at.second == 10
    assert span.unload_evidence == "no look after this one was answered"


def test_captures_without_a_time_do_not_stop_the_analysis(tmp_path):
    table = "PID PPID STAT %CPU RSS COMMAND\n9 1 S 0.1 2000 ollama runner --port 1\n"
    source = INCIDENTS / "queue-one-slot" / "evidence" / "server" / "server.log"
    alone = analyze(case_with(tmp_path / "alone", server__log=source.read_text()))
    beside = analyze(case_with(tmp_path / "beside", server__log=source.read_text(), processes__txt=table))
    assert beside.requests().verdict.tolist() == alone.requests().verdict.tolist()


def test_a_local_time_takes_the_zone_of_its_case_even_where_the_server_writes_utc(tmp_path):
    log = (
        'time=2026-11-20T20:49:03.079Z level=INFO source=routes.go:1 msg="Listening on 127.0.0.1:1 (version 0.13.5)"\n'
    )
    local = log.replace("20:49:03.079Z", "22:49:03.079+02:00")
    crash = "2026-11-20 22:49:05,000 - app - ERROR - it broke\n" + (
        'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: no\n'
    )
    for name, server, note in (("noted", log, {"zones_s": {"server": 7200}}), ("from-log", local, {})):
        case = case_with(tmp_path / name, server__log=server, app__log=crash)
        (case / "case.json").write_text(json.dumps(note))
        times = facts.other_events(open_case(case))["at"].dropna()
        assert {str(at) for at in times} == {"2026-11-20 20:49:05+00:00"}, name


@pytest.mark.parametrize(
    "note",
    [[1], {"zones_s": [1]}, {"zones_s": {"h": "x"}}, {"clock_ahead_s": {"h": 5}}, {"hosts": 5, "zone": "+01:00"},
     {"clock_ahead_s": 7}, {"zones_s": {"server": 1e300}}, {"clock_ahead_s": {"server": [1]}}],
)  # fmt: skip
def test_a_note_of_another_form_is_passed_over(tmp_path, note):
    case = case_with(tmp_path, show__txt=SHOW, limits__txt=LIMITS)
    (case / "case.json").write_text(json.dumps(note))
    assert len(told(case)) == 1


def test_a_folder_whose_name_reads_like_a_pattern_is_opened(tmp_path):
    from warmstall.case import write_case
    from warmstall.evidence import discover

    case = case_with(tmp_path, show__txt=SHOW, limits__txt=LIMITS)
    out = tmp_path / "o[1]*b?'"
    assert write_case(discover([case]), out, out / "tables").sql("SELECT count(*) AS n FROM limits").n[0] > 1


def test_samples_fill_only_the_tables_of_a_watch(tmp_path):
    junk = {
        "events": [{"key": "app_traceback", "fields": "no json"}],
        "requests": [{"wall_s": 1}],
        "processes": [{"pid": "x"}],
    }
    text = json.dumps({"at": "2026-11-20T21:00:00Z", "rows": junk}) + "\n"
    case = open_case(case_with(tmp_path, samples__jsonl=text))
    assert case.sql("SELECT count(*) AS n FROM events").n[0] == 0
    assert case.sql("SELECT count(*) AS n FROM processes WHERE pid IS NULL").n[0] == 1


@pytest.mark.parametrize("name", ["silent-hangs-memlock", "warm-stall-runner-stopped"])
def test_a_process_is_compared_as_it_was_seen_last(name: str) -> None:
    case = open_case(INCIDENTS / name)
    every, last = case.sql("FROM processes ORDER BY ALL"), facts._processes(case)

    assert 0 < len(last) < len(every)
    for host in every["host"].unique():
        one, other = (LiveProcesses([], of_host(rows, host)) for rows in (every, last))
        assert (one.roles, one.parents) == (other.roles, other.parents)


def test_a_case_without_events_of_others_has_the_columns_of_one_with_some(tmp_path):
    none = facts.other_events(open_case(INCIDENTS / "queue-one-slot"))
    some = facts.other_events(open_case(case_with(tmp_path, embedder__log=GUNICORN)))

    assert (len(none), len(some)) == (0, 1)
    assert none[["at", "line"]].dtypes.equals(some[["at", "line"]].dtypes)
    assert list(none) == list(some)
