"""The process that parses one file (see isolation.py).

    python -m corpus.readers.child FORMAT SOURCE TARGET ENCODING FIELD SILENT_SECONDS SECONDS BYTES

It ends at its deadlines, whatever the parser is doing, and the system refuses it more memory than the limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from corpus.readers.formats import read_here
from corpus.readers.isolation import PATIENCE
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
    """Ends the process after so much work without a push, and at a last moment that nothing pushes.

    Work is time of the processor, where the system can limit it: a book must not be refused because a training runs beside its
    reader. The time on the clock is limited as well, more generously.
    """

    def __init__(self, nowhere: TextIO, silent_seconds: float, seconds: float) -> None:
        self._nowhere, self._silent_seconds = nowhere, silent_seconds
        self._last = time.monotonic() + PATIENCE * seconds
        self._last_work = time.process_time() + seconds
        self._pushed = 0.0
        self.push()

    def push(self) -> None:
        now = time.monotonic()
        if now - self._pushed > _PUSH_SECONDS:  # each push starts a thread
            self._pushed = now
            left = min(PATIENCE * self._silent_seconds, max(0.001, self._last - now))
            faulthandler.dump_traceback_later(left, exit=True, file=self._nowhere)
            _limit_work(min(time.process_time() + self._silent_seconds, self._last_work))


def _error(error: AZRError) -> dict[str, object]:
    return {"error": {"code": error.code, "field": error.field, "parameters": error.parameters}}


def _limit_work(until_seconds: float) -> None:
    """Let the system end this process at a time of its own clock, in whole seconds, where it can. It leaves no core file."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (max(1, math.ceil(until_seconds)), most))


def _limit_memory(limit_bytes: int) -> None:
    """Limit the memory that this process may write to, where the system can."""
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    main(sys.argv[1:])
