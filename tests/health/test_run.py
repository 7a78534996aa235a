"""One report at a time, whatever fails is told, and a run that is killed at any moment is as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
import typer

from conftest import INCIDENTS, ROOT
from health.made_report import made_report
from warmstall import health_commands
from warmstall import report as page_maker
from warmstall.errors import InputError, OutputError
from warmstall.health import folder as folders
from warmstall.health.asked import period_asked, seconds_of
from warmstall.health.conclusion import conclude, read_verdict, save
from warmstall.health.folder import Held, ReportFolder
from warmstall.health.freshness import check
from warmstall.health.run import Wanted, report

LOG = str(INCIDENTS / "queue-one-slot")


def notebook_of(folder: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / "stub.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def stub(monkeypatch: pytest.MonkeyPatch, then: str = "") -> None:
    """In place of the notebook: an assessment of the hour that is due, at once; `then` is what failed after it."""

    def execute(notebook: Path, executed: Path, parameters: dict[str, object], **_: object) -> str:
        folder = Path(str(parameters["out"]))
        covered = period_asked(read_verdict(folder), datetime.now(UTC), 3600, str(parameters["since"]), None)
        made = replace(made_report(), from_at=covered.from_at, to_at=covered.to_at, status="degraded")
        save(made, str(parameters["run_folder"]))
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Made")]), executed)
        return then

    monkeypatch.setattr(page_maker, "execute", execute)


def stub_notebook(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(page_maker, "notebook_path", lambda name: path)


def test_a_report_leaves_its_page_and_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch)
    outcome = report(Wanted((LOG,), folder=tmp_path))

    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (outcome.exit_code, verdict["status"], verdict["error"]) == (1, "degraded", "")
    run = (tmp_path / verdict["report"]).parent
    assert {path.name for path in run.iterdir()} == {
        "health_report.ipynb", "report.html", "assessment.json", "verdict.json",
    }  # fmt: skip
    assert json.loads((run / "verdict.json").read_text()) == verdict
    assert (tmp_path / "latest.html").read_text() == outcome.page.read_text()
    assert datetime.strptime(run.name, folders.STAMP).replace(tzinfo=UTC) <= datetime.fromisoformat(verdict["to"])
    assert list((tmp_path / "history").glob("*.parquet"))


def test_the_next_report_begins_where_the_last_one_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch)
    save_verdict_of_an_hour_ago(tmp_path)
    before = read_verdict(tmp_path)
    outcome = report(Wanted((LOG,), folder=tmp_path))

    assert outcome.verdict["from"] == before["to"]


def save_verdict_of_an_hour_ago(folder: Path) -> None:
    to_at = datetime.now(UTC) - timedelta(minutes=50)
    conclude(folder, replace(made_report(), from_at=to_at - timedelta(hours=1), to_at=to_at, status="healthy"))


def test_a_second_report_says_who_holds_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from warmstall.health.folder import ReportFolder\n"
        "with ReportFolder(sys.argv[1]).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held, match=rf"by process {holder.pid}, since 20.* UTC; this one ends"):
            report(Wanted((LOG,), folder=tmp_path))
        done = command("report", LOG, "--out", str(tmp_path))
        assert (done.returncode, done.stdout) == (3, "")
        assert f"process {holder.pid}" in done.stderr
        assert not (tmp_path / "verdict.json").exists()
        holder.kill()
    with ReportFolder(tmp_path).locked():
        pass


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, whether or not it is registered under its name yet."""
    code = (
        "import typer; from warmstall.health_commands import report; app = typer.Typer(pretty_exceptions_enable=False);"
        "app.callback()(lambda: None); app.command()(report); app()"
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected a log, a folder or a case, or --collect"),
        ([LOG, "--every", "soon"], "expected a duration such as 90m, 24h or 7d"),
        ([LOG, "--until", "noon"], "expected end, or a time with its zone"),
        ([LOG, "--collect", "--until", "end"], "a collection tells of now"),
        ([LOG, "--host", "ssh://box"], "is for --collect"),
        (["-"], "a report reads no standard input"),
    ],
)
def test_what_cannot_be_meant_is_said_and_never_looks_critical(words: list[str], said: str, tmp_path: Path) -> None:
    done = command("report", *words, "--out", str(tmp_path / "new"))
    assert done.returncode == 3
    assert said in done.stderr
    assert not (tmp_path / "new").exists()


def test_freshness_is_an_exit_code_of_its_own(tmp_path: Path) -> None:
    done = command("report", "--check-freshness", "--out", str(tmp_path))
    assert done.returncode == 3
    assert "verdict" in done.stdout


def test_a_path_that_is_not_there_is_a_verdict(tmp_path: Path) -> None:
    """The log that a schedule names was moved: red page, exit code 3, and the last configuration is handed on."""
    save_verdict_of_an_hour_ago(tmp_path)
    before = read_verdict(tmp_path)
    outcome = report(Wanted((str(tmp_path / "gone.log"),), folder=tmp_path))

    assert outcome.exit_code == 3
    assert "there is no such file or folder" in outcome.verdict["error"]
    again = period_asked(outcome.verdict, datetime.now(UTC), 3600, "", None)
    assert again.from_at == datetime.fromisoformat(before["to"])
    assert "This report is incomplete" in (tmp_path / "latest.html").read_text()


def test_a_cell_that_fails_leaves_a_red_page_and_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture fails after the assessment: its reasons stay, its colour does not."""
    stub(monkeypatch, then="ValueError: no <b>such</b> picture")
    outcome = report(Wanted((LOG,), folder=tmp_path))

    assert outcome.exit_code == 3
    assert outcome.verdict["colour"] == "grey"
    assert [one["key"] for one in outcome.verdict["reasons"]] == ["report:error", "memory:box"]
    page = (tmp_path / "latest.html").read_text()
    assert 'role="alert"' in page
    assert "no &lt;b&gt;such&lt;/b&gt; picture" in page


def test_a_kernel_that_dies_leaves_a_page_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_notebook(monkeypatch, notebook_of(tmp_path, "import os; os._exit(3)"))
    outcome = report(Wanted((LOG,), folder=tmp_path / "reports"))
    assert outcome.exit_code == 3
    assert "could not be run to its end" in (tmp_path / "reports" / "latest.html").read_text()


def test_a_notebook_that_is_gone_leaves_no_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latest.html").write_text("all is well")
    stub_notebook(monkeypatch, tmp_path / "nothing.ipynb")
    outcome = report(Wanted((LOG,), folder=tmp_path))
    assert outcome.exit_code == 3
    assert "did not start" in (tmp_path / "latest.html").read_text()


def test_alerts_that_cannot_be_read_are_no_healthy_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch)
    (tmp_path / "alerts.toml").write_text("[[nonsense")
    outcome = report(Wanted((LOG,), folder=tmp_path / "out", alerts=tmp_path / "alerts.toml"))
    assert outcome.exit_code == 3
    assert outcome.verdict["error"].startswith("nothing was sent")


def test_objectives_that_cannot_be_read_are_a_verdict_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real notebook: its metrics say that the report failed, and the channel is told so."""
    (tmp_path / "objectives.toml").write_text("[[objectives]]\nmetric = 'speed'")
    (tmp_path / "alerts.toml").write_text(
        "metrics_file = 'health.prom'\n[[channels]]\nname = 'ops'\nurl_variable = 'WARMSTALL_TEST_IS_NOT_SET'"
    )
    wanted = Wanted(
        (LOG,), folder=tmp_path / "out", objectives=tmp_path / "objectives.toml", alerts=tmp_path / "alerts.toml"
    )
    outcome = report(wanted)
    assert outcome.exit_code == 3
    assert "metric" in outcome.verdict["error"]
    assert outcome.verdict["delivery"]["failed"][0]["keys"] == ["report:error"]
    assert 'warmstall_report_status{status="could not tell"} 1.0' in (tmp_path / "out" / "health.prom").read_text()
    assert "The newest report failed" in check(tmp_path / "out", datetime.now(UTC)).sentence


def test_alerts_that_cannot_be_read_are_said_where_the_command_was_called(tmp_path: Path) -> None:
    done = command("report", str(tmp_path / "gone.log"), "--out", str(tmp_path), "--alerts", str(tmp_path / "no.toml"))
    assert done.returncode == 3
    assert "gone.log" in done.stderr
    assert "nothing was sent" in done.stderr
    assert "no.toml: cannot be read" in done.stderr


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "what",
    ["folder.ReportFolder.begin", "folder.ReportFolder.finish", "run._page", "run._put_latest", "run._execute",
     "history._write", "run.read_assessment", "folder.ReportFolder.note_begun"],
)  # fmt: skip
def test_whatever_fails_leaves_the_verdict_of_this_report(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(monkeypatch)
    save_verdict_of_an_hour_ago(tmp_path)
    before = read_verdict(tmp_path)
    monkeypatch.setattr(f"warmstall.health.{what}", full)
    outcome = report(Wanted((LOG,), folder=tmp_path))
    verdict = read_verdict(tmp_path)
    assert verdict == outcome.verdict
    assert verdict["to"] != before["to"]
    if what in ("history._write", "folder.ReportFolder.note_begun"):  # the report itself is whole
        assert (outcome.exit_code, verdict["error"]) == (1, "")
        return
    assert outcome.exit_code == 3
    assert "No space left on device" in verdict["error"]
    assert period_asked(verdict, datetime.now(UTC), 3600, "", None).from_at == datetime.fromisoformat(before["to"])
    assert not (tmp_path / "latest.html").exists() or "incomplete" in (tmp_path / "latest.html").read_text()


def test_a_disk_that_is_full_keeps_the_last_verdict_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written, not even a verdict: exit code 3, and the channel is told by what needs no disk."""
    stub(monkeypatch)
    save_verdict_of_an_hour_ago(tmp_path)
    before = (tmp_path / "verdict.json").read_bytes()
    told: list[Mapping[str, object]] = []
    monkeypatch.setattr("warmstall.health.delivery.deliver", lambda verdict, *_: told.append(verdict) or {})
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="cannot be written"):
        report(Wanted((LOG,), folder=tmp_path))
    assert (tmp_path / "verdict.json").read_bytes() == before
    assert [one["key"] for one in told[-1]["reasons"]] == ["report:error"]


def test_what_cannot_be_removed_afterwards_takes_no_verdict_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(monkeypatch)
    monkeypatch.setattr(ReportFolder, "prune", full)
    assert report(Wanted((LOG,), folder=tmp_path)).verdict["error"] == ""


@pytest.mark.parametrize("fault", [ValueError("odd"), OSError(5, "Input/output error"), RecursionError("deep")])
def test_no_fault_of_ours_looks_like_a_degraded_server(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A traceback ends with 1."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("warmstall.health.run.report", fail)
    with pytest.raises(typer.Exit) as ended:
        health_commands.report([LOG], out=tmp_path)
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err.startswith("warmstall: ")


def test_a_wrong_option_never_looks_critical() -> None:
    words = [sys.executable, "-W", "ignore", "-m", "warmstall.cli", "report"]
    for wrong in (["--bogus"], ["--out"], ["--serve-metrics", "x"]):
        assert subprocess.run([*words, *wrong], capture_output=True, timeout=60, check=False).returncode == 3, wrong


def test_metrics_are_served_until_ctrl_c(tmp_path: Path) -> None:
    conclude(tmp_path, made_report())
    words = [sys.executable, "-W", "ignore", "-m", "warmstall.cli", "report", "--serve-metrics", "0"]
    words += ["--out", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        address = child.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        text = urllib.request.urlopen(address, timeout=30).read().decode()
        child.send_signal(signal.SIGINT)
        assert (child.wait(30), child.stderr.read()) == (0, "")
    assert 'warmstall_report_status{status="critical"} 1.0' in text


@pytest.mark.parametrize(
    "words", [["--every", "99999999d"], ["--since", "40000d"], ["--until", "0001-01-01T00:00:00+01:00"]]
)
def test_times_that_nobody_means_are_refused(words: list[str], tmp_path: Path) -> None:
    done = command("report", LOG, *words, "--out", str(tmp_path / "new"))
    assert done.returncode == 3
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr


def test_room_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay whole; of older ones the pages of those that were not healthy; then nothing."""
    monkeypatch.setattr(folders, "REPORTS_KEPT", 6)
    monkeypatch.setattr(folders, "PAGES_KEPT", 2)
    monkeypatch.setattr(folders, "CASES_KEPT", 1)
    kept = ReportFolder(tmp_path)
    at = datetime(2026, 11, 20, tzinfo=UTC)
    for hour in range(8):
        run = kept.report_at(at + timedelta(hours=hour))
        run.mkdir(parents=True)
        (run / "report.html").write_text("page")
        (run / "verdict.json").write_text(json.dumps({"status": "healthy" if hour % 2 else "degraded"}))
        kept.case_at(at + timedelta(hours=hour)).mkdir(parents=True)
    kept.report_at(at + timedelta(hours=9)).mkdir()  # killed before its verdict
    (tmp_path / "reports" / "mine.txt").write_text("not ours")
    kept.prune()

    pages = {path.name[11:13]: (path / "report.html").exists() for path in (tmp_path / "reports").glob("*Z")}
    assert pages == {"07": True, "06": True, "05": False, "04": True, "03": False, "02": True}
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["2026-11-20T070000Z"]
    assert (tmp_path / "reports" / "mine.txt").exists()


def test_cases_of_a_folder_share_their_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose token changed with each report would be another host each hour."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    stub(monkeypatch)
    for _ in range(2):
        assert report(Wanted(collect=True, folder=tmp_path / "out")).verdict["error"] == ""
    cases = sorted((tmp_path / "out" / "cases").glob("*Z"))
    notes = [json.loads((case / "case.json").read_text()) for case in cases]
    assert len({note["id"] for note in notes}) == 1
    assert len({tuple(path.name for path in (case / "evidence").iterdir()) for case in cases}) == 1
    assert not list((tmp_path / "out" / "cases").glob("unfinished*"))


def test_a_host_that_cannot_be_reached_could_not_be_told(tmp_path: Path) -> None:
    outcome = report(Wanted(collect=True, host="ssh://nobody@127.0.0.1:1", folder=tmp_path))
    assert outcome.exit_code == 3
    assert "127.0.0.1" in outcome.verdict["error"]


def test_durations_and_spans() -> None:
    with pytest.raises(InputError, match="--every 0s: expected"):
        seconds_of("0s", "--every")
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    last = {"to": "2026-11-20T11:55:00Z", "from": "2026-11-20T10:55:00Z"}
    assert period_asked(last, now, 3600, "", None).from_at == now - timedelta(minutes=5)
    assert period_asked(last, now, 3600, "24h", None).from_at == now - timedelta(hours=24)


def test_a_run_killed_at_any_file_operation_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Every one of them, each in a process of its own that is killed there; the next run covers what it did not."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "health.killed_runs", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["killed"] >= 20, told


def test_a_command_killed_in_its_notebook_leaves_the_last_verdict(tmp_path: Path) -> None:
    """The real command on a real incident, killed while its kernel runs; the one after it covers the time."""
    save_verdict_of_an_hour_ago(tmp_path)
    before = (tmp_path / "verdict.json").read_bytes()
    code = "from warmstall.health.run import *; from pathlib import Path; import sys; "
    code += "report(Wanted((sys.argv[1],), folder=Path(sys.argv[2])), lambda text: print(text, flush=True))"
    words = [sys.executable, "-W", "ignore", "-c", code, LOG, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline().startswith("running the notebook")
        child.kill()
    assert (tmp_path / "verdict.json").read_bytes() == before
    outcome = report(Wanted((LOG,), folder=tmp_path))
    assert outcome.verdict["from"] == json.loads(before)["to"]
    assert outcome.verdict["error"] == ""
    assert not list((tmp_path / "reports").glob("unfinished*"))
