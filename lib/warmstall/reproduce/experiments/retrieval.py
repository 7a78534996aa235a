"""Five collections searched one after another, each with an embedding of its own, or all at once with one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ...errors import CannotTell
from ...rag.records import Hit
from ..bench import Bench
from ..experiment import Trial
from ..experiment_result import Arm
from ..records import Sent

RETRIEVAL = (
    Arm("sequential", "for each collection: embed the question, then search"),
    Arm("parallel", "embed the question once for each embedder, then search all collections at once"),
)


@contextmanager
def retrieval(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Both arms ask the same questions in the same order, and recall is told against what `sequential` finds."""
    from ...rag.answering import RagPath
    from ...rag.documents.knowledge import knowledge_folder
    from ...rag.documents.taking_in import take_in_knowledge
    from ...rag.retrieval import retrieve
    from ..senders import questions_of

    questions = questions_of(knowledge_folder() / "faq")
    with RagPath(bench.settings, bench.tracer) as path:
        if not any(path.store.collections().values()):
            take_in_knowledge(bench.settings, path.store, path.embedders)

        def found(question: str, arm: str) -> list[Hit]:
            settings = replace(bench.settings, path=replace(bench.settings.path, retrieval=arm))  # type: ignore[arg-type]
            return retrieve(question, settings, path.embedders, path.store, bench.tracer, bench.user)

        wanted = {question: _ids(found(question, "sequential")) for question in questions}
        asked = [question for question in questions if wanted[question]]
        if not asked:
            raise CannotTell("nothing was found for any question; take documents in, or allow a larger max_distance.")

        def trial(arm: Arm) -> Trial:
            turns: Iterator[str] = itertools.cycle(asked)

            def send() -> Sent:
                question = next(turns)
                hits = found(question, arm.name)
                recall = len(_ids(hits) & wanted[question]) / len(wanted[question])
                return Sent(True, measures={"recall": recall})

            return Trial(send)

        yield {arm.name: trial(arm) for arm in arms}


def _ids(hits: Sequence[Hit]) -> set[tuple[str, str]]:
    return {(hit.collection, hit.chunk.id) for hit in hits}
