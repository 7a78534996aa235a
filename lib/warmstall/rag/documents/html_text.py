"""What a reader sees of an HTML page: its text and headings, without scripts and navigation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PreformattedString

from .records import Section
from .sections import sections_of

_UNSEEN = frozenset((
    "script", "style", "noscript", "template", "head", "title", "svg", "iframe", "object", "nav", "button", "select",
    "textarea",
))  # fmt: skip
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "div", "dl", "fieldset", "figcaption", "figure",
    "footer", "form", "header", "hr", "main", "ol", "p", "pre", "section", "table", "ul",
))  # fmt: skip
_LINES = frozenset(("dd", "dt", "li", "tr"))
_CELLS = frozenset(("td", "th"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
# Begins the line of a heading; no text has it, because it is taken out of every text first.
_MARK = "\x01"


def html_sections(page: bytes | str) -> list[Section]:
    """The sections of a page; its encoding is what it says itself, else UTF-8 or Windows' Latin.

    >>> html_sections("<title>x</title><nav>Home</nav><h1>Loads</h1><p>A load reads<br>the weights.</p>")
    [Section(text='Loads\\n\\nA load reads\\nthe weights.', place='Loads')]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a page that looks like a file name, or like XML: it is read all the same
        soup = BeautifulSoup(page, "html.parser")
    return sections_of(_lines("".join(_pieces(soup))))


def _pieces(soup: BeautifulSoup) -> Iterator[str]:
    """The text in the order of the page, white space as it is shown. Goes through each element once, however deep."""
    within: list[Tag] = [soup]
    rest = [iter(soup.contents)]
    heading: Tag | None = None
    preformatted: Tag | None = None
    while rest:
        element = next(rest[-1], None)
        if element is None:
            rest.pop()
            left = within.pop()
            heading = None if left is heading else heading
            preformatted = None if left is preformatted else preformatted
            yield " " if heading is not None else "\n\n" if left.name in _HEADINGS else _around(left)
        elif isinstance(element, Tag):
            if _unseen(element):
                continue
            if heading is None and element.name in _HEADINGS:
                heading = element
                yield f"\n\n{_MARK}{element.name[1]}"
            else:
                yield " " if heading is not None else "\n" if element.name == "br" else _around(element)
            if preformatted is None and element.name == "pre":
                preformatted = element
            within.append(element)
            rest.append(iter(element.contents))
        elif isinstance(element, NavigableString) and not isinstance(element, PreformattedString):
            text = re.sub(r"[\x00-\x08\x0b-\x1f]+", " ", element)
            yield text if preformatted and heading is None else re.sub(r"\s+", " ", text)


def _unseen(tag: Tag) -> bool:
    return tag.name in _UNSEEN or "hidden" in tag.attrs or tag.attrs.get("role") == "navigation"


def _around(tag: Tag) -> str:
    """What parts the text in an element from the text before and after it."""
    return "\n\n" if tag.name in _BLOCKS else "\n" if tag.name in _LINES else " " if tag.name in _CELLS else ""


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for line in re.sub(r"\n\s*\n", "\n\n", text).strip().split("\n"):
        if line.startswith(_MARK):
            title = " ".join(line[2:].split())
            yield (int(line[1]), title, title) if title else (0, "", "")
        else:
            yield 0, "", line.rstrip()
