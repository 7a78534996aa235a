"""A small fleet that is made up, to try things on: logs of a few servers over two days, the same every time.

Four of them are upgraded on the second day, and fail more from then on; three get another setting, which does nothing,
and one yet another, of which nobody can tell; one has no GPU. All of them are slower on the second day, whatever was
done to them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

SERVERS = 16
UPGRADED = ("gpu-02", "gpu-05", "gpu-08", "gpu-11")
RECONFIGURED = ("gpu-03", "gpu-06", "gpu-09")
ALONE = "gpu-00"
WITHOUT_GPU = "gpu-12"
_BEGIN = datetime(2026, 3, 14, tzinfo=UTC)
_CHANGE_S = 86_400 + 600
_EVERY_S = 1200
_BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-" + "ab" * 32


def write_example(folder: Path) -> Path:
    """Write the logs of the example, a folder for each server; return their folder."""
    for number in range(SERVERS):
        name = f"gpu-{number:02}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = sorted(_lines(name, random.Random(name)), key=lambda line: line[0])
        (folder / name / "server.log").write_text("".join(f"{text}\n" for _, text in lines), encoding="utf-8")
    return folder


def _lines(name: str, rng: random.Random) -> Iterator[tuple[float, str]]:
    """Lines with the second at which each was written."""
    settings = {"OLLAMA_KEEP_ALIVE": "24h0m0s", "OLLAMA_NUM_PARALLEL": "1"}
    yield from _start(0, name, "0.13.5", settings)
    if name in UPGRADED:
        yield from _start(_CHANGE_S, name, "0.14.0", settings)
    if name in RECONFIGURED:
        yield from _start(_CHANGE_S, name, "0.13.5", settings | {"OLLAMA_NUM_PARALLEL": "4"})
    if name == ALONE:
        yield from _start(_CHANGE_S, name, "0.13.5", settings | {"OLLAMA_FLASH_ATTENTION": "true"})
    slow = 6.0 if name == WITHOUT_GPU else 1.0
    for number in range(2 * 86_400 // _EVERY_S - 1):
        began_s = 60 + number * _EVERY_S + rng.uniform(0, 300)
        later = began_s > _CHANGE_S
        wall_s = slow * (1.4 if later else 1.0) * rng.lognormvariate(0.7, 0.3)
        failed = rng.random() < (0.35 if later and name in UPGRADED else 0.02)
        ended_s = began_s + wall_s
        yield (
            ended_s,
            (
                f"[GIN] {_at(ended_s):%Y/%m/%d - %H:%M:%S} | {500 if failed else 200} | {wall_s:>12.6f}s | "
                '      127.0.0.1 | POST     "/api/chat"'
            ),
        )


def _start(at_s: float, name: str, version: str, settings: dict[str, str]) -> Iterator[tuple[float, str]]:
    printed = " ".join(f"{key}:{value}" for key, value in sorted(settings.items()))
    yield at_s, _slog(at_s, "routes.go:1554", f'msg="server config" env="map[{printed}]"')
    yield at_s, _slog(at_s, "routes.go:1607", f'msg="Listening on 127.0.0.1:11434 (version {version})"')
    device = ('id=cpu library=cpu compute="" name=cpu total="31.1 GiB" available="28.4 GiB"' if name == WITHOUT_GPU
              else 'id=GPU-0 library=CUDA compute=8.9 name=CUDA0 description="NVIDIA L4" total="24.0 GiB" '
                   'available="23.5 GiB"')  # fmt: skip
    yield at_s + 1, _slog(at_s + 1, "types.go:42", f'msg="inference compute" {device}')
    command = f"/usr/local/bin/ollama runner --ollama-engine --model {_BLOB} --port 40001"
    yield at_s + 2, _slog(at_s + 2, "server.go:392", f'msg="starting runner" cmd="{command}"')
    yield at_s + 4, _slog(at_s + 4, "server.go:1376", 'msg="llama runner started in 2.00 seconds"')


def _slog(at_s: float, source: str, rest: str) -> str:
    return f"time={_at(at_s):%Y-%m-%dT%H:%M:%S}.000Z level=INFO source={source} {rest}"


def _at(seconds: float) -> datetime:
    return _BEGIN + timedelta(seconds=seconds)
