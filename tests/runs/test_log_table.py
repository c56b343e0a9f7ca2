"""The log of a training as a table: one row for each iteration, whatever happened in it."""

from __future__ import annotations

import csv

from events import Evaluated, IterationDone, SelfPlayDone
from runs.log_table import COLUMNS, csv_lines
from runs.run_log import METRICS, RunLog
from workspace import Workspace


def test_events_of_an_iteration_share_a_row(ws: Workspace) -> None:
    ws.checkpoint_folder("poet").mkdir(parents=True)
    with RunLog(ws, "poet") as log:
        log.append(Evaluated(0, 8.5, 3.0, 8.5, True, 0.1))
        log.append(IterationDone(1, 8.25, 0.001, 1.5, 1000.0, 0.5))
        log.append(SelfPlayDone(1, 1, 0.75, {"length": 0.75}, 0.0, (), looped=0.25))
        log.append(IterationDone(2, float("nan"), 0.002, 1.0, 900.0, 1.0))
    rows = list(csv.DictReader(csv_lines(ws, "poet")))
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert (rows[0]["val_loss"], rows[0]["loss"]) == ("8.5", "")
    assert (rows[1]["loss"], rows[1]["reward"], rows[1]["looped"]) == ("8.25", "0.75", "0.25")
    assert (rows[2]["loss"], rows[2]["tokens_per_second"]) == ("", "900.0")  # a loss that was no number is not written


def test_model_without_a_log_has_the_heading_alone(ws: Workspace) -> None:
    assert list(csv_lines(ws, "poet")) == [",".join(COLUMNS) + "\n"]


def test_damaged_lines_are_left_out(ws: Workspace) -> None:
    ws.checkpoint_folder("poet").mkdir(parents=True)
    damaged = (
        '{"event": "IterationDone", "iteration": 1, "loss": 2.5}\nnonsense\n{"event": "Evaluated"}\n{"event": "Iter'
    )
    (ws.checkpoint_folder("poet") / METRICS).write_text(damaged, encoding="utf-8")
    assert len(list(csv_lines(ws, "poet"))) == 2
