"""From a cause in the report to the page of its runbook: complete, safe, and ready to be followed."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
from pathlib import Path

import nbformat
import pytest

from browser import page_of
from hypotheses.examples.model_hang_rate import trials
from warmstall import causes, report, runbook_links
from warmstall.analysis import analyze
from warmstall.answer import answer
from warmstall.case import write_case
from warmstall.evidence import discover
from warmstall.hypotheses import judge
from warmstall.postmortem import draft
from warmstall.runbook_links import RunbookLink, RunbookTable
from warmstall.runbook_pages import write_runbooks

HOSTILE = "</pre><script>alert(1)</script>\"'\n$(id) [x](javascript:alert(2)) {{ 7*7 }} # case: str = 1"


def hanging_case(folder: Path) -> Path:
    """Calls of two models, one of which hangs more often than the other."""
    evidence = folder / "evidence" / "box"
    evidence.mkdir(parents=True)
    (evidence / "trials.csv").write_text(trials(large=(40, 100), small=(5, 100)), encoding="utf-8")
    return folder


def executed(folder: Path, *links: RunbookLink) -> Path:
    """A postmortem whose cell named these runbooks."""
    data = RunbookTable(links)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data=data)
    cell = nbformat.v4.new_code_cell("runbooks", outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "postmortem.ipynb")
    return folder / "postmortem.ipynb"


def link(case: str = "/a/case", model: str = "large") -> RunbookLink:
    return RunbookLink("move-backend", ("model_hang_rate",), case, model)


def parameters_of(notebook: Path) -> dict[str, object]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    return {line.target.id: ast.literal_eval(line.value) for line in ast.parse(source).body}


def test_the_report_of_a_case_leads_to_the_runbook(tmp_path: Path) -> None:
    case = hanging_case(tmp_path / "a case")
    write_case(discover([case]), case / "out", case / "tables")
    page = report.write_report(case / "out", case / "out")
    text = page.read_text(encoding="utf-8")
    assert '<a href="runbooks/move-backend.html">move-backend</a>' in text
    runbook = (case / "out" / "runbooks" / "move-backend.html").read_text(encoding="utf-8")
    command = re.search(r"<pre>(warmstall runbook run [^<]*)</pre>", runbook)
    assert command
    assert shlex.split(html.unescape(command[1])) == [
        "warmstall", "runbook", "run", "move-backend", "--case", str(case), "-p", "model=large"]  # fmt: skip
    assert "Use it when" in runbook
    assert "hang_rate_limit" in runbook
    assert "--no-dry-run --approved-plan PLAN" in runbook
    given = parameters_of(case / "out" / "runbooks" / "move-backend.ipynb")
    assert (given["case"], given["model"], given["dry_run"]) == (str(case), "large", True)
    nbformat.validate(nbformat.read(case / "out" / "runbooks" / "move-backend.ipynb", as_version=4))
    _follow_in_a_browser(page)


def _follow_in_a_browser(report_page: Path) -> None:
    with page_of(report_page, 600) as page:
        page.locator("a", has_text="move-backend").first.click()
        page.wait_for_url("**/runbooks/move-backend.html")
        assert "warmstall runbook run move-backend" in page.locator(".summary pre").first.inner_text()
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        page.locator("a", has_text="←").click()
        page.wait_for_url("**/report.html")


def test_the_answer_names_the_command_and_the_texts_link_the_page(tmp_path: Path) -> None:
    found = analyze(hanging_case(tmp_path / "case"))
    text = answer(found)
    command = f"warmstall runbook run move-backend --case {tmp_path / 'case'} -p model=large"
    assert any(line.endswith(f" Runbook: {command}") for line in text.splitlines())
    assert len(text.splitlines()) <= 25
    assert "[move-backend](runbooks/move-backend.html)" in draft(found)
    assert "[move-backend](runbooks/move-backend.html)" in causes.markdown(judge(found))


def test_a_bare_log_has_no_case_to_name(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(trials(large=(40, 100), small=(5, 100)), encoding="utf-8")
    (named,) = runbook_links.runbooks(found := analyze(tmp_path / "trials.csv"), judge(found)).links
    assert (named.case, named.command) == ("", "warmstall runbook run move-backend -p model=large")
    write_runbooks(executed(tmp_path, named), tmp_path, "x")
    assert "journal.jsonl" in (tmp_path / "runbooks" / "move-backend.html").read_text(encoding="utf-8")
    assert parameters_of(tmp_path / "runbooks" / "move-backend.ipynb")["case"] == ""


def test_only_causes_that_were_found_name_a_runbook(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(trials(large=(5, 100), small=(5, 100)), encoding="utf-8")
    found = analyze(tmp_path)
    table = runbook_links.runbooks(found, judge(found))
    assert table.links == ()
    assert repr(table) == "No cause that was found names a runbook."


def test_hostile_names_stay_text_in_the_page_and_the_notebook(tmp_path: Path) -> None:
    hostile = link(case=f"/a/{HOSTILE}", model=HOSTILE)
    (page,) = write_runbooks(executed(tmp_path, hostile), tmp_path, HOSTILE)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert 'href="javascript' not in text
    assert "{{ 7*7 }}" in text
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not re.search(
        r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", re.sub(r'<a href="https://[^"<>]*">', "", text)
    )
    given = parameters_of(tmp_path / "runbooks" / "move-backend.ipynb")
    assert (given["case"], given["model"]) == (hostile.case, HOSTILE)
    assert shlex.split(hostile.command)[:4] == ["warmstall", "runbook", "run", "move-backend"]
    assert len(shlex.split(hostile.command)) == 8
    assert "\n" not in hostile.command


def test_a_notebook_that_was_run_is_a_record_and_stays(tmp_path: Path) -> None:
    write_runbooks(executed(tmp_path, link()), tmp_path, "x")
    copy = tmp_path / "runbooks" / "move-backend.ipynb"
    write_runbooks(executed(tmp_path, link("/another")), tmp_path, "x")
    assert parameters_of(copy)["case"] == "/another"
    notebook = json.loads(copy.read_text(encoding="utf-8"))
    notebook["cells"][-2]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": "done"}]
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    write_runbooks(executed(tmp_path, link("/a third")), tmp_path, "x")
    assert parameters_of(copy)["case"] == "/another"
    copy.write_text("half a noteb", encoding="utf-8")
    write_runbooks(executed(tmp_path, link()), tmp_path, "x")
    assert copy.read_text(encoding="utf-8") == "half a noteb"


@pytest.mark.parametrize("name", ["no-such-runbook", "../postmortem", "move-backend.ipynb", "x/y", ""])
def test_a_runbook_without_a_notebook_is_named_without_a_link(tmp_path: Path, name: str) -> None:
    assert runbook_links.linked(name) == f"`{name}`"
    nowhere = RunbookLink(name, ("model_hang_rate",), "", "")
    assert write_runbooks(executed(tmp_path, nowhere), tmp_path, "x") == []
    assert not (tmp_path / "runbooks").exists()


def test_every_runbook_that_there_is_makes_a_page(tmp_path: Path) -> None:
    names = [path.stem for path in (Path(report.__file__).parents[2] / "runbooks").glob("*.ipynb")]
    links = [RunbookLink(name, ("warm_stall",), "/a/case", "") for name in sorted(names)]
    for page in write_runbooks(executed(tmp_path, *links), tmp_path, "x"):
        text = page.read_text(encoding="utf-8")
        assert "<td><code>approved_plan</code></td>" in text, page.name
        assert '"/a/case"' in html.unescape(text), page.name
        assert parameters_of(page.with_suffix(".ipynb"))["case"] == "/a/case"
        # What leads elsewhere in the repository leads nowhere beside a report.
        targets = re.findall(r'<a [^>]*href="([^"]*)"', text)
        assert all(re.match(r"https://|#|\.\./report\.html$|[a-z-]+\.ipynb$", target) for target in targets), targets
