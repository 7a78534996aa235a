"""All runbooks: which file builds the action of which, and which settings it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from ..errors import InputError
from .step import Action
from .target import Target

# The notebook runbooks/NAME.ipynb has the same name; the file here has underscores for its dashes.
NAMES = (
    "recover-stuck-runner", "free-vram", "fit-context", "flash-attention-off", "raise-service-limits",
    "limit-concurrency", "switch-gpu-backend", "persist-vector-store", "stabilise-embedding-service",
    "relieve-memory-pressure", "move-backend",
)  # fmt: skip


@dataclass(frozen=True)
class Runbook:
    """One runbook: `settings` are its own parameters with their defaults, beside those that all have."""

    name: str
    title: str
    settings: Mapping[str, Any]
    recording: str
    build: Callable[[Target, Mapping[str, Any]], Action]


def runbook(name: str) -> Runbook:
    """The runbook of a name; raises InputError with the nearest right one."""
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in NAMES:
        near = get_close_matches(wanted, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}."
        raise InputError(f"{name}: there is no such runbook; {hint}")
    module: ModuleType = import_module(f"{__package__}.actions.{wanted.replace('-', '_')}")
    title = (inspect.getdoc(module) or "").split("\n", 1)[0].partition(": ")[2]
    return Runbook(wanted, title[:1].upper() + title[1:], module.SETTINGS, module.RECORDING, module.build)
