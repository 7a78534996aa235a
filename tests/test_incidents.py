"""The five reference incidents: the causes their source names are found, the decoys ruled out, and nothing invented."""

from __future__ import annotations

import re
from pathlib import Path

import generate
import pytest
from generate.writing import CaseWriter

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.case import clocks_of, write_case
from warmstall.evidence import discover, open_bytes
from warmstall.hypotheses import Judgement, judge, stacked

# By incident: the causes that its source names, and the decoys that must be ruled out.
KNOWN: dict[str, tuple[set[str], set[str]]] = {
    "warm-stall-apple-silicon": (
        {"warm_stall", "stopping_deadlock", "memory_pressure", "flash_attention_cpu_spill"},
        {"cold_start"},
    ),
    "silent-hangs-memlock": (
        {"memlock_limit", "warm_stall", "gpu_idle_but_held", "vulkan_backend", "ghost_nvidia_smi",
         "sequential_retrieval", "embedder_race", "vector_store_mount", "vector_store_memory"},
        {"cpu_fallback", "memory_pressure", "client_timeout_too_short"},
    ),
    "cpu-by-rocm-mismatch": (
        {"rocm_mismatch", "cpu_fallback", "sequential_client"},
        {"memory_pressure", "warm_stall", "slow_disk"},
    ),
    "hangs-over-many-models": (
        {"model_hang_rate", "reload_thrash", "context_truncation", "gpu_idle_but_held", "unload_not_freeing",
         "multi_gpu_split", "warm_stall"},
        {"cpu_fallback", "memlock_limit", "client_timeout_too_short", "memory_pressure"},
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
    shown = {one.id for one in found.values() if one.found}
    beyond = {one.id for one in found.values() if one.found and one.severity != "info"} - causes
    assert causes <= shown, f"not shown: {causes - shown}"
    assert not beyond, f"beyond what the source names: {beyond}"
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
    evidence = discover([INCIDENTS / name])
    # Files that are numbered are one source. The log, which is the longest, leaves last.
    sources = {re.sub(r"[-\d]+(?=\.)", "", item.name): item.kind == "server-log" for item in evidence}
    for missing in sorted(sources, key=lambda source: sources[source]):
        rest = [item for item in evidence if re.sub(r"[-\d]+(?=\.)", "", item.name) != missing]
        case = write_case(rest, tmp_path / "out", tmp_path / "tables", clocks_of(INCIDENTS / name))
        for one in judge(Analysis(case)):
            if one.state == "ruled_out":
                told = [item.sentence for item in one.evidence]
                assert whole[one.id].state == "ruled_out", f"without {missing}, {one.id} is ruled out: {told}"


def test_the_stack_says_how_causes_interact_and_which_step_helps(
    incident: tuple[str, dict[str, Judgement]],
) -> None:
    name, found = incident
    stack = stacked(found.values())
    if len(KNOWN[name][0]) > 1:
        assert any("would have prevented" in sentence for sentence in stack.sentences)
    assert {one.id for one in stack.causes} <= KNOWN[name][0]
    led_to = {after for _, after in stack.links}
    assert {done.judgement.id for done in stack.mitigations} == {one.id for one in stack.causes} - led_to


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


def test_those_who_wait_behind_a_stall_are_told_with_it() -> None:
    found = judged(INCIDENTS / "warm-stall-apple-silicon")
    assert "272 more were given up while they waited behind those" in found["warm_stall"].supporting[0].sentence
    pages = [item.sentence for item in found["memory_pressure"].supporting if "16,384 bytes" in item.sentence]
    assert "0.95 GB" in pages[0]
    assert "0.24 GB" in pages[0]
