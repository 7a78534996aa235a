"""An access line that is laid out as GIN does has no text in the tables: it is written again from its columns."""

from __future__ import annotations

import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dresses import rows
from warmstall.evidence import Evidence
from warmstall.ingest import ingest
from warmstall.ingest.access import plain_requests
from warmstall.parse.log_events import ANCHORS, rows_of

LINE = '[GIN] 2026/11/20 - 20:49:03 | 200 |     333.156µs |       127.0.0.1 | POST     "/api/generate"'
SECONDS = {
    "0s": 0.0, "1ns": 1e-9, "999ns": 9.99e-7, "1µs": 1e-6, "333.156µs": 0.000333156, "1ms": 0.001, "17.1ms": 0.0171,
    "999.999999ms": 0.999999999, "1s": 1.0, "59.999999999s": 59.999999999, "10.5s": 10.5, "1m0s": 60.0, "1m41s": 101.0,
    "59m59s": 3599.0, "1h0m0s": 3600.0, "100h1m2s": 360062.0, "1m2.5s": 62.5, "0.5s": 0.5, "104.9┬╡s": 0.0001049,
    "2540400h10m10s": None, "soon": None, "": None, "1.2.3s": None,
}  # fmt: skip


def gin(stamp="2026/11/20 - 20:49:03", status="200", wall="4.2s", client="127.0.0.1", method="POST", path="/api/chat"):
    return f'[GIN] {stamp} | {status:>3} | {wall:>13} | {client:>15} | {method:<7}  "{path}"'


def read(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("plain")
    log = folder / "server.log"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    ingest([Evidence(log, "server-log", "box", "server.log")], folder / "tables")
    return rows(folder / "tables", "requests")


def test_a_sample_is_plain():
    lines = polars.DataFrame({"line": [1], "wrapper_at": [None], "text": [LINE]})
    plain, others = plain_requests(lines)
    assert len(plain) == 1
    assert others.is_empty()
    assert gin(wall="333.156µs", path="/api/generate") == LINE


@pytest.mark.parametrize("wall", SECONDS)
def test_every_latency_is_read_and_shown_as_it_was_written(wall, tmp_path_factory):
    (found,) = read(tmp_path_factory, [gin(wall=wall)])
    assert found["text"] == gin(wall=wall)
    assert found["wall_s"] == (pytest.approx(SECONDS[wall], abs=1e-12) if SECONDS[wall] is not None else None)


@pytest.mark.parametrize(
    "line",
    [gin(client="2001:db8:85a3::8a2e:370:7334"), gin(client="::1"), gin(path="/api/blobs/sha256:ab12"),
     gin(path="/v1/x?key=SIGSEGV: "), gin(path="a|b"), gin(path='\\"quoted\\"'), gin(status="0"),
     gin(method="PROPFIND"),
     gin().replace("200 |", "200  |", 1), gin() + " ", gin().replace("POST ", "POST"), "glued " + gin(),
     gin(stamp="2026/13/45 - 20:49:03"), gin(stamp="2026/12/31 - 23:59:60")],
)  # fmt: skip
def test_every_layout_is_shown_as_it_was_written(line, tmp_path_factory):
    (found,) = read(tmp_path_factory, [line])
    assert found["text"] == line


LINES = st.builds(
    gin,
    wall=st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,9})?(ns|µs|ms|s)\Z|\A([0-9]{1,3}h)?[0-9]{1,2}m[0-9]{1,2}s\Z"),
    client=st.from_regex(r"\A[0-9a-f.: ]{0,17}\Z"),
    method=st.from_regex(r"\A[A-Z ]{0,9}\Z"),
    path=st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff"), max_size=20),
)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(LINES, min_size=8))
def test_whatever_was_written_is_shown(lines, tmp_path_factory):
    assert [row["text"] for row in read(tmp_path_factory, lines)] == lines


def test_no_event_fits_into_a_plain_access_line():
    """Such a line is not searched for events."""
    of_path = set("abcdefghijklmnopqrstuvwxyz0123456789/_.:?=&%+,|-")
    fitting = [anchor for anchor in ANCHORS if anchor in LINE or set(anchor) <= of_path]
    assert [anchor for anchor in fitting if not all(row.pattern.startswith("^oom") for row in rows_of(anchor))] == []
    assert not [anchor for anchor in ANCHORS if "|" in anchor and anchor.strip(" |").isdecimal()]
