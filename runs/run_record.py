"""Write and read run.json: the request and the status of the last run of a model.

    checkpoints/<name>/run.json

Particular: a record may come from another version of the product, from an editor or from a damaged disk. Its readable fields
are shown, the others are named in a notice; no record keeps the server from starting. Runs are numbered over all
models of a workspace, because a clock can be wrong: the last run is the one with the highest number.

Not here: the log of events (run_log.py).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from config import TrainConfig, without_former
from errors import codes
from events import ACTIVE_STATES, Notice, State, TrainingStatus
from runs.run_log import finite
from workspace import TEMPORARY_PREFIX, Workspace, disk_errors, read_json, sync, write_json

RUN = "run.json"
LARGEST = 2**53  # JavaScript counts exactly up to here, and no figure of a training is larger
NEVER_SHOWN = {"config", "notices", "stage", "stage_done", "stage_total"}  # when read from a record

Record = Mapping[str, Any]


# ---- writing ---------------------------------------------------------------------------------------------------------


def next_number(ws: Workspace) -> int:
    """Return the number for a new run: one more than the highest in this workspace."""
    return 1 + max((_number(record) for _, record in _records(ws)), default=0)


def write_run(ws: Workspace, name: str, record: Record) -> None:
    """Write the record of a model's last run atomically. Raises DiskFull."""
    folder = ws.checkpoint_folder(name)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
    write_json(folder / RUN, finite(record))


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_run(ws: Workspace, name: str) -> dict[str, Any] | None:
    """Return the record of a model's last run, or None if it is missing or unreadable."""
    try:
        record = read_json(ws.checkpoint_folder(name) / RUN)
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def last_run_name(ws: Workspace) -> str | None:
    """Return the model whose run began last, or None. Runs of an older version have no number; the one written last counts."""
    found = [(_number(record), _written_at(ws, name), name) for name, record in _records(ws)]
    return max(found, default=(0, 0, None))[2]


def status_of(model: str, record: Record | None) -> TrainingStatus:
    """Return the status in the record of a model; None stands for an unreadable record.

    Missing fields keep their defaults; fields whose type does not match `TrainingStatus` are left out and named in a notice. A run
    that was active when its process died, or whose state is unknown, is INTERRUPTED.
    """
    if record is None:
        return _with_notice(TrainingStatus(state=State.INTERRUPTED, model=model), "run.json")
    known = {name: _validated(name, value) for name, value in record.items() if name in _adapters()}
    odd = [name for name, value in known.items() if value is _Odd]
    status = TrainingStatus(**{name: value for name, value in known.items() if value is not _Odd} | {"model": model})
    if known.get("state", _Odd) is _Odd or status.state in ACTIVE_STATES:
        status = dataclasses.replace(status, state=State.INTERRUPTED)
    status = dataclasses.replace(status, config=known_config(record.get("config")), eta_seconds=None)
    return _with_notice(status, ", ".join(odd)) if odd else status


def known_config(values: Any) -> TrainConfig | None:
    """Return the settings of a run, without those that only earlier versions knew; None if this version cannot read them."""
    try:
        return TrainConfig.model_validate(without_former(values))
    except ValidationError:
        return None


def _with_notice(status: TrainingStatus, fields: str) -> TrainingStatus:
    notice = Notice(status.iteration, "record_unreadable", {"model": status.model or "", "fields": fields})
    return dataclasses.replace(status, notices=(notice,))


def _records(ws: Workspace) -> list[tuple[str, Record | None]]:
    if not ws.checkpoints.is_dir():
        return []
    names = [path.parent.name for path in ws.checkpoints.glob(f"*/{RUN}")]
    return [(name, read_run(ws, name)) for name in names if not name.startswith(TEMPORARY_PREFIX)]


def _number(record: Record | None) -> int:
    number = (record or {}).get("number")
    return number if isinstance(number, int) and 0 < number < LARGEST else 0


def _written_at(ws: Workspace, name: str) -> int:
    try:
        return (ws.checkpoint_folder(name) / RUN).stat().st_mtime_ns
    except OSError:
        return 0


# ---- checking fields ----------------------------------------------------------------------------------------------


class _Odd:
    """Marks a value whose type does not match the status."""


@functools.cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(TrainingStatus)
    return {name: TypeAdapter(hint) for name, hint in hints.items() if name not in NEVER_SHOWN}


def _validated(name: str, value: Any) -> Any:
    """Return `value` as the type of the status's field `name`, or _Odd."""
    try:
        if _is_sound(value) and (name != "error" or value is None or _is_error(value)):
            return _adapters()[name].validate_python(value)
    except (ValidationError, RecursionError):
        pass
    return _Odd


def _is_sound(value: Any) -> bool:
    """Return whether a JSON value can be sent and shown: no infinite or huge number, no half of a surrogate pair."""
    if isinstance(value, int | float):
        return abs(value) <= LARGEST
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8") == value
    if isinstance(value, dict):
        return all(_is_sound(part) for pair in value.items() for part in pair)
    return value is None or all(map(_is_sound, value))


def _is_error(value: Any) -> bool:
    """Return whether this version can show an error in the form of `TrainingStatus.error`."""
    if not isinstance(value, dict) or str(value.get("code")) not in codes():
        return False
    parameters, field = value.get("parameters") or {}, value.get("field")
    scalar = isinstance(parameters, dict) and all(isinstance(given, str | int | float) for given in parameters.values())
    return scalar and (field is None or isinstance(field, str))
