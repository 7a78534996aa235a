"""The experiments as a page: python -m warmstall.reproduce.experiments.page > docs/experiments.md"""

from __future__ import annotations

from ..effects import FEWEST
from ..experiment import Experiment
from .catalogue import EXPERIMENTS

_HEAD = f"""# Experiments

Made by `make docs` of the table of experiments; [reproduce.md](reproduce.md) tells how a load is sent.

An experiment answers one question. It has a control and one or more treatments, which take turns: every round tries
each arm once, in an order that is drawn anew by a seed, so that a machine that warms up or gets a neighbour changes all
of them alike. Trials for warming up come first and are not counted. It ends after `--calls` trials of each arm, or
after `--for`, or with Ctrl-C, and then tells what it has; the same command in the same folder goes on with the rest.
What it leaves is a case with its measurements, its trace and the logs, which `warmstall analyze` reads like any other.

```sh
.venv/bin/warmstall reproduce my-experiment --experiment embedder_lock --calls 8
```

With `--target` or OLLAMA_HOST it asks that server, without them a drill's. On a real server think first of who else
uses it: `cold_vs_warm`, `keep_alive` and `context_sweep` send the model from memory. A call may take the 30 s of
`attempt_timeout_s`; where a model loads longer, allow more under `[path]` of `--settings`, or cold calls are failures.

## What the answer means

`warm is 9.2 times as fast as cold (95 %: 6.8 to 10; 0.086 s against 0.8 s; n = 9 and 9)`: the medians are 0.086 s and
0.8 s, and were all of it done again, the ratio would lie between 6.8 and 10 in about 95 of 100 times. Latencies are
not normal, a few calls take many times as long as the others: so medians are compared, as a ratio, and the interval is
a bootstrap's, which assumes no shape. Failures are counts out of counts, with Newcombe's interval of the difference;
shares and attempts are compared by their means. *No difference shown* means that the interval holds "none", not that
there is none: its limits say how large a difference may still be there. With fewer than {FEWEST} trials in an arm no
interval keeps its promise: *not enough data*, and how many are missing. Times are of trials that did not fail; how
many failed is told beside them.
"""


def experiments_markdown() -> str:
    """docs/experiments.md.

    >>> "## cold_vs_warm" in experiments_markdown()
    True
    """
    rows = [f"| [{one.name}](#{one.name}) | {one.question} |" for one in EXPERIMENTS.values()]
    table = ["## All of them", "", "| experiment | what it asks |", "|---|---|", *rows]
    return "\n".join([_HEAD, *table, "", "\n\n".join(map(_section, EXPERIMENTS.values()))]) + "\n"


def _section(one: Experiment) -> str:
    arms = [f"| {arm.name} | {arm.changes} |" for arm in one.arms]
    decides, *beside = (f"{metric.label} ({metric.kind}, {metric.better} is better)" for metric in one.metrics)
    lines = [
        f"## {one.name}", "", f"**{one.question}**", "", f"Needs {one.needs}.", "",
        "| arm | what is different |", "|---|---|", *arms, "",
        f"Decided by: {decides}." + (f" Beside it: {', '.join(beside)}." if beside else ""),
    ]  # fmt: skip
    if faults := [f"`{fault.kind}`" for server in one.servers for fault in server.faults]:
        lines += ["", f"A drill that stands in for a server that nobody named has the fault {', '.join(faults)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    print(experiments_markdown(), end="")
