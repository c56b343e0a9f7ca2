"""Guard standard output: a full disk or a closed stream becomes an error with a sentence, a reader that has left ends the command.

Particular: errors are caught at the stream, because help, tables and progress bars are printed by libraries, and because an
OSError does not say which file it is about.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from errors import DiskFull, OutputUnwritable
from workspace import explain

READER_GONE = 128 + 13  # the exit code of a program that SIGPIPE ended, as shells report it


class ReaderGone(Exception):
    """The program that read the output has ended, as `head` does when it has its lines."""


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Inside this block, standard output that cannot be written raises OutputUnwritable or ReaderGone, at the latest at its end."""
    if sys.stdout is None:  # closed before this process began
        raise OutputUnwritable(reason="closed")
    stream = sys.stdout
    guard = _Guard(stream)
    sys.stdout = cast(TextIO, guard)
    try:
        yield
    finally:
        sys.stdout = stream
        guard.flush()


class _Guard:
    """A text stream that names the errors of another one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text == "":  # how the library that prints the help asks whether this is a text stream; it ignores all errors
            return 0
        with _errors_named(self._stream):
            return self._stream.write(text)

    def flush(self) -> None:
        with _errors_named(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _errors_named(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _point_at_nothing(stream)
        if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
            raise ReaderGone from error
        if isinstance(explain(error, Path()), DiskFull):
            raise OutputUnwritable(reason="full") from error
        raise OutputUnwritable(detail=error.strerror or "") from error


def _point_at_nothing(stream: TextIO) -> None:
    """Let what is still in the stream's buffer vanish; else Python fails to write it once more when it exits."""
    with contextlib.suppress(OSError):  # a stream without a file descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, stream.fileno())
        finally:
            os.close(nothing)
