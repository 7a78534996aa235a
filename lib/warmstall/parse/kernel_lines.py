"""The table of kernel messages that matter to a model server: memory kills, crashes, faults of GPUs, hangs.

Patterns are searched where a message begins, once time and `kernel:` are off. Named groups become fields of the event:
`…_kb` and `…_mb` become bytes. Wordings: mm/oom_kill.c, mm/memcontrol.c, arch/x86/mm/fault.c, arch/x86/kernel/traps.c
and kernel/hung_task.c of Linux 3.10 to 6.18, amdgpu, i915 and xe of the same, NVIDIA's driver 390 to 580 (NVRM), and
kern_memorystatus.c and kern_proc.c of xnu (macOS 10.13 to 26).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class KernelMessage:
    """One wording; `key` is its name in the events table, `fields` what it always means."""

    key: str
    pattern: str
    sample: str
    fields: dict[str, object] = field(default_factory=dict)

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)


# A task's name is at most 15 characters of anything; it may hold blanks and brackets.
_COMM = r"(?P<process>.{1,64}?)"
_PID = r"(?P<pid>[0-9]{1,9})"
_PCI = r"(?P<gpu>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-9a-fA-F])?)"
_AMD = rf"(?:amdgpu {_PCI}: )?(?:amdgpu: )?(?:\[drm(?::[\w.]{{1,80}}(?: \[amdgpu\])?)?\] )?(?:\*ERROR\* )?"
_INTEL = rf"(?:(?P<driver>i915|xe) {_PCI}: )?\[drm\] (?:\*ERROR\* )?(?:Tile[0-9]{{1,2}}: )?(?:GT[0-9]{{1,2}}: )?"
_MODULE = r"(?: in (?P<library>[^\[\s]{1,200})\[[0-9a-f,+]{1,80}\])?"

_KILLED = (
    rf"Killed process {_PID} \({_COMM}\),?(?: UID [0-9]{{1,9}},)? total-vm:(?P<total_vm_kb>[0-9]{{1,16}})kB, "
    r"anon-rss:(?P<anon_rss_kb>[0-9]{1,16})kB(?:, file-rss:(?P<file_rss_kb>[0-9]{1,16})kB)?"
    r"(?:, shmem-rss:(?P<shmem_rss_kb>[0-9]{1,16})kB)?"
)


def _gpu(vendor: str, fault: str, pattern: str, sample: str) -> KernelMessage:
    return KernelMessage("kernel_gpu_fault", pattern, sample, {"vendor": vendor, "fault": fault})


MESSAGES: tuple[KernelMessage, ...] = (
    # --- out of memory: one kill is told by up to three lines; `oom_kill` closes it -------------------------
    KernelMessage(
        "oom_invoked",
        r"(?P<invoked_by>.{1,64}?) invoked oom-killer: ",
        "python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    ),
    KernelMessage(
        "oom_constraint",
        r"oom-kill:constraint=(?P<constraint>CONSTRAINT_[A-Z_]{1,30}),(?=(?:.{0,2000}?,oom_memcg=(?P<cgroup>[^,]{1,1000}))?)"
        rf"(?=(?:.{{0,2000}}?,task_memcg=(?P<task_cgroup>[^,]{{1,1000}}))?).{{0,3000}}?,task={_COMM},pid={_PID}\b",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/docker/ab,"
        "task_memcg=/docker/ab,task=python,pid=4242,uid=0",
    ),
    KernelMessage(
        "oom_kill",
        rf"(?P<scope>Memory cgroup out of memory|Out of memory(?: \([^)]{{1,80}}\))?): {_KILLED}",
        "Out of memory: Killed process 4242 (python) total-vm:9437184kB, anon-rss:6291456kB, file-rss:12kB, "
        "shmem-rss:0kB, UID:1000 pgtables:13000kB oom_score_adj:0",
    ),
    # Before Linux 5.0 the choice and the kill were two lines.
    KernelMessage(
        "oom_chosen",
        rf"(?P<scope>Memory cgroup out of memory|Out of memory): Kill process {_PID} \({_COMM}\) score",
        "Memory cgroup out of memory: Kill process 4242 (python) score 970 or sacrifice child",
    ),
    KernelMessage(
        "oom_kill",
        _KILLED,
        "Killed process 4242 (python) total-vm:9437184kB, anon-rss:6291456kB, file-rss:0kB",
    ),
    KernelMessage(
        "oom_kill",
        rf"(?P<scope>Memory cgroup out of memory|Out of memory): Killed process {_PID} \({_COMM}\)",
        "Out of memory: Killed process 4242 (python)",
    ),
    # --- macOS: memorystatus (jetsam) -----------------------------------------------------------------------
    KernelMessage(
        "jetsam_kill",
        rf"(?:[0-9.]{{1,24}} )?memorystatus: killing_(?!idle)\w{{1,60}} pid {_PID} \[{_COMM}\]"
        r"(?: \((?P<reason>[\w-]{1,60})[^)]{0,200}\) ?(?P<footprint_kb>[0-9]{1,16})?)?",
        "memorystatus: killing_specific_process pid 4242 [ollama] (vm-compressor-space-shortage 3 12s rf:- type:app) "
        "6291456KB - memorystatus_available_pages: 1234",
    ),
    KernelMessage(
        "jetsam_kill",
        rf"(?:[0-9.]{{1,24}} )?memorystatus: killing process {_PID} \[{_COMM}\] in high band (?P<reason>\w{{1,40}})",
        "memorystatus: killing process 4242 [ollama] in high band FOREGROUND (100) - memorystatus_available_pages: 99",
    ),
    KernelMessage(
        "jetsam_kill",
        rf"memorystatus: killing largest compressed process {_COMM} \[{_PID}\] (?P<footprint_mb>[0-9]{{1,13}}) MB",
        "memorystatus: killing largest compressed process ollama [4242] 61440 MB",
        {"reason": "low-swap"},
    ),
    KernelMessage(
        "jetsam_kill",
        rf"low swap: killing largest compressed process with pid {_PID} \({_COMM}\) and size "
        r"(?P<footprint_mb>[0-9]{1,13}) MB",
        "low swap: killing largest compressed process with pid 4242 (ollama) and size 61440 MB",
        {"reason": "low-swap"},
    ),
    # --- crashes of programs --------------------------------------------------------------------------------
    KernelMessage(
        "kernel_segfault",
        rf"{_COMM}\[{_PID}\]: segfault at (?P<address>[0-9a-f]{{1,16}}) ip (?P<instruction>[0-9a-f]{{1,16}}) "
        rf"sp [0-9a-f]{{1,16}} error (?P<error>[0-9a-f]{{1,8}}){_MODULE}",
        "python[4242]: segfault at 0 ip 00007f3a1c2b9d41 sp 00007ffd8a1e2f10 error 4 in libc.so.6[7f3a1c200000+1a3000]",
    ),
    KernelMessage(
        "kernel_general_protection",
        rf"traps: {_COMM}\[{_PID}\] general protection fault ip:(?P<instruction>[0-9a-f]{{1,16}})"
        rf"(?: sp:[0-9a-f]{{1,16}})?(?: error:(?P<error>[0-9a-f]{{1,8}}))?{_MODULE}",
        "traps: python[4242] general protection fault ip:7fed39b5e7b0 sp:7fff3e349620 error:0 in libc.so.6[7fed3+83]",
    ),
    # An instruction that this processor has not, such as AVX: the program ends with SIGILL.
    KernelMessage(
        "kernel_trap",
        rf"traps: {_COMM}\[{_PID}\] trap (?P<trap>[a-z0-9 ]{{1,30}}) ip:(?P<instruction>[0-9a-f]{{1,16}})"
        rf"(?: sp:[0-9a-f]{{1,16}})?(?: error:(?P<error>[0-9a-f]{{1,8}}))?{_MODULE}",
        "traps: python[4242] trap invalid opcode ip:7f3a1c2b9d41 sp:7ffd8a1e2f10 error:0 in libggml.so[7f3a1c2+1a3000]",
    ),
    KernelMessage(
        "kernel_hung_task",
        rf"INFO: task {_COMM}:{_PID} blocked for more than (?P<blocked_s>[0-9]{{1,9}}) seconds",
        "INFO: task ollama:4242 blocked for more than 120 seconds.",
    ),
    KernelMessage(
        "kernel_soft_lockup",
        rf"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>[0-9]{{1,5}}) stuck for "
        rf"(?P<blocked_s>[0-9]{{1,9}})s! \[{_COMM}:{_PID}\]",
        "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [ollama:4242]",
    ),
    # --- NVIDIA ---------------------------------------------------------------------------------------------
    KernelMessage(
        "kernel_gpu_fault",
        rf"NVRM: Xid \((?:PCI:)?{_PCI}\): (?P<xid>[0-9]{{1,4}})(?:, pid='?(?:{_PID}|<unknown>)'?)?"
        r"(?:, name=(?P<process>[^,]{1,64}))?(?:, |$)(?P<detail>.{0,300})",
        "NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name=ollama, Ch 0000000a, intr 00000000. MMU Fault: ENGINE GRAPHICS",
        {"vendor": "nvidia"},
    ),
    _gpu(
        "nvidia",
        "fallen_off_the_bus",
        rf"NVRM: (?:GPU (?:at )?(?:PCI:)?{_PCI}: )?GPU has fallen off the bus",
        "NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.",
    ),
    # One message of three lines, of which the last one tells it.
    _gpu(
        "nvidia",
        "fallen_off_the_bus",
        r"\s{0,40}NVRM: fallen off the bus and is not responding to commands",
        "NVRM: fallen off the bus and is not responding to commands.",
    ),
    # The driver's user part was upgraded, the module in the kernel not yet: nothing finds a GPU until a restart.
    _gpu(
        "nvidia",
        "driver_version_mismatch",
        r"NVRM: API mismatch: (?P<detail>.{0,300})",
        "NVRM: API mismatch: the client has the version 550.90.07, but",
    ),
    _gpu(
        "nvidia",
        "init_failed",
        rf"NVRM: (?:GPU {_PCI}: )?(?:RmInitAdapter failed|rm_init_adapter failed)(?P<detail>.{{0,200}})",
        "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x62:0x55:2477)",
    ),
    # --- AMD ------------------------------------------------------------------------------------------------
    _gpu(
        "amd",
        "ring_timeout",
        rf"{_AMD}ring (?P<ring>[\w.]{{1,30}}) timeout,(?: but)? (?P<detail>.{{0,200}})",
        "amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=384, emitted seq=387",
    ),
    _gpu("amd", "reset_begin", rf"{_AMD}GPU reset begin!", "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!"),
    _gpu(
        "amd",
        "reset_failed",
        rf"{_AMD}(?:GPU reset end with ret = -|GPU [Rr]ecovery [Ff]ailed|GPU reset\([0-9]{{1,9}}\) failed)"
        r"(?P<detail>.{0,100})",
        "amdgpu 0000:03:00.0: amdgpu: GPU reset end with ret = -62",
    ),
    _gpu(
        "amd",
        "reset_succeeded",
        rf"{_AMD}(?:GPU reset\([0-9]{{1,9}}\) succeeded|GPU reset succeeded)",
        "amdgpu 0000:03:00.0: amdgpu: GPU reset succeeded, trying to resume",
    ),
    _gpu(
        "amd",
        "memory_lost",
        rf"{_AMD}VRAM is lost due to GPU reset",
        "amdgpu 0000:03:00.0: amdgpu: VRAM is lost due to GPU reset!",
    ),
    _gpu(
        "amd",
        "page_fault",
        rf"{_AMD}\[(?:gfxhub|mmhub)[0-9]{{0,2}}\] (?:no-retry |retry )?page fault "
        rf"(?=.{{0,200}}?for process (?P<process>\S{{0,64}}) pid {_PID})?",
        "amdgpu 0000:03:00.0: amdgpu: [gfxhub0] page fault (src_id:0 ring:24 vmid:8 pasid:32777, for process ollama "
        "pid 4242 thread ollama pid 4242)",
    ),
    _gpu(
        "amd",
        "scheduler_hang",
        rf"{_AMD}(?:MES(?:\([01]\))? failed to respond to msg=|HIQ MEC failed|MES might be in unrecoverable state"
        r"|Queue preemption failed)(?P<detail>.{0,100})",
        "amdgpu 0000:03:00.0: amdgpu: MES failed to respond to msg=REMOVE_QUEUE",
    ),
    # --- Intel ----------------------------------------------------------------------------------------------
    _gpu(
        "intel",
        "hang",
        rf"{_INTEL}GPU HANG: ecode (?P<code>[0-9a-fx:]{{1,60}})(?:, in {_COMM} \[{_PID}\])?",
        "i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:84dffffb, in ollama [4242]",
    ),
    _gpu(
        "intel",
        "reset_begin",
        rf"{_INTEL}(?:Resetting (?P<ring>\w{{1,20}}) for |reset started)(?P<detail>.{{0,100}})",
        "i915 0000:00:02.0: [drm] Resetting rcs0 for preemption time out",
    ),
    _gpu(
        "intel",
        "ring_timeout",
        rf"{_INTEL}(?:Timedout job: |Engine reset: )(?=(?:.{{0,200}} in {_COMM} \[{_PID}\]$)?)(?P<detail>.{{0,200}})",
        "xe 0000:03:00.0: [drm] Tile0: GT0: Timedout job: seqno=4294967169, guc_id=2, flags=0x0 in llama-server [4242]",
    ),
    # The driver gave the device up; amdgpu says so as well when a reset was enough.
    _gpu(
        "",
        "wedged",
        rf"(?P<driver>amdgpu|i915|xe) {_PCI}: (?:amdgpu: )?\[drm\] (?:device wedged|\*ERROR\* CRITICAL: Xe has "
        r"declared device \S{1,40} as wedged)(?P<detail>.{0,100})",
        "xe 0000:03:00.0: [drm] device wedged, needs recovery",
    ),
)

# NVIDIA's own names of the error numbers (XID catalogue) that a model server meets.
XID_FAULTS = {
    13: "graphics_engine_exception", 31: "memory_page_fault", 32: "push_buffer_invalid", 38: "firmware_error",
    43: "channel_stopped", 45: "preemptive_cleanup", 48: "double_bit_ecc", 61: "micro_controller_breakpoint",
    62: "micro_controller_halt", 63: "row_remapping", 64: "row_remapping_failed", 69: "graphics_engine_class_error",
    74: "nvlink_error", 79: "fallen_off_the_bus", 92: "high_single_bit_ecc", 94: "contained_memory_error",
    95: "uncontained_memory_error", 109: "context_switch_timeout", 119: "gsp_timeout", 120: "gsp_error",
    140: "unrecovered_ecc", 143: "gpu_init_failed", 154: "recovery_action_changed",
}  # fmt: skip
