"""A notebook run inside this very process: no kernel is started, and what the process has computed is at hand.

For a notebook of our own that only shows what this process knows already. IPython runs its cells, as in a kernel, with
a profile of its own that is thrown away.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets import Type
from traitlets.config import Config

ENGINE = "warmstall-in-process"


class InProcessEngine(Engine):  # type: ignore[misc]
    """Runs one cell after the other, up to the first that fails."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
        """Run the notebook; an interrupt is passed on."""
        with _shell() as shell, _figures_as_data():
            for index, cell in enumerate(nb_man.nb.cells):
                nb_man.cell_start(cell, index)
                error = shell.run(cell) if cell.cell_type == "code" else None
                if error:
                    nb_man.cell_exception(cell, index, exception=error)
                nb_man.cell_complete(cell, index)
                if error:
                    break


papermill_engines.register(ENGINE, InProcessEngine)


class _Publisher(DisplayPublisher):
    def publish(
        self, data: Any, metadata: Any = None, source: Any = None, *, transient: Any = None, update: Any = False,
        **more: Any,
    ) -> None:  # fmt: skip
        """Keep what `display` shows."""
        self.shell.keep("display_data", data=data, metadata=metadata or {})


class _Hook(DisplayHook):
    """Keeps the value of a cell's last expression; nothing is printed."""

    shell: Any

    def write_output_prompt(self) -> None:
        """The number stands in the output itself."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        number = self.prompt_count
        self.shell.keep("execute_result", data=format_dict, metadata=md_dict or {}, execution_count=number)

    def finish_displayhook(self) -> None:
        self._is_active = False


class _Stream(TextIOBase):
    """What is printed becomes an output of the cell, in its place among the others."""

    def __init__(self, name: str, shell: _Shell) -> None:
        self.name, self.shell = name, shell

    def write(self, text: str) -> int:
        last = self.shell.outputs[-1] if self.shell.outputs else None
        if last and last.output_type == "stream" and last.name == self.name:
            last.text += text
        elif text:
            self.shell.keep("stream", name=self.name, text=text)
        return len(text)


class _Shell(InteractiveShell):
    """IPython's shell, with outputs as a notebook keeps them."""

    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)
    outputs: list[Any]

    def init_sys_modules(self) -> None:
        """The main module stays that of the program."""

    def keep(self, kind: str, **fields: Any) -> None:
        """One more output of the cell that runs."""
        self.outputs.append(new_output(kind, **fields))  # type: ignore[no-untyped-call]

    def run(self, cell: Any) -> BaseException | None:
        """Run a cell and give it its outputs; what it failed by, if it did."""
        self.outputs = []
        cell.execution_count = self.execution_count
        with redirect_stdout(_Stream("stdout", self)), redirect_stderr(_Stream("stderr", self)):
            result = self.run_cell(cell.source, store_history=True)  # type: ignore[no-untyped-call]
        cell.outputs = self.outputs
        error: BaseException | None = result.error_before_exec or result.error_in_exec
        if isinstance(error, KeyboardInterrupt):
            raise error
        return error

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        self.keep("error", ename=etype.__name__, evalue=str(evalue), traceback=stb)


@contextmanager
def _shell() -> Iterator[_Shell]:
    """The shell of this process for the time being: `display` and `get_ipython` find it."""
    unrecorded = Config({"HistoryManager": {"enabled": False}})
    with tempfile.TemporaryDirectory(prefix="warmstall-") as folder:
        shell = _Shell.instance(ipython_dir=folder, config=unrecorded)
        try:
            yield shell
        finally:
            atexit.unregister(shell.atexit_operations)
            shell.atexit_operations()  # type: ignore[no-untyped-call]
            _Shell.clear_instance()


@contextmanager
def _figures_as_data() -> Iterator[None]:
    """plotly takes a process without a kernel for one that has a browser to show figures in."""
    from plotly.io import renderers

    before = renderers.default
    renderers.default = "plotly_mimetype"
    try:
        yield
    finally:
        renderers.default = before
