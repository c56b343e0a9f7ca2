"""Texts that a person drops into the books folder, edits there, or carries over from elsewhere."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import logging
import os
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

import pytest

from corpus.library import (
    add_book,
    book_notices,
    delete_book,
    get_book,
    list_books,
    preview_as,
    read_text,
    reread_book,
    sweep,
)
from corpus.readers.formats import READERS
from corpus.readers.reading import Reading
from errors import BookDamaged, BookNotFound, NotText
from workspace import Workspace

TEXT = "Повесть\n\nЖил старик со своею старухой у самого синего моря, и ловил он неводом рыбу.\n"
UNCLEAN = TEXT.replace("\n", "  \r\n")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    return workspace


def drop(ws: Workspace, filename: str, data: bytes | str) -> Path:
    path = ws.books / filename
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def files(ws: Workspace) -> set[str]:
    return {path.name for path in ws.books.iterdir()}


def test_a_clean_text_gets_a_record_and_is_not_touched(ws: Workspace) -> None:
    path = drop(ws, "Рыбка.txt", TEXT)
    before = path.stat()
    (info,) = list_books(ws)
    assert (info.name, info.title, info.encoding, info.words) == ("Рыбка", "Рыбка", "utf_8", 15)
    assert files(ws) == {"Рыбка.txt", "Рыбка.json"}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list_books(ws) == [info]


@pytest.mark.parametrize("encoding", ["utf_8_sig", "cp1251", "koi8_r", "utf_16"])
def test_a_text_in_another_encoding_is_cleaned_and_its_bytes_are_kept(ws: Workspace, encoding: str) -> None:
    drop(ws, "рыбка.txt", UNCLEAN.encode(encoding))
    (info,) = list_books(ws)
    assert read_text(ws, "рыбка") == TEXT
    assert ws.book_original("рыбка").read_bytes() == UNCLEAN.encode(encoding)
    assert files(ws) == {"рыбка.txt", "рыбка.json", "рыбка.original"}
    assert list_books(ws) == [info]


@pytest.mark.parametrize("call", [get_book, read_text])
def test_a_dropped_text_is_there_without_listing(ws: Workspace, call: Any) -> None:
    drop(ws, "рыбка.txt", UNCLEAN.encode("cp1251"))
    assert call(ws, "рыбка")
    assert ws.book_text("рыбка").read_bytes() == TEXT.encode()


def test_an_adopted_book_can_be_read_in_another_encoding_and_back(ws: Workspace) -> None:
    drop(ws, "рыбка.txt", TEXT)  # clean, so there is no original
    before = get_book(ws, "рыбка")
    assert preview_as(ws, "рыбка", "cp1251")[0].startswith("РџРѕРІ")
    assert reread_book(ws, "рыбка", "cp1251").preview.startswith("РџРѕРІ")
    assert reread_book(ws, "рыбка", "utf_8") == before
    assert read_text(ws, "рыбка") == TEXT


def test_a_text_edited_by_hand_is_read_anew(ws: Workspace) -> None:
    add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    drop(ws, "рыбка.txt", "Другая повесть\n")
    (info,) = list_books(ws)
    assert (info.preview, info.encoding, info.words) == ("Другая повесть", "utf_8", 2)
    assert reread_book(ws, "рыбка", "utf_8").preview == "Другая повесть"  # the old original does not come back
    assert (ws.books / "рыбка.original.1").read_bytes() == UNCLEAN.encode("cp1251")  # and is kept
    delete_book(ws, "рыбка")
    assert files(ws) == set()


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{}", "nonsense", "[" * 100_000, '{"bytes": NaN}', "\ud800", "characters", "title"],
    ids=range(9),
)
def test_a_damaged_record_is_written_anew(ws: Workspace, record: str) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(TEXT.encode()))
    path = ws.book_record("рыбка")
    if record in ("characters", "title"):  # one field of another type
        record = json.dumps(json.loads(path.read_text(encoding="utf-8")) | {record: [1]})
    path.write_bytes(record.encode("utf-8", "surrogatepass"))
    (again,) = list_books(ws)
    assert dataclasses.replace(again, added_at=info.added_at) == info
    assert json.loads(path.read_text(encoding="utf-8"))["sha256"] == info.sha256


@pytest.mark.parametrize("chosen", [None, "koi8_r"])
@pytest.mark.parametrize("record", [None, "nonsense"], ids=["lost", "damaged"])
def test_a_book_without_its_record_keeps_its_original(ws: Workspace, record: str | None, chosen: str | None) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")), encoding=chosen)
    for _ in range(3):
        if record is None:
            ws.book_record("рыбка").unlink()
        else:
            drop(ws, "рыбка.json", record)
        (again,) = list_books(ws)
        assert dataclasses.replace(again, added_at=info.added_at) == info
        assert files(ws) == {"рыбка.txt", "рыбка.json", "рыбка.original"}
    assert preview_as(ws, "рыбка", "cp1251")[1]
    reread_book(ws, "рыбка", "cp1251")
    assert read_text(ws, "рыбка") == TEXT
    assert files(ws) == {"рыбка.txt", "рыбка.json", "рыбка.original"}


def test_an_edited_text_without_its_record_does_not_get_the_original_of_another(ws: Workspace) -> None:
    add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    drop(ws, "рыбка.txt", "Другая повесть\n")
    drop(ws, "рыбка.json", "nonsense")
    assert [book.preview for book in list_books(ws)] == ["Другая повесть"]
    assert reread_book(ws, "рыбка", "utf_8").preview == "Другая повесть"
    assert (ws.books / "рыбка.original.1").read_bytes() == UNCLEAN.encode("cp1251")


def test_files_renamed_together_are_one_book_under_the_new_name(ws: Workspace) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    for ending in ("txt", "json", "original"):
        (ws.books / f"рыбка.{ending}").rename(ws.books / f"новая.{ending}")
    assert list_books(ws) == [dataclasses.replace(info, name="новая")]


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("Том #1 & том 2.txt", "Том 1 том 2"),
        (" рыбка.txt", "рыбка"),
        ("con.txt", "book"),
        ("ж" * 100 + ".txt", "ж" * 64),
        ("РЫБКА.TXT", "РЫБКА"),
        ("a.b.c.txt", "a.b.c"),
    ],
)
def test_a_file_gets_a_name_that_a_book_may_have(ws: Workspace, filename: str, name: str) -> None:
    drop(ws, filename, TEXT)
    assert [book.name for book in list_books(ws)] == [name]
    assert get_book(ws, name).preview.startswith("Повесть")
    assert read_text(ws, name) == TEXT
    delete_book(ws, name)
    assert files(ws) == set()


def test_a_file_with_an_impossible_name_never_takes_the_place_of_another(ws: Workspace) -> None:
    drop(ws, "рыбка.txt", TEXT)
    drop(ws, "#рыбка#.txt", "Другая\n")
    assert [(book.name, book.preview[:6]) for book in list_books(ws)] == [("рыбка", "Повест"), ("рыбка (2)", "Другая")]


def test_a_name_in_decomposed_letters_as_macos_writes_it_is_found(ws: Workspace) -> None:
    drop(ws, unicodedata.normalize("NFD", "Йод.txt"), TEXT)
    assert [book.name for book in list_books(ws)] == ["Йод"]
    assert get_book(ws, "йод").name == "Йод"


def test_what_is_no_book_is_left_alone_and_told_of_once(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    drop(ws, "картинка.txt", b"\x89PNG\r\n\x1a\n" + bytes(100))
    drop(ws, "пусто.txt", b"\n")
    drop(ws, "рыбка.txt", TEXT)
    for _ in range(3):
        assert [book.name for book in list_books(ws)] == ["рыбка"]
    assert len(caplog.records) == 2
    assert files(ws) == {"картинка.txt", "пусто.txt", "рыбка.txt", "рыбка.json"}
    with pytest.raises(NotText):
        get_book(ws, "картинка")
    drop(ws, "пусто.txt", "уже нет\n")  # another file now: it is looked at again
    assert [book.name for book in list_books(ws)] == ["пусто", "рыбка"]


def test_other_files_in_the_folder_are_not_books_and_stay(ws: Workspace) -> None:
    names = {".hidden.txt", "._рыбка.txt", "notes.json", "list.json", "рыбка.original", "picture.png", ".gitkeep"}
    for name in names - {"list.json"}:
        drop(ws, name, "{}")
    drop(ws, "list.json", "[1, 2]")
    (ws.books / "folder.txt").mkdir()
    assert list_books(ws) == []
    assert files(ws) == names | {"folder.txt"}


# ---- damage on disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, 40, 89], ids=["empty", "one-byte", "half", "in-a-letter"])
@pytest.mark.parametrize("data", [UNCLEAN.encode("cp1251"), TEXT.encode()], ids=["unclean", "clean"])
def test_a_text_that_was_cut_short_is_restored_from_its_original(ws: Workspace, data: bytes, left: int) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(data))
    os.truncate(ws.book_text("рыбка"), left)
    assert list_books(ws) == [info]
    assert read_text(ws, "рыбка") == TEXT
    assert ws.book_original("рыбка").read_bytes() == data


def test_a_text_full_of_zeroes_is_restored_from_its_original(ws: Workspace) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    drop(ws, "рыбка.txt", TEXT.encode()[:30] + bytes(4066))
    assert get_book(ws, "рыбка") == info
    assert read_text(ws, "рыбка") == TEXT


def test_a_text_that_is_gone_is_restored_from_its_original(ws: Workspace) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    ws.book_text("рыбка").unlink()
    assert add_book(ws, "рыбка.txt", io.BytesIO(b"another")).name == "рыбка (2)"
    ws.book_text("рыбка").unlink()
    assert get_book(ws, "рыбка") == info
    assert [book.name for book in list_books(ws)] == ["рыбка", "рыбка (2)"]
    assert read_text(ws, "рыбка") == TEXT


@pytest.mark.parametrize("text_is_gone", [True, False])
def test_a_book_that_cannot_be_restored_is_shown_as_damaged_and_can_be_deleted(
    ws: Workspace, text_is_gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    drop(ws, "рыбка.original", bytes(200))
    drop(ws, "рыбка.txt", b"")
    if text_is_gone:
        ws.book_text("рыбка").unlink()
    before = files(ws)
    for _ in range(3):
        assert list_books(ws) == [dataclasses.replace(info, is_damaged=True)]
    with pytest.raises(BookDamaged) as damaged:
        read_text(ws, "рыбка")
    assert damaged.value.parameters == {"name": "рыбка"}
    assert files(ws) == before
    delete_book(ws, "рыбка")
    assert (list_books(ws), files(ws)) == ([], set())


@pytest.mark.parametrize("holds", [None, "chapter.docx"], ids=["empty", "full"])
def test_a_book_whose_text_is_a_folder_is_shown_as_damaged_and_can_be_deleted(ws: Workspace, holds: str | None) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    text = ws.book_text("рыбка")
    text.unlink()
    text.mkdir()
    if holds:
        (text / holds).write_bytes(b"mine")
    sweep(ws)
    assert list_books(ws) == [dataclasses.replace(info, is_damaged=True, is_folder=True)]
    assert [notice.code for notice in book_notices(list_books(ws)[0])] == ["in_a_folder"]
    with pytest.raises(BookDamaged) as damaged:
        read_text(ws, "рыбка")
    assert damaged.value.parameters == {"name": "рыбка", "reason": "folder"}
    delete_book(ws, "рыбка")
    assert list_books(ws) == []
    assert files(ws) == ({"рыбка.txt"} if holds else set())  # what is not the book's stays


def test_a_book_whose_text_was_a_folder_is_restored_once_the_folder_is_moved(ws: Workspace) -> None:
    info = add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    ws.book_text("рыбка").unlink()
    ws.book_text("рыбка").mkdir()
    list_books(ws)
    ws.book_text("рыбка").rename(ws.root / "elsewhere")
    assert list_books(ws) == [info]
    assert read_text(ws, "рыбка") == TEXT


def test_listing_deletes_nothing_and_the_sweep_removes_records_without_a_book(ws: Workspace) -> None:
    add_book(ws, "рыбка.txt", io.BytesIO(UNCLEAN.encode("cp1251")))
    ws.book_text("рыбка").unlink()
    ws.book_original("рыбка").unlink()
    drop(ws, ".tmp-upload", "of another process")
    with pytest.raises(BookNotFound):
        get_book(ws, "рыбка")
    assert list_books(ws) == []
    assert files(ws) == {"рыбка.json", ".tmp-upload"}
    sweep(ws)
    assert files(ws) == {".tmp-upload"}


def refuse_to_write(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_in_a_read_only_folder_a_clean_text_is_a_book(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(ws, "рыбка.txt", TEXT)
    monkeypatch.setattr("workspace.os.replace", refuse_to_write)
    (info,) = list_books(ws)
    assert (info.title, info.words) == ("рыбка", 15)
    assert get_book(ws, "рыбка").sha256 == info.sha256
    assert read_text(ws, "рыбка") == TEXT
    assert files(ws) == {"рыбка.txt"}


def test_in_a_read_only_folder_other_texts_are_left_out(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drop(ws, "рыбка.txt", UNCLEAN.encode("cp1251"))
    with monkeypatch.context() as patched:
        patched.setattr("workspace.os.replace", refuse_to_write)
        assert list_books(ws) == []
    assert "рыбка.txt" in caplog.text
    assert files(ws) == {"рыбка.txt"}
    assert [book.name for book in list_books(ws)] == ["рыбка"]  # writable again


def test_a_file_that_is_still_being_copied_is_not_cut_short(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = drop(ws, "рыбка.txt", UNCLEAN)
    read = READERS["txt"].read

    def read_while_it_grows(*args: Any, **more: Any) -> Reading:
        reading = read(*args, **more)
        with path.open("ab") as file:
            file.write("Ещё строка.\r\n".encode())
        return reading

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setitem(READERS, "txt", dataclasses.replace(READERS["txt"], read=read_while_it_grows))
        assert list_books(ws) == []
    assert path.read_bytes() == (UNCLEAN + "Ещё строка.\r\n" * 2).encode()
    list_books(ws)
    assert read_text(ws, "рыбка") == TEXT + "Ещё строка.\nЕщё строка.\n"
