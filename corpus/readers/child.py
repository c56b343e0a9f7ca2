"""The process that parses one file (see isolation.py): `python -m corpus.readers.child FORMAT SOURCE TARGET ENCODING FIELD SECONDS BYTES`.

It ends itself at its deadline, whatever the parser is doing, and the system refuses it more memory than the limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import sys
from pathlib import Path

from corpus.readers.formats import read_here
from errors import AZRError, BookRefused


def main(arguments: list[str]) -> None:
    format, source, target, encoding, field, seconds, memory_bytes = arguments
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=nowhere)
        _limit_memory(int(memory_bytes))
        try:
            reading = read_here(format, Path(source), Path(target), encoding or None, field=field)
            answer = dataclasses.asdict(reading)
        except (MemoryError, RecursionError) as error:
            reason = "memory" if isinstance(error, MemoryError) else "damaged"
            answer = _error(BookRefused(field=field, reason=reason, format=format.upper()))
        except AZRError as error:
            answer = _error(error)
        except ImportError as error:
            answer = _error(BookRefused(field=field, reason="package", name=error.name or "?"))
        faulthandler.cancel_dump_traceback_later()
    sys.stdout.write(json.dumps(answer))


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
