"""What stands on a page and came from a log or a notebook: made harmless."""

from __future__ import annotations

import json

_TAGS = {
    "a", "b", "blockquote", "br", "caption", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li",
    "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
}  # fmt: skip


def embedded_json(value: object) -> str:
    """`value` as JSON that no HTML parser can take for the end of a script or the start of a tag.

    >>> embedded_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sanitized(html: str) -> str:
    """`html` with every tag and attribute removed that a table or a paragraph does not need.

    >>> sanitized('<p onclick="x()">1</p><script>2</script>')
    '<p>1</p>2'
    """
    import bleach

    attributes = {"a": ["href", "class"], "table": ["class"], "td": ["colspan"], "th": ["colspan"], "*": ["id"]}
    return str(bleach.clean(html, tags=_TAGS, attributes=attributes, protocols=["https", "mailto"], strip=True))
