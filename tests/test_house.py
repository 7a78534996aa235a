"""The house rules that a machine can hold: light imports, one list of packages, evidence unchanged."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import INCIDENTS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_import_is_light() -> None:
    """`import warmstall` and its command line bring in nothing heavy until it is used."""
    heavy = ["duckdb", "dask", "distributed", "fsspec", "pandas", "plotly", "pyarrow", "papermill", "nbconvert",
             "nbformat", "numpy", "opentelemetry", "zstandard", "apprise", "prometheus_client", "requests"]  # fmt: skip
    code = f"import sys, warmstall, warmstall.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_environment_yml_names_the_same_packages() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  - (\S+)$", text, flags=re.M)) - {"conda-forge", "pip"}
    wanted = {*PROJECT["dependencies"], f"python{PROJECT['requires-python']}"}

    assert listed == wanted


def test_the_lock_has_hashes_and_no_addresses() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text.strip())

    assert "://" not in text
    assert all("--hash=sha256:" in block for block in blocks if not block.startswith("#"))
    locked = {re.split(r"[=\s;]", block)[0].replace("_", "-").lower() for block in blocks}
    extras = [name for group in PROJECT["optional-dependencies"].values() for name in group]
    for requirement in [*PROJECT["dependencies"], *extras]:
        assert re.split(r"[>=<]", requirement)[0].replace("_", "-").lower() in locked


@pytest.mark.parametrize("folder", sorted(path for path in INCIDENTS.iterdir() if path.is_dir()), ids=lambda p: p.name)
def test_evidence_is_as_recorded(folder: Path) -> None:
    """case.json names every file of the evidence with its digest; evidence is never edited."""
    note = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    recorded = {item["path"]: item["sha256"] for item in note["evidence"]}
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "evidence").rglob("*")
        if path.is_file()
    }

    assert found == recorded


def test_the_wheel_holds_what_the_package_needs(tmp_path: Path) -> None:
    """SQL, templates, notebooks and the sample are data files: a wheel without them would import and then fail."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = config["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["lib/warmstall"]
    assert all((ROOT / source).exists() for source in included)
    shipped = {"notebooks", "runbooks", "sample_incident", "knowledge", "acceptance.toml", "objectives.toml"}
    assert {f"warmstall/{name}" for name in shipped} == set(included.values())
