"""Text into the sections that its headings make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...parse.plain_text import printable
from .records import Section

_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")
# Longer headings are a page's text that somebody made large.
_PLACE_CHARS = 160


def markdown_sections(text: str) -> list[Section]:
    """The sections of a Markdown text, each with its headings in its text and in its place.

    >>> for section in markdown_sections("# Memory\\n## VRAM\\nIs on the card.\\n## RAM\\nIs not."):
    ...     print(section.place, "|", section.text.split())
    Memory > VRAM | ['#', 'Memory', '##', 'VRAM', 'Is', 'on', 'the', 'card.']
    Memory > RAM | ['##', 'RAM', 'Is', 'not.']
    """
    return sections_of(_markdown_lines(text))


def sections_of(lines: Iterable[tuple[int, str, str]]) -> list[Section]:
    """Sections of lines of (level, title, line): level 1 to 6 for a heading of that title, 0 for what stands below.

    A heading with nothing below it goes with the next one, so that no section is a heading alone.
    """
    sections: list[Section] = []
    held: list[str] = []
    headings: list[tuple[int, str]] = []
    has_body = False

    def close() -> None:
        if any(line.strip() for line in held):
            place = " > ".join(title for _, title in headings)
            shown = place if len(place) <= _PLACE_CHARS else place[: _PLACE_CHARS - 1] + "…"
            sections.append(Section("\n".join(held).strip("\n"), shown))
        held.clear()

    for level, title, line in lines:
        if level:
            if has_body:
                close()
            headings = [one for one in headings if one[0] < level] + [(level, printable(title).strip())]
            has_body = False
        elif line.strip():
            has_body = True
        held.append(line)
    close()
    return sections


def _markdown_lines(text: str) -> Iterator[tuple[int, str, str]]:
    fence = ""
    for line in text.split("\n"):
        if mark := _FENCE.match(line):
            fence = mark[1] if not fence else "" if mark[1] == fence else fence
        heading = None if fence else _HEADING.match(line)
        yield (len(heading[1]), heading[2], line) if heading else (0, "", line)
