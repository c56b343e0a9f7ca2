"""`GET /training_events`: the running training as server-sent events.

A stream begins with `status` (the same JSON as `/training_status`), sent again when it changed, at most twice a second. Then
every event of the training under the name of its class, except that neighbouring IterationDone become one `iterations` event
whose data are columns. `id` is the newest event included; a browser that lost the connection sends it back in
`Last-Event-ID` and misses nothing. An id that is no longer (or not) known to this server is answered by `reset`: read
`/training_history` again. A page that has just read it passes its `last_event_id` as a query parameter.

The stream looks at the runner four times a second instead of being called by it: the training never waits for a reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

import events
from events import Event, IterationDone, SelfPlayDone, TrainingStatus
from i18n import Translator
from web.answers import to_json
from web.api_training import status_json
from web.bodies import ERROR_ANSWERS, EVENT_STREAM, EVENT_STREAM_TYPE
from web.services import ServicesDep, TranslatorDep
from workflows import JobRunner

LOOK_SECONDS = 0.25
STATUS_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
LARGEST_ID = 2**53  # no id is larger (JavaScript counts exactly up to here), so a larger one is as unknown as this
_COLUMNS = tuple(field.name for field in fields(IterationDone))

router = APIRouter(tags=["training"], responses=ERROR_ANSWERS)


@router.get("/training_events", responses=EVENT_STREAM, summary="Live events of the training (SSE)")
async def training_events(
    services: ServicesDep,
    translator: TranslatorDep,
    last_event_id: Annotated[int | None, Query(ge=0, description="as given by /training_history")] = None,
    header_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """Events: `status`, `iterations`, `Evaluated`, `SampleWritten`, `SelfPlayDone`, `SelfPlayCompared`, `CheckpointSaved`,
    `ModelPublished`, `Notice`, `RunStarted`, `reset`. The header wins over the query: it is newer."""
    given = int(header_id) if header_id is not None and header_id.isdecimal() and len(header_id) < 20 else last_event_id
    stream = _Stream(services.runner, translator, None if given is None else min(given, LARGEST_ID))
    return StreamingResponse(stream.run(services.closing), media_type=EVENT_STREAM_TYPE)


class _Stream:
    """The position of one reader in the event log."""

    def __init__(self, runner: JobRunner, translator: Translator, last_id: int | None) -> None:
        self.runner = runner
        self.translator = translator
        self.last_id = runner.last_event_id if last_id is None else last_id
        self.status: TrainingStatus | None = None
        self.status_at = -STATUS_SECONDS  # seconds of the monotonic clock
        self.sent_at = time.monotonic()

    async def run(self, closing: asyncio.Event) -> AsyncGenerator[bytes, None]:
        yield format_sse_event(retry=2000)
        while not closing.is_set():
            if chunk := b"".join(self._news(time.monotonic())):
                self.sent_at = time.monotonic()
                yield chunk
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), LOOK_SECONDS)

    def _news(self, now: float) -> Iterator[bytes]:
        newest = self.runner.last_event_id
        log, complete = self.runner.events_after(self.last_id)
        status = self.runner.status()  # read after the events: it never lags behind them
        urgent = self.status is None or status.state != self.status.state
        if status is not self.status and (urgent or now - self.status_at >= STATUS_SECONDS):
            self.status, self.status_at = status, now
            yield self._message("status", status_json(status, self.translator))
        if complete:
            yield from self._events(log)
        else:
            self.last_id = newest
            yield self._message("reset", {"last_event_id": newest})
        if now - self.sent_at >= HEARTBEAT_SECONDS:
            self.sent_at = now
            yield KEEPALIVE_COMMENT

    def _events(self, log: Iterable[tuple[int, Event]]) -> Iterator[bytes]:
        iterations: list[IterationDone] = []
        for number, event in log:
            if isinstance(event, IterationDone):
                iterations.append(event)
            elif iterations:
                yield self._iterations(iterations)
                iterations = []
            self.last_id = number
            if not isinstance(event, IterationDone):
                yield self._message(type(event).__name__, self._data(event))
        if iterations:
            yield self._iterations(iterations)

    def _iterations(self, done: list[IterationDone]) -> bytes:
        return self._message("iterations", {name: [getattr(event, name) for event in done] for name in _COLUMNS})

    def _data(self, event: Event) -> dict[str, Any]:
        data = events.to_json(event)
        if isinstance(event, SelfPlayDone):
            del data["rollouts"]  # read through /rollouts
        if isinstance(event, events.Notice):
            data["message"] = self.translator.notice(event.code, event.parameters)
        return data

    def _message(self, name: str, data: object) -> bytes:
        return format_sse_event(event=name, data_str=to_json(data), id=str(self.last_id))
