"""system_profiler: Apple silicon, Intel graphics and cards beside it, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check, damaged
from warmstall.parse.macos_gpu import is_macos_gpu, parse_macos_gpu

APPLE = """\
Graphics/Displays:

    Apple M2 Pro:

      Chipset Model: Apple M2 Pro
      Type: GPU
      Bus: Built-In
      Total Number of Cores: 19
      Vendor: Apple (0x106b)
      Metal Support: Metal 3
      Displays:
        Color LCD:
          Display Type: Built-in Liquid Retina XDR Display
          Bus: none of the GPU's
"""
TWO = """\
Graphics/Displays:

    Intel UHD Graphics 630:

      Chipset Model: Intel UHD Graphics 630
      Type: GPU
      Bus: Built-In
      VRAM (Dynamic, Max): 1536 MB
      Vendor: Intel
      Metal: Supported, feature set macOS GPUFamily2 v1

    AMD Radeon Pro 5300M:

      Chipset Model: AMD Radeon Pro 5300M
      Bus: PCIe
      VRAM (Total): 4 GB
      Vendor: AMD (0x1002)
      Metal Family: Supported, Metal GPUFamily macOS 2
Hardware:
      Vendor: nobody
"""
JSON = {
    "SPDisplaysDataType": [
        {"_name": "Apple M4", "spdisplays_mtlgpufamilysupport": "spdisplays_metal4",
         "spdisplays_ndrvs": [{"_name": "Color LCD"}], "spdisplays_vendor": "sppci_vendor_Apple",
         "sppci_bus": "spdisplays_builtin", "sppci_cores": "10", "sppci_model": "Apple M4"},
        {"_name": "card", "spdisplays_vendor": "sppci_vendor_amd", "spdisplays_vram": "8 GB",
         "sppci_bus": "spdisplays_pcie_device", "sppci_model": "AMD Radeon Pro 5500M"},
    ]
}  # fmt: skip


def gpus(text: str) -> list[tuple[Any, ...]]:
    columns = ("gpu", "name", "vendor", "total_bytes", "runtime", "detail")
    return [tuple(row[column] for column in columns) for row in parse_macos_gpu(text).tables["gpus"]]


def test_apple_silicon_has_no_memory_of_its_own() -> None:
    assert gpus(APPLE) == [("0", "Apple M2 Pro", "Apple", None, "Metal 3", "cores=19, bus=Built-In, memory=shared")]


def test_intel_shares_and_a_card_has_its_own() -> None:
    assert gpus(TWO) == [
        ("0", "Intel UHD Graphics 630", "Intel", 1536 * 2**20, None, "bus=Built-In, memory=shared"),
        ("1", "AMD Radeon Pro 5300M", "AMD", 4 * 2**30, None, "bus=PCIe"),
    ]


def test_what_is_said_of_a_display_is_not_said_of_the_gpu() -> None:
    text = "  Chipset Model: Some GPU\n  Displays:\n    Color LCD:\n      Bus: x\n      Vendor: y"
    assert gpus(text) == [("0", "Some GPU", None, None, None, None)]


@pytest.mark.parametrize("indent", [None, 2])
def test_json(indent: int | None) -> None:
    assert gpus(json.dumps(JSON, indent=indent)) == [
        ("0", "Apple M4", "Apple", None, "Metal 4", "cores=10, bus=Built-In, memory=shared"),
        ("1", "AMD Radeon Pro 5500M", "AMD", 8 * 2**30, None, "bus=pcie"),
    ]


def test_what_belongs_to_a_gpu_is_understood_and_nothing_after_it() -> None:
    assert parse_macos_gpu(APPLE).lines == set(range(5, 15))
    assert max(parse_macos_gpu(TWO).lines) == 18


@pytest.mark.parametrize("line", ["Chipset Model:", "The Chipset Model: is shown there.", "Vendor: Apple", "{}"])
def test_other_text_is_none(line: str) -> None:
    assert not is_macos_gpu([line, f"  {line[:3]}"])


@settings(deadline=None)
@given(st.sampled_from([APPLE, TWO, json.dumps(JSON, indent=1)]).flatmap(damaged))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_macos_gpu(text), text)
