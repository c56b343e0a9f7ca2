"""What a person brings becomes books: archives, several files, and through a process of its own what a hostile file could abuse."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from corpus.intake import add_books, add_files
from corpus.library import get_book, list_books, preview_as, read_text, reread_book
from errors import AZRError, BookRefused, BookTooLarge, InvalidInput
from tests.corpus.book_files import docx, epub, fb2, word, zip_of
from workspace import Workspace

STORY = "<body><section><p>Ранним утром старик вышел на берег, и море лежало гладкое.</p></section></body>"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    return workspace


def refused(ws: Workspace, filename: str, data: bytes, **more: object) -> AZRError:
    with pytest.raises(AZRError) as error:
        add_books(ws, filename, io.BytesIO(data), **more)  # type: ignore[arg-type]
    assert list(ws.books.iterdir()) == []
    return error.value


@pytest.mark.slow
def test_a_zipped_fiction_book_is_one_book_named_after_its_file(ws: Workspace) -> None:
    (book,) = add_books(ws, "x.fb2.zip", io.BytesIO(zip_of({"Сад.fb2": fb2(STORY)}))).books
    assert (book.name, book.format) == ("Сад", "fb2")
    assert ws.book_original("Сад").read_bytes() == fb2(STORY)
    assert read_text(ws, "Сад") == "Ранним утром старик вышел на берег, и море лежало гладкое.\n"
    assert list_books(ws) == [book] == [get_book(ws, "Сад")]


def test_a_model_and_an_old_word_document_are_refused_with_what_to_do(ws: Workspace) -> None:
    model = zip_of({"poet/README.md": "# poet", "poet/config.json": "{}", "poet/model.safetensors": b"x"})
    brought = {"poet.zip": model, "poet-f16.GGUF": b"GGUF", "a.safetensors": b"x", "письмо.doc": b"x"}
    reasons = [refused(ws, name, data).parameters["reason"] for name, data in brought.items()]
    assert reasons == ["a_model", "a_model", "a_model", "old_word"]


@pytest.mark.slow
def test_an_archive_of_every_kind_gives_its_books_and_names_what_it_refused(ws: Workspace) -> None:
    inside = zip_of(
        {
            "a/Раз.txt": "раз",
            "a/Два.epub": epub({"c": "<p>два</p>"}, metadata="<dc:title>Два!</dc:title>"),
            "b/Три.docx": docx(word("три")),
            "b/Четыре.pdf": b"no pdf",
            "b/more.zip": zip_of({"x.txt": "x"}),
            "__MACOSX/._Раз.txt": "x",
            "pictures/1.png": "x",
        }
    )
    intake = add_books(ws, "all.zip", io.BytesIO(inside))
    assert [(book.name, book.title) for book in intake.books] == [("Раз", "Раз"), ("Два", "Два!"), ("Три", "Три")]
    told = [(each.filename, each.error.parameters["reason"]) for each in intake.refused]
    assert told == [("Четыре.pdf", "mislabelled"), ("more.zip", "nested")]
    assert intake.skipped == 1


@pytest.mark.slow
def test_a_book_with_a_wrong_encoding_is_read_again_from_its_markup(ws: Workspace) -> None:
    files = [("Сад.fb2", io.BytesIO(fb2(STORY, declared=None, written="cp1251")))]
    (book,) = add_files(ws, files, encoding="koi8_r").books
    assert read_text(ws, book.name).startswith("пЮММХЛ")
    assert preview_as(ws, book.name, "cp1251") == ("Ранним утром старик вышел на берег, и море лежало гладкое.", True)
    assert preview_as(ws, book.name, "utf_8") == ("", False)
    assert reread_book(ws, book.name, "cp1251").preview.startswith("Ранним утром")


@pytest.mark.slow
def test_a_format_that_states_its_encoding_takes_no_other(ws: Workspace) -> None:
    data = docx(word("текст"))
    assert refused(ws, "a.docx", data, encoding="cp1251").field == "encoding"
    (book,) = add_books(ws, "a.docx", io.BytesIO(data)).books
    with pytest.raises(InvalidInput) as error:
        reread_book(ws, book.name, "cp1251")
    assert error.value.parameters["reason"] == "no_encoding"


def test_names_of_files_in_an_archive_are_read_in_their_encoding_and_lead_nowhere(ws: Workspace) -> None:
    names = {"../../../evil.txt": "раз", "C:\\windows\\con.txt": "два", "XXX.txt": "три"}
    data = zip_of(names).replace(b"XXX", "Кот".encode("cp866"))
    before = set(ws.root.parent.rglob("*"))
    assert [book.name for book in add_books(ws, "a.zip", io.BytesIO(data)).books] == ["evil", "book", "Кот"]
    assert {path.parent for path in set(ws.root.parent.rglob("*")) - before} == {ws.books}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"a.png": b"x", "b/": b""}, "no_books"),
        ({}, "no_books"),
        ({"a.zip": zip_of({"b.txt": "текст"})}, "nested"),
    ],
    ids=["pictures", "empty", "nested"],
)
def test_an_archive_without_books_is_refused(ws: Workspace, entries: dict[str, bytes], reason: str) -> None:
    assert refused(ws, "a.zip", zip_of(entries)).parameters["reason"] == reason


def test_an_archive_may_not_unfold_beyond_the_limit(ws: Workspace) -> None:
    inside = zip_of({"a.txt": "слово " * 200, "b.txt": "слово " * 200}, zipfile.ZIP_STORED)
    intake = add_books(ws, "a.zip", io.BytesIO(inside), limit_bytes=len(inside))
    assert len(intake.books) == 2
    assert isinstance(refused_alone(ws, zip_of({"a.txt": "слово " * 999})), BookTooLarge)


def refused_alone(ws: Workspace, data: bytes) -> AZRError:
    with pytest.raises(AZRError) as error:
        add_books(ws, "a.zip", io.BytesIO(data), limit_bytes=1000)
    return error.value


def test_files_are_added_past_one_that_is_refused(ws: Workspace) -> None:
    files = [("a.pdf", io.BytesIO(b"")), ("b.txt", io.BytesIO(b"one")), ("c.xyz", io.BytesIO(b"two"))]
    intake = add_files(ws, files[1:])
    assert [book.name for book in intake.books] == ["b"]
    assert [each.filename for each in intake.refused] == ["c.xyz"]
    with pytest.raises(BookRefused):
        add_books(ws, "d.zip", io.BytesIO(b"no archive"))
