"""Many hosts side by side: the odd ones are found, the healthy ones are not, and what cannot be told is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypotheses.example import ServerLog
from warmstall import figures
from warmstall.errors import InputError
from warmstall.fleet import Fleet, cases_in, summaries, summaries_of, summary_of, unlike
from warmstall.fleet.differences import odd_rates, quantile_measured

HEALTHY = 8
REQUESTS = 60


def server_log(seed: int, failing: float = 0.0, slower: float = 1.0, **start: str) -> str:
    """A server that answers within two seconds or so, with the few failures that every server has."""
    random = np.random.default_rng(seed)
    log = ServerLog().start(**{"OLLAMA_KEEP_ALIVE": "30m0s"} | start).load(2)
    for number, wall_s in enumerate(random.lognormal(0.7, 0.4, REQUESTS)):
        status = 500 if random.random() < 0.01 + failing else 200
        log.request(10 + 30 * number, round(float(wall_s) * slower, 3), status)
    return log.text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Summaries of eight healthy hosts, one on the processor and one that fails a third of its requests."""
    folder = tmp_path_factory.mktemp("fleet")
    logs = {f"gpu-{number:02}": server_log(number) for number in range(HEALTHY)}
    logs |= {"gpu-slow": server_log(90, slower=6, device="cpu"), "gpu-failing": server_log(91, failing=0.35)}
    for name, text in logs.items():
        (folder / name).mkdir()
        (folder / name / "server.log").write_text(text)
    return summaries_of(cases_in([folder]))


def summary(seed: int, host: str, failing: float = 0.0, slower: float = 1.0, **configuration: str) -> dict[str, Any]:
    """A summary as of a day: hosts differ a little in speed, traffic and failures, as real ones do."""
    random = np.random.default_rng(seed)
    requests = int(random.integers(50, 3000))
    walls = sorted(random.lognormal(0.7 + random.normal(0, 0.1), 0.8, requests) * slower)
    rates = {"failed": random.beta(8, 800) + failing, "cold_start": random.beta(8, 200), "warm_stall": 0.0}
    numbers = {"wall_p50_s": quantile_measured(walls, [], 0.5), "wall_p95_s": quantile_measured(walls, [], 0.95)}
    return {
        "path": f"/cases/{host}", "error": "",
        "hosts": [{
            "host": host, "requests": requests, "from_at": "2026-03-14T00:00:00+00:00",
            "to_at": "2026-03-15T00:00:00+00:00", "loads": 4, "notes": [], "causes": [],
            "rates": {name: [int(random.binomial(requests, rate)), requests] for name, rate in rates.items()},
            "numbers": {name: vars(one) for name, one in numbers.items() if one},
            "memory": {"state": "calm", "sentence": ""},
            "configuration": {"version|Ollama": "0.13.5", "device|found": "cuda NVIDIA L4"} | configuration,
        }],
    }  # fmt: skip


def cause(state: str, name: str = "memory_pressure", severity: str = "critical") -> dict[str, str]:
    found = "Memory was running out." if state == "confirmed" else ""
    return {"id": name, "title": "Memory pressure", "severity": severity, "state": state, "sentence": found}


def test_exactly_the_odd_hosts_are_found(made: list[dict[str, Any]]) -> None:
    fleet = unlike(made)

    assert set(fleet.odd_hosts) == {"gpu-failing", "gpu-slow"}
    assert fleet.odd_hosts[0] == "gpu-failing"  # requests that fail are graver than slow ones
    names = {(finding.host, finding.name) for finding in fleet.findings}
    assert {("gpu-failing", "failed"), ("gpu-slow", "wall_p50_s"), ("gpu-slow", "devices")} <= names
    assert ("gpu-slow", "failed") not in names
    assert ("gpu-failing", "wall_p50_s") not in names


def test_a_finding_is_a_sentence_with_its_numbers(made: list[dict[str, Any]]) -> None:
    told = {(finding.host, finding.name): finding.sentence for finding in unlike(made).findings}
    (failed, of) = next(one["hosts"][0]["rates"]["failed"] for one in made if one["path"].endswith("gpu-failing"))

    assert f"({failed} of {of}), " in told["gpu-failing", "failed"]
    assert "in 9 other hosts" in told["gpu-failing", "failed"]
    assert "(n = " in told["gpu-slow", "wall_p50_s"]
    assert "10 hosts" in told["gpu-slow", "wall_p50_s"]
    assert told["gpu-slow", "devices"] == "gpu-slow: devices is cpu, 9 of 10 hosts have cuda a GPU."


def test_healthy_hosts_are_alike(made: list[dict[str, Any]]) -> None:
    fleet = unlike(made[:HEALTHY])

    assert fleet.findings == ()
    assert fleet.sentences == (f"No host is unlike the rest beyond chance; {HEALTHY} hosts were compared.",)


def test_why_is_what_only_the_odd_host_has(made: list[dict[str, Any]]) -> None:
    told = " ".join(unlike(made).why["gpu-slow"])

    assert "only it has devices cpu" in told
    assert "1 of 10 hosts is too few to tell" in told


@pytest.mark.parametrize("count", [5, 20])
def test_healthy_fleets_give_no_false_alarm(count: int) -> None:
    """Hosts whose rates and times differ by a third, as hosts do."""
    alarms = [
        seed for seed in range(60)
        if unlike([summary(1000 * seed + number, f"gpu-{number}") for number in range(count)]).findings
    ]  # fmt: skip

    assert len(alarms) <= 1  # by chance, one in 60


def test_several_bad_hosts_do_not_hide_each_other() -> None:
    hosts = [summary(number, f"gpu-{number}", failing=0.3 * (number < 4)) for number in range(20)]
    fleet = unlike(hosts)

    assert set(fleet.odd_hosts) == {"gpu-0", "gpu-1", "gpu-2", "gpu-3"}
    assert {finding.direction for finding in fleet.findings} == {"more"}


def test_one_bad_host_with_much_traffic_does_not_make_the_good_ones_odd() -> None:
    counts = {f"gpu-{number}": (number % 3, 1000) for number in range(9)} | {"gpu-9": (9000, 20000)}
    found, without_rest = odd_rates({"failed": counts})

    assert [one.host for one in found] == ["gpu-9"]
    assert not without_rest


def test_hosts_that_all_differ_have_no_rest() -> None:
    counts = {"a": (10, 1000), "b": (200, 1000), "c": (500, 1000), "d": (800, 1000)}
    found, without_rest = odd_rates({"failed": counts})

    assert (found, without_rest) == ([], ["failed"])


def test_few_failures_may_be_chance() -> None:
    assert odd_rates({"failed": {f"gpu-{number}": (0, 40) for number in range(10)} | {"gpu-10": (2, 40)}})[0] == []


def test_of_two_hosts_nobody_is_the_odd_one() -> None:
    fleet = unlike([summary(1, "a"), summary(2, "b", failing=0.9)])

    assert fleet.findings == ()
    assert fleet.sentences[0].startswith("Of 2 hosts nobody can say which is the odd one")
    assert len(fleet.hosts) == 2


def test_four_hosts_have_no_spread() -> None:
    hosts = [summary(number, f"gpu-{number}", slower=50 if number == 3 else 1) for number in range(4)]
    fleet = unlike(hosts)

    assert not [finding for finding in fleet.findings if finding.kind == "number"]
    assert any("4 hosts of 4" in told and "needed are 5" in told for told in fleet.not_compared)


def test_associations_need_hosts_enough() -> None:
    """Five failing hosts of fifteen share a version; that is told as an association, once."""
    bad = {"version|Ollama": "0.14.0", "setting|OLLAMA_FLASH_ATTENTION": "true"}
    good = {"setting|OLLAMA_FLASH_ATTENTION": "false"}
    hosts = [
        summary(number, f"gpu-{number}", failing=0.3 * (number < 5), **(bad if number < 5 else good))
        for number in range(15)
    ]
    told = [sentence for sentences in unlike(hosts).why.values() for sentence in sentences]

    (one,) = told
    assert "version Ollama 0.14.0, setting OLLAMA_FLASH_ATTENTION true: 5 of 5 of them have it, 0 of 10 others" in one
    assert "an association over 15 hosts, no cause" in one


def test_what_means_the_same_is_no_difference() -> None:
    values = ["300s", "5m0s", "5m", "5m0s", "10m0s"]
    hosts = [summary(n, f"gpu-{n}", **{"setting|OLLAMA_KEEP_ALIVE": value}) for n, value in enumerate(values)]
    (finding,) = unlike(hosts).findings

    assert finding.sentence == "gpu-4: setting OLLAMA_KEEP_ALIVE is 10m0s, 4 of 5 hosts have 300s."


def test_what_was_not_captured_is_no_difference() -> None:
    hosts = [
        summary(number, f"gpu-{number}", **{"limit|MEMLOCK": "unlimited"} if number else {}) for number in range(6)
    ]

    assert unlike(hosts).findings == ()


def test_a_cause_is_odd_where_most_others_would_have_shown_it() -> None:
    hosts = [summary(number, f"gpu-{number}") for number in range(6)]
    for number, each in enumerate(hosts):
        each["hosts"][0]["causes"] = [cause("ruled_out" if number else "confirmed")]
    (finding,) = unlike(hosts).findings
    for each in hosts[1:]:
        each["hosts"][0]["causes"] = [cause("not_observable")]

    assert finding.sentence == (
        "gpu-0: Memory pressure (memory_pressure) is confirmed; of 5 other hosts ruled out on 5. "
        "Memory was running out."
    )
    assert unlike(hosts).findings == ()


def test_memory_that_runs_out_on_one_host_is_told() -> None:
    hosts = [summary(number, f"gpu-{number}") for number in range(6)]
    hosts[2]["hosts"][0]["memory"] = {"state": "growing", "sentence": "Memory was running out."}
    (finding,) = unlike(hosts).findings

    assert (finding.host, finding.kind) == ("gpu-2", "memory")


def test_a_host_that_cannot_be_read_is_a_row_with_its_error(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.log").write_text(server_log(1))
    (tmp_path / "d").mkdir()
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "server.log.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"\x00" * 20)
    fleet = unlike(summaries_of([*cases_in([tmp_path]), tmp_path / "missing"], processes=1))
    errors = dict(zip(fleet.hosts["host"], fleet.hosts["error"], strict=True))

    assert [host for host, error in errors.items() if not error] == ["a", "b", "c"]
    assert "no evidence in this folder" in errors["d"]
    assert "there is no such file" in errors["missing"]
    assert errors["e"]
    assert sum("was not read" in told for told in fleet.sentences) == 3


def dies(path: Path) -> dict[str, Any]:
    """What reads a case that costs its process its life."""
    if path.name == "gpu-2":
        os._exit(9)
    return summary(1, path.name)


def test_a_case_that_kills_its_process_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "summary_of", dies)
    found = summaries_of([Path(f"gpu-{number}") for number in range(4)], processes=2)

    assert [bool(one["error"]) for one in found] == [False, False, True, False]
    assert "was killed" in found[2]["error"]


def test_a_case_of_several_hosts_is_several_rows(tmp_path: Path) -> None:
    for name, text in (("a", server_log(1)), ("b", server_log(2, failing=0.5))):
        (tmp_path / "evidence" / name).mkdir(parents=True)
        (tmp_path / "evidence" / name / "server.log").write_text(text)
    (tmp_path / "evidence" / "laptop").mkdir()
    (tmp_path / "evidence" / "laptop" / "trials.csv").write_text(
        "started_at,wall_s,status,path\n2026-03-14T12:00:10Z,2.0,200,/api/chat\n"
    )
    a, b = summary_of(tmp_path)["hosts"]

    assert (a["host"], b["host"], a["requests"], b["requests"]) == ("a", "b", REQUESTS, REQUESTS)
    assert b["rates"]["failed"][0] > 10 > a["rates"]["failed"][0]
    assert a["configuration"]["version|Ollama"] == "0.13.5"


def test_what_is_a_case(tmp_path: Path) -> None:
    case, fleet, bare = tmp_path / "case", tmp_path / "fleet", tmp_path / "bare"
    for folder in (case / "evidence" / "a", fleet / "x", fleet / "y", bare / "old"):
        folder.mkdir(parents=True)
    for file in (fleet / "README.md", bare / "server.log"):
        file.write_text("text")

    assert cases_in([case, fleet, bare, bare / "server.log"]) == [
        case, fleet / "x", fleet / "y", bare, bare / "server.log",
    ]  # fmt: skip
    with pytest.raises(InputError, match="a fleet of no case"):
        cases_in([])


def test_a_summary_travels_as_json(made: list[dict[str, Any]]) -> None:
    assert unlike(json.loads(json.dumps(made))).sentences == unlike(made).sentences


def test_a_fleet_is_plain_values(made: list[dict[str, Any]]) -> None:
    plain = unlike([*made, {"path": "gone", "error": "there is no such file.", "hosts": []}]).as_json()

    assert {"hosts", "findings", "why", "configuration", "causes", "not_compared", "sentences"} == set(plain)
    json.dumps(plain, allow_nan=False)


def test_hostile_names_and_settings_stay_text() -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[31m=cmd|' /C calc'!A0"
    hosts = [summary(number, f"gpu-{number}") for number in range(5)]
    hosts.append(summary(9, hostile, failing=0.9, **{"setting|OLLAMA_MODELS": hostile, "device|found": hostile}))
    hosts.append({"path": f"/cases/{hostile}", "error": hostile, "hosts": []})
    fleet = unlike(hosts)
    pages = [figures.table(frame)._repr_html_() for frame in (fleet.hosts, fleet.configuration, fleet.causes)]

    assert not [text for text in [*fleet.sentences, *pages] if "\x1b" in text]
    assert not [page for page in pages if "<img" in page]
    assert "&lt;img" in pages[0]


def test_nothing_at_all() -> None:
    fleet = unlike([])

    assert isinstance(fleet, Fleet)
    assert fleet.sentences[0].startswith("Of 0 hosts")
    assert fleet.hosts.empty
