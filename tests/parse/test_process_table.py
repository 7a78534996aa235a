"""Tables of processes: every form of ps, the status of a unit, and what a process is to Ollama."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check, damaged
from warmstall.parse.process_roles import role_of
from warmstall.parse.process_table import is_process_table, parse_process_table

BSD = """\
USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND
root           1  0.0  0.0 167744 12000 ?        Ss   Feb23   0:12 /sbin/init
ollama      3527  0.1  2.5 200000 67544 ?        Ssl  Feb23  25:40 /bin/ollama serve
ollama   1451128 99.7  0.2 467037 75429 ?        Rl   09:29   0:01  \\_ /bin/ollama runner --model /x --port 1
me       1451200  0.0  0.0   6000  2000 pts/0    S+   09:30   0:00 grep --color=auto ollama"""
SYSTEM_V = """\
UID          PID    PPID  C STIME TTY          TIME CMD
ollama      3527       1  0 Feb23 ?        00:25:40 /bin/ollama serve
ollama   1451128    3527 99 09:29 ?        00:00:01 /tmp/ollama12/runners/cpu/ollama_llama_server --port 1"""
LINUX = """\
    PID    PPID USER       ELAPSED STAT NLWP %CPU     TIME    RSS     VSZ COMMAND
   3527       1 ollama      950400 Ssl    12  0.1     1540  67544  200000 /bin/ollama serve
1451128    3527 ollama          61 Rl      9 99.7       60  75429  467037 /x/lib/ollama/llama-server --port 5
1451300       1 me            9999 Sl     40 12.0     1200 900000 9999999 /usr/lib/browser"""
MACOS = """\
  PID  PPID USER      ELAPSED STAT  %CPU    RSS      VSZ ARGS
  501     1 me     2-03:04:05 S      0.4  51200 34567890 /Applications/Ollama.app/Contents/Resources/ollama serve
  777   501 me          17:09 R    101.5 811200 44567890 /Applications/Ollama.app/Contents/Resources/ollama runner"""
STARTS = """\
    PID                  STARTED COMMAND
   3527 Fri Nov 20 20:49:03 2026 /bin/ollama serve
   4001 Sat 21 Nov 09:00:00 2026 uvicorn app:app
   5000 Sat Nov 21 09:30:05 2026 ps -eo pid,lstart,args"""
STATUS = """\
● ollama.service - Ollama Service
     Loaded: loaded (/etc/systemd/system/ollama.service; enabled; preset: enabled)
    Drop-In: /etc/systemd/system/ollama.service.d
             └─override.conf
     Active: active (running) since Fri 2026-11-20 07:23:15 UTC; 1h 44min ago
   Main PID: 1436 (ollama)
      Tasks: 58 (limit: 37297)
     Memory: 2.5G (high: 6.0G, max: 8.0G, available: 3.5G, peak: 3.0G, swap: 512.0K)
        CPU: 1h 59min 17.274s
     CGroup: /system.slice/ollama.service
             ├─  1436 /usr/local/bin/ollama serve
             └─240802 /usr/local/bin/ollama runner --model /x --port 34429

Nov 20 07:23:15 box ollama[1436]: [GIN] 2026/11/20 - 07:23:15 | 200 |"""


def processes(text: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in parse_process_table(text).tables["processes"]]


def test_ps_aux() -> None:
    columns = ("line", "pid", "role", "cpu_percent", "rss_bytes", "virtual_bytes", "state", "user", "elapsed_s")
    found = processes(BSD, *columns)
    assert found[1:3] == [
        (3, 3527, "serve", 0.1, 67544 * 1024, 200000 * 1024, "Ssl", "ollama", None),
        (4, 1451128, "runner", 99.7, 75429 * 1024, 467037 * 1024, "Rl", "ollama", None),
    ]
    assert [row[2] for row in found] == ["", "serve", "runner", ""]


def test_ps_ef() -> None:
    assert processes(SYSTEM_V, "pid", "parent_pid", "role", "user") == [
        (3527, 1, "serve", "ollama"), (1451128, 3527, "runner", "ollama"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", [BSD, SYSTEM_V], ids=["aux", "ef"])
def test_lines_that_grep_left_alone_mean_the_same(text: str) -> None:
    rows = text.split("\n")[1:]
    assert is_process_table(rows)
    assert processes("\n".join(rows), "pid", "role", "rss_bytes") == processes(text, "pid", "role", "rss_bytes")


def test_the_collectors_calls_of_ps() -> None:
    columns = ("pid", "parent_pid", "role", "elapsed_s", "threads", "cpu_percent", "rss_bytes")
    assert processes(LINUX, *columns) == [
        (3527, 1, "serve", 950400.0, 12, 0.1, 67544 * 1024),
        (1451128, 3527, "runner", 61.0, 9, 99.7, 75429 * 1024),
        (1451300, 1, "", 9999.0, 40, 12.0, 900000 * 1024),
    ]
    assert processes(MACOS, *columns) == [
        (501, 1, "serve", 183845.0, None, 0.4, 51200 * 1024),
        (777, 501, "runner", 1029.0, None, 101.5, 811200 * 1024),
    ]


@pytest.mark.parametrize("text", [BSD, SYSTEM_V, LINUX, MACOS, STARTS])
def test_every_line_of_a_table_is_understood(text: str) -> None:
    assert parse_process_table(text).lines == set(range(1, text.count("\n") + 2))


@pytest.mark.parametrize(
    "call", ["ps -eo pid,etime,cmd", "sudo ps -axww -o 'pid,etime=,args:90'", "ps ao pid,etime,args"]
)
def test_a_call_at_a_prompt_names_the_columns(call: str) -> None:
    row = "   8457     1-01:42:12  /bin/ollama runner --port 1"
    text = f"me@box:~$ {call} | grep ollama\n{row}\n\n 1 00:01 /bin/ollama serve"
    assert processes(text, "line", "pid", "elapsed_s", "role") == [(2, 8457, 92532.0, "runner")]


def test_ps_itself_tells_when_it_looked() -> None:
    looked = datetime(2026, 11, 21, 9, 30, 5)
    assert processes(STARTS, "role", "local_at", "elapsed_s", "started_at") == [
        ("serve", looked, 45662.0, None), ("uvicorn", looked, 1805.0, None),
    ]  # fmt: skip
    assert processes(STARTS.rpartition("\n")[0], "local_at", "elapsed_s") == [(None, None), (None, None)]


def test_of_the_others_the_busiest_are_kept() -> None:
    others = [f"{pid} {pid / 10} {10_000 - pid} job {pid}" for pid in range(100, 200)]
    text = "\n".join(["PID %CPU RSS COMMAND", "7 0.0 0 ollama serve", *others])
    assert [pid for (pid,) in processes(text, "pid")] == [7, *range(100, 105), *range(195, 200)]
    assert len(parse_process_table(text).lines) == 102


def test_a_cell_without_a_value_is_empty() -> None:
    text = "PID  PPID  CMD\n8500  -     /bin/ollama serve\nx 1 /bin/ollama serve"
    assert processes(text, "pid", "parent_pid") == [(8500, None)]
    assert parse_process_table(text).lines == {1, 2}


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("/usr/local/bin/ollama serve", "serve"),
        ("ollama start", "serve"),
        ("/Applications/Ollama.app/Contents/Resources/ollama serve", "serve"),
        (r"C:\Users\A B\AppData\Local\Programs\Ollama\ollama.exe serve", "serve"),
        ("/tmp/ollama1/llama.cpp/gguf/build/cuda/bin/ollama-runner --model /x", "runner"),
        ("/tmp/ollama2/runners/rocm/ollama_llama_server --model /x", "runner"),
        ("/usr/bin/ollama_llama_server runner --model /x", "runner"),
        ("ollama_llama_se", "runner"),
        ("/usr/bin/ollama runner --ollama-engine --model /x --port 1", "runner"),
        ("/usr/bin/ollama runner --mlx-engine --model gemma --port 1", "runner"),
        (r'"C:\Users\A B\AppData\Local\Programs\Ollama\ollama.exe" runner --port 1', "runner"),
        ("/usr/local/lib/ollama/llama-server --model /x --port 1", "runner"),
        ("/Applications/Ollama.app/Contents/Resources/llama-server --port 1", "runner"),
        ("/opt/llama-server --model /home/me/.ollama/models/blobs/sha256-ab --port 1", "runner"),
        ("/opt/llama.cpp/llama-server -m x.gguf", ""),
        ("/usr/bin/python3.11 /venv/bin/chroma run --path /data", "vector store"),
        ("python -m uvicorn chromadb.app:app --port 8000", "vector store"),
        ("./qdrant --config-path c.yaml", "vector store"),
        ("/bin/weaviate --host 0.0.0.0", "vector store"),
        ("milvus run standalone", "vector store"),
        ("text-embeddings-router --model-id m", "embedding service"),
        ("/venv/bin/python /venv/bin/infinity_emb v2 --port 7997", "embedding service"),
        ("gunicorn: worker [app:app]", "gunicorn"),
        ("/venv/bin/python3 /venv/bin/gunicorn -k uvicorn.workers.UvicornWorker app:app", "gunicorn"),
        ("/venv/bin/python -u -m uvicorn app:app", "uvicorn"),
        ("grep --color=auto ollama serve", ""),
        ("sudo /usr/bin/ollama serve", ""),
        ("/bin/sh -c /usr/bin/ollama serve", ""),
        ("/Applications/Ollama.app/Contents/MacOS/Ollama", ""),
        ("ollama run tiny", ""),
        ("vim chroma.py", ""),
        ("", ""),
    ],
)
def test_roles_by_the_names_of_every_era(command: str, role: str) -> None:
    assert role_of(command) == role


def test_status_of_a_unit() -> None:
    parsed = parse_process_table(STATUS)
    assert processes(STATUS, "line", "pid", "role") == [(11, 1436, "serve"), (12, 240802, "runner")]
    (memory,) = parsed.tables["memory"]
    assert {key: value for key, value in memory.items() if value is not None} == {
        "line": 8, "origin": "systemctl status", "used_bytes": 5 * 2**29, "high_bytes": 6.0 * 2**30,
        "limit_bytes": 8.0 * 2**30, "available_bytes": 7 * 2**29, "peak_bytes": 3 * 2**30, "swap_used_bytes": 2**19,
    }  # fmt: skip
    assert parsed.lines == set(range(1, 13))


def test_memory_of_other_units_is_none_of_ours() -> None:
    text = STATUS.replace("/usr/local/bin/ollama", "/usr/bin/postgres")
    assert not parse_process_table(text).tables["memory"]


@pytest.mark.parametrize("line", [
    "The PID column of ps shows the COMMAND.", "PID CMD", "Run ps aux to see them.", "| PID | CMD |",
    "time=2026-11-20T20:49:03Z level=INFO msg=x pid=5", "Main PID: see below",
])  # fmt: skip
def test_other_text_is_none(line: str) -> None:
    assert not is_process_table([line, "some words", "", line])


def test_real_captures(shared: Path) -> None:
    proven = set()
    for fact in map(json.loads, (shared / "corpus" / "index.jsonl").read_text().splitlines()):
        ours = {"serve_rss_KB", "runner_rss_KB", "runners", "memory_GB", "swap_MB", "runner_etime"} & set(
            fact["expected"]
        )
        if not ours:
            continue
        parsed = parse_process_table((shared / "corpus" / fact["file"]).read_text())
        serves = [row for row in parsed.tables["processes"] if row["role"] == "serve"]
        runners = [row for row in parsed.tables["processes"] if row["role"] == "runner"]
        memory = parsed.tables["memory"][0] if parsed.tables["memory"] else {"used_bytes": 0, "swap_used_bytes": 0}
        elapsed_s = int(runners[0]["elapsed_s"] or 0)
        found = {
            "serve_rss_KB": (serves[0]["rss_bytes"] or 0) / 1024,
            "runner_rss_KB": (runners[0]["rss_bytes"] or 0) / 1024,
            "runners": len(runners),
            "memory_GB": round(memory["used_bytes"] / 2**30, 3),
            "swap_MB": round(memory["swap_used_bytes"] / 2**20, 3),
            "runner_etime": f"{elapsed_s // 3600:02}:{elapsed_s // 60 % 60:02}:{elapsed_s % 60:02}",
        }
        assert {key: found[key] for key in ours} == {key: fact["expected"][key] for key in ours}, fact["file"]
        proven |= ours
    assert len(proven) == 6


def test_roles_of_all_recorded_runners(shared: Path) -> None:
    seen = 0
    for path in (shared / "real-ollama").glob("*/*/ps*.jsonl"):
        for sample in map(json.loads, path.read_text().splitlines()):
            commands = [process["cmd"] for process in sample["procs"] if process["role"] == "runner"]
            assert all(role_of(command) == "runner" for command in commands)
            seen += len(commands)
    assert seen > 4000


@pytest.fixture
def runner() -> Iterator[int]:
    """The number of a living child whose command line is that of a runner; it ends when its input does."""
    names = ["ollama runner --model /models/blobs/sha256-0 --port 1", "-c", "read line"]
    with subprocess.Popen(names, executable="/bin/sh", stdin=subprocess.PIPE) as child:
        yield child.pid
        child.communicate()


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("ps"), reason="reads this machine with Linux' ps")
@pytest.mark.parametrize("options", [
    ["-ww", "-eo", "pid,ppid,user:32,etimes,stat,nlwp,pcpu,cputimes,rss,vsz,args"], ["-eo", "pid,ppid,lstart,rss,args"],
    ["-eo", "pid,ppid,etime,rss,cmd"], ["auxww"], ["auxfww"], ["-efww"],
])  # fmt: skip
def test_a_runner_on_this_machine(runner: int, options: list[str]) -> None:
    # With COLUMNS set, ps cuts lines even where nobody looks at a terminal.
    own = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"LC_ALL": "C"}
    text = subprocess.run(["ps", *options], capture_output=True, text=True, check=True, env=own).stdout
    parsed = parse_process_table(text)
    check(parsed, text)
    assert parsed.lines == set(range(1, text.count("\n") + 1))
    (row,) = [row for row in parsed.tables["processes"] if row["pid"] == runner]
    assert (row["role"], row["command"]) == (
        "runner",
        "ollama runner --model /models/blobs/sha256-0 --port 1 -c read line",
    )
    if "ppid" in options[-1] or "-efww" in options:
        assert row["parent_pid"] == os.getpid()
    if "rss" in options[-1] or "aux" in options[-1]:
        assert row["rss_bytes"] > 0
    if "lstart" in options[-1]:
        assert row["local_at"]
    if "etime" in options[-1] or "lstart" in options[-1]:
        assert row["elapsed_s"] >= 0


@settings(deadline=None)
@given(st.sampled_from([BSD, SYSTEM_V, LINUX, MACOS, STARTS, STATUS]).flatmap(damaged))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_process_table(text), text)


@settings(deadline=None)
@given(st.text(alphabet="/\\ -\"'.amollnchruserv:$\n\0é", max_size=200))
def test_a_role_is_found_for_any_text(command: str) -> None:
    assert isinstance(role_of(command), str)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["/", "/ollama", " ", "python -m ", "/lib/ollama/", "a/ -", '"'])
def test_long_commands_take_no_long_time(piece: str) -> None:
    """The limit is generous: what is refused is time that grows with the power of the length."""
    assert role_of(piece * 100_000) in ("", "uvicorn")
