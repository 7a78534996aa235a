"""How papermill runs a notebook for us: as it always does, but it writes the file less often."""

from __future__ import annotations

import time
from typing import Any

from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

ENGINE = "warmstall"
_SAVED_EVERY_S = 2.0


class SparingEngine(NBClientEngine):  # type: ignore[misc]
    """Saves the notebook every other second and at its end.

    papermill does at the start and the end of every cell: a quarter of the time of a notebook of many figures.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> Any:
        """Run the notebook; whatever ends it, what it had got to is saved."""
        save, saved_at = nb_man.save, 0.0

        def save_sparingly(**given: Any) -> None:
            nonlocal saved_at
            if time.monotonic() - saved_at >= _SAVED_EVERY_S:
                save(**given)
                saved_at = time.monotonic()

        nb_man.save = save_sparingly
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            save()


papermill_engines.register(ENGINE, SparingEngine)
