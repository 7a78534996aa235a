"""No command of a runbook is made of text: programs and words are fixed, a value is one word, no shell reads any."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import warmstall.remediate
from warmstall import host
from warmstall.collect.commands import COMMANDS
from warmstall.errors import WarmstallError
from warmstall.host import Command, RecordedHost
from warmstall.remediate import recorded
from warmstall.remediate.book import COMMON, Book
from warmstall.remediate.catalogue import NAMES, runbook

FOLDER = Path(warmstall.remediate.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
# Programs that run what they are given as words, or whatever stands in a file.
RUNNERS = {"sh", "bash", "dash", "zsh", "env", "eval", "xargs", "sudo", "su", "ssh", "nohup", "python", "perl", "awk"}
# Go's own templates, fixed here, are no blanks of ours.
TEMPLATES = re.compile(r"\{\{(?:json )?\.\w*\}\}")
HOSTILE = [
    "--now", "$(reboot); `reboot` | tee ../../etc/x", "' \" ${IFS} {unit}", "a\nExecStartPre=/sbin/reboot",
    "\x1b]0;x\x07 a\0b",
]  # fmt: skip


def commands() -> Iterator[Command]:
    """Every command of every module of the room, and those that it shares with others."""
    package = warmstall.remediate
    names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    for module in [*modules, host]:
        yield from (value for value in vars(module).values() if isinstance(value, Command))
    yield from COMMANDS.values()


def test_every_command_is_a_fixed_program_with_fixed_words_and_blanks():
    found = set(commands())
    assert len(found) > 60
    for command in found:
        program, *words = command.argv
        assert re.fullmatch(r"[a-z_][a-z0-9_-]*", program), command
        assert program not in RUNNERS, command
        for word in words:
            assert (
                not re.search(r"[{}]", word) or re.fullmatch(r"\{\w+(\.\.\.)?\}", word) or TEMPLATES.fullmatch(word)
            ), f"{command.name}: {word} is neither a blank nor a fixed word"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_nothing_is_run_but_through_the_host(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # A function may take a row and hand it on: rows are made of fixed words, as the last check sees.
    rows = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation
            and ast.unparse(node.annotation) == "Command"}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {"subprocess", "pty", "shutil", "multiprocessing"} & {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("subprocess", "pty", "multiprocessing")
            assert not {"run_bounded", "_run"} & {alias.name for alias in node.names}
        if isinstance(node, ast.keyword):
            assert node.arg != "shell"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert not re.match(r"system|popen|exec|spawn|posix_spawn|fork|kill", node.attr), ast.unparse(node)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "yaml.unsafe_load", "pickle.loads"), called
            if called.endswith("host.run"):
                assert is_row(node.args[0]) or ast.unparse(node.args[0]) in rows, (
                    f"{path.name}: {ast.unparse(node)}: not a row of a table"
                )
            if called == "Command":
                assert is_fixed(node.args[1]), f"{path.name}: {ast.unparse(node)}: made of text"


def is_row(node: ast.expr) -> bool:
    """A constant such as RESTART or systemd.RESTART, or a row of the collector's table, or a choice between such."""
    if isinstance(node, ast.IfExp):
        return is_row(node.body) and is_row(node.orelse)
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) == "COMMANDS"
    return (isinstance(node, ast.Name) and node.id.isupper()) or (
        isinstance(node, ast.Attribute) and node.attr.isupper()
    )


def is_fixed(node: ast.expr) -> bool:
    """A tuple of texts and constants."""
    if isinstance(node, ast.Tuple):
        return all(is_fixed(part) for part in node.elts)
    if isinstance(node, ast.Call):  # str(GRACE_S)
        return ast.unparse(node.func) == "str" and all(is_fixed(part) for part in node.args)
    if isinstance(node, ast.Starred):
        return is_fixed(node.value)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.lstrip("_").isupper())


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[tuple[Command, list[str]]]:
    """Every command that is asked of a recorded host, with its words."""
    found: list[tuple[Command, list[str]]] = []
    answer = RecordedHost._run

    def kept(self: RecordedHost, command: Command, words: list[str], *rest):
        found.append((command, words))
        return answer(self, command, words, *rest)

    monkeypatch.setattr(RecordedHost, "_run", kept)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return found


def check(asked: list[tuple[Command, list[str]]], hostile: str) -> None:
    """Each command has the words of its row, one word for a blank, and what could be an option stands after `--`."""
    for command, words in asked:
        pattern = "\0".join(
            r"[^\0]*(?:\0[^\0]*)*?" if word.endswith("...}") else r"[^\0]*" if re.fullmatch(r"\{\w+\}", word)
            else re.escape(word) for word in command.argv
        )  # fmt: skip
        text = "\0".join(word.replace("\0", "\1") for word in words)
        # `{words...}` may be none at all.
        pattern = pattern.replace(r"[^\0]*(?:\0[^\0]*)*?" + "\0", r"(?:[^\0]*\0)*?")
        assert re.fullmatch(pattern, text), (command, words)
        for place, word in enumerate(words):
            if word == hostile and word.startswith("-"):
                assert "--" in words[:place], (command, words)


def go_through(name: str, parameters: dict[str, object]) -> None:
    """Look and act, as far as it goes; refusals are fine, and other exceptions are not."""
    try:
        with Book(name, parameters) as book:
            plan = book.plan.id
            str(book.outcome())
        with Book(name, {**parameters, "dry_run": False, "approved_plan": plan}) as book:
            str(book.outcome())
    except WarmstallError:
        pass


def texts(name: str) -> list[str]:
    settings = {**COMMON, **runbook(name).settings}
    # Journal and case are files of the operator's own; the words of ssh are shown by test_host and test_ssh.
    others = ("journal", "case", "target", "ssh_options")
    return [key for key, value in settings.items() if isinstance(value, (str, list)) and key not in others]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_parameter_is_refused_or_is_one_word(name, asked):
    settings = {**COMMON, **runbook(name).settings}
    for number, key in enumerate(texts(name)):
        for hostile in (HOSTILE[number % len(HOSTILE)], HOSTILE[(number + 2) % len(HOSTILE)]):
            value: object = hostile
            if isinstance(settings[key], list):
                value = [f"OLLAMA_LLM_LIBRARY={hostile}", hostile]
            go_through(name, {"target": "recorded", key: value})
            check(asked, hostile)
            asked.clear()


@pytest.mark.parametrize("hostile", HOSTILE[:3])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_target_says_is_never_a_command(name, hostile, asked, monkeypatch):
    """Names of models and containers, paths, titles: all come from the target, and may be anything."""
    read = recorded.read_recording

    def poisoned(which: str):
        found = read(which)
        answers = tuple({**row, "body": json.dumps(poison(json.loads(row["body"]), hostile))} for row in found.answers)
        cgroups = {path: f"0::/system.slice/{hostile}.service\n" for path in found.contents if path.endswith("/cgroup")}
        outputs = {line: text.replace("/usr/share/ollama", f"/usr/{hostile}") for line, text in found.outputs.items()}
        object.__setattr__(found, "answers", answers)
        object.__setattr__(found, "outputs", outputs)
        object.__setattr__(found, "contents", {**found.contents, **cgroups})
        return found

    monkeypatch.setattr("warmstall.remediate.target.read_recording", poisoned)
    go_through(name, {"target": "recorded"})
    check(asked, hostile)


def poison(value: object, hostile: str) -> object:
    """The same answer with hostile names in it."""
    if isinstance(value, dict):
        named = ("name", "model", "modelfile", "version", "family", "digest")
        return {key: hostile if key in named and isinstance(one, str) else poison(one, hostile)
                for key, one in value.items()}  # fmt: skip
    return [poison(one, hostile) for one in value] if isinstance(value, list) else value
