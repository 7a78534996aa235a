"""What wins among unit files and drop-ins; where systemd is installed, it is asked itself."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from unit_captures import CAT, TRICKY, captures_of_limits, in_force, limits_of, rows_of
from warmstall.parse.systemd_order import drop_ins_in_order, effective_settings


def test_every_expected_value_of_the_folders_of_drop_ins(shared: Path) -> None:
    """Each file is read alone; only together, in the order of their names, do they tell what is in force."""
    proven = 0
    for folder, expected in captures_of_limits(shared):
        if not folder.is_dir():
            continue
        files = {file.name: file.read_text() for file in sorted(folder.iterdir(), reverse=True)}
        assert drop_ins_in_order(files) == expected["files_in_lexical_order"]
        given_rows = [
            row
            for name, text in files.items()
            for row in rows_of(text, host="a", source=f"limits/{folder.name}/{name}")
        ]
        rows = effective_settings(given_rows)
        assert len(rows) == len(given_rows)
        ours = {"CUDA_VISIBLE_DEVICES": None} | dict(in_force(rows))
        environment = {k: v for k, v in ours.items() if k.startswith("OLLAMA_") or k == "CUDA_VISIBLE_DEVICES"}
        assert environment == expected["effective_ollama_env"]
        for name, history in expected["assignments"].items():
            made = [row for row in sorted(rows, key=lambda row: row["position"]) if row["name"] == name]
            assert [[row["source"].rpartition("/")[2], row["value"]] for row in made] == history, name
            won = [row["in_force"] for row in made]
            # Affinities merge, and of all else the last alone holds.
            assert won == ([True] * len(made) if name == "CPUAffinity" else [False] * (len(made) - 1) + [True])
            proven += len(history)
        assert {k: v for k, v in in_force(rows) if str(k).startswith("Memory")} == expected["memory"]
        limits = {k: v for text in files.values() for k, v in limits_of(text).items()}
        for name, value in expected["memory"].items():
            assert limits[name] == (int(value[:-1]) * 2**30,) * 2
            proven += 1
        proven += len(environment) + 1
    assert proven == 63


def test_folders_have_ranks_for_files_of_one_name() -> None:
    etc, run, usr = (f"{root}/systemd/system" for root in ("/etc", "/run", "/usr/lib"))
    of_one_name = [f"{folder}/a.service.d/50.conf" for folder in (usr, run, etc)]
    assert drop_ins_in_order(of_one_name) == of_one_name[2:]
    assert drop_ins_in_order(of_one_name[:2]) == of_one_name[1:2]
    assert drop_ins_in_order([f"{etc}/service.d/50.conf", f"{usr}/a.service.d/50.conf"]) == [
        f"{usr}/a.service.d/50.conf"
    ]
    assert drop_ins_in_order(["b/z.conf", "a/z.conf", "Z.conf", "_.conf"]) == [
        "Z.conf",
        "_.conf",
        "b/z.conf",
        "a/z.conf",
    ]


def test_a_file_that_another_hides_is_not_in_force() -> None:
    text = (
        CAT + "\n# /usr/lib/systemd/system/ollama.service.d/20-more.conf\n[Service]\nEnvironment=OLLAMA_KEEP_ALIVE=1h\n"
    )
    assert dict(in_force(rows_of(text)))["OLLAMA_KEEP_ALIVE"] == "10m"


def test_a_unit_in_etc_takes_the_place_of_the_one_in_usr() -> None:
    text = "\n".join(
        f"==> {folder}/systemd/system/a.service <==\n[Service]\nEnvironment={value}\n"
        for folder, value in (("/usr/lib", "A=1 B=1"), ("/etc", "A=2"), ("/run", "A=3 C=3"))
    )
    assert in_force(rows_of(text)) == [("A", "2")]


def test_settings_of_several_captures_are_ordered_by_unit_host_and_time() -> None:
    def rows(value: str, source: str, host: str = "a", at: str = "1") -> list[dict[str, object]]:
        return rows_of(f"[Service]\nEnvironment=A={value}\n", source=source, host=host, at=at)

    given_rows = [
        *rows("late", "x/o.service.d/b.conf", at="2"), *rows("first", "x/o.service.d/a.conf"),
        *rows("other-host", "x/o.service.d/c.conf", host="b"), *rows("other-unit", "x/p.service.d/d.conf"),
    ]  # fmt: skip
    shown = {"origin": "systemctl show", "subject": "o.service", "name": "A", "value": "s", "position": 1,
             "in_force": True, "host": "a"}  # fmt: skip
    found = effective_settings([*given_rows, shown])
    assert [row["in_force"] for row in found] == [True, False, True, True, True]
    assert [row["position"] for row in found] == [2, 1, 1, 1, 1]
    assert found[-1] == shown
    again = rows_of("# /etc/systemd/system/o.service.d/a.conf\n[Service]\nEnvironment=A=1\n", source="1.txt", at="1")
    newer = rows_of("# /etc/systemd/system/o.service.d/a.conf\n[Service]\nEnvironment=A=2\n", source="0.txt", at="2")
    assert in_force(effective_settings([*newer, *again])) == [("A", "2")]


def ask_systemd(files: dict[str, str]) -> dict[str, list[str]]:
    """What systemd itself makes of these files (folder a goes before b): the properties that it prints in a test."""
    binary = next(
        (path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.access(path, os.X_OK)), ""
    )
    runuser = shutil.which("runuser")
    if not binary or (os.geteuid() == 0 and not runuser):
        pytest.skip("systemd and, for root, runuser are needed")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            alone = "[Unit]\nDefaultDependencies=no\n" if path == "a/o-x.service" else ""
            (root / path).write_text(alone + text)
        (root / "run").mkdir()
        if os.geteuid() == 0:  # systemd tests units for a user, and refuses to do so as root
            for path in (root, *root.rglob("*")):
                shutil.chown(path, "nobody")
        environment = {
            "XDG_RUNTIME_DIR": str(root / "run"), "HOME": name, "SYSTEMD_UNIT_PATH": f"{root}/a:{root}/b",
            "SYSTEMD_LOG_TARGET": "console", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        command = [binary, "--test", "--user", "--unit=o-x.service"]
        if os.geteuid() == 0:
            command = [str(runuser), "-u", "nobody", "--", *command]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, timeout=120)
    text = done.stdout.decode("utf-8", "replace").partition("-> Unit o-x.service:")[2].partition("-> Unit ")[0]
    if not text:
        pytest.skip("systemd cannot test units here")
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.strip().partition(": ")
        found.setdefault(name, []).append(value)
    return found


def test_systemd_agrees_on_every_tricky_line() -> None:
    said = ask_systemd({"a/o-x.service": TRICKY.replace("[Service]", "[Service]\nExecStart=/bin/true", 1)})
    rows = rows_of(TRICKY)
    variables = {f"{name}={value}" for name, value in in_force(rows) if re.fullmatch(r"K\d+", str(name))}
    assert variables == {word for word in said["Environment"] if re.match(r"K\d+=", word)}
    limits = limits_of(TRICKY)
    assert limits
    for resource, (soft, hard) in limits.items():
        names = (resource, resource) if f"{resource}" in said else (f"Limit{resource}Soft", f"Limit{resource}")
        for name, value in zip(names, (soft, hard), strict=True):
            number = float(said[name][0])
            assert value == (math.inf if number >= 2**63 else number), name
    mine = {f"Limit{resource}" for resource in limits} | set(limits)
    assert {name for name in said if re.fullmatch(r"Limit[A-Z]+", name)} - {"LimitMEMLOCK", "LimitNOFILE"} <= mine
    assert [value for name, value in in_force(rows) if name == "CPUAffinity"] == said["CPUAffinity"] == ["1"]


def test_systemd_agrees_on_the_order_of_folders() -> None:
    def says(name: str, value: str) -> str:
        return f"[Service]\nEnvironment={name}={value}\n"

    files = {
        "a/o-x.service": "[Service]\nExecStart=/bin/true\nEnvironment=BASE=1 O=0\n",
        "a/o-x.service.d/50.conf": says("V", "a-unit"), "b/o-x.service.d/50.conf": says("V", "b-unit"),
        "a/o-.service.d/60.conf": says("W", "a-prefix"), "b/o-x.service.d/60.conf": says("W", "b-unit"),
        "a/service.d/70.conf": says("X", "a-type"), "b/o-x.service.d/70.conf": says("X", "b-unit"),
        "a/service.d/80.conf": says("Y", "a-type"), "b/o-.service.d/80.conf": says("Y", "b-prefix"),
        "a/o-x.service.d/Z.conf": says("O", "upper"), "a/o-x.service.d/a.conf": says("O", "lower"),
        "a/o-x.service.d/_.conf": says("O", "under"), "a/service.d/99.conf": says("BASE", "99"),
    }  # fmt: skip
    said = ask_systemd(files)
    roots = {"a": "/etc/systemd/system", "b": "/usr/lib/systemd/system"}
    text = "\n".join(f"# {roots[path[0]]}{path[1:]}\n{content}" for path, content in sorted(files.items()))
    assert {f"{name}={value}" for name, value in in_force(rows_of(text)) if name != "ExecStart"} == set(
        said["Environment"]
    )
    names = [f"{roots[path[0]]}{path[1:]}" for path in files if path.endswith(".conf")]
    asked = [re.sub(r"^.*/([ab])/", lambda m: roots[m[1]] + "/", path) for path in said["DropIn Path"]]
    assert drop_ins_in_order(names) == asked
