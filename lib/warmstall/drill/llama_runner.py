"""A runner with real inference: llama.cpp's own server, from the package xllamacpp, on a loopback port.

Started by the server with one argument, its specification as JSON (`RunnerSpec`). It answers llama-server's HTTP:
`/health`, `/slots`, `/completion`; `/embedding` only where the specification says so. Its raw lines are llama.cpp's,
as Ollama since 0.30 has them in its log. Exit status: 0 after SIGTERM, 1 with a line `error: …` after a failed load.

Which faults act here: those that come from outside, as on any process (SIGSTOP … SIGCONT, SIGKILL and other signals,
busy cores, clients that go), and a blob that is cut short, unknown or absent. The timetable is not read: `slow_load`,
`failed_load`, `load_hang`, `slow_prefill`, `slow_decode`, `spinning_runner`, `hang_rate`, `growing_memory`,
`broken_stream`, `reasoning_leak` and `ungrounded_citation` act only in the synthetic runner.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from .processes import die_with_parent, show_title
from .runner_spec import RunnerSpec

# Ollama asks for lines without time and level (`--no-log-prefix --no-log-timestamps`). xllamacpp has no such switch,
# so the prefix `0.00.025.474 I ` is taken off as the lines pass.
_PREFIX = re.compile(rb"^\d+\.\d\d\.\d{3}\.\d{3} [A-Z] ")
# Lines of the binding, which a llama-server does not write.
_BINDING = re.compile(rb"^srv +init: (?:initializing \.\.\.|build_info: |loading model$|preserve_reasoning kwarg)")
# llama.cpp writes its lines in a thread of its own; after this one of a failed load none follows.
_LAST = re.compile(rb"exiting due to (?:model loading|HTTP server) error")
_LOG_VERBOSITY = 4  # what Ollama asks for, with and without OLLAMA_DEBUG
_LAST_LINES_S = 5.0


def main() -> None:
    spec = RunnerSpec.read(sys.argv[1])
    die_with_parent(spec.parent_pid)
    show_title(spec.title, spec.process_name)
    # Blocked before any thread begins, so that no thread of llama.cpp takes them from sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    status = 0
    with plain_lines() as copying:
        server = load(spec)
        if server:
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
        else:
            status = 1
            copying.join(_LAST_LINES_S)
    if status:
        reason = f"failed to load model '{spec.blob}' or to listen on port {spec.port}"
        print(f"error: {reason}", file=sys.stderr, flush=True)
    # Not the ordinary way out: the server's destructor waits for open streams, half a minute and more.
    os._exit(status)


def load(spec: RunnerSpec) -> Any:
    """The server, when it is ready to answer; None if the model cannot be loaded.

    `/health` answers 503 meanwhile. The binding keeps Python's lock until then, so the lines of a load arrive when it
    has ended; a pipe has room for all of them.
    """
    import xllamacpp

    given = xllamacpp.CommonParams()
    given.model.path = spec.blob
    given.hostnames = ["127.0.0.1"]
    given.port = spec.port
    given.n_parallel = spec.parallel
    given.n_ctx = spec.num_ctx * spec.parallel
    # A text that becomes one vector is read in one go.
    given.n_batch = given.n_ubatch = spec.num_ctx if spec.embedding else spec.num_batch
    given.n_keep = 4
    given.ctx_shift = True
    given.verbosity = _LOG_VERBOSITY
    given.ui = False
    given.offline = True
    given.use_jinja = False
    given.chat_template = "chatml"
    given.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    if spec.embedding:
        given.embedding = True
        # One vector for a text; without it there is one for each of its tokens.
        given.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if spec.num_thread:
        given.cpuparams.n_threads = spec.num_thread
    try:
        return xllamacpp.Server(given)
    except RuntimeError:  # llama.cpp has said why on standard error
        return None


@contextlib.contextmanager
def plain_lines() -> Iterator[threading.Thread]:
    """Within it, what llama.cpp writes to standard error arrives there without prefix; gives the thread that copies."""
    original = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    copying = threading.Thread(target=_copy, args=(reading, original), daemon=True)
    copying.start()
    try:
        yield copying
    finally:
        os.dup2(original, 2)  # closes the pipe: what is still in it is copied
        copying.join(_LAST_LINES_S)


def _copy(reading: int, original: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            plain = _PREFIX.sub(b"", line)
            if not _BINDING.match(plain):
                with contextlib.suppress(OSError):  # nobody reads; llama.cpp must not block on a full pipe
                    os.write(original, plain)
            if _LAST.search(plain):
                return


if __name__ == "__main__":
    main()
