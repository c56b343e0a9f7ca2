"""Keep a training's events as lines of JSON beside its checkpoints.

    checkpoints/<name>/metrics.jsonl           every event except stages, samples and the texts of rollouts
                       metrics.digest.jsonl    sums over metrics.jsonl, which can be computed again (digest.py)
                       samples.jsonl           SampleWritten
                       rollouts.jsonl          SelfPlayDone with all its rollouts; the newest 50 MB

Particular: lines are only appended, each in one write, so a killed process loses no event and leaves at most one incomplete
line, which readers skip and the next writer cuts off. Non-finite numbers
become null. `rollouts` and `truncate_after` read from the end and never the whole file.

Not here: the events themselves (events), reading them for the charts (history.py), run.json (run_record.py).
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from errors import AZRError
from events import (
    Event,
    IterationDone,
    SampleWritten,
    SelfPlayCompared,
    SelfPlayDone,
    StageBegun,
    from_json,
    to_json,
    upgraded_round,
)
from runs.digest import CHUNK, file_size, parse, pieces, to_line
from workspace import Workspace, disk_errors, replace_atomic

METRICS, SAMPLES, ROLLOUTS = "metrics.jsonl", "samples.jsonl", "rollouts.jsonl"
DIGEST = "metrics.digest.jsonl"
ROLLOUTS_LIMIT_BYTES = 50_000_000
COMPARISON_SEARCH_BYTES = 16_000_000  # the newest of the log; there is a comparison beside almost every sample

_BLOCK_BYTES = 1 << 20
_log = logging.getLogger(__name__)
_ITERATION = re.compile(rb'"iteration": (\d{1,15})\b')
_STARTED = b'{"event": "RunStarted", '
_COMPARED = b'{"event": "SelfPlayCompared", '
_ROUND = re.compile(rb'"round": (\d{1,15})\b')


# ---- writing ---------------------------------------------------------------------------------------------------------


class RunLog:
    """The open log of one model's training; one writer at a time, any number of readers."""

    def __init__(self, ws: Workspace, name: str, *, rollouts_limit_bytes: int = ROLLOUTS_LIMIT_BYTES) -> None:
        self._folder = ws.checkpoint_folder(name)
        self._limit_bytes = rollouts_limit_bytes
        self._files: dict[str, BinaryIO] = {}
        self._undigested = 0  # iterations since the last line of the digest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, event: Event) -> None:
        """Append the event to its files, which are opened when first needed. Raises DiskFull."""
        for file, record in _routes(event):
            self._append(file, json.dumps(finite(record), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._undigested += isinstance(event, IterationDone)
        if self._undigested >= CHUNK:
            self._undigested = 0
            self._digest()

    def _digest(self) -> None:
        """Add all missing lines to the digest."""
        start = _digested(self._folder / DIGEST)
        if start > file_size(self._folder / METRICS):  # left over from another log
            os.truncate(self._folder / DIGEST, 0)  # in place, because it may be open
            start = 0
        for end, piece in pieces(self._folder / METRICS, start):
            self._append(DIGEST, to_line(end, piece))

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _append(self, name: str, line: bytes) -> None:
        path = self._folder / name
        with disk_errors(path):
            if name not in self._files:
                self._files[name] = _open_at_line_start(path)
            size = _write_whole(self._files[name], line)
        if name == ROLLOUTS and size > self._limit_bytes:
            self._files.pop(name).close()
            try:
                _keep_newest(path, self._limit_bytes * 3 // 4)
            except AZRError as error:  # the line is written; the next call tries again
                _log.warning("the oldest lines of %s could not be removed: %s", path, error)


def _routes(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(event, StageBegun):
        return
    record = to_json(event)
    if isinstance(event, SampleWritten):
        yield SAMPLES, record
        return
    if isinstance(event, SelfPlayDone):
        yield ROLLOUTS, record
        record = {key: value for key, value in record.items() if key != "rollouts"}
    yield METRICS, record


def finite(value: Any) -> Any:
    """Return a JSON value with every NaN and infinity replaced by None.

    >>> finite({"loss": float("nan"), "lengths": [1.0, float("inf")]})
    {'loss': None, 'lengths': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def _open_at_line_start(path: Path) -> BinaryIO:
    """Open a file for appending, unbuffered, after cutting off an incomplete last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab", buffering=0)
    with path.open("rb") as reader:
        whole = next((end for _, end, _ in _lines_backwards(reader)), 0)
    if whole < file.seek(0, os.SEEK_END):
        file.truncate(whole)
    return file


def _write_whole(file: BinaryIO, line: bytes) -> int:
    """Append a whole line, or nothing if writing fails; return the size of the file."""
    start = file.seek(0, os.SEEK_END)
    try:
        done = 0
        while done < len(line):
            done += file.write(line[done:])
    except BaseException:
        file.truncate(start)
        raise
    return start + len(line)


def _digested(digest: Path) -> int:
    """Return the position in the log that the digest reaches; sys.maxsize if its last line is damaged."""
    if not digest.exists():
        return 0
    with digest.open("rb") as file:
        record = next((record for _, _, line in _lines_backwards(file) if (record := parse(line))), {})
    end = record.get("end", 0)
    return end if isinstance(end, int) and end >= 0 else sys.maxsize


def _keep_newest(path: Path, size: int) -> None:
    """Remove the oldest lines atomically until at most `size` bytes are left, but keep at least one line."""
    with path.open("rb") as reader:
        total = reader.seek(0, os.SEEK_END)
        first = total
        for start, _, _ in _lines_backwards(reader):
            if first != total and total - start > size:
                break
            first = start
        reader.seek(first)
        replace_atomic(path, lambda temporary: _copy(reader, temporary))


def _copy(reader: BinaryIO, target: Path) -> None:
    with target.open("wb") as file:
        while block := reader.read(_BLOCK_BYTES):
            file.write(block)


def truncate_after(ws: Workspace, name: str, iteration: int) -> None:
    """Remove the events after `iteration`, because a resumed training writes them again. Raises DiskFull."""
    for name_ in (DIGEST, METRICS, SAMPLES, ROLLOUTS):
        path = ws.checkpoint_folder(name) / name_
        if path.exists():
            with disk_errors(path):
                _truncate(path, iteration)


def _truncate(path: Path, iteration: int) -> None:
    """Shorten the file in place, so that an open log continues at the new end."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = 0
        for _, line_end, line in _lines_backwards(file):
            found = iteration_of(line)
            if found is not None and found <= iteration:
                keep = line_end
                break
        if keep < end:
            file.truncate(keep)
            try:
                os.fsync(file.fileno())
            except (
                OSError
            ) as error:  # after a power cut these iterations may be there twice; readers take the later ones
                _log.warning("%s was shortened, but the change may not survive a power cut: %s", path, error)


def iteration_of(line: bytes) -> int | None:
    """Return the iteration of a line of any log without parsing its JSON."""
    found = _ITERATION.search(line)
    return int(found[1]) if found else None


def _lines_backwards(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield (start, end, line) for every whole line of a file, the last one first."""
    start = end = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []  # parts of the line whose beginning is not found yet, the last part first
    while start > 0:
        size = min(_BLOCK_BYTES, start)
        start -= size
        file.seek(start)
        block = file.read(size)
        cut = len(block)
        while (newline := block.rfind(b"\n", 0, cut)) >= 0:
            line = b"".join([block[newline + 1 : cut], *reversed(blocks)])
            if line.endswith(b"\n"):
                yield start + newline + 1, end, line
            end, cut, blocks = start + newline + 1, newline, [b"\n"]
        blocks.append(block[:cut])
    line = b"".join(reversed(blocks))
    if line.endswith(b"\n"):
        yield 0, end, line


# ---- the newest rounds and the newest comparison ---------------------------------------------------------------------


def rollouts(ws: Workspace, name: str, before: int | None = None, limit: int = 5) -> list[dict[str, Any]]:
    """Return the newest SelfPlayDone events as JSON, newest first; with `before` only rounds before that number."""
    path = ws.checkpoint_folder(name) / ROLLOUTS
    found: list[dict[str, Any]] = []
    if not path.exists():
        return []
    with path.open("rb") as file:
        for _, _, line in _lines_backwards(file):
            if len(found) >= limit:
                break
            number = _ROUND.search(line)
            if number is None or (before is not None and int(number[1]) >= before):
                continue
            if (record := parse(line)) and isinstance(record.get("rollouts"), list):
                before = int(number[1])
                found.append(upgraded_round(record))
    return found


def newest_sample(ws: Workspace, name: str) -> str:
    """Return the newest sample text of a model's log, with its prompt; "" before the first."""
    path = ws.checkpoint_folder(name) / SAMPLES
    if not path.exists():
        return ""
    with path.open("rb") as file:
        for _, _, line in _lines_backwards(file):
            record = parse(line) or {}
            prompt, text = record.get("prompt"), record.get("text")
            if isinstance(prompt, str) and isinstance(text, str):
                return prompt + text
    return ""


def comparison(ws: Workspace, name: str) -> SelfPlayCompared | None:
    """Return the newest SelfPlayCompared of a model's training on its present books, in the newest COMPARISON_SEARCH_BYTES of its log.

    None if there is none: a training on other books begins a comparison of its own.
    """
    path = ws.checkpoint_folder(name) / METRICS
    if not path.exists():
        return None
    with path.open("rb") as file:
        size = path.stat().st_size
        for start, _, line in _lines_backwards(file):
            if line.startswith(_COMPARED) and (found := _compared(line)):
                return found
            if line.startswith(_STARTED) and (parse(line) or {}).get("resumed") is False:
                break
            if size - start > COMPARISON_SEARCH_BYTES:
                break
    return None


def _compared(line: bytes) -> SelfPlayCompared | None:
    try:
        event = from_json(parse(line) or {})
    except (KeyError, TypeError, ValueError):
        return None
    return event if isinstance(event, SelfPlayCompared) else None
