"""Books over HTTP: upload in any encoding, the limit, "read it as ...", deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.corpus.book_files import zip_of
from tests.web.web_client import BOOK, BOOK_NAME, UPLOAD_LIMIT_BYTES, assert_error, expect, status_when, train
from workspace import Workspace

BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(content: bytes, filename: str = "книга.txt") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return head.encode("utf-8") + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def nothing_is_left(workspace: Workspace) -> bool:
    return not [
        entry
        for entry in workspace.books.iterdir()
        if entry.suffix in (".txt", ".json", ".original") or entry.name[:4] == ".tmp"
    ]


def test_upload_detects_the_encoding_and_names_the_book_after_its_file(client: TestClient) -> None:
    answer = client.post("/upload_book", files={"file": ("Толстой - Анна.txt", BOOK.encode("cp1251"))})
    body = expect(answer, 201)
    assert (body["name"], body["encoding"], body["format"]) == ("Толстой - Анна", "cp1251", "txt")
    assert body["preview"].startswith("Все счастливые семьи")
    assert body["words"] == 12 * 120
    assert answer.headers["location"] == f"/books/{quote('Толстой - Анна')}"
    assert expect(client.get(answer.headers["location"]), 200)["sha256"] == body["sha256"]


def test_upload_takes_a_name_and_an_encoding(client: TestClient) -> None:
    data = {"name": "роман", "encoding": "koi8_r"}
    body = expect(client.post("/upload_book", files={"file": ("x.txt", BOOK.encode("koi8-r"))}, data=data), 201)
    assert (body["name"], body["encoding"]) == ("роман", "koi8_r")


def test_upload_twice_makes_two_books_unless_a_name_was_given(client: TestClient) -> None:
    names = [
        expect(client.post("/upload_book", files={"file": ("x.txt", BOOK.encode())}), 201)["name"] for _ in range(2)
    ]
    assert names == ["x", "x (2)"]
    assert expect(client.post("/upload_book", files={"file": ("z.txt", BOOK.encode())}), 201)["same_as"] in names
    assert expect(client.post("/upload_book", files={"file": ("z.txt", b"another text")}), 201)["same_as"] is None
    again = client.post("/upload_book", files={"file": ("y.txt", BOOK.encode())}, data={"name": "x"})
    assert_error(again, 409, "name_taken", "name")


def test_several_files_become_books_and_each_refused_one_is_named(client: TestClient) -> None:
    files = [("file", ("a.txt", "раз два три".encode())), ("file", ("b.exe", b"MZ")), ("file", ("c.md", b"# One two"))]
    answer = expect(client.post("/upload_book", files=files), 201)
    assert [(book["name"], book["format"]) for book in answer["books"]] == [("a", "txt"), ("c", "md")]
    assert [(each["file"], each["error"]["code"]) for each in answer["refused"]] == [("b.exe", "unsupported_format")]
    assert_error(client.post("/upload_book", files=files[:1] * 2, data={"name": "x"}), 422, "invalid_input", "name")
    assert_error(client.post("/upload_book", files=files[1:2] * 2), 415, "unsupported_format")


def test_an_archive_becomes_a_book_for_each_file_in_it(client: TestClient) -> None:
    archive = zip_of({"книги/первая.txt": "раз два три", "книги/вторая.md": "# Четыре", "cover.jpg": b"\xff\xd8"})
    answer = expect(client.post("/upload_book", files={"file": ("a.zip", archive)}), 201)
    assert [book["name"] for book in answer["books"]] == ["первая", "вторая"]
    assert (answer["refused"], answer["skipped"]) == ([], 1)
    assert answer["books"][1]["title"] == "Четыре"


def test_a_pasted_text_becomes_a_book(client: TestClient) -> None:
    answer = client.post("/books", json={"title": " Сон/явь ", "text": "Мне снился сад.\r\nОн цвёл."})
    body = expect(answer, 201)
    assert (body["name"], body["title"], body["format"], body["encoding"]) == ("Сон явь", "Сон/явь", "txt", "utf_8")
    assert expect(client.get(answer.headers["location"]), 200)["preview"] == "Мне снился сад.\nОн цвёл."
    assert expect(client.post("/books", json={"text": "\nПервая строка\nвторая"}), 201)["title"] == "Первая строка"
    long = "Мама мыла раму, а папа " * 10
    assert (
        expect(client.post("/books", json={"text": long}), 201)["title"]
        == "Мама мыла раму, а папа Мама мыла раму, а папа Мама мыла"
    )
    assert_error(client.post("/books", json={"title": "пусто", "text": " \n"}), 422, "empty_book", "text")
    assert_error(client.post("/books", json={"text": "а" * 10_000_001}), 413, "book_too_large", "text")


@pytest.mark.slow
def test_a_book_of_another_format_says_what_was_left_out(client: TestClient) -> None:
    client.headers["Accept-Language"] = "ru"
    answer = expect(client.post("/upload_book", files={"file": ("a.md", "Сад[^1]\n\n[^1]: сноска\n".encode())}), 201)
    assert answer["left_out"] == [{"code": "notes", "count": 1}, {"code": "note_marks", "count": 1}]
    assert answer["left_out_notice"] == "Взят только текст. Опущено: сноски (1), знаки сносок (1)."
    again = client.post(f"/books/{answer['name']}/encoding", json={"encoding": "cp1251"})
    assert expect(again, 200)["preview"].startswith("РЎР°Рґ")
    preview = expect(client.get(f"/books/{answer['name']}/preview?encoding=utf_8"), 200)
    assert (preview["preview"], preview["readable"]) == ("Сад", True)


@pytest.mark.parametrize(
    ("filename", "content", "status", "code"),
    [
        ("x.exe", b"MZ", 415, "unsupported_format"),
        ("", b"text", 415, "unsupported_format"),
        ("x.txt", b"", 422, "empty_book"),
        ("x.txt", b"\x00\x01\x02\xff\xfe\x00" * 500, 422, "not_text"),
    ],
)
def test_upload_of_what_is_no_book_is_refused(
    client: TestClient, workspace: Workspace, filename: str, content: bytes, status: int, code: str
) -> None:
    assert_error(client.post("/upload_book", content=form(content, filename), headers=FORM), status, code)
    assert nothing_is_left(workspace)


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd.txt", "..\\..\\evil.txt", "/abs/olute.txt", "C:\\x\\con.txt", "a\x00b.txt"]
)
def test_file_names_never_become_paths(client: TestClient, workspace: Workspace, filename: str) -> None:
    before = {path for path in workspace.root.parent.rglob("*") if workspace.books not in path.parents}
    answer = client.post("/upload_book", content=form(BOOK.encode(), filename), headers=FORM)
    assert answer.status_code in (201, 415, 422), answer.text
    assert {path for path in workspace.root.parent.rglob("*") if workspace.books not in path.parents} == before


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"filename*=UTF-8''%D0%BA%D0%BD%D0%B8%D0%B3%D0%B0.txt", "книга"),
        (b"filename=\"kniga.txt\"; filename*=utf-8'ru'%D0%BA%D0%BD%D0%B8%D0%B3%D0%B0.txt", "книга"),
        (b"filename*=windows-1251''%EA%ED%E8%E3%E0.txt", "книга"),
        ('filename="Моя книга.txt"'.encode("cp1251"), "Моя книга"),
        ('filename="Моя книга.txt"'.encode("koi8_r"), "Моя книга"),
        ('filename="Моя книга.txt"'.encode("cp866"), "Моя книга"),
        ('filename="моя \\"книга\\".txt"'.encode(), "моя книга"),
        (b"filename*=klingon''book.txt", "book"),
        (b"filename*=UTF-8''%FF%FE%00.txt; filename=spare.txt", "ÿþ"),
        (b"filename*=''..%2F..%2Fevil.txt", "evil"),
    ],
)
def test_names_of_uploaded_files_are_read_in_every_form(client: TestClient, disposition: bytes, name: str) -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '.encode()
    body = head + disposition + b"\r\n\r\n" + BOOK.encode() + f"\r\n--{BOUNDARY}--\r\n".encode()
    assert expect(client.post("/upload_book", content=body, headers=FORM), 201)["name"] == name


def test_book_is_edited_and_tells_a_prompt_in_its_language(client: TestClient, make_book: Callable[[str], Any]) -> None:
    make_book("а")
    body = {"title": "Анна Каренина", "author": "Лев Толстой", "language": "ru"}
    edited = expect(client.patch("/books/а", json=body), 200)
    assert body.items() <= edited.items()
    assert edited["sample_prompt"] == "Однажды"
    assert expect(client.get("/books"), 200)["books"] == [edited]
    english = expect(client.patch("/books/а", json={"language": "en"}), 200)
    assert (english["title"], english["sample_prompt"]) == ("Анна Каренина", "Once upon a time")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "т" * 201}, "title"),
        ({"author": 7}, "author"),
        ({"language": "Russian, please"}, "language"),
        ({"name": "б"}, "name"),
    ],
)
def test_an_edit_of_a_book_that_does_not_fit_names_the_field(
    client: TestClient, make_book: Callable[[str], Any], body: dict[str, Any], field: str
) -> None:
    make_book("а")
    assert_error(client.patch("/books/а", json=body), 422, "invalid_input", field)
    assert_error(client.patch("/books/нет", json={"title": "т"}), 404, "book_not_found")


def test_upload_says_what_is_to_be_known_about_the_book(client: TestClient) -> None:
    text = BOOK.encode() + b"\xff\n<|endoftext|>\n"
    body = expect(client.post("/upload_book", files={"file": ("x.txt", text)}), 201)
    assert (body["wrong_characters"], body["marks"]) == (1, 1)
    assert len(body["notices"]) == 2
    assert str(body["wrong_line"]) in body["notices"][0]
    assert "<|endoftext|>" in body["notices"][1]
    assert expect(client.post("/upload_book", files={"file": ("y.txt", BOOK.encode())}), 201)["notices"] == []


def test_two_encodings_in_one_upload_are_refused_with_the_line(client: TestClient, workspace: Workspace) -> None:
    line = "Утром бабушка вышла из дома и пошла к колодцу.\n"
    data = line.encode() * 12 + line.encode("cp1251") * 12
    error = assert_error(client.post("/upload_book", files={"file": ("x.txt", data)}), 422, "two_encodings", "file")
    assert "13" in error["message"]
    assert nothing_is_left(workspace)


def test_upload_over_the_limit_is_answered_before_it_is_read(client: TestClient, workspace: Workspace) -> None:
    body = form(b"a" * (UPLOAD_LIMIT_BYTES + 200_000))
    answer = client.post("/upload_book", content=body, headers=FORM)
    error = assert_error(answer, 413, "book_too_large", "file")
    assert "300 kB" in error["message"]
    assert answer.headers["connection"] == "close"
    assert nothing_is_left(workspace)


@pytest.mark.slow
def test_upload_of_unknown_length_is_cut_while_it_arrives(client: TestClient, workspace: Workspace) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield form(b"")[:-20]
        while sent < 3 * UPLOAD_LIMIT_BYTES:
            sent += 10_000
            yield b"a" * 10_000

    assert_error(client.post("/upload_book", content=endless(), headers=FORM), 413, "book_too_large", "file")
    assert nothing_is_left(workspace)


def test_book_just_over_the_limit_is_refused_by_its_own_size(client: TestClient) -> None:
    answer = client.post("/upload_book", content=form(b"a" * (UPLOAD_LIMIT_BYTES + 1)), headers=FORM)
    assert_error(answer, 413, "book_too_large", "file")
    expect(client.post("/upload_book", content=form(b"word " * (UPLOAD_LIMIT_BYTES // 5)), headers=FORM), 201)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        form(b"x")[:-30],
        b"--frontier--\r\n",
        b"--frontier\r\n\r\nx\r\n--frontier--\r\n",
        b"\xff" * 100,
    ],
)
def test_broken_forms_are_refused(client: TestClient, workspace: Workspace, body: bytes) -> None:
    assert_error(client.post("/upload_book", content=body, headers=FORM), 422)
    assert nothing_is_left(workspace)


def test_form_without_a_file_says_what_is_missing(client: TestClient) -> None:
    assert_error(client.post("/upload_book", files={"book": ("x.txt", b"x")}), 422, "invalid_input", "file")
    assert_error(client.post("/upload_book", files={"name": (None, "x")}), 422, "invalid_input", "file")
    assert_error(
        client.post("/upload_book", files={"file": (None, "text in a plain field")}), 422, "invalid_input", "file"
    )
    assert_error(client.post("/upload_book", json={"file": "x"}), 415, "unsupported_format")


def test_book_is_previewed_and_read_as_another_encoding(client: TestClient) -> None:
    name = expect(
        client.post("/upload_book", files={"file": ("x.txt", BOOK.encode("koi8-r"))}, data={"encoding": "cp1251"}), 201
    )["name"]
    assert "счастливые" not in expect(client.get(f"/books/{name}"), 200)["preview"]
    preview = expect(client.get(f"/books/{name}/preview", params={"encoding": "koi8_r"}), 200)
    assert preview["preview"].startswith("Все счастливые семьи")
    assert expect(client.get(f"/books/{name}"), 200)["encoding"] == "cp1251"
    reread = expect(client.post(f"/books/{name}/encoding", json={"encoding": "koi8_r"}), 200)
    assert (reread["encoding"], reread["preview"][:3]) == ("koi8_r", "Все")
    for encoding in ("klingon", "", "utf-8\x00", "x" * 30):
        assert_error(client.get(f"/books/{name}/preview", params={"encoding": encoding}), 422)
        assert_error(client.post(f"/books/{name}/encoding", json={"encoding": encoding}), 422)


def test_books_are_listed_and_deleted(
    client: TestClient, make_book: Callable[[str], Any], workspace: Workspace
) -> None:
    make_book("a")
    make_book("b")
    assert [book["name"] for book in expect(client.get("/books"), 200)["books"]] == ["a", "b"]
    assert client.delete("/books/a").status_code == 204
    assert client.delete("/books/b?forever=true").status_code == 204
    assert [each["name"] for each in expect(client.get("/deleted_books"), 200)["books"]] == ["a"]
    assert expect(client.post("/deleted_books/a/restore"), 200)["name"] == "a"
    assert client.delete("/books/a").status_code == 204
    assert client.delete("/deleted_books/a").status_code == 204
    assert nothing_is_left(workspace)
    error = assert_error(client.post("/deleted_books/a/restore"), 404, "book_not_found")
    assert "an hour" in error["message"]
    assert_error(client.delete("/books/a"), 404, "book_not_found")


@pytest.mark.slow
def test_book_in_training_is_neither_deleted_nor_reread(
    client: TestClient, trained: str, make_book: Callable[[str], Any]
) -> None:
    make_book("другая")
    train(client, iterations=None)
    assert_error(client.delete(f"/books/{quote(BOOK_NAME)}"), 409, "in_use")
    assert_error(client.post(f"/books/{quote(BOOK_NAME)}/encoding", json={"encoding": "cp1251"}), 409, "in_use")
    assert client.delete(f"/books/{quote('другая')}").status_code == 204
    client.post("/stop_training")
    status_when(client, lambda status: status["state"] == "stopped")
