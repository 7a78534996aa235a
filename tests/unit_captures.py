"""Captures of a host with one unit, a server and its runner, as the tables hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas

from warmstall.observed.limits import limits_compared, settings_compared
from warmstall.parse.environment import parse_environment
from warmstall.parse.parsed import Parsed
from warmstall.parse.process_limits import parse_process_limits
from warmstall.parse.systemctl_show import parse_systemctl_show
from warmstall.parse.unit_files import parse_unit_files

CAT = """\
# /etc/systemd/system/ollama.service
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Environment="PATH=/usr/local/bin:/usr/bin" OLLAMA_KEEP_ALIVE=5m

[Install]
WantedBy=default.target

# /etc/systemd/system/ollama.service.d/10-limits.conf
[Service]
LimitMEMLOCK=infinity
LimitNOFILE=1024:65536
Environment=OLLAMA_KEEP_ALIVE=-1

# /etc/systemd/system/ollama.service.d/20-more.conf
[Service]
Environment="OLLAMA_KEEP_ALIVE=10m" 'OLLAMA_ORIGINS=http://a b'
MemoryMax=12G
"""
# Every rule of systemd.exec(5) that unit files of Ollama lean on, and the mistakes that people make.
TRICKY = """\
[Service]
LimitMEMLOCK=unlimited
LimitMEMLOCK=1G 500M
LimitMEMLOCK=16GB
LimitNOFILE=10:20
LimitNOFILE=
LimitCPU=1ms
LimitNICE=-5
LimitRTPRIO=3
LimitSTACK=8m
LimitCORE=5:infinity
LimitNPROC=10:5
LimitRTTIME=5s
LimitDATA=1G1G
LimitAS=0x10
LimitLOCKS=010
MemoryMax=12g
MemoryMax=2.5G
MemoryHigh=0
TasksMax=77
OOMScoreAdjust=+500
OOMScoreAdjust=2000
Environment=K1=a K2="b c" "bad
Environment=1X=2 =3 K3=4
Environment=K4=a \\
# a comment amid a continued line
   K5=b \\

Environment=K6=C:\\\\dir 'K7=it\\'s' K8=\\q K9=x
Environment="K10=a#b" ; K11=1
Environment = "K12=sp"
 Environment=K13=lead
environment=K14=low
Environment="K16=a" #c
Environment=K17=a,K18=b
Environment=K19=a\\x41\\tb K20=x"y z"w
Environment=K1=again
Environment=K22=a K23=b \\\x20
Environment=K24=c
Environment=K25=a\\\\
Environment=K26=b
CPUAffinity=0
CPUAffinity=
CPUAffinity=1
[Unit]
Environment=K21=misplaced
"""

FOLDER = "/etc/systemd/system/ollama.service.d"
SHOW = "Id=ollama.service\nMainPID=1436\n"
SERVE_AND_RUNNER = pandas.DataFrame(
    {"host": "a", "pid": [1436, 1440], "parent_pid": [1, 1436], "role": ["serve", "runner"]}
)


def frame(table: str, *captures: tuple[str, Parsed], host: str = "a") -> pandas.DataFrame:
    rows = [{"host": host, "source": name, "at": None, **row} for name, read in captures for row in read.tables[table]]
    return pandas.DataFrame(rows)


def drop_in(name: str, *lines: str) -> tuple[str, Parsed]:
    return name, parse_unit_files("\n".join([f"# {FOLDER}/{name}", "[Service]", *lines]))


def show(*lines: str) -> tuple[str, Parsed]:
    return "systemctl-show.txt", parse_systemctl_show(SHOW + "\n".join(lines))


def live(pid: int, *lines: str) -> tuple[str, Parsed]:
    return f"limits-{pid}.txt", parse_process_limits("\n".join([f"==> /proc/{pid}/limits <==", *lines]))


def environment(pid: int, *lines: str) -> tuple[str, Parsed]:
    return f"env-{pid}.txt", parse_environment("\n".join([f"==> /proc/{pid}/environ <==", "PATH=/bin", *lines]))


def config(**values: str) -> pandas.DataFrame:
    return pandas.DataFrame([{"name": name, "value": value} for name, value in values.items()])


def by_resource(*captures: tuple[str, Parsed], facts: bool = False) -> dict[str, dict[str, object]]:
    found = limits_compared(
        frame("limits", *captures), SERVE_AND_RUNNER if facts else None, frame("settings", *captures) if facts else None
    )
    return {row["resource"]: row for row in found.astype(object).to_dict("records")}


def by_name(
    *captures: tuple[str, Parsed], printed: pandas.DataFrame | None = None, facts: bool = False
) -> dict[str, dict[str, object]]:
    found = settings_compared(frame("settings", *captures), printed, SERVE_AND_RUNNER if facts else None)
    return {row["name"]: row for row in found.to_dict("records")}


def rows_of(text: str, **same: str) -> list[dict[str, object]]:
    return [{**row, **same} for row in parse_unit_files(text).tables["settings"]]


def in_force(rows: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(row["name"], row["value"]) for row in sorted(rows, key=lambda row: row["position"]) if row["in_force"]]


def limits_of(text: str) -> dict[str, tuple[float, float]]:
    return {row["resource"]: (row["soft"], row["hard"]) for row in parse_unit_files(text).tables["limits"]}


def captures_of_limits(shared: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    for line in (shared / "corpus" / "index.jsonl").read_text().splitlines():
        capture = json.loads(line)
        if capture["file"].startswith("limits/"):
            yield shared / "corpus" / capture["file"], capture["expected"]
