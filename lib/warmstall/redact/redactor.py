"""Secrets to tokens: what rules find in a text, and every value that was ever found, wherever it stands."""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, OutputError
from ..parse.encodings import decode, detect_encoding
from .blocks import journal_hosts, place_of_host, readable
from .findings import Finder, Found
from .forms import undone
from .judging import is_private_host
from .values import Values, checked_kind

# A replacement can bring another secret to light; more than this many layers is somebody's joke.
_ROUNDS = 6
_NOT_IN_NAMES = re.compile(r"[^\w.+=,@ -]|[\x00-\x1f]")
_LONGEST_NAME = 200  # bytes


class Leak(NamedTuple):
    """A secret that still stands in a text: its kind, and at which character (or byte, of bytes). Never the secret."""

    kind: str
    offset: int


class Redactor:
    """Learns secrets from all that was captured, then puts a token in the place of each.

    `keep`: kinds that stay as they are. `known`: values that the host itself told, with their kinds.
    Raises InputError for a kind that there is not.

    >>> redactor = Redactor(salt=b"salt", known={"gpu7": "host"})
    >>> redactor.learn("OPENAI_API_KEY=k3y-to-nothing")
    >>> redactor.redact("gpu7: /home/alice/run --key k3y-to-nothing from 203.0.113.7 or 127.0.0.1")
    'host-a2a8eafe: /home/user-dc663a1d/run --key secret-8a8d6158 from address-549fe5be or 127.0.0.1'
    """

    def __init__(
        self, salt: bytes | None = None, keep: Collection[str] = (), known: Mapping[str, str] | None = None
    ) -> None:
        self._keep = frozenset(checked_kind(kind) for kind in keep)
        self._finder = Finder(self._keep)
        self._values = Values(secrets.token_bytes(32) if salt is None else salt)
        self._counts: Counter[str] = Counter()
        for value, kind in (known or {}).items():
            self.learn_known(value, kind)

    @property
    def counts(self) -> dict[str, int]:
        """How many replacements each rule has made, those of values found elsewhere as "known user" and the like."""
        return dict(sorted(self._counts.items()))

    def learn_known(self, value: str, kind: str) -> None:
        """Remember one value that the host itself told: its name, an account, a home folder, a serial number.

        Raises InputError for a kind that there is not.
        """
        if checked_kind(kind) not in self._keep and value.strip():
            self._values.tell(value, kind)

    def learn(self, text: str) -> None:
        """Find secrets by the rules and remember them. Text comes whole or in pieces of whole lines."""
        lines = readable(text)
        for line in self._by_rules(lines, list(range(len(lines)))).values():
            texts = [one for one in line if one.kind == "prompt"]
            for one in line:
                self._values.learn(one, self._keep, in_a_text=any(outer.holds(one) for outer in texts))

    def redact(self, text: str) -> str:
        """The text with a token in the place of each secret; it keeps its lines, quotes and columns.

        >>> redactor = Redactor(salt=b"salt")
        >>> redactor.redact('level=DEBUG msg="chat request" images=0 prompt="why so slow?"')
        'level=DEBUG msg="chat request" images=0 prompt="prompt-aca5f3bb (12 characters)"'
        """
        lines = readable(text)
        numbers = everything = list(range(len(lines)))
        for _ in range(_ROUNDS):
            known_before = len(self._values)
            found = self._all(lines, numbers)
            if not found:
                break
            for number, findings in found.items():
                lines[number] = self._replaced(lines[number], findings)
            numbers = list(found) if len(self._values) == known_before else everything
        return "\n".join(lines)

    def redact_name(self, name: str) -> str:
        """A file name without secrets, safe to create: no separators, no leading dot, at most 200 bytes.

        >>> Redactor(salt=b"salt", known={"gpu7": "host"}).redact_name("gpu7/../server log.1")
        'host-a2a8eafe_.._server log.1'
        """
        kind = self._values.told_kind(name)
        text = self._values.token(name, kind) if kind else self.redact(name)
        text = _NOT_IN_NAMES.sub("_", text).strip(" ").lstrip(".-~ ") or "unnamed"
        data = text.encode("utf-8", "replace")
        if len(data) > _LONGEST_NAME:
            stem, dot, suffix = text.rpartition(".")
            suffix = dot + suffix if stem and len(suffix.encode()) < 20 else ""
            kept = data[: _LONGEST_NAME - len(suffix.encode())]
            text = kept.decode("utf-8", "ignore") + suffix
        return text

    def leaks(self, data: bytes | str) -> list[Leak]:
        """Every known value that still stands there in any form, and everything that a rule still finds.

        Percent-encoding, JSON escapes and base64 are also undone and looked into.
        """
        text = data if isinstance(data, str) else decode(data, detect_encoding(data[:4096]))
        lines = readable(text)
        begins = _begins(lines, isinstance(data, bytes))
        found = {
            Leak(one.kind, begins[number] + one.start)
            for number, findings in self._all(lines, list(range(len(lines)))).items()
            for one in findings
        }
        views = [(number, view) for number, line in enumerate(lines) for view in undone(line)]
        for place, findings in self._values.in_lines([view for _, view in views]).items():
            number, view = views[place]
            found |= {Leak(one.kind, begins[number]) for one in self._left(view, findings)}
        return sorted(found, key=lambda leak: (leak.offset, leak.kind))

    def save(self, path: Path) -> None:
        """Write what each token stands for, readable by its owner alone; the file is whole or not there.

        Raises OutputError where it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")  # mode 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"warmstall": "redaction", **self._values.note()}, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise OutputError(f"{path}: the map of tokens cannot be written ({error.strerror or error}).") from error

    @classmethod
    def load(cls, path: Path, keep: Collection[str] = ()) -> Redactor:
        """The redactor whose map was saved there: the same values get the same tokens. Raises InputError."""
        redactor = cls(b"", keep)
        try:
            redactor._values = Values.of_note(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"{path}: the map of tokens cannot be read ({error.strerror or error}).") from error
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(f"{path}: is no map of tokens ({error}); collect into a new case.") from error
        return redactor

    def _by_rules(self, lines: list[str], numbers: list[int]) -> dict[int, list[Found]]:
        found = self._finder.in_lines(lines, numbers)
        if "host" in self._keep:
            return found
        for host, begun in journal_hosts(lines).items():
            one = Found(0, 0, host, "host", "journal")
            if not is_private_host(host) or self._values.is_token(host):
                continue
            self._values.learn(one)
            if one not in self._values:  # else it is looked for in any case
                for number in begun:
                    start, end = place_of_host(lines[number])
                    found.setdefault(number, []).append(one._replace(start=start, end=end))
        return found

    def _all(self, lines: list[str], numbers: list[int]) -> dict[int, list[Found]]:
        """What there is to replace, by line."""
        found = self._by_rules(lines, numbers)
        for place, findings in self._values.in_lines([lines[number] for number in numbers]).items():
            found.setdefault(numbers[place], []).extend(findings)
        left = {number: self._left(lines[number], findings) for number, findings in sorted(found.items())}
        return {number: findings for number, findings in left.items() if findings}

    def _left(self, line: str, findings: list[Found]) -> list[Found]:
        """The findings without those that are tokens already, or parts of one."""
        if tokens := self._values.token_places(line):
            starts = [start for start, _ in tokens]
            last = [bisect_right(starts, one.start) - 1 for one in findings]
            findings = [one for one, at in zip(findings, last, strict=True) if at < 0 or one.end > tokens[at][1]]
        return [one for one in findings if not self._values.is_token(one.text)]

    def _replaced(self, line: str, findings: list[Found]) -> str:
        """The line with every finding replaced; of those that overlap, the one that begins first and is longest."""
        parts, place = [], 0
        for one in sorted(findings, key=lambda one: (one.start, -one.end)) if findings[1:] else findings:
            if one.end <= place:
                continue
            if one not in self._values:
                self._values.learn(one, self._keep)
            token = self._values.token(one.text, one.kind) if one.text else ""
            if one.kind == "prompt" and one.quoted and one.text:
                token += f" ({len(one.text)} characters)"
            parts += [line[place : max(one.start, place)], token]
            place = one.end
            self._counts[one.rule] += 1
        return "".join([*parts, line[place:]])


def _begins(lines: list[str], as_bytes: bool) -> list[int]:
    """Where each line begins, in characters or in bytes."""
    begins, place = [], 0
    for line in lines:
        begins.append(place)
        place += 1 + (len(line.encode("utf-8", "replace")) if as_bytes and not line.isascii() else len(line))
    return begins
