"""A scenario: which server runs, who sends it what, and what goes wrong when; read from a small TOML file.

The files lie in `scenarios/`. Every word in them is checked when they are read: a fault that is mistyped would
otherwise be a drill in which nothing happens.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import InputError, ParameterError
from ..rag.settings import checked_settings
from .faults import KINDS
from .gpu import SimulatedGpu
from .timetable import Fault

FOLDER = Path(__file__).parent / "scenarios"
ENDPOINTS = (
    "/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/v1/chat/completions", "/v1/completions",
    "/v1/embeddings",
)  # fmt: skip
# Requests to the embedding service beside Ollama.
EMBEDDING_SERVICE = "embedding service"
# Questions to an application that answers them by the reference path.
QUESTION = "question"


@dataclass(frozen=True)
class Traffic:
    """One kind of clients: what they send, and when.

    Either a request every `every_s` seconds, whoever still waits, or `clients` that each send their next one
    `pause_s` after the last was answered. `timeout_s` is when a client gives up and closes its connection.

    Questions go by the reference path: `path` says what of it is not as usual, `embedder` the same of both embedders;
    of kind http they are the embedding service of the drill. With a `timeout_s` such a client tries only once.
    """

    model: str
    endpoint: str = "/api/generate"
    stream: bool = True
    prompt: str = ""
    prompt_words: int = 20
    num_predict: int = 16
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: str = ""
    start_s: float = 0.0
    end_s: float = float("inf")
    every_s: float = 0.0
    clients: int = 0
    pause_s: float = 0.5
    timeout_s: float = 0.0
    count: int = 0
    path: Mapping[str, Any] = field(default_factory=dict)
    embedder: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FaultPlan:
    """A fault of a scenario, and what must be found of it where that is not what its kind says."""

    fault: Fault
    hypotheses: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """One drill. `versions`: what it is made for, the first by default. `gpu`: a simulated one, LIBRARY:NAME:GIB."""

    name: str
    about: str
    versions: tuple[str, ...]
    duration_s: float
    models: tuple[str, ...]
    traffic: tuple[Traffic, ...]
    faults: tuple[FaultPlan, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1
    gpu: str = ""
    # The file's own words, where it came from one.
    text: str = field(default="", metadata={"said": False})

    @property
    def timetable_faults(self) -> tuple[Fault, ...]:
        return tuple(plan.fault for plan in self.faults)

    @property
    def grows_memory(self) -> bool:
        return any(KINDS[plan.fault.kind].grows_memory for plan in self.faults)

    @property
    def has_embedding_service(self) -> bool:
        return any(one.endpoint == EMBEDDING_SERVICE or one.embedder.get("kind") == "http" for one in self.traffic)

    @property
    def asks_questions(self) -> bool:
        return any(one.endpoint == QUESTION for one in self.traffic)


def scenario_names() -> list[str]:
    """The scenarios that come with warmstall."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find_scenario(name: str) -> Scenario:
    """A scenario by its name, or by the path of a file of one's own.

    Raises ParameterError for a name that is none, and for whatever is wrong in the file.
    """
    path = Path(name)
    if path.suffix == ".toml":
        return read_scenario(path)
    names = scenario_names()
    if name not in names:
        raise ParameterError(f"scenario {name}: there is none of this name{_instead(name, names)}")
    return read_scenario(FOLDER / f"{name}.toml")


def read_scenario(path: Path) -> Scenario:
    """The scenario of a file, checked."""
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path.name}: it is not TOML ({error}).") from None
    return replace(checked(said, path.name), text=text)


def checked(said: Mapping[str, Any], where: str) -> Scenario:
    """The scenario that a table says; raises ParameterError with one sentence for the first thing that is wrong.

    >>> checked({"faults": [{"kind": "restar"}]}, "x.toml")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: x.toml, fault 1: kind restar: there is none of this name; did you mean restart?
    """
    rows = _rows(said, "faults", where)
    faults = tuple(_fault(row, f"{where}, fault {n}") for n, row in enumerate(rows, 1))
    rows = _rows(said, "traffic", where)
    traffic = tuple(_built(Traffic, row, f"{where}, traffic {n}") for n, row in enumerate(rows, 1))
    plain = {key: value for key, value in said.items() if key not in ("traffic", "faults")}
    plain |= {"traffic": (), "faults": ()}
    scenario: Scenario = _built(Scenario, plain, where)
    scenario = replace(scenario, traffic=traffic, faults=faults)
    _check(scenario, where)
    return scenario


def _rows(said: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    rows = said.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ParameterError(f"{where}: {name}: expected tables, each under [[{name}]].")
    return rows


def _fault(row: Mapping[str, Any], where: str) -> FaultPlan:
    kind = row.get("kind")
    if kind not in KINDS:
        raise ParameterError(f"{where}: kind {kind}: there is none of this name{_instead(str(kind), KINDS)}")
    hypotheses = row.get("hypotheses", list(KINDS[kind].hypotheses))
    fault: Fault = _built(Fault, {key: value for key, value in row.items() if key != "hypotheses"}, where)
    if not (isinstance(hypotheses, list) and all(isinstance(each, str) for each in hypotheses)):
        raise ParameterError(f"{where}: hypotheses: got {hypotheses!r}, expected a list of names.")
    if not 0 <= fault.start_s < fault.end_s or fault.ramp_s < 0:
        raise ParameterError(
            f"{where}: start_s {fault.start_s:g}, end_s {fault.end_s:g}: expected 0 ≤ start_s < end_s."
        )
    if not 0 < fault.rate <= 1 or fault.intensity <= 0:
        raise ParameterError(f"{where}: expected an intensity above 0, and a rate above 0 and at most 1.")
    return FaultPlan(fault, tuple(hypotheses))


def _built(kind: Any, row: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table: no other names, no wrong types, nothing missing."""
    known = {each.name: each for each in fields(kind) if each.metadata.get("said", True)}
    for name in row:
        if name not in known:
            raise ParameterError(f"{where}: {name}: there is none of this name{_instead(name, known)}")
    values = {}
    for name, each in known.items():
        if name in row:
            values[name] = _value(row[name], str(each.type), f"{where}: {name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ParameterError(f"{where}: {name}: it is missing.")
    return kind(**values)


def _value(value: Any, wanted: str, where: str) -> Any:
    if wanted == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if wanted == "Mapping[str, str]" and isinstance(value, dict):
        return {name: str(each) for name, each in value.items()}
    plain = {"float": float, "int": int, "bool": bool, "str": str, "str | None": str, "Mapping[str, Any]": dict}
    right = plain.get(wanted, tuple)
    if not isinstance(value, right) or (right is not bool and isinstance(value, bool)):
        words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", dict: "a table"}
        raise ParameterError(f"{where}: got {value!r}, expected {words.get(right, 'a list of texts')}.")
    return value


def _check(scenario: Scenario, where: str) -> None:
    """What no single value tells: names that must exist elsewhere, and times within the drill."""
    if not scenario.versions or not scenario.traffic or not scenario.models:
        raise ParameterError(f"{where}: expected at least one version, one model and one traffic.")
    if not 0 < scenario.duration_s <= 600:
        raise ParameterError(f"{where}: duration_s {scenario.duration_s:g}: expected more than 0 and at most 600.")
    for name in scenario.environment:
        if not name.startswith("OLLAMA_"):
            raise ParameterError(f"{where}: environment {name}: expected a variable OLLAMA_….")
    try:
        SimulatedGpu.read(scenario.gpu)
    except InputError as error:
        raise ParameterError(f"{where}: gpu: {error}.") from None
    for number, one in enumerate(scenario.traffic, 1):
        place = f"{where}, traffic {number}"
        if one.endpoint != EMBEDDING_SERVICE and one.model not in scenario.models:
            raise ParameterError(f"{place}: model {one.model}: it is not in models"
                                 f"{_instead(one.model, scenario.models)}")  # fmt: skip
        if one.endpoint not in (*ENDPOINTS, EMBEDDING_SERVICE, QUESTION):
            raise ParameterError(f"{place}: endpoint {one.endpoint}: there is none of this name"
                                 f"{_instead(one.endpoint, ENDPOINTS)}")  # fmt: skip
        if (one.path or one.embedder) and one.endpoint != QUESTION:
            raise ParameterError(f"{place}: path and embedder are of endpoint question, not of {one.endpoint}.")
        checked_settings({"path": one.path, "embedders": {"small": one.embedder, "large": one.embedder}}, place)
        if bool(one.every_s) == bool(one.clients) or min(one.every_s, one.clients, one.pause_s, one.timeout_s) < 0:
            raise ParameterError(f"{place}: expected either every_s or clients, above 0.")
        if not 0 <= one.start_s < min(one.end_s, scenario.duration_s):
            raise ParameterError(f"{place}: start_s {one.start_s:g}: expected a time before its end.")
    for number, plan in enumerate(scenario.faults, 1):
        place, fault = f"{where}, fault {number}", plan.fault
        if fault.model is not None and fault.model not in scenario.models:
            raise ParameterError(f"{place}: model {fault.model}: it is not in models"
                                 f"{_instead(fault.model, scenario.models)}")  # fmt: skip
        if fault.start_s >= scenario.duration_s:
            raise ParameterError(f"{place}: start_s {fault.start_s:g}: the drill lasts {scenario.duration_s:g} s.")


def _instead(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(sorted(known))}."
