"""The log of a drill's application: what the reference path says, of one drill where several run in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry import context

LOGGER = "warmstall.rag"
_KEY = context.create_key("warmstall drill")


class ApplicationLog(logging.FileHandler):
    """Writes what is logged while a drill's own question is answered, in whatever thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03d+00:00 %(levelname)s [%(threadName)s] %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self.addFilter(lambda _: context.get_value(_KEY) is self)
        logger = logging.getLogger(LOGGER)
        logger.addHandler(self)
        if not logger.isEnabledFor(logging.INFO):
            logger.setLevel(logging.INFO)

    @contextmanager
    def own(self) -> Iterator[None]:
        """Within it, and in all threads that take over its context, what is logged is this drill's."""
        token = context.attach(context.set_value(_KEY, self))
        try:
            yield
        finally:
            context.detach(token)

    def close(self) -> None:
        logging.getLogger(LOGGER).removeHandler(self)
        super().close()
