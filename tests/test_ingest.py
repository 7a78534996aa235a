"""Evidence becomes tables: the same from every dress, every line counted, only new bytes read."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dresses import DRESSES, requests_and_keys, rows, sample
from warmstall.errors import InputError, OutputError
from warmstall.evidence import Evidence, discover
from warmstall.ingest import block, blocks, ingest, manifest, parts

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL_LOGS = sorted(SHARED.glob("corpus/server-log/*.log"))[::5]
SLOG = 'time=2026-11-20T21:09:3{0}.417Z level=INFO source=images.go:754 msg="total blobs: {0}"\n'
GIN = '[GIN] 2026/11/20 - 21:10:0{0} | 200 | 4.{0}s | 127.0.0.1 | POST     "/api/chat"\n'


def log_of(path: Path) -> Evidence:
    """The file as a server log, whatever is in it."""
    return Evidence(path, "server-log", "local", str(path), stream=str(path))


def is_accounted_for(account: dict[str, object]) -> bool:
    return account["lines"] == account["recognized"] + account["unrecognized"] + account["undecodable"]


def count_lines(data: bytes) -> int:
    return data.count(b"\n") + bool(data and not data.endswith(b"\n"))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "evidence" / "server.log"
    path.parent.mkdir()
    return path


@pytest.fixture
def tables(tmp_path):
    return tmp_path / "tables"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4096)


@pytest.fixture
def blocks_read(monkeypatch):
    """The blocks that were parsed: first line and bytes of each."""
    seen: list[tuple[int, int]] = []
    original = block.parse_block

    def observed(read, *rest):
        seen.append((read.first_line, len(read.data)))
        return original(read, *rest)

    monkeypatch.setattr(block, "parse_block", observed)
    return seen


def fresh(paths: list[Path], folder: Path) -> dict[str, object]:
    """Everything that a first ingest of these paths says."""
    shutil.rmtree(folder, ignore_errors=True)
    return result(ingest(discover(paths), folder), folder)


def result(accounts, tables: Path) -> dict[str, object]:
    told = ("path", "lines", "recognized", "unrecognized", "undecodable", "first_at", "last_at", "offsets_s")
    return {
        "accounts": sorted([account[name] for name in told] for account in accounts),
        "tables": {name: without_clock(rows(tables, name)) for name in ("requests", "events", "trials")},
    }


def without_clock(found):
    """Rows without what may be null at the edge of a block."""
    return [{k: v for k, v in row.items() if k not in ("before_at", "after_at", "offset_s")} for row in found]


def assert_clock_equal_or_null(some, full):
    for one, other in zip(some, full, strict=True):
        for name in ("before_at", "after_at", "offset_s"):
            if name in one and one[name] is not None:
                assert one[name] == other[name]


# --- dresses ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    (folder / "server.log").write_text(sample(), encoding="utf-8")
    ingest(discover([folder / "server.log"]), folder / "tables")
    return requests_and_keys(folder / "tables")


@pytest.mark.parametrize("dress", DRESSES)
def test_every_dress_gives_the_same_requests_and_events(dress, bare, log, tables):
    log.write_bytes(DRESSES[dress](sample()))
    (account,) = ingest(discover([log]), tables)
    requests, keys = requests_and_keys(tables)
    assert len(requests) > 10
    assert len(keys) > 10
    assert requests == bare[0]
    assert keys == bare[1]
    assert is_accounted_for(account)


IN_BLOCKS = ["journald short", "compose coloured", "docker json-file", "cri in pieces", "gzip", "UTF-16 LE CRLF"]


@pytest.mark.parametrize("dress", IN_BLOCKS)
def test_every_dress_gives_the_same_tables_in_small_blocks(dress, bare, log, tables, small_blocks):
    log.write_bytes(DRESSES[dress](sample()))
    (account,) = ingest(discover([log]), tables)
    assert requests_and_keys(tables) == bare
    assert is_accounted_for(account)


@pytest.mark.parametrize("dress", ["docker logs -t", "cri", "docker json-file", "short-iso", "compose, then -t"])
def test_the_stamp_of_a_wrapper_is_kept_with_its_request(dress, log, tables):
    log.write_bytes(DRESSES[dress](sample()))
    ingest(discover([log]), tables)
    assert all(f"{row['wrapper_at']}".startswith("2026-11-20 21:09:3") for row in rows(tables, "requests"))


def test_long_docker_lines_are_joined_from_their_pieces(log, tables):
    padding = "x" * 40_000
    line = f'time=2026-11-20T21:09:31.418Z level=INFO source=routes.go:1 msg="a b" pad={padding} end=here\n'
    text = line + GIN.format(1)
    log.write_bytes(DRESSES["docker json-file"](text))
    (account,) = ingest(discover([log]), tables)
    assert account["lines"] == 4
    assert account["recognized"] == 4
    assert len(rows(tables, "requests")) == 1


@pytest.mark.parametrize("dress", ["plain", "gzip", "zstd", "journald short", "UTF-16 LE with mark"])
def test_standard_input_gives_the_same_as_a_file(dress, bare, tables, monkeypatch):
    data = DRESSES[dress](sample())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))
    (account,) = ingest(discover([Path("-")]), tables)
    assert requests_and_keys(tables) == bare
    assert is_accounted_for(account)


def test_standard_input_read_twice_holds_the_second_log_only(tables, monkeypatch):
    for number in (1, 2):
        stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(GIN.format(number).encode())))
        monkeypatch.setattr(sys, "stdin", stdin)
        ingest(discover([Path("-")]), tables)
        assert [row["wall_s"] for row in rows(tables, "requests")] == [4 + number / 10]


@pytest.mark.parametrize("data", [b"", b"\n\n\n", b"shopping list\nmilk\n", os.urandom(3000)], ids=["0", "1", "2", "3"])
def test_standard_input_without_a_log_is_refused(data, tables, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))
    with pytest.raises(InputError, match=r"^standard input: "):
        ingest(discover([Path("-")]), tables)


@pytest.mark.parametrize("prefix", ["{}  | ", "\x1b[36m{}  | \x1b[0m"], ids=["plain", "coloured"])
def test_what_another_service_says_in_a_log_of_compose_is_read(prefix, log, tables):
    ours, other = prefix.format("ollama-1"), prefix.format("web-1")
    said = '10.0.0.1 - - [20/Nov/2026:21:10:02 +0000] "POST /chat HTTP/1.1" 200 12 "-" "-" 1.250000\n'
    log.write_text("".join(f"{ours}{GIN.format(second)}{other}{said}" for second in range(1, 6)))
    (account,) = ingest(discover([log]), tables)
    assert account["wrappers"] == ["compose"]
    assert account["unrecognized"] == 0
    found = [(row["key"], row["line"]) for row in rows(tables, "events")]
    assert found == [("app_request", line) for line in range(2, 11, 2)]


def test_a_time_that_cannot_be_tells_no_zone(log, tables):
    times = ["2026-02-30T21:09:31+08:00", "2026-11-20T21:09:60.5-07:00", "2026-11-20T21:09:31+99:99",
             "0001-01-01T00:00:00.000+08:00", "9999-12-31T23:59:59.000-08:00"]  # fmt: skip
    bad = "".join(f"time={time} level=INFO source=images.go:754 msg=x\n{GIN.format(1)}" for time in times)
    log.write_text(SLOG.format(1) + bad)
    (account,) = ingest(discover([log]), tables)
    assert account["offsets_s"] == [0]
    assert account["first_at"] == account["last_at"] == "2026-11-20T21:09:31.417Z"
    assert [row["offset_s"] for row in rows(tables, "requests")] == [0, 0, 0, 0, 0]


def test_a_broken_year_of_docker_is_no_time(log, tables):
    log.write_bytes(DRESSES["docker json-file"](sample()).replace(b'"time":"2026', b'"time":"-026', 1))
    (account,) = ingest(discover([log]), tables)
    assert is_accounted_for(account)
    assert account["first_at"].startswith("2026-")


# --- every line accounted for -------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.binary(min_size=1, max_size=4000), st.booleans())
def test_random_bytes_are_accounted_for(tmp_path_factory, data, in_a_log):
    folder = tmp_path_factory.mktemp("random")
    data = GIN.format(1).encode() + data if in_a_log else data
    assume(not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")))  # a damaged gzip or zstd file is refused
    (folder / "server.log").write_bytes(data)
    (account,) = ingest([log_of(folder / "server.log")], folder / "tables")
    assert is_accounted_for(account)
    if account["encoding"] == "utf-8":
        assert account["lines"] == count_lines(data)
    shutil.rmtree(folder)


FRAGMENTS = [
    GIN.format(1), SLOG.format(1), "\n", '{"log":"', "\r", "x" * 700, "\0", "é", '{"MESSAGE":"\\ud800"}\n', "\u2028",
    "2026-11-20T20:49:02.1Z stderr P ", "ollama-1  | ",
]  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS)))
def test_fragments_of_logs_are_accounted_for_in_small_blocks(tmp_path_factory, fragments):
    folder = tmp_path_factory.mktemp("fragments")
    data = "".join([GIN.format(2), *fragments]).encode()
    (folder / "server.log").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 1024)
        (account,) = ingest([log_of(folder / "server.log")], folder / "tables")
    assert is_accounted_for(account)
    assert account["lines"] == count_lines(data)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "data", [b"\n" * 1000, b"\r\n" * 1000, b"\n", b" ", b"\0", b"\0\n", b"2026-11-20T20:49:02.1Z stderr P a\n\0"]
)
def test_empty_lines_are_accounted_for(data, log, tables):
    log.write_bytes(data)
    (account,) = ingest([log_of(log)], tables)
    assert is_accounted_for(account)
    assert account["lines"] == count_lines(data)


PACKED = [zlib.compress(GIN.encode()), gzip.compress(GIN.encode()), zstandard.compress(GIN.encode())]


@pytest.mark.parametrize("start", [b"x^2 + y", b"x\x01", b"xx", *PACKED], ids=range(6))
def test_a_block_that_begins_like_compressed_data_is_text(start, log, tables):
    log.write_text(GIN.format(1))
    ingest([log_of(log)], tables)
    with log.open("ab") as handle:  # what is appended is a block of its own
        handle.write(start + b"\n" + GIN.format(2).encode())
    (account,) = ingest([log_of(log)], tables)
    assert account["lines"] == count_lines(log.read_bytes())
    assert is_accounted_for(account)
    assert [row["wall_s"] for row in rows(tables, "requests")] == [4.1, 4.2]


@pytest.mark.timeout(30)
def test_a_line_of_5_mb_is_one_line(log, tables):
    log.write_bytes(GIN.format(1).encode() + b"x" * 5_000_000 + b"\n" + GIN.format(2).encode())
    (account,) = ingest(discover([log]), tables)
    assert account["lines"] == 3
    assert is_accounted_for(account)
    assert [row["line"] for row in rows(tables, "requests")] == [1, 3]


def test_a_line_longer_than_a_block_can_be_is_cut_but_counted(log, tables, monkeypatch, small_blocks):
    monkeypatch.setattr(blocks, "LONGEST_LINE_BYTES", 8192)
    log.write_bytes(GIN.format(1).encode() + b"x" * 20_000 + b"\n" + GIN.format(2).encode())
    (account,) = ingest(discover([log]), tables)
    assert is_accounted_for(account)
    assert len(rows(tables, "requests")) == 2


@pytest.mark.skipif(not REAL_LOGS, reason="the shared corpus is not here")
def test_real_logs_are_accounted_for(tmp_path):
    accounts = ingest([log_of(path) for path in REAL_LOGS], tmp_path / "tables")
    assert all(is_accounted_for(account) for account in accounts)
    for path, account in zip(REAL_LOGS, accounts, strict=True):
        if not account["encoding"].startswith("utf-16"):
            assert account["lines"] == count_lines(path.read_bytes())


# --- blocks -------------------------------------------------------------------------------------------------


def test_blocks_of_few_lines_make_the_tables_of_one_of_many(log, tables, tmp_path, monkeypatch, blocks_read):
    log.write_text(sample(), encoding="utf-8")
    whole = result(ingest(discover([log]), tables), tables)
    assert len(blocks_read) == 1
    monkeypatch.setattr(blocks, "MOST_LINES", 20)
    assert fresh([log], tmp_path / "fresh") == whole
    assert len(blocks_read) > 5


@pytest.mark.parametrize(("name", "size"), [("queue-one-slot", 1024), ("reloads-two-models", 8192)])
def test_small_blocks_make_the_tables_of_one_big_block(name, size, log, tables, tmp_path, monkeypatch, blocks_read):
    log.write_text(sample(name), encoding="utf-8")
    big = result(ingest(discover([log]), tables), tables)
    assert len(blocks_read) == 1
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    small = fresh([log], tmp_path / "small")
    assert len(blocks_read) > 10
    assert small == big
    for table in ("requests", "events"):
        assert_clock_equal_or_null(rows(tmp_path / "small", table), rows(tables, table))


def test_a_block_without_a_telling_line_is_unwrapped_like_the_head_of_its_file(log, tables, small_blocks):
    log.write_bytes(DRESSES["journald short"](GIN.format(1) + "print_info: n_ctx_train = 4096\n" * 300))
    (account,) = ingest(discover([log]), tables)
    assert (account["lines"], account["recognized"]) == (301, 301)


# --- only new bytes -----------------------------------------------------------------------------------------


def test_what_was_appended_makes_two_blocks(log, tables, tmp_path, monkeypatch, blocks_read):
    monkeypatch.setattr(blocks, "_LEAST_BYTES", 1024)
    monkeypatch.setattr(blocks, "_MARGIN_BYTES", 200)
    text = sample() * 2
    log.write_text(text, encoding="utf-8")
    ingest(discover([log]), tables)
    assert len(blocks_read) == 1
    blocks_read.clear()
    with log.open("a", encoding="utf-8") as handle:
        handle.write(text)
    told = result(ingest(discover([log]), tables), tables)
    assert len(blocks_read) == 2
    assert told == fresh([log], tmp_path / "fresh")


def test_only_appended_bytes_are_read(log, tables, tmp_path, blocks_read):
    text = sample()
    half = text.index("\n", len(text) // 2) + 1
    log.write_text(text[:half], encoding="utf-8")
    ingest(discover([log]), tables)
    blocks_read.clear()
    with log.open("a", encoding="utf-8") as handle:
        handle.write(text[half:])
    accounts = ingest(discover([log]), tables)
    assert blocks_read == [(text[:half].count("\n") + 1, len(text[half:].encode()))]
    again = result(accounts, tables)
    assert again == fresh([log], tmp_path / "fresh")
    for table in ("requests", "events"):
        assert_clock_equal_or_null(rows(tables, table), rows(tmp_path / "fresh", table))


def test_an_unchanged_file_is_not_read_again(log, tables, blocks_read):
    log.write_text(sample(), encoding="utf-8")
    first = ingest(discover([log]), tables)
    before = {path: path.stat().st_mtime_ns for path in tables.iterdir()}
    blocks_read.clear()
    assert ingest(discover([log]), tables) == first
    assert blocks_read == []
    assert {path: path.stat().st_mtime_ns for path in tables.iterdir()} == before


@settings(max_examples=3, deadline=None)
@example([1, 101], "cri in pieces")  # how a log is wrapped cannot be told by its first byte
@given(
    st.lists(st.integers(1, 15000), max_size=4), st.sampled_from(["plain", "journald short", "cri in pieces", "CRLF"])
)
def test_a_log_that_grows_by_any_bytes_gives_the_tables_of_the_whole(tmp_path_factory, cuts, dress):
    folder = tmp_path_factory.mktemp("grows")
    log, data = folder / "server.log", DRESSES[dress](sample())
    for cut in [400, *sorted(cuts), len(data)]:  # 400: enough for the file to be known as a log
        log.write_bytes(data[:cut])
        accounts = ingest([log_of(log)], folder / "tables")
    told = result(accounts, folder / "tables")
    shutil.rmtree(folder / "tables")
    assert told == result(ingest([log_of(log)], folder / "tables"), folder / "tables")
    shutil.rmtree(folder)


def test_an_incomplete_last_line_is_counted_once_when_it_is_completed(log, tables):
    log.write_text(SLOG.format(1) + GIN.format(2)[:30])
    (account,) = ingest(discover([log]), tables)
    assert account["lines"] == 2
    log.write_text(SLOG.format(1) + GIN.format(2) + GIN.format(3))
    (account,) = ingest(discover([log]), tables)
    assert account["lines"] == account["recognized"] == 3
    assert [row["line"] for row in rows(tables, "requests")] == [2, 3]


def test_bytes_written_while_a_log_is_read_are_read_next_time(log, tables, monkeypatch):
    log.write_text(GIN.format(1))
    original = block.parse_block

    def append_meanwhile(*arguments):
        if log.stat().st_size == len(GIN.format(1)):
            with log.open("a") as handle:
                handle.write(GIN.format(2))
        return original(*arguments)

    monkeypatch.setattr(block, "parse_block", append_meanwhile)
    ingest(discover([log]), tables)
    (account,) = ingest(discover([log]), tables)
    assert account["lines"] == 2
    assert [row["line"] for row in rows(tables, "requests")] == [1, 2]


def changed_in_the_middle(log):
    data = bytearray(log.read_bytes())
    data[9000:9010] = b"replaced!!"
    log.write_bytes(data)


def copytruncate(log):
    shutil.copy(log, log.with_name("server.log.1"))
    with log.open("r+b") as handle:
        handle.truncate(0)
        handle.write(GIN.format(7).encode())


def copytruncate_and_grown_longer(log):
    size = log.stat().st_size
    copytruncate(log)
    with log.open("a") as handle:
        handle.write(GIN.format(8) * (size // len(GIN) + 10))


def rotate(log):
    log.rename(log.with_name("server-1.log"))
    log.write_text(GIN.format(7))


def rotate_twice(log):
    rotate(log)
    ingest(discover([log.parent]), log.parent.parent / "tables")
    log.with_name("server-1.log").rename(log.with_name("server-2.log"))
    rotate(log)


def swap(log):
    log.with_name("server-1.log").write_bytes(log.read_bytes()[:5000])


def replaced_by_another_inode(log):
    other = log.with_name("new")
    other.write_bytes(log.read_bytes().replace(b"/api/generate", b"/api/generat0"))
    other.replace(log)


CHANGES = [
    changed_in_the_middle, copytruncate, copytruncate_and_grown_longer, rotate, rotate_twice, swap,
    replaced_by_another_inode,
    lambda log: log.write_bytes(log.read_bytes()[:7000]),
    lambda log: (log.rename(log.with_name("other.log"))),
    lambda log: log.write_bytes(gzip.compress(log.read_bytes())),
]  # fmt: skip
CHANGE_NAMES = [
    "middle", "copytruncate", "copytruncate-longer", "rotate", "rotate-twice", "rotation-appears", "inode", "truncated",
    "renamed", "compressed",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=CHANGE_NAMES)
def test_a_changed_folder_is_never_counted_twice_nor_lost(change, log, tables, tmp_path):
    log.write_text(sample(), encoding="utf-8")
    (log.parent / "other-stays.log").write_text(GIN.format(5))
    ingest(discover([log.parent]), tables)
    change(log)
    told = result(ingest(discover([log.parent]), tables), tables)
    assert told == fresh([log.parent], tmp_path / "fresh")


def test_a_change_between_the_sampled_bytes_is_seen(log, tables, tmp_path):
    log.write_text(sample("reloads-two-models"), encoding="utf-8")
    ingest(discover([log]), tables)
    data = bytearray(log.read_bytes())
    data[6000:6010] = b"x\nreplaced"
    log.write_bytes(data)
    told = result(ingest(discover([log]), tables), tables)
    assert told == fresh([log], tmp_path / "fresh")


@pytest.mark.parametrize("dress", ["gzip", "zstd", "UTF-16 LE with mark", "UTF-8 with mark"])
def test_what_cannot_be_continued_is_read_anew(dress, log, tables, tmp_path):
    log.write_bytes(DRESSES[dress](sample()))
    ingest(discover([log]), tables)
    log.write_bytes(DRESSES[dress](sample() + GIN.format(1)))
    told = result(ingest(discover([log]), tables), tables)
    assert told == fresh([log], tmp_path / "fresh")


def test_trials_and_samples_are_read_anew_when_they_grow(tmp_path, tables):
    evidence = Path(__file__).resolve().parents[1] / "data/incidents/queue-one-slot/evidence/server"
    folder = tmp_path / "evidence"
    folder.mkdir()
    for name in ("trials.csv", "ps.jsonl"):
        lines = (evidence / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:10]))
        ingest(discover([folder]), tables)
        (folder / name).write_text("".join(lines))
    accounts = ingest(discover([folder]), tables)
    assert all(account["unrecognized"] == 0 for account in accounts)
    assert result(accounts, tables) == fresh([folder], tmp_path / "fresh")
    assert rows(tables, "processes") == rows(tmp_path / "fresh", "processes")


# --- interruptions ------------------------------------------------------------------------------------------


def test_a_run_that_fails_leaves_the_tables_as_they_were(log, tables, monkeypatch, small_blocks):
    log.write_text(sample()[:9000], encoding="utf-8")
    told = result(ingest(discover([log]), tables), tables)
    files = {path.name: path.read_bytes() for path in tables.iterdir()}
    log.write_text(sample()[::-1] + GIN.format(1), encoding="utf-8")
    original, calls = block.parse_block, []

    def fail_later(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("on purpose")
        return original(*arguments)

    monkeypatch.setattr(block, "parse_block", fail_later)
    with pytest.raises(RuntimeError, match="on purpose"):
        ingest(discover([log]), tables)
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == files
    assert told["tables"]["requests"] == without_clock(rows(tables, "requests"))


DRIVER = """
import os, signal, sys
from pathlib import Path
from warmstall.evidence import discover
from warmstall.ingest import block, blocks, ingest

log, tables, owner, name, count = sys.argv[1:]
blocks.BLOCK_BYTES = 4096
owner = {"block": block, "path": Path}[owner]
original, calls = getattr(owner, name), []

def killed_at(*arguments, **options):
    calls.append(1)
    if len(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(owner, name, killed_at)
ingest(discover([Path(log)]), Path(tables))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize(("moment", "grown"), [("block write_part 3", True), ("path replace 4", False)])
def test_a_killed_run_is_put_right_by_the_next(moment, grown, log, tables, tmp_path):
    text = sample()
    log.write_text(text[:9000], encoding="utf-8")
    ingest(discover([log]), tables)
    log.write_text(text if grown else GIN.format(3) + text, encoding="utf-8")
    command = [sys.executable, "-c", DRIVER, str(log), str(tables), *moment.split()]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    told = result(ingest(discover([log]), tables), tables)
    assert told == fresh([log], tmp_path / "fresh")
    assert not list(tables.glob("*.partial"))


@pytest.mark.parametrize(
    ("owner", "name", "count", "grown"),
    [(block, "parse_block", 2, True), (parts.Staging, "commit", 1, True), (Path, "unlink", 2, False),
     (Path, "replace", 1, True)],
)  # fmt: skip
def test_a_run_that_could_not_even_clean_up_is_put_right_by_the_next(owner, name, count, grown, log, tables, tmp_path):
    text = sample()
    log.write_text(text[:9000], encoding="utf-8")
    ingest(discover([log]), tables)
    log.write_text(text if grown else GIN.format(3) + text, encoding="utf-8")
    original, calls = getattr(owner, name), []

    def dies(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            raise SystemExit("killed")
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 4096)
        patch.setattr(parts.Staging, "discard", lambda staging: None)
        patch.setattr(owner, name, dies)
        with pytest.raises(SystemExit):
            ingest(discover([log]), tables)
    told = result(ingest(discover([log]), tables), tables)
    assert told == fresh([log], tmp_path / "fresh")
    assert not list(tables.glob("*.partial"))


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 2}', "", '{"schema": 2, "rows": 1, "sources": []}'])
def test_a_damaged_manifest_means_reading_anew(damage, log, tables):
    log.write_text(sample(), encoding="utf-8")
    told = result(ingest(discover([log]), tables), tables)
    (tables / "ingest.json").write_text(damage)
    assert result(ingest(discover([log]), tables), tables) == told


def test_a_lost_part_means_reading_anew(log, tables):
    log.write_text(sample(), encoding="utf-8")
    told = result(ingest(discover([log]), tables), tables)
    for path in tables.glob("*.parquet"):
        path.unlink()
    assert result(ingest(discover([log]), tables), tables) == told


def test_tables_of_another_log_table_are_made_anew(log, tables):
    log.write_text(sample(), encoding="utf-8")
    ingest(discover([log]), tables)
    saved = json.loads((tables / "ingest.json").read_text())
    assert saved["rows"] == manifest.table_digest({})
    (tables / "ingest.json").write_text(json.dumps(saved | {"rows": "0"}))
    (tables / "events-000000000000-0.parquet").write_bytes(b"of another version")
    ingest(discover([log]), tables)
    assert not (tables / "events-000000000000-0.parquet").exists()


def test_a_write_that_fails_is_an_output_error_and_leaves_nothing(log, tables, monkeypatch):
    log.write_text(sample(), encoding="utf-8")

    def no_space(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        ingest(discover([log]), tables)
    assert list(tables.iterdir()) == []
    monkeypatch.undo()  # and once there is space again, all is well
    (account,) = ingest(discover([log]), tables)
    assert account["recognized"] > 0


def test_a_log_damaged_since_the_last_run_leaves_the_tables_as_they_were(log, tables):
    log.write_bytes(gzip.compress(sample().encode()))
    ingest(discover([log]), tables)
    files = {path.name: path.read_bytes() for path in tables.iterdir()}
    noise = random.Random(7).randbytes(900_000)
    log.write_bytes(gzip.compress(sample().encode() + noise)[:-5000])
    with pytest.raises(InputError, match="cut short or damaged"):
        ingest(discover([log]), tables)
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == files


def test_evidence_that_vanishes_is_an_input_error(log, tables):
    log.write_text(sample(), encoding="utf-8")
    evidence = discover([log])
    log.unlink()
    with pytest.raises(InputError, match=r"server\.log: cannot be read"):
        ingest(evidence, tables)


# --- hostile ------------------------------------------------------------------------------------------------

NAMES = ["it's \"quoted\".log", "two\nlines.log", "'); DROP TABLE block; --.log", "журнал 日志.log", "a[*]?.log",
         "$host {families}.log", "-.log", b"not\xffutf8.log".decode("utf-8", "surrogateescape")]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_file_name_works(name, tmp_path, tables):
    folder = tmp_path / ("x" + name)
    folder.mkdir()
    (folder / name).write_text(sample(), encoding="utf-8")
    for path in (folder, folder / name):
        (account,) = ingest(discover([path]), tables)
        assert {row["source"] for row in rows(tables, "requests")} == {account["path"]}
        assert {row["source"] for row in rows(tables, "events")} == {account["path"]}


def test_logs_of_the_same_name_in_two_folders_are_kept_apart(tmp_path, tables):
    for second, name in enumerate(("a", "b"), 1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.log").write_text(GIN.format(second))
    accounts = ingest(discover([tmp_path / "a", tmp_path / "b"]), tables)
    assert len({account["path"] for account in accounts}) == 2
    assert len(rows(tables, "requests")) == 2


def test_log_text_that_looks_like_sql_does_nothing(log, tables):
    hostile = ["'; DROP TABLE block; --", "$ansi $anchors {unwrapped} {families}", "');\nSELECT 1;\n", "%s {0} \\1"]
    text = "".join(f'time=2026-11-20T21:09:31.417Z level=INFO source=x.go:1 msg="{bad}"\n{bad}\n' for bad in hostile)
    path = GIN.format(1).replace("/api/chat", "/api/'; DROP TABLE block; --|x")
    log.write_text(text + path)
    (account,) = ingest(discover([log]), tables)
    assert is_accounted_for(account)
    assert [row["path"] for row in rows(tables, "requests")] == ["/api/'; DROP TABLE block; --|x"]


NOISE = (' ="\\{}[]:|.,a1\t' * 20)[:256].encode()  # which character stands for a byte
HOSTILE_LINES = {
    "nested quotes": 'time=2026-11-20T21:09:31.417Z level=INFO msg="starting llama server" cmd='
    + '\\"a \\\\\\"b ' * 300_000,
    "open quotes": 'time=2026-11-20T21:09:31.417Z level=INFO msg="starting llama server" ' + 'a="\\" ' * 500_000,
    "brackets": "time=2026-11-20T21:09:31.417Z level=INFO msg=load request=" + "{[map[" * 500_000,
    "nested json": '{"log":' + "[" * 3_000_000,
    "blanks": "slot " + " " * 3_000_000,
    "colons": "llama_" + "a:" * 1_500_000,
    "digits": "[GIN] 2026/11/20 - 21:10:01 | 200 | " + "9" * 3_000_000 + 's | ::1 | POST "/api/chat"',
    "durations": "[GIN] 2026/11/20 - 21:10:01 | 200 | " + "1h1m" * 700_000 + ' | ::1 | POST "/api/chat"',
    "colour": "\x1b[" + "1;" * 1_500_000,
    "journald-like": "Aug 21 18:48:22 " + "a" * 3_000_000,
    "random": random.Random(1).randbytes(3_000_000).translate(NOISE).decode(),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", HOSTILE_LINES.values(), ids=HOSTILE_LINES)
def test_a_hostile_line_of_3_mb_does_not_hang(line, log, tables):
    log.write_text(f"{SLOG.format(1)}{line}\n{GIN.format(1)}")
    (account,) = ingest(discover([log]), tables)
    assert is_accounted_for(account)
    assert account["lines"] == 3
    assert [row["line"] for row in rows(tables, "requests")][-1] == 3


@pytest.mark.parametrize("wall", ["", "x", "-1s", "1.2.3s", "9" * 400 + "s", "1e5s", "  "])
def test_an_unreadable_latency_is_null(wall, log, tables):
    log.write_text(f'{GIN.format(1)}[GIN] 2026/11/20 - 21:10:01 | 200 | {wall} | ::1 | POST "/api/chat"\n')
    ingest(discover([log]), tables)
    assert [row["wall_s"] for row in rows(tables, "requests")] == [4.1, None]


def test_halves_of_characters_in_json_are_stored_as_question_marks(log, tables):
    log.write_text('{"log":"' + GIN.format(1).strip().replace('"', '\\"').replace("chat", "ch\\ud800at") + '\\n"}\n')
    ingest(discover([log]), tables)
    assert [row["path"] for row in rows(tables, "requests")] == ["/api/ch?at"]
