"""One collection from beginning to end: capture side by side, redact, write, and prove that nothing leaked.

Everything is captured into memory first, because a secret found in one file must go from all of them. Only
redacted text is ever written to the case.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Collection as Several
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..host import Host
from ..parse.encodings import detect_encoding
from . import (
    applications,
    containers,
    gpu,
    kernel,
    limits,
    memory,
    ollama_api,
    processes,
    server_logs,
    systemd,
)
from .case_folder import CaseFolder, case_step
from .collection import Collection, Collector, Step, Wanted

if TYPE_CHECKING:
    import pandas as pd

# Processes come first, because the others ask who is there; these run side by side.
COLLECTORS: dict[str, ModuleType] = {
    "server logs": server_logs,
    "systemd": systemd,
    "limits": limits,
    "memory": memory,
    "GPU": gpu,
    "Ollama's API": ollama_api,
    "containers": containers,
    "kernel log": kernel,
    "application logs": applications,
}
_LATE_GRACE_S = 1.0


@dataclass(frozen=True)
class Collected:
    """What a collection left: the case, the host's name in it, every step, and how much each rule removed."""

    case: Path
    host: str
    steps: list[Step]
    redacted: dict[str, int]
    wall_s: float

    @property
    def files(self) -> list[str]:
        return sorted({step.file for step in self.steps if step.file})

    def frame(self) -> pd.DataFrame:
        """Every step, one a row."""
        import pandas as pd

        return pd.DataFrame([asdict(step) for step in self.steps])

    def redacted_frame(self) -> pd.DataFrame:
        """How much each rule of redaction removed."""
        import pandas as pd

        return pd.DataFrame(sorted(self.redacted.items()), columns=["rule", "replaced"])

    def __str__(self) -> str:
        """What was captured and what was not, for people."""
        lines = [f"Collected {len(self.files)} files from {self.host} in {self.wall_s:.1f} s into {self.case}:"]
        for collector in dict.fromkeys(step.collector for step in self.steps):
            own = [step for step in self.steps if step.collector == collector]
            files = ", ".join(f"{step.file} ({_size(step.bytes)})" for step in own if step.file)
            lines.append(f"  {collector}: {files or 'nothing'}")
            told = dict.fromkeys(f"{step.step}: {step.reason}" for step in own if step.reason)
            lines += [f"    {step_and_reason}" for step_and_reason in told]
        removed = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.redacted.items())) or "nothing"
        lines.append(f"Redacted: {removed}. What each token stands for is kept outside of the case.")
        return "\n".join(lines)


def collect(
    host: Host, case: Path, wanted: Wanted, keep: Several[str] = (), say: Callable[[str], None] = lambda text: None
) -> Collected:
    """Capture what one host shows into a case, redacted; `keep` names kinds of secrets that may stay.

    Whatever fails is a step with its reason, and the case is written all the same. Raises OutputError when
    the case cannot be written at all, when it holds this host's collection already, or when a known secret
    is found in the finished case.
    """
    began = time.monotonic()
    folder = CaseFolder(case, host, keep)
    if any(step.collector in COLLECTORS for step in folder.recorded()):
        raise OutputError(f"{case}: holds a collection of {folder.name} already; give another folder.")
    folder.reserve()
    collection = Collection(host, wanted)
    _run(collection, say)
    captured, steps = dict(collection.captured), list(collection.steps)
    say("redacting …")
    texts = {file: _text(data) for file, data in captured.items()}
    for text in (*texts.values(), *texts, *(f"{step.step}\n{step.reason}" for step in steps)):
        folder.redactor.learn(text)
    names = {}
    for file, text in sorted(texts.items(), key=lambda item: len(item[1])):  # a disk may be nearly full
        names[file], problem = folder.write(file, text)
        if problem:
            steps.append(case_step("writing", file, problem))
    steps = folder.finish([replace(step, file=names.get(step.file, "")) for step in steps])
    return Collected(case, folder.name, steps, dict(folder.redactor.counts), time.monotonic() - began)


def _run(collection: Collection, say: Callable[[str], None]) -> None:
    """All collectors, each with its deadline; one that hangs is left behind."""
    say(f"processes of {collection.host.name} …")
    _attempt("processes", processes, collection)
    waiting = {}
    for name, module in COLLECTORS.items():
        thread = threading.Thread(target=_attempt, args=(name, module, collection), daemon=True)
        thread.start()
        waiting[name] = (thread, time.monotonic() + module.DEADLINE_S + _LATE_GRACE_S)
    while waiting:
        for name, (thread, ends) in list(waiting.items()):
            thread.join(0.05)
            if not thread.is_alive():
                say(f"{name}: {_outcome_of(name, collection.steps)}")
            elif time.monotonic() > ends:
                Collector(name, collection, 0).note("all of it", "", "timed_out", f"{name} did not come back in time")
                say(f"{name}: did not come back in time")
            else:
                continue
            del waiting[name]


def _attempt(name: str, module: ModuleType, collection: Collection) -> None:
    """One collector; whatever goes wrong in it is its own affair."""
    desk = Collector(name, collection, module.DEADLINE_S)
    try:
        module.collect(desk)
    except Exception as error:
        desk.note("all of it", "", "failed", f"{type(error).__name__}: {error}")


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _outcome_of(name: str, steps: list[Step]) -> str:
    own = [step for step in list(steps) if step.collector == name]
    files = [step.file for step in own if step.file]
    return (
        f"{len(files)} file{'s' * (len(files) != 1)}" if files else next((s.reason for s in own), "nothing to capture")
    )


def _text(data: bytes) -> str:
    """Bytes as text that encodes to the same bytes; UTF-16 captures become UTF-8."""
    encoding = detect_encoding(data[:4096])
    utf8 = encoding.startswith("utf-8")
    return data.decode("utf-8" if utf8 else encoding, "surrogateescape" if utf8 else "replace")
