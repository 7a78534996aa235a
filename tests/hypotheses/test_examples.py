"""Every hypothesis on its examples: the state, the number in each sentence, the place, and what missing files do."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from hypotheses.example import Example, judgement
from warmstall.hypotheses import catalogue
from warmstall.hypotheses.judging import BROKEN

EXAMPLES: dict[str, list[Example]] = {
    name: import_module(f"hypotheses.examples.{name}").EXAMPLES
    for name in catalogue()
    if (Path(__file__).parent / "examples" / f"{name}.py").exists()
}
EACH = [pytest.param(name, example, id=f"{name}-{example.name}") for name, own in EXAMPLES.items() for example in own]


@pytest.mark.parametrize("name", list(catalogue()))
def test_has_examples_of_every_state(name: str) -> None:
    states = {example.state for example in EXAMPLES.get(name, [])}
    assert states & {"confirmed", "supported"}, f"tests/hypotheses/examples/{name}.py: nothing shows it"
    assert {"ruled_out", "not_observable"} <= states, f"tests/hypotheses/examples/{name}.py: {states}"


@pytest.mark.parametrize(("name", "example"), EACH)
def test_example(name: str, example: Example, tmp_path: Path) -> None:
    found = judgement(name, tmp_path / "case", example.files)
    told = [item.sentence for item in found.evidence] + list(found.collect)
    assert not any(BROKEN in order for order in found.collect), found.collect
    assert found.state == example.state, told
    assert not example.severity or found.severity == example.severity
    for words in example.says:
        assert any(words in sentence for sentence in told), f"{words!r} is not in {told}"
    if found.state == "not_observable":
        assert found.collect, "it does not say what to collect"
    for item in found.evidence:
        assert re.search(r"\d", item.sentence), f"no number: {item.sentence}"
        assert item.places, f"no place: {item.sentence}"
        for place in item.places:
            lines = (tmp_path / "case" / place.source).read_text(encoding="utf-8").count("\n") + 1
            assert 1 <= place.line <= max(place.line, place.to_line) <= lines, place


@pytest.mark.parametrize(("name", "example"), EACH)
def test_a_missing_file_rules_nothing_out(name: str, example: Example, tmp_path: Path) -> None:
    if example.state == "ruled_out" or len(example.files) < 2:
        return
    for missing in example.files:
        rest = {path: text for path, text in example.files.items() if path != missing}
        found = judgement(name, tmp_path / missing.replace("/", "_"), rest)
        told = [item.sentence for item in found.evidence]
        assert found.state != "ruled_out", f"without {missing}, which left {told}"
