"""A runner that only waits may wait for its GPU: then it is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmstall.host import RecordedHost
from warmstall.remediate.actions.gpu_activity import IOREG, gpu_utilization_percent
from warmstall.remediate.book import Book
from warmstall.remediate.target import Target, open_target


def book(utilization: str | None, **given) -> Book:
    """recover-stuck-runner on its recording, with another activity of the GPU, or none told."""
    opened = Book("recover-stuck-runner", {"target": "recorded:stuck-runner", **given})
    host = opened.target.host
    (query,) = (command for command in host.outputs if command.startswith("nvidia-smi"))
    shown = host.outputs[query]
    host.outputs = {name: text for name, text in host.outputs.items() if name != query}
    if utilization is not None:
        host.outputs = {**host.outputs, query: shown.replace("6912 MiB, 0 %", f"6912 MiB, {utilization}")}
    return opened


def test_an_idle_gpu_leaves_no_doubt():
    assert book("0 %").outcome().status == "planned"


@pytest.mark.parametrize(
    ("utilization", "said"),
    [("97 %", "a GPU computes (97 %)"), ("[N/A]", "nothing here shows"), (None, "nothing here")],
)
def test_a_gpu_that_computes_or_does_not_tell_saves_the_runner(utilization, said):
    outcome = book(utilization).outcome()
    assert outcome.status == "cannot tell"
    assert said in outcome.sentence


def test_an_operator_who_knows_better_says_so():
    assert book("97 %", model="llama3:8b", end_busy=True).outcome().status == "planned"


def test_macos_tells_by_its_registry():
    told = (
        '+-o AGXAcceleratorG13X\n    "PerformanceStatistics" = {"In use system memory"=5,"Device Utilization %"=63}\n'
    )
    outputs = {" ".join(IOREG.argv): told}
    mac = Target("local", RecordedHost("mac", "Darwin", outputs))
    assert gpu_utilization_percent(mac) == 63
    assert gpu_utilization_percent(replace(mac, host=RecordedHost("mac", "Darwin"))) is None
    assert gpu_utilization_percent(open_target("recorded:stuck-runner")) == 0
