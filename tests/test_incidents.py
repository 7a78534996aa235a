"""The five reference incidents: the causes their source names are found, the decoys ruled out, and nothing invented."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import generate
import pytest
from generate.writing import CaseWriter

from conftest import INCIDENTS
from warmstall.analysis import analyze
from warmstall.evidence import open_bytes
from warmstall.hypotheses import Judgement, judge, stacked

# By incident: the causes that its source names, and the decoys that must be ruled out.
KNOWN: dict[str, tuple[set[str], set[str]]] = {
    "warm-stall-apple-silicon": (
        {"warm_stall", "stopping_deadlock", "memory_pressure", "flash_attention_cpu_spill"},
        {"cold_start"},
    ),
    "silent-hangs-memlock": (
        {"memlock_limit", "warm_stall", "vulkan_backend", "ghost_nvidia_smi", "sequential_retrieval", "embedder_race",
         "vector_store_mount", "vector_store_memory"},
        {"cold_start"},
    ),
    "cpu-by-rocm-mismatch": ({"rocm_mismatch", "cpu_fallback", "sequential_client"}, {"cold_start"}),
    "hangs-over-many-models": (
        {"model_hang_rate", "reload_thrash", "context_truncation", "gpu_idle_but_held", "unload_not_freeing",
         "multi_gpu_split"},
        {"cpu_fallback", "memlock_limit"},
    ),
    "embedding-service-dies": (
        {"embedding_service_crash", "embedding_service_growth"},
        {"oom_kill", "runner_crash", "warm_stall"},
    ),
}  # fmt: skip


def judged(case: Path) -> dict[str, Judgement]:
    return {one.id: one for one in judge(analyze(case))}


@pytest.fixture(scope="module", params=list(KNOWN))
def incident(request: pytest.FixtureRequest) -> tuple[str, dict[str, Judgement]]:
    return request.param, judged(INCIDENTS / request.param)


def test_names_the_causes_and_rules_out_the_decoys(incident: tuple[str, dict[str, Judgement]]) -> None:
    name, found = incident
    causes, decoys = KNOWN[name]
    shown = {one.id for one in found.values() if one.found and one.severity != "info"}
    assert shown == causes, f"not shown: {causes - shown}; beyond the source: {shown - causes}"
    assert {decoy: found[decoy].state for decoy in decoys} == dict.fromkeys(decoys, "ruled_out")


def test_every_sentence_has_its_number_and_its_place(incident: tuple[str, dict[str, Judgement]]) -> None:
    name, found = incident
    lines: dict[str, int] = {}
    for one in found.values():
        for item in one.evidence:
            assert re.search(r"\d", item.sentence), f"{one.id}: no number: {item.sentence}"
            assert item.places, f"{one.id}: no place: {item.sentence}"
            for place in item.places:
                if place.source not in lines:
                    with open_bytes(INCIDENTS / name / "evidence" / place.source) as handle:
                        lines[place.source] = sum(1 for _ in handle)
                assert 1 <= place.line <= max(place.line, place.to_line) <= lines[place.source] + 1, (one.id, place)
        if one.state == "not_observable":
            assert one.collect, f"{one.id}: does not say what to collect"


def test_a_missing_source_rules_nothing_out(incident: tuple[str, dict[str, Judgement]], tmp_path: Path) -> None:
    name, whole = incident
    evidence = INCIDENTS / name / "evidence"
    for missing in sorted(path.relative_to(evidence) for path in evidence.rglob("*") if path.is_file()):
        case = tmp_path / missing.name
        shutil.copytree(INCIDENTS / name, case, ignore=shutil.ignore_patterns("out", "tables"))
        (case / "evidence" / missing).unlink()
        for id_, one in judged(case).items():
            if one.state == "ruled_out":
                assert whole[id_].state == "ruled_out", f"without {missing}, {id_} is ruled out: {one.evidence}"
        shutil.rmtree(case)


def test_the_stack_says_how_causes_interact_and_which_step_helps(
    incident: tuple[str, dict[str, Judgement]],
) -> None:
    name, found = incident
    stack = stacked(found.values())
    if len(KNOWN[name][0]) > 1:
        assert any("prevented" in sentence for sentence in stack.sentences)
    assert {done.judgement.id for done in stack.mitigations} == KNOWN[name][0]


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_generator_writes_the_committed_files(name: str, tmp_path: Path) -> None:
    module = __import__(f"generate.{name.replace('-', '_')}", fromlist=["write"])
    assert generate.__doc__
    module.write(CaseWriter(name, tmp_path))
    committed, written = INCIDENTS / name, tmp_path / name
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(committed)
        for path in [*committed.rglob("evidence/**/*"), committed / "case.json"]
        if path.is_file()
    )
    for path in files:
        assert (written / path).read_bytes() == (committed / path).read_bytes(), path
