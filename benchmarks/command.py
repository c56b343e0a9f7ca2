"""Run another peer that is known only by its command line."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from corpus.dataset import SplitBook


def run(command: str, parts: SplitBook, seconds: float) -> Iterator[tuple[float, float]]:
    """Yield the seconds and bits per byte that `command` prints. Its {train} and {val} become files of UTF-8 text, {seconds} a whole number.

    Raises SystemExit when it fails or prints no such line.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {"train": Path(folder) / "train.txt", "val": Path(folder) / "val.txt"}
        files["train"].write_text(parts.train[:], encoding="utf-8", newline="")
        files["val"].write_text(parts.val[:], encoding="utf-8", newline="")
        asked = [part.format(**files, seconds=round(seconds)) for part in shlex.split(command)]
        with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace") as process:
            printed = list(points(process.stdout or ()))
    if process.returncode or not printed:
        raise SystemExit(f"{command}: exit status {process.returncode}, {len(printed)} lines with two numbers")
    yield from printed


def points(lines: Iterable[str]) -> Iterator[tuple[float, float]]:
    """
    >>> list(points(["step 3", "60 1.75", "1 2 3", "120.5 1.5"]))
    [(60.0, 1.75), (120.5, 1.5)]
    """
    for line in lines:
        with contextlib.suppress(ValueError):
            at, bits_per_byte = map(float, line.split())
            yield at, bits_per_byte
