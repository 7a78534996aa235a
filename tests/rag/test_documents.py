"""Documents: what is found, what is read of each kind, and that whatever is wrong with one is said of that one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from warmstall.errors import InputError
from warmstall.rag.documents.finding import find_documents
from warmstall.rag.documents.html_text import html_sections
from warmstall.rag.documents.reading import read_document
from warmstall.rag.documents.sections import markdown_sections


def write_pdf(path: Path, pages: list[str], password: str = "") -> Path:
    """A PDF with one line of text on each page; a page of '' is blank."""
    writer = PdfWriter()
    font = DictionaryObject({
        NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    })  # fmt: skip
    for text in pages:
        page = writer.add_blank_page(300, 300)
        if text:
            fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
            content = DecodedStreamObject()
            content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
            page[NameObject("/Contents")] = writer._add_object(content)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)
    return path


def test_a_folder_is_gone_through_and_what_is_no_document_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "manual"
    (folder / "setup").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("b.txt", "setup/a.md", "table.xlsx", ".notes.md", ".git/x.md"):
        (folder / name).write_text("text")
    os.symlink(tmp_path, folder / "around")
    os.mkfifo(folder / "pipe.txt")

    found, skipped = find_documents([folder, folder / "b.txt"])

    assert [one.source for one in found] == ["manual/b.txt", "manual/setup/a.md"]
    reasons = {one.source: one.reason for one in skipped}
    assert reasons.pop("manual/table.xlsx").startswith("not a kind that is read (.htm .html")
    assert reasons == {
        "manual/.git": "hidden", "manual/.notes.md": "hidden", "manual/around": "a link to a folder",
        "manual/pipe.txt": "not a regular file",
    }  # fmt: skip


def test_two_documents_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part / "docs").mkdir(parents=True)
        (tmp_path / part / "docs" / "a.md").write_text(part)

    found, skipped = find_documents([tmp_path / "one" / "docs", tmp_path / "two" / "docs"])

    assert [one.source for one in found] == ["docs/a.md"]
    assert "is called the same" in skipped[0].reason


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        find_documents([tmp_path / "none"])


def test_a_name_that_steers_a_terminal_is_shown_without_that(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.md").write_text("text")

    assert find_documents([tmp_path])[0][0].source == f"{tmp_path.name}/a [31m.md"


def test_headings_are_places_and_stay_in_the_text() -> None:
    text = "intro\n# A\n\n## B ##\nbody\n```sh\n# a comment\n```\n## C\nmore\n# D\nend"
    sections = markdown_sections(text)

    assert [section.place for section in sections] == ["", "A > B", "A > C", "D"]
    assert "\n".join(section.text for section in sections).split() == text.split()


def test_a_page_is_its_text_and_headings() -> None:
    page = """<html><head><title>t</title><style>p{}</style></head><body><nav>Home</nav>
    <div role="navigation">More</div>
    <h1>Loads &amp; <b>unloads</b></h1><p>First
    line<br>second</p><script>alert(1)</script><!-- a comment --><ul><li>one</li><li>two</li></ul>
    <h2>Commands</h2><pre>a\n  # b</pre><p hidden>not seen</p><table><tr><td>k</td>
    <td>v</td></tr></table></body></html>"""
    first, second = html_sections(page)

    assert first.place == "Loads & unloads"
    assert first.text.split("\n")[0] == "Loads & unloads"
    assert first.text.split() == ["Loads", "&", "unloads", "First", "line", "second", "one", "two"]
    assert "First line\nsecond" in first.text
    assert second.place == "Loads & unloads > Commands"
    assert second.text.split() == ["Commands", "a", "#", "b", "k", "v"]
    assert "a\n  # b" in second.text


def test_a_page_nested_beyond_reason_is_read() -> None:
    page = "<div>" * 20_000 + "the bottom" + "<h1>" * 3_000

    assert html_sections(page)[0].text.split() == ["the", "bottom"]


def test_the_encoding_of_a_text_is_found(tmp_path: Path) -> None:
    for name, content in {
        "utf-8": "Größe".encode(),
        "mark": b"\xef\xbb\xbf" + "Größe".encode(),
        "utf-16": "Größe der Datei".encode("utf-16"),
        "latin": "Größe".encode("cp1252"),
    }.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
        (section,) = read_document(tmp_path / f"{name}.txt")
        assert section.text.startswith("Größe"), name
    (tmp_path / "a.html").write_bytes("<meta charset=iso-8859-2><p>Łódź".encode("iso-8859-2"))
    assert read_document(tmp_path / "a.html")[0].text == "Łódź"


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    sections = read_document(write_pdf(tmp_path / "a.pdf", ["Loads take long.", "", "Memory is full."]))

    assert [(section.place, section.text.strip()) for section in sections] == [
        ("page 1", "Loads take long."), ("page 3", "Memory is full."),
    ]  # fmt: skip


def test_a_pdf_that_only_its_owner_may_change_is_read(tmp_path: Path) -> None:
    writer = PdfWriter(clone_from=PdfReader(write_pdf(tmp_path / "plain.pdf", ["May be read."])))
    writer.encrypt("", "the owner's", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")

    assert read_document(tmp_path / "a.pdf")[0].text.strip() == "May be read."


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    whole = write_pdf(tmp_path / "whole.pdf", ["text"]).read_bytes()
    write_pdf(tmp_path / "locked.pdf", ["secret"], "password")
    write_pdf(tmp_path / "pictures.pdf", ["", ""])
    contents = {
        "empty.pdf": b"", "cut.pdf": whole[: len(whole) // 3], "noise.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 40,
        "empty.txt": b"", "blank.md": b" \n\n", "program.txt": b"\x7fELF\x02\x00\x00\x01" + bytes(40) + b"x" * 400,
        "script.html": b"<script>1</script>", "large.html": b"<p>text</p>" * 500_000,
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    expected = {
        "locked.pdf": "encrypted", "pictures.pdf": "only pictures of pages", "empty.pdf": "damaged",
        "cut.pdf": "damaged", "noise.pdf": "damaged", "empty.txt": "no text in it", "blank.md": "no text in it",
        "program.txt": "not text", "script.html": "no text in it", "large.html": "more than 5 MB",
        "gone.txt": "cannot be read",
    }  # fmt: skip
    for name, reason in expected.items():
        with pytest.raises(InputError, match=reason):
            print(name, read_document(tmp_path / name))


def test_escapes_in_a_text_do_not_get_through(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\x1b[31m two\r\nthree\x0cfour")

    assert read_document(tmp_path / "a.txt")[0].text == "one [31m two\nthree four"
