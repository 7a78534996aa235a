"""Which processes there are: the server, its runners, and the services beside it, with their environment."""

from __future__ import annotations

from ..host import Host, Output
from ..parse.environment import parse_environment
from ..parse.process_table import parse_process_table
from .collection import Collection, Collector, Wanted

DEADLINE_S = 8.0


def collect(desk: Collector) -> None:
    """processes.txt (`ps`, only what matters here) and environment.txt (only variables that Ollama reads)."""
    command = "processes of macOS" if desk.host.system == "Darwin" else "processes"
    output = desk.run(command)
    if output.outcome != "captured":
        desk.keep(command, "processes.txt", output)
        return
    parsed = parse_process_table(output.text)
    desk.collection.processes = parsed.tables["processes"]
    lines = output.text.split("\n")
    kept = lines[0] + "\n"
    for row in desk.collection.processes:
        line = lines[row["line"] - 1]
        if not row["role"]:  # a busy neighbour: which program is enough, its arguments are nobody's business
            line = line.replace(row["command"], row["command"].split(" ")[0])
        kept += line + "\n"
    desk.keep(command, "processes.txt", Output("captured", kept.encode(), wall_s=output.wall_s))
    if not desk.collection.pids("serve"):
        desk.note("the server's process", "", "missing", "no process is called `ollama serve`")
    pids = desk.collection.pids("serve", "runner")
    if pids and desk.host.system == "Linux":
        text = desk.capture_files(
            "environment", "environment.txt", (f"/proc/{pid}/environ" for pid in pids), _that_matters
        )
        for row in parse_environment(text).tables["settings"]:
            desk.collection.environment.setdefault(row["subject"], {})[row["name"]] = row["value"]


def port_of_server(host: Host, wanted: Wanted) -> int:
    """Where the server listens, asked of its process."""
    collection = Collection(host, wanted)
    if not wanted.port:
        collect(Collector("processes", collection, DEADLINE_S))
    return collection.port()


def _that_matters(environment: str) -> str:
    """The variables that the server or its runners read, one a line; all others stay where they are."""
    rows = parse_environment(environment).tables["settings"]
    return "\n".join(f"{row['name']}={row['value']}" for row in rows)
