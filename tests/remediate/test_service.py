"""Who starts a server, and how its settings are changed: drop-ins by systemd's rules, launchd's commands in order."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest

from remediate.service import act, drill_service
from warmstall.drill.server_process import DrillServer
from warmstall.errors import ActionFailed, CannotTell, ParameterError
from warmstall.host import MOST_BYTES, Command, Output, RecordedHost
from warmstall.parse.systemd_values import words
from warmstall.remediate import book as books
from warmstall.remediate.recorded import read_recording
from warmstall.remediate.services import launchd, systemd
from warmstall.remediate.services.service import change_service, service_of, settings_now
from warmstall.remediate.services.systemd import drop_in_text, quoted
from warmstall.remediate.services.wanted import Service, wanted
from warmstall.remediate.target import Target, open_target

SERVICE = Service("systemd", "ollama.service")
NASTY = ["plain", "two words", 'say "yes"', "back\\slash\\", "50%", "%h/models", "$HOME ${X} $(id)", "`id`; reboot",
         "'single'", "# no comment", "é漢字", " led by a blank", "\\x41"]  # fmt: skip
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")


def recorded(name: str = "low-memlock", **contents: str) -> Target:
    target = open_target(f"recorded:{name}")
    target.host.contents.update({f"/proc/941/{path}": text for path, text in contents.items()})
    return target


@pytest.mark.parametrize("value", NASTY)
def test_a_value_comes_out_of_a_unit_file_as_it_went_in(value):
    read, readable = words(quoted("NAME", value))
    assert (read, readable) == ([f"NAME={value}".replace("%", "%%")], True)


def analyzed(path) -> list[str]:
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", "--", str(path)],
        capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return (ended.stdout + ended.stderr).splitlines()


@needs_analyze
def test_systemd_takes_a_drop_in_with_any_value(tmp_path):
    variables = {f"OLLAMA_LLM_LIBRARY{n or ''}": value for n, value in enumerate(NASTY)}
    text = "".join(f"Environment={quoted(name, value)}\n" for name, value in variables.items())
    unit = tmp_path / "ollama.service"
    unit.write_text("[Unit]\nDescription=x\n[Service]\nExecStart=/bin/sleep 9\n")
    (tmp_path / "ollama.service.d").mkdir()
    drop_in = tmp_path / "ollama.service.d" / "zz-warmstall-x.conf"
    drop_in.write_text(f"[Service]\n{text}LimitMEMLOCK=infinity\nLimitNOFILE=65536\nUnsetEnvironment=OLLAMA_DEBUG\n")
    assert [line for line in analyzed(unit) if str(drop_in) in line] == []
    drop_in.write_text("[Service]\nLimitMEMLOCK=unlimited\n")
    assert any(line.startswith(f"{drop_in}:2: Failed to parse resource value") for line in analyzed(unit))


@needs_analyze
def test_systemd_analyze_sees_drop_ins_of_a_unit_whose_file_lies_elsewhere(tmp_path, monkeypatch):
    """As of a unit in /usr/lib whose drop-in lies in /etc: both are on systemd's path."""
    (tmp_path / "vendor").mkdir()
    (tmp_path / "etc" / "ollama.service.d").mkdir(parents=True)
    unit = tmp_path / "vendor" / "ollama.service"
    unit.write_text("[Unit]\nDescription=x\n[Service]\nExecStart=/bin/sleep 9\n")
    (tmp_path / "etc" / "ollama.service.d" / "z.conf").write_text("[Service]\nLimitNOFILE=many\n")
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path / 'etc'}:")
    assert any("Failed to parse resource value" in line for line in analyzed(unit))


def test_a_drop_in_keeps_what_an_earlier_run_put_there():
    target = recorded()
    first = drop_in_text(target, SERVICE, "x", wanted({"OLLAMA_DEBUG": "1", "OLLAMA_NUM_PARALLEL": None},
                                                      {"MEMLOCK": "64M"}), None)  # fmt: skip
    again = drop_in_text(target, SERVICE, "x", wanted({"OLLAMA_NUM_PARALLEL": "2"}, {"NOFILE": "9"}), first)
    assert first.startswith("# Written by the warmstall runbook x,")
    assert again.partition("[Service]\n")[2].splitlines() == [
        'Environment="OLLAMA_DEBUG=1"', 'Environment="OLLAMA_NUM_PARALLEL=2"', "LimitMEMLOCK=64M", "LimitNOFILE=9",
    ]  # fmt: skip
    assert drop_in_text(target, SERVICE, "x", wanted({"OLLAMA_NUM_PARALLEL": "2"}, {}), again) == again


@pytest.mark.parametrize(
    ("environment", "limits", "complaint"),
    [
        ({"OLLAMA_NUM_CTX": "1"}, {}, "OLLAMA_CONTEXT_LENGTH is"),
        ({"OLLAMA_FLASH_ATTENTIONS": "1"}, {}, "no version of Ollama reads it"),
        ({"LD_PRELOAD": "/tmp/x.so"}, {}, "not one that a runbook sets"),
        ({"OLLAMA_HOST": "0.0.0.0"}, {}, "not one that a runbook sets"),
        ({"OLLAMA_API_KEY": "x"}, {}, "not one that a runbook sets"),
        ({"A B": "1"}, {}, "expected a name"),
        ({"OLLAMA_KEEP_ALIVE": "1d"}, {}, "no duration"),
        ({"OLLAMA_LLM_LIBRARY": "a\nExecStartPre=/bin/id"}, {}, "control characters"),
        ({}, {"MEMLOCK": "unlimited"}, "expected infinity"),
        ({}, {"MEMLOCK": "1\nExecStartPre=/bin/id"}, "expected infinity"),
        ({}, {"ExecStart": "/bin/id"}, "expected one of systemd's"),
        ({}, {"MemoryMax": "50%"}, "expected infinity"),
    ],
)
def test_what_no_service_should_run_with_is_refused(environment, limits, complaint):
    with pytest.raises(ParameterError, match=complaint):
        wanted(environment, limits)


ID = "3f" * 32
INSPECTED = (
    '[{"Name": "/rag-ollama-1", "Config": {"Labels": {"com.docker.compose.service": "ollama", '
    '"com.docker.compose.project": "rag", "com.docker.compose.project.config_files": "/srv/rag/compose.yaml"}}}]'
)


def test_who_starts_a_server():
    assert service_of(recorded()) == Service("systemd", "ollama.service")
    # Started from a terminal that belongs to some other unit: that one's main process is another.
    other = recorded(cgroup="0::/system.slice/code-server.service\n")
    other.host.outputs["systemctl show --no-pager -- code-server.service"] = "LoadState=loaded\nMainPID=77\n"
    other.host.outputs["systemctl show --no-pager -- ollama.service"] = "LoadState=not-found\nMainPID=0\n"
    assert service_of(other) == Service("none")
    docker = recorded(cgroup=f"0::/system.slice/docker-{ID}.scope\n")
    docker.host.outputs[f"docker inspect {ID}"] = INSPECTED
    facts = {"container": "rag-ollama-1", "service": "ollama", "project": "rag", "files": "/srv/rag/compose.yaml"}
    assert service_of(docker) == Service("compose", "", facts)
    pod = recorded(cgroup=f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n",
                   environ="HOSTNAME=ollama-7d9c6b5f44-x2x9k\0")  # fmt: skip
    assert service_of(pod) == Service("kubernetes", "", {"pod": "ollama-7d9c6b5f44-x2x9k",
                                                         "workload": "deployment/ollama"})  # fmt: skip
    assert service_of(open_target("recorded:macos")) == Service("launchd", "", {"kind": "app"})


def test_names_that_a_container_tells_are_checked():
    docker = recorded(cgroup=f"0::/docker/{ID}\n")
    docker.host.outputs[f"docker inspect {ID}"] = INSPECTED.replace('"ollama"', '"$(reboot)"')
    assert "service" not in service_of(docker).facts


def test_settings_of_a_server_that_may_not_be_looked_at_are_not_none():
    target = recorded()
    del target.host.contents["/proc/941/environ"]
    with pytest.raises(CannotTell, match="environ"):
        settings_now(target)
    assert settings_now(open_target("recorded:macos"))["OLLAMA_FLASH_ATTENTION"] == "1"


def test_another_unit_is_changed_by_its_own_process(tmp_path, monkeypatch):
    with drill_service(tmp_path / "service", monkeypatch, unit="embed.service") as service:
        target = open_target("local", service.port + 1, unit_folder=str(service.unit_folder), writing=True)
        steps = change_service(target, "stabilise-embedding-service", {"OMP_NUM_THREADS": "2"}, unit="embed.service")
        for step in steps:
            assert step.check(target).state == "needed"
            step.apply(target)
        assert step.verify(target).ok
        assert service.environment()["OMP_NUM_THREADS"] == "2"
        with pytest.raises(CannotTell, match="knows no unit"):
            change_service(target, "x", {"OMP_NUM_THREADS": "2"}, unit="none.service")


@pytest.mark.parametrize(("there", "status"), [({}, "by hand"), ({"OLLAMA_KEEP_ALIVE": "10m"}, "nothing to do")])
def test_a_server_that_nobody_manages_is_for_a_person_and_then_seen_to_be_so(tmp_path, there, status):
    with DrillServer(tmp_path / "drill", environment=there) as server:
        given = {"target": "local", "port": server.port, "unit": "no-such-unit.service", "memlock": "", "nofile": 0,
                 "environment": ["OLLAMA_KEEP_ALIVE=10m"], "journal": str(tmp_path / "journal.jsonl")}  # fmt: skip
        pid = server.pid
        outcome = act("raise-service-limits", given)
        assert outcome.status == status, outcome
        assert server.pid == pid
        if status == "by hand":  # a command line, or where tests run in a container the text for its compose file
            assert "OLLAMA_KEEP_ALIVE" in outcome.sentence
            assert "10m" in outcome.sentence


@dataclass
class Mac(RecordedHost):
    """The recorded Mac, on which launchctl, osascript and open do what they do there."""

    said: list[list[str]] = field(default_factory=list)
    obeys: bool = True

    def _run(self, command: Command, line: list[str], timeout_s: float, most: int = MOST_BYTES, stdin: bytes = b""):
        if command.effect == "write" and line[0] in ("launchctl", "osascript", "open", "brew"):
            self.said.append(line)
        outputs = self.outputs
        server = "ps -E -ww -o command= -p 640"
        if line[:2] == ["launchctl", "setenv"]:
            outputs[f"launchctl getenv {line[2]}"] = f"{line[3]}\n"
        elif line[:2] == ["launchctl", "unsetenv"]:
            outputs[f"launchctl getenv {line[2]}"] = "\n"
        elif line[0] == "open":
            started = outputs["ps -ww -o ppid=,lstart=,comm= -p 640"]
            outputs["ps -ww -o ppid=,lstart=,comm= -p 640"] = started.replace("13:53:30", "18:05:09")
            if self.obeys:
                value = outputs["launchctl getenv OLLAMA_FLASH_ATTENTION"].strip()
                outputs[server] = outputs[server].rpartition(" ")[0] + f" OLLAMA_FLASH_ATTENTION={value}\n"
                self.contents.clear()  # the app begins a new log
        return super()._run(command, line, timeout_s, most, stdin)


def on_the_mac(monkeypatch, tmp_path, obeys: bool):
    found = read_recording("macos")
    mac = Mac("mac", found.system, dict(found.outputs), dict(found.contents), obeys=obeys)

    def opened(name, port, unit, writing, *_):
        mac.writing = writing
        return Target(name, mac, 11434, unit, found)

    monkeypatch.setattr(books, "open_target", opened)
    return mac, act("flash-attention-off", {"target": "recorded:macos", "journal": str(tmp_path / "journal.jsonl")})


SET = ["launchctl", "setenv", "OLLAMA_FLASH_ATTENTION"]
AGAIN = [["osascript", "-e", 'tell application "Ollama" to quit'], ["open", "-a", "Ollama"]]


def test_a_mac_is_told_by_launchctl_and_the_app_is_started_again(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "warmstall.remediate.actions.flash_attention_off.helped", lambda *_: systemd.Verified(True, "Faster.")
    )
    mac, outcome = on_the_mac(monkeypatch, tmp_path, obeys=True)
    assert outcome.status == "done", outcome
    assert mac.said == [[*SET, "0"], *AGAIN]


def test_a_mac_that_does_not_obey_gets_back_what_it_had(monkeypatch, tmp_path):
    mac, outcome = on_the_mac(monkeypatch, tmp_path, obeys=False)
    assert outcome.status == "rolled back", outcome
    assert mac.said == [[*SET, "0"], *AGAIN, [*SET, "1"], *AGAIN]


def test_what_homebrews_service_sets_itself_is_refused():
    target = open_target("recorded:macos")
    target.host.contents["/Users/ana/Library/LaunchAgents/homebrew.mxcl.ollama.plist"] = (
        "<key>EnvironmentVariables</key><dict><key>OLLAMA_FLASH_ATTENTION</key><string>1</string></dict>"
    )
    brew = Service("launchd", "", {"kind": "brew"})
    check = launchd.steps(target, brew, wanted({"OLLAMA_FLASH_ATTENTION": "0"}, {}))[0].check(target)
    assert check.state == "refused"
    assert "its own property list" in check.reason


def test_limits_of_a_mac_are_for_a_person():
    target = open_target("recorded:macos")
    steps = change_service(target, "raise-service-limits", {"OLLAMA_KEEP_ALIVE": "10m"}, {"NOFILE": "4096"})
    assert [step.apply is None for step in steps] == [False, False, True]
    assert "launchctl limit" in steps[-1].by_hand[0]


def test_a_unit_that_does_not_restart_says_so():
    target = recorded()
    target.host.writing = True
    line = "systemctl --no-ask-password restart -- ollama.service"
    target.host.outputs[line] = Output("failed", reason="systemctl ended with 1: Interactive authentication required.")
    with pytest.raises(ActionFailed, match="Interactive authentication"):
        systemd.restart_unit(target, "ollama.service")


def test_a_users_own_units_are_told_to_their_own_manager():
    target = recorded()
    target.host.writing = True
    target.unit_folder = "/home/ana/.config/systemd/user"
    asked = target.host.outputs
    asked["systemctl --user --no-ask-password daemon-reload"] = Output("failed", reason="seen")
    with pytest.raises(ActionFailed, match="seen"):
        systemd.reload_units(target)
