"""A runbook's record in a real browser: legible on a wide and on a narrow screen, and it asks nothing of elsewhere.

With WARMSTALL_SCREENSHOTS set to a folder, what the browser shows is kept there: `make docs` makes the docs' pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from browser import page_of
from warmstall import report
from warmstall.remediate.executed import notebook_of

EVERY = pytest.mark.parametrize("name", ["recover-stuck-runner", "raise-service-limits"])
# A row of the plan that is higher has a column in which its words have no room.
MOST_ROW_PX = 150


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of whoever runs the tests stays as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@EVERY
def test_the_executed_runbook_can_be_read(name: str, tmp_path: Path) -> None:
    executed, written = tmp_path / "executed.ipynb", tmp_path / "page.html"
    assert report.execute(notebook_of(name), executed, {"dry_run": True}) == ""
    written.write_text(report.html_page(executed, name), encoding="utf-8")
    with page_of(written, 1100) as page:
        assert "Nothing was changed." in page.locator("section.summary").inner_text()
        for width in (1100, 600):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 1100, "height": 900})
        preconditions, plan = (page.locator("table").nth(number) for number in (0, 1))
        assert preconditions.locator("th").all_inner_texts() == ["name", "state", "sentence"]
        assert plan.locator("th").all_inner_texts() == ["step", "does", "now", "wanted", "effect", "felt by", "undo"]
        # The whole plan is on the screen at once: nothing is to be scrolled for, and no column is a strip of letters.
        assert plan.evaluate("table => table.parentElement.scrollWidth <= table.parentElement.clientWidth")
        heights = plan.locator("tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
        assert heights
        assert max(heights) <= MOST_ROW_PX, heights
        if folder := os.environ.get("WARMSTALL_SCREENSHOTS"):
            headings = ("Preconditions", "Act, verify, roll back, record")
            begins, ends = (page.get_by_role("heading", name=name).bounding_box()["y"] - 12 for name in headings)
            shown = {"x": 0, "y": begins, "width": 1100, "height": ends - begins}
            page.screenshot(path=Path(folder) / f"runbook-{name}.png", full_page=True, clip=shown)
