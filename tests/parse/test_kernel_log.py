"""What a kernel says of memory, crashes, GPUs and hangs is typed, whatever stands in front of it."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.evidence import kind_of
from warmstall.parse.application_log import is_application_log
from warmstall.parse.encodings import decode, detect_encoding
from warmstall.parse.kernel_lines import MESSAGES, XID_FAULTS
from warmstall.parse.kernel_log import is_kernel_log, parse_kernel_log
from warmstall.schema import TABLES

ROOT = Path(__file__).resolve().parents[2]
INVOKED = "uvicorn invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
MEMCG = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ab12,mems_allowed=0,oom_memcg=/docker/ab12,"
    "task_memcg=/docker/ab12/app,task=python3,pid=4242,uid=1000"
)
GLOBAL = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/system.slice/rag.service,task=python3,pid=4242,uid=1000"
)
SIZES = (
    "total-vm:9437184kB, anon-rss:6291456kB, file-rss:12kB, shmem-rss:0kB, UID:1000 pgtables:13000kB oom_score_adj:0"
)
KILLED = f"Out of memory: Killed process 4242 (python3) {SIZES}"
SEGFAULT = (
    "python3[4242]: segfault at 10 ip 00007f3a1c2b9d41 sp 00007ffd8a1e2f10 error 4 in libc.so.6[9d41,7f3a1c+1a000]"
)


def events(text: str, **options: Any) -> list[dict[str, Any]]:
    rows = parse_kernel_log(text, **options).tables["events"]
    return [{**row, **json.loads(row["fields"])} for row in rows]


def only(text: str, **options: Any) -> dict[str, Any]:
    (event,) = events(text, **options)
    return event


def stamped(*messages: str) -> str:
    return "\n".join(f"[{510 + number:5}.762654] {message}" for number, message in enumerate(messages))


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row.sample[:40])
def test_the_sample_of_a_message_is_found_by_it_first(row):
    assert next(other for other in MESSAGES if other.regex.match(row.sample)) is row
    assert is_kernel_log([row.sample]) or "[drm]" not in row.sample
    assert len(events(stamped(row.sample))) == (row.key != "oom_invoked")


# --- out of memory ------------------------------------------------------------------------------------------------


def test_the_lines_of_one_kill_are_one_event():
    event = only(stamped(INVOKED, "Call Trace:", MEMCG, KILLED.replace("Out of", "Memory cgroup out of")))
    assert event["key"] == "kernel_oom_kill"
    assert (event["pid"], event["process"], event["invoked_by"]) == (4242, "python3", "uvicorn")
    assert (event["scope"], event["cgroup"], event["task_cgroup"]) == ("memcg", "/docker/ab12", "/docker/ab12/app")
    assert (event["anon_rss_bytes"], event["total_vm_bytes"], event["file_rss_bytes"]) == (
        6291456 * 1024, 9437184 * 1024, 12 * 1024,
    )  # fmt: skip
    assert (event["line"], event["seconds_since_boot"]) == (4, 513.762654)


def test_a_kill_of_the_whole_machine_is_told_from_one_of_a_cgroup():
    assert only(stamped(GLOBAL, KILLED))["scope"] == "global"
    assert "cgroup" not in only(stamped(GLOBAL, KILLED))
    assert only(stamped(GLOBAL, KILLED))["task_cgroup"] == "/system.slice/rag.service"


def test_kernels_before_5_0_choose_and_kill_on_two_lines():
    event = only(
        stamped(
            "Memory cgroup out of memory: Kill process 4200 (gunicorn) score 970 or sacrifice child",
            "Killed process 4242 (python3), UID 1000, total-vm:2048kB, anon-rss:1024kB, file-rss:0kB, shmem-rss:0kB",
        )
    )
    assert (event["pid"], event["process"], event["scope"], event["anon_rss_bytes"]) == (
        4242,
        "python3",
        "memcg",
        1 << 20,
    )


def test_kills_of_different_processes_stay_apart():
    other = KILLED.replace("4242", "4243").replace("python3", "ollama")
    found = events(stamped(MEMCG, KILLED, other))
    assert [(event["pid"], event["scope"]) for event in found] == [(4242, "memcg"), (4243, "global")]


def test_a_kill_of_which_only_the_choice_is_left_counts():
    found = events(stamped(INVOKED, MEMCG, "unrelated", MEMCG.replace("4242", "77")))
    assert [(event["pid"], event["line"]) for event in found] == [(4242, 2), (77, 4)]
    assert "anon_rss_bytes" not in found[0]


def test_a_new_shortage_is_no_part_of_the_one_before():
    found = events(stamped(MEMCG, INVOKED, KILLED.replace("4242", "77")))
    assert [(event["pid"], event["scope"]) for event in found] == [(4242, "memcg"), (77, "global")]


def test_who_asked_for_memory_is_not_who_was_killed():
    assert events(stamped(INVOKED)) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("memorystatus: killing_specific_process pid 4242 [ollama] (per-process-limit 3 12s rf:- type:app) 2048KB - x",
         {"scope": "process", "reason": "per-process-limit", "footprint_bytes": 2048 * 1024}),
        ("1795.123 memorystatus: killing_top_process_elevated1 pid 4242 [ollama] (vm-pageshortage 3) - x: 9",
         {"scope": "global", "reason": "vm-pageshortage"}),
        ("memorystatus: killing largest compressed process ollama [4242] 61440 MB",
         {"scope": "global", "footprint_bytes": 61440 * 1024**2}),
        ("low swap: killing largest compressed process with pid 4242 (ollama) and size 61440 MB",
         {"reason": "low-swap", "footprint_bytes": 61440 * 1024**2}),
        ("memorystatus: killing process 4242 [ollama] in high band FOREGROUND (100) - x: 9", {"reason": "FOREGROUND"}),
    ],
)  # fmt: skip
def test_kills_of_macos_are_kills(message, expected):
    event = only(f"2026-11-21 09:00:00.123456+0100 0x1b2      Default     0x0        0      0    kernel: {message}")
    assert (event["key"], event["pid"], event["process"]) == ("kernel_oom_kill", 4242, "ollama")
    assert expected.items() <= event.items()
    assert event["at"] == datetime(2026, 11, 21, 8, 0, 0, 123456)


def test_an_idle_daemon_that_macos_ends_is_no_kill_for_memory():
    assert events("memorystatus: killing_idle_process pid 386 [wallpaperd] jetsam_reason->osr_code: 9") == []


# --- crashes and hangs --------------------------------------------------------------------------------------------


def test_a_segfault_names_process_address_and_library():
    event = only(stamped(SEGFAULT + " likely on CPU 0 (core 0, socket 0)", "Code: 00 <8b> 47"))
    assert event["key"] == "kernel_segfault"
    assert (event["process"], event["pid"], event["address"], event["library"]) == ("python3", 4242, "10", "libc.so.6")


def test_a_segfault_without_a_library_is_one_too():
    event = only(stamped(SEGFAULT.partition(" in ")[0]))
    assert event["pid"] == 4242
    assert "library" not in event


def test_an_instruction_that_the_processor_has_not_is_told_from_a_protection_fault():
    line = "traps: ollama runner[4242] trap invalid opcode ip:7f3a sp:7ffd error:0 in libggml-cpu.so[7f3a1c2+1a3000]"
    event = only(stamped(line))
    assert (event["key"], event["trap"], event["process"]) == ("kernel_trap", "invalid opcode", "ollama runner")
    assert event["library"] == "libggml-cpu.so"
    line = "traps: MainThread[4242] general protection fault ip:7f3a sp:7ffd error:0 in libc.so.6[7f3a+83000]"
    assert only(stamped(line))["key"] == "kernel_general_protection"


def test_hung_tasks_and_lockups_say_for_how_long():
    event = only(stamped("INFO: task kworker/u16:9:7088 blocked for more than 120 seconds."))
    assert (event["key"], event["process"], event["pid"], event["blocked_s"]) == (
        "kernel_hung_task", "kworker/u16:9", 7088, 120,
    )  # fmt: skip
    assert only(stamped("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [ollama:42]"))["blocked_s"] == 22


# --- GPUs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
         {"xid": 79, "fault": "fallen_off_the_bus", "gpu": "0000:01:00"}),
        ("NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.", {"xid": 79}),
        ("NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name=ollama, Ch 0000000a, intr 00000000. MMU Fault: ENGINE",
         {"xid": 31, "fault": "memory_page_fault", "pid": 4242, "process": "ollama"}),
        ("NVRM: Xid (PCI:0000:c1:00): 999, something new", {"xid": 999, "fault": "xid_999"}),
        ("NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.", {"fault": "fallen_off_the_bus", "gpu": "0000:01:00.0"}),
        ("NVRM: fallen off the bus and is not responding to commands.", {"fault": "fallen_off_the_bus"}),
        ("NVRM: API mismatch: the client has the version 550.90.07, but", {"fault": "driver_version_mismatch"}),
        ("amdgpu 0000:03:00.0: amdgpu: ring comp_1.0.1 timeout, signaled seq=384, emitted seq=387",
         {"fault": "ring_timeout", "ring": "comp_1.0.1", "gpu": "0000:03:00.0"}),
        ("[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, signaled seq=1, emitted seq=3",
         {"fault": "ring_timeout", "ring": "gfx"}),
        ("amdgpu 0000:03:00.0: GPU reset begin!", {"fault": "reset_begin"}),
        ("amdgpu 0000:03:00.0: amdgpu: GPU reset begin!. Source:  1", {"fault": "reset_begin"}),
        ("amdgpu 0000:03:00.0: amdgpu: GPU reset(2) succeeded!", {"fault": "reset_succeeded"}),
        ("amdgpu 0000:03:00.0: amdgpu: GPU reset end with ret = -62", {"fault": "reset_failed"}),
        ("i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:84dffffb, in ollama [4242]",
         {"fault": "hang", "pid": 4242, "process": "ollama"}),
        ("xe 0000:03:00.0: [drm] Tile0: GT0: Timedout job: seqno=42, guc_id=2, flags=0x0 in llama-server [4242]",
         {"fault": "ring_timeout", "pid": 4242, "process": "llama-server"}),
        ("xe 0000:03:00.0: [drm] GT0: Engine reset: engine_class=ccs, logical_mask: 0x1", {"fault": "ring_timeout"}),
        ("amdgpu 0000:03:00.0: [drm] device wedged, but recovered through reset", {"fault": "wedged"}),
    ],
)  # fmt: skip
def test_a_fault_of_a_gpu_is_typed(line, expected):
    event = only(stamped(line))
    assert event["key"] == "kernel_gpu_fault"
    assert expected.items() <= event.items()


def test_a_reset_that_ended_well_is_no_failed_one():
    assert events(stamped("amdgpu 0000:03:00.0: amdgpu: GPU reset end with ret = 0")) == []


def test_every_named_xid_has_a_name_of_its_own():
    assert len(set(XID_FAULTS.values())) == len(XID_FAULTS)


# --- times --------------------------------------------------------------------------------------------------------

NINE = datetime(2026, 11, 21, 9)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("[ 1234.567890] ", {"seconds_since_boot": 1234.56789, "at": None, "local_at": None}),
        ("<4>[ 1234.567890] ", {"seconds_since_boot": 1234.56789}),
        ("kern  :warn  : [ 1234.567890] ", {"seconds_since_boot": 1234.56789}),
        ("[ 1234.567890] [   T4242] ", {"seconds_since_boot": 1234.56789}),
        ("[ 1234.567890] box kernel: ", {"seconds_since_boot": 1234.56789}),
        ("[Sat Nov 21 09:00:00 2026] ", {"at": None, "local_at": NINE}),
        ("kern  :info  : [Sat Nov 21 09:00:00 2026] ", {"local_at": NINE}),
        ("2026-11-21T10:00:00,000000+01:00 ", {"at": NINE, "local_at": None}),
        ("2026-11-21T10:00:00+0100 box kernel: ", {"at": NINE}),
        ("2026-11-21T10:00:00.000000+01:00 box kernel: [ 1.567890] ", {"at": NINE, "seconds_since_boot": 1.56789}),
        ("Sat 2026-11-21 09:00:00 UTC box kernel: ", {"at": NINE}),
        ("Sat 2026-11-21 09:00:00 CET box kernel: ", {"at": None, "local_at": NINE}),
        ("1795251600.000000 box kernel: ", {"at": NINE}),
        ("Nov 21 09:00:00 box kernel: ", {"time_without_year": "Nov 21 09:00:00", "at": None, "local_at": None}),
        ("Nov 21 09:00:00 kernel: ", {"time_without_year": "Nov 21 09:00:00"}),
        ("Nov  1 09:00:00 box kernel: [ 1234.567890] ", {"time_without_year": "Nov  1 09:00:00"}),
        ("[Nov21 09:00] ", {"at": None, "local_at": None}),
        ("[  +0.000012] ", {"at": None, "local_at": None}),
        ("2026-11-21 10:00:00.000000+0100  localhost kernel[0]: (AppleARM) ", {"at": NINE}),
        ("2026-11-21 09:00:00.000 Df kernel[0:1cd] [com.apple.xnu:memorystatus] ", {"at": None, "local_at": NINE}),
        ("", {"at": None, "local_at": None}),
    ],
)  # fmt: skip
def test_a_head_of_any_tool_gives_its_time_and_hides_nothing(head, expected):
    event = only(head + KILLED)
    assert {name: event.get(name) for name in expected} == expected
    assert event["anon_rss_bytes"] == 6291456 * 1024
    assert is_kernel_log([head + KILLED])


def test_the_year_comes_from_when_it_was_captured():
    event = only(f"Dec 31 23:59:58 box kernel: {KILLED}", captured_at=datetime(2027, 1, 2))
    assert event["local_at"] == datetime(2026, 12, 31, 23, 59, 58)


def test_a_journal_as_json_is_read():
    entry = {"MESSAGE": KILLED, "SYSLOG_IDENTIFIER": "kernel", "__REALTIME_TIMESTAMP": str(1795251600 * 10**6)}
    assert only(json.dumps(entry))["at"] == NINE
    assert parse_kernel_log(json.dumps({**entry, "MESSAGE": "usb 1-1: x"})).lines == {1}
    other = json.dumps({**entry, "MESSAGE": "usb 1-1: x", "SYSLOG_IDENTIFIER": "python"})
    assert parse_kernel_log(other).lines == set()


# --- recognition --------------------------------------------------------------------------------------------------


def test_every_line_of_a_kernel_is_understood_and_no_other():
    text = f"$ dmesg | tail\n```\n{stamped('usb 1-1: new device', SEGFAULT, 'Code: 00')}\n```\nThat was all."
    parsed = parse_kernel_log(text)
    assert parsed.lines == {3, 4, 5}
    assert is_kernel_log(text.split("\n"))
    assert not is_application_log(text.split("\n"))
    assert kind_of(text.encode()) != "server-log"


@pytest.mark.parametrize("text", [stamped("usb 1-1: a", "usb 1-2: b", "usb 1-3: c"), KILLED, SEGFAULT,
                                  "Nov 21 09:00:00 box kernel: usb\n" * 3])  # fmt: skip
def test_a_kernel_log_is_one_wherever_it_begins(text):
    assert is_kernel_log(["# dmesg", "", *text.split("\n")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[GIN] 2026/11/20 - 20:49:02 | 200 |  1.2ms | 127.0.0.1 | POST     "/api/embed"',
        'time=2026-11-21T08:59:58.000Z level=INFO source=images.go:493 msg="total blobs: 14"',
        "The kernel: it said that a process was killed.\n" * 5,
        "kernel: a heading\n" * 5,
        "# Out of memory\n\nA *Killed process* line names the pid.\n",
        "[2026-11-21 09:00:00 +0000] [7] [ERROR] Worker (pid:12) was sent SIGSEGV!\n" * 4,
        "[Sat Nov 21 09:00:00 2026] [error] [client 203.0.113.9] File does not exist: /srv\n" * 4,
        "Nov 21 09:00:00 box systemd[1]: Started rag.service.\n" * 4,
        "2026-11-21 09:00:00.123 INFO app\n" * 4,
    ],
)
def test_other_logs_and_prose_are_none(text):
    assert not is_kernel_log(text.split("\n"))
    assert parse_kernel_log(text).tables.get("events", []) == []


def test_no_capture_of_ollama_is_a_kernel_log(shared):
    paths = [*(shared / "corpus").rglob("*"), *(shared / "real-ollama").rglob("*")]
    read = [(path.name, path.read_bytes()) for path in paths if path.is_file()]
    assert len(read) > 150
    assert [name for name, data in read if is_kernel_log(decode(data, detect_encoding(data)).split("\n"))] == []


@pytest.mark.parametrize("options", [[], ["-T"], ["-x"], ["-r"], ["--time-format", "iso"]], ids=" ".join)
def test_the_kernel_of_this_machine_is_understood_whole(options):
    try:
        done = subprocess.run(["dmesg", *options], capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        pytest.skip("there is no dmesg here")
    if done.returncode or len(done.stdout.splitlines()) < 10:
        pytest.skip(f"dmesg {' '.join(options)} shows nothing here ({done.stderr.strip()})")
    lines = done.stdout.removesuffix("\n").split("\n")
    assert is_kernel_log(lines)
    assert not is_application_log(lines)
    # A message of several lines has its head on the first only.
    assert len(parse_kernel_log(done.stdout).lines) >= 0.95 * len(lines)


# --- hostile input ------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(row.sample for row in MESSAGES),
        KILLED.replace("6291456", "9" * 16),
        KILLED.replace("4242", "9" * 9),
        MEMCG,
        GLOBAL,
        "[ 1234.567890] ",
        "[Sat Nov 31 29:00:00 2026] ",
        "2026-99-99T10:00:00,000000+99:99 ",
        "9999999999.000000 box kernel: ",
        "Nov 21 09:00:00 box kernel: ",
        '{"MESSAGE":"x","SYSLOG_IDENTIFIER":"kernel","__REALTIME_TIMESTAMP":"99999999999999999999"}',
        "oom-kill:constraint=CONSTRAINT_MEMCG," + "a=," * 2000,
        "traps: " + "[" * 3000,
        "\x1b[31m",
        "\0",
        "\ud800",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(PIECES | st.text(max_size=20), max_size=3).map("".join), max_size=25))
def test_any_lines_can_be_parsed(lines):
    is_kernel_log(lines)
    text = "\n".join(lines)
    parsed = parse_kernel_log(text, datetime(2026, 11, 22))
    assert parsed.lines <= set(range(1, text.count("\n") + 2))
    for row in parsed.tables["events"]:
        assert set(row) | {"host", "source"} == set(TABLES["events"])
        assert json.loads(row["fields"]).get("pid", 0) < 2**63
    pyarrow.Table.from_pylist(parsed.tables["events"])
