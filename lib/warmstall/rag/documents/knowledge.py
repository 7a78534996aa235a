"""The knowledge base that ships with the project: our own words on operating Ollama, one folder a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..parts import VectorStore
from ..settings import RagSettings
from .finding import find_documents

_PACKAGE = Path(__file__).resolve().parents[2]


def knowledge_folder() -> Path:
    """Where it lies: in the repository, or in the installed package.

    >>> (knowledge_folder() / "terms" / "kv-cache.md").is_file()
    True
    """
    in_repository = _PACKAGE.parents[1] / "data" / "knowledge"
    return in_repository if in_repository.is_dir() else _PACKAGE / "knowledge"


def knowledge_parts(settings: RagSettings, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(collection, user, folder) of each part that the settings have a collection for; no user where all share it."""
    for one in settings.collections:
        part = folder / one.name
        if one.per_user:
            users = sorted(path for path in part.glob("*") if path.is_dir())
            yield from ((one.name, user.name, user) for user in users)
        elif part.is_dir():
            yield one.name, "", part


def only_knowledge(settings: RagSettings, store: VectorStore) -> bool:
    """Whether the store holds nothing but what ships, or a part of that: no document of a user's own."""
    shipped: dict[str, set[str]] = {}
    for collection, _, part in knowledge_parts(settings, knowledge_folder()):
        # A user's folder is called as the user is, and so are the documents in it.
        shipped.setdefault(collection, set()).update(one.source for one in find_documents([part])[0])
    return all(set(store.sources(name)) <= shipped.get(name, set()) for name in store.collections())
