"""Documents into a store: read, cut, embedded in batches; what is there already is left alone.

Nothing is kept but the chunks themselves. Their ids tell their content, so a document is there when all of its ids are;
a run that was killed goes on with the chunks that are missing, and a document that has changed is taken out first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from ...errors import InputError, ParameterError, StepFailed
from ..parts import Embedder, VectorStore
from ..records import Chunk
from ..settings import CollectionSettings, RagSettings
from .chunking import chunk_document
from .finding import find_documents
from .knowledge import knowledge_folder, knowledge_parts
from .reading import read_document
from .records import Found, Skipped, TakenIn

# Texts that are embedded and added at once: enough to keep an embedder busy, few enough for a small answer.
BATCH = 32
_USER = re.compile(r"[\w@+-][\w.@+-]{0,63}")


def _quietly(_: str) -> None:
    pass


def take_in(
    paths: Sequence[Path], collection: str, settings: RagSettings, store: VectorStore,
    embedders: Mapping[str, Embedder], user: str = "", say: Callable[[str], None] = _quietly,
) -> TakenIn:  # fmt: skip
    """Take the documents of files and folders into a collection; one that cannot be read is a row of `skipped`.

    `user` is whose they are, in a collection that is kept per user, and empty in the others. Safe to kill and to run
    again. Raises InputError for a path that is not there, ParameterError for a collection or user that cannot be,
    StepFailed from the embedder and the store; what was taken in before that stays.
    """
    into = _collection(settings, collection)
    if into.per_user != bool(user):
        expected = "whose documents these are" if into.per_user else "no user: everybody sees what is in it"
        raise ParameterError(f"{collection}: got user {user!r}, expected {expected}.")
    if user and not _USER.fullmatch(user):
        raise ParameterError(f"user {user!r}: expected letters, digits and . _ @ + - (at most 64 of them).")
    found, skipped = find_documents(paths)
    if user:
        found = [replace(one, source=_own(one.source, user)) for one in found]
    embedder = embedders[into.embedder]
    store.create(collection, embedder)
    run = _Run(collection, store, embedder, settings.path.chunk_chars, user, store.sources(collection))
    run.skipped += skipped
    for one in skipped:
        say(f"{one.source}: left out, {one.reason}.")
    try:
        with tqdm(found, desc=f"into {collection}", unit="document", disable=None, leave=False) as progress:
            for document in progress:
                if reason := run.take(document):
                    say(f"{document.source}: left out, {reason}.")
        run.flush()
    except StepFailed:
        say(f"stopped in the middle of {len(found)} documents; the same command goes on from there.")
        raise
    return run.outcome()


def take_in_knowledge(
    settings: RagSettings, store: VectorStore, embedders: Mapping[str, Embedder],
    say: Callable[[str], None] = _quietly, folder: Path | None = None,
) -> TakenIn:  # fmt: skip
    """Take in what ships for each collection of the settings; conversations for the users their folders are named for.

    Safe to run again: what is there already is left alone. Raises as `take_in` does.
    """
    done = TakenIn()
    for collection, user, part in knowledge_parts(settings, folder or knowledge_folder()):
        done += take_in([part], collection, settings, store, embedders, user, say)
    return done


@dataclass
class _Run:
    """One run of taking in: what is in the store, what waits for its batch, and what has been done."""

    collection: str
    store: VectorStore
    embedder: Embedder
    limit: int
    user: str
    there: Mapping[str, int]
    waiting: list[Chunk] = field(default_factory=list)
    documents: int = 0
    chunks: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def take(self, document: Found) -> str:
        """Read one document and hand on what of it is missing; returns why it cannot be read, or ''."""
        try:
            sections = read_document(document.path)
        except InputError as error:
            self.skipped.append(Skipped(document.source, str(error)))
            return str(error)
        chunks = chunk_document(sections, document.source, self.collection, self.limit, self.user)
        known = self.store.ids(self.collection, document.source) if document.source in self.there else set()
        if known - {chunk.id for chunk in chunks}:
            self.store.remove(self.collection, document.source)
            self.changed += 1
            known = set()
        missing = [chunk for chunk in chunks if chunk.id not in known]
        if not missing:
            self.unchanged += 1
            return ""
        self.documents += 1
        for chunk in missing:
            self.waiting.append(chunk)
            if len(self.waiting) == BATCH:
                self.flush()
        return ""

    def flush(self) -> None:
        """Embed and add what waits."""
        if self.waiting:
            vectors = self.embedder.embed([chunk.text for chunk in self.waiting])
            self.store.add(self.collection, self.waiting, vectors)
            self.chunks += len(self.waiting)
            self.waiting = []

    def outcome(self) -> TakenIn:
        return TakenIn(self.documents, self.chunks, self.changed, self.unchanged, tuple(self.skipped))


def _collection(settings: RagSettings, name: str) -> CollectionSettings:
    for one in settings.collections:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in settings.collections)
    raise ParameterError(f"There is no collection {name!r}; there are {known}.")


def _own(source: str, user: str) -> str:
    """What a document of a user is called, so that two users may have one of the same name."""
    return source if source.startswith(f"{user}/") else f"{user}/{source}"
