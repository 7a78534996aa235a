"""What every embedder checks: the texts before it asks, the vectors before it answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import StepFailed
from ..parts import Vectors


def check_texts(texts: Sequence[str], name: str) -> None:
    """Raises StepFailed for a text without a letter: some servers leave it out in silence, others answer NaN.

    >>> check_texts(["a text", " "], "all-minilm by Ollama")
    Traceback (most recent call last):
    warmstall.errors.StepFailed: all-minilm by Ollama: text 2 of 2 is empty; leave it out, nothing in it can be found.
    """
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise StepFailed(
                f"{name}: text {number} of {len(texts)} is empty; leave it out, nothing in it can be found."
            )


def checked_vectors(rows: object, wanted: int, dimensions: int, name: str) -> Vectors:
    """The rows as vectors of length one, shape (wanted, dimensions), float32.

    Raises StepFailed for what is no table of numbers, too few or too many rows, another dimension, NaN, an infinite
    number, and a vector of zeros, which has no direction.

    >>> checked_vectors([[3.0, 4.0]], 1, 2, "small").tolist()
    [[0.6000000238418579, 0.800000011920929]]
    >>> checked_vectors([[3.0, 4.0]], 1, 384, "small")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    warmstall.errors.StepFailed: small: its vectors have 2 numbers, 384 were expected; ...
    """
    if wanted == 0:
        return np.zeros((0, dimensions), np.float32)
    if not isinstance(rows, list | np.ndarray) or len(rows) != wanted:
        got = f"{len(rows)} vectors" if isinstance(rows, list | np.ndarray) else type(rows).__name__
        raise StepFailed(f"{name}: it answered {got} for {wanted} texts; one vector for each was expected.")
    try:
        found = np.asarray(rows, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise StepFailed(
            f"{name}: its answer is no table of numbers; {wanted} rows of one length were expected."
        ) from None
    if found.ndim != 2 or found.shape[1] != dimensions:
        got = str(found.shape[1]) if found.ndim == 2 else f"shape {found.shape}, no"
        set_it = f"set dimensions to {found.shape[1]} and take the documents in again, or " if found.ndim == 2 else ""
        raise StepFailed(
            f"{name}: its vectors have {got} numbers, {dimensions} were expected; {set_it}choose the model with which "
            "they were taken in."
        )
    largest = np.abs(found).max(axis=1, keepdims=True)
    for wrong, what in ((~np.isfinite(largest), "NaN or infinite numbers"), (largest == 0, "nothing but zeros")):
        if wrong.any():
            raise StepFailed(
                f"{name}: the vector of text {int(wrong.argmax()) + 1} of {wanted} has {what}; such a text cannot be "
                "found, so nothing was stored or searched: try the model by itself, or another one."
            )
    found /= largest
    length_one: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return length_one
