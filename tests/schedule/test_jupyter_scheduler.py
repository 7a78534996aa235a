"""A body that jupyter-scheduler's own model takes, and parameters that are Python."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from croniter import croniter
from hypothesis import given, settings

from conftest import ROOT
from schedule.wishes import paths, schedule
from warmstall.errors import InputError
from warmstall.schedule.jupyter_scheduler import definition, print_definition

READS: dict[str, Any] = {"collect": False, "paths": ("/var/log/a.log", "/srv/b.log")}
# CreateJobDefinition of jupyter_scheduler 2.12.1 (models.py): field, type, whether it must be there. It is no
# dependency: it would bring a database and a server extension into every environment.
MODEL: dict[str, tuple[type | tuple[type, ...], bool]] = {
    "input_uri": (str, True), "input_filename": (str, False), "runtime_environment_name": (str, True),
    "runtime_environment_parameters": (dict, False), "output_formats": (list, False), "parameters": (dict, False),
    "tags": (list, False), "name": (str, True), "output_filename_template": (str, False),
    "compute_type": (str, False), "schedule": (str, False), "timezone": (str, False),
    "package_input_folder": (bool, False),
}  # fmt: skip
# Of its environments manager.
OUTPUT_FORMATS = {"ipynb", "html"}


def injected(body: dict[str, Any]) -> dict[str, Any]:
    """The cell that parameterize.py of jupyter_scheduler 2.12.1 makes of the parameters, run."""
    source = "\n".join(f"{name} = {value}" for name, value in body["parameters"].items())
    found: dict[str, Any] = {}
    exec(source, {}, found)
    return found


def test_the_model_takes_it() -> None:
    body = json.loads(
        print_definition(schedule(alerts="/srv/a.toml", objectives="/srv/o.toml", watch=True, **READS))[0].text
    )

    assert {name for name, (_, needed) in MODEL.items() if needed} <= set(body) <= set(MODEL)
    assert all(isinstance(value, MODEL[name][0]) for name, value in body.items())
    assert all(isinstance(value, str) for value in body["parameters"].values())  # Dict[str, str]
    assert set(body["output_formats"]) <= OUTPUT_FORMATS
    assert croniter.is_valid(body["schedule"])
    assert not body["input_uri"].startswith("/")  # from the server's folder


@given(paths())
@settings(max_examples=100, deadline=None)
def test_a_path_arrives_as_it_is(path: str) -> None:
    assert injected(definition(schedule(out=path, **READS)))["out"] == path


def test_every_parameter_is_one_of_the_notebook() -> None:
    notebook = ROOT / "notebooks" / "health_report.ipynb"
    cells = nbformat.read(notebook, 4).cells
    (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    known: dict[str, Any] = {}
    exec(source, {}, known)
    given_ = injected(definition(schedule(alerts="/a", objectives="/o", watch=True, **READS)))

    assert {name: type(known[name]) for name in given_} == {name: type(value) for name, value in given_.items()}
    assert given_["case"].splitlines() == ["/var/log/a.log", "/srv/b.log", "/srv/health/watch"]  # one a line
    assert known["conclude"] is True  # nobody else writes the verdict


def test_it_captures_nothing() -> None:
    with pytest.raises(InputError, match="--paths"):
        definition(schedule())


def test_it_cannot_check_that_it_ran() -> None:
    with pytest.raises(InputError, match="cron or systemd"):
        print_definition(schedule(), "freshness")
