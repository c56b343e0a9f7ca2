"""Start torchrun for a training on several devices and read rank 0's events as they arrive.

`events` is a generator like `training_run.work`; when it ends, raises or is closed, the processes end. Rank 0 (worker.py)
writes each event as a line of JSON to its standard output. It stops when a file appears, because not every system has a
signal for that; if this process dies, its next write fails and it ends as well.

Not here: what the processes do (worker.py, machine/processes.py), the log and the status (training_run.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from config import TrainConfig
from errors import ProcessLost, from_code
from events import Event, from_json
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
WORKER = "runs.worker"
STOP_FILE = "AZR_STOP_FILE"  # environment variable: the path of the file whose presence asks rank 0 to stop
PATIENCE_SECONDS = 120  # for the last save

_log = logging.getLogger(__name__)


def events(
    workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig
) -> Generator[Event, None, None]:
    """Train in several processes. Raises what the training raises, and ProcessLost when one of the processes dies."""
    with tempfile.TemporaryDirectory(prefix="azr-") as folder:
        stop_file = Path(folder) / "stop"
        process = _start(workspace, model, books, config, stop_file)
        try:
            yield from _reported(process)
        except GeneratorExit:
            stop_file.touch()
            for _ in _reported(process):  # until the last save is done; nobody reads these events
                pass
            raise
        finally:
            _end(process)


def _start(
    workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig, stop_file: Path
) -> subprocess.Popen[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.devices}"]
    asked = [model, "--workspace", str(workspace.root.resolve()), "--config", config.model_dump_json()]
    asked += [word for book in books for word in ("--book", book)]
    environment = os.environ | {STOP_FILE: str(stop_file), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "USE_LIBUV": "0"}
    return subprocess.Popen(
        [*torchrun, "--module", WORKER, *asked],
        cwd=ROOT,  # where the module is found
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        start_new_session=True,  # Ctrl+C is for this process only; the others are stopped by the file
    )


def _reported(process: subprocess.Popen[str]) -> Iterator[Event]:
    assert process.stdout is not None
    for line in process.stdout:
        values = _parsed(line)
        if values is None:
            _log.info("%s", line.rstrip())
        elif "error" in values:
            raise from_code(**values["error"])
        else:
            yield from_json(values)
    if status := process.wait(PATIENCE_SECONDS):
        raise ProcessLost(status_code=status)


def _parsed(line: str) -> dict[str, Any] | None:
    """Return the JSON object on a line; None for other lines, which libraries print."""
    with contextlib.suppress(ValueError):
        values = json.loads(line)
        if isinstance(values, dict) and ("event" in values or "error" in values):
            return values
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """End torchrun, which ends its processes."""
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(10)
    if process.poll() is None:
        process.kill()
        process.wait()
