"""Run one process of a training: `python -m runs.worker`, started by launcher.py or by hand with torchrun.

Rank 0 writes each event as a line of JSON and stops when the launcher's stop file appears; the other ranks follow it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Generator, Sequence
from pathlib import Path

from config import TrainConfig
from errors import AZRError
from events import Event, IterationDone, to_json
from machine.memory import use_one_heap
from machine.processes import ending_at_once, joined
from runs.launcher import STOP_FILE
from runs.plan import TrainingPlan
from runs.training_run import work
from workspace import Workspace


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="runs.worker")
    parser.add_argument("model")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--config", type=TrainConfig.model_validate_json, required=True)
    parser.add_argument("--book", action="append", required=True)
    given = parser.parse_args(arguments)
    use_one_heap()
    with joined() as ranks:
        config = given.config.model_copy(update={"devices": ranks.world_size})
        run = work(Workspace(given.workspace), TrainingPlan(given.model, tuple(given.book), config), ranks)
        if ranks.is_main:
            report(run)
        else:
            follow(run)


def follow(run: Generator[Event, None, None]) -> None:
    """Run the training on a rank other than 0 until rank 0 stops it; if rank 0 dies, the next exchange fails."""
    _ignore_signals()
    for _ in run:
        pass


def report(run: Generator[Event, None, None]) -> None:
    """Run the training on rank 0 and print its events as lines of JSON until the launcher asks to stop.

    After an AZRError, which is printed as a line too, it raises SystemExit(1).
    """
    _ignore_signals()
    try:
        for event in run:
            print(json.dumps(to_json(event), ensure_ascii=False), flush=True)  # noqa: T201
            if isinstance(event, IterationDone) and _is_asked_to_stop():
                run.close()
                return
    except AZRError as error:
        print(error_line(error), flush=True)  # noqa: T201
        raise SystemExit(1) from error


def error_line(error: AZRError) -> str:
    """Return the line from which the launcher raises the error again."""
    return json.dumps({"error": {"code": error.code, "field": error.field, "parameters": error.parameters}})


def _ignore_signals() -> None:
    """Ignore Ctrl+C and SIGTERM, which are for the process that started the training."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


def _is_asked_to_stop() -> bool:
    return STOP_FILE in os.environ and Path(os.environ[STOP_FILE]).exists()


if __name__ == "__main__":
    with ending_at_once():
        main()
