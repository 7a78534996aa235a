"""A runner's command line in each version."""

from __future__ import annotations

from .eras import Era
from .runner import Runner


def command_line(era: Era, runner: Runner, num_thread: int) -> str:
    """What the log and the process table show; `num_thread` 0 where nobody asked for a number."""
    if era.version == "0.3.14":
        threads = f" --threads {num_thread}" if num_thread else ""
        mmap = "" if runner.options.use_mmap else " --no-mmap"
        return (
            f"/usr/local/lib/ollama/runners/cpu_avx2/ollama_llama_server --model {runner.blob} "
            f"--ctx-size {runner.num_ctx * runner.parallel} --batch-size {runner.num_batch} --embedding{threads}{mmap} "
            f"--parallel {runner.parallel} --port {runner.port}"
        )
    if era.version == "0.13.5":
        return f"/usr/local/bin/ollama runner --model {runner.blob} --port {runner.port}"
    threads = f" -t {num_thread}" if num_thread else ""
    load_mode = " --load-mode none" if not runner.options.use_mmap else ""
    kind = " --embedding" if runner.model.embedding else ""
    shift = "" if runner.options.shift is False else " --context-shift --keep 4"
    return (
        f"/usr/local/lib/ollama/llama-server --model {runner.blob} --port {runner.port} --host 127.0.0.1 --no-webui "
        f"--offline -c {runner.num_ctx * runner.parallel} -np {runner.parallel} --log-verbosity 4 --no-log-prefix "
        f"--no-log-timestamps --no-jinja --chat-template chatml{load_mode} --flash-attn auto{kind} "
        f"-b {runner.num_batch} -ub {runner.num_batch}{threads}{shift}"
    )
