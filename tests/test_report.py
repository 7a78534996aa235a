"""The page is whole, safe and self-contained: as text, and in a real browser."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from browser import page_of
from hypotheses.traced import Trace
from warmstall import report
from warmstall.errors import InputError, OutputError


def plotlyjs() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def hostile_log(folder: Path) -> Path:
    """A log whose paths and model try to become markup, a formula or a terminal command."""
    log = folder / "server.log"
    lines = [
        'time=2026-01-05T10:15:00.000Z level=INFO source=a.go:1 msg="starting runner" '
        'cmd="/usr/bin/ollama runner --model <script>alert(2)<script> --port 1"',
        'time=2026-01-05T10:15:02.000Z level=INFO source=a.go:1 msg="llama runner started in 2.00 seconds"',
    ]
    for second in range(3, 33):
        lines.append(
            f"[GIN] 2026/01/05 - 10:15:{second:02d} | 200 |  {second % 7}.5s |  127.0.0.1 | POST     "
            '"/api/chat?<img src=x onerror=alert(1)>$x^2$</script><script>alert(3)</script>"'
        )
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return log


def small_notebook(folder: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells.insert(0, nbformat.v4.new_code_cell('case: str = ""', metadata={"tags": ["parameters"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "small.ipynb")
    return folder / "small.ipynb"


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    executed = folder / "executed.ipynb"
    log = hostile_log(folder)
    assert report.execute(report.notebook_path("postmortem"), executed, {"case": str(log)}) == ""
    page = folder / "report.html"
    page.write_text(report.html_page(executed, "Postmortem of </title><script>alert(4)</script>"), encoding="utf-8")
    return page


def test_the_page_holds_plotly_once_and_asks_nothing_of_elsewhere(hostile_page):
    text = hostile_page.read_text(encoding="utf-8")
    assert text.count(plotlyjs()) == 1
    rest = text.replace(plotlyjs(), "")
    # A link that a reader may follow asks for nothing by itself.
    rest = re.sub(r'<a href="https://[^"<>]*">', "<a>", rest)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", rest)
    assert not re.search(r"mathjax|mermaid|require\.js", rest, re.IGNORECASE)
    assert "default-src 'none'" in rest
    assert len(text.encode()) < 6_000_000


def test_the_headline_of_the_answer_stands_out(hostile_page):
    text = hostile_page.read_text(encoding="utf-8")
    summary = re.findall(r'<section class="summary">(.*?)</section>', text, re.DOTALL)
    assert len(summary) == 1
    assert "<strong>Cold start or warm stall? " in summary[0]
    assert summary[0].index("<strong>") < summary[0].index("<li>")


def test_text_from_a_log_never_becomes_markup(hostile_page):
    rest = hostile_page.read_text(encoding="utf-8").replace(plotlyjs(), "")
    assert not re.search(r"<script>\s*alert", rest)
    assert "<img" not in rest
    assert "&lt;img src=x onerror=alert(1)&gt;" in rest
    figures = re.findall(r'<script type="application/json">(.*?)</script>', rest, re.DOTALL)
    assert len(figures) == 3
    assert all("<" not in figure and json.loads(figure)["data"] for figure in figures)


def test_a_browser_draws_every_figure_and_runs_nothing_else(hostile_page):
    with page_of(hostile_page, 1300) as page:
        page.wait_for_selector("html[data-figures-drawn='3']", state="attached")

        assert page.locator(".figure .main-svg").first.is_visible()
        assert page.locator(".figure .scatterlayer path.point").count() >= 20
        assert page.locator(".figure .barlayer path").count() >= 20
        _hover_over_each_verdict(page)
        assert page.locator("img").count() == 0
        assert page.locator("details.code").first.get_attribute("open") is None
        # nothing wider than the screen, on a wide one and on a narrow one
        for width in (1300, 600):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")


def _hover_over_each_verdict(page) -> None:
    """Shows each trace's first hover text: hostile text must appear in it as text."""
    shown = page.evaluate(
        """() => {
            const figure = document.querySelector("div.figure");
            const shown = [];
            figure._fullData.forEach((trace, curve) => {
                if (trace.visible !== true || !trace.hovertext) return;
                trace.hovertext.forEach((_, point) => {
                    Plotly.Fx.hover(figure, [{curveNumber: curve, pointNumber: point}]);
                    shown.push(figure.querySelector(".hoverlayer").textContent);
                });
            });
            Plotly.Fx.unhover(figure);
            return shown.join("\\n");
        }"""
    )
    assert "<img src=x onerror=alert(1)>" in shown
    assert "<script>alert(2)<script>" in shown
    assert "&lt;" not in shown


def test_a_failing_cell_leaves_a_page_that_says_so(tmp_path, monkeypatch):
    notebook = small_notebook(tmp_path, "print('before')", "raise ValueError('no <b>such</b> line')", "print('after')")
    monkeypatch.setattr(report, "notebook_path", lambda name: notebook)
    out = tmp_path / "out"
    with pytest.raises(OutputError, match=r"incomplete.*ValueError: no <b>such</b> line"):
        report.write_report(tmp_path, out)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "This report is incomplete." in text
    assert "ValueError: no &lt;b&gt;such&lt;/b&gt; line" in text
    assert '<pre class="text">before' in text
    assert '<pre class="text">after' not in text
    assert (out / "postmortem.ipynb").is_file()


def test_our_own_errors_reach_the_reader_as_their_sentence(tmp_path):
    source = "from warmstall.errors import InputError\nraise InputError('There is no such log.')"
    failure = report.execute(small_notebook(tmp_path, source), tmp_path / "executed.ipynb", {})
    assert failure == "There is no such log."


def test_a_kernel_that_dies_is_a_failure_and_not_a_hang(tmp_path):
    notebook = small_notebook(tmp_path, "import os\nos._exit(3)")
    assert "could not be run to its end" in report.execute(notebook, tmp_path / "executed.ipynb", {})


def test_the_kernel_is_this_interpreter_whatever_is_registered(tmp_path, monkeypatch):
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    executed = tmp_path / "executed.ipynb"
    assert report.execute(small_notebook(tmp_path, "import sys\nprint(sys.executable)"), executed, {}) == ""
    assert nbformat.read(executed, as_version=4).cells[-1].outputs[0].text.strip() == sys.executable


def test_a_report_is_written_quietly_and_tells_its_progress(tmp_path, capfd):
    told: list[str] = []
    page = report.write_report(hostile_log(tmp_path), tmp_path / "out", progress=told.append)
    assert page == tmp_path / "out" / "report.html"
    assert told == ["running the postmortem notebook", "writing the page"]
    assert capfd.readouterr() == ("", "")
    assert "30 requests to models" in page.read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        report.write_report(tmp_path, tmp_path / "file")


def test_an_unknown_notebook_is_refused():
    with pytest.raises(InputError, match=r"no notebook nothing\.ipynb"):
        report.notebook_path("nothing")


def test_the_committed_notebook_holds_nothing_of_a_machine():
    notebook = nbformat.read(report.notebook_path("postmortem"), as_version=4)
    nbformat.validate(notebook)
    # papermill's command line wants a kernel's name; this one is Jupyter's own and of no machine.
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 6
    assert [cell.id for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])] == ["parameters"]


def test_scripts_cannot_be_ended_by_what_they_hold():
    text = report.embedded_json({"a": "</script><!--&\u2028\u2029"})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": "</script><!--&\u2028\u2029"}


@pytest.mark.parametrize(
    "html",
    ["<script>1</script>", "<b onclick='x'>1</b>", "<a href='javascript:x'>1</a>", "<iframe src=x>", "<svg/onload=x>"],
)
def test_sanitized_markup_can_do_nothing(html):
    assert not re.search(r"script|on\w+=|iframe|svg", report.sanitized(html).replace("&lt;", ""))


def test_a_trace_of_an_application_gets_its_section(tmp_path):
    """The hostile page above has three figures; this one has a fourth, under a heading of its own."""
    trace = Trace()
    root = trace.span("question", 0, 3)
    trace.search(0, 1, root, "<img src=x onerror=alert(1)>$x$", error=ValueError("<script>alert(5)</script>"))
    (tmp_path / "trace.jsonl").write_text(trace.text(), encoding="utf-8")
    executed = tmp_path / "executed.ipynb"
    assert report.execute(report.notebook_path("postmortem"), executed, {"case": str(tmp_path)}) == ""
    page = report.html_page(executed, "Postmortem")
    assert re.search("<h2[^>]*>Where a question's seconds went", page.replace("&#39;", "'").replace("’", "'"))
    assert len(re.findall(r'<script type="application/json">', page)) == 4
    assert "<img" not in page.replace(plotlyjs(), "")
    assert not re.search(r"<script>\s*alert", page)


def test_a_case_without_a_trace_has_no_section_of_one(hostile_page):
    text = hostile_page.read_text(encoding="utf-8").replace(plotlyjs(), "")
    assert not re.search("<h2[^>]*>Where a question", text)
