"""A fault at operation N of every change to the library, for N = 1 to the end: afterwards it shows the old state or the new.

Two kinds of fault. "full": operation N fails once with ENOSPC and the program lives on. "death": operation N (here
deletions count, too) and all after it do not happen, as when the process is killed; then the workspace is prepared as at the
next start.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from corpus import shelf
from corpus.library import BookInfo, add_book, delete_book, list_books, read_text, reread_book, sweep
from errors import DiskFull
from workspace import Workspace

TEXT = "Дорога\n\nПоезд шёл всю ночь, и к утру за окном началась степь, ровная и светлая.\n"
CP1251 = TEXT.replace("\n", "\r\n").encode("cp1251")


class Death(BaseException):
    """The process is gone."""


class Faults:
    """Lets operation number `at` fail; counts every write, fsync, rename and copy of the library."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, kind: str) -> None:
        self.at, self.kind, self.count = at, kind, 0
        for module, name in ((os, "replace"), (os, "rename"), (os, "fsync"), (shutil, "copyfile")):
            patch.setattr(module, name, self.guarded(getattr(module, name)))
        patch.setattr(pathlib.Path, "unlink", self.guarded(pathlib.Path.unlink, counted=kind == "death"))
        opened = pathlib.Path.open
        patch.setattr(pathlib.Path, "open", lambda path, *args, **more: self.watched(opened(path, *args, **more)))

    @property
    def happened(self) -> bool:
        return self.count >= self.at

    def guarded(self, action: Callable[..., Any], *, counted: bool = True) -> Callable[..., Any]:
        def act(*args: Any, **more: Any) -> Any:
            self.count += counted
            if self.kind == "death" and self.happened:
                raise Death
            if self.kind == "full" and counted and self.count == self.at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return action(*args, **more)

        return act

    def watched(self, file: IO[Any]) -> Any:
        return Watched(file, self) if file.writable() else file


class Watched:
    def __init__(self, file: IO[Any], faults: Faults) -> None:
        self.file = file
        self.write = faults.guarded(file.write)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def die(*_: object) -> NoReturn:
    raise Death


def nothing(ws: Workspace) -> None:
    pass


def a_book(ws: Workspace) -> None:
    add_book(ws, "дорога.txt", io.BytesIO(CP1251))


def a_clean_dropped_book(ws: Workspace) -> None:
    ws.book_text("дорога").write_bytes(TEXT.encode())
    list_books(ws)


def a_dropped_file(ws: Workspace) -> None:
    ws.book_text("дорога").write_bytes(CP1251)


def an_edited_book(ws: Workspace) -> None:
    a_book(ws)
    ws.book_text("дорога").write_bytes("Другая дорога\r\n".encode())


CHANGES: dict[str, tuple[Callable[[Workspace], None], Callable[[Workspace], object]]] = {
    "add": (nothing, a_book),
    "add-chosen-encoding": (nothing, lambda ws: add_book(ws, "дорога.txt", io.BytesIO(CP1251), encoding="koi8_r")),
    "add-second": (a_book, a_book),
    "reread": (a_book, lambda ws: reread_book(ws, "дорога", "koi8_r")),
    "reread-without-original": (a_clean_dropped_book, lambda ws: reread_book(ws, "дорога", "cp1251")),
    "delete": (a_book, lambda ws: delete_book(ws, "дорога")),
    "adopt": (a_dropped_file, list_books),
    "adopt-edited": (an_edited_book, list_books),
}


def state(ws: Workspace) -> list[BookInfo]:
    """What is listed, after a check that each book's files belong together and that no others are there."""
    books = [dataclasses.replace(book, added_at="") for book in list_books(ws)]
    for book in books:
        text = read_text(ws, book.name).encode()
        assert (len(text), hashlib.sha256(text).hexdigest()) == (book.bytes, book.sha256)
    names = {book.name for book in books}
    for path in ws.books.iterdir():
        assert path.name.partition(".")[0] in names, f"{path.name} was left behind"
    return books


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "death"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_at_any_operation_leaves_the_old_state_or_the_new(change: str, kind: str, tmp_path: Path) -> None:
    prepare, act = CHANGES[change]
    pristine = new_workspace(tmp_path / "pristine", prepare)
    before = [] if change.startswith("adopt") else state(pristine)  # listing alone would already adopt
    act(pristine)
    after = state(pristine)
    allowed = [after] if change.startswith("adopt") else [before, after]
    for number in itertools.count(1):
        ws = new_workspace(tmp_path / str(number), prepare)
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, number, kind)
            outcome = outcome_of(act, ws)
        if not faults.happened:
            break
        if kind == "death":
            ws.prepare()
            sweep(ws)
        elif not change.startswith("adopt"):  # adopting goes on without a record, or at the next listing
            allowed = [before] if outcome is DiskFull else [after]  # what the person was told is true
        assert not list(ws.books.glob(".tmp-*"))
        assert state(ws) in allowed, f"operation {number}"
    assert number > 2


def new_workspace(root: Path, prepare: Callable[[Workspace], None]) -> Workspace:
    ws = Workspace(root)
    ws.prepare()
    prepare(ws)
    return ws


def outcome_of(act: Callable[[Workspace], object], ws: Workspace) -> type[BaseException] | None:
    try:
        act(ws)
    except (DiskFull, Death) as error:
        return type(error)
    return None


@pytest.mark.parametrize("text", [TEXT.replace("\n", "\r\n"), "снег идет"], ids=["other-size", "same-size"])
def test_a_book_cut_off_while_rereading_is_finished_from_its_record(text: str, tmp_path: Path) -> None:
    ws = new_workspace(tmp_path, nothing)
    original = text.encode("cp1251")  # "ё" becomes a drawing sign of three bytes
    old = add_book(ws, "дорога.txt", io.BytesIO(original), encoding="cp1251")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "commit_file", die)  # after the pending record
        assert outcome_of(lambda ws: reread_book(ws, "дорога", "koi8_r"), ws) is Death
    assert '"pending": true' in ws.book_record("дорога").read_text(encoding="utf-8")
    ws.prepare()
    (book,) = list_books(ws)
    assert book.encoding == "koi8_r"
    assert (book.bytes == old.bytes) == (text == "снег идет")
    assert read_text(ws, "дорога") == original.decode("koi8_r").replace("\r", "").rstrip("\n") + "\n"
    assert '"pending"' not in ws.book_record("дорога").read_text(encoding="utf-8")
