"""How a drill differs from the real servers that were recorded, scenario by scenario.

PYTHONPATH=tests:lib python -m drill.fidelity 0.13.5 healthy         play it, and say what differs
PYTHONPATH=tests:lib python -m drill.fidelity 0.13.5                 all scenarios of a version
PYTHONPATH=tests:lib python -m drill.fidelity 0.13.5 healthy --keep FOLDER   leave the replay there
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from warmstall.errors import WarmstallError

from .differences import Difference
from .log_streams import streams_of
from .recording import Recording
from .replay import replay
from .same_answers import compare_answers
from .same_events import compare_events, compare_shapes, is_concurrent
from .same_verdicts import accepted_verdicts, compare_verdicts, verdicts_of

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "real-ollama"
# Replays mostly wait, so several fit on few cores; more would be late.
AT_ONCE = 4


@dataclass(frozen=True)
class Fidelity:
    """What differs between one recording and its replay."""

    name: str
    similarity: float
    differences: list[Difference]
    took_s: float = 0.0

    def of(self, area: str) -> list[Difference]:
        return [one for one in self.differences if one.area == area]

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.of(area))} {area}" for area in ("events", "api", "verdicts", "raw", "replay"))
        head = (
            f"{self.name}: {100 * self.similarity:.1f} % of events alike; differences: {counts} ({self.took_s:.0f} s)"
        )
        return "\n".join([head, *(f"  {one}" for one in self.differences)])


def recordings(folder: Path = RECORDINGS) -> list[Recording]:
    """Every recorded scenario beside the checkout, the longest first."""
    found = [Recording(path.parent) for path in folder.glob("v*/*/truth.json")]
    return sorted(found, key=lambda one: (-one.duration_s, one.name))


def compare(recording: Recording, folder: Path) -> Fidelity:
    """A recording against what a replay left in a folder (or against another recording)."""
    rows = _rows(folder)
    real, drill = streams_of(recording.folder / "server.log"), streams_of(folder / "server.log")
    events = compare_events(real, drill, is_concurrent(recording))
    found = [
        *events.differences,
        *compare_answers(recording.rows, rows),
        *compare_verdicts(
            verdicts_of(recording.folder, recording.rows), verdicts_of(folder, rows),
            accepted_verdicts(recording.folder, recording.rows), recording.rows,
        ),
        *compare_shapes(real, drill),
    ]  # fmt: skip
    told: dict[str, Any] = {}
    if (folder / "replay.json").exists():
        told = json.loads((folder / "replay.json").read_text(encoding="utf-8"))
        found += [Difference("replay", "other", "replay", trouble) for trouble in told["troubles"]]
        found += _second_serve(recording, told["second_serve"])
    return Fidelity(recording.name, events.similarity, found, told.get("took_s", 0.0))


def play_and_compare(recording: Recording, folder: Path) -> Fidelity:
    """Replay into a folder, then compare."""
    try:
        replay(recording, folder)
    except WarmstallError as error:
        return Fidelity(recording.name, 0.0, [Difference("replay", "other", "server", str(error)[-600:])])
    return compare(recording, folder)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials_raw.jsonl").read_text(encoding="utf-8").splitlines()]


def _second_serve(recording: Recording, drill: list[dict[str, Any]]) -> list[Difference]:
    """A second server on the same port must say the same and end."""
    real = [event for event in recording.truth["events"] if event["event"] == "second serve ended"]
    port = str(recording.truth["env"]["OLLAMA_HOST"]).rpartition(":")[2]
    found = []
    for one, two in zip(real, drill, strict=False):
        for name in ("rc", "stdout", "stderr"):
            said = str(two[name])
            said = (
                said.replace(said.rpartition("127.0.0.1:")[2].partition(":")[0], port) if "127.0.0.1:" in said else said
            )
            if str(one[name]) != said:
                found.append(Difference("api", "other", "second serve", f"{name}: {one[name]!r}, drill {two[name]!r}"))
    return found


def main() -> None:
    """Play what is asked for and print what differs."""
    parser = argparse.ArgumentParser(description="What differs between a drill and recorded servers.")
    parser.add_argument("version", nargs="?", default="")
    parser.add_argument("scenario", nargs="*")
    parser.add_argument("--keep", type=Path, help="leave the replays in this folder")
    parser.add_argument("--again", action="store_true", help="compare what --keep left there; play nothing")
    asked = parser.parse_args()
    chosen = [
        one for one in recordings()
        if asked.version in ("", one.version) and (not asked.scenario or one.scenario in asked.scenario)
        and not one.not_replayed
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="fidelity-") as scratch,
        ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool,
    ):
        for found in pool.map(partial(_found, asked.keep or Path(scratch), asked.again), chosen):
            print(found, flush=True)


def _found(base: Path, again: bool, recording: Recording) -> Fidelity:
    folder = base / recording.version / recording.scenario
    return compare(recording, folder) if again else play_and_compare(recording, folder)


if __name__ == "__main__":
    main()
