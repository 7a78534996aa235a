"""Which lines of a text are systemd's: output of `systemctl show` and unit files, among prompts and headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .wrappers import ANSI

_ANSI = re.compile(ANSI)
_SECTION = re.compile(r"==> (\S.*) <==")
_FENCE = re.compile(r"(?:```|~~~).{0,40}")
# `# cat …` is a prompt of root only before a command that prints what is read here; else it is a comment.
_PROMPT = re.compile(
    r"(?:\[?[\w.-]{1,64}@[\w.-]{1,64}[^$#%❯>=]{0,200}[$#%❯>]|[$%❯➜]"
    r"|#(?= ?(?:sudo )?(?:systemctl (?:show|cat)|systemd-analyze cat|cat /|tail -)))\s*(\S.*)"
)
_ASSIGNMENT = re.compile(r"([A-Z][A-Za-z0-9]{1,60})=(.*)")
_DIRECTIVE = re.compile(r"([A-Z][A-Za-z0-9]{1,60})\s{0,40}=(.*)")
_UNIT_SECTION = re.compile(
    r"\[(Unit|Service|Install|Manager|Socket|Slice|Scope|Mount|Automount|Swap|Path|Target|Timer)\]"
)
_UNIT_TYPES = "service|socket|slice|scope|mount|automount|swap|path|target|timer"
_UNIT_FILE = re.compile(rf"/\S*\.(?:{_UNIT_TYPES}|conf)")
_OF_UNIT = re.compile(rf"([^/\s]{{1,255}}\.(?:{_UNIT_TYPES}))(?:\.d/[^/\s]+)?$")
_MARKER = re.compile(rf"# ({_UNIT_FILE.pattern})|### Editing ({_UNIT_FILE.pattern})")
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}")
# Properties that stand in no unit file.
_SHOWN_ONLY = re.compile(
    r"(?:Default)?Limit[A-Z]+Soft|(?:Exec)?MainPID|ControlPID|NRestarts|DropInPaths|FragmentPath|SourcePath|ActiveState"
    r"|SubState|LoadState|UnitFileState|UnitFilePreset|Id|Names|Result|InvocationID|ControlGroup|NeedDaemonReload"
    r"|EffectiveMemory\w+|EffectiveTasksMax|Memory(?:Current|Peak|Available|SwapCurrent|SwapPeak)|TasksCurrent"
    r"|CPUUsageNSec|\w+USec|\w+Timestamp(?:Monotonic)?|ExecMain(?:Status|Code)|EnvironmentFiles|CanStart|CanStop"
)
# Properties that also stand in unit files, enough to know an excerpt of `systemctl show` by.
_SHOWN_TOO = re.compile(r"(?:Default)?Limit[A-Z]+|Memory(?:Max|High|SwapMax|Limit)|(?:Default)?TasksMax|OOMScoreAdjust")


@dataclass
class Piece:
    """Lines of one kind ("show" or "unit"), what stood above them (a file's path or a command), and in which line."""

    kind: str = ""
    path: str = ""
    command: str = ""
    head: int = 0
    fenced: bool = False
    lines: list[tuple[int, str]] = field(default_factory=list)


def pieces(lines: Iterable[str], kind: str) -> Iterator[Piece]:
    """The pieces of one kind in a text; lines come without colours and blanks around them, numbered from 1.

    >>> [piece.lines for piece in pieces(["$ systemctl show x", "Id=x.service", "$ id", "uid=0"], "show")]
    [[(2, 'Id=x.service')]]
    """
    for piece in _between_heads(lines):
        for part in [piece] if piece.kind else _by_content(piece):
            if part.kind == kind and part.lines:
                yield part


def assignment(line: str, of_unit_file: bool = False) -> tuple[str, str] | None:
    """Name and value of a property as `systemctl show` prints it, or of a directive, which may have blanks.

    >>> assignment("MainPID=7"), assignment("Nice = 5"), assignment("Nice = 5", of_unit_file=True)
    (('MainPID', '7'), None, ('Nice', '5'))
    """
    match = (_DIRECTIVE if of_unit_file else _ASSIGNMENT).fullmatch(line)
    return (match[1], match[2].lstrip() if of_unit_file else match[2]) if match else None


def section_of(line: str) -> str:
    """The section that a line of a unit file begins, or nothing."""
    match = _UNIT_SECTION.fullmatch(line)
    return match[1] if match else ""


def marked_file(line: str) -> str:
    """The path in a line such as those with which `systemctl cat` and `systemctl edit` begin a file."""
    match = _MARKER.fullmatch(line)
    return (match[1] or match[2]) if match else ""


def is_unit_path(path: str) -> bool:
    """Whether a file of this path is a unit, a drop-in or the manager's own configuration."""
    return bool(_UNIT_FILE.fullmatch(path)) and not path.startswith(("/proc/", "/sys/"))


def unit_of_path(path: str) -> str:
    """The unit that a file belongs to: its own name, or the name of its folder of drop-ins.

    >>> unit_of_path("/etc/systemd/system/ollama.service.d/gpu.conf"), unit_of_path("/usr/lib/systemd/a.service")
    ('ollama.service', 'a.service')
    >>> unit_of_path("/etc/systemd/system/service.d/all.conf"), unit_of_path("/run/systemd/system/a-.service.d/b.conf")
    ('', '')
    """
    match = _OF_UNIT.search(path)
    # A name that ends in a dash or an @ stands for all that begin so.
    return match[1] if match and not match[1].partition(".")[0].endswith(("-", "@")) else ""


def units_asked_for(command: str, verb: str) -> list[str]:
    """The units named after systemctl's verb in a command.

    >>> units_asked_for("sudo systemctl show -p MainPID ollama --no-pager | cat", "show")
    ['ollama.service']
    """
    before_pipe = re.split(r"[|;&>]", command)[0].split()
    if "systemctl" not in before_pipe or verb not in before_pipe:
        return []
    units, skipped = [], False
    for word in before_pipe[before_pipe.index(verb) + 1 :]:
        if skipped:
            skipped = False
        elif word.startswith("-"):
            skipped = word in ("-p", "--property", "-n", "-o", "-H", "--host", "-M")
        elif UNIT_NAME.fullmatch(word):
            units.append(word if re.search(r"\.[a-z]+$", word) else f"{word}.service")
    return units


def _between_heads(lines: Iterable[str]) -> Iterator[Piece]:
    piece, fenced = Piece(), False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if "\x1b" in line:
            line = _ANSI.sub("", line)
        if section := _SECTION.fullmatch(line):
            yield piece
            path = section[1]
            piece = Piece(path=path, head=number, kind="unit" if is_unit_path(path) else "")
            if path.startswith(("/proc/", "/sys/")):
                piece.kind = "other"
        elif _FENCE.fullmatch(line):
            yield piece
            fenced = not fenced
            # The command may stand above the fence around its output.
            piece = Piece(piece.kind, piece.path, piece.command, piece.head, fenced) if not piece.lines else Piece()
            piece.fenced = fenced
        elif prompt := _PROMPT.fullmatch(line):
            yield piece
            paths = [word for word in prompt[1].split() if is_unit_path(word)]
            path = paths[0] if len(paths) == 1 else ""
            piece = Piece(_kind_of_command(prompt[1]), path, prompt[1], number, fenced)
        elif line or piece.lines:
            # A blank after a backslash is all that tells that the line does not go on.
            goes_on = not line.endswith("\\") or raw.rstrip("\r").endswith("\\")
            piece.lines.append((number, line if goes_on else f"{line} "))
    yield piece


def _kind_of_command(command: str) -> str:
    if re.search(r"\bsystemctl\b.{0,100}\bshow\b(?!-)", command):
        return "show"
    if re.search(r"\bsystemctl\b.{0,100}\bcat\b|\bsystemd-analyze\b.{0,100}\bcat-config\b", command):
        return "unit"
    return ""


def _by_content(piece: Piece) -> Iterator[Piece]:
    """Parts of a piece that nothing above it explains, paragraph by paragraph."""
    part = Piece()
    for paragraph in _paragraphs(piece.lines):
        names = [found[0] for _, line in paragraph if (found := assignment(line))]
        only = any(_SHOWN_ONLY.fullmatch(name) for name in names)
        sections = any(section_of(line) for _, line in paragraph)
        marked = any(marked_file(line) for _, line in paragraph)
        if sections or marked:
            # A snippet in a fence may be advice; what systemctl printed names its file.
            kind = "unit" if marked or not piece.fenced or part.kind == "unit" else ""
        elif only and len(names) * 2 > len(paragraph):
            kind = "show"
        elif part.kind == "unit":
            like_a_unit = all(_in_a_unit_file(line) for _, line in paragraph)
            kind = "unit" if like_a_unit or _continues(part.lines[-1][1]) else ""
        else:
            known = any(_SHOWN_TOO.fullmatch(name) for name in names) or _lists_variables(paragraph)
            kind = "show" if known and len(names) == len(paragraph) and not piece.fenced else ""
        if kind != "unit" or part.kind != "unit":
            yield part
            part = Piece(kind, piece.path, "", piece.head if kind else 0, piece.fenced)
        elif part.lines:
            part.lines.append((paragraph[0][0] - 1, ""))  # a blank line ends what a backslash continues
        part.lines.extend(paragraph)
    yield part


def _paragraphs(lines: list[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    paragraph: list[tuple[int, str]] = []
    for number, line in lines:
        if line:
            paragraph.append((number, line))
        elif paragraph:
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def _in_a_unit_file(line: str) -> bool:
    return line.startswith(("#", ";")) or assignment(line, of_unit_file=True) is not None or _continues(line)


def _continues(line: str) -> bool:
    return line.endswith("\\")


def _lists_variables(paragraph: list[tuple[int, str]]) -> bool:
    """Whether an excerpt is the one `Environment=` line of `systemctl show`."""
    return len(paragraph) == 1 and bool(re.match(r'Environment="?[A-Za-z_][A-Za-z0-9_]*=', paragraph[0][1]))
