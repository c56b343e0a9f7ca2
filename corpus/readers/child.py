"""The process that parses one file (see isolation.py).

    python -m corpus.readers.child FORMAT SOURCE TARGET ENCODING FIELD SILENT_SECONDS SECONDS BYTES

It ends itself at its deadlines, whatever the parser is doing, and the system refuses it more memory than the limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from corpus.readers.formats import read_here
from errors import AZRError, BookRefused

_PUSH_SECONDS = 0.1


def main(arguments: list[str]) -> None:
    format, source, target, encoding, field, silent_seconds, seconds, memory_bytes = arguments
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        deadline = _Deadline(nowhere, float(silent_seconds), float(seconds))
        _limit_memory(int(memory_bytes))
        try:
            reading = read_here(format, Path(source), Path(target), encoding or None, field=field, beat=deadline.push)
            answer = dataclasses.asdict(reading)
        except (MemoryError, RecursionError) as error:
            reason = "memory" if isinstance(error, MemoryError) else "damaged"
            answer = _error(BookRefused(field=field, reason=reason, format=format.upper()))
        except AZRError as error:
            answer = _error(error)
        except ImportError as error:  # one that is there may not be loaded for want of memory
            is_missing = isinstance(error, ModuleNotFoundError)
            reason = "package" if is_missing else "memory"
            answer = _error(BookRefused(field=field, reason=reason, name=error.name or "?", format=format.upper()))
        faulthandler.cancel_dump_traceback_later()
    sys.stdout.write(json.dumps(answer))


class _Deadline:
    """Ends the process (exit status 1) after a time without a push, and at a last moment that nothing pushes."""

    def __init__(self, nowhere: TextIO, silent_seconds: float, seconds: float) -> None:
        self._nowhere, self._silent_seconds = nowhere, silent_seconds
        self._last, self._pushed = time.monotonic() + seconds, 0.0
        self.push()

    def push(self) -> None:
        now = time.monotonic()
        if now - self._pushed > _PUSH_SECONDS:  # each push starts a thread
            self._pushed = now
            left = min(self._silent_seconds, max(0.001, self._last - now))
            faulthandler.dump_traceback_later(left, exit=True, file=self._nowhere)


def _error(error: AZRError) -> dict[str, object]:
    return {"error": {"code": error.code, "field": error.field, "parameters": error.parameters}}


def _limit_memory(limit_bytes: int) -> None:
    """Limit the memory that this process may write to, where the system can."""
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    main(sys.argv[1:])
