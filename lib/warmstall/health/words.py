"""How a health report says numbers: few digits, the unit that a person would choose."""

from __future__ import annotations

from ..hypotheses.facts import seconds_text
from .records import Sli

_MIB, _GIB = 2.0**20, 2.0**30
# With what our own sentences begin, and no name does: within another sentence these are small. Names stay as they are.
_SMALL_WITHIN = frozenset((
    "A", "After", "All", "An", "Another", "Answered", "At", "Before", "By", "Clients", "Cold", "Container", "Cut",
    "Each", "Every", "Flash", "For", "From", "How", "If", "In", "Independent", "It", "Killed", "Memory", "Models",
    "More", "No", "Nothing", "Of", "On", "One", "Only", "Process", "Processors", "Requests", "Some", "Swap", "Tags",
    "That", "The", "These", "This", "Time", "Tokens", "Truncated", "Two", "Wait", "Wall", "Warm", "What", "When",
    "Where", "While", "With", "Without",
))  # fmt: skip


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


# Where a claim ends, the plainest end first.
_STOPS = ("; ", ": ", ", ", " (")


def _is_whole(text: str, cut: int) -> bool:
    """Whether no bracket is open there."""
    return text.count("(", 0, cut) == text.count(")", 0, cut)


def shortened(text: str, most: int = 120) -> str:
    """The first claim of a long sentence: up to where it begins to explain, if that is most of it.

    >>> shortened("8 of 10 loads brought back a model: big 4×, mid 4×; they took 8.9 s, after 532 ms out of use.", 60)
    '8 of 10 loads brought back a model: big 4×, mid 4×'
    >>> shortened("8 of 10 loads brought back a model that was put out: big 4×, mid 4×; they took 8.9 s", 50)
    '8 of 10 loads brought back a model that was put out'
    >>> shortened("4 % (2 of 47; 95 % interval 1–14 %) of the requests stood still with their model in memory", 60)
    '4 % (2 of 47; 95 % interval 1–14 %) of the requests stood …'
    """
    text = text.strip().rstrip(".")
    if len(text) <= most:
        return text
    for stop in _STOPS:
        cut = text.rfind(stop, most // 2, most)
        if cut > 0 and _is_whole(text, cut):
            return text[:cut]
    # A few words more that end a claim are better than a claim that is cut off.
    for stop in _STOPS:
        cut = text.find(stop, most, most * 5 // 4)
        if cut > 0 and _is_whole(text, cut):
            return text[:cut]
    return f"{text[: max(text.rfind(' ', 0, most), most // 2)]} …"


def counted_verb(count: int) -> str:
    """Was or were."""
    return "was" if count == 1 else "were"


def continued(sentence: str) -> str:
    """A sentence after a colon or a semicolon: a small letter, unless it begins with a name; no stop.

    >>> continued("The server refused 3 requests."), continued("Vulkan serves the GPU."), continued("8 of 10 loads")
    ('the server refused 3 requests', 'Vulkan serves the GPU', '8 of 10 loads')
    """
    text = sentence.strip().rstrip(".")
    first = text.split(" ", 1)[0].rstrip(",:;")
    return text[:1].lower() + text[1:] if first in _SMALL_WITHIN else text


def sentence(clause: str) -> str:
    """A clause with its capital and its stop.

    >>> sentence("memory will be gone in about 40 min")
    'Memory will be gone in about 40 min.'
    """
    text = clause.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def value_text(value: float, unit: str) -> str:
    """A value with its unit, as a person reads it; a share is a percentage.

    >>> [value_text(0.0123, "share"), value_text(75.0, "s"), value_text(31.4, "1/s")]
    ['1.23 %', '75 s', '31.4']
    """
    if value != value:
        return "not measured"
    if unit == "share":
        return f"{100 * value:.4g} %"
    if unit == "s":
        return wall(value)
    return f"{value:,.4g}"  # its label says of what


def measured_text(sli: Sli) -> str:
    """What was measured, with what could not be: 0 % of those that can be told is not 0 % of all.

    >>> measured_text(Sli("warm_stall_rate", "", 0.0, "share", 0, 985, "71 more cannot be told: their client left"))
    '0 %; 71 more cannot be told'
    >>> measured_text(Sli("wall_p95_s", "", 60.0, "s", of=1056, why="at least so much: 71 clients left"))
    'at least 60 s'
    """
    if sli.value is None:
        return "not measured"
    text, doubt = value_text(sli.value, sli.unit), sli.why.split(":")[0]
    bound = next((word for word in ("at least", "at most") if doubt.startswith(f"{word} so")), "")
    if bound:
        return f"{bound} {text}"
    return f"{text}; {doubt}" if doubt.endswith("cannot be told") else text
