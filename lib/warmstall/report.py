"""The report of a case: runs the postmortem notebook with papermill and exports it as one HTML page.

papermill and nbconvert are imported where they are used: this room may be imported by a command that writes no report.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstall import __version__
from warmstall.errors import InputError, OutputError, WarmstallError
from warmstall.page_safety import embedded_json, sanitized
from warmstall.writing import whole_file

if TYPE_CHECKING:
    from warmstall.analysis import Analysis

Progress = Callable[[str], None]

_PACKAGE = Path(__file__).resolve().parent
_TEMPLATES = _PACKAGE / "templates"


def write_report(
    case_path: str | Path, out_dir: str | Path, progress: Progress | None = None, found: Analysis | None = None
) -> Path:
    """Writes `postmortem.ipynb` (executed) and `report.html` into `out_dir` and returns the page's path.

    Beside them, in `runbooks`, each runbook that a cause names gets a page and a notebook that knows the case.
    When a cell of the notebook fails, both files are still written, the page with a banner that says so, and
    OutputError is raised. `progress` is told, in a few words, what is being done. `found` is the analysis of the case
    where the caller has it: then nothing is analyzed again.
    """
    from warmstall.runbook_pages import write_runbooks  # brings pandas, which a health report's own process needs not

    tell = progress or (lambda _: None)
    out = Path(out_dir)
    executed, page = out / "postmortem.ipynb", out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        tell("running the postmortem notebook")
        failure = _run_postmortem(Path(case_path).absolute(), executed, found)
        if not executed.exists():
            raise OutputError(f"The notebook did not start, so there is no report: {failure}")
        tell("writing the page")
        title = f"Postmortem of {Path(case_path).absolute().name}"
        with whole_file(page) as path:
            path.write_text(html_page(executed, title, failure), encoding="utf-8", newline="\n")
        write_runbooks(executed, out, title)
    except OSError as error:
        raise OutputError(f"The report cannot be written to {out}: {error.strerror or error}") from error
    if failure:
        raise OutputError(f"The report is incomplete, see {page}: {failure}")
    return page


def _run_postmortem(case_path: Path, executed: Path, found: Analysis | None) -> str:
    from IPython.core.interactiveshell import InteractiveShell

    from warmstall.analyzed import at_hand

    # A process that is a notebook itself, as in JupyterLab, cannot be a second one.
    run = execute if InteractiveShell.initialized() else execute_in_process
    if found and found.case.folder:
        # What a notebook tells to be done must not depend on the folder that this process runs in.
        found.case.folder = found.case.folder.resolve()
    with at_hand(found, case_path) if found else nullcontext():
        return run(notebook_path("postmortem"), executed, {"case": str(case_path)})


def notebook_path(name: str) -> Path:
    """Where the notebook `name` lies: in the repository's folder, or in the installed package."""
    places = [_PACKAGE.parents[1] / "notebooks", _PACKAGE / "notebooks"]
    for folder in places:
        if (folder / f"{name}.ipynb").is_file():
            return folder / f"{name}.ipynb"
    raise InputError(f"There is no notebook {name}.ipynb in {' or '.join(str(folder) for folder in places)}.")


def execute(
    notebook: Path, executed: Path, parameters: dict[str, object], takes_back: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> str:  # fmt: skip
    """Runs `notebook` and saves it as `executed`; returns what went wrong in one sentence, or '' when all is well.

    Of a notebook that `takes_back` what it began, Ctrl-C interrupts the cell that runs, and KeyboardInterrupt is raised
    after that cell's end; the notebook saved tells what it did. `meanwhile` is begun in a thread with the first cell.
    """
    from warmstall.notebook_engine import ENGINE

    with _interrupts_reach_the_cell(takes_back) as (pids, before_each_cell):
        return _executed(
            notebook,
            executed,
            parameters,
            takes_back,
            engine_name=ENGINE,
            kernel_manager_class=_this_interpreters_kernel(pids),
            on_cell_start=_with_first(meanwhile, before_each_cell) if meanwhile else before_each_cell,
        )


def execute_in_process(notebook: Path, executed: Path, parameters: dict[str, object]) -> str:
    """The same inside this very process and without a kernel, for a notebook of ours that shows what we know."""
    from warmstall.in_process_engine import ENGINE

    return _executed(notebook, executed, parameters, engine_name=ENGINE, request_save_on_cell_execute=False)


def _executed(
    notebook: Path, executed: Path, parameters: dict[str, object], takes_back: bool = False, **options: Any
) -> str:
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    # Overwriting in place, papermill would leave an old result behind if its kernel never started.
    executed.unlink(missing_ok=True)
    try:
        with _quiet_papermill() as papermill:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                log_output=False,
                **options,
            )
    except PapermillExecutionError as error:
        if takes_back and error.ename in ("Interrupted", "KeyboardInterrupt"):
            raise KeyboardInterrupt from error
        cause = next((line for line in str(error.evalue).splitlines() if line.strip()), "no reason was given")
        return cause if error.ename in _OWN_ERRORS else f"{error.ename}: {cause}"
    except (PapermillException, CellControlSignal, DeadKernelError, RuntimeError) as error:
        return f"the notebook could not be run to its end ({type(error).__name__}: {str(error).splitlines()[0]})"
    return ""


def _with_first(meanwhile: Callable[[], None], before_each_cell: Callable[..., None]) -> Callable[..., None]:
    beside = threading.Thread(target=meanwhile, daemon=True)

    def before(**given: object) -> None:
        if not beside.ident:
            beside.start()
        before_each_cell(**given)

    return before


def load_exporter() -> None:
    """Import what `html_page` needs, so that it need not wait for it."""
    for name in ("nbconvert.exporters", "plotly.offline", "bleach"):
        importlib.import_module(name)


def load_libraries() -> None:
    """Import what `write_report` needs, so that it need not wait for it."""
    for name in ("warmstall.in_process_engine", "warmstall.figures"):
        importlib.import_module(name)
    load_exporter()


def html_page(executed: Path, title: str, failure: str = "") -> str:
    """The executed notebook as one HTML page that asks nothing of any other place."""
    import nbformat
    from nbconvert.exporters import TemplateExporter
    from plotly.offline import get_plotlyjs

    plotly_js = get_plotlyjs()
    draw_js = (_TEMPLATES / "report" / "draw.js").read_text(encoding="utf-8")
    exporter = TemplateExporter(  # type: ignore[no-untyped-call]
        template_name="report",
        template_file="index.html.j2",
        extra_template_basedirs=[str(_TEMPLATES)],
        filters={"embedded_json": embedded_json, "sanitized": sanitized},
    )
    page = {
        "title": title,
        "failure": failure,
        "version": __version__,
        "written_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "style": (_TEMPLATES / "report" / "style.css").read_text(encoding="utf-8"),
        "plotly_js": plotly_js,
        "draw_js": draw_js,
        "script_hashes": f"{_script_hash(plotly_js)} {_script_hash(draw_js)}",
    }
    notebook = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(notebook, {"page": page})
    return str(html)


_OWN_ERRORS = {"WarmstallError"} | {kind.__name__ for kind in WarmstallError.__subclasses__()}


def _script_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@contextmanager
def _interrupts_reach_the_cell(wanted: bool) -> Iterator[tuple[list[int], Callable[..., None]]]:
    """A list to be filled with the kernel's pid, and what to call before each cell.

    A kernel is deaf to Ctrl-C: it has a session of its own, and ignores the signal between two cells.
    """
    kernel_pids: list[int] = []
    interrupted = running = False

    def pass_on(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        if not running:
            raise KeyboardInterrupt
        for pid in kernel_pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    def before_each_cell(**_: object) -> None:
        nonlocal running
        running = True
        if interrupted:
            raise KeyboardInterrupt

    # Only in the main thread signals can be set, and only there they arrive.
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield kernel_pids, before_each_cell
        return
    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield kernel_pids, before_each_cell
    finally:
        signal.signal(signal.SIGINT, before)


def _this_interpreters_kernel(kernel_pids: list[int]) -> type:
    """A kernel manager that starts the Python running now, whatever kernels are registered on this machine."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpretersKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(
                argv=[
                    sys.executable,
                    "-Xfrozen_modules=off",
                    "-m",
                    "ipykernel_launcher",
                    "-f",
                    "{connection_file}",
                    "--log-level=CRITICAL",  # shutting down, it may tell of the interrupt it was sent
                ],
                display_name="Python 3",
                language="python",
                env={"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONPATH": os.pathsep.join(_python_path())},
            )

        async def _async_post_start_kernel(self, **given: object) -> None:
            await super()._async_post_start_kernel(**given)
            kernel_pids.append(self.provisioner.pid)  # type: ignore[union-attr]

    return ThisInterpretersKernel


def _python_path() -> list[str]:
    """The folder of this very library first, so that the kernel analyses with the code that called it."""
    inherited = os.environ.get("PYTHONPATH", "")
    return [str(_PACKAGE.parent), *([inherited] if inherited else [])]


@contextmanager
def _quiet_papermill() -> Iterator[Any]:
    """papermill, without its log lines and the warnings it raises about its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import papermill

        logger = logging.getLogger("papermill")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield papermill
        finally:
            logger.setLevel(level)
