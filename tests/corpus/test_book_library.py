"""The library: bytes brought by a person become a book; limits, names, re-reading, deleting, and what is refused."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import json
import threading
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from corpus.cleaning import clean
from corpus.library import (
    BookInfo,
    add_book,
    book_notices,
    delete_book,
    edit_book,
    ensure_example,
    example_in,
    get_book,
    list_books,
    preview_as,
    read_text,
    reread_book,
    sample_prompt,
)
from corpus.readers.formats import endings
from errors import (
    AZRError,
    BookNotFound,
    BookTooLarge,
    BookUnreadable,
    EmptyBook,
    InvalidInput,
    InvalidName,
    NameTaken,
    NotText,
    UnsupportedFormat,
)
from workspace import Workspace

TEXT = """Сказка о звёздах

Жила-была на краю леса девочка, которая умела считать звёзды. Каждую ночь она выходила на крыльцо,
поднимала голову и шептала числа, пока не засыпала. — Зачем тебе это? — спрашивали соседи.
"""
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\6\0\0\0\x5c\x72\xa8\x66" + bytes(100)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    return workspace


def add(ws: Workspace, data: bytes | str = TEXT, filename: str = "сказка.txt", **more: object) -> BookInfo:
    content = data.encode() if isinstance(data, str) else data
    return add_book(ws, filename, io.BytesIO(content), **more)  # type: ignore[arg-type]


def files(ws: Workspace) -> set[str]:
    return {path.name for path in ws.books.iterdir()}


class Endless(io.RawIOBase):
    """A stream of `size` bytes that exist only while they are read."""

    def __init__(self, size: int, pattern: bytes) -> None:
        self.left = size
        self.pattern = pattern * (1 + (1 << 20) // len(pattern))
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, (1 << 20) if size < 0 else size)
        self.left -= size
        self.given += size
        return self.pattern[:size]


# ---- taking in -------------------------------------------------------------------------------------------------------


def test_a_book_is_described_in_full(ws: Workspace) -> None:
    info = add(ws, TEXT.replace("\n", "\r\n").encode("cp1251"), "Сказка о звёздах.TXT")
    assert dataclasses.replace(info, added_at="") == BookInfo(
        name="Сказка о звёздах",
        title="Сказка о звёздах",
        format="txt",
        encoding="cp1251",
        characters=208,
        words=33,
        bytes=len(TEXT.encode()),
        sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
        preview=TEXT.rstrip("\n"),
        added_at="",
        language="ru",
    )
    assert datetime.now().astimezone() - datetime.fromisoformat(info.added_at) < timedelta(seconds=60)
    assert read_text(ws, "Сказка о звёздах") == TEXT
    assert get_book(ws, info.name) == info
    assert list_books(ws) == [info]
    assert files(ws) == {f"Сказка о звёздах.{ending}" for ending in ("txt", "json", "original")}
    assert ws.book_original(info.name).read_bytes() == TEXT.replace("\n", "\r\n").encode("cp1251")


@pytest.mark.parametrize(
    "encoding", ["utf_8", "utf_8_sig", "utf_16", "utf_16_le", "cp1251", "koi8_r", "cp866", "mac_cyrillic"]
)
def test_a_book_in_any_encoding_becomes_the_same_text(ws: Workspace, encoding: str) -> None:
    text = TEXT.replace("—", "-")  # cp866 and koi8-r have no dash
    assert read_text(ws, add(ws, text.encode(encoding)).name) == text


def test_an_encoding_given_by_the_person_is_obeyed(ws: Workspace) -> None:
    info = add(ws, "Привет".encode("cp1251"), encoding="KOI8-R")
    assert info.encoding == "koi8_r"
    assert read_text(ws, info.name) == "оПХБЕР\n"


@pytest.mark.parametrize(
    ("text", "title", "author"),
    [
        ("Мцыри\n\nПоэма о послушнике.", "сказка", ""),
        ("Title: The Sea\n\nAuthor: Ann Lee\n\nIt rained.", "The Sea", "Ann Lee"),
        ("Название: Море\nАвтор: Анна Ли\n\nШёл дождь.", "Море", "Анна Ли"),
        ("The Sea\n\nby Ann Lee\n\nIt rained.", "The Sea", "Ann Lee"),
        ("Title: The Sea\n\nIt rained.", "сказка", ""),
        ("Say it again.\nBy the way, it rained.\nThen it stopped.", "сказка", ""),
        ("т" * 5000, "сказка", ""),
    ],
    ids=["line", "labels", "russian-labels", "by", "title-alone", "sentence", "paragraph"],
)
def test_the_title_is_the_name_unless_the_text_states_title_and_author(
    ws: Workspace, text: str, title: str, author: str
) -> None:
    book = add(ws, text)
    assert (book.title, book.author) == (title, author)


@pytest.mark.parametrize(
    ("file", "title"),
    [
        ("моя_сказка__о_море.txt", "моя сказка о море"),
        ("the-old-lighthouse.txt", "the old lighthouse"),
        ("кто-то.txt", "кто-то"),
        ("___.txt", "___"),
    ],
)
def test_title_that_is_only_a_files_name_has_its_words_apart(ws: Workspace, file: str, title: str) -> None:
    book = add_book(ws, file, io.BytesIO(b"It rained."))
    assert (book.title, book.name) == (title, file.removesuffix(".txt"))
    assert edit_book(ws, book.name, title="").title == title


def test_an_edited_title_stays_when_the_book_is_read_again(ws: Workspace) -> None:
    name = add(ws, TEXT.encode("koi8_r", "replace"), encoding="cp1251").name
    edited = edit_book(ws, name, title="  О звёздах\n", author="Анна Ли", language="ru")
    assert (edited.title, edited.author, edited.language) == ("О звёздах", "Анна Ли", "ru")
    again = reread_book(ws, name, "koi8_r")
    assert (again.title, again.author, list_books(ws)) == ("О звёздах", "Анна Ли", [again])
    assert edit_book(ws, name, author="").author == ""
    assert edit_book(ws, name, title=" ").title == name


def test_the_record_tells_the_language_the_format_and_the_marks(ws: Workspace) -> None:
    assert (add(ws, TEXT).language, add(ws, TEXT).format) == ("ru", "txt")
    assert add(ws, "It was the best of times, it was the worst of times.").language == "en"
    marked = add(ws, "<|startoftext|>Жил-был кот.<|endoftext|>\n" * 60)
    assert marked.marks == 60
    assert [(notice.code, notice.parameters) for notice in book_notices(marked)] == [("marks", {"count": 60})]


@pytest.mark.parametrize("chunk_bytes", [1, 5, 13, 40])
def test_marks_over_chunk_borders_are_counted_once(
    ws: Workspace, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.readers.encoding._CHUNK_BYTES", chunk_bytes)
    assert add(ws, "кот<|endoftext|><|endoftext|>\n").marks == 2


def test_a_prompt_is_offered_in_the_language_of_most_books(ws: Workspace) -> None:
    russian, english = add(ws, TEXT), add(ws, "It was the best of times, it was the worst of times.")
    assert sample_prompt([english]) == "Once upon a time"
    assert sample_prompt([english, russian, russian]) == "Однажды"
    assert sample_prompt([add(ws, "Книга об искусственном интеллекте.")]) == "Искусственный интеллект"
    assert sample_prompt([add(ws, "AGCT" * 20)]) is None


def test_a_record_of_an_older_version_is_believed(ws: Workspace) -> None:
    book = add(ws, TEXT)
    record = json.loads(ws.book_record(book.name).read_text(encoding="utf-8"))
    for added_since in ("author", "language", "wrong_characters", "wrong_line", "marks", "is_edited"):
        del record[added_since]
    ws.book_record(book.name).write_text(json.dumps(record), encoding="utf-8")
    assert list_books(ws) == [dataclasses.replace(book, language="")]


def test_the_preview_is_the_first_600_clean_characters(ws: Workspace) -> None:
    assert add(ws, "\n" + "слово " * 500).preview == ("слово " * 500)[:600]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64])
def test_words_over_chunk_borders_are_counted_once(
    ws: Workspace, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.readers.encoding._CHUNK_BYTES", chunk_bytes)
    info = add(ws, TEXT)
    assert (info.words, info.characters) == (33, 208)
    assert read_text(ws, info.name) == TEXT


def test_the_few_bytes_that_decide_are_found_outside_the_sample(ws: Workspace) -> None:
    line = b"It was the best of times, it was the worst of times.\n"
    info = add(ws, line * 3000 + b"It cost \xa35.\n" + line * 9000)
    assert info.encoding == "cp1252"
    assert "It cost £5.\n" in read_text(ws, info.name)


def test_damaged_utf8_outside_the_sample_is_told_and_not_taken_for_something_else(ws: Workspace) -> None:
    line = "Была тихая звёздная ночь, и никто не спал.\n".encode()
    book = add(ws, line * 3000 + b"\xff" + line * 9000)
    assert (book.encoding, book.wrong_characters, book.wrong_line) == ("utf_8", 1, 3001)


@pytest.mark.slow
def test_a_book_without_any_newline_is_taken_in_with_little_memory(ws: Workspace) -> None:
    size = 24 << 20
    stream = Endless(size, ("слово" * 500 + " ").encode("cp1251"))  # few words: tracing each takes long
    gc.collect()
    tracemalloc.start()
    try:
        info = add_book(ws, "big.txt", stream)  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size - 3 <= info.characters <= size + 1
    assert peak < 16 << 20


# ---- refusing --------------------------------------------------------------------------------------------------------


def test_an_upload_is_cut_at_the_limit_and_not_after_it(ws: Workspace) -> None:
    stream = Endless(1 << 40, b"a ")
    with pytest.raises(BookTooLarge) as refused:
        add_book(ws, "big.txt", stream, limit_bytes=3_000_000)  # type: ignore[arg-type]
    assert refused.value.field == "file"
    assert refused.value.parameters == {"limit_bytes": 3_000_000}
    assert stream.given == 3_000_001
    assert files(ws) == set()


def test_a_book_of_exactly_the_limit_is_taken_in(ws: Workspace) -> None:
    assert add(ws, b"a" * 1000, limit_bytes=1000).characters == 1001


@pytest.mark.parametrize(
    ("data", "encoding", "error"),
    [
        (PNG, None, NotText),
        (b"", None, EmptyBook),
        (b" \r\n\xef\xbb\xbf\t", None, EmptyBook),
        (TEXT.replace("—", "-").encode("cp1251"), "utf_8", BookUnreadable),
        (b"abc", "utf_16_le", BookUnreadable),
    ],
    ids=["png", "empty", "blank", "wrong-encoding", "odd-utf16"],
)
def test_what_is_no_book_is_refused_about_the_file_and_leaves_nothing(
    ws: Workspace, data: bytes, encoding: str | None, error: type[AZRError]
) -> None:
    with pytest.raises(error) as refused:
        add(ws, data, encoding=encoding)
    assert refused.value.field == "file"
    assert files(ws) == set()


def test_the_place_of_the_first_wrong_byte_is_told(ws: Workspace) -> None:
    with pytest.raises(BookUnreadable) as unreadable:
        add(ws, b"plain " + "слово".encode("cp1251"), encoding="utf_8")
    assert unreadable.value.parameters == {"encoding": "utf_8", "position": 6}


@pytest.mark.parametrize(
    "filename", ["book.docs", "book", "book.txt.exe", "", "book.\ud800", "a/b.mobi", "x." + "y" * 500]
)
def test_other_formats_are_refused_with_those_we_read(ws: Workspace, filename: str) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        add(ws, TEXT, filename)
    assert refused.value.field == "file"
    assert refused.value.parameters["supported"] == ", ".join(endings())
    assert len(str(refused.value.parameters["format"]).encode()) <= 64
    assert files(ws) == set()


def test_an_unknown_encoding_is_refused_before_anything_is_read(ws: Workspace) -> None:
    stream = Endless(100, b"a")
    with pytest.raises(InvalidInput) as refused:
        add_book(ws, "a.txt", stream, encoding="klingon")  # type: ignore[arg-type]
    assert refused.value.field == "encoding"
    assert stream.given == 0


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_second_file_of_the_same_name_gets_a_number(ws: Workspace) -> None:
    assert [add(ws, text).name for text in ("раз", "два", "три")] == ["сказка", "сказка (2)", "сказка (3)"]
    assert [read_text(ws, name) for name in ("сказка", "сказка (2)", "сказка (3)")] == ["раз\n", "два\n", "три\n"]


@pytest.mark.parametrize("twin", ["СКАЗКА", "Сказка", "сказка"])
def test_a_name_that_differs_only_in_case_is_taken(ws: Workspace, twin: str) -> None:
    add(ws, "раз")
    with pytest.raises(NameTaken) as refused:
        add(ws, "два", name=twin)
    assert (refused.value.field, refused.value.parameters) == ("name", {"name": "сказка"})
    assert add(ws, "два", f"{twin}.txt").name == f"{twin} (2)"
    assert get_book(ws, twin.upper()).name == "сказка"


def test_names_in_another_unicode_form_are_the_same(ws: Workspace) -> None:
    add(ws, "раз", name="Йод")
    with pytest.raises(NameTaken):
        add(ws, "два", name=unicodedata.normalize("NFD", "Йод"))


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd.txt", "C:\\Windows\\con.txt", "....txt", "a\0b.txt", "%2e%2e%2f.txt"]
)
def test_a_file_name_never_leads_out_of_the_folder(ws: Workspace, filename: str) -> None:
    before = set(ws.root.iterdir())
    info = add(ws, TEXT, filename)
    assert ws.book_text(info.name).parent == ws.books
    assert set(ws.root.iterdir()) == before


def test_a_name_full_to_the_limit_can_still_be_numbered(ws: Workspace) -> None:
    for letter in ("ж", "龍"):
        first, second = add(ws, TEXT, f"{letter * 80}.txt"), add(ws, TEXT, f"{letter * 80}.txt")
        assert second.name != first.name
        assert second.name.endswith(" (2)")
        assert len(second.name) <= 64


@pytest.mark.parametrize("name", ["", "..", "a/b", "con", "x" * 65])
@pytest.mark.parametrize("call", [get_book, delete_book, read_text])
def test_an_impossible_name_is_invalid_everywhere(ws: Workspace, call: Callable[..., object], name: str) -> None:
    with pytest.raises(InvalidName):
        call(ws, name)
    with pytest.raises(InvalidName):
        add(ws, TEXT, name=name)


def test_a_book_that_is_not_there_is_not_found_by_any_call(ws: Workspace) -> None:
    calls: list[Callable[[], object]] = [
        lambda: get_book(ws, "нет"),
        lambda: read_text(ws, "нет"),
        lambda: delete_book(ws, "нет"),
        lambda: reread_book(ws, "нет", "utf_8"),
        lambda: preview_as(ws, "нет", "utf_8"),
    ]
    for call in calls:
        with pytest.raises(BookNotFound) as missing:
            call()
        assert missing.value.parameters == {"name": "нет"}


class Together(io.BytesIO):
    """A stream whose last read waits until all uploads have come that far."""

    def __init__(self, data: bytes, barrier: threading.Barrier) -> None:
        super().__init__(data)
        self.barrier = barrier

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(size)
        if not chunk:
            self.barrier.wait(10)
        return chunk


def upload_together(ws: Workspace, name: str | None) -> Iterator[BookInfo | AZRError]:
    barrier = threading.Barrier(8)

    def upload(number: int) -> BookInfo | AZRError:
        try:
            return add_book(ws, "книга.txt", Together(f"книга {number}".encode(), barrier), name=name)
        except AZRError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        yield from pool.map(upload, range(8))


def test_uploads_of_one_file_name_at_once_do_not_overwrite_one_another(ws: Workspace) -> None:
    books = [book for book in upload_together(ws, None) if isinstance(book, BookInfo)]
    assert {book.name for book in books} == {"книга", *(f"книга ({number})" for number in range(2, 9))}
    assert [read_text(ws, book.name) for book in books] == [f"книга {number}\n" for number in range(8)]


def test_uploads_under_one_chosen_name_at_once_have_one_winner(ws: Workspace) -> None:
    outcomes = list(upload_together(ws, "книга"))
    assert [type(outcome) for outcome in outcomes].count(NameTaken) == 7
    winner = next(outcome for outcome in outcomes if isinstance(outcome, BookInfo))
    assert list_books(ws) == [winner]
    assert read_text(ws, "книга") == f"{winner.preview}\n"
    assert len(files(ws)) == 3


# ---- reading again, deleting -----------------------------------------------------------------------------------------


def test_rereading_corrects_the_text_and_all_that_is_told_of_it(ws: Workspace) -> None:
    plain = TEXT.replace("—", "-")
    wrong = add(ws, plain.encode("koi8_r"), encoding="cp1251")
    assert wrong.encoding == "cp1251"
    wrong = dataclasses.replace(wrong, added_at="2020-02-02T02:02:02+00:00")
    ws.book_record(wrong.name).write_text(json.dumps(dataclasses.asdict(wrong)), encoding="utf-8")
    right = reread_book(ws, wrong.name, "koi8-r")
    assert read_text(ws, wrong.name) == plain
    assert (right.encoding, right.title, right.added_at) == ("koi8_r", "сказка", wrong.added_at)
    assert right.sha256 == hashlib.sha256(plain.encode()).hexdigest()
    assert list_books(ws) == [right]
    assert reread_book(ws, wrong.name, "cp1251") == wrong  # and back


def test_rereading_in_an_impossible_encoding_is_about_the_encoding_and_changes_nothing(ws: Workspace) -> None:
    info = add(ws, TEXT.encode("cp1251"))
    before = files(ws)
    with pytest.raises(BookUnreadable) as unreadable:
        reread_book(ws, info.name, "utf_8")
    assert unreadable.value.field == "encoding"
    assert (list_books(ws), files(ws), read_text(ws, info.name)) == ([info], before, TEXT)


def test_a_preview_in_another_encoding_changes_nothing(ws: Workspace) -> None:
    info = add(ws, TEXT.encode("cp1251"))
    assert preview_as(ws, info.name, "cp1251") == (TEXT, True)
    assert preview_as(ws, info.name, "mac_cyrillic")[0].startswith("—казка о звЄздах")
    wrong, readable = preview_as(ws, info.name, "utf_8")
    assert ("\ufffd" in wrong, readable) == (True, False)
    with pytest.raises(InvalidInput):
        preview_as(ws, info.name, "klingon")
    assert list_books(ws) == [info]


def test_a_preview_has_at_most_600_clean_characters(ws: Workspace) -> None:
    info = add(ws, "слово  " * 5000)
    assert preview_as(ws, info.name, "utf_8") == (
        clean("слово  " * 5000)[:600],
        True,
    )  # the bytes read end inside a letter


def test_a_deleted_book_leaves_nothing_and_its_name_is_free(ws: Workspace) -> None:
    info = add(ws)
    add(ws, "другая", name="другая")
    delete_book(ws, info.name.upper())
    assert [book.name for book in list_books(ws)] == ["другая"]
    assert files(ws) == {"другая.txt", "другая.json", "другая.original"}
    assert add(ws, "снова").name == info.name


def test_books_are_listed_by_name_without_regard_to_case(ws: Workspace) -> None:
    for name in ("Яблоко", "арбуз", "Банан"):
        add(ws, name=name)
    assert [book.name for book in list_books(ws)] == ["арбуз", "Банан", "Яблоко"]


def test_a_workspace_that_was_never_prepared_has_no_books_and_takes_one(tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "new")
    assert list_books(ws) == []
    info = add(ws)
    assert list_books(ws) == [info]


# ---- the example book ------------------------------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / "example_book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_example_book_comes_once_and_stays_away_when_deleted(ws: Workspace, example: Path) -> None:
    ensure_example(ws, example)
    assert [book.name for book in list_books(ws)] == ["example_book"]
    delete_book(ws, "example_book")
    ensure_example(ws, example)
    assert list_books(ws) == []


def test_examples_in_two_languages_come_together_and_each_person_is_offered_their_own(
    ws: Workspace, example: Path
) -> None:
    example.with_name("example_book_en.txt").write_text("It was the best of times.\n" * 9, encoding="utf-8")
    ensure_example(ws, example)
    books = list_books(ws)
    assert [(book.name, book.language) for book in books] == [("example_book", "ru"), ("example_book_en", "en")]
    assert [book.title for book in books] == ["Библиотека у моря", "Coriolanus"]
    assert [book.author for book in books] == ["", "William Shakespeare"]
    assert [example_in(books, language) for language in ("ru", "en", "fr")] == [*books, books[0]]
    assert example_in([*books, add(ws)], "ru") is None
    assert example_in([], "ru") is None


@pytest.mark.parametrize("name", ["example_book", "example_book_en"])
def test_a_shipped_example_is_clean_so_that_listing_leaves_git_nothing_to_commit(ws: Workspace, name: str) -> None:
    shipped = (Path(__file__).resolve().parents[2] / "books" / f"{name}.txt").read_bytes()
    ws.book_text(name).write_bytes(shipped)
    list_books(ws)
    assert ws.book_text(name).read_bytes() == shipped


def test_the_example_book_does_not_come_to_a_library_that_has_books(ws: Workspace, example: Path) -> None:
    mine = add(ws)
    ensure_example(ws, example)
    assert list_books(ws) == [mine]
    delete_book(ws, mine.name)
    ensure_example(ws, example)
    assert list_books(ws) == []


def test_a_missing_or_broken_example_book_stops_nothing(
    ws: Workspace, example: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_example(ws, example.with_name("missing.txt"))
    assert not caplog.records
    ws.example_marker.unlink()
    example.write_bytes(PNG)
    ensure_example(ws, example)
    assert "example book" in caplog.text
    assert list_books(ws) == []
