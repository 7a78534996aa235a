"""The case that a reproduction writes: its plan, its measurements, and evidence that `warmstall analyze` reads.

    case.json  plan.json  measurements.csv
    evidence/<host>/trace.jsonl  application.log  samples-0001.jsonl …  server.log

Everything is written as it happens and redacted before it is, so that a run which is killed leaves a case.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Collection as Several
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..collect.case_folder import CaseFolder
from ..collect.collection import Step
from ..collect.samples import Sampler
from ..collect.watch import Canary, Clock, watch
from ..errors import InputError, OutputError, WarmstallError
from ..host import LocalHost
from ..rag.tracing import TraceFile, tracer_to
from ..redact import Leak, Redactor
from ..writing import state_folder, whole_file
from .measurements import Measurements
from .senders import NotedTraces

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

_LOGGERS = ("warmstall.rag", "warmstall.reproduce")
_MOST_LOG_BYTES = 64 * 1024 * 1024
_MOST_SAMPLES_BYTES = 64_000_000
_LONGEST_WATCH_S = 30 * 86400.0
_SAMPLE_PATIENCE_S = 10.0
_MOST_TEXTS = 20_000
# What OpenTelemetry writes by itself, and what is another in every line.
_JSON_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"(0x)?[0-9a-f]{16,32}|\d{4}-\d\d-\d\dT[\d:.]+Z")


class ReproductionCase:
    """A case that is open for measurements; a context manager.

    `plan` is what was asked for. A folder that holds the same plan is continued: `measurements.numbers()` tells what
    was measured; one in which nothing was measured gets the new plan. Raises OutputError for a folder of another plan's
    measurements, of another kind, or one that cannot be written.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], keep: Several[str] = ()) -> None:
        self.folder = folder
        self.plan = dict(plan)
        text = json.dumps(self.plan, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        is_new = _check_plan(folder, digest)
        self._folder = CaseFolder(folder, LocalHost(), keep)
        self._folder.reserve()
        self._folder.redactor = redactor = _SharedRedactor(self._folder.redactor)
        self._cleaner = _Cleaner(redactor)
        self.evidence = self._folder.folder
        self.scratch = state_folder() / "reproduce" / str(self._folder.note["id"])
        # Before the plan is written: another process may be measuring into the folder.
        self.measurements = Measurements(folder / "measurements.csv", self._cleaner.text)
        if is_new:
            self._folder.finish([])  # a kill leaves a case that can be read
            with whole_file(folder / "plan.json") as path:
                asked = json.loads(self._cleaner.json_line(text))
                path.write_text(json.dumps({"digest": digest, "plan": asked}, indent=1) + "\n", encoding="utf-8")
        self._log = _ApplicationLog(self.evidence / "application.log", self._cleaner)
        self._trace: _CaseTrace | None = None
        self._tracer: Tracer | None = None
        self._steps: list[Step] = []
        self._closed = False

    def trace(self) -> Tracer:
        """A tracer whose spans are lines of trace.jsonl as soon as they end."""
        if self._tracer is None:
            self._trace = _CaseTrace(self.evidence / "trace.jsonl", self._cleaner.json_line)
            self._tracer = tracer_to(self._trace, NotedTraces())
        return self._tracer

    def note(self, facts: Mapping[str, Any]) -> None:
        """Facts for case.json, redacted; they stand there when the case is closed."""
        self._folder.note |= json.loads(self._cleaner.json_line(json.dumps(facts)))

    def noted(self, name: str) -> Mapping[str, Any]:
        """What was noted under a name, by an earlier run into this case as well."""
        known = self._folder.note.get(name)
        return known if isinstance(known, dict) else {}

    def add_log(self, path: Path, name: str = "") -> None:
        """Copy the end of a log into the evidence, redacted. A log that cannot be read is a step that failed."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        try:
            with path.open("rb") as handle:
                handle.seek(max(0, path.stat().st_size - _MOST_LOG_BYTES))
                text = handle.read().decode("utf-8", "surrogateescape")
        except OSError as error:
            reason = f"{path}: cannot be read ({error.strerror or error})"
            self._steps.append(Step("reproduce", "log", "", "failed", reason, 0.0, 0, at))
            return
        self._folder.redactor.learn(text)
        file, problem = self._folder.write(name or path.name, text)
        outcome = "failed" if problem else "captured"
        self._steps.append(Step("reproduce", f"log {path}", file, outcome, problem, 0.0, len(text), at))  # type: ignore[arg-type]

    @contextmanager
    def watched(self, port: int, every_s: float = 2.0) -> Iterator[None]:
        """Sample this machine and the server at a port of it meanwhile, without sending it anything of a load."""
        clock = _UntilStopped()
        problems: list[WarmstallError] = []

        def sample() -> None:
            try:
                with closing(Sampler(LocalHost(), port)) as sampler:
                    watch(self._folder, sampler, Canary(()), every_s, _LONGEST_WATCH_S, _MOST_SAMPLES_BYTES, clock)
            except WarmstallError as problem:
                problems.append(problem)

        if not 0.1 <= every_s <= _LONGEST_WATCH_S:
            raise InputError(f"a sample every {every_s:g} s: expected at least 0.1 s.")
        thread = threading.Thread(target=sample, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            clock.stopped.set()
            thread.join(_SAMPLE_PATIENCE_S)
        if problems:
            raise problems[0]

    def close(self) -> None:
        """Write case.json and look whether a secret is left; nothing more can be recorded."""
        if self._closed:
            return
        self._closed = True
        if self._trace:
            self._trace.shutdown()
        self._log.close()
        self.measurements.close()
        self._folder.finish(self._steps)

    def forget_scratch(self) -> None:
        """Remove what only a run that goes on would need: a drill's own log, its knowledge."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> ReproductionCase:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _check_plan(folder: Path, digest: str) -> bool:
    """Whether the folder is a new one. Raises OutputError where it holds something else than this plan."""
    if not (folder / "plan.json").exists():
        if (folder / "evidence").exists() or (folder / "measurements.csv").exists():
            raise OutputError(f"{folder}: is a case of something else; give another folder.")
        return True
    try:
        known = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{folder / 'plan.json'}: cannot be read as a plan ({error}).") from error
    if known == digest:
        return False
    if rows := _rows_in(folder / "measurements.csv"):
        held = f"{rows:,} measurement{'s' * (rows > 1)}"
        raise OutputError(f"{folder}: holds {held} of another plan (plan.json); give another folder.")
    return True  # nothing was measured: a refused target, a typing error


def _rows_in(path: Path) -> int:
    try:
        return max(0, path.read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error}).") from error


class _SharedRedactor(Redactor):
    """A redactor for several threads: what one of them learns, none may be reading."""

    def __init__(self, one: Redactor) -> None:
        self.__dict__.update(vars(one))
        self._lock = threading.RLock()

    def learn(self, text: str) -> None:
        with self._lock:
            super().learn(text)

    def redact(self, text: str) -> str:
        with self._lock:
            return super().redact(text)

    def leaks(self, data: bytes | str) -> list[Leak]:
        with self._lock:
            return super().leaks(data)


class _Cleaner:
    """Texts as they may be written. To redact takes milliseconds, and most texts were there before."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[str, str] = {}
        # Texts as JSON writes them, that stay as they are.
        self._harmless: set[str] = set()

    def text(self, text: str) -> str:
        """One text, which may be of several lines."""
        return "\n".join(map(self._line, text.split("\n")))

    def json_line(self, line: str) -> str:
        """A JSON document on one line with every text in it redacted; its keys are ours."""
        # Nearly every line holds nothing but texts that were looked at before, and stays as it is.
        new = {text for text in set(_JSON_TEXT.findall(line)) - self._harmless if not _PLAIN.fullmatch(text)}
        if not new:
            return line
        clean = json.dumps(self._inside(json.loads(line)))
        if len(self._harmless) >= _MOST_TEXTS:
            self._harmless.clear()
        self._harmless |= new & set(_JSON_TEXT.findall(clean))
        return clean

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return value if _PLAIN.fullmatch(value) else self.text(value)
        if isinstance(value, dict):
            return {name: self._inside(inner) for name, inner in value.items()}
        return [self._inside(inner) for inner in value] if isinstance(value, list) else value

    def _line(self, line: str) -> str:
        if (clean := self._known.get(line)) is None:
            clean = self._redactor.redact(line)
            if self._redactor.leaks(clean):
                clean = "left out: a known secret was still in it"
            if len(self._known) >= _MOST_TEXTS:
                self._known.clear()
            self._known[line] = clean
        return clean


class _CaseTrace(TraceFile):
    """A trace that may be closed while a call that was left behind is still open."""

    def on_end(self, span: ReadableSpan) -> None:
        if not self._file.closed:
            super().on_end(span)


class _ApplicationLog(logging.Handler):
    """What the path and the load log, in UTC, each line redacted."""

    def __init__(self, path: Path, cleaner: _Cleaner) -> None:
        super().__init__(logging.INFO)
        self._cleaner = cleaner
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
        self._levels: dict[str, int] = {}
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            if not logger.isEnabledFor(logging.INFO):
                logger.setLevel(logging.INFO)
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            head = f"{at}.{int(record.msecs):03d}+00:00 {record.levelname} [{record.threadName}] {record.name}: "
            self._file.write(head + self._cleaner.text(self.format(record)) + "\n")
            self._file.flush()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).removeHandler(self)
            logging.getLogger(name).setLevel(level)
        self._file.close()
        super().close()


class _UntilStopped(Clock):
    """The time for `watch`, which ends when its clock has gone on far enough."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def elapsed_s(self) -> float:
        return time.monotonic() + (2 * _LONGEST_WATCH_S if self.stopped.is_set() else 0.0)

    def sleep(self, seconds: float) -> None:
        self.stopped.wait(seconds)
