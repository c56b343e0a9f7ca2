"""Show a training in the console, with a progress bar in a terminal and plain lines in a file, and handle its signals."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from console.output import console, words
from events import (
    Evaluated,
    Event,
    IterationDone,
    Notice,
    RunStarted,
    SampleWritten,
    SelfPlayCompared,
    SelfPlayDone,
    StageBegun,
    TrainingStatus,
    advance,
)

if TYPE_CHECKING:
    import workflows
    from config import TrainConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def show(run: Generator[Event, None, None], config: TrainConfig | None = None, *, anywhere: bool) -> bool:
    """Run a training and print its events; return False if a signal stopped it.

    Before the end of the first iteration a signal ends the process at once, because no progress could be saved. Later the first
    signal stops and saves the training, after any event if `anywhere`, else after an iteration; a second one ends the process.
    """
    stopping: list[int] = []
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console(), disable=not sys.stdout.isatty())
    with contextlib.closing(run), bar as progress:  # closed, and so saved, also where the output cannot be written
        task, status = progress.add_task("", total=None), TrainingStatus(config=config)
        for event in run:
            status = advance(status, event)
            _show_event(progress, task, event, status)
            if isinstance(event, IterationDone) and signal.getsignal(signal.SIGINT) is signal.SIG_DFL and not stopping:
                _catch_signals(stopping)
            if stopping and (anywhere or isinstance(event, IterationDone)):
                run.close()
                return False
    return True


def _catch_signals(stopping: list[int]) -> None:
    def stop(number: int, _: object) -> None:
        stopping.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    for number in SIGNALS:
        signal.signal(number, stop)


def _show_event(progress: Progress, task: TaskID, event: Event, status: TrainingStatus) -> None:
    match event:
        case StageBegun():
            progress.update(task, description=words().gettext(f"stage.{event.stage}"))
        case RunStarted():
            progress.update(task, completed=event.iteration, total=event.iterations)
        case IterationDone():
            progress.update(
                task, completed=event.iteration, total=status.iterations, description=f"loss {event.loss:.3f}"
            )
        case _:
            if line := _line(event):
                progress.console.print(line, markup=False, soft_wrap=True)


def _line(event: Event) -> str:
    match event:
        case Evaluated():
            figures = f"val_loss {event.val_loss:.4f}  bits_per_byte {event.bits_per_byte:.4f}"
            return f"{event.iteration:>7}  {figures}" + ("  *" if event.is_best else "")
        case SelfPlayDone():
            parts = ", ".join(f"{name} {value:.3f}" for name, value in event.reward_breakdown.items())
            return f"{event.iteration:>7}  reward {event.reward:.3f} ({parts})  looped {event.looped or 0:.3f}"
        case SelfPlayCompared():
            return "\n".join(_changed(event))
        case SampleWritten():
            return f"         {event.prompt}{event.text}"
        case Notice():
            return words().notice(event.code, event.parameters)
    return ""


def _changed(event: SelfPlayCompared) -> Iterator[str]:
    """Yield how each way of writing has changed since self-play began, one per line."""
    for way, now in event.now.items():
        before = event.before[way]
        looped, reward = (
            f"looped {before.looped:.3f} -> {now.looped:.3f}",
            f"reward {before.reward:.3f} -> {now.reward:.3f}",
        )
        yield f"{event.iteration:>7}  {way} since {event.since}: {looped}  {reward}"


def forecast_lines(found: workflows.Forecast, max_minutes: float | None) -> Iterator[str]:
    """Yield the sentences of a forecast, one per line."""
    t = words()
    epoch = t.duration(found.epoch_seconds)
    limit = None if max_minutes is None else max_minutes * 60
    lengths = [seconds for seconds in (found.total_seconds, limit) if seconds is not None]
    if not lengths:
        yield t.gettext("js.forecast_endless", epoch=epoch)
    else:
        yield t.gettext("js.forecast_total", time=t.duration(min(lengths)))
    yield t.gettext("js.forecast_speed", speed=t.decimal(found.tokens_per_second, 0), epoch=epoch)
    if found.epochs is not None and found.epochs_least is not None and found.epochs_least < found.epochs:
        most, least = t.decimal(found.epochs, 1), t.decimal(found.epochs_least, 1)
        yield t.gettext("js.forecast_epochs_weighed", most=most, least=least)
    elif found.epochs is not None:
        yield t.gettext("js.forecast_epochs", epochs=t.decimal(found.epochs, 1))
    needed, ratio = t.bytes(found.training_bytes), t.decimal(found.tokens_per_parameter, 2)
    yield t.gettext("js.forecast_memory", needed=needed, ratio=ratio)
    if found.vocab_hardly_fits is not None:
        now, first = (t.decimal(float(found.vocab_hardly_fits[key]), 1) for key in ("bytes_per_token", "first"))
        yield t.gettext("js.forecast_misfit", now=now, first=first)
