"""A runner without a model: Ollama's command line, llama-server's HTTP, seeded times, and the timetable's faults.

Started by the server with one argument, its specification as JSON (`RunnerSpec`). It writes the raw lines of its
version on standard error and answers on loopback until it is ended. Needs nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from random import Random
from typing import Any

from . import growth
from .answer_text import AnswerText
from .go_text import stamp
from .models import MODELS, DrillModel
from .processes import die_with_parent, show_title
from .runner_client import ClientGoneError, Connection, PromptTooLongError
from .runner_spec import RunnerSpec
from .task_lines import Task, TaskLines
from .timetable import Timetable
from .token_timing import BUSY_SHARE, SPILLED_SHARE, TokenTiming, count_tokens, work
from .wording import Wording

# Tokens are sent at most this often; a faster model sends several at once.
_QUANTUM_S = 0.01
# A model that has been read is not ready yet.
_SETTING_UP_S = 0.55
# What a model writes on an average when nobody limits it.
_USUAL_TOKENS = 300
# A request that comes with another's end finds its slot still at work.
_CANCEL_S = 0.03


class SyntheticRunner:
    """One model in memory."""

    def __init__(self, spec: RunnerSpec) -> None:
        self.spec = spec
        self.model: DrillModel = MODELS[spec.model]
        self.timetable = Timetable.load(spec.timetable)
        self.wording = Wording(spec.version)
        self.lines = TaskLines(self.wording, spec, self.model)
        self.loaded = False
        self.asked = threading.Event()
        self._reading_since = self._reading_s = 0.0
        self._lock = threading.Lock()
        self._slot_freed = threading.Condition(self._lock)
        self._tasks = 0
        self._requests = 0

    def say(self, section: str, **fields: object) -> None:
        """Write a section on standard error, whole."""
        now = {"time": stamp(self.spec.zone_offset_s)}
        lines = self.wording.lines(section, self.spec.debug, {**self.spec.fields, **now, **fields})
        if lines:
            os.write(2, ("\n".join(lines) + "\n").encode())

    def run(self) -> None:
        """Load; a fault of our own must not look like a load that hangs."""
        try:
            self.say("runner_start")
            if self.spec.loads_when_asked:
                self.asked.wait()
            self.load()
        except BaseException:
            traceback.print_exc()
            os._exit(70)

    def load(self) -> None:
        """Read the model, as long as that takes; ends the process where the load fails."""
        if self.model.broken:
            self._fail(self.model.broken)
        failing = bool(self.timetable.strength("failed_load", self.model.name) or self.spec.fields["too_large"])
        self.say("runner_load", allocation_fails=failing)
        if failing:
            self._fail("allocation")
        while self.timetable.strength("load_hang", self.model.name):
            time.sleep(0.05)  # a fault ends at its time of day, which nothing announces
        self._reading_s = self.model.load_s + self.timetable.strength("slow_load", self.model.name)
        self._reading_since = time.monotonic()
        work(self._reading_s)
        self.say("runner_load_tensors")
        self.loaded = True
        self.say("runner_ready")
        growth.start(self.timetable, self.model.name)
        threading.Thread(target=self._spin, daemon=True).start()

    @property
    def progress(self) -> float:
        """The share of the model that has been read."""
        if not self._reading_since:
            return 0.0
        return min(1.0, (time.monotonic() - self._reading_since) / max(0.1, self._reading_s - _SETTING_UP_S))

    def _fail(self, reason: str) -> None:
        section = f"load_error_{reason}"
        if self.wording.has(section):
            self.say(section, sender_pid_hex=hex(self.spec.parent_pid))
        else:
            os.write(2, b"llama_model_load: error loading model: unable to allocate CPU buffer\n")
        os._exit(self.spec.crash_exit_code)

    def dump(self, number: int, _: object) -> None:
        """What a runner written in Go does when a signal says that it crashed."""
        self.say(f"crash_{signal.Signals(number).name}", sender_pid_hex=hex(self.spec.parent_pid))
        os._exit(self.spec.crash_exit_code)

    def _spin(self) -> None:
        """Burn one core while that fault acts; requests wait meanwhile (`_hold`)."""
        while True:
            if self.timetable.strength("spinning_runner", self.model.name):
                ends = time.monotonic() + 0.05
                while time.monotonic() < ends:
                    pass
            else:
                time.sleep(0.05)

    def completion(self, ask: dict[str, Any], connection: Connection) -> Iterator[dict[str, Any]]:
        """The chunks of an answer; the last one has the figures."""
        self._requests += 1
        hangs = self.timetable.meets("hang_rate", self.model.name, self._requests)
        task = self._take(ask)
        if task.prompt_tokens > self.spec.num_ctx and not task.is_embedding:
            raise self._refusal(task)
        timing = TokenTiming(self.model, self.timetable, Random(f"{self.spec.seed} {self.model.name} {task.number}"))
        ended = False
        try:
            if hangs:
                connection.wait_closed(3600.0)
            self._prefill(task, timing, connection)
            if not task.is_embedding:
                yield from self._decode(task, timing, connection)
            ended = True
        finally:
            with self._slot_freed:
                self.lines.end(task) if ended else self.lines.cancel(task)
                self._slot_freed.notify()
        yield task.figures()

    def _refusal(self, task: Task) -> PromptTooLongError:
        """A prompt that nobody cut is refused once it has a slot."""
        with self._slot_freed:
            self.lines.refuse(task)
            self._slot_freed.notify()
        return PromptTooLongError(task.prompt_tokens, self.spec.num_ctx)

    def _take(self, ask: dict[str, Any]) -> Task:
        """A slot for a request, and its task."""
        prompt = str(ask["prompt"])
        tokens = int(ask.get("prompt_tokens") or count_tokens(prompt))
        asked = int(ask.get("n_predict", -1))
        with self._slot_freed:
            number = self._tasks
            self._tasks += 1
            self.lines.receive(tokens, number)
            while (slot := self.lines.choose(prompt, tokens, number)) is None:
                self.lines.waiting += 1
                self._slot_freed.wait()
                self.lines.waiting -= 1
            task = self.lines.take(slot, prompt, tokens, number, bool(ask.get("embedding")))
        task.ends_itself = asked < 0
        task.n_predict = asked if asked >= 0 else self._usual_length(number)
        return task

    def _usual_length(self, number: int) -> int:
        """Tokens until a model ends by itself, where nobody limits it."""
        return 50 + int(Random(f"{self.spec.seed} length {number}").expovariate(1 / _USUAL_TOKENS))

    def _prefill(self, task: Task, timing: TokenTiming, connection: Connection) -> None:
        usual_s = timing.prompt_s(task.new_tokens)
        task.usual_prompt_s = usual_s
        started = time.monotonic()
        while task.done_tokens < task.new_tokens:
            self._hold(connection)
            batch = min(self.spec.num_batch, task.new_tokens - task.done_tokens)
            seconds = usual_s * batch / task.new_tokens * timing.slowness("slow_prefill")
            if self.spec.notices_abort_in_prefill:
                self._compute(seconds, task, connection, BUSY_SHARE, batch)
            else:
                work(seconds)
            task.done_tokens += batch
            task.prompt_s = time.monotonic() - started
            if task.done_tokens < task.new_tokens:
                self._tasks += 1
                self.lines.prompt_progress(task)
        connection.check()
        self.lines.prompt_done(task)

    def _compute(self, seconds: float, task: Task, connection: Connection, busy_share: float, batch: int = 0) -> None:
        """Work that is finished though the client may leave meanwhile. Raises ClientGoneError then."""
        ends = time.monotonic() + seconds
        work(seconds * busy_share, 1.0)
        try:
            connection.wait_closed(max(0.0, ends - time.monotonic()))
        except ClientGoneError:
            self.lines.told_to_cancel(task)
            time.sleep(max(0.0, ends - time.monotonic()) + _CANCEL_S)
            task.done_tokens += batch
            raise

    def _decode(self, task: Task, timing: TokenTiming, connection: Connection) -> Iterator[dict[str, Any]]:
        started = time.monotonic()
        breaks = self.timetable.meets("broken_stream", self.model.name, self._requests)
        room = self.spec.num_ctx - task.prompt_tokens
        if not self.spec.shift and room < task.n_predict:
            task.n_predict, task.truncated = room, True
        text = AnswerText(task.prompt, task.n_predict, self.timetable, self.model.name)
        while task.generated_tokens < task.n_predict:
            self._hold(connection)
            words, usual_s = [], 0.0
            while task.generated_tokens < min(task.n_predict, room) and usual_s < _QUANTUM_S:
                usual_s += timing.token_s()
                words.append(text.word(task.generated_tokens, timing.random))
                task.generated_tokens += 1
            self._tasks += len(words)
            slowness = timing.slowness("slow_decode")
            self._compute(usual_s * slowness, task, connection, SPILLED_SHARE if slowness > 1 else BUSY_SHARE)
            task.usual_generated_s += usual_s
            task.generated_s = time.monotonic() - started
            self.lines.progress(task)
            if task.generated_tokens >= room and task.generated_tokens < task.n_predict:
                room += self.lines.shift(task)
            yield {"content": " " + " ".join(words), "stop": False, "tokens": len(words)}
            if breaks:
                raise ConnectionAbortedError

    def _hold(self, connection: Connection) -> None:
        """Answer nothing while the runner spins."""
        while self.timetable.strength("spinning_runner", self.model.name):
            time.sleep(0.02)
            connection.check()


def main() -> None:
    spec = RunnerSpec.read(sys.argv[1])
    die_with_parent(spec.parent_pid)
    show_title(spec.title, spec.process_name)
    runner = SyntheticRunner(spec)
    for number in (signal.SIGSEGV, signal.SIGABRT):
        if runner.wording.has(f"crash_{number.name}"):
            signal.signal(number, runner.dump)
    threading.Thread(target=runner.run, daemon=True).start()
    from .runner_http import serve  # reading it takes as long as all the rest: the first lines do not wait for it

    serve(spec.port, runner)


if __name__ == "__main__":
    main()
