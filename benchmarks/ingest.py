"""How ingest compares with its peers, in one run: python benchmarks/ingest.py --megabytes 100 --results FILE.

A log is generated with its truth, and the contenders take turns on it, each a process of its own: `rg -c`, `wc -l`,
`rg` with all anchors, gawk, lnav with the format that warmstall makes, a plain Python loop, and ingest: with one worker
and two, of gzip and zstd, of one per cent that was appended. Times are told as multiples of `rg -c`. Who counts other
access lines, or another sum of wall times, than were written is out. Further sizes are for `rg -c` and ingest alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import goals
import results
from arms import BASE, BASE_WITHOUT_RG, Arm, appends, compressed, disagreement, ingests, tools
from fresh_log import fresh_log

HERE = Path(__file__).resolve().parent
# All else is a multiple of it, and it takes a third of a second: by itself, one round of it is mostly luck.
_TIMES_OF_BASE = 5
PAGE = HERE.parent / "docs" / "speed.md"


def contenders(log: Path, folder: Path, whole: bool) -> list[Arm]:
    """Everyone, or for a further size only ours and what it is a multiple of."""
    arms = tools(log, folder) + ingests(log, folder)
    if not whole:
        return [arm for arm in arms if arm.name in (BASE, BASE_WITHOUT_RG, goals.INGEST)]
    return arms + compressed(log, folder) + appends(log, folder)


def compete(arms: list[Arm], truth: dict[str, object], rounds: int, run: str, megabytes: float) -> list[results.Result]:
    """All rounds of all arms; they take turns, every second round in the other order, but for what belongs together."""
    found: list[results.Result] = []
    told, machine, out = results.commit(), results.machine(), set()
    for number in range(rounds):
        for arm in _turn(arms, number):
            if arm.name in out:
                continue
            for _ in range(_TIMES_OF_BASE if arm.name == BASE else 1):
                took, answer = arm.run()
                failed = took.failed or disagreement(answer, truth)
                found.append(results.Result(run, arm.name, megabytes, "MB", took.wall_s, took.cpu_s, took.rss_bytes,
                                            failed, number, told, machine))  # fmt: skip
                print(f"  round {number + 1}: {arm.name}: {took.wall_s:.2f} s", file=sys.stderr)
                if failed:
                    out.add(arm.name)
                    print(f"{arm.name}: {failed}: disqualified", file=sys.stderr)
                    break
    return found


def _turn(arms: list[Arm], number: int) -> list[Arm]:
    """The order of one round. A run with nothing new follows the append."""
    turned = arms if number % 2 == 0 else arms[::-1]
    behind = [arm for arm in turned if arm.name == "nothing new"]
    return [arm for arm in turned if arm not in behind] + behind


def show(found: Iterable[results.Result], other: Iterable[results.Result] = ()) -> None:
    """A table on standard output, as multiples; beside each what it was in other results."""
    mine, theirs = results.medians(found), results.medians(other)
    for size in sorted({size for _, size in mine}):
        base = goals.base_of(mine, size)
        unit = "" if base is None else f"× {base.arm} of {base.wall_s:.3f} s"
        print(f"{size:g} MB; {unit}\n{'wall ×':>8} {'CPU ×':>8} {'wall s':>8} {'CPU s':>8} {'RSS MB':>8}")
        for each in sorted((each for each in mine.values() if each.size == size), key=lambda each: each.wall_s):
            ratio = (
                f"{each.wall_s / base.wall_s:8.1f} {each.cpu_s / max(base.cpu_s, 1e-3):8.1f}" if base else f"{'':17}"
            )
            was = theirs.get((each.arm, size))
            beside = f" (CPU {each.cpu_s / was.cpu_s:.2f} × that of {was.commit})" if was and was.cpu_s else ""
            print(f"{ratio} {each.wall_s:8.2f} {each.cpu_s:8.2f} {each.rss_bytes / 1e6:8.0f} {each.arm}"
                  f"{': disqualified: ' + each.failed if each.failed else ''}{beside}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[20], help="the first for everyone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="results are appended here, a JSON object a line")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="results of before, to stand beside these")
    parser.add_argument("--folder", type=Path, help="where logs and tables lie meanwhile")
    parser.add_argument("--markdown", action="store_true", help=f"write {PAGE.relative_to(HERE.parent)} of --results")
    asked = parser.parse_args()
    other = results.read(asked.compare) if asked.compare else []
    run, found = results.new_run(), []
    for number, megabytes in enumerate(asked.megabytes):
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="warmstall-bench-") as name:
            log = Path(name) / "server.log"
            truth = fresh_log(log, "--megabytes", str(megabytes), "--seed", str(asked.seed))
            arms = contenders(log, Path(name), whole=not number)
            found += compete(arms, truth, asked.rounds, run, megabytes)
    if asked.results:
        results.append(asked.results, found)
    show(found, other)
    everything = results.read(asked.results) if asked.results else found
    print(goals.as_text(everything))
    if asked.markdown:
        PAGE.write_text(goals.page(everything), encoding="utf-8")
    return int(any(result.failed for result in found if result.arm.startswith(("ingest", "append", "nothing"))))


if __name__ == "__main__":
    sys.exit(main())
