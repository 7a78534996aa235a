"""The drill beside recorded servers: the same requests give the same log events, answers and verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from .differences import Difference
from .fidelity import AT_ONCE, Fidelity, play_and_compare, recordings
from .recording import Recording
from .remaining import not_excused

# Replays take as long as their recordings: some short ones are played in every run, all of them by `make fidelity`.
SHORT = (
    "healthy", "debug_healthy", "api_errors", "load_failure", "shutdown_midrequest", "server_down", "debug_eviction",
    "memory_limit_as", "queue_full",
)  # fmt: skip
SHORT_S = 20.0
ALL = bool(os.environ.get("WARMSTALL_ALL_REPLAYS"))
RECORDINGS = {one.name: one for one in recordings()}
PLAYED = [
    name for name, one in RECORDINGS.items()
    if not one.not_replayed and (ALL or (one.scenario in SHORT and one.duration_s <= SHORT_S))
]  # fmt: skip

AREAS = ("replay", "events", "api", "verdicts")

pytestmark = pytest.mark.skipif(
    not RECORDINGS, reason="the recorded servers are not beside this checkout (../shared/real-ollama)"
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Fidelity]]]:
    """All replays, several at once and the longest first: they mostly wait."""
    folder = tmp_path_factory.mktemp("replays")
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        yield {name: pool.submit(_play, RECORDINGS[name], folder / name) for name in PLAYED}


def _play(recording: Recording, folder: Path) -> Fidelity:
    return play_and_compare(recording, folder)


def _unlike(found: Fidelity) -> list[Difference]:
    return not_excused(found.name, [one for area in AREAS for one in found.of(area)])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PLAYED)
def test_the_drill_does_as_the_recorded_server(name: str, played: dict[str, Future[Fidelity]], tmp_path: Path) -> None:
    """What differs is played once more, alone: a machine that has other work is late, and that is not the drill's."""
    found = played[name].result()
    if _unlike(found):
        found = _play(RECORDINGS[name], tmp_path / "again")
    unlike = _unlike(found)
    assert not unlike, f"{100 * found.similarity:.1f} % of events alike\n" + "\n".join(map(str, unlike))


@pytest.mark.parametrize("name", [name for name, one in RECORDINGS.items() if one.scenario.startswith("_")])
def test_what_is_not_played_has_a_reason(name: str) -> None:
    assert RECORDINGS[name].not_replayed
