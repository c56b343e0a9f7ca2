"""Keep the trainings that wait their turn, so that a restart of the server loses none of them.

    queue.json    in the workspace: the waiting trainings in their order, and the one of them that runs

Particular: a training stays in the file until it has ended, marked as begun. If the server goes down under it, it is begun again
after the restart and resumes from its checkpoint. A training that cannot begin stays too, with its error, until the person removes it.

Not here: beginning them (web/training_queue.py), running them (jobs.py).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from config import TrainConfig
from runs.run_record import known_config
from workspace import Workspace, read_json, write_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """One training in the queue; `error` as in `TrainingStatus.error`, None as long as nothing kept it from beginning."""

    id: str
    model: str
    books: tuple[str, ...]
    config: TrainConfig
    begun: bool = False
    error: dict[str, Any] | None = None


def read_queue(ws: Workspace) -> list[Waiting]:
    """Return the queue. What this version cannot read is left out; an unreadable file counts as empty."""
    try:
        entries = read_json(ws.queue)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("the queue %s cannot be read: %s", ws.queue, error)
        return []
    return [found for entry in entries if (found := _entry(entry))] if isinstance(entries, list) else []


def write_queue(ws: Workspace, queue: Iterable[Waiting]) -> None:
    """Replace the queue atomically. Raises DiskFull and AccessDenied."""
    write_json(ws.queue, [dataclasses.asdict(each) | {"config": each.config.model_dump(mode="json")} for each in queue])


def _entry(values: Any) -> Waiting | None:
    if not isinstance(values, Mapping) or (config := known_config(values.get("config"))) is None:
        return None
    name, model, books = (values.get(key) for key in ("id", "model", "books"))
    if not (isinstance(name, str) and isinstance(model, str) and isinstance(books, list)):
        return None
    error = values.get("error") if isinstance(values.get("error"), dict) else None
    return Waiting(name, model, tuple(map(str, books)), config, begun=values.get("begun") is True, error=error)
