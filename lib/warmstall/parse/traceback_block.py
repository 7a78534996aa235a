"""The lines of one Python traceback: frames, exception, what caused it, what a group holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_HEADER = re.compile(r"(?P<before>.{0,300}?)(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):\s*$")
FRAME = re.compile(r'>? *File "(?P<file>[^"]{1,1000})", line (?P<line>[0-9]{1,9}),?(?: in (?P<function>.{1,300}))?\s*$')
_FOLDER = re.compile(r".*[/\\]")
_TYPE = r"[A-Za-z_][\w.]{0,200}(?:<locals>[\w.]{1,200})*"
_EXCEPTION = re.compile(rf"(?P<type>{_TYPE})(?:: ?(?P<message>.*)|\s*)$")
_CONNECTOR = re.compile(
    r"\s*(?P<relation>The above exception was the direct cause|During handling of the above exception)"
)
_GROUP_LINE = re.compile(r"\s*[|+]")
_GROUP_BREAK = re.compile(r" {0,200}\+[-+]{0,4}-{4,80}(?: (?:[0-9.]{1,20}) -{4,80})?\s{0,20}$")
_DIGIT = re.compile("[0-9]")
_LONGEST = 5000
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Frame:
    """One call: the file as written, the line, the function (empty where a syntax error is)."""

    file: str
    line: int
    function: str

    @property
    def place(self) -> str:
        """What stays the same when the program is edited elsewhere or installed elsewhere."""
        return f"{_FOLDER.sub('', self.file)}:{self.function}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.function}"


@dataclass
class Traceback:
    """One exception. `frames` innermost first; `causes` what it came from, nearest first; `members` of a group.

    `end` is the index behind its last line; `intro` the line in front of it that says where it comes from.
    """

    exception: str
    message: str = ""
    frames: list[Frame] = field(default_factory=list)
    causes: list[tuple[str, Traceback]] = field(default_factory=list)
    members: list[Traceback] = field(default_factory=list)
    thread: str = ""
    intro: str = ""
    signal: str = ""
    end: int = 0

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: the same for two occurrences of one bug.

        Made of the exception types and of the frames (file name without folder, function) of the whole chain; line
        numbers, addresses, messages, how deep a recursion went and how many members of a group failed alike play
        no part.
        """
        return hashlib.sha256("\n".join(self._identity()).encode("utf-8", "replace")).hexdigest()[:16]

    def _identity(self) -> list[str]:
        own = [self.exception, *dict.fromkeys(frame.place for frame in self.frames)]
        own += [part for relation, cause in self.causes for part in (relation, *cause._identity())]
        return own + sorted({"+" + " ".join(member._identity()) for member in self.members})


def header_in(line: str) -> re.Match[str] | None:
    """The match of a line that opens a traceback; its group `before` is what stands in front.

    >>> header_in("ERROR:    Traceback (most recent call last):")["before"]
    'ERROR:    '
    """
    return _HEADER.match(line) if "Traceback (most" in line and len(line) < 500 else None


class Block:
    """Lines from a header on, with the prefix of each taken off where they repeat the one of the header."""

    def __init__(
        self,
        lines: Sequence[str],
        start: int,
        prefix: str,
        begins_record: Callable[[str], bool] = lambda _: False,
        in_group: bool = False,
    ) -> None:
        self.in_group = in_group
        self.lines = lines
        self.at = start
        self.begins_record = begins_record
        self.width = len(prefix)
        self.mask = _DIGIT.sub("0", prefix)
        # A record's head stands on its first line only; a wrapper's prefix (its digits are a time) on all.
        following = lines[start + 1][: self.width] if start + 1 < len(lines) else ""
        self.repeated = bool(self.width) and _DIGIT.sub("0", following) == self.mask
        self.header_at = start

    def text(self, index: int) -> str | None:
        """A line without its prefix; None behind the last."""
        if index >= len(self.lines) or index - self.header_at > _LONGEST:
            return None
        line = self.lines[index]
        if index == self.header_at:
            return line[self.width :]
        if self.repeated and _DIGIT.sub("0", line[: self.width]) == self.mask:
            return line[self.width :]
        return line

    def chain(self) -> Traceback | None:
        """One or more tracebacks, each the cause of the next; the last is what was raised in the end."""
        found = self._one()
        if found is None:
            return None
        while True:
            found.end = self.at
            relation, next_header = self._connector()
            if not relation:
                return found
            self.at = next_header
            following = self._one()
            if following is None:
                return found
            following.causes = [(relation, found), *found.causes]
            found.causes = []
            found = following

    def _connector(self) -> tuple[str, int]:
        """How the next traceback is related to this one, and where its header stands."""
        index, relation = self.at, ""
        for _ in range(6):
            text = self.text(index)
            if text is None:
                return "", 0
            if match := _CONNECTOR.match(text):
                relation = "cause" if "direct cause" in match["relation"] else "context"
            elif relation and header_in(text):
                return relation, index
            elif text.strip() not in ("", '"""', "'''", "|"):
                return "", 0
            index += 1
        return "", 0

    def _one(self) -> Traceback | None:
        header = header_in(self.text(self.at) or "")
        if header is None:
            return None
        # Only a group that is no member of another one draws a margin of its own.
        if "+ Exception Group" in header[0] and not self.in_group:
            return self._group()
        indent = len(header["before"]) if not header["before"].strip() else 0
        frames, exception = self._frames(indent)
        if exception is None:
            return Traceback("", frames=frames) if frames else None
        message = (exception["message"] or "").strip()
        continued = self._continuation(indent)
        return Traceback(exception["type"], "\n".join([message, *continued])[:_LONGEST_MESSAGE], frames)

    def _frames(self, indent: int) -> tuple[list[Frame], re.Match[str] | None]:
        """Frames, innermost first, and the line of the exception."""
        frames: list[Frame] = []
        self.at += 1
        spaced = self.text(self.at) == ""  # loguru leaves lines between the frames empty
        while (text := self.text(self.at)) is not None:
            own = text[indent:] if not text[:indent].strip() else text
            if match := FRAME.match(own.lstrip()):
                frames.append(Frame(match["file"], int(match["line"]), (match["function"] or "").strip()))
            elif own.strip() and not own.startswith((" ", "\t")):
                exception = None if self.begins_record(own) else _EXCEPTION.match(own[:_LONGEST_MESSAGE])
                self.at += exception is not None
                return frames[::-1], exception
            elif (not own.strip() and not spaced) or header_in(own):
                break
            self.at += 1
        return frames[::-1], None

    def _continuation(self, indent: int) -> list[str]:
        """Further lines of the message: indented ones, those that introduce them, and the hint of httpx."""
        taken: list[str] = []
        while len(taken) < 50 and (text := self.text(self.at)) and text.strip():
            following = self.text(self.at + 1) or ""
            if header_in(text) or self.begins_record(text) or _CONNECTOR.match(text):
                break
            indented = text[indent:].startswith((" ", "\t"))
            leads_in = following[indent:].startswith((" ", "\t")) and not header_in(following)
            if not (indented or leads_in or text.startswith("For more information check: ")):
                break
            taken.append(text.strip())
            self.at += 1
        return taken

    def _group(self) -> Traceback | None:
        """An exception group: its own traceback, then one part for each member, members of members among them."""
        parts: list[list[str]] = [[]]
        first = self.at
        while (text := self.text(self.at)) is not None and _GROUP_LINE.match(text):
            if "+ Exception Group" in text and self.at > first:
                break  # the next one begins; only those draw a plus sign that are no members
            if _GROUP_BREAK.match(text):
                parts.append([])
            else:
                parts[-1].append(re.sub(r"^\s*[|+] ?", "", text))
            self.at += 1
        found = [part for part in map(_part, parts) if part is not None]
        if not found:
            return None
        own, members = found[0], found[1:]
        own.members = [member for member in members if not member.exception.endswith("ExceptionGroup")]
        return own


def _part(lines: list[str]) -> Traceback | None:
    """A part of an exception group; one without a traceback is only the line of its exception."""
    text = [line for line in lines if line.strip()]
    if not text:
        return None
    for index, line in enumerate(lines):
        if header_in(line):
            return Block(lines, index, "", in_group=True).chain()
    match = _EXCEPTION.match(text[0][:_LONGEST_MESSAGE])
    return Traceback(match["type"], match["message"] or "") if match else None
