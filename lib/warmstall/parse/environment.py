"""The environment in force: `/proc/PID/environ`, and the lists that `env`, `printenv` or `launchctl getenv` print.

Only variables that Ollama, its runners, their GPU libraries or the services beside them read are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .encodings import encodable
from .parsed import Parsed

# What begins so matters: Ollama, llama.cpp, CUDA, ROCm, Vulkan, oneAPI, thread pools, Chroma.
PREFIXES = (
    "OLLAMA_", "LLAMA_ARG_", "GGML_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "ROCM_", "HSA_", "AMD_", "ZES_", "ONEAPI_",
    "SYCL_", "OMP_", "GOMP_", "KMP_", "CHROMA_",
)  # fmt: skip
# INVOCATION_ID tells which start of which unit a process belongs to; PATH that the environment was captured at all.
NAMES = frozenset((
    "GPU_DEVICE_ORDINAL", "GODEBUG", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GOTRACEBACK", "HTTP_PROXY", "HTTPS_PROXY",
    "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "TZ", "LD_LIBRARY_PATH",
    "LD_PRELOAD", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VK_ICD_FILENAMES", "VK_DRIVER_FILES", "MALLOC_ARENA_MAX",
    "TOKENIZERS_PARALLELISM", "WEB_CONCURRENCY", "SPT_NOENV", "IS_PERSISTENT", "PERSIST_DIRECTORY", "INVOCATION_ID",
    "PATH",
))  # fmt: skip
_SECRET = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)(?:_|$)", re.IGNORECASE)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
# No newline ends an environment: the heading of the next one may follow the last value directly.
_SECTION = re.compile(r"==> ([^<>\n]{1,400}) <==")
_PROCESS = re.compile(r"/proc/(\d{1,18})/environ")
_GLUED = re.compile(r"[A-Z][A-Z0-9_]{2,200}=")
_PROMPT = re.compile(r"^[ \t]*(?:\[?[\w.-]{1,64}@[^$#%❯>=\n]{1,200}[$#%❯>]|[$#%❯➜])[ \t]*(\S.*)$", re.MULTILINE)
_LISTS = re.compile(r"(?:^|[\s;|&(])(?:env|printenv)\s*(?:$|[|;>])|/environ\b|\blaunchctl getenv ")
_GETENV = re.compile(r"\blaunchctl getenv ([A-Za-z_][A-Za-z0-9_]{0,200})\s*$")


def matters(name: str) -> bool:
    """Whether a variable of this name can change how a model is served; one that holds a secret never does.

    >>> matters("OLLAMA_KEEP_ALIVE"), matters("OLLAMA_API_KEY"), matters("SHELL")
    (True, False, False)
    """
    return (name in NAMES or name.startswith(PREFIXES)) and not _SECRET.search(name)


def is_environment(lines: list[str]) -> bool:
    """Whether this text holds the environment of a process.

    >>> is_environment(["$ env", "HOME=/srv", "OLLAMA_HOST=0.0.0.0"]), is_environment(["export OLLAMA_HOST=0"])
    (True, False)
    """
    return bool(parse_environment("\n".join(lines)).tables)


def parse_environment(text: str) -> Parsed:
    r"""Rows of the settings table: the variables that matter.

    origin "process environment"; subject, the pid where a heading or a command tells, else empty; position from 1 as
    they stand; in_force, the first of a name, because that is the one that Go programs see.

    >>> parsed = parse_environment("==> /proc/7/environ <==\nHOME=/\0OLLAMA_HOST=::\0==> /proc/8/environ <==\nTZ=UTC\0")
    >>> [(row["subject"], row["name"], row["value"]) for row in parsed.tables["settings"]]
    [('7', 'OLLAMA_HOST', '::'), ('8', 'TZ', 'UTC')]
    """
    parsed = Parsed()
    for pid, head, first_line, content in _captures(text):
        entries = list(_entries(content, first_line))
        if entries and head:
            parsed.understood([head])
        seen: set[str] = set()
        for line, last_line, name, value in entries:
            parsed.understood(range(line, last_line + 1))
            if matters(name):
                parsed.add("settings", line, origin="process environment", subject=pid, name=name, value=value,
                           file="", position=len(seen) + 1, in_force=name not in seen)  # fmt: skip
                seen.add(name)
    return parsed


def _captures(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Each environment in the text: the pid, the line of its heading, the line where it begins, and it."""
    parts = _SECTION.split(text)
    if len(parts) == 1 and not _PROMPT.search(text):
        entries = [entry for entry in text.split("\0" if "\0" in text else "\n") if entry.strip()]
        if entries and all(_is_entry(entry) for entry in entries):
            yield "", 0, 1, text
        return
    line = 1
    for path, content in zip(["", *parts[1::2]], parts[0::2], strict=True):
        prompt = _PROMPT.search(content)
        end = prompt.start() if prompt else len(content)
        process = _PROCESS.search(path)
        if process and not _has_lost_its_zeros(content[:end]):
            yield process[1], line, line, content[:end]
        yield from _after_prompts(content[end:], line + content.count("\n", 0, end))
        line += content.count("\n")


def _after_prompts(text: str, line: int) -> Iterator[tuple[str, int, int, str]]:
    """What follows each command that lists variables."""
    prompts = list(_PROMPT.finditer(text))
    seen = 0
    for prompt, following in zip(prompts, [*prompts[1:], None], strict=False):
        content = text[prompt.end() : following.start() if following else len(text)]
        command = prompt[1]
        line += text.count("\n", seen, prompt.start())
        seen, at = prompt.start(), line
        if getenv := _GETENV.search(command):
            value = content.lstrip("\n")  # nothing follows where the variable is not set
            if value.strip():
                yield "", at, at + len(content) - len(value), f"{getenv[1]}={value.partition(chr(10))[0]}"
        elif _LISTS.search(command):
            process = _PROCESS.search(command)
            yield process[1] if process else "", at, at, content


def _has_lost_its_zeros(content: str) -> bool:
    """Whether all variables run into one, because what copied the file left out the zeros between them."""
    return "\n" not in content.strip() and "\0" not in content and len(_GLUED.findall(content)) > 2


def _is_entry(entry: str) -> bool:
    return bool(_NAME.fullmatch(entry.partition("=")[0])) and "=" in entry


def _entries(content: str, first_line: int) -> Iterator[tuple[int, int, str, str]]:
    """Variables with the lines on which they begin and end; a list with zeros may have newlines in its values."""
    line = first_line
    between = "\0" if "\0" in content else "\n"
    for entry in content.split(between):
        begins = line
        line += entry.count("\n") if between == "\0" else 1
        stripped = entry.lstrip("\n")
        begins += len(entry) - len(stripped)
        name, equals, value = stripped.partition("=")
        if equals and _NAME.fullmatch(name):
            yield begins, begins + stripped.rstrip("\n").count("\n"), name, encodable(value.rstrip("\r\n"))
