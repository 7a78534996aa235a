"""nvidia-smi: every layout of its table, its CSV answers, its failures, and how GPUs are connected."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check, damaged
from warmstall.parse.nvidia_smi import is_nvidia_smi, parse_nvidia_smi

MIB = 2**20

# Driver 331 (2014): no CUDA version, no types of processes, a bus id of four digits.
OLD = """\
Mon Mar  3 09:15:07 2014
+------------------------------------------------------+
| NVIDIA-SMI 331.62     Driver Version: 331.62         |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  Tesla K20c          On   | 0000:05:00.0     Off |                    0 |
| 31%   41C    P0    52W / 225W |    310MiB /  4799MiB |     63%      Default |
+-------------------------------+----------------------+----------------------+
|   1  GeForce GT 630      Off  | 0000:06:00.0     N/A |                  N/A |
| 40%   33C  N/A     N/A /  N/A |      7MiB /  2047MiB |     N/A      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Compute processes:                                               GPU Memory |
|  GPU       PID  Process name                                     Usage      |
|=============================================================================|
|    0      7177  ./train                                              295MiB |
|    1            Not Supported                                               |
+-----------------------------------------------------------------------------+"""

# Driver 440 (2020): CUDA version, types, no MIG line.
WITHOUT_MIG = """\
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 440.33.01    Driver Version: 440.33.01    CUDA Version: 10.2     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  GeForce GTX 106...  Off  | 00000000:0A:00.0  On |                  N/A |
|  0%   47C    P5    14W / 120W |   1201MiB /  6069MiB |      3%      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                       GPU Memory |
|  GPU       PID   Type   Process name                             Usage      |
|=============================================================================|
|    0      1001      G   /usr/lib/xorg/Xorg                           401MiB |
|    0      5150      C   /usr/bin/ollama                              777MiB |
+-----------------------------------------------------------------------------+"""

# Driver 610 (2026) on Windows: versions are called KMD and UMD; memory of processes is hidden; a name has spaces.
NEW = """\
Fri Oct  9 00:57:51 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.43                 KMD Version: 610.43        CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                  Driver-Model | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 4070 ...  WDDM  |   00000000:01:00.0  On |                  N/A |
|100%   71C    P2            212W /  220W |   11999MiB /  12282MiB |    100%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+

+-----------------------------------------------------------------------------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|
|    0   N/A  N/A            4321    C+G   ...ogram Files\\Some App\\app.exe          N/A      |
|    0   N/A  N/A            8765      C   ...s\\Ollama\\lib\\ollama\\llama-server.exe  N/A      |
+-----------------------------------------------------------------------------------------+"""

# A MIG host: the GPU counts the memory of its instances; a Jetson, which hides almost everything.
MIG = """\
| NVIDIA-SMI 535.161.08             Driver Version: 535.161.08   CUDA Version: 12.2     |
|=========================================+======================+======================|
|   0  NVIDIA A100-SXM4-40GB          On  | 00000000:07:00.0 Off |                   On |
| N/A   24C    P0              42W / 400W |     75MiB / 40960MiB |     N/A      Default |
|                                         |                      |              Enabled |
|   1  Orin (nvgpu)                  N/A  | N/A              N/A |                  N/A |
| N/A   N/A  N/A               N/A /  N/A | Not Supported        |     N/A          N/A |
+-----------------------------------------+----------------------+----------------------+
| MIG devices:                                                                          |
+------------------+--------------------------------+-----------+-----------------------+
|  0    5   0   0  |              25MiB /  9856MiB  | 28      0 |  2   0    1    0    0 |
|                  |               0MiB / 16383MiB  |           |                       |
+------------------+--------------------------------+-----------+-----------------------+
| Processes:                                                                            |
|  GPU   GI   CI        PID   Type   Process name                            GPU Memory |
|=======================================================================================|
|    0    5    0      31337      C   python3                                     20MiB  |
|  No running processes found                                                           |
+---------------------------------------------------------------------------------------+"""


def gpus(text: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in parse_nvidia_smi(text).tables["gpus"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OLD, [("0", "Tesla K20c", 310 * MIB, 4799 * MIB, 63.0, 41.0, 52.0, "331.62", None),
               ("1", "GeForce GT 630", 7 * MIB, 2047 * MIB, None, 33.0, None, "331.62", None)]),
        (WITHOUT_MIG, [("0", "GeForce GTX 106...", 1201 * MIB, 6069 * MIB, 3.0, 47.0, 14.0, "440.33.01", "CUDA 10.2")]),
        (NEW, [("0", "NVIDIA GeForce RTX 4070 ...", 11999 * MIB, 12282 * MIB, 100.0, 71.0, 212.0, "610.43",
                "CUDA 13.3")]),
        (MIG, [("0", "NVIDIA A100-SXM4-40GB", 75 * MIB, 40960 * MIB, None, 24.0, 42.0, "535.161.08", "CUDA 12.2"),
               ("1", "Orin (nvgpu)", None, None, None, None, None, "535.161.08", "CUDA 12.2")]),
    ],
    ids=["2014", "2020", "2026", "mig"],
)  # fmt: skip
def test_gpus_of_every_layout(text: str, expected: list[tuple[Any, ...]]) -> None:
    columns = ("gpu", "name", "used_bytes", "total_bytes", "utilization_percent", "temperature_c", "power_w", "driver",
               "runtime")  # fmt: skip
    assert gpus(text, *columns) == expected
    assert is_nvidia_smi(text.split("\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OLD, [("0", 7177, "./train", 295 * MIB)]),
        (WITHOUT_MIG, [("0", 1001, "/usr/lib/xorg/Xorg", 401 * MIB), ("0", 5150, "/usr/bin/ollama", 777 * MIB)]),
        (NEW, [("0", 4321, r"...ogram Files\Some App\app.exe", None),
               ("0", 8765, r"...s\Ollama\lib\ollama\llama-server.exe", None)]),
        (MIG, [("0", 31337, "python3", 20 * MIB)]),
    ],
    ids=["2014", "2020", "2026", "mig"],
)  # fmt: skip
def test_processes_of_every_layout(text: str, expected: list[tuple[Any, ...]]) -> None:
    rows = parse_nvidia_smi(text).tables["gpu_processes"]
    assert [(row["gpu"], row["pid"], row["command"], row["used_bytes"]) for row in rows] == expected


def test_every_line_is_understood_but_those_of_mig_instances() -> None:
    for text in (OLD, WITHOUT_MIG, NEW):
        assert parse_nvidia_smi(text).lines == {n for n, line in enumerate(text.split("\n"), 1) if line}
    left_out = set(range(1, MIG.count("\n") + 2)) - parse_nvidia_smi(MIG).lines
    assert left_out == {11, 12}


def test_the_date_has_no_zone() -> None:
    for row in (*parse_nvidia_smi(NEW).tables["gpus"], *parse_nvidia_smi(NEW).tables["gpu_processes"]):
        assert (row["at"], row["local_at"]) == (None, datetime(2026, 10, 9, 0, 57, 51))


def test_a_series_has_a_row_per_look_with_its_own_time() -> None:
    later = NEW.replace("00:57:51", "00:57:56").replace("11999MiB", "  100MiB")
    assert gpus(f"$ nvidia-smi -l 5\n{NEW}\n{later}", "local_at", "used_bytes") == [
        (datetime(2026, 10, 9, 0, 57, 51), 11999 * MIB),
        (datetime(2026, 10, 9, 0, 57, 56), 100 * MIB),
    ]


UUID = "GPU-00000000-1111-2222-3333-444444444444"


def test_csv_of_gpus_with_units_and_without() -> None:
    header = "index, name, uuid, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], pstate"
    rows = f"0, NVIDIA L4, {UUID}, 570.1, 23034 MiB, 21094 MiB, 7 %, P0\n1, X, [N/A], [N/A], [N/A], 0 MiB, [N/A], P8"
    with_units = f"{header}\n{rows}"
    bare = f"{header}\n{rows.replace(' MiB', '').replace(' %', '')}"
    columns = ("gpu", "name", "uuid", "driver", "total_bytes", "used_bytes", "utilization_percent", "detail")
    expected = [
        ("0", "NVIDIA L4", UUID, "570.1", 23034 * MIB, 21094 * MIB, 7.0, "pstate=P0"),
        ("1", "X", None, None, None, 0, None, "pstate=P8"),
    ]
    assert gpus(with_units, *columns) == expected
    assert gpus(bare, *columns) == expected


def test_csv_rows_carry_their_local_times_and_noise_between_them_is_left_out() -> None:
    text = (
        "timestamp, utilization.gpu [%], memory.used [MiB], memory.total [MiB], power.draw [W], temperature.gpu\n"
        "2026/06/21 17:00:00.500, 44 %, 1936 MiB, 8188 MiB, 18.25 W, 61\n"
        "a, b, c, d, e, f\n"
        "2026/06/21 17:00:01.500, 45 %, 1936 MiB, 8188 MiB, [N/A], 62\n"
    )
    assert gpus(text, "local_at", "power_w", "temperature_c") == [
        (datetime(2026, 6, 21, 17, 0, 0, 500000), 18.25, 61.0),
        (datetime(2026, 6, 21, 17, 0, 1, 500000), None, 62.0),
    ]
    assert parse_nvidia_smi(text).lines == {1, 2, 4}


def test_csv_of_processes_keeps_commas_in_names() -> None:
    text = (
        "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"
        f"{UUID}, 42, /opt/a, b/ollama, 374 MiB\n{UUID}, 43, [Insufficient Permissions], [N/A]\n"
    )
    rows = parse_nvidia_smi(text).tables["gpu_processes"]
    assert [(row["gpu"], row["pid"], row["command"], row["used_bytes"]) for row in rows] == [
        (UUID, 42, "/opt/a, b/ollama", 374 * MIB),
        (UUID, 43, "[Insufficient Permissions]", None),
    ]


@pytest.mark.parametrize("message", [
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.",
    "Failed to initialize NVML: Driver/library version mismatch",
    "No devices were found",
    "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error",
])  # fmt: skip
def test_a_failure_is_a_probe_with_its_message(message: str) -> None:
    parsed = parse_nvidia_smi(f"$ nvidia-smi\r\n{message}\r\n")
    assert [(row["endpoint"], row["error"], row["line"]) for row in parsed.tables["probes"]] == [
        ("nvidia-smi", message, 2)
    ]
    assert not parsed.tables["gpus"]


@pytest.mark.parametrize("line", [
    "If it says NVIDIA-SMI has failed because of the driver, restart.",
    "name, model, error", "index, name", "| GPU | Name |", "[GIN] 2026/11/20 - 20:49:02 | 200 |",
])  # fmt: skip
def test_prose_and_other_tables_are_none(line: str) -> None:
    assert not is_nvidia_smi([line, "0, a", "", line])


MATRIX = """\
$ nvidia-smi topo -m
\tGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID
GPU0\t X \tNV4\tSYS\tPXB\t0-15\t0\t\tN/A
GPU1\tNV4\t X \tPHB\tSYS\t0-15\t0\t\tN/A
GPU2\tSYS\tPHB\t X \tSYS\t16-31\t1\t\tN/A
NIC0\tPXB\tSYS\tSYS\t X \t\t\t\t

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NV#  = Connection traversing a bonded set of # NVLinks

NIC Legend:

  NIC0: mlx5_0"""


@pytest.mark.parametrize("text", [MATRIX, MATRIX.expandtabs(8)], ids=["tabs", "spaces"])
def test_a_matrix_gives_each_pair_of_gpus_once(text: str) -> None:
    parsed = parse_nvidia_smi(text)
    assert [tuple(row[c] for c in ("gpu", "other", "link", "nvlink")) for row in parsed.tables["gpu_links"]] == [
        ("0", "1", "NV4", True), ("0", "2", "SYS", False), ("1", "2", "PHB", False),
    ]  # fmt: skip
    assert parsed.lines == {n for n, line in enumerate(text.split("\n"), 1) if line} - {1}


@pytest.mark.parametrize(("link", "nvlink"), [("NV1", True), ("NV18", True), ("NODE", False), ("PIX", False)])
def test_nvlink_is_nv_with_a_number(link: str, nvlink: bool) -> None:
    (row,) = parse_nvidia_smi(f"\tGPU0\tGPU1\nGPU0\t X \t{link}").tables["gpu_links"]
    assert (row["link"], row["nvlink"]) == (link, nvlink)


def test_a_matrix_of_capabilities_shows_no_links() -> None:
    assert not is_nvidia_smi(["        GPU0    GPU1", " GPU0   X       OK", " GPU1   OK      X"])


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, dict[str, Any]]:
    """What is true of each real capture, counted by hand."""
    facts = (json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text().splitlines())
    return {fact["file"]: fact["expected"] for fact in facts if fact["kind"] == "ps-gpu"}


def test_real_tables(shared: Path, expected: dict[str, dict[str, Any]]) -> None:
    tables = {name: facts for name, facts in expected.items() if "gpus" in facts}
    assert tables
    for name, facts in tables.items():
        used = [bytes_ // MIB for (bytes_,) in gpus((shared / "corpus" / name).read_text(), "used_bytes")]
        assert (len(used), used) == (facts["gpus"], facts["memory_used_MiB"])


def test_real_topologies(shared: Path, expected: dict[str, dict[str, Any]]) -> None:
    topologies = {name: facts for name, facts in expected.items() if "topo-" in name}
    assert len(topologies) == 3
    for name, facts in topologies.items():
        text = (shared / "corpus" / name).read_text()
        assert is_nvidia_smi(text.split("\n"))
        rows = parse_nvidia_smi(text).tables["gpu_links"]
        links = {(row["gpu"], row["other"]): row for row in rows}
        found = {
            "link_GPU0_GPU1": links["0", "1"]["link"],
            "nvlink": any(row["nvlink"] for row in rows),
            "gpu_pairs_nv12": sum(row["link"] == "NV12" for row in rows),
        }
        assert facts == {key: found[key] for key in facts}, name


@settings(deadline=None)
@given(st.sampled_from([OLD, WITHOUT_MIG, NEW, MIG, MATRIX]).flatmap(damaged))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_nvidia_smi(text), text)
