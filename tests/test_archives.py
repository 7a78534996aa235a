"""Archives, as somebody sends them: what they hold is read as if it had been unpacked by hand."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from warmstall import archives
from warmstall.archives import unpacked
from warmstall.case import open_case
from warmstall.errors import InputError
from warmstall.evidence import discover
from warmstall.parse.packed import archive_of, suffix_of

INCIDENT = Path("data/incidents/silent-hangs-memlock")
PACKINGS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


def a_tar(members: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in others:
            archive.addfile(member)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def a_zip(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(at: Path, content: bytes) -> Path:
    at.write_bytes(content)
    return at


@pytest.mark.parametrize("suffix", PACKINGS)
def test_beginnings_tell_what_is_packed_how(suffix):
    packed = PACKINGS[suffix](a_tar({"server.log": b"a line\n"}))
    assert suffix_of(packed) == suffix
    assert archive_of(packed) == ("" if suffix else "tar")


@pytest.mark.parametrize("suffix", PACKINGS)
def test_a_tar_of_a_case_is_that_case(suffix, tmp_path):
    members = {f"mine/{name}": content for name, content in contents(INCIDENT).items()}
    archive = put(tmp_path / f"case.tar{suffix}", PACKINGS[suffix](a_tar(members)))
    [folder] = unpacked([archive], tmp_path / "into")
    assert folder.name == "mine"
    assert contents(folder) == contents(INCIDENT)
    assert {item.host for item in discover([folder])} == {"ragbox"}


def test_a_zip_of_a_case_opens_as_that_case(tmp_path):
    archive = put(tmp_path / "case.zip", a_zip(contents(INCIDENT) | {"__MACOSX/._case.json": b"\0\5\26\7"}))
    case, known = open_case(archive), open_case(INCIDENT)
    count = "SELECT (SELECT count(*) FROM access_lines) AS requests, (SELECT count(*) FROM events) AS events"
    assert case.sql(count).equals(known.sql(count))
    assert {account["host"] for account in case.accounts} == {account["host"] for account in known.accounts}


def test_paths_that_are_no_archives_stay_what_they_are(tmp_path):
    paths = [put(tmp_path / "server.log", b"a line\n"), tmp_path, Path("-"), tmp_path / "missing"]
    assert unpacked(paths, tmp_path / "into") == paths
    assert not (tmp_path / "into").exists()


def test_two_archives_of_one_name_lie_apart(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    paths = [put(tmp_path / name / "logs.zip", a_zip({"server.log": name.encode()})) for name in "ab"]
    for _ in range(2):  # what an earlier analysis has left is no obstacle
        first, second = unpacked(paths, tmp_path / "into")
        assert (contents(first), contents(second)) == ({"server.log": b"a"}, {"server.log": b"b"})


@pytest.mark.parametrize("pack", [a_tar, a_zip])
def test_names_that_would_lead_elsewhere_stay_below_the_folder(pack, tmp_path):
    names = ["../../up.log", "/root.log", "a/../../b.log", "..\\..\\windows.log"]
    archive = put(tmp_path / "hostile", pack(dict.fromkeys(names, b"x")))
    [folder] = unpacked([archive], tmp_path / "deep" / "into")
    assert sorted(contents(folder)) == ["a/b.log", "root.log", "up.log", "windows.log"]
    everywhere = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert everywhere == {"hostile", archives._MARK, "b.log", "root.log", "up.log", "windows.log"}


def test_nothing_of_anybody_else_is_removed(tmp_path):
    (tmp_path / "unpacked").mkdir()
    archive = put(tmp_path / "unpacked" / "mine.zip", a_zip({"server.log": b"a"}))
    with pytest.raises(InputError, match="where one that is given lies"):
        unpacked([archive], tmp_path / "unpacked")
    with pytest.raises(InputError, match="there is something else"):
        unpacked([put(tmp_path / "other.zip", a_zip({"server.log": b"a"}))], tmp_path / "unpacked")
    assert archive.exists()


def test_an_archive_within_an_archive_is_unpacked_elsewhere(tmp_path):
    [folder] = unpacked([put(tmp_path / "x.zip", a_zip({"y.zip": a_zip({"server.log": b"a"})}))], tmp_path / "into")
    with pytest.raises(InputError, match="choose another --out"):
        unpacked([folder / "y.zip"], tmp_path / "into")
    assert contents(unpacked([folder / "y.zip"], tmp_path / "elsewhere")[0]) == {"server.log": b"a"}


def test_links_and_devices_stay_out(tmp_path):
    link, pipe = tarfile.TarInfo("link"), tarfile.TarInfo("pipe")
    link.type, link.linkname, pipe.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.FIFOTYPE
    archive = put(tmp_path / "x.tar", a_tar({"server.log": b"a", "link": b"mine"}, link, pipe))
    [folder] = unpacked([archive], tmp_path / "into")
    assert contents(folder) == {"server.log": b"a", "link": b"mine"}


@pytest.mark.parametrize("pack", [a_tar, a_zip])
def test_what_is_damaged_says_so(pack, tmp_path):
    whole = pack({"server.log": os.urandom(50_000)})
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpacked([put(tmp_path / "cut", whole[:30_000])], tmp_path / "into")


def test_a_file_where_a_folder_is_needed_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        unpacked([put(tmp_path / "odd.zip", a_zip({"a": b"", "a/b": b""}))], tmp_path / "into")


def test_what_has_no_room_on_the_disk_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(InputError, match=r"no room for its server\.log of 1 bytes"):
        unpacked([put(tmp_path / "x.zip", a_zip({"server.log": b"a"}))], tmp_path / "into")


def test_an_archive_of_very_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_FILES", 3)
    members = {f"{number}.log": b"a" for number in range(4)}
    with pytest.raises(InputError, match="more than 3 files"):
        unpacked([put(tmp_path / "x.tar", a_tar(members))], tmp_path / "into")


def test_where_archives_are_not_unpacked_they_are_named(tmp_path):
    """As text, an archive that is not compressed looks like the log in it, with lines of its own."""
    log = next((INCIDENT / "evidence").rglob("server.log")).read_bytes()
    with pytest.raises(InputError, match="this is a tar archive; unpack it and give the folder"):
        discover([put(tmp_path / "logs.tar", a_tar({"server.log": log}))])
