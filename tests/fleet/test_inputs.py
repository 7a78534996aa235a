"""Which hosts inputs name: folders, globs and URLs; hostile names; what is evidence of a host and what is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fsspec
import pytest

from fleet.small_fleet import HOSTILE
from warmstall.errors import InputError
from warmstall.fleet.inputs import files_of, hosts_in
from warmstall.fleet.names import decoded, encoded, told


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names_in(*inputs: str | Path) -> list[str]:
    return [host.name for host in hosts_in([str(given) for given in inputs])]


def test_a_folder_of_hosts_has_a_folder_or_a_log_each(tmp_path: Path) -> None:
    files(tmp_path, "a/server.log", "b.log", "c.log.gz", "README.md", ".hidden/server.log")

    assert names_in(tmp_path) == ["a", "b", "c"]


def test_rotations_are_one_host_where_their_newest_is_there_too(tmp_path: Path) -> None:
    files(tmp_path, "old/server.log", "server.log", "server-1.log", "server.log.2.gz", "gpu-1.log", "gpu-2.log")
    hosts = {host.name: [Path(path).name for path in host.paths] for host in hosts_in([str(tmp_path)])}

    assert hosts["server"] == ["server-1.log", "server.log", "server.log.2.gz"]
    assert set(hosts) == {"old", "server", "gpu-1", "gpu-2"}


def test_a_log_and_a_folder_of_one_name_are_two_hosts(tmp_path: Path) -> None:
    files(tmp_path, "a/server.log", "a.log", "b.log", "b.txt")

    assert names_in(tmp_path) == ["a", "a.log", "b.log", "b.txt"]


def test_a_case_is_one_host(tmp_path: Path) -> None:
    files(tmp_path, "case/evidence/gpu/server.log", "case/case.json", "case/out/report.html")

    assert names_in(tmp_path / "case") == names_in(tmp_path) == ["case"]


def test_a_log_beside_other_captures_is_one_host(tmp_path: Path) -> None:
    files(tmp_path / "box", "server.log", "server-1.log", "vm_stat.txt", "trials.csv")

    assert names_in(tmp_path / "box") == names_in(tmp_path) == ["box"]


def test_what_a_glob_leaves_open_is_the_name(tmp_path: Path) -> None:
    files(tmp_path, "day/a/server.log", "day/b/server.log", "day/b/notes.md", "day/c/x/server.log")

    assert names_in(tmp_path / "day/*/server.log") == ["a", "b"]
    assert names_in(tmp_path / "day/*") == ["a", "b", "c"]
    assert names_in(tmp_path / "day/**/server.log") == ["a", "b", "c/x"]


def test_a_name_that_looks_like_a_glob_is_a_name(tmp_path: Path) -> None:
    files(tmp_path, "[ab]/x/server.log", "a/y/server.log")

    assert names_in(tmp_path / "[ab]") == ["x"]


def test_two_hosts_of_one_name_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "1/a/server.log", "2/a/server.log")

    with pytest.raises(InputError, match="two hosts are called a: "):
        names_in(tmp_path / "1", tmp_path / "2")
    assert names_in(tmp_path / "*/*") == ["1/a", "2/a"]
    assert names_in(tmp_path / "1", tmp_path / "1") == ["a"]


@pytest.mark.parametrize("given", ["nothing", "nothing/*", "empty", "unknown://x", "memory://nothing"])
def test_inputs_without_a_host_are_one_sentence(given: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError):
        names_in(given if "://" in given else tmp_path / given)


def test_hostile_names_are_names(tmp_path: Path) -> None:
    hostile = [name for name in HOSTILE if name != ".."]
    files(tmp_path, *(f"{name}/server.log" for name in hostile))

    assert names_in(tmp_path) == sorted(hostile)
    assert len({encoded(name) for name in HOSTILE}) == len(HOSTILE)
    for name in HOSTILE:
        assert decoded(encoded(name)) == name
        assert not set(encoded(name)) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._%")


def test_a_name_that_looks_like_a_chain_of_urls_is_not_followed(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/secret/server.log", b"secret")
    files(tmp_path, "a::memory:/secret/server.log", "simplecache::memory:/secret/server.log")
    listings = {host.name: files_of(host) for host in hosts_in([str(tmp_path)])}
    fsspec.filesystem("memory").rm("/secret", recursive=True)

    assert set(listings) == {"a::memory:", "simplecache::memory:"}
    for listing in listings.values():
        assert listing.files[0].path.startswith(str(tmp_path))


def test_long_names_fit_a_file_system_and_stay_apart() -> None:
    long = [encoded("é" * 300 + end) for end in ("", "x", "%")]

    assert len(set(long)) == 3
    assert all(len(name) <= 200 and name.count("~") == 1 for name in long)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take text only")
def test_a_name_that_is_no_text_is_a_host(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/gpu-\xff"
    os.mkdir(folder)
    (Path(os.fsdecode(folder)) / "server.log").write_text("x")
    (host,) = hosts_in([str(tmp_path)])

    assert host.name == "gpu-\\xff" == told("gpu-\udcff")
    assert files_of(host).here(tmp_path)[0].is_dir()


def test_files_of_a_host_are_its_evidence_with_their_state(tmp_path: Path) -> None:
    case = files(tmp_path / "a", "evidence/gpu/server.log", "case.json", "out/journal.jsonl", "out/summary.json",
                 "tables/requests-0.parquet", "notes.md", ".git/config")  # fmt: skip
    (host,) = hosts_in([str(tmp_path)])
    listing = files_of(host)

    assert [file.relative for file in listing.files] == ["case.json", "evidence/gpu/server.log", "out/journal.jsonl"]
    os.utime(case / "case.json", (1, 1))
    changed = files_of(host)
    assert [old.relative for old, new in zip(listing.files, changed.files, strict=True) if old != new] == ["case.json"]


def test_files_elsewhere_are_copied_and_none_leaves_its_folder(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("/logs/a/evidence/gpu/server.log", "/logs/a/x/..\\..\\y"):
        memory.pipe_file(name, name.encode())
    (host,) = hosts_in(["memory://logs"])
    (copy,) = files_of(host).here(tmp_path / "copies")

    assert (host.name, copy) == ("a", tmp_path / "copies")
    assert (copy / "evidence/gpu/server.log").read_text() == "/logs/a/evidence/gpu/server.log"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= set(copy.rglob("*"))
    memory.rm("/logs", recursive=True)


def test_a_path_of_dots_stays_inside(tmp_path: Path) -> None:
    from warmstall.fleet.inputs import File, Listing

    class Hostile:
        protocol = "s3"

        def get_file(self, path: str, copy: str) -> None:
            Path(copy).write_text(path)

    listing = Listing(Hostile(), "bucket/a", (File("k", "../../etc//./x\x00y", 1, ""),))
    listing.here(tmp_path / "copies")

    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [
        Path("copies/etc/x%00y"),
    ]  # fmt: skip


def test_without_fsspec_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    with pytest.raises(InputError, match=r'install "warmstall\[fleet\]"'):
        hosts_in(["x"])
