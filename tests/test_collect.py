"""Collections of real process trees: what is captured, what is missing and why, and that it only reads."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from live import LiveServer, live_server, program
from warmstall.case import open_case
from warmstall.collect.collection import Wanted
from warmstall.collect.commands import COMMANDS
from warmstall.collect.run import Collected, collect
from warmstall.errors import OutputError
from warmstall.host import Command, LocalHost, RecordedHost

NOT_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="process limits and control groups are Linux's")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction go where nobody else's are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def server(tmp_path):
    with live_server(tmp_path / "ollama-home") as live:
        yield live


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder whose programs are found first."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def collected(case: Path, wanted: Wanted | None = None, **options) -> Collected:
    return collect(LocalHost(), case, wanted or Wanted(), **options)


def text_of(found: Collected, file: str) -> str:
    return (found.case / "evidence" / found.host / file).read_text(errors="replace")


def reasons(found: Collected, collector: str) -> list[str]:
    return [f"{step.outcome}: {step.reason}" for step in found.steps if step.collector == collector and step.reason]


@NOT_LINUX
@pytest.mark.usefixtures("no_other_server")
def test_a_live_tree_is_captured(tmp_path, server):
    found = collected(tmp_path / "case", Wanted(goroutines=True))
    case = open_case(found.case)

    rows = case.sql("SELECT pid, parent_pid, role, rss_bytes FROM processes").set_index("pid")
    assert rows.loc[server.pid, "role"] == "serve"
    assert rows.loc[server.runner_pid, "role"] == "runner"
    assert rows.loc[server.runner_pid, "parent_pid"] == server.pid
    seen = psutil.Process(server.runner_pid).memory_info().rss
    assert rows.loc[server.runner_pid, "rss_bytes"] == pytest.approx(seen, rel=0.5)

    # By hand it writes to a file: found through the process, wherever it lies.
    assert "Listening on" in text_of(found, "by-hand.log")
    # The port comes from the server's own environment.
    probes = case.sql("SELECT endpoint, status FROM probes ORDER BY line")
    assert dict(zip(probes.endpoint, probes.status, strict=True))["/api/version"] == "200"
    assert any(endpoint.endswith("/slots") for endpoint in probes.endpoint)
    assert case.sql("SELECT model, context_length FROM resident_models").values.tolist() == [["tiny:latest", 4096]]
    assert case.sql("SELECT trained_context_length AS n FROM models").n.max() == 32768
    assert case.sql("SELECT count(*) AS n FROM slots").n[0] >= 1  # another server may run here
    assert "goroutine 1" in text_of(found, "goroutines.txt")
    settings = case.sql("SELECT value FROM settings WHERE origin = 'process environment' AND name = 'OLLAMA_HOST'")
    assert settings.value[0] == f"127.0.0.1:{server.port}"
    memory = case.sql("SELECT total_bytes, available_bytes FROM memory WHERE origin = 'linux'")
    assert memory.total_bytes[0] == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    # Every row has the time at which it was captured.
    for table in ("processes", "limits", "memory", "settings"):
        assert case.sql(f'SELECT count(*) AS n FROM {table} WHERE "at" IS NULL').n[0] == 0, table


@NOT_LINUX
def test_limits_are_those_of_the_live_process(tmp_path):
    wrapper = ["prlimit", "--memlock=65536:131072", "--nofile=512:1024"]
    with live_server(tmp_path / "home", wrapper=wrapper) as live:
        case = open_case(collected(tmp_path / "case").case)
        for pid in (live.pid, live.runner_pid):
            rows = case.sql("SELECT resource, soft, hard FROM limits WHERE subject = $pid", pid=str(pid))
            found = {row.resource: (row.soft, row.hard) for row in rows.itertuples()}
            assert found["MEMLOCK"] == psutil.Process(pid).rlimit(psutil.RLIMIT_MEMLOCK) == (65536, 131072)
            assert found["NOFILE"] == psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE) == (512, 1024)


@NOT_LINUX
def test_the_memory_limit_of_the_control_group_is_seen(tmp_path):
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, file = (v1, "memory.limit_in_bytes") if (v1 / "memory.limit_in_bytes").exists() else (v2, "memory.max")
    group = parent / f"warmstall-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / file).write_text("2147483648")
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror})")
    try:
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        with live_server(tmp_path / "home", wrapper=enter):
            case = open_case(collected(tmp_path / "case").case)
        rows = case.sql(
            "SELECT limit_bytes, used_bytes FROM memory WHERE origin LIKE $group", group=f"cgroup:%{group.name}"
        )
        assert rows.limit_bytes.tolist() == [2147483648]
        assert 0 < rows.used_bytes[0] < 2147483648
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:  # until the kernel has let its last process go
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.05)


@NOT_LINUX
@pytest.mark.usefixtures("no_other_server")
def test_tools_that_hang_or_refuse_leave_a_case_that_says_so(tmp_path, server, tools):
    program(tools, "nvidia-smi", "trap '' TERM INT; sleep 600")
    program(tools, "journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
    program(tools, "systemctl", "echo 'Failed to connect to bus: No such file or directory' >&2; exit 1")
    began = time.monotonic()
    found = collected(tmp_path / "case")
    assert time.monotonic() - began < 60  # bounded; the deadlines are seconds
    assert any("timed_out: nvidia-smi did not end within" in reason for reason in reasons(found, "GPU"))
    assert any(reason.startswith("refused: journalctl") for reason in reasons(found, "server logs"))
    assert any("Failed to connect to bus" in reason for reason in reasons(found, "systemd"))
    # The others are not held up by them.
    assert {"processes.txt", "memory.txt", "api.jsonl", "limits.txt", "by-hand.log"} <= set(found.files)
    case = open_case(found.case)
    told = case.sql("SELECT reason FROM collection WHERE outcome = 'timed_out'").reason.tolist()
    assert any("nvidia-smi" in reason for reason in told)
    assert "nvidia-smi did not end" in str(found)


@pytest.mark.usefixtures("no_other_server")
def test_a_dead_server_is_evidence(tmp_path):
    found = collected(tmp_path / "case", Wanted(port=9))
    rows = open_case(found.case).sql("SELECT endpoint, status, error FROM probes")
    assert set(rows.endpoint) == {"/api/version", "/api/ps", "/api/tags"}
    assert rows.status.isna().all()
    assert rows.error.str.contains("ConnectError").all()


@NOT_LINUX
def test_a_full_disk_keeps_what_fits_and_the_record(tmp_path, server):
    disk = tmp_path / "small-disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        big = tmp_path / "big.log"
        big.write_text("time=2026-11-21T09:00:00.000Z level=INFO source=x.go:1 msg=hello\n" * 20_000)
        found = collected(disk / "case", Wanted(logs=(str(big),)))
        assert "processes.txt" in found.files
        assert "big.log" not in found.files
        assert any(
            "big.log: cannot be written (No space left on device)" in reason for reason in reasons(found, "case")
        )
        assert json.loads((disk / "case" / "case.json").read_text())["hosts"] == [found.host]
        assert not list(disk.rglob("big.log"))
        record = (disk / "case" / "evidence" / found.host / "collection.jsonl").read_text()
        assert "No space left" in record
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        collected(tmp_path / "file" / "case")


def test_a_second_collection_of_the_same_host_is_refused(tmp_path):
    collected(tmp_path / "case", Wanted(port=9))
    with pytest.raises(OutputError, match="holds a collection of"):
        collected(tmp_path / "case", Wanted(port=9))


def test_a_collector_that_breaks_fails_alone(tmp_path, monkeypatch):
    def broken(desk: object) -> None:
        raise RuntimeError("an unforeseen thing")

    monkeypatch.setattr("warmstall.collect.memory.collect", broken)
    found = collected(tmp_path / "case", Wanted(port=9))
    assert reasons(found, "memory") == ["failed: RuntimeError: an unforeseen thing"]
    assert "processes.txt" in found.files


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_rotations_are_unpacked_so_that_their_secrets_are_found(tmp_path, suffix, pack):
    log = tmp_path / f"server-1.log.{suffix}"
    line = "time=2026-11-21T09:00:00.000Z level=INFO source=x.go:1 msg=x key=sk-proj-abcdefABCDEF0123456789abcdef"
    log.write_bytes(pack(line.encode()))
    found = collected(tmp_path / "case", Wanted(port=9, logs=(str(log),)))
    text = text_of(found, "server-1.log")
    assert text.startswith("time=2026-11-21T09:00:00.000Z")
    assert "abcdefABCDEF0123456789" not in text


@pytest.mark.usefixtures("no_other_server")
def test_what_cannot_be_unpacked_or_is_no_text_is_not_kept(tmp_path):
    cut = tmp_path / "server-1.log.gz"
    cut.write_bytes(gzip.compress(os.urandom(5000))[2000:])
    binary = tmp_path / "server.log"
    binary.write_bytes(b"\x7fELF\0\0\1" * 2000)
    found = collected(tmp_path / "case", Wanted(port=9, logs=(str(cut), str(binary))))
    assert not {"server-1.log", "server-1.log.gz", "server.log"} & set(found.files)
    told = reasons(found, "server logs")
    assert any("its beginning is missing" in reason for reason in told)
    assert any("it is no text" in reason for reason in told)


def test_a_log_that_is_cut_begins_with_a_whole_line(tmp_path):
    log = tmp_path / "big.log"
    log.write_text("x" * 90 + " password=Zq7hVx93Zq7hVx93\n" + "time=2026-11-21T09:00:00.000Z level=INFO msg=y\n" * 3)
    size = log.stat().st_size
    wanted = Wanted(port=9, logs=(str(log),), most_log_bytes=size - 103)  # the cut is within the password's name
    assert text_of(collected(tmp_path / "case", wanted), "big.log").startswith("time=")


def test_the_same_log_under_two_names_is_kept_once(tmp_path):
    line = "time=2026-11-21T09:00:00.000Z level=INFO source=x.go:1 msg=hello\n"
    (tmp_path / "one.log").write_text(line * 100)
    (tmp_path / "two.log").write_text(line * 101)  # it has grown between the two looks
    found = collected(tmp_path / "case", Wanted(port=9, logs=(str(tmp_path / "one.log"), str(tmp_path / "two.log"))))
    assert {"one.log", "two.log"} & set(found.files) == {"one.log"}
    assert "skipped: the same as one.log" in reasons(found, "server logs")


def test_of_a_pod_only_what_matters_is_kept(tmp_path):
    pod = {
        "kind": "Pod", "metadata": {"name": "ollama-0", "annotations": {"last": "secret=Tr0ub4dor-xyz"}},
        "spec": {"containers": [{"name": "ollama", "args": ["Tr0ub4dor-xyz"], "env": [
            {"name": "PGPASS", "value": "Tr0ub4dor-xyz"}, {"name": "OLLAMA_KEEP_ALIVE", "value": "10m"}]}]},
        "status": {"containerStatuses": [{"name": "ollama", "restartCount": 3}]},
    }  # fmt: skip
    command = "kubectl get pod --namespace default ollama-0 --output json"
    host = RecordedHost(outputs={command: json.dumps(pod)})
    found = collect(host, tmp_path / "case", Wanted(port=9, pods=("default/ollama-0",)))
    text = text_of(found, "pod-0.json")
    assert "Tr0ub4dor" not in text
    assert "OLLAMA_KEEP_ALIVE" in text
    assert open_case(found.case).sql("SELECT restarts FROM containers").restarts.tolist() == [3]


def test_a_record_of_another_form_is_passed_over(tmp_path):
    folder = tmp_path / "case" / "evidence"
    host = RecordedHost(name="box")
    first = collect(host, tmp_path / "case", Wanted(port=9), keep=("host",))
    record = folder / first.host / "collection.jsonl"
    record.write_text('{"collector": ["x"]}\nnonsense\n[1]\n' + "[" * 5000 + "\n")
    (tmp_path / "case" / "case.json").write_text('{"clock_ahead_s": 7, "hosts": 3, "zones_s": []}')
    again = collect(host, tmp_path / "case", Wanted(port=9), keep=("host",))
    assert json.loads((tmp_path / "case" / "case.json").read_text())["hosts"] == [again.host]


# Nothing is written to the observed system


def test_every_command_of_a_collection_is_typed_read():
    assert COMMANDS
    for command in COMMANDS.values():
        assert command.effect == "read", command.name
    programs = {command.argv[0] for command in COMMANDS.values()}
    # A reviewed list: whoever adds a program to the table says here that it only reads.
    assert programs <= {
        "amd-smi", "date", "dmesg", "docker", "dscl", "find", "getent", "id", "journalctl", "kubectl", "log",
        "memory_pressure",
        "nvidia-smi", "ps", "readlink", "rocm-smi", "sysctl", "system_profiler", "systemctl", "systemd-analyze", "tail",
        "uname", "vm_stat",
    }  # fmt: skip
    subcommands = {(c.argv[0], c.argv[1]) for c in COMMANDS.values() if c.argv[0] in ("docker", "kubectl", "systemctl")}
    assert subcommands == {
        ("docker", "logs"), ("docker", "ps"), ("docker", "inspect"), ("kubectl", "logs"), ("kubectl", "get"),
        ("systemctl", "show"), ("systemctl", "cat"),
    }  # fmt: skip
    words = {word for command in COMMANDS.values() for word in command.argv}
    assert not words & {"-w", "-exec", "-delete", "--follow", "-f", "--rotate", "--vacuum-size", "set", "-C", "--clear"}


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows"])
def test_a_collection_runs_only_commands_of_the_table(tmp_path, system):
    table = "PID PPID USER ELAPSED STAT NLWP %CPU TIME RSS VSZ COMMAND\n77 1 me 100 S 5 0.1 1 2000 9000 ollama serve\n"
    host = RecordedHost(name="box", system=system)
    host.outputs = {
        " ".join(COMMANDS["processes"].argv): table, " ".join(COMMANDS["processes of macOS"].argv): table,
        "docker ps --all --no-trunc --format '{{json .}}'": '{"Names": "ollama", "Image": "ollama/ollama"}',
    }  # fmt: skip
    found = collect(host, tmp_path / "case", Wanted(port=9, pods=("default/ollama-0",), goroutines=True))
    assert "processes.txt" in found.files
    assert len(host.asked) > 5
    assert {command.name for command in host.asked} <= set(COMMANDS)
    assert all(command.effect == "read" for command in host.asked)


@NOT_LINUX
def test_no_file_of_the_observed_tree_changes(tmp_path, server):
    before = _state_of(server)
    collected(tmp_path / "case", Wanted(goroutines=True))
    assert _state_of(server) == before


def _state_of(server: LiveServer) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in server.folder.iterdir()}


def test_a_recorded_mac_is_collected(tmp_path):
    vm_stat = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 100.\nSwapouts: 7.\n"
    host = RecordedHost(name="mac", system="Darwin", outputs={
        "vm_stat": vm_stat, " ".join(COMMANDS["macOS memory settings"].argv): "hw.memsize: 17179869184\n",
    })  # fmt: skip
    found = collect(host, tmp_path / "case", Wanted(port=9))
    assert text_of(found, "vm_stat.txt") == vm_stat
    assert open_case(found.case).sql("SELECT max(free_bytes) AS n FROM memory").n[0] == 100 * 16384


def test_what_to_do_with_an_unknown_word_in_a_command():
    with pytest.raises(KeyError):
        Command("x", ("tail", "{path}")).words()
    assert Command("x", ("docker", "--format", "{{json .}}")).words() == ["docker", "--format", "{{json .}}"]


def test_the_record_can_be_read_back(tmp_path):
    found = collected(tmp_path / "case", Wanted(port=9))
    lines = (found.case / "evidence" / found.host / "collection.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(step) for step in found.steps]


def test_the_case_of_a_folder_with_two_hosts_names_both(tmp_path):
    for name in ("one", "two"):
        collect(RecordedHost(name=name), tmp_path / "case", Wanted(port=9), keep=("host",))
    note = json.loads((tmp_path / "case" / "case.json").read_text())
    assert note["hosts"] == ["one", "two"]
    assert shutil.which("true")
