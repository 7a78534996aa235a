"""switch-gpu-backend on a real service whose GPU is driven as its variables say, and on recorded machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from remediate.service import PROGRAMS, DrillService, act, drill_service
from remediate.settings_killed import LINES, killed_and_run_again
from warmstall.drill.timetable import Fault, Timetable
from warmstall.errors import CannotTell
from warmstall.remediate.actions.backends import ghost, gpus_seen
from warmstall.remediate.actions.server_log import events_since_start
from warmstall.remediate.actions.switch_gpu_backend import SETTINGS, _helped, build
from warmstall.remediate.book import Book
from warmstall.remediate.run import Outcome
from warmstall.remediate.services import systemd
from warmstall.remediate.step import Action
from warmstall.remediate.target import Target, open_target

NAME = "switch-gpu-backend"
VULKAN = {"OLLAMA_VULKAN": "1", "ROCR_VISIBLE_DEVICES": "-1"}
PCI = "/proc/bus/pci/devices"
RADEON = "0300\t1002744c\t6b\t0\t0\t0\t0\t0\n"
GEFORCE = "0100\t10de2684\t6b\t0\t0\t0\t0\t0\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillService]:
    folder = tmp_path_factory.mktemp("backend")
    Timetable(0.0, (Fault("slow_decode", intensity=8.0),)).save(folder / "slow")
    (folder / "state").write_text("slow-vulkan")
    program = (str(PROGRAMS / "radeon_server.py"), str(folder / "state"))
    with pytest.MonkeyPatch.context() as patch, drill_service(
        folder / "service", patch, environment=VULKAN, arguments=("--timetable", str(folder / "slow")), program=program
    ) as service:  # fmt: skip
        yield service


@pytest.fixture
def service(made: DrillService, monkeypatch: pytest.MonkeyPatch) -> DrillService:
    made.reset()
    machine(made, "slow-vulkan")
    monkeypatch.setattr(systemd, "_PATIENCE_S", 10.0)  # for a server that starts in moments
    return made


def machine(service: DrillService, state: str) -> None:
    """How the machine is from the next start on."""
    (service.folder.parent / "state").write_text(state)


def run(service: DrillService, **settings: Any) -> Outcome:
    return act(NAME, {**service.parameters, "model": "mid", "backend": "rocm", "tries": 3, **settings})


def as_before(service: DrillService) -> bool:
    return service.environment().items() >= VULKAN.items() and not service.drop_ins.exists()


def test_the_gpu_gets_its_own_backend_because_that_is_faster(service):
    files, pid = service.files(), service.pid
    with Book(NAME, {**service.parameters, "model": "mid"}) as book:
        assert book.outcome().status == "nothing to do", "what was chosen is left, unless another one is asked for"
    with Book(NAME, {**service.parameters, "model": "mid", "backend": "rocm"}) as book:
        assert book.outcome().status == "planned"
        assert "ROCR_VISIBLE_DEVICES not set" in book.plan.rows[0].does
    assert (service.files(), service.pid, service.journal.exists()) == (files, pid, False)

    outcome = run(service)
    assert outcome.status == "done", outcome
    there = service.environment()
    assert (there["OLLAMA_VULKAN"], "ROCR_VISIBLE_DEVICES" in there) == ("0", False)
    assert (outcome.before["wanted_backend_serves"], outcome.after["wanted_backend_serves"]) == (0.0, 1.0)
    assert outcome.after["share_on_gpu"] == 1.0

    pid = service.pid
    assert run(service).status == "nothing to do"
    assert service.pid == pid
    assert run(service, undo=True).status == "done"
    assert as_before(service)


def test_a_model_that_falls_to_the_processor_is_brought_back(service):
    machine(service, "slow-vulkan rocm-broken")
    outcome = run(service)
    assert outcome.status == "rolled back", outcome
    assert "ROCm does not serve" in outcome.sentence
    assert as_before(service)
    models = httpx.get(f"{service.url}/api/ps", timeout=10, trust_env=False, verify=False).json()["models"]
    assert all(model["size_vram"] for model in models)


def test_a_slower_backend_is_not_kept(service):
    machine(service, "slow-rocm")
    service.restart()
    outcome = run(service, must_be_faster=False)
    assert outcome.status == "rolled back", outcome
    assert "slower" in outcome.sentence
    assert as_before(service)


def test_what_does_not_come_into_force_is_taken_back(service):
    service.fault("ignore-drop-ins")
    outcome = run(service, tries=1)
    assert outcome.status == "rolled back", outcome
    assert as_before(service)


@pytest.mark.parametrize("line", LINES)
def test_a_run_killed_after_any_line_is_recovered(made, line):
    backend = "rocm" if made.environment()["OLLAMA_VULKAN"] == "1" else "vulkan"
    settings = {"model": "tiny", "backend": backend, "tries": 0, "must_be_faster": False}
    outcome = killed_and_run_again(NAME, made, "OLLAMA_VULKAN", settings, line)
    assert outcome.plan.mode != "undo", "its steps are the same, so it goes on where it was"


def test_another_plan_and_another_vendors_backend_are_refused(service):
    asked = {**service.parameters, "backend": "rocm", "dry_run": False, "approved_plan": "0123456789ab"}
    with Book(NAME, asked) as book:
        assert book.outcome().status == "refused"
    with Book(NAME, {**service.parameters, "backend": "cuda"}) as book:
        outcome = book.outcome()
    assert outcome.exit_code in (2, 3), "which GPUs this machine's kernel lists decides between the two"
    assert "NVIDIA" in outcome.sentence
    assert as_before(service)


RATES = {"decode_tokens_per_s": 20.0, "decode_lowest_tokens_per_s": 19.0, "decode_highest_tokens_per_s": 21.0}
FASTER = {"decode_tokens_per_s": 40.0, "decode_lowest_tokens_per_s": 39.0, "decode_highest_tokens_per_s": 41.0}
SERVES = {"success_rate": 1.0, "tries": 5.0, "share_on_gpu": 1.0, "wanted_backend_serves": 1.0}


@pytest.mark.parametrize(
    ("before", "after", "must_be_faster", "ok"),
    [
        ({**SERVES, **RATES}, {**SERVES, **FASTER}, True, True),
        ({**SERVES, **RATES}, {**SERVES, **RATES}, True, False),
        ({**SERVES, **RATES}, {**SERVES, **RATES}, False, True),
        ({**SERVES, **FASTER}, {**SERVES, **RATES}, False, False),
        ({**SERVES, **RATES, "success_rate": 0.6}, {**SERVES, **RATES}, True, True),
        ({**SERVES, **RATES}, {**SERVES, **FASTER, "success_rate": 0.6}, True, False),
        ({**SERVES, **RATES, "share_on_gpu": 0.0}, {**SERVES, **RATES}, True, True),
        ({**SERVES, **RATES}, {**SERVES, **FASTER, "share_on_gpu": 0.0}, True, False),
        ({**SERVES, **RATES}, {**SERVES, **FASTER, "wanted_backend_serves": 0.0}, True, False),
        ({}, {**dict.fromkeys(SERVES), "wanted_backend_serves": 1.0}, True, None),
    ],
)
def test_it_is_kept_only_where_it_helps(before, after, must_be_faster, ok):
    assert _helped(before, after, "rocm", must_be_faster).ok is ok


def recorded(version: str = "0.13.5", log: str | None = None, **contents: str) -> Target:
    """The recorded machine with another version, another log since its start, and other files."""
    target = open_target("recorded:vulkan")
    assert target.recording
    answers = tuple(
        {**row, "body": f'{{"version": "{version}"}}'} if row["endpoint"] == "/api/version" else row
        for row in target.recording.answers
    )
    target.recording = dataclasses.replace(target.recording, answers=answers)
    host: Any = target.host
    if log is not None:
        host.outputs = {key: log if key.startswith("journalctl") else value for key, value in host.outputs.items()}
    host.contents = {**host.contents, **contents}
    return target


def planned(target: Target, **settings: Any) -> Action:
    return build(target, {**SETTINGS, **settings})


def line(library: str, description: str) -> str:
    return (f'time=2026-11-02T02:14:05.120Z level=INFO source=types.go:42 msg="inference compute" id=0 filter_id="" '
            f'library={library} compute=0.0 name={library}0 description="{description}" libdirs=ollama driver=0.0 '
            f'pci_id="" type=discrete total="24.0 GiB" available="23.6 GiB"\n')  # fmt: skip


DROPPED = ('time=2026-11-02T02:14:05.120Z level=INFO source=runner.go:187 msg="dropping integrated GPU; to enable, set '
           'OLLAMA_IGPU_ENABLE=1" id=0 library=ROCm compute=gfx1103 name=ROCm0 description="AMD Radeon 780M" '
           "pci_id=0000:c4:00.0\n")  # fmt: skip
DENIED = ('time=2026-11-02T02:14:05.120Z level=ERROR source=amd_linux.go:404 msg="amdgpu devices detected but '
          'permission problems block access: permission denied"\n')  # fmt: skip


def test_an_integrated_gpu_that_was_dropped_is_enabled():
    action = planned(recorded("0.32.15", line("cpu", "cpu") + DROPPED))
    assert "OLLAMA_IGPU_ENABLE=1" in action.steps[0].wanted
    assert "integrated GPU was dropped" in action.preconditions[0].sentence


def test_a_gpu_that_its_own_backend_did_not_find_is_tried_with_vulkan():
    assert "OLLAMA_VULKAN=1" in planned(recorded("0.32.15", line("cpu", "cpu"))).steps[0].wanted
    hidden = "PATH=/usr/bin\0OLLAMA_HOST=127.0.0.1:11434\0ROCR_VISIBLE_DEVICES=-1\0"
    action = planned(recorded("0.32.15", line("cpu", "cpu"), **{"/proc/1203/environ": hidden}))
    assert action.steps[0].wanted == "OLLAMA_VULKAN=0, ROCR_VISIBLE_DEVICES not set"


def test_rights_are_no_matter_of_variables():
    action = planned(recorded("0.11.0", line("cpu", "cpu") + DENIED), backend="rocm")
    assert [one.state for one in action.preconditions] == ["met", "not met", "met"]
    assert "render" in action.preconditions[1].sentence
    assert not action.steps


def test_a_version_without_vulkan_is_told():
    action = planned(recorded("0.12.3", line("rocm", "AMD Radeon RX 7900")), backend="vulkan")
    assert "has no Vulkan" in action.preconditions[1].sentence


def test_the_other_backend_is_hidden_where_vulkan_is_to_serve():
    action = planned(recorded(log=line("ROCm", "AMD Radeon RX 7900")), backend="vulkan")
    assert "ROCR_VISIBLE_DEVICES=-1" in action.steps[0].wanted


def test_without_a_log_the_libraries_of_a_runner_tell():
    maps = "7f0000000000-7f0000100000 r-xp 00000000 08:01 1 /usr/local/lib/ollama/rocm/libggml-hip.so\n"
    assert gpus_seen(recorded(log="", **{"/proc/1877/maps": maps})).in_force == "rocm"
    with pytest.raises(CannotTell, match="inference compute"):
        gpus_seen(recorded(log=""))


def test_an_nvidia_smi_is_a_ghost_only_without_its_gpu():
    for contents, found in (
        ({}, "/usr/bin/nvidia-smi"), ({PCI: RADEON + GEFORCE}, ""), ({PCI: ""}, ""), ({"/dev/dxg": ""}, ""),
        ({"/dev/nvidia0": ""}, ""),
    ):  # fmt: skip
        target = recorded(**contents)
        assert ghost(target, gpus_seen(target)) == found, contents


def test_a_ghost_is_named_with_commands_and_left_alone():
    with Book(NAME, {}) as book:
        told = {one.name: one.sentence for one in book.plan.preconditions}["ghost tool"]
        assert "dpkg -S /usr/bin/nvidia-smi" in told
        assert all("nvidia-smi" not in row.does for row in book.plan.rows)


def test_an_override_that_rocm_cannot_read_is_refused():
    assert "10.3.0" in planned(recorded(), gfx_override="gfx1030").preconditions[1].sentence
    wanted = planned(recorded(), backend="rocm", gfx_override="10.3.0").steps[0].wanted
    assert "HSA_OVERRIDE_GFX_VERSION=10.3.0" in wanted


def test_a_log_that_is_not_found_says_nothing():
    with pytest.raises(CannotTell, match="is not found in the journal"):
        events_since_start(recorded(log="-- No entries --\n"), "gpu_inventory")


def test_an_older_start_in_a_log_does_not_count():
    target = recorded()
    started = 'time=2026-11-02T02:14:05.120Z level=INFO source=routes.go:1 msg="Listening on [::]:11434"\n'
    log = line("CUDA", "old") + started
    host: Any = target.host
    host.outputs = {**host.outputs, "readlink -- /proc/1203/fd/2": "/var/log/ollama.log"}
    host.contents = {**host.contents, "/var/log/ollama.log": log + line("ROCm", "new")}
    (event,) = events_since_start(target, "gpu_inventory")
    assert event.fields["library"] == "ROCm"
