"""move-backend decides by a case's own numbers, says what it cannot tell, and never acts."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import INCIDENTS
from warmstall.errors import InputError
from warmstall.remediate.actions.backend_numbers import BackendNumbers, Rate, numbers_of
from warmstall.remediate.actions.move_backend import SETTINGS, Decision, decided, decision, options_table
from warmstall.remediate.actions.prices import cost_of_an_api, cost_on_a_machine
from warmstall.remediate.book import Book

HANGS = INCIDENTS / "hangs-over-many-models"
NUMBERS = BackendNumbers(
    "a case", Rate(40, 400), {"large": Rate(40, 100), "small": Rate(0, 300)}, 5.0, 20.0, 2000.0, 500.0, 4800.0, 0.2,
    1.0, Rate(3, 400), Rate(400, 400), {"large": 20_000_000_000}, (24_000_000_000,), 4096, ("0.9.6",),
)  # fmt: skip


def judged(numbers: BackendNumbers = NUMBERS, **settings: Any) -> Decision:
    return decided(numbers, {**SETTINGS, **settings})


def book(tmp_path: Path, **given: Any) -> Book:
    return Book("move-backend", {"target": "recorded", "journal": str(tmp_path / "journal.jsonl"), **given})


@pytest.fixture(scope="module")
def published() -> BackendNumbers:
    return numbers_of(str(HANGS))


def test_the_published_hang_rates_are_the_numbers(published: BackendNumbers) -> None:
    rates = {name: (rate.count, rate.of) for name, rate in published.hangs_by_model.items() if rate.count}
    assert rates == {"llama3.1:8b": (5, 100), "mistral-nemo:12b": (8, 100), "qwen2.5:14b": (25, 100),
                     "qwen2.5:32b": (40, 100)}  # fmt: skip
    assert published.hangs == Rate(78, 649)
    assert published.models_per_run == 7
    assert published.loads == Rate(649, 649)
    assert len(published.gpu_bytes) == 4
    assert published.input_tokens_per_call == pytest.approx(1782, abs=1)
    assert published.wall_p95_s is not None
    assert published.wall_p95_s < 240  # a call that was given up is no answer


def test_a_rate_all_above_the_limit_says_try_another(published: BackendNumbers) -> None:
    found = decided(published, SETTINGS)
    assert found.state == "move"
    assert "78 of 649" in found.sentence
    assert "phi4:14b (0 of 70)" in found.sentence
    assert "without the prices of Ollama, vLLM, API" in found.sentence


def test_one_models_rate_is_judged_alone(published: BackendNumbers) -> None:
    few = decided(published, {**SETTINGS, "model": "phi4:14b"})
    assert few.state == "cannot tell"
    assert "0 of 70" in few.sentence
    assert "Collect 381 calls or more" in few.sentence
    assert decided(published, {**SETTINGS, "model": "qwen2.5:32b"}).state == "move"
    assert decided(published, {**SETTINGS, "model": "nobody:1b"}).state == "cannot tell"


@pytest.mark.parametrize(
    ("count", "of", "limit", "state"),
    [(0, 2000, 0.01, "stay"), (0, 100, 0.01, "cannot tell"), (2, 100, 0.01, "cannot tell"), (10, 100, 0.01, "move"),
     (0, 0, 0.01, "cannot tell"), (5, 20, 0.2, "cannot tell"), (40, 100, 0.2, "move"), (0, 10, 0.0, "cannot tell")],
)  # fmt: skip
def test_the_interval_decides_and_not_the_rate(count: int, of: int, limit: float, state: str) -> None:
    numbers = replace(NUMBERS, hangs=Rate(count, of), hangs_by_model={})
    assert judged(numbers, hang_rate_limit=limit).state == state


def test_as_many_calls_as_are_asked_for_do_tell() -> None:
    sentence = judged(replace(NUMBERS, hangs=Rate(0, 100))).sentence
    wanted = int(sentence.partition("Collect ")[2].partition(" calls")[0].replace(",", ""))
    assert judged(replace(NUMBERS, hangs=Rate(0, wanted))).state == "stay"
    assert judged(replace(NUMBERS, hangs=Rate(0, wanted - 1))).state == "cannot tell"


def test_a_wait_above_its_limit_is_a_reason_too() -> None:
    healthy = replace(NUMBERS, hangs=Rate(0, 2000), hangs_by_model={})
    assert judged(healthy, p95_limit_s=30.0).state == "stay"
    slow = judged(healthy, p95_limit_s=10.0)
    assert slow.state == "move"
    assert "20.0 s, above 10 s" in slow.sentence


def test_costs_are_of_answered_calls_and_unknown_without_a_price() -> None:
    found = judged(gpu_price_per_hour=2.0, api_price_per_million_input_tokens=1.0,
                   api_price_per_million_output_tokens=4.0)  # fmt: skip
    costs = {option.name: option.cost_per_1000_calls for option in found.options}
    assert costs == {"Ollama": pytest.approx(10.0 / 0.9), "vLLM": pytest.approx(10.0), "API": pytest.approx(4.0)}
    assert "API 4.00, vLLM 10.00, Ollama 11.11" in found.sentence
    assert all(option.cost_per_1000_calls is None for option in judged().options)
    assert cost_of_an_api(1.0, 1.0, None, 10.0) is None
    assert cost_on_a_machine(1.0, 100.0, 1.0) is None


def test_the_table_tells_what_is_not_known() -> None:
    table = options_table(judged()).set_index("backend")
    assert list(table.index) == ["Ollama", "vLLM", "API"]
    assert table["not known"].str.len().gt(0).all()
    assert "gpu_price_per_hour" in table.loc["vLLM", "not known"]
    assert "100% of the calls go to Ollama's own endpoints" in table.loc["API", "against"]
    crowded = judged(replace(NUMBERS, model_bytes={"a": 20_000_000_000, "b": 20_000_000_000}))
    assert "do not fit into 22 GB at once" in options_table(crowded).set_index("backend").loc["vLLM", "against"]


def test_a_dry_run_on_the_recording_gives_the_plan_and_changes_nothing(tmp_path: Path) -> None:
    def digests() -> dict[Path, str]:
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in HANGS.rglob("*") if path.is_file()}

    before = digests()
    with book(tmp_path) as found:
        assert [row.effect for row in found.plan.rows] == ["by hand"] * 3
        assert "vllm serve ORGANIZATION/MODEL" in found.outcome().sentence
        plan = found.plan.id
    # Approved or not, there is nothing that could act.
    with book(tmp_path, dry_run=False, approved_plan=plan) as found:
        outcome = found.outcome()
    assert (outcome.status, outcome.exit_code, outcome.run) == ("by hand", 0, "")
    assert not (tmp_path / "journal.jsonl").exists()
    assert digests() == before


def test_a_healthy_case_needs_nothing_and_a_small_one_cannot_tell(tmp_path: Path) -> None:
    sample = str(INCIDENTS / "warm-stall-runner-stopped")
    with book(tmp_path, case=sample, hang_rate_limit=0.5) as found:
        assert found.outcome().status == "nothing to do"
        assert found.plan.rows == ()
    with book(tmp_path, case=sample, hang_rate_limit=0.04) as found:
        outcome = found.outcome()
    assert (outcome.status, outcome.exit_code) == ("cannot tell", 3)
    assert "lies within" in outcome.sentence


def test_commands_are_pasted_safely(tmp_path: Path) -> None:
    with book(tmp_path, huggingface_model="a/b; rm -rf $HOME\x1b[2J", api_base_url="https://x/v1 `id`") as found:
        serve, _, local = found.plan.rows[0].by_hand
        (remote,) = found.plan.rows[1].by_hand
    assert shlex.split(serve)[:4] == ["vllm", "serve", "a/b; rm -rf $HOME [2J", "--host"]
    assert shlex.split(local) == ["export", "OPENAI_BASE_URL=http://127.0.0.1:8000/v1"]
    assert shlex.split(remote) == ["export", "OPENAI_BASE_URL=https://x/v1 `id`"]


def test_a_case_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no such file"):
        decision({**SETTINGS, "case": "/nowhere/case"})
