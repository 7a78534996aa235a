"""The small knowledge of a drill's application, our own words about operating Ollama, and questions that it answers.

Each topic has a text in each of the five collections. The vectors of a drill are hashed words, so a question shares
words with the texts that answer it.
"""

from __future__ import annotations

from random import Random

from ..rag.records import Chunk

_COLLECTIONS = ("documentation", "conversations", "faq", "terms", "papers")
# Whose conversations they are, in the collection that is kept per user.
USER = "operator"

# A question, and what is known of it in each collection.
TOPICS: tuple[tuple[str, tuple[str, str, str, str, str]], ...] = (
    ("How long does a model stay in memory after the last request?", (
        "A model stays in memory for five minutes after the last request; keep_alive sets how long.",
        "We asked how long the model stays in memory, and set keep_alive to an hour after the last request.",
        "Why does the model leave memory? After the last request it stays as long as keep_alive says.",
        "keep_alive: how long a model stays in memory after the last request.",
        "How long a model should stay in memory after a request depends on when the next request comes.",
    )),
    ("How many requests can one model answer at the same time?", (
        "OLLAMA_NUM_PARALLEL says how many requests one model can answer at the same time.",
        "Many requests at the same time had to wait: one model can answer only as many as it has slots.",
        "How many requests can a model answer at once? As many as it has slots, the same for each model.",
        "Slot: what one model needs to answer one request; many slots answer many requests at the same time.",
        "One model can answer many requests at the same time when the requests are batched.",
    )),
    ("What happens when a prompt is longer than the context of the model?", (
        "When a prompt is longer than the context of the model, the oldest part of the prompt is left out.",
        "The prompt was longer than the context of the model, and what happens then is that sources are lost.",
        "What happens when the context is full? The prompt is cut where it is longer than the context.",
        "Context: how long a prompt of the model can be; what is longer is cut.",
        "A prompt that is longer than the context of a model loses what is in the middle.",
    )),
    ("Why does the first request after a pause take so long?", (
        "The first request after a pause has to load the model, so it does take long.",
        "After a pause the first request did take so long because the model had left memory.",
        "Why is the first request so slow? After a pause the model is loaded again, and loads take long.",
        "Cold start: the first request after a pause, which does take long because it loads.",
        "The first request after a pause does take so long because weights are read from a disk.",
    )),
    ("How much memory of the GPU does a model need?", (
        "How much memory of the GPU a model does need is its file, its cache and some room for computing.",
        "The GPU had not as much memory as the model did need, so layers ran on the CPU.",
        "How much memory does the GPU need? As much as the model file, and more for a long context.",
        "VRAM: the memory of the GPU; a model does need as much of it as it has weights and cache.",
        "A model does need less memory of the GPU when its weights have fewer bits.",
    )),
)  # fmt: skip
_ASIDE = ("today", "here", "again", "in general", "by default", "in practice", "on this host", "now")


def chunks_of(collection: str) -> list[Chunk]:
    """What is taken into one collection.

    >>> len(chunks_of("faq")), chunks_of("faq")[0].source
    (5, 'faq/1.md')
    """
    place = _COLLECTIONS.index(collection)
    user = USER if collection == "conversations" else ""
    return [
        Chunk(f"{collection}-{number}", texts[place], f"{collection}/{number}.md", user=user)
        for number, (_, texts) in enumerate(TOPICS, 1)
    ]


def question(random: Random) -> str:
    """One of the questions, put a little differently each time."""
    asked = random.choice(TOPICS)[0].removesuffix("?")
    return f"{asked} {random.choice(_ASIDE)}?"
