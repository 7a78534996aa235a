"""The case of a reproduction: what is written as it happens, what may not stand in it, and what continues it."""

from __future__ import annotations

import csv
import getpass
import json
import logging
import threading
from datetime import UTC, datetime

import pytest

from warmstall.drill.server_process import DrillServer
from warmstall.errors import InputError, OutputError
from warmstall.evidence import discover
from warmstall.reproduce.case import ReproductionCase
from warmstall.reproduce.measurements import COLUMNS, Measurements
from warmstall.reproduce.records import Measurement, Sent

PLAN = {"what": "call", "calls": 3}
AT = "2026-11-21T10:00:00.000001+00:00"
SECRET = "sk-ant-api03-" + "Ab1" * 30


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction go where nobody else's are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def row(number: int, **sent) -> Measurement:
    return Measurement(number, "measured", "", "", AT, AT, AT, 0.5, 0.0, 0.5, Sent(**{"ok": True, **sent}))


def test_rows_are_read_back_as_they_were_appended(tmp_path) -> None:
    """Every field, numbers of an experiment's own among them."""
    written = [
        row(1, ttft_s=0.25, output_tokens=7, tokens_per_s=12.5, load_duration_s=0.0, attempts=2, trace_id="01" * 16),
        row(2, measures={"recall": 0.75}), row(-3, ok=False, error="no answer"),
    ]  # fmt: skip
    table = Measurements(tmp_path / "measurements.csv")
    for one in written:
        table.append(one)
    assert table.rows() == written
    assert table.numbers() == {1, 2, -3}
    frame = table.read()
    assert list(frame["recall"].dropna()) == [0.75]
    assert (list(frame["ok"]), frame["due_at"][0].isoformat()) == ([True, True, False], AT)


def test_a_row_that_a_kill_has_cut_is_no_row(tmp_path) -> None:
    """Its call is measured again, and the next row stands on a line of its own."""
    path = tmp_path / "measurements.csv"
    table = Measurements(path)
    table.append(row(1))
    table.append(row(2))
    table.close()
    path.write_bytes(path.read_bytes()[:-9])
    table = Measurements(path)
    assert table.numbers() == {1}
    table.append(row(2))
    assert [one.number for one in table.rows()] == [1, 2]


def test_an_error_is_one_plain_cell(tmp_path) -> None:
    """No formula, no second line, and nothing that `clean` takes out."""
    path = tmp_path / "measurements.csv"
    table = Measurements(path, clean=lambda text: text.replace("hidden", "token"))
    table.append(row(1, ok=False, error='=HYPERLINK("http://x","y")\nhidden, and more'))
    with path.open(newline="") as handle:
        (found,) = csv.DictReader(handle)
    assert found["error"] == 'HYPERLINK("http://x","y") token, and more'
    assert list(found) == list(COLUMNS)


def test_two_processes_do_not_measure_into_one_table(tmp_path) -> None:
    """The second is told; when the first has ended, it may."""
    table = Measurements(tmp_path / "measurements.csv")
    with pytest.raises(OutputError, match="another process is measuring into it"):
        Measurements(tmp_path / "measurements.csv")
    table.close()
    Measurements(tmp_path / "measurements.csv").close()


def test_a_table_of_something_else_is_left_alone(tmp_path) -> None:
    """Whatever it is, it is not overwritten."""
    path = tmp_path / "measurements.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="holds something else"):
        Measurements(path)
    assert path.read_text() == "a,b\n1,2\n"


def test_the_same_plan_goes_on_and_another_is_refused(tmp_path) -> None:
    """Same folder and plan: the rows are there, the host's name is the same. Another plan, or another case: refused."""
    folder = tmp_path / "case"
    with ReproductionCase(folder, PLAN) as case:
        case.measurements.append(row(1))
        evidence = case.evidence
    with ReproductionCase(folder, dict(reversed(PLAN.items()))) as case:
        assert case.measurements.numbers() == {1}
        assert case.evidence == evidence
    with pytest.raises(OutputError, match="holds 1 measurement of another plan"):
        ReproductionCase(folder, {**PLAN, "calls": 4})
    (tmp_path / "other" / "evidence").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a case of something else"):
        ReproductionCase(tmp_path / "other", PLAN)


def test_a_folder_in_which_nothing_was_measured_gets_another_plan(tmp_path) -> None:
    """A target that was refused leaves a case without a row: the next try may be another one."""
    folder = tmp_path / "case"
    ReproductionCase(folder, PLAN).close()
    with ReproductionCase(folder, {**PLAN, "calls": 4}) as case:
        case.measurements.append(row(1))
        with pytest.raises(OutputError, match="another process is measuring"):
            ReproductionCase(folder, {**PLAN, "calls": 4})
    assert json.loads((folder / "plan.json").read_text())["plan"]["calls"] == 4


def test_a_foreign_file_is_left_as_it_is(tmp_path) -> None:
    """Its last line has no end: it is not a row that a kill has cut."""
    path = tmp_path / "measurements.csv"
    for text in ("a,b\n1,2", "notes"):
        path.write_text(text)
        with pytest.raises(OutputError, match="holds something else"):
            Measurements(path)
        assert path.read_text() == text


def test_a_head_that_a_kill_has_cut_is_written_anew(tmp_path) -> None:
    path = tmp_path / "measurements.csv"
    path.write_text("number,pha")
    table = Measurements(path)
    table.append(row(1))
    assert table.rows() == [row(1)]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "case").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ReproductionCase(tmp_path / "case", PLAN)


def test_what_was_written_is_there_before_the_case_is_closed(tmp_path) -> None:
    """As a kill would leave it: case.json, plan.json, spans, log lines and rows can all be read."""
    case = ReproductionCase(tmp_path / "case", PLAN)
    with case.trace().start_as_current_span("question"):
        pass
    logging.getLogger("warmstall.rag.answering").warning("the step was slow")
    case.measurements.append(row(1))
    assert json.loads((case.folder / "case.json").read_text())["schema"] == 1
    assert json.loads((case.folder / "plan.json").read_text())["plan"] == PLAN
    assert json.loads((case.evidence / "trace.jsonl").read_text())["name"] == "question"
    assert (case.evidence / "application.log").read_text().endswith("warmstall.rag.answering: the step was slow\n")
    assert Measurements.rows(case.measurements) == [row(1)]
    case.close()


def test_the_log_of_the_path_is_utc_with_thread_and_traceback(tmp_path) -> None:
    """As the analysis reads it; and the loggers are as they were when the case is closed."""
    before = [
        (one.level, list(one.handlers)) for one in map(logging.getLogger, ("warmstall.rag", "warmstall.reproduce"))
    ]
    with ReproductionCase(tmp_path / "case", PLAN) as case:

        def fail() -> None:
            try:
                raise ValueError("no vector")
            except ValueError:
                logging.getLogger("warmstall.rag.retrieval").exception("search failed")

        thread = threading.Thread(target=fail, name="search-3")
        thread.start()
        thread.join()
        lines = (case.evidence / "application.log").read_text().splitlines()
    at, rest = lines[0].split(" ", 1)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()) < 600
    assert at.endswith("+00:00")
    assert rest == "ERROR [search-3] warmstall.rag.retrieval: search failed"
    assert (lines[1], lines[-1]) == ("Traceback (most recent call last):", "ValueError: no vector")
    assert before == [
        (one.level, list(one.handlers)) for one in map(logging.getLogger, ("warmstall.rag", "warmstall.reproduce"))
    ]
    assert "log" in {one.path.suffix.removeprefix(".") for one in discover([tmp_path / "case"])}


def test_no_secret_stands_in_any_file_of_the_case(tmp_path) -> None:
    """A key and a user's name in an error, a log line, a span, the plan, a note and a server's log."""
    home = f"/home/{getpass.getuser()}-test/notes"
    (tmp_path / "server.log").write_text(f"time=2026-11-21T10:00:00Z level=ERROR msg=failed key={SECRET}\n")
    with ReproductionCase(tmp_path / "case", {**PLAN, "target": f"http://h?api_key={SECRET}"}) as case:
        case.measurements.append(row(1, ok=False, error=f"401 for Bearer {SECRET} in {home}"))
        logging.getLogger("warmstall.rag").error("refused: Authorization: Bearer %s", SECRET)
        with case.trace().start_as_current_span("generate", attributes={"error.message": f"api_key={SECRET} {home}"}):
            pass
        case.note({"reproduce": {"said": f"Bearer {SECRET}"}})
        case.add_log(tmp_path / "server.log")
    files = [path for path in (tmp_path / "case").rglob("*") if path.is_file()]
    assert {"case.json", "plan.json", "measurements.csv", "trace.jsonl", "application.log", "server.log"} <= {
        path.name for path in files
    }
    for path in files:
        text = path.read_text()
        assert SECRET not in text, path
        assert home not in text, path


def test_a_log_that_cannot_be_read_is_a_step_with_its_reason(tmp_path) -> None:
    """The case is whole all the same."""
    with ReproductionCase(tmp_path / "case", PLAN) as case:
        case.add_log(tmp_path / "none.log")
    (step,) = map(json.loads, (case.evidence / "collection.jsonl").read_text().splitlines())
    assert (step["outcome"], step["file"]) == ("failed", "")
    assert "cannot be read" in step["reason"]


def test_the_host_is_sampled_meanwhile_and_no_longer(tmp_path) -> None:
    """Samples of the server at a port begin at once and end with the block."""
    with DrillServer(tmp_path / "drill") as server, ReproductionCase(tmp_path / "case", PLAN) as case:
        first = threading.Event()
        with case.watched(server.port, 0.1):
            while not list(case.evidence.glob("samples-*.jsonl")):
                first.wait(0.01)
        samples = "".join(path.read_text() for path in sorted(case.evidence.glob("samples-*.jsonl")))
        (probe,) = json.loads(samples.splitlines()[0])["rows"]["probes"]
        assert (probe["endpoint"], probe["status"]) == ("/api/ps", "200")
        assert not [thread for thread in threading.enumerate() if thread.name == "watch"]
        with pytest.raises(InputError, match="expected at least"), case.watched(server.port, 0.0):
            pass
