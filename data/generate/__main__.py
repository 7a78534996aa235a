"""python -m generate [NAME …], run from data/: write all reference incidents, or the named ones."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import generate

from .writing import CaseWriter


def main(names: list[str]) -> None:
    """Write the incidents of these names, or all."""
    for found in pkgutil.iter_modules(generate.__path__):
        module = importlib.import_module(f"generate.{found.name}")
        if hasattr(module, "NAME") and (not names or module.NAME in names):
            module.write(CaseWriter(module.NAME))
            print(module.NAME)


if __name__ == "__main__":
    main(sys.argv[1:])
