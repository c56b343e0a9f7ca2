"""A training in several processes, seen from the one that asked for it: torchrun is started, its events are read as they come.

`events` is a generator like any other training: it ends, raises or is closed, and the processes end with it. Rank 0 writes each
event as a line of JSON on its standard output. It is asked to stop by a file, since a signal cannot ask on every system; and when
this process dies, its next line finds nobody to read it and it ends as well.

Not here: what the processes do (cli.py train, distributed.py), the log and the status (training_run.py).
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
from errors import AZRError, ProcessLost, from_code
from events import Event, from_json, to_json
from workspace import Workspace

ENTRY = Path(__file__).resolve().parent / "azr_trainer.py"
STOP_FILE = "AZR_STOP_FILE"  # of the environment: the file whose presence asks rank 0 to stop
PATIENCE_SECONDS = 120  # for the last save

_log = logging.getLogger(__name__)


def events(
    workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig
) -> Generator[Event, None, None]:
    """Raises what the training raises, and ProcessLost when one of its processes dies."""
    with tempfile.TemporaryDirectory(prefix="azr-") as folder:
        stop_file = Path(folder) / "stop"
        process = _start(workspace, model, books, config, stop_file)
        try:
            yield from _told(process)
        except GeneratorExit:
            stop_file.touch()
            for _ in _told(process):  # the last save; what is told meanwhile has no reader any more
                pass
            raise
        finally:
            _end(process)


def _start(
    workspace: Workspace, model: str, books: tuple[str, ...], config: TrainConfig, stop_file: Path
) -> subprocess.Popen[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.devices}"]
    asked = [model, "--workspace", str(workspace.root), "--events", "--config", config.model_dump_json()]
    asked += [word for book in books for word in ("--book", book)]
    environment = os.environ | {STOP_FILE: str(stop_file), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "USE_LIBUV": "0"}
    return subprocess.Popen(
        [*torchrun, str(ENTRY), *asked],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        start_new_session=True,  # Ctrl+C is for the one who asked; these are stopped by the file
    )


def _told(process: subprocess.Popen[str]) -> Iterator[Event]:
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
    """The JSON object on a line; other lines are what libraries print."""
    with contextlib.suppress(ValueError):
        values = json.loads(line)
        if isinstance(values, dict) and ("event" in values or "error" in values):
            return values
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """Let nothing run on. torchrun ends its processes when it is ended itself."""
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(10)
    if process.poll() is None:
        process.kill()
        process.wait()


# ---- the other side: rank 0 ------------------------------------------------------------------------------------------


def line_of(event: Event) -> str:
    return json.dumps(to_json(event), ensure_ascii=False)


def line_of_error(error: AZRError) -> str:
    return json.dumps({"error": {"code": error.code, "field": error.field, "parameters": error.parameters}})


def is_asked_to_stop() -> bool:
    return STOP_FILE in os.environ and Path(os.environ[STOP_FILE]).exists()
