"""AMD's tools: rocm-smi and amd-smi, as tables, text and JSON of several releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check, damaged
from warmstall.parse.amd_smi import is_amd_smi, parse_amd_smi

MIB = 2**20
RULE = "=" * 80

ROCM_5 = f"""\
======================= ROCm System Management Interface =======================
================================= Concise Info =================================
GPU  Temp (DieEdge)  AvgPwr  SCLK    MCLK     Fan    Perf    PwrCap  VRAM%  GPU%
0    33.0c           37.0W   300Mhz  1200Mhz  9.41%  auto    290.0W    4%   12%
1    50.0c           N/A     800Mhz  1600Mhz  0%     manual  0.0W     97%   100%
{RULE}
============================= End of ROCm SMI Log =============================="""

ROCM_7 = f"""\
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

======================================== ROCm System Management Interface ========================================
================================================== Concise Info ==================================================
Device  Node  IDs              Temp    Power     Partitions          SCLK  MCLK  Fan  Perf  PwrCap  VRAM%  GPU%
              (DID,     GUID)  (Edge)  (Socket)  (Mem, Compute, ID)
{RULE}
0       1     0x1586,   40101  27.0°C  12.046W   N/A, N/A, 0         N/A   N/A   0%   auto  N/A     71%    3%
{RULE}
============================================== End of ROCm SMI Log ==============================================="""

LINES = """\
GPU[0]\t\t: VRAM Total Memory (B): 536870912
GPU[0]\t\t: VRAM Total Used Memory (B): 158003200   # most of it
GPU[0]\t\t: GTT Total Used Memory (B): 36192239616
GPU[0]\t\t: GPU use (%): 87
GPU[0]\t\t: Temperature (Sensor edge) (C): 61.0
GPU[0]\t\t: Temperature (Sensor junction) (C): 72.0
GPU[0]\t\t: Average Graphics Package Power (W): 88.5
GPU[1]\t\t: VRAM Total Memory (B): 17163091968
GPU[1]\t\t: Card Series: \t\tAMD Radeon RX 6800
GPU[1]\t\t: Temperature (Sensor junction) (C): 48.0
GPU[1]\t\t: GPU use (%): N/A"""

CARDS = json.dumps({
    "card0": {"VRAM Total Memory (B)": "205822885888", "VRAM Total Used Memory (B)": "2654650368", "GPU use (%)": "5",
              "Card Series": "AMD Instinct MI300X", "GFX Version": "gfx942",
              "Temperature (Sensor junction) (C)": "44.0",
              "Current Socket Graphics Package Power (W)": "160.0"},
    "system": {"Driver version": "6.12.12"},
})  # fmt: skip

METRIC = [
    {"gpu": 0, "usage": {"gfx_activity": {"value": 42.5, "unit": "%"}},
     "power": {"socket_power": {"value": 410, "unit": "W"}, "throttle_status": "N/A"},
     "temperature": {"edge": "N/A", "hotspot": {"value": 68, "unit": "C"}},
     "mem_usage": {"total_vram": {"value": 196608, "unit": "MB"}, "used_vram": {"value": 1234, "unit": "MB"}}},
    {"gpu": 1, "usage": "N/A", "mem_usage": {"total_vram": 512, "used_vram": 161}},
]  # fmt: skip
STATIC = [{
    "gpu": 0, "asic": {"market_name": "AMD Radeon RX 7900 XTX", "target_graphics_version": "gfx1100"},
    "limit": {"socket_power": {"value": 339, "unit": "W"}}, "driver": {"name": "amdgpu", "version": "6.14.4"},
    "vram": {"type": "GDDR6", "size": {"value": 24560, "unit": "MB"}},
}]  # fmt: skip
LIST = [{"gpu": 0, "bdf": "0000:03:00.0", "uuid": "66ff744c-0000-1000-80aa-000000000000", "kfd_id": 40251}]

TREE = """\
$ amd-smi static
GPU: 0
    ASIC:
        MARKET_NAME: AMD Radeon Graphics
        TARGET_GRAPHICS_VERSION: gfx1151
    LIMIT:
        SOCKET_POWER: 120 W
    VRAM:
        TYPE: LPDDR5
        SIZE: 98304 MB
    CLOCK:
        SYS:
            FREQUENCY_LEVELS:
                LEVEL 0: 600 MHz
$ amd-smi metric
GPU: 0
    USAGE:
        GFX_ACTIVITY: 17 %
    POWER:
        SOCKET_POWER: 31 W
    TEMPERATURE:
        EDGE: 28 °C
        HOTSPOT: N/A
    MEM_USAGE:
        TOTAL_VRAM: 98304 MB
        USED_VRAM: 3603 MB
        USED_GTT: 158 MB

GPU: 1
    PROCESS_INFO: No running processes detected"""

TABLE = """\
+------------------------------------------------------------------------------+
| AMD-SMI 26.2.2+e1a6bc5663    amdgpu version: 6.16.13  ROCm version: 7.2.1    |
| VBIOS version: 00158744                                                      |
| Platform: Linux Baremetal                                                    |
|-------------------------------------+----------------------------------------|
| BDF                        GPU-Name | Mem-Uti   Temp   UEC       Power-Usage |
| GPU  HIP-ID  OAM-ID  Partition-Mode | GFX-Uti    Fan               Mem-Usage |
|=====================================+========================================|
| 0000:03:00.0     AMD Radeon RX 6800 | 1 %      50 °C   0            44/203 W |
|   0       0     N/A             N/A | 9 %     25.49           14592/16368 MB |
|-------------------------------------+----------------------------------------|
| 0000:c5:00.0    AMD Radeon Graphics | N/A        N/A   0             N/A/0 W |
|   1       1     N/A             N/A | N/A        N/A              161/512 MB |
+-------------------------------------+----------------------------------------+
+------------------------------------------------------------------------------+
| Processes:                                                                   |
|  GPU        PID  Process Name          GTT_MEM  VRAM_MEM  MEM_USAGE     CU % |
|==============================================================================|
|    0      36750  llama-server           2.0 MB    9.5 GB     9.6 GB  N/A     |
|    1       1823  N/A                    0.0 B     0.0 B      0.0 B    0.0 %  |
+------------------------------------------------------------------------------+"""


def gpus(text: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in parse_amd_smi(text).tables["gpus"]]


def test_concise_tables_of_old_and_new_releases() -> None:
    columns = ("gpu", "temperature_c", "power_w", "memory_percent", "utilization_percent")
    assert gpus(ROCM_5, *columns) == [("0", 33.0, 37.0, 4.0, 12.0), ("1", 50.0, None, 97.0, 100.0)]
    assert gpus(ROCM_7, *columns) == [("0", 27.0, 12.046, 71.0, 3.0)]


@pytest.mark.parametrize(("text", "unknown"), [(ROCM_5, set()), (ROCM_7, {1, 2}), (TABLE, set()), (LINES, set())])
def test_lines_that_are_understood(text: str, unknown: set[int]) -> None:
    assert set(range(1, text.count("\n") + 2)) - parse_amd_smi(text).lines == unknown


def test_lines_of_one_look_are_one_row_a_gpu() -> None:
    assert gpus(
        LINES, "gpu", "name", "total_bytes", "used_bytes", "utilization_percent", "temperature_c", "power_w"
    ) == [
        ("0", None, 536870912, 158003200, 87.0, 61.0, 88.5),
        ("1", "AMD Radeon RX 6800", 17163091968, None, None, 48.0, None),
    ]
    assert gpus(LINES, "detail")[0] == ("gtt total used memory (b)=36192239616",)


def test_lines_of_two_looks_are_two_rows() -> None:
    line = "GPU[0]: VRAM Total Used Memory (B): {}"
    assert gpus(f"{line.format(5)}\n{line.format(7)}", "used_bytes", "line") == [(5, 1), (7, 2)]


def test_json_of_rocm_smi_after_a_warning() -> None:
    columns = ("gpu", "name", "driver", "total_bytes", "used_bytes", "temperature_c", "power_w", "detail")
    assert gpus(f"WARNING: low-power state\n{CARDS}\n", *columns) == [
        ("0", "AMD Instinct MI300X", "6.12.12", 205822885888, 2654650368, 44.0, 160.0, "gfx version=gfx942")
    ]


@pytest.mark.parametrize("document", [METRIC, {"gpu_data": METRIC}], ids=["list", "wrapped"])
def test_json_metrics(document: object) -> None:
    columns = ("gpu", "total_bytes", "used_bytes", "utilization_percent", "temperature_c", "power_w")
    assert gpus(json.dumps(document, indent=2), *columns) == [
        ("0", 196608 * MIB, 1234 * MIB, 42.5, 68.0, 410.0),
        ("1", 512 * MIB, 161 * MIB, None, None, None),
    ]


def test_json_of_static_and_list() -> None:
    columns = ("gpu", "name", "driver", "total_bytes", "power_w", "detail")
    assert gpus(json.dumps(STATIC), *columns) == [
        ("0", "AMD Radeon RX 7900 XTX", "6.14.4", 24560 * MIB, None, "target_graphics_version=gfx1100")
    ]
    assert gpus(json.dumps(LIST), "uuid", "detail") == [(LIST[0]["uuid"], "bdf=0000:03:00.0")]


def test_trees_of_text() -> None:
    columns = ("line", "name", "total_bytes", "used_bytes", "utilization_percent", "temperature_c", "power_w")
    assert gpus(TREE, *columns) == [
        (2, "AMD Radeon Graphics", 98304 * MIB, None, None, None, None),
        (16, None, 98304 * MIB, 3603 * MIB, 17.0, 28.0, 31.0),
    ]
    assert gpus(TREE, "detail")[1] == ("used_gtt=158 MB",)
    # Which processes hold the memory is not told, so that block is not understood.
    assert set(range(1, TREE.count("\n") + 2)) - parse_amd_smi(TREE).lines == {1, 15, 28, 29, 30}


def test_the_table_of_plain_amd_smi() -> None:
    columns = ("gpu", "name", "used_bytes", "total_bytes", "utilization_percent", "temperature_c", "power_w", "runtime")
    assert gpus(TABLE, *columns) == [
        ("0", "AMD Radeon RX 6800", 14592 * MIB, 16368 * MIB, 9.0, 50.0, 44.0, "ROCm 7.2.1"),
        ("1", "AMD Radeon Graphics", 161 * MIB, 512 * MIB, None, None, None, "ROCm 7.2.1"),
    ]
    rows = parse_amd_smi(TABLE).tables["gpu_processes"]
    assert [(row["gpu"], row["pid"], row["command"], row["used_bytes"]) for row in rows] == [
        ("0", 36750, "llama-server", 9.5 * 2**30), ("1", 1823, None, 0)
    ]  # fmt: skip


@pytest.mark.parametrize("text", [
    "GPU: 0\nwas slow today", "card0 is fine", '{"card0": {"title": "x"}}', '[{"gpu": 0, "price": 5}]',
    '[{"gpu": "x"}]', "Device  Temp is a column.", "| AMD-SMI 26 |",
])  # fmt: skip
def test_other_text_is_none(text: str) -> None:
    assert not is_amd_smi(text.split("\n"))


def test_real_captures(shared: Path) -> None:
    facts = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text().splitlines()]
    captures = [fact for fact in facts if {"vram_pct", "vram_used_bytes"} & set(fact["expected"])]
    assert len(captures) == 2
    for capture in captures:
        (row,) = parse_amd_smi((shared / "corpus" / capture["file"]).read_text()).tables["gpus"]
        found = {
            "vram_pct": row["memory_percent"], "gpu_pct": row["utilization_percent"], "temp_c": row["temperature_c"],
            "vram_used_bytes": row["used_bytes"],
        }  # fmt: skip
        ours = set(found) & set(capture["expected"])
        assert {key: found[key] for key in ours} == {key: capture["expected"][key] for key in ours}


SAMPLES = [ROCM_5, ROCM_7, LINES, CARDS, json.dumps(METRIC, indent=1), json.dumps(STATIC, indent=1), TREE, TABLE]


@settings(deadline=None)
@given(st.sampled_from(SAMPLES).flatmap(damaged))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_amd_smi(text), text)
