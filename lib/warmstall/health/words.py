"""How a health report says numbers: few digits, the unit that a person would choose."""

from __future__ import annotations

from ..hypotheses.facts import seconds_text

_MIB, _GIB = 2.0**20, 2.0**30


def about(seconds: float) -> str:
    """A time that is an estimate.

    >>> about(2383), about(95), about(9200), about(400000)
    ('about 40 min', 'about 2 min', 'about 2.5 h', 'about 5 days')
    """
    minutes = seconds / 60
    if minutes < 90:
        return f"about {_rounded(minutes)} min"
    hours = minutes / 60
    return f"about {round(hours * 2) / 2:g} h" if hours < 48 else f"about {hours / 24:.0f} days"


def _rounded(minutes: float) -> int:
    step = 1 if minutes < 10 else 5
    return max(1, round(minutes / step) * step)


def amount(size_bytes: float) -> str:
    """Memory, in the binary units of the other pages.

    >>> amount(3.8 * 2**30), amount(43.7 * 2**30), amount(300 * 2**20)
    ('3.8 GiB', '44 GiB', '300 MiB')
    """
    if size_bytes < _GIB:
        return f"{size_bytes / _MIB:.0f} MiB"
    return f"{size_bytes / _GIB:.{1 if size_bytes < 10 * _GIB else 0}f} GiB"


def wall(seconds: float) -> str:
    """A duration that was measured.

    >>> wall(60.0), wall(4.13), wall(0.017), wall(180)
    ('60 s', '4.1 s', '17 ms', '3.0 min')
    """
    return f"{seconds:.0f} s" if 10 <= seconds < 120 else seconds_text(seconds)


def listed(items: list[str]) -> str:
    """Words in a row.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def shortened(text: str, most: int = 120) -> str:
    """The first claim of a long sentence: up to where it begins to explain, if that is most of it.

    >>> shortened("8 of 10 loads brought back a model: big 4×, mid 4×; they took 8.9 s, after 532 ms out of use.", 60)
    '8 of 10 loads brought back a model: big 4×, mid 4×'
    >>> shortened("4 % (2 of 47; 95 % interval 1–14 %) of the requests stood still with their model in memory", 60)
    '4 % (2 of 47; 95 % interval 1–14 %) of the requests stood …'
    """
    text = text.strip().rstrip(".")
    if len(text) <= most:
        return text
    for stop in ("; ", ": ", ", ", " ("):
        cut = text.rfind(stop, most // 2, most)
        if cut > 0 and text.count("(", 0, cut) == text.count(")", 0, cut):
            return text[:cut]
    return f"{text[: max(text.rfind(' ', 0, most), most // 2)]} …"


def counted_verb(count: int) -> str:
    """Was or were."""
    return "was" if count == 1 else "were"


def sentence(clause: str) -> str:
    """A clause with its capital and its stop.

    >>> sentence("memory will be gone in about 40 min")
    'Memory will be gone in about 40 min.'
    """
    text = clause.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")
