"""What is printed in these tests, and paths that no format may bend."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from warmstall.schedule.records import Schedule

NASTY = '/srv/two words/100%f $HOME ${A} $(id) `id` it\'s "q" a;b #c é 日本 [x]* &|<>!~'


def schedule(**wished: Any) -> Schedule:
    return Schedule(
        **{"program": ("/opt/warmstall/.venv/bin/warmstall",), "out": "/srv/health", "place": "box", **wished}
    )


def paths(forbidden: str = "") -> st.SearchStrategy[str]:
    """Absolute paths of any printable characters, most of them troublesome ones."""
    troublesome = st.sampled_from([char for char in " %$\"'`;#&|<>(){}[]*?!~=,:@-+é日\u00a0" if char not in forbidden])
    printable = st.characters(
        exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff/" + forbidden
    )
    names = st.text(troublesome | printable, min_size=1, max_size=12)
    return st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
