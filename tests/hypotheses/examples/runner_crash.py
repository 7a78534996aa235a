"""Examples of `runner_crash`."""

from __future__ import annotations

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog


class Log(ServerLog):
    """Ends of runners."""

    def says(self, at_s: float, level: str, message: str, **fields: object) -> Log:
        at = NOON + timedelta(seconds=at_s)
        self.add(at, slog(at, level, "server.go:1310", message, **fields))
        return self

    def prints(self, at_s: float, *lines: str) -> Log:
        self.add(NOON + timedelta(seconds=at_s), *lines)
        return self


def warm(version: str = "0.13.5") -> Log:
    log = Log()
    log.start(version=version)
    log.load(5, 2.0).request(10, 3.0)
    return log


def died(error: str) -> str:
    return warm().says(25, "ERROR", "llama runner terminated", error=error).request(20, 5.0, 500).text()


GONE = "llama runner process no longer running"
DIED = "llama runner process has terminated: signal: terminated"
FAILED, ENDED = "error loading llama server", "llama runner process has terminated: {}"
METAL_MEMORY = "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
SEGFAULT = (
    "2026-03-14T12:00:25,000000+00:00 {name}[4242]: segfault at 0 ip 00007f3a1c2b9d41 sp 00007ffd8a1e2f10 error 4 in "
    "libc.so.6[7f3a1c200000+1a3000]\n"
)

XID = (
    "2026-03-14T12:00:25,000000+00:00 NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name={name}, Ch 0000000a, intr "
    "00000000. MMU Fault\n"
)
RESET = "2026-03-14T12:00:25,000000+00:00 amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n"
ROCM_FAULT = (
    "Memory access fault by GPU node-1 (Agent handle: 0x55d0c8) on address 0x7f1897000. Reason: Page not present."
)
METAL = "[METAL] Command buffer execution failed: Impacting Interactivity (0000000e)"
# Long after the last record, which is that of the load.
NATIVE_DEATHS = {
    "an exception of C++ that nothing caught": (
        ("terminate called after throwing an instance of 'vk::DeviceLostError'", "  what():  vk::Queue::submit"),
        "at 2026-03-14 12:06:40 UTC: 'vk::DeviceLostError';",
    ),
    "an exception of an MLX runner on a Mac": (
        (f"libc++abi: terminating due to uncaught exception of type std::runtime_error: {METAL}",),
        "at 2026-03-14 12:06:40 UTC: std::runtime_error: [METAL] Command buffer execution failed",
    ),
    "a page that the GPU could not read": (
        ("Memory access fault by GPU node-1 (Agent handle: 0x7248) on address 0x7237. Reason: Page not present.",),
        "at 2026-03-14 12:06:40 UTC: Memory access fault by GPU node-1",
    ),
    "a GPU that hangs": (
        ("HW Exception by GPU node-1 (Agent handle: 0x55dd) reason :GPU Hang",),
        "at 2026-03-14 12:06:40 UTC: HW Exception by GPU node-1",
    ),
}

EXAMPLES = [
    *(
        Example(
            f"{name}, and the request that it ended",
            "confirmed",
            {"server.log": warm().prints(400, *lines).request(300, 100.0, 500).text()},
            ("A runner crashed 1×", told, "1 of 2 requests failed with it"),
            "critical",
        )
        for name, (lines, told) in NATIVE_DEATHS.items()
    ),
    Example(
        "an MLX runner that died of a signal while it loaded",
        "confirmed",
        {
            "server.log": warm("0.31.1")
            .says(25, "ERROR", FAILED, error=f"mlx runner failed: error: {METAL} (exit: signal: abort trap)")
            .request(20, 5.0, 500)
            .text()
        },
        ("A runner crashed 1×", "mlx runner failed: error: [METAL] Command buffer"),
        "critical",
    ),
    Example(
        "a failed assertion",
        "confirmed",
        {"server.log": warm().prints(25, "/src/ggml.c:4101: GGML_ASSERT(found) failed").request(20, 5.0, 500).text()},
        ("A runner crashed 1×",),
        "critical",
    ),
    Example(
        "an error of the device, its abort, and the end that the server notes long after it: one death",
        "confirmed",
        {
            "server.log": warm()
            .prints(25, "CUDA error: an illegal memory access was encountered", r"C:\a\ggml-cuda.cu:73: CUDA error")
            .says(45, "ERROR", "llama runner terminated", error="exit status 0xc0000409")
            .request(40, 5.0)
            .text()
        },
        ("A runner crashed 1×", ": an illegal memory access was encountered;"),
        "critical",
    ),
    Example(
        "a failed assertion in the words of llama.cpp before July 2024, and what an embedding got",
        "confirmed",
        {
            "server.log": warm("0.2.8")
            .prints(25, "GGML_ASSERT: /src/llama.cpp:11010: seq_id < n_tokens")
            .says(25.1, "INFO", 'embedding generation failed: do embedding request: Post "http://127.0.0.1:1/e": EOF')
            .request(20, 5.0, 500)
            .text()
        },
        ("A runner crashed 1×", "seq_id < n_tokens; 1 of 2 requests failed"),
        "critical",
    ),
    Example(
        "Apple's GPU has no memory left, and the runner aborts",
        "confirmed",
        {
            "server.log": warm()
            .prints(
                25,
                "ggml_metal_synchronize: error: command buffer 0 failed with status 5",
                METAL_MEMORY,
                "ggml-metal-context.m:246: fatal error",
                "SIGABRT: abort",
            )
            .request(20, 5.0, 500)
            .text()
        },
        ("A runner crashed 1×", "error: Insufficient Memory"),
    ),
    Example(
        "an exit status of Windows",
        "confirmed",
        {"server.log": died("exit status 0xc0000135")},
        ("exit status 0xc0000135 (a DLL was not found)",),
    ),
    Example(
        "an end without a word",
        "not_observable",
        {"server.log": warm().says(25, "ERROR", FAILED, error=ENDED.format("%!w(<nil>)")).request(20, 5, 500).text()},
        ("no error was given", "Event Viewer"),
    ),
    Example("a signal of its own", "confirmed", {"server.log": died("signal: segmentation fault")}, ("segmentation",)),
    Example(
        "a segfault in the kernel's log",
        "confirmed",
        {"server.log": warm().request(20, 5.0, 500).text(), "kernel.log": SEGFAULT.format(name="ollama")},
        ("1 fault of ollama",),
    ),
    Example(
        "a fault of the GPU under the runner in the kernel's log",
        "supported",
        {"server.log": warm().request(20, 5.0, 500).text(), "kernel.log": XID.format(name="ollama")},
        ("a GPU failed, under a runner: Xid 31",),
    ),
    Example(
        "a fault of the GPU between the lines of the server, in a journal of the whole system",
        "supported",
        {
            "server.log": warm()
            .prints(22, XID.format(name="ollama").split(" ", 1)[1].strip())
            .request(20, 5, 500)
            .text()
        },
        ("a GPU failed, under a runner: Xid 31",),
    ),
    Example(
        "a reset of the GPU that names nobody decides nothing",
        "not_observable",
        {"server.log": warm().request(20, 5.0, 500).text(), "kernel.log": RESET},
        ("by lines that name no process: reset begin",),
    ),
    Example(
        "a fault of the GPU under another program",
        "ruled_out",
        {"server.log": warm().text(), "kernel.log": XID.format(name="Xorg")},
    ),
    Example(
        "the last words of ROCm's runtime",
        "confirmed",
        {"server.log": warm().prints(22, ROCM_FAULT).request(20, 5.0, 500).text()},
        ("Memory access fault by GPU node-1", "1 of 2 requests failed with it"),
    ),
    Example(
        "killed from outside",
        "supported",
        {"server.log": warm().says(30, "WARN", GONE, sys=9, string="signal: killed").request(31, 1).text()},
        ("SIGKILL",),
    ),
    Example(
        "asked to end by SIGTERM",
        "supported",
        {"server.log": warm().says(25, "ERROR", "error loading llama server", error=DIED).request(20, 5, 500).text()},
        ("ended by SIGTERM 1×", "no crash of its own; 1 request failed", "who sent SIGTERM"),
        "warning",
    ),
    Example(
        "ended by SIGTERM, and no request failed",
        "not_observable",
        {"server.log": warm().says(25, "WARN", GONE, sys=15, string="signal: terminated").request(31, 1).text()},
        ("who sent SIGTERM",),
    ),
    Example("no request and no load", "not_observable", {"server.log": Log().start().text()}, ("time with requests",)),
    Example(
        "an ordinary unload of 0.32",
        "ruled_out",
        {"server.log": warm("0.32.15").says(30, "ERROR", "llama-server terminated", error="signal: killed").text()},
        ("0 of 1 request",),
    ),
    Example(
        "another program's segfault",
        "ruled_out",
        {"server.log": warm().text(), "kernel.log": SEGFAULT.format(name="python")},
    ),
    Example("no server log", "not_observable", {"kernel.log": SEGFAULT.format(name="python")}, ("whole log",)),
]
