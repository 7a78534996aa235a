"""Examples of `setting_not_in_force`."""

from hypotheses.example import Example, ServerLog
from hypotheses.examples.memlock_limit import limits

CAT = """\
# /etc/systemd/system/ollama.service
[Service]
ExecStart=/usr/local/bin/ollama serve

# /etc/systemd/system/ollama.service.d/override.conf
[Service]
Environment="{assignment}"
"""
TWO_DROP_INS = """
# /etc/systemd/system/ollama.service.d/zz-power.conf
[Service]
Environment="OLLAMA_KEEP_ALIVE=5m"
"""
SHOW = """\
Id=ollama.service
MainPID=1188
ActiveState=active
Environment=OLLAMA_KEEP_ALIVE=24h
LimitMEMLOCK=8388608
LimitMEMLOCKSoft=8388608
NeedDaemonReload=no
"""


def cat(assignment: str) -> str:
    """The unit's files as `systemctl cat` shows them."""
    return CAT.format(assignment=assignment)


def log(**settings: str) -> str:
    return ServerLog().start(**settings).load(5, 2.0).request(10, 3.0).text()


REFUSED = (
    'time=2026-03-14T12:00:00.000Z level=WARN source=config.go:204 msg="invalid environment variable, using default" '
    "key=OLLAMA_NUM_PARALLEL value=many default=1\n"
)

IGNORED = 'time=2026-03-14T12:00:11.000Z level=WARN source=types.go:723 msg="invalid option provided" option={}\n'

EXAMPLES = [
    Example(
        "the server printed another value",
        "confirmed",
        {"server.log": log(OLLAMA_KEEP_ALIVE="5m0s"), "systemctl-cat.txt": cat("OLLAMA_KEEP_ALIVE=24h")},
        ("override.conf says 24h, but the server printed 5m0s",),
        severity="warning",
    ),
    Example(
        "a variable that no version reads",
        "confirmed",
        {"server.log": log(), "systemctl-cat.txt": cat("OLLAMA_NUM_CTX=8192")},
        ("read by no version",),
        severity="warning",
    ),
    Example("the server refused a value", "confirmed", {"server.log": log() + REFUSED}, ("OLLAMA_NUM_PARALLEL=many",)),
    Example(
        "an option of requests is ignored",
        "confirmed",
        {"server.log": log() + IGNORED.format("use_mlock") + IGNORED.format("f16_kvggml_backend_vk_get_device_memory")},
        ("does not know 2 times: use_mlock.",),
        severity="info",
    ),
    Example(
        "drop-ins that contradict each other",
        "supported",
        {"server.log": log(), "systemctl-cat.txt": cat("OLLAMA_KEEP_ALIVE=-1") + TWO_DROP_INS},
        ("overrides 1 other drop-in (-1 of override.conf)",),
    ),
    Example(
        "what is written is in force",
        "ruled_out",
        {"server.log": log(OLLAMA_KEEP_ALIVE="24h0m0s"), "systemctl-show.txt": SHOW, "limits.txt": limits("8388608")},
        ("2 of 2 settings and limits",),
    ),
    Example(
        "the live process has a lower limit",
        "confirmed",
        {"server.log": log(OLLAMA_KEEP_ALIVE="24h0m0s"), "systemctl-show.txt": SHOW, "limits.txt": limits("65536")},
        ("MEMLOCK: the unit says 8 MiB, the live process 1188 has 64 KiB",),
    ),
    Example(
        "the limits were not captured",
        "not_observable",
        {"server.log": log(OLLAMA_KEEP_ALIVE="24h0m0s"), "systemctl-cat.txt": cat("OLLAMA_KEEP_ALIVE=24h")},
        ("/proc/PID/limits",),
    ),
    Example("no unit", "not_observable", {"server.log": log()}, ("systemctl cat ollama",)),
    Example("no log", "not_observable", {"systemctl-cat.txt": cat("OLLAMA_KEEP_ALIVE=24h")}, ("/proc/PID/environ",)),
]  # fmt: skip
