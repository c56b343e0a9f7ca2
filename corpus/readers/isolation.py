"""Parse a stranger's file in a process of its own, with a deadline and a limit of memory.

Why: archives, PDF, XML and the like are made of sizes and references that a file states about itself, and a parser that believes
one of them hangs or fills the memory; then that process ends, not the server with a training in it. Plain text, tables and chats
are read in this process: they are read line by line and state nothing about themselves.

It ends when it finishes no page or chapter for SECONDS of work, or when the whole file takes longer than its size allows: an honest
book of a thousand pages needs a minute. On a machine that is busy, work takes up to PATIENCE times as long on the clock; Windows
limits only the clock. A small file gets MEMORY_BYTES, a larger one more. Where the system has no limit of memory for a
process (Windows, macOS), the readers' own limits of sizes remain.

The child (child.py) writes the clean text to `target` and one line of JSON to its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from corpus.readers.reading import LeftOut, Reading
from errors import BookRefused, from_code

ROOT = Path(__file__).resolve().parent.parent.parent
CHILD = "corpus.readers.child"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}  # each further one would take memory, and none is of use
SECONDS, SECONDS_PER_MB = 5.0, 10.0
PATIENCE = 4
_TIME_IS_UP = (1, -24)  # of faulthandler, and by SIGXCPU
MEMORY_BYTES, MEMORY_PER_BYTE, MOST_MEMORY_BYTES = 260 << 20, 4, 1500 << 20


def read(format: str, source: Path, target: Path, encoding: str | None, *, field: str) -> Reading:
    """Read a file in a process of its own. Raises what its reader raises, and BookRefused for one that takes too long or too much."""
    size = source.stat().st_size
    seconds = SECONDS + SECONDS_PER_MB * size / 1_000_000
    memory = min(MEMORY_BYTES + MEMORY_PER_BYTE * max(0, size - (1 << 20)), max(MOST_MEMORY_BYTES, MEMORY_BYTES))
    asked = [format, str(source), str(target), encoding or "", field, str(SECONDS), str(seconds), str(memory)]
    try:
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-m", CHILD, *asked],
            cwd=ROOT,  # where the module is found
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            timeout=PATIENCE * seconds + 30,  # the child ends by itself; its start on a busy machine counts here
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # Ctrl+C is for this process
        )
    except subprocess.TimeoutExpired:
        raise BookRefused(field=field, reason="slow") from None
    return _answer(done.stdout, done.returncode, format, field)


def _answer(output: str, status: int, format: str, field: str) -> Reading:
    try:
        values: dict[str, Any] = json.loads(output)
    except ValueError:  # it ended without a word: its deadline, or the system took it
        reason = "slow" if status in _TIME_IS_UP else "memory"
        raise BookRefused(field=field, reason=reason, format=format.upper()) from None
    if "error" in values:
        raise from_code(**values["error"])
    left_out = tuple(LeftOut(**each) for each in values.pop("left_out"))
    return Reading(**values, left_out=left_out)
