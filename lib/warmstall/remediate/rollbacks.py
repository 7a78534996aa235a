"""Every rollback by its name: the journal keeps the name and what is needed, so that any later run can undo."""

from __future__ import annotations

from collections.abc import Callable

from .actions.recreate_container import keep_backup, recreate_as_before, start_store, stop_store
from .actions.residency import load_model_again
from .files import restore_file
from .services.launchd import restore_launchd
from .services.systemd import restart_follows, restore_service
from .step import Remembered
from .target import Target

ROLLBACKS: dict[str, Callable[[Target, Remembered], str]] = {
    function.__name__: function
    for function in (
        restore_file, restore_service, restart_follows, restore_launchd, load_model_again,
        keep_backup, recreate_as_before, start_store, stop_store,
    )
}  # fmt: skip
