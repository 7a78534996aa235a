"""Which files are evidence, and in what order they are read."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import pytest
import zstandard

from dresses import DRESSES, sample
from warmstall.errors import InputError
from warmstall.evidence import discover, kind_of, left_out, open_bytes, read_head

INCIDENT = Path(__file__).resolve().parents[1] / "data" / "incidents" / "queue-one-slot"
PACKS = [gzip.compress, zstandard.compress, lzma.compress, bz2.compress]
GIN = '[GIN] 2026/11/20 - 21:10:01 | 200 | 4.1s | 127.0.0.1 | POST     "/api/chat"\n'


def write_all(folder: Path, *names: str) -> None:
    """Logs that differ in their content, as different logs do: copies are read once."""
    for name in names:
        (folder / name).write_text(GIN.replace("/api/chat", f"/api/chat?{name}"))


@pytest.mark.parametrize(
    "names",
    [
        ["server-2.log", "server-1.log", "server.log"],
        ["server-10.log", "server-9.log", "server-1.log", "server.log"],
        ["server2.log", "server1.log", "server.log"],
        ["server.log.2", "server.log.1", "server.log"],
        ["server.log.5.xz", "server.log.4.bz2", "server.log.3.gz", "server.log.2.zst", "server.log.1", "server.log"],
    ],
)
def test_rotations_are_one_stream_oldest_first(names, tmp_path):
    write_all(tmp_path, *names)
    found = discover([tmp_path])
    assert [item.name for item in found] == names
    assert len({item.stream for item in found}) == 1


def test_a_date_in_a_name_is_no_age(tmp_path):
    write_all(tmp_path, "server-20261119.log", "server-20261120.log")
    found = discover([tmp_path])
    assert [item.name for item in found] == ["server-20261119.log", "server-20261120.log"]
    assert [item.age for item in found] == [0, 0]
    assert len({item.stream for item in found}) == 2


def test_a_case_has_the_host_of_each_folder(tmp_path):
    for host in ("gpu-1", "gpu-2"):
        (tmp_path / "evidence" / host).mkdir(parents=True)
        write_all(tmp_path / "evidence" / host, "server.log")
    assert [(item.host, item.name) for item in discover([tmp_path])] == [
        ("gpu-1", "gpu-1/server.log"),
        ("gpu-2", "gpu-2/server.log"),
    ]


def test_a_case_of_the_project_holds_its_three_kinds():
    assert {item.kind for item in discover([INCIDENT])} == {"server-log", "trials", "process-samples"}


def test_results_and_hidden_files_are_not_evidence(tmp_path):
    for folder in ("out", "tables", "history", ".git"):
        (tmp_path / folder).mkdir()
        write_all(tmp_path / folder, "server.log")
    write_all(tmp_path, "server.log", ".server.log.swp", "notes.md")
    assert [item.name for item in discover([tmp_path])] == ["server.log"]


def test_what_may_have_been_meant_as_evidence_is_named(tmp_path):
    """Not results, prose or copies: text of which nothing is known."""
    write_all(tmp_path, "server.log", "copy.log", "notes.md")
    (tmp_path / "mine.txt").write_text("the model hung again at nine\n")
    assert left_out(tmp_path, discover([tmp_path])) == [tmp_path / "mine.txt"]


def test_a_path_given_twice_is_read_once(tmp_path):
    write_all(tmp_path, "server.log")
    (tmp_path / "link.log").symlink_to(tmp_path / "server.log")
    assert len(discover([tmp_path, tmp_path / "server.log", tmp_path / "link.log"])) == 1


@pytest.mark.parametrize("dress", [name for name in DRESSES if not name.startswith(("gzip", "zstd"))])
def test_a_log_is_known_in_every_dress(dress):
    assert kind_of(DRESSES[dress](sample())) == "server-log"


def test_a_log_that_begins_in_a_load_is_known_by_its_runner():
    runner = [line for line in sample().split("\n") if line.startswith(("llama_", "ggml_"))]
    assert kind_of("\n".join(runner).encode()) == "server-log"


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a,b\n1,2\n", b"{}", b'{"ts": 1}', b"Started nginx.\n" * 9, os.urandom(999)]
)
def test_other_files_are_no_evidence(data):
    assert kind_of(data) == ""


@pytest.mark.parametrize("pack", [bytes, *PACKS])
@pytest.mark.parametrize("size", [0, 1, 5000, 700_000])
def test_bytes_come_back_whole_from_every_packing(pack, size, tmp_path):
    data = os.urandom(size // 2) + b"a" * (size - size // 2)
    (tmp_path / "file").write_bytes(pack(data))
    with open_bytes(tmp_path / "file") as handle:
        assert handle.read() == data


@pytest.mark.parametrize("pack", PACKS)
def test_a_packed_file_cut_anywhere_is_damaged(pack, tmp_path):
    whole = pack(sample().encode())
    for length in (20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "server.log").write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut short or damaged"):
            discover([tmp_path / "server.log"])


@pytest.mark.parametrize("pack", [bytes, *PACKS])
@pytest.mark.parametrize("lines", [40, 10_000])
def test_a_copy_of_a_log_is_read_once(pack, lines, tmp_path):
    """Whether it is compressed, or was taken while the log was shorter: its requests would count twice."""
    log = sample().encode()
    (tmp_path / "server.log").write_bytes(log)
    (tmp_path / "other").write_bytes(pack(b"".join(log.splitlines(keepends=True)[:lines])))
    assert len({item.path for item in discover([tmp_path])}) == 1
    if lines == 40:
        assert [item.name for item in discover([tmp_path])] == ["server.log"]


def test_logs_that_only_begin_alike_are_two(tmp_path):
    for name, end in (("a.log", "first\n"), ("b.log", "second\n")):
        (tmp_path / name).write_text(sample() + end)
    assert [item.name for item in discover([tmp_path])] == ["a.log", "b.log"]


def test_a_missing_path_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="there is no such file or folder"):
        discover([tmp_path / "missing"])
    with pytest.raises(InputError, match="cannot be read"):
        read_head(tmp_path / ("x" * 300) / "y")


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "empty"), (b"\n\n", "nothing but empty lines"), (b"\0\1\2" * 99, "binary"), (b"hello", 'begins "hello"')],
)
def test_a_file_that_is_no_log_is_an_input_error(data, told, tmp_path):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InputError, match=told):
        discover([tmp_path / "file"])


def test_a_json_document_on_one_line_is_no_log_of_one_line(tmp_path):
    """As the answer of an API; its events would be found, and of its requests none."""
    records = {"values": [["1773507614000000000", line] for line in sample().split("\n")]}
    (tmp_path / "loki.json").write_text(json.dumps(records))
    with pytest.raises(InputError, match="one line of JSON with many records"):
        discover([tmp_path / "loki.json"])
    (tmp_path / "one.json").write_text(json.dumps({"message": sample().split("\n")[0]}) + "\n")
    assert len(discover([tmp_path / "one.json"])) == 1


def test_a_folder_without_evidence_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no evidence in this folder"):
        discover([tmp_path])
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"nothing is known of 0\.txt, 1\.txt, 2\.txt and 2 more"):
        discover([tmp_path])


def test_a_server_that_cannot_listen_leaves_a_log_of_one_line(tmp_path):
    (tmp_path / "out.txt").write_text("Error: listen tcp 127.0.0.1:11434: bind: address already in use\n")
    assert discover([tmp_path])[0].kind == "server-log"
