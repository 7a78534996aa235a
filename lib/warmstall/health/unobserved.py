"""What a report could not see, and what to collect for it: a healthy report says how far its sight went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..analysis import Analysis
from ..answer import cannot_tell
from ..causes import to_collect
from ..hypotheses import judge
from ..parse.plain_text import printable
from .records import Sli
from .slis import SLIS
from .words import sentence

# The orders that decide most causes; the rest is in the postmortem of the same evidence.
_ORDERS = 3
_BLIND = (
    "Memory was not looked at in this period, so its end would come unseen. Collect: warmstall report --collect, or "
    "warmstall watch CASE."
)
_NONE_ENDED = (
    "No inference request ended in this period, and one that hangs leaves no line until it ends: the server's log "
    "does not tell whether there was none.{seen} Collect: the clients' own records (trials)."
)


def unobserved(period: Analysis, from_at: datetime, slis: Sequence[Sli]) -> list[str]:
    """Sentences, the most pressing first."""
    items = [_BLIND] if _blind(period, from_at) else []
    items += _hanging(period, from_at)
    items += cannot_tell(period)
    unmeasured: dict[str, list[str]] = {}
    for one in slis:
        if one.value is None and one.why and not one.host:
            unmeasured.setdefault(one.why, []).append(SLIS[one.name].label)
    for why, names in unmeasured.items():
        items.append(f"Not measured: {', '.join(names)}. {sentence(why)}")
    orders = to_collect(judge(period))
    for row in orders.head(_ORDERS).itertuples():
        count = row.decides.count(",") + 1
        items.append(f"{count} cause{'s' * (count != 1)} could not be judged ({row.decides}). Collect: {row.collect}.")
    return list(dict.fromkeys(printable(item) for item in items))


def _hanging(period: Analysis, from_at: datetime) -> list[str]:
    """What a quiet log may hide: a request has its line when it ends, so that those which hang look like none."""
    if len(period.inferences()):
        return []
    query = 'SELECT max("at") AS "at" FROM slots WHERE processing AND "at" > $after'
    busy_at = period.case.sql(query, after=from_at.replace(tzinfo=None))["at"][0]
    seen = "" if busy_at is None or busy_at != busy_at else f" At {busy_at:%H:%M:%S} UTC a slot was at work."
    return [_NONE_ENDED.format(seen=seen)]


def _blind(period: Analysis, from_at: datetime) -> bool:
    looks = period.case.sql('SELECT count(*) AS n FROM memory WHERE "at" > $after', after=from_at.replace(tzinfo=None))
    return int(looks["n"][0]) == 0
