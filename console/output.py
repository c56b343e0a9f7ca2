"""Print for people and for files: sentences in the console's language, errors, tables, the next step."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

import i18n
from errors import AZRError, InvalidInput
from workspace import explain

FAILED = 1
_UNLIMITED = 1000  # columns, for a file


class Failed(Exception):
    """A command failed for a reason that was printed already."""


def words() -> i18n.Translator:
    """Return the translator for the language of the console."""
    return i18n.translator(i18n.console_language())


def prepare_streams() -> None:
    """Print characters that the console's encoding lacks as "?" instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def console() -> Console:
    """Return a console for tables and progress bars. It does not wrap lines if the output is a file."""
    is_terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if is_terminal else _UNLIMITED)


def say(sentence: str) -> None:
    """Print a sentence on standard output."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def warn(sentence: str) -> None:
    """Print a sentence on standard error, if that can be written."""
    if sys.stderr is not None:  # closed before this process began
        with contextlib.suppress(OSError):
            sys.stderr.write(sentence + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in a terminal, and lines with tabs between the values elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            say("\t".join(row))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)


def say_next(key: str, *command: str, workspace: Path, default: Path) -> None:
    """Print a sentence and the exact command for the next step, in the same workspace."""
    needed = () if workspace == default or "AZR_WORKSPACE" in os.environ else ("--workspace", str(workspace))
    parts = ["python", "start.py", "cli", *command, *needed]
    quoted = subprocess.list2cmdline(parts) if sys.platform == "win32" else " ".join(map(_quoted, parts))
    say(f"{words().gettext(key)}\n  {quoted}")


def _quoted(part: str) -> str:
    """Quote a word for a shell if needed; unlike `shlex.quote`, not for letters beyond ASCII."""
    return part if re.fullmatch(r"[\w@%+=:,./-]+", part) else shlex.quote(part)


@contextlib.contextmanager
def errors_as_sentences(path: Path | None = None, *, about: str = "") -> Iterator[None]:
    """Print a wrong input or a disk error as a sentence, after what it is `about`, and raise Failed; bugs stay tracebacks."""
    try:
        yield
    except AZRError as error:
        _fail(error, about)
    except ValidationError as refused:
        _fail(from_pydantic(refused), about)
    except OSError as error:
        explained = explain(error, path or Path.cwd())
        if explained is None:
            raise
        _fail(explained, about)


def _fail(error: AZRError, about: str) -> None:
    warn(f"{about}: {words().error(error)}" if about else words().error(error))
    raise Failed from error


def from_pydantic(refused: ValidationError, field: str | None = None) -> AZRError:
    """Return the first entry of a validation error as an AZRError about `field`, or about the field in the entry."""
    first = refused.errors()[0]
    context = first.get("ctx", {})
    if isinstance(own := context.get("error"), AZRError):
        return own
    limits = {key: value for key, value in context.items() if isinstance(value, str | int | float)}
    named = field or ".".join(str(part) for part in first["loc"])
    return InvalidInput(field=named, **{**limits, "reason": first["type"], "value": str(first["input"])})
