"""The pages: complete, linked to what exists, and the same wherever they are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import INCIDENTS, ROOT
from warmstall import causes
from warmstall.analysis import analyze
from warmstall.errors import InputError
from warmstall.hypotheses import catalogue, judge, page_of
from warmstall.hypotheses.catalogue import catalogue_markdown

# The ids that the design names; more are welcome, these stay.
STAY = [
    "cold_start", "reload_thrash", "load_timeout", "slow_disk", "warm_stall", "stopping_deadlock",
    "gpu_idle_but_held", "model_hang_rate", "runner_crash", "oom_kill", "memory_pressure", "context_too_large",
    "unload_not_freeing", "cpu_fallback", "flash_attention_cpu_spill", "rocm_mismatch", "vulkan_backend",
    "integrated_gpu_dropped", "ghost_nvidia_smi", "multi_gpu_split", "memlock_limit", "nofile_limit",
    "setting_not_in_force", "context_truncation", "parallel_queue", "retry_amplification", "sequential_client",
    "client_timeout_too_short", "embedder_race", "embedding_service_crash", "sequential_retrieval",
    "vector_store_mount", "vector_store_memory", "ungrounded_answers", "restart_or_upgrade",
    "configuration_drift", "empty_retrieval", "reasoning_leak",
]  # fmt: skip
RUNBOOKS = [
    "recover-stuck-runner", "flash-attention-off", "raise-service-limits", "switch-gpu-backend",
    "relieve-memory-pressure", "fit-context", "free-vram", "stabilise-embedding-service", "limit-concurrency",
    "persist-vector-store", "move-backend",
]  # fmt: skip


def test_every_id_of_the_design_is_here() -> None:
    assert set(STAY) <= set(catalogue())


@pytest.mark.parametrize("name", list(catalogue()))
def test_page_is_complete(name: str) -> None:
    page = catalogue()[name]
    assert page.about
    assert page.shown_by
    assert page.ruled_out_by
    assert page.mistaken_for
    assert page.references
    assert page.claim.endswith(".")
    assert page.mitigation.endswith(".")
    assert page.runbook in ("", *RUNBOOKS)
    assert set(page.leads_to) <= set(catalogue()) - {name}
    assert (ROOT / "tests" / "hypotheses" / "examples" / f"{name}.py").exists()


def test_hypotheses_md_is_the_catalogue() -> None:
    written = (ROOT / "docs" / "hypotheses.md").read_text(encoding="utf-8")
    assert written == catalogue_markdown(), "make docs"


def test_explain_and_the_report_show_the_page_of_the_docs() -> None:
    docs = (ROOT / "docs" / "hypotheses.md").read_text(encoding="utf-8")
    command = [str(Path(sys.executable).parent / "warmstall"), "explain", "warm-stall"]
    explained = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert explained == page_of("warm_stall").markdown
    assert explained in docs
    judged = judge(analyze(INCIDENTS / "warm-stall-runner-stopped"))
    assert explained in causes.pages(judged)
    linked = re.findall(r"\]\(#([a-z_]+)\)", causes.markdown(judged))
    assert "warm_stall" in linked
    assert all(f"## {name}\n" in causes.pages(judged) for name in linked)


def test_a_mistyped_id_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean memlock_limit"):
        page_of("memlok_limit")


def test_captures_md_is_of_these_hypotheses() -> None:
    """The table is made where the captures are; what it says of which hypotheses there are is checked here."""
    written = (ROOT / "docs" / "captures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([a-z_]+)\]\(hypotheses\.md#", written, flags=re.MULTILINE)
    assert rows == list(catalogue())
