"""Names that never leave their folder, writes that are whole or not at all, and a lock for one server at a time."""

from __future__ import annotations

import errno
import ntpath
import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import workspace as workspace_module
from errors import AccessDenied, DiskFull, FolderUnusable, InvalidName, WorkspaceLocked
from tests.ordinary_user import give_to_nobody, needs_permissions, open_folder, ordinary_user
from workspace import (
    RESERVED_NAMES,
    Workspace,
    disk_errors,
    name_key,
    new_folder,
    read_json,
    remove,
    safe_name,
    suggest_name,
    write_atomic,
    write_json,
)

REPOSITORY = Path(__file__).resolve().parents[1]
NAUGHTY = st.text(st.sampled_from('./\\:*?"<>|%#& ~$-\0\n\t\u202e\u200b\ufeff\ud800ёaCONcon.txt1¹／．'), max_size=20)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace(tmp_path / "папка")
    ws.prepare()
    return ws


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.text(max_size=80) | NAUGHTY)
@example("..")
@example("../../etc/passwd")
@example("..\\..\\windows")
@example("C:evil")
@example("\\\\server\\share")
@example("a\0b")
@example("．．／x")
def test_safe_name_never_leaves_its_folder(name: str) -> None:
    try:
        safe = safe_name(name)
    except InvalidName as error:
        assert error.parameters["reason"] in workspace_module.NAME_RULES
        str(error.parameters["name"]).encode("utf-8")  # can be shown
        return
    for join, normal, base in (
        (ntpath.join, ntpath.normpath, "C:\\azr\\models"),
        (os.path.join, os.path.normpath, "/azr/models"),
    ):
        path = normal(join(base, safe))
        assert path.startswith(base)
        assert len(path) == len(base) + 1 + len(safe)
    assert ntpath.splitdrive(safe)[0] == ""
    assert ntpath.basename(safe) == os.path.basename(safe) == safe
    assert not ntpath.isreserved(safe) if hasattr(ntpath, "isreserved") else True
    assert safe_name(safe) == safe == unicodedata.normalize("NFC", safe)


@given(st.text(max_size=200) | NAUGHTY)
def test_suggested_name_is_always_a_safe_one(text: str) -> None:
    assert safe_name(suggest_name(text)) == suggest_name(text)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"), ("   ", "empty"), ("а" * 65, "too_long"), ("字" * 61, "too_long"), ("a/b", "character"), ("a\\b", "character"),
        ("a:b", "character"), ("a\nb", "character"), ("a\u202eb", "character"), ("a%b", "character"), (".", "edge"), ("..", "edge"),
        (".git", "edge"), ("-rf", "edge"), ("a.", "edge"), (" .a ", "edge"), ("con", "reserved"), ("NUL.txt", "reserved"),
        ("Com1", "reserved"), ("lpt¹", "reserved"), ("aux .x", "reserved"), ("ＣＯＮ", "reserved"),
    ],
)  # fmt: skip
def test_name_that_some_system_refuses_is_refused_with_the_rule(name: str, reason: str) -> None:
    with pytest.raises(InvalidName) as error:
        safe_name(name)
    assert error.value.parameters["reason"] == reason


@pytest.mark.parametrize(
    "name", ["Анна Каренина", "Война и мир. Том 1", "a", "а" * 64, "字" * 60, "console", "com", "com10", "Ёлка (2)"]
)
def test_ordinary_name_is_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", [" чайка", "чайка ", "\tчайка\n", "\u00a0чайка\u2003"])
def test_spaces_around_a_name_are_trimmed(ws: Workspace, name: str) -> None:
    assert safe_name(name) == "чайка"
    assert name_key(name) == name_key("чайка")
    assert ws.model_folder(name) == ws.models / "чайка"


def test_reserved_names_are_refused_in_every_spelling() -> None:
    assert len(RESERVED_NAMES) == 32
    for reserved in RESERVED_NAMES:
        for spelled in (reserved, reserved.upper(), f"{reserved}.txt"):
            with pytest.raises(InvalidName):
                safe_name(spelled)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Straße", "STRASSE", True), ("Ёлка", "ёлка", True), ("\u0439", "\u0438\u0306", True), ("ﬁn", "FIN", True),
        ("poet", "роеt", False), ("Е", "Ё", False),
    ],
)  # fmt: skip
def test_names_that_one_system_takes_for_one_are_one(first: str, second: str, same: bool) -> None:
    assert (name_key(first) == name_key(second)) == same


def test_case_twin_and_other_unicode_form_lead_to_the_folder_that_is_there(ws: Workspace) -> None:
    (ws.models / "Чайка").mkdir()
    assert ws.model_folder("чайка") == ws.models / "Чайка"
    assert ws.model_folder(unicodedata.normalize("NFD", "ЧАЙКА")) == ws.models / "Чайка"
    assert ws.model_folder("чай") == ws.models / "чай"


def test_decomposed_name_is_stored_composed(ws: Workspace) -> None:
    assert ws.model_folder(unicodedata.normalize("NFD", "Чайка")).name == unicodedata.normalize("NFC", "Чайка")


# ---- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EIO, DiskFull),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.EMFILE, OSError),
    ],
)
def test_write_that_fails_leaves_the_old_content(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, wanted: type[Exception]
) -> None:
    path = ws.books / "a.json"
    write_atomic(path, "старое")

    def fail(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(wanted):
            write_atomic(path, "новое")
    assert path.read_text(encoding="utf-8") == "старое"
    assert [file.name for file in ws.books.iterdir()] == ["a.json"]
    write_atomic(path, "новое")
    assert path.read_text(encoding="utf-8") == "новое"


def system_error(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if path is None else [str(path)]))


def test_missing_right_is_named_with_its_folder(ws: Workspace) -> None:
    book = ws.books / "a.txt"
    for error, folder, reason in (
        (system_error(errno.EACCES, ws.books / ".tmp-1"), ws.books, "write"),
        (system_error(errno.EPERM, book), ws.books, "write"),
        (system_error(errno.EACCES), ws.books, "write"),
        (system_error(errno.EROFS, ws.books / ".tmp-1"), ws.books, "read_only"),
    ):
        with pytest.raises(AccessDenied) as caught, disk_errors(book):
            raise error
        assert caught.value.parameters == {"path": str(folder), "reason": reason}


@needs_permissions
def test_missing_right_is_the_one_the_system_refuses() -> None:
    with open_folder() as folder:
        ws = Workspace(folder / "ws")
        ws.prepare()
        write_atomic(ws.books / "a.txt", "x")
        give_to_nobody(ws.root)
        with ordinary_user():
            for forbidden, mode, operation, reason in (
                (ws.books, 0o500, lambda: write_atomic(ws.books / "b.txt", "x"), "write"),
                (ws.books, 0o000, lambda: list(ws.books.iterdir()), "read"),
                (ws.books / "a.txt", 0o000, lambda: (ws.books / "a.txt").read_bytes(), "read"),
                (ws.books / "a.txt", 0o400, lambda: (ws.books / "a.txt").open("ab"), "write"),
            ):
                usual = forbidden.stat().st_mode
                forbidden.chmod(mode)
                with pytest.raises(AccessDenied) as caught, disk_errors(ws.books / "b.txt"):
                    operation()
                forbidden.chmod(usual)
                assert caught.value.parameters == {"path": str(forbidden), "reason": reason}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_folder_that_is_something_else_is_named(ws: Workspace, kind: str) -> None:
    ws.books.rmdir()
    ws.books.symlink_to("nowhere") if kind == "link" else ws.books.write_text("", encoding="utf-8")
    with pytest.raises(FolderUnusable) as caught:
        ws.prepare()
    assert (caught.value.parameters["path"], caught.value.parameters["reason"]) == (str(ws.books), kind)


def test_write_is_on_the_disk_before_it_takes_the_place(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    write_atomic(ws.books / "a", b"x")
    assert done == ["fsync", "replace", "fsync"]


def test_json_round_trips_and_refuses_what_is_no_json(ws: Workspace) -> None:
    write_json(ws.books / "a.json", {"имя": "ё", "n": [1, 2.5, None]})
    assert read_json(ws.books / "a.json") == {"имя": "ё", "n": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(ws.books / "a.json", {"n": float("nan")})
    assert read_json(ws.books / "a.json")["n"] == [1, 2.5, None]


def test_folder_is_there_whole_or_not_at_all(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(ws.models / "x") as folder:
        (folder / "half").write_text("", encoding="utf-8")
        assert not (ws.models / "x").exists()
        _ = 1 / 0
    assert list(ws.models.iterdir()) == []
    with new_folder(ws.models / "x") as folder:
        (folder / "whole").write_text("", encoding="utf-8")
    assert [file.name for file in (ws.models / "x").iterdir()] == ["whole"]


def test_removed_file_and_folder_are_gone(ws: Workspace) -> None:
    (ws.models / "x").mkdir()
    (ws.models / "x" / "y").write_text("", encoding="utf-8")
    (ws.models / "z").write_text("", encoding="utf-8")
    remove(ws.models / "x")
    remove(ws.models / "z")
    assert list(ws.models.iterdir()) == []


def test_preparing_sweeps_what_a_crash_left_and_nothing_else(ws: Workspace) -> None:
    (ws.checkpoints / "поэт" / ".tmp-1234").mkdir(parents=True)
    (ws.checkpoints / "поэт" / "step-00000001").mkdir()
    (ws.books / ".tmp-abcd").write_text("", encoding="utf-8")
    (ws.books / "книга.txt").write_text("", encoding="utf-8")
    ws.prepare()
    assert not list(ws.root.rglob(".tmp-*"))
    assert (ws.checkpoints / "поэт" / "step-00000001").is_dir()
    assert (ws.books / "книга.txt").is_file()


def test_workspace_that_is_only_named_touches_nothing(tmp_path: Path) -> None:
    Workspace(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# ---- the lock --------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from workspace import Workspace
with Workspace(sys.argv[1]).lock("http://127.0.0.1:8000"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_is_refused_to_a_second_process_and_freed_by_its_death(ws: Workspace) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(ws.root)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceLocked) as error, ws.lock("me"):
            pass
        assert error.value.parameters["holder"] == "http://127.0.0.1:8000"
    finally:
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
    with ws.lock("me"):
        assert (ws.root / ".lock").read_text(encoding="utf-8") == "me"


def test_lock_is_refused_within_one_process_and_free_afterwards(ws: Workspace) -> None:
    with ws.lock("a long name of the first holder"), pytest.raises(WorkspaceLocked), ws.lock("b"):
        pass
    with ws.lock("b"):
        assert (ws.root / ".lock").read_text(encoding="utf-8") == "b"
