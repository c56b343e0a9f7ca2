"""Sum a training's log a hundred iterations at a time, so that the charts of a million iterations need not read all of it.

    checkpoints/<name>/metrics.digest.jsonl    a line for each hundred iterations of metrics.jsonl

Particular: the digest can always be computed again from metrics.jsonl. Each line states where its piece of the log ends, so a
missing or shortened digest is completed from there.

Not here: writing (run_log.py), columns for the charts (history.py).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from events import FORMER, upgraded_round

CHUNK = 100  # iterations
LARGEST = 2**53  # iteration: JavaScript counts exactly up to here
MEANS = {
    "Evaluated": ("val_loss", "bits_per_byte", "train_loss"),
    "SelfPlayDone": ("reward", "looped", "copied"),
}
PART = "reward_breakdown."  # before the names of the parts of a reward, which come from its environment

_BLOCK_BYTES = 1 << 20
_ITERATION_START = b'{"event": "IterationDone", '
_ITERATION_LINE = re.compile(  # `to_json` writes the event first; its fields may stand in any order
    rb'\{"event": "IterationDone"(?=[^\n]*, "iteration": (\d{1,15})[,}])'
    rb'(?=[^\n]*, "loss": (null|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)[,}])'
)
_CHART_LINE = re.compile(rb'\{"event": "(?:Evaluated|SelfPlayDone)".*\n')


@dataclass
class Sums:
    """Sums over neighbouring iterations: their last one, the number of events, and the sum and count of each field."""

    iteration: int = 0
    count: int = 0
    fields: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, iteration: int, values: dict[str, float]) -> None:
        self.iteration, self.count = iteration, self.count + 1
        for name, value in values.items():
            total, there = self.fields.get(name, (0.0, 0))
            self.fields[name] = (total + value, there + 1) if math.isfinite(value) else (total, there)

    def merge(self, later: Sums) -> None:
        self.iteration, self.count = later.iteration, self.count + later.count
        for name, (total, there) in later.fields.items():
            own_total, own_there = self.fields.get(name, (0.0, 0))
            self.fields[name] = (own_total + total, own_there + there)

    def mean(self, name: str) -> float | None:
        total, there = self.fields.get(name, (0.0, 0))
        return total / there if there else None


Chunk = dict[str, Sums]  # by event


def pieces(metrics: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the log from byte `start` in pieces of CHUNK iterations, each with the byte at which it ends."""
    lines: list[bytes] = []
    iterations, end = 0, start
    for block in blocks(metrics, start):
        for line in block.splitlines(keepends=True):
            lines.append(line)
            end += len(line)
            iterations += line.startswith(_ITERATION_START)
            if iterations == CHUNK:
                yield end, b"".join(lines)
                lines, iterations = [], 0


def to_line(end: int, piece: bytes) -> bytes:
    """Return the digest's line for one of `pieces`."""
    chunk = summed(piece)
    sums_by_event = {event: [sums.iteration, sums.count, sums.fields] for event, sums in chunk.items()}
    return (
        json.dumps(
            {"iteration": chunk.get("IterationDone", Sums()).iteration, "end": end, "sums": sums_by_event}
        ).encode()
        + b"\n"
    )


def read(digest: Path, metrics: Path) -> tuple[list[Chunk], int]:
    """Return all chunks and the byte of the log where the last one ends.

    Returns no chunks and 0 for a digest that is damaged or belongs to another log.
    """
    chunks: list[Chunk] = []
    end = 0
    for block in blocks(digest):
        for line in block.splitlines():
            try:
                record = json.loads(line)
                end = int(record["end"])
                chunks.append({event: _sums(event, *values) for event, values in record["sums"].items()})
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                return [], 0
    return (chunks, end) if end <= file_size(metrics) else ([], 0)


def _sums(event: str, iteration: int, count: int, fields: dict[str, tuple[float, int]]) -> Sums:
    """Return the sums from a line of the digest; earlier versions wrote the parts of a reward without PART."""
    sums = {str(name): (float(total), int(there)) for name, (total, there) in fields.items()}
    if event == "SelfPlayDone":
        known = {*MEANS[event], *FORMER}
        sums = {name if name in known or name.startswith(PART) else PART + name: value for name, value in sums.items()}
    return Sums(int(iteration), int(count), sums)


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, 0 for a missing one."""
    return path.stat().st_size if path.exists() else 0


def summed(piece: bytes) -> Chunk:
    """Sum whole lines of the log."""
    chunk: Chunk = {}
    for iteration, loss in iterations_of(piece):
        chunk.setdefault("IterationDone", Sums()).add(iteration, {"loss": loss})
    for record in chart_records(piece):
        chunk.setdefault(record["event"], Sums()).add(record["iteration"], numbers(record))
    return chunk


def iterations_of(piece: bytes) -> Iterator[tuple[int, float]]:
    """Return each iteration and its loss, NaN for null. Uses a pattern, because parsing JSON takes ten times as long."""
    return (
        (int(iteration), math.nan if loss == b"null" else number(float(loss)))
        for iteration, loss in _ITERATION_LINE.findall(piece)
    )


def chart_records(piece: bytes) -> Iterator[dict[str, Any]]:
    """Return the evaluations and self-play rounds of a piece of the log; unreadable lines are skipped."""
    records = (parse(line) for line in _CHART_LINE.findall(piece))
    return (record for record in records if record and str(record.get("event")) in MEANS)


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the figures of an evaluation or a round for the charts, NaN for null; the parts of a reward get PART before their names."""
    found = {name: record.get(name) for name in MEANS[record["event"]]}
    if record["event"] == "SelfPlayDone":
        parts = upgraded_round(record)["reward_breakdown"]
        found |= {PART + name: value for name, value in parts.items()} if isinstance(parts, dict) else {}
    return {name: number(value) for name, value in found.items()}


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object on a line, or None if it is not one with an iteration."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(iteration := record.get("iteration"), int):
        return None
    return record if 0 <= iteration <= LARGEST else None


def blocks(path: Path, start: int = 0) -> Iterator[bytes]:
    """Read a file from byte `start` in large blocks of whole lines; an incomplete last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        rest = b""
        while block := file.read(_BLOCK_BYTES):
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = tail
            else:
                rest += block


def number(value: Any) -> float:
    """Return a finite number as a float; NaN for anything else, such as an integer too large for a float."""
    sound = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if sound else math.nan
