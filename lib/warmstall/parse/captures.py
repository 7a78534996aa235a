"""The kinds of small captures: how each is recognised and what reads it. A file may hold several, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .amd_smi import is_amd_smi, parse_amd_smi
from .api_probes import is_api_probes, parse_api_probes
from .application_log import is_application_log, parse_application_log
from .collection_record import is_collection_record, parse_collection_record
from .containers import is_containers, parse_containers
from .environment import is_environment, parse_environment
from .gpu_devices import is_gpu_devices, parse_gpu_devices
from .kernel_log import is_kernel_log, parse_kernel_log
from .linux_memory import is_linux_memory, parse_linux_memory
from .macos_gpu import is_macos_gpu, parse_macos_gpu
from .macos_memory import is_macos_memory, parse_macos_memory
from .mitigation_journal import is_mitigation_journal, parse_mitigation_journal
from .nvidia_smi import is_nvidia_smi, parse_nvidia_smi
from .ollama_ps import is_ollama_ps, parse_ollama_ps
from .parsed import Parsed
from .process_limits import is_process_limits, parse_process_limits
from .process_samples import is_process_samples, parse_process_samples
from .process_table import is_process_table, parse_process_table
from .samples import is_samples, parse_samples
from .systemctl_show import is_systemctl_show, parse_systemctl_show
from .traces import is_traces, parse_traces
from .trials import is_trials, parse_trials
from .unit_files import is_unit_files, parse_unit_files
from .verbose_timings import is_verbose_timings, parse_verbose_timings
from .vm_stat import is_vm_stat, parse_vm_stat


@dataclass(frozen=True)
class Capture:
    """One kind: its name, whether lines hold it, and the parser that takes its lines out of a text."""

    kind: str
    recognizes: Callable[[list[str]], bool]
    parse: Callable[[str], Parsed]


# Series of JSON lines stand alone: what they hold must not be taken for a capture of its own.
_ALONE = (
    Capture("samples", is_samples, parse_samples),
    Capture("process-samples", is_process_samples, parse_process_samples),
    Capture("collection-record", is_collection_record, parse_collection_record),
    Capture("api-probes", is_api_probes, parse_api_probes),
    Capture("mitigation-journal", is_mitigation_journal, parse_mitigation_journal),
    Capture("traces", is_traces, parse_traces),
)
_TOGETHER = (
    Capture("trials", is_trials, parse_trials),
    Capture("verbose-timings", is_verbose_timings, parse_verbose_timings),
    Capture("vm-stat", is_vm_stat, parse_vm_stat),
    Capture("macos-memory", is_macos_memory, parse_macos_memory),
    Capture("linux-memory", is_linux_memory, parse_linux_memory),
    Capture("process-limits", is_process_limits, parse_process_limits),
    Capture("systemctl-show", is_systemctl_show, parse_systemctl_show),
    Capture("unit-files", is_unit_files, parse_unit_files),
    Capture("environment", is_environment, parse_environment),
    Capture("containers", is_containers, parse_containers),
    Capture("nvidia-smi", is_nvidia_smi, parse_nvidia_smi),
    Capture("amd-smi", is_amd_smi, parse_amd_smi),
    Capture("macos-gpu", is_macos_gpu, parse_macos_gpu),
    Capture("gpu-devices", is_gpu_devices, parse_gpu_devices),
    Capture("ollama-ps", is_ollama_ps, parse_ollama_ps),
    Capture("process-table", is_process_table, parse_process_table),
    Capture("kernel-log", is_kernel_log, parse_kernel_log),
    Capture("application-log", is_application_log, parse_application_log),
)
CAPTURES: dict[str, Capture] = {capture.kind: capture for capture in (*_ALONE, *_TOGETHER)}


def kinds_in(lines: list[str], trial_columns: Mapping[str, str] | None = None) -> str:
    """The kinds of captures in these lines, joined by `+`; empty when there is none.

    `trial_columns` says which column of a trial table plays which role, where its names do not tell.

    >>> kinds_in(["Pages free: 12."]), kinds_in(["vm.swapusage: total = 4096.00M  used = 512.50M  free = 3583.50M"])
    ('', 'macos-memory')
    """
    for capture in _ALONE:
        if capture.recognizes(lines):
            return capture.kind
    found = [capture.kind for capture in _TOGETHER if capture.recognizes(lines)]
    if trial_columns and "trials" not in found and is_trials(lines, trial_columns):
        found.insert(0, "trials")
    return "+".join(found)


def parse_captures(kind: str, text: str, trial_columns: Mapping[str, str] | None = None) -> Parsed:
    """All rows of all kinds named in `kind`, each taken by its own parser."""
    whole = Parsed()
    for name in kind.split("+"):
        found = parse_trials(text, trial_columns) if name == "trials" else CAPTURES[name].parse(text)
        for table, rows in found.tables.items():
            whole.tables[table].extend(rows)
        whole.lines |= found.lines
    return whole
