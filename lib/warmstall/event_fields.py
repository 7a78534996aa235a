"""The fields of events, read from their lines when someone asks for them: most are never asked for."""

from __future__ import annotations

import json
from typing import Any

from .parse.log_events import event_in


def fields_in(anchors: Any, texts: Any) -> Any:  # DuckDB reads the annotations; pyarrow is not there then
    """The fields of the event in each line, as JSON objects: Arrow arrays of lines and of the anchors that led to it.

    >>> import pyarrow
    >>> line = "Listening on [::]:11434 (version 0.13.5)"
    >>> fields_in(pyarrow.array(["Listening on "]), pyarrow.array([line]))[0].as_py()
    '{"address": "[::]:11434", "version": "0.13.5"}'
    """
    import pyarrow

    found = [event_in(text, anchor) for anchor, text in zip(anchors.to_pylist(), texts.to_pylist(), strict=True)]
    return pyarrow.array([json.dumps(event.fields if event else {}) for event in found], pyarrow.string())
