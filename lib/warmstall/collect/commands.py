"""Every command that a collection may run: all of them only read, and a test reads this table."""

from __future__ import annotations

from ..host import CLOCK, IDENTITY, LIST_FILES, READ_FILE, READ_FILES, READ_LINK, ZONE, Command

# The newest so many lines of a log: what was before an incident may go, the incident not.
MOST_LINES = "250000"
_GPU_COLUMNS = (
    "index,name,uuid,driver_version,memory.total,memory.used,utilization.gpu,utilization.memory,temperature.gpu,"
    "power.draw,pstate"
)
_MACOS_MEMORY = (
    "hw.memsize", "hw.pagesize", "vm.swapusage", "vm.memory_pressure", "kern.memorystatus_vm_pressure_level",
    "kern.memorystatus_level", "vm.loadavg", "hw.ncpu",
)  # fmt: skip

_ROWS = (
    # logs
    Command("journal of a unit", ("journalctl", "--unit", "{unit}", "--since", "{since}", "--output",
                                  "short-iso-precise", "--no-pager", "--lines", MOST_LINES)),
    Command("kernel journal", ("journalctl", "--dmesg", "--since", "{since}", "--output", "short-iso-precise",
                               "--no-pager", "--lines", MOST_LINES)),
    Command("kernel ring buffer", ("dmesg", "--time-format", "iso", "--nopager")),
    Command("macOS kernel log", ("log", "show", "--last", "{last}", "--style", "syslog", "--predicate",
                                 'process == "kernel" AND (eventMessage CONTAINS "memorystatus" OR '
                                 'eventMessage CONTAINS "GPU")')),
    Command("container log", ("docker", "logs", "--timestamps", "--since", "{last}", "--tail", MOST_LINES,
                              "{container}"), both_streams=True),
    Command("pod log", ("kubectl", "logs", "--timestamps", "--since", "{last}", "--tail", MOST_LINES,
                        "--all-containers", "--namespace", "{namespace}", "{pod}")),
    # systemd
    Command("unit", ("systemctl", "show", "--no-pager", "{unit}")),
    Command("unit files", ("systemctl", "cat", "--no-pager", "{unit}")),
    Command("manager defaults", ("systemctl", "show", "--no-pager")),
    Command("manager configuration", ("systemd-analyze", "cat-config", "--no-pager", "systemd/system.conf")),
    # processes
    Command("processes", ("ps", "-ww", "-eo", "pid,ppid,user:32,etimes,stat,nlwp,pcpu,cputimes,rss,vsz,args")),
    Command("processes of macOS", ("ps", "-axww", "-o", "pid,ppid,user,etime,stat,pcpu,rss,vsz,args")),
    Command("user names", ("getent", "passwd")),
    Command("user names of macOS", ("dscl", ".", "-list", "/Users")),
    Command("who collects", ("id", "-un")),
    # memory
    Command("vm_stat", ("vm_stat",)),
    Command("vm_stat series", ("vm_stat", "-c", "3", "1")),
    Command("macOS memory settings", ("sysctl", *_MACOS_MEMORY)),
    Command("memory_pressure", ("memory_pressure", "-Q")),
    # GPU
    Command("nvidia-smi", ("nvidia-smi",)),
    Command("nvidia-smi GPUs", ("nvidia-smi", f"--query-gpu={_GPU_COLUMNS}", "--format=csv")),
    Command("nvidia-smi processes", ("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name,used_memory",
                                     "--format=csv")),
    Command("nvidia-smi topology", ("nvidia-smi", "topo", "-m")),
    Command("rocm-smi", ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showuse", "--showtemp",
                         "--showpower", "--showdriverversion", "--json")),
    Command("amd-smi", ("amd-smi", "metric", "--json")),
    Command("system_profiler", ("system_profiler", "SPDisplaysDataType", "-json")),
    # containers
    Command("containers", ("docker", "ps", "--all", "--no-trunc", "--format", "{{json .}}")),
    Command("container facts", ("docker", "inspect", "{containers...}")),
    Command("pod facts", ("kubectl", "get", "pod", "--namespace", "{namespace}", "{pod}", "--output", "json")),
    # the host itself
    READ_FILE, READ_FILES, LIST_FILES, READ_LINK, IDENTITY, CLOCK, ZONE,
)  # fmt: skip

COMMANDS: dict[str, Command] = {command.name: command for command in _ROWS}
