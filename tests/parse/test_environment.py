"""The environment in force: which process has which variable, and nothing that does not matter or is a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.environment import is_environment, matters, parse_environment


def found(text: str) -> list[tuple[str, str, str]]:
    return [(row["subject"], row["name"], row["value"]) for row in parse_environment(text).tables["settings"]]


def test_sections_of_two_processes_with_no_newline_between_them() -> None:
    text = (
        "==> /proc/1436/environ <==\nHOME=/srv\0OLLAMA_HOST=0.0.0.0\0SHELL=/bin/sh\0"
        "\n==> /proc/1440/environ <==\nOLLAMA_DEBUG=1\0CUDA_VISIBLE_DEVICES=\0==> /proc/7/environ <==\nTZ=UTC\0"
    )
    assert is_environment(text.split("\n"))
    assert found(text) == [
        ("1436", "OLLAMA_HOST", "0.0.0.0"), ("1440", "OLLAMA_DEBUG", "1"), ("1440", "CUDA_VISIBLE_DEVICES", ""),
        ("7", "TZ", "UTC"),
    ]  # fmt: skip
    assert parse_environment(text).lines == {1, 2, 3, 4, 5}


def test_one_variable_a_line_is_read_the_same() -> None:
    text = "==> /proc/1436/environ <==\nOLLAMA_HOST=::\nHTTPS_PROXY=http://proxy.example.com\n"
    assert found(text) == [("1436", "OLLAMA_HOST", "::"), ("1436", "HTTPS_PROXY", "http://proxy.example.com")]
    assert parse_environment(text).lines == {1, 2, 3}


@pytest.mark.parametrize(
    ("command", "pid"),
    [("$ env | sort", ""), ("root@box:/# printenv", ""), ("[me@box ~]$ cat /proc/77/environ | tr '\\0' '\\n'", "77"),
     ("$ docker exec ollama env", ""), ("# env", "")],
)  # fmt: skip
def test_a_command_before_a_list_tells_what_it_is(command: str, pid: str) -> None:
    text = f"As it was:\n\n{command}\nHOME=/srv\nOLLAMA_NUM_PARALLEL=4\n$ date\nOLLAMA_HOST=not this\n"
    assert found(text) == [(pid, "OLLAMA_NUM_PARALLEL", "4")]
    assert parse_environment(text).lines == {3, 4, 5}


def test_launchctl_prints_the_value_alone() -> None:
    text = "% launchctl getenv OLLAMA_FLASH_ATTENTION\n1\n% launchctl getenv OLLAMA_HOST\n\n% ls\n0.0.0.0\n"
    assert found(text) == [("", "OLLAMA_FLASH_ATTENTION", "1")]


def test_a_file_of_nothing_but_variables_is_an_environment() -> None:
    assert found("SHELL=/bin/sh\nOLLAMA_HOST=0.0.0.0\n\nPATH=/bin\n") == [
        ("", "OLLAMA_HOST", "0.0.0.0"), ("", "PATH", "/bin")
    ]  # fmt: skip
    assert found("PATH=/bin\0OLLAMA_HOST=a\nb\0") == [("", "PATH", "/bin"), ("", "OLLAMA_HOST", "a\nb")]


@pytest.mark.parametrize(
    "text",
    ["", "OLLAMA_HOST", "export OLLAMA_HOST=0.0.0.0", "# for ollama\nOLLAMA_HOST=0.0.0.0", "Set OLLAMA_HOST=::\nTZ=1",
     "# env of the service\nOLLAMA_HOST=0.0.0.0", "[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0",
     "==> /etc/default/ollama <==\nOLLAMA_HOST=0.0.0.0", "HOME=/srv\nSHELL=/bin/sh",
     "```\nOLLAMA_HOST=0.0.0.0\n```", "==> /proc/7/environ <==\nPATH=/binOLLAMA_HOST=aOLLAMA_DEBUG=1TZ=UTC\n"],
)  # fmt: skip
def test_other_text_is_not_taken(text: str) -> None:
    assert not is_environment(text.split("\n"))
    assert not found(text)


def test_of_a_name_that_stands_twice_the_first_is_in_force() -> None:
    rows = parse_environment("==> /proc/7/environ <==\nTZ=a\0TZ=b\0").tables["settings"]
    assert [(row["value"], row["in_force"]) for row in rows] == [("a", True), ("b", False)]
    assert {row["origin"] for row in rows} == {"process environment"}


@pytest.mark.parametrize(
    "name",
    ["OLLAMA_HOST", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION",
     "GGML_CUDA_NO_PINNED", "LLAMA_ARG_FIT", "GPU_DEVICE_ORDINAL", "GODEBUG", "GOMAXPROCS", "OMP_NUM_THREADS", "TZ",
     "HTTP_PROXY", "https_proxy", "NO_PROXY", "OLLAMA_KEEP_ALIVE", "OLLAMA_KV_CACHE_TYPE", "INVOCATION_ID"],
)  # fmt: skip
def test_what_matters(name: str) -> None:
    assert matters(name)


@pytest.mark.parametrize(
    "name", ["HOME", "SHELL", "OLLAMA_API_KEY", "CHROMA_SERVER_AUTHN_CREDENTIALS", "AWS_SECRET", ""]
)
def test_what_does_not_matter_or_is_a_secret(name: str) -> None:
    assert not matters(name)


def test_the_environment_of_a_live_process() -> None:
    """What a child really has, with empty, quoted and broken values, beside what psutil reads."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("/proc is needed")
    planted = {
        "OLLAMA_HOST": "0.0.0.0:11434", "OLLAMA_ORIGINS": 'http://a b,"*"', "OLLAMA_MODELS": "/mödel\nline==2",
        "CUDA_VISIBLE_DEVICES": "", "OLLAMA_API_KEY": "planted", "UNRELATED": "x",
    }  # fmt: skip
    wait = "import sys; print('up', flush=True); sys.stdin.read()"
    environment = os.environ | planted
    with subprocess.Popen(
        [sys.executable, "-c", wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        text = Path(f"/proc/{child.pid}/environ").read_bytes().decode("utf-8", "replace")
        asked = psutil.Process(child.pid).environ()
        child.stdin.close()
    headed = f"==> /proc/{child.pid}/environ <==\n{text}==> /proc/1/environ <==\n"
    got = {name: value for subject, name, value in found(headed) if subject == str(child.pid)}
    assert got == {name: value for name, value in asked.items() if matters(name)}
    assert {name: got[name] for name in planted if matters(name)} == {
        name: value for name, value in planted.items() if matters(name)
    }
    assert found(text) == [("", name, value) for _, name, value in found(headed)]


PIECES = st.sampled_from(
    ["==> /proc/7/environ <==", "==> a <==", "\0", "OLLAMA_HOST=a\0TZ=", "$ env", "% launchctl getenv OLLAMA_HOST",
     "=", "PATH=\ud800", "OLLAMA_X\0=", "==> /proc/" + "9" * 30 + "/environ <==", "\r", "TZ=1"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES | st.text()), st.sampled_from(["\n", ""]))
def test_no_text_is_too_strange(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    parsed = parse_environment(text)
    assert parsed.lines <= set(range(1, len(text.split("\n")) + 1))
    assert bool(parsed.tables["settings"]) == is_environment(text.split("\n"))
    pyarrow.Table.from_pylist(parsed.tables["settings"])
