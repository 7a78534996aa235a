"""Examples of `model_hang_rate`."""

from __future__ import annotations

from datetime import timedelta

from hypotheses.example import BLOB, NOON, Example, ServerLog

HEAD = "start,end,model,status,error\n"


def trials(**counts: tuple[int, int]) -> str:
    """A client's table: of each model, how many calls timed out, of how many; the models in turn."""
    calls = [
        (number / of, model, number < hung) for model, (hung, of) in counts.items() for number in range(of)
    ]  # fmt: skip
    rows = []
    for place, (_, model, hangs) in enumerate(sorted(calls)):
        start = NOON + timedelta(seconds=100 * place)
        end = start + timedelta(seconds=60 if hangs else 3)
        answer = ",ReadTimeout: no answer within 60 s" if hangs else "200,"
        rows.append(f"{start.isoformat()},{end.isoformat()},{model},{answer}\n")
    return HEAD + "".join(rows)


def cut_in_the_log() -> str:
    """Two models by access lines alone: of the second, a third of the calls are given up after a minute."""
    found = ServerLog()
    for model, cut in enumerate((0, 15)):
        began_s = 10_000 * model
        found.start(began_s).load(began_s + 1, 2.0, blob=BLOB[:-64] + f"{model + 10:02x}" * 32, port=40001 + model)
        for number in range(45):
            hangs = number % 3 == 2 and cut > 0
            found.request(began_s + 10 + 100 * number, 60.0 if hangs else 3.0, 500 if hangs else 200)
    return found.text()


EXAMPLES = [
    Example(
        "the log alone does not tell whether calls hung",
        "not_observable",
        {"server.log": cut_in_the_log()},
        ("does not tell that they hung", "eval_count"),
    ),
    Example(
        "forty of a hundred beside five of a hundred",
        "confirmed",
        {"trials.csv": trials(large=(40, 100), small=(5, 100))},
        ("large 40 % (40 of 100; 95 % interval 31–50 %)", "small 5 % (5 of 100; 95 % interval 2–11 %)"),
        "warning",
    ),
    Example("nine of twenty beside one of twenty", "supported", {"trials.csv": trials(large=(9, 20), small=(1, 20))}),
    Example(
        "five of twenty beside one of twenty is chance",
        "not_observable",
        {"trials.csv": trials(large=(5, 20), small=(1, 20))},
        ("large 25 % (5 of 20; 95 % interval 11–47 %)", "more calls"),
    ),
    Example(
        "all hang alike",
        "ruled_out",
        {"trials.csv": trials(large=(5, 100), small=(5, 100), tiny=(6, 100))},
        ("Of 3 models none hangs noticeably more often",),
    ),
    Example("one model", "not_observable", {"trials.csv": trials(large=(5, 100))}, ("no other model was tried",)),
    Example("no models", "not_observable", {"server.log": ServerLog().request(10, 9.0).text()}, ("the model of each",)),
]
