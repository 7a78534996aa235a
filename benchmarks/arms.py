"""The contenders of the ingest benchmark: how each is run, what must lie there before, and what it answered.

An arm that disagrees with the truth of the log in anything that it tells is out of the race.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path

from measuring import Measured, measure
from peers import anchors, gawk_program

_HERE = Path(__file__).resolve().parent
# The bound of the issue for whatever of warmstall runs here.
RSS_LIMIT_BYTES = 1_000_000_000
_LNAV = """;SELECT count(*) AS access_lines, sum(round(coalesce(latency_h, 0) * 3600e9 + coalesce(latency_m, 0) * 60e9
    + coalesce(latency_s, 0) * CASE latency_unit WHEN 's' THEN 1e9 WHEN 'ms' THEN 1e6 WHEN 'ns' THEN 1 ELSE 1e3 END))
    AS wall_ns, count(client || method || path) AS named FROM ollama_log WHERE status IS NOT NULL"""
Answer = Mapping[str, object]
BASE = "rg -c"
BASE_WITHOUT_RG = "grep -c"


@dataclass(frozen=True)
class Arm:
    """`told` makes an answer of what was measured; `before` puts in place what a round needs, and is not timed."""

    name: str
    words: list[str]
    told: Callable[[Measured], Answer]
    before: Callable[[], None] = lambda: None
    rss_limit_bytes: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> tuple[Measured, Answer]:
        """One round. The answer is empty where the arm failed."""
        self.before()
        found = measure(self.words, rss_limit_bytes=self.rss_limit_bytes, **self.environment)
        return found, {} if found.failed else self.told(found)


def disagreement(answer: Answer, truth: Mapping[str, object]) -> str:
    """What an answer says otherwise than the truth, in a few words; empty where it agrees in all that it tells."""
    for name, said in answer.items():
        true = truth[name]
        if name == "wall_ns" and isinstance(said, int | float) and isinstance(true, int):
            if not isclose(said, true, rel_tol=1e-9):  # whole numbers of this size are no longer exact in gawk
                return f"wall_ns {said} instead of {true}"
        elif said != true:
            return f"{name} {said} instead of {true}" if not isinstance(said, Mapping) else f"other {name}"
    return ""


def tools(log: Path, folder: Path) -> list[Arm]:
    """Programs that others wrote, and what they would be without this one."""
    patterns = folder / "anchors.txt"
    patterns.write_text("[GIN] 2\n" + "\n".join(anchors()) + "\n", encoding="utf-8")
    printed = folder / "printed"
    program = folder / "peer.awk"
    program.write_text(gawk_program(), encoding="utf-8")
    arms = [
        Arm("wc -l", ["wc", "-l", str(log)], lambda found: {"lines": _first_number(found.output)}),
        Arm("Python loop", [sys.executable, str(_HERE / "peers.py"), "loop", str(log)], _json),
    ]
    if shutil.which("rg"):
        words = ["rg", "--no-config", "-c", r"\[GIN\] 2", str(log)]
        arms.append(Arm(BASE, words, lambda found: {"access_lines": _first_number(found.output)}))
        words = ["sh", "-c", 'exec rg --no-config -F -f "$1" "$2" > "$3"', "sh", str(patterns), str(log), str(printed)]
        arms.append(Arm("rg, all anchors", words, lambda found: _access_lines_of(printed)))
    else:
        words = ["grep", "-c", "-F", "[GIN] 2", str(log)]
        arms.append(Arm(BASE_WITHOUT_RG, words, lambda found: {"access_lines": _first_number(found.output)}))
    if shutil.which("gawk"):
        arms.append(Arm("gawk", ["gawk", "-f", str(program), str(log)], _json, environment={"LC_ALL": "C"}))
    if shutil.which("lnav"):
        arms.append(_lnav(log, folder))
    return arms


def _lnav(log: Path, folder: Path) -> Arm:
    from warmstall.lnav import lnav_format

    home = folder / "home"
    formats = home / ".config" / "lnav" / "formats" / "warmstall"
    formats.mkdir(parents=True)
    (formats / "ollama_log.json").write_text(json.dumps(lnav_format()), encoding="utf-8")
    words = [
        "lnav",
        "-I",
        str(home / ".config" / "lnav"),
        "-n",
        "-c",
        " ".join(_LNAV.split()),
        "-c",
        ":write-json-to -",
    ]
    settings = {"HOME": str(home), "XDG_CONFIG_HOME": "", "TERM": "dumb", "TZ": "UTC", "LANG": "C.UTF-8"}

    def told(found: Measured) -> Answer:
        (row,) = json.loads(found.output)
        return {"access_lines": row["access_lines"], "wall_ns": row["wall_ns"]}

    return Arm("lnav", [*words, str(log)], told, environment=settings)


def ingests(log: Path, folder: Path) -> list[Arm]:
    """Ours, as it comes and by one worker, import included, always under the bound of memory."""
    return [_ingest("ingest, 1 worker", log, folder / "tables", 1), _ingest("ingest", log, folder / "tables")]


def compressed(log: Path, folder: Path) -> list[Arm]:
    """Ours on the same log as gzip and as zstd, and the decompression alone."""
    arms = []
    packed = folder / "packed.log.gz"
    with log.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    arms += [_ingest("ingest of gzip", packed, folder / "tables"), _decompression("gzip", packed)]
    if shutil.which("zstd"):
        packed = folder / "packed.log.zst"
        subprocess.run(["zstd", "-q", "-3", str(log), "-o", str(packed)], check=True)
        arms += [_ingest("ingest of zstd", packed, folder / "tables"), _decompression("zstd", packed)]
    return arms


def _decompression(program: str, packed: Path) -> Arm:
    return Arm(
        f"{program} -dc", ["sh", "-c", 'exec "$1" -dc "$2" > /dev/null', "sh", program, str(packed)], lambda found: {}
    )


def appends(log: Path, folder: Path) -> list[Arm]:
    """One per cent more behind a log that has been read, and one more run with nothing new."""
    size = log.stat().st_size
    known = size * 100 // 101
    grown, tables, kept = folder / "grown.log", folder / "grown-tables", folder / "known-tables"
    shutil.copyfile(log, grown)
    os.truncate(grown, known)
    subprocess.run([sys.executable, str(_HERE / "peers.py"), "ingest", str(grown), str(kept)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip

    def shrink() -> None:
        os.truncate(grown, known)
        shutil.rmtree(tables, ignore_errors=True)
        shutil.copytree(kept, tables)
        with log.open("rb") as source, grown.open("ab") as target:
            source.seek(known)
            shutil.copyfileobj(source, target, 1 << 20)

    return [
        _ingest("append of 1 %", grown, tables, before=shrink),
        _ingest("nothing new", grown, tables, before=lambda: None),
    ]


def _ingest(
    name: str, log: Path, tables: Path, workers: int | None = None, before: Callable[[], None] | None = None
) -> Arm:
    def told(found: Measured) -> Answer:
        words = [sys.executable, str(_HERE / "peers.py"), "count", str(tables)]
        counted = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return {**_json(found), **json.loads(counted)}

    words = [sys.executable, str(_HERE / "peers.py"), "ingest", str(log), str(tables)]
    words += [str(workers)] if workers else []
    afresh = before or (lambda: shutil.rmtree(tables, ignore_errors=True))
    return Arm(name, words, told, afresh, RSS_LIMIT_BYTES)


def _json(found: Measured) -> Answer:
    answer: Answer = json.loads(found.output)
    return answer


def _first_number(text: str) -> int:
    return int(text.split()[0])


def _access_lines_of(printed: Path) -> Answer:
    words = ["rg", "--no-config", "-c", r"\[GIN\] 2", str(printed)]
    return {"access_lines": _first_number(subprocess.run(words, check=True, capture_output=True, text=True).stdout)}
