"""Paths of the workspace, safe names, atomic writes and the lock. No other module joins paths.

A name given by a person never becomes a path directly: `safe_name` refuses what any supported system refuses (separators,
control characters, Windows' reserved names, a trailing dot or space), and names are compared by casefold(NFKC), so two
names that would be one folder on Windows or macOS are the same name here.

A file is written under a temporary name in the same folder, flushed to the disk, renamed over its target, and the folder is
flushed as well: after a power cut either the old file or the new one is there. A folder is built under a temporary name and
renamed. Leftovers of a crash start with `.tmp-` and are removed at the next start.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from errors import AccessDenied, AZRError, DiskFull, FolderUnusable, InvalidName, WorkspaceLocked

_log = logging.getLogger(__name__)

MAX_NAME_LENGTH = 64
TEMPORARY_PREFIX = ".tmp-"
FORBIDDEN_CHARACTERS = '<>:"/\\|?*%#&'  # the last three would need quoting in addresses
RESERVED_NAMES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{p}{n}" for p in ("com", "lpt") for n in "0123456789¹²³"
}
NAME_RULES = ("empty", "too_long", "character", "edge", "reserved")
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_RIGHT_MISSING = {errno.EACCES, errno.EPERM, errno.EROFS}
_WINDOWS_BUSY = {5, 32, 33}  # access denied, sharing violation, lock violation: another program looks at the file


# ---- names -----------------------------------------------------------------------------------------------------------


def safe_name(name: str, *, field: str = "name") -> str:
    """Return a name in NFC, without spaces around it, that every supported system accepts as a file name.

    >>> safe_name(" Анна Каренина ")
    'Анна Каренина'

    Raises InvalidName with the rule that was broken (one of NAME_RULES).
    """
    name = unicodedata.normalize("NFC", name).strip()
    if rule := _broken_rule(name):
        shown = "".join(c if c.isprintable() else "�" for c in name[:MAX_NAME_LENGTH])
        raise InvalidName(field=field, name=shown, reason=rule, limit=MAX_NAME_LENGTH)
    return name


def _broken_rule(name: str) -> str | None:
    if not name.strip():
        return "empty"
    if len(name) > MAX_NAME_LENGTH or len(name.encode("utf-8", "surrogatepass")) > 180:
        return "too_long"
    if any(c in FORBIDDEN_CHARACTERS or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in name):
        return "character"
    if name[0] in ". -" or name[-1] in ". " or name[0].isspace() or name[-1].isspace():
        return "edge"
    if name_key(name.split(".")[0].rstrip()) in RESERVED_NAMES:
        return "reserved"
    return None


def name_key(name: str) -> str:
    """Return the key by which names are compared.

    >>> name_key("Straße") == name_key("STRASSE ")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())


def suggest_name(text: str, otherwise: str = "book") -> str:
    """Return the nearest safe name to a text, such as the name of an uploaded file; `otherwise` where nothing of it can stay.

    >>> suggest_name("../Война и мир: том 1.txt")
    'Война и мир том 1'
    """
    stem = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", stem)
    kept = "".join(c if _broken_rule(f"a{c}a") is None else " " for c in stem)
    kept = re.sub(r"\s+", " ", kept).strip(" .-")[:MAX_NAME_LENGTH]
    while kept and _broken_rule(kept) == "too_long":
        kept = kept[:-1]
    kept = kept.strip(" .-")
    return kept if kept and _broken_rule(kept) is None else otherwise


# ---- writing ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise DiskFull or AccessDenied instead of a system error about `path` that a person can solve."""
    try:
        yield
    except OSError as error:
        if explained := explain(error, path):
            raise explained from error
        raise


def explain(error: OSError, path: Path) -> AZRError | None:
    """Return DiskFull or AccessDenied for a system error about `path`; None for an error of any other kind."""
    if error.errno in _DISK_TROUBLE:
        return DiskFull(path=str(path), reason=error.strerror or "")
    if error.errno in _RIGHT_MISSING:
        return _access_denied(error, path)
    return None


def _access_denied(error: OSError, path: Path) -> AccessDenied:
    """Return the error that names the folder (or the file) and the missing right."""
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    there = next(each for each in (named, *named.parents) if os.path.exists(each))  # noqa: PTH110  (Path.exists raises)
    is_folder = there.is_dir()
    folder = there if is_folder and (there != named or error.filename is None) else there.parent
    if error.errno == errno.EROFS:
        return AccessDenied(path=str(folder), reason="read_only")
    if not os.access(there, os.R_OK | os.X_OK if is_folder else os.R_OK):
        return AccessDenied(path=str(there), reason="read")
    is_the_file = not is_folder and os.access(folder, os.W_OK) and not os.access(there, os.W_OK)
    return AccessDenied(path=str(there if is_the_file else folder), reason="write")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace the content of `path` atomically. Raises DiskFull and AccessDenied."""
    content = data.encode("utf-8") if isinstance(data, str) else data
    replace_atomic(path, lambda temporary: _write_and_sync(temporary, content))


def replace_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it over `path` durably.

    Raises DiskFull and AccessDenied.
    """
    temporary = temporary_beside(path)
    with disk_errors(path):
        try:
            write(temporary)
            commit_file(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def commit_file(temporary: Path, path: Path) -> None:
    """Rename a finished temporary file over `path`, durably. Raises DiskFull and AccessDenied."""
    with disk_errors(path):
        sync(temporary)
        _retried(lambda: os.replace(temporary, path))
        _sync_committed(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write indented UTF-8 JSON atomically. Raises DiskFull, AccessDenied, and ValueError for NaN."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises OSError and ValueError."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, renamed to `path` when the block succeeds and removed when it fails.

    Raises DiskFull and AccessDenied.
    """
    temporary = temporary_beside(path)
    with disk_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.iterdir():
                sync(file)
            sync(temporary)
            _retried(lambda: os.rename(temporary, path))
            _sync_committed(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove(path: Path) -> None:
    """Delete a file or a folder in one step for every reader: it is renamed first."""
    doomed = temporary_beside(path)
    _retried(lambda: os.rename(path, doomed))
    _sync_committed(path.parent)
    if doomed.is_dir():
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            doomed.unlink()


def move(path: Path, target: Path) -> None:
    """Rename a file or folder in one step; nothing may stand at `target`, unless the two differ in case alone.

    Raises DiskFull and AccessDenied.
    """
    with disk_errors(target):
        _retried(lambda: os.rename(path, target))
        _sync_committed(target.parent)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that is removed at the end. Raises DiskFull and AccessDenied."""
    scratch = temporary_beside(path)
    with disk_errors(path):
        try:
            scratch.mkdir(parents=True)
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """Return a new temporary path in the folder of `path`."""
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}")


def _sync_committed(folder: Path) -> None:
    """Flush a folder in which a rename has just committed a change.

    The change is visible already, so a failure is only logged.
    """
    try:
        sync(folder)
    except OSError as error:
        _log.warning("%s was changed, but the change may not survive a power cut: %s", folder, error)


def sync(path: Path) -> None:
    """Flush a file to the disk, or a folder where the system supports it."""
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_and_sync(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def _retried(action: Callable[[], object], attempts: int = 40, pause_seconds: float = 0.05) -> None:
    for attempt in range(attempts):
        try:
            action()
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in _WINDOWS_BUSY or attempt == attempts - 1:
                raise
            time.sleep(pause_seconds)


# ---- the workspace ---------------------------------------------------------------------------------------------------


class Workspace:
    """The folder with a person's books, models and checkpoints. Creating the object does not touch the disk."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        self.books = self.root / "books"
        self.models = self.root / "models"
        self.checkpoints = self.root / "checkpoints"
        self.queue = self.root / "queue.json"  # trainings that wait their turn
        self.cache = self.root / "cache"  # what can be made again: nothing is lost when a person deletes it
        self.example_marker = self.books / ".example-given"  # exists once the example books have been offered

    def prepare(self) -> None:
        """Create the three folders and remove leftovers of crashes. Raises DiskFull, AccessDenied, FolderUnusable."""
        with disk_errors(self.root):
            for folder in (self.books, self.models, self.checkpoints):
                _make_folder(folder)
            for folder in (self.books, self.models, self.checkpoints, self.cache):
                for leftover in [*folder.glob(f"{TEMPORARY_PREFIX}*"), *folder.glob(f"*/{TEMPORARY_PREFIX}*")]:
                    _sweep(leftover)

    def holds(self, path: Path) -> bool:
        """Return whether a file lies in one of the data folders."""
        whole = path.resolve()
        return any(folder in whole.parents for folder in (self.books, self.models, self.checkpoints))

    def book_text(self, name: str) -> Path:
        return self._entry(self.books, name, ".txt")

    def book_record(self, name: str) -> Path:
        return self.book_text(name).with_suffix(".json")

    def book_original(self, name: str) -> Path:
        """Return the path of the uploaded bytes, kept so that the book can be read in another encoding."""
        return self.book_text(name).with_suffix(".original")

    def model_folder(self, name: str) -> Path:
        return self._entry(self.models, name)

    def checkpoint_folder(self, name: str) -> Path:
        return self._entry(self.checkpoints, name)

    def _entry(self, folder: Path, name: str, suffix: str = "") -> Path:
        """Return the path of `name`: the existing entry with the same key, else a new one. Raises InvalidName."""
        name = safe_name(name)
        exact = folder / f"{name}{suffix}"
        if exact.exists() or not folder.is_dir():
            return exact
        wanted = name_key(exact.name)
        return next((entry for entry in folder.iterdir() if name_key(entry.name) == wanted), exact)

    @contextlib.contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Lock the workspace for this process; a second process gets WorkspaceLocked with the `holder` of the first.

        Also raises DiskFull, AccessDenied and FolderUnusable. The system frees the lock when the process ends for any reason.
        """
        path = self.root / ".lock"
        with disk_errors(self.root):
            _make_folder(self.root)
            file = path.open("a+b")
        with file:
            if not _try_lock(file):
                raise WorkspaceLocked(
                    holder=path.read_text(encoding="utf-8", errors="replace").strip() or "?", path=str(self.root)
                )
            file.truncate(0)
            file.write(holder.encode("utf-8"))
            file.flush()
            yield


def _make_folder(folder: Path) -> None:
    """Create a folder with its parents if it is missing. Raises FolderUnusable for a file or a dead link in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if explain(error, folder):
            raise
        obstacle = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
        kind = "link" if obstacle.is_symlink() and not obstacle.exists() else "file" if obstacle.is_file() else "system"
        raise FolderUnusable(
            path=str(folder if kind == "system" else obstacle), reason=kind, detail=error.strerror or ""
        ) from error


def _sweep(path: Path) -> None:
    """Remove a leftover; failures are ignored until the next start."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


_LOCKED_BYTE = 1 << 30  # far beyond the holder's text, because Windows forbids reading a locked region


def _try_lock(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
