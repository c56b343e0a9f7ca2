"""Prepare a training's log for the charts: columns with a bounded number of points for a training of any length.

Up to some tens of thousands of iterations the log itself is read. Longer ones come from its digest (digest.py), so a
million iterations open in a fraction of a second.

Not here: drawing.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, TypeGuard

from runs.digest import (
    CHUNK,
    MEANS,
    PART,
    Chunk,
    Sums,
    blocks,
    chart_records,
    iterations_of,
    numbers,
    parse,
    read,
    summed,
)
from runs.run_log import DIGEST, METRICS, SAMPLES, iteration_of
from workspace import Workspace

MOST_SAMPLES = 200
SMOOTHING = 0.9


def history(ws: Workspace, name: str, points: int = 1000) -> dict[str, Any]:
    """Return the data of the charts as JSON: columns of at most `points` numbers.

    Of a longer log, each number is the mean over a run of neighbours and belongs to the last iteration of that run.
    `loss_smooth` is the exponential mean of those points, corrected for its start (Kingma and Ba 2014, section 3).
    Of samples, at most MOST_SAMPLES are picked evenly, the first and the newest among them.
    """
    folder = ws.checkpoint_folder(name)
    columns = _of_digest(folder, points) or _of_log(folder / METRICS, points)
    return {
        "model": name,
        **columns,
        "loss_smooth": smooth(columns["loss"]),
        "samples": _samples(folder / SAMPLES),
        "downsampling": {"method": "mean", "iterations_per_point": columns.pop("step"), "smoothing": SMOOTHING},
    }


def losses(ws: Workspace, name: str, points: int) -> list[float]:
    """Return the loss over all trainings of a model as at most about `points` means."""
    folder = ws.checkpoint_folder(name)
    columns = _of_digest(folder, points) or _of_log(folder / METRICS, points)
    return [loss for loss in columns["loss"] if loss is not None]


def smooth(values: list[float | None], factor: float = SMOOTHING) -> list[float | None]:
    """Compute the exponential moving mean, corrected for its start at zero; None stays None.

    >>> smooth([4.0, 2.0], factor=0.5)
    [4.0, 2.6666666666666665]
    """
    total = weight = 0.0
    smoothed: list[float | None] = []
    for value in values:
        if value is not None:
            total = factor * total + (1 - factor) * value
            weight = factor * weight + (1 - factor)
        smoothed.append(None if value is None else total / weight)
    return smoothed


# ---- short trainings: the log itself -----------------------------------------------------------------------------------


def _of_log(metrics: Path, points: int) -> dict[str, Any]:
    """Read the columns from the log. If an event stands there twice, as after a power cut, the later one counts."""
    iterations, losses = array("q"), array("d")
    rare: dict[str, dict[int, Sums]] = {event: {} for event in MEANS}
    for block in blocks(metrics):
        for iteration, loss in iterations_of(block):
            iterations.append(iteration)
            losses.append(loss)
        for record in chart_records(block):
            event, iteration = record["event"], record["iteration"]
            rare[event][iteration] = one = Sums()
            one.add(iteration, numbers(record))
    step = max(1, -(-len(losses) // points))
    return {
        "step": step,
        "iterations": [iterations[min(start + step, len(losses)) - 1] for start in range(0, len(losses), step)],
        "loss": [_mean(losses[start : start + step]) for start in range(0, len(losses), step)],
        "evaluations": columns_of(list(rare["Evaluated"].values()), "Evaluated", points),
        "self_play": columns_of(list(rare["SelfPlayDone"].values()), "SelfPlayDone", points),
    }


def _mean(values: array[float]) -> float | None:
    """Return the mean of the values that are numbers; a single value is returned unchanged."""
    there = [value for value in values if value == value]
    return sum(there) / len(there) if there else None


# ---- long ones: its digest ---------------------------------------------------------------------------------------------


def _of_digest(folder: Path, points: int) -> dict[str, Any] | None:
    """Read the columns from the digest; None if the log is short enough to be read itself, or has no digest."""
    chunks, end = read(folder / DIGEST, folder / METRICS)
    if len(chunks) < points:
        return None
    chunks.append(summed(b"".join(blocks(folder / METRICS, end))))
    step = -(-len(chunks) // points)
    losses = _merged(_of_event(chunks, "IterationDone"), points)
    return {
        "step": step * CHUNK,
        "iterations": [sums.iteration for sums in losses],
        "loss": [sums.mean("loss") for sums in losses],
        "evaluations": columns_of(_of_event(chunks, "Evaluated"), "Evaluated", points),
        "self_play": columns_of(_of_event(chunks, "SelfPlayDone"), "SelfPlayDone", points),
    }


def _of_event(chunks: list[Chunk], event: str) -> list[Sums]:
    return [chunk[event] for chunk in chunks if event in chunk]


def _merged(sums: list[Sums], points: int) -> list[Sums]:
    """Merge neighbours so that at most `points` remain."""
    step = max(1, -(-len(sums) // points))
    groups = [sums[start : start + step] for start in range(0, len(sums), step)]
    for group in groups:
        for later in group[1:]:
            group[0].merge(later)
    return [group[0] for group in groups]


def columns_of(sums: list[Sums], event: str, points: int) -> dict[str, Any]:
    merged = _merged(sums, points)
    columns: dict[str, Any] = {name: [one.mean(name) for one in merged] for name in MEANS[event]}
    if event == "SelfPlayDone":
        columns["reward_breakdown"] = _parts(merged)
    return {"iteration": [one.iteration for one in merged], **columns}


def _parts(rounds: list[Sums]) -> dict[str, list[float | None]]:
    """Return a column for each part of the reward; None for rounds without that part."""
    names = dict.fromkeys(name for one in rounds for name in one.fields if name.startswith(PART))
    return {name.removeprefix(PART): [one.mean(name) for one in rounds] for name in names}


def _samples(path: Path) -> list[dict[str, Any]]:
    lines: dict[int, bytes] = {}
    for block in blocks(path):
        lines |= {at: line for line in block.splitlines() if (at := iteration_of(line)) is not None}
    kept = list(lines.values())
    if len(kept) > MOST_SAMPLES:
        kept = [kept[round(index * (len(kept) - 1) / (MOST_SAMPLES - 1))] for index in range(MOST_SAMPLES)]
    records = (parse(line) for line in kept)
    return [{key: record[key] for key in ("iteration", "prompt", "text")} for record in records if _is_sample(record)]


def _is_sample(record: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return record is not None and all(isinstance(record.get(key), str) for key in ("prompt", "text"))
