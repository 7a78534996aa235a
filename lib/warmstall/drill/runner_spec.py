"""What the server tells a runner program when it starts it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class RunnerSpec:
    """The one argument of a runner program, as JSON.

    `title` is the command line to show; `num_ctx` is per slot; `fields` fill the wording; `zone_offset_s` is the
    server's distance from UTC, in which its log tells the time.
    """

    title: str
    process_name: str
    parent_pid: int
    port: int
    version: str
    model: str
    blob: str
    num_ctx: int
    parallel: int
    num_thread: int
    num_batch: int
    embedding: bool
    seed: int
    debug: bool
    timetable: str | None
    notices_abort_in_prefill: bool
    loads_when_asked: bool
    zone_offset_s: int
    crash_exit_code: int
    fields: dict[str, object] = field(default_factory=dict)
    shift: bool = True

    @classmethod
    def read(cls, text: str) -> RunnerSpec:
        return cls(**json.loads(text))

    def write(self) -> str:
        return json.dumps(asdict(self))
