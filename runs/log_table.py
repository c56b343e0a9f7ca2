"""Turn the log of a model's trainings into a table, one row for each iteration, as lines of CSV.

Particular: the log is read once from the start, in pieces, so a table of any length takes no memory. Where an event stands in
the log twice, as after a power cut, its row may stand there twice as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from runs.digest import blocks, parse
from runs.run_log import METRICS
from workspace import Workspace

COLUMNS = (
    "iteration",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "elapsed_seconds",
    "val_loss",
    "bits_per_byte",
    "train_loss",
    "reward",
    "looped",
    "copied",
)
_EVENTS = frozenset({"IterationDone", "Evaluated", "SelfPlayDone"})


def csv_lines(ws: Workspace, name: str) -> Iterator[str]:
    """Yield the heading and a line for each iteration; an empty place is a value that was not measured there."""
    yield _line(COLUMNS)
    row: dict[str, Any] = {}
    for record in _records(ws, name):
        if row and record["iteration"] != row["iteration"]:
            yield _line(row.get(column) for column in COLUMNS)
            row = {}
        row |= {column: record[column] for column in COLUMNS if record.get(column) is not None}
    if row:
        yield _line(row.get(column) for column in COLUMNS)


def _records(ws: Workspace, name: str) -> Iterator[Mapping[str, Any]]:
    for block in blocks(ws.checkpoint_folder(name) / METRICS):
        for line in block.splitlines():
            record = parse(line)
            if record and record.get("event") in _EVENTS and isinstance(record.get("iteration"), int):
                yield record


def _line(values: Any) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(values)
    return written.getvalue()
