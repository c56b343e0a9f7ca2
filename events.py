"""The events a training reports while it runs, and the status they add up to.

`AZRTrainer.run()` and `workflows.train()` are generators of these events; the job thread, the pages, the command line, the
metrics file and the tests read the same ones. `advance(status, event)` is a pure function, so the status that a page shows
can be rebuilt from the events alone.

An event is written to JSON as its fields plus `"event": <class name>`. Numbers may be non-finite here; the edge writes null.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter

from config import TrainConfig

T = TypeVar("T")
Band = tuple[
    float, float, float
]  # a low value, the mean and a high one: a tenth of the book's passages lies outside on either side


class State(StrEnum):
    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # the server died under it


ACTIVE_STATES = frozenset({State.QUEUED, State.RUNNING, State.STOPPING})


class Stage(StrEnum):
    """The stage of a training: four before the first iteration, then those of an iteration, evaluation and saving."""

    FITTING_TOKENIZER = "fitting_tokenizer"
    TOKENIZING = "tokenizing"
    COUNTING_PAIRS = "counting_pairs"
    MEASURING_BOOKS = "measuring_books"
    SUPERVISED = "supervised"
    SELF_PLAY = "self_play"
    REWARD = "reward"
    UPDATE = "update"
    EVALUATING = "evaluating"
    SAVING = "saving"


@dataclass(frozen=True)
class Event:
    pass


@dataclass(frozen=True)
class StageBegun(Event):
    """Work begins that a person may have to wait for: `done` of `total` parts; a total of 0 is unknown."""

    stage: Stage
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class RunStarted(Event):
    model: str
    iteration: int  # finished iterations before this run
    iterations: int | None  # the iteration at which it will end; None is endless
    resumed: bool
    exact: bool  # a resumed run continues bit for bit
    parameters: int
    train_tokens: int
    val_tokens: int
    device: str
    precision: str
    num_threads: int
    elapsed_seconds: float = 0.0  # of training in the runs before
    best_val_loss: float | None = None
    best_iteration: int | None = None
    ends_at_seconds: float | None = None  # the elapsed seconds at which time ends the run; None without a limit


@dataclass(frozen=True)
class IterationDone(Event):
    iteration: int
    loss: float  # nats per token, of this iteration's batch
    learning_rate: float
    grad_norm: float  # before clipping
    tokens_per_second: float  # of book text; a round of self-play does not count
    elapsed_seconds: float  # of training in all runs of this model so far


@dataclass(frozen=True)
class Evaluated(Event):
    iteration: int
    val_loss: float  # nats per token on held-out text
    bits_per_byte: float
    train_loss: float  # mean batch loss since the evaluation before
    is_best: bool
    elapsed_seconds: float


@dataclass(frozen=True)
class SampleWritten(Event):
    iteration: int
    prompt: str
    text: str  # the continuation alone


@dataclass(frozen=True)
class Rollout:
    """One text that the model wrote in self-play, with its reward."""

    prompt: str
    completion: str
    reward: float
    reward_breakdown: dict[str, float]  # the parts of the reward, named by the environment that paid it
    copied: float  # share of its word 8-grams that stand verbatim in the book
    greedy: bool | None = (
        None  # written with the likeliest tokens, else with the person's sampling settings; None in older logs
    )
    looped: float | None = None  # share of its tokens with which it repeats itself more often than the book
    loops: tuple[tuple[int, int], ...] = ()  # the characters of `completion` that these tokens cover
    copies: tuple[tuple[int, int], ...] = ()  # those of phrases that stand in the books; older logs have none


@dataclass(frozen=True)
class SelfPlayDone(Event):
    iteration: int
    round: int  # counted from 1
    reward: float  # means over the round's rollouts
    reward_breakdown: dict[str, float]
    copied: float
    rollouts: tuple[Rollout, ...]
    looped: float | None = None
    book: dict[str, Band] = dataclasses.field(default_factory=dict)  # the same figures of passages of the books


@dataclass(frozen=True)
class Writing:
    """How a model continues fixed prompts in one way, greedily or sampled: means over its texts, and one of them."""

    reward: float
    reward_breakdown: dict[str, float]
    looped: float
    text: str
    loops: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SelfPlayCompared(Event):
    """How the model writes now and how it wrote when self-play began, at the same prompts and seeds, by ways of writing."""

    iteration: int
    since: int  # the iteration at which self-play began
    prompt: str  # of the texts that are shown
    before: dict[str, Writing]
    now: dict[str, Writing]
    book: dict[str, Band]


@dataclass(frozen=True)
class CheckpointSaved(Event):
    iteration: int
    bytes: int


@dataclass(frozen=True)
class ModelPublished(Event):
    """From now on generation and download use the weights of `iteration`."""

    iteration: int
    val_loss: float


@dataclass(frozen=True)
class RunMeasured(Event):
    """The time and memory of a finished run, beside its forecast."""

    iteration: int
    seconds: float
    expected_seconds: float
    peak_bytes: int | None  # of this process, where the system reports it
    expected_bytes: int


@dataclass(frozen=True)
class Notice(Event):
    """A notice for the person; its sentence is in the catalogues under `notice.<code>`."""

    iteration: int
    code: str
    parameters: dict[str, str | int | float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class TrainingStatus:
    """What `GET /training_status` answers. None is "not known yet"."""

    state: State = State.IDLE
    job_id: str | None = None
    model: str | None = None
    books: tuple[str, ...] = ()
    stage: Stage | None = None
    stage_done: int = 0
    stage_total: int = 0
    iteration: int = 0
    iterations: int | None = None  # at the end; where time ends the run, as expected from its pace
    ends_at_seconds: float | None = None
    started_iteration: int = 0
    started_seconds: float = 0.0  # of training before this run
    loss: float | None = None
    val_loss: float | None = None
    bits_per_byte: float | None = None
    best_val_loss: float | None = None
    best_iteration: int | None = None
    reward: float | None = None
    reward_breakdown: dict[str, float] = dataclasses.field(default_factory=dict)
    looped: float | None = None
    book: dict[str, Band] = dataclasses.field(default_factory=dict)
    compared: SelfPlayCompared | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    elapsed_seconds: float = 0.0
    eta_seconds: float | None = None
    run_seconds: float = 0.0
    resumed: bool = False
    exact: bool = True
    parameters: int | None = None
    train_tokens: int | None = None
    val_tokens: int | None = None
    device: str | None = None
    precision: str | None = None
    num_threads: int | None = None
    checkpoint_iteration: int | None = None
    published_iteration: int | None = None
    sample: str | None = None
    measured: RunMeasured | None = None
    notices: tuple[Notice, ...] = ()
    error: dict[str, Any] | None = None  # {"code", "parameters", "field"?}; the edge adds the message
    config: TrainConfig | None = None


MOST_NOTICES = 20


def advance(status: TrainingStatus, event: Event) -> TrainingStatus:
    """Return the status after `event`."""
    changes: dict[str, Any]
    match event:
        case StageBegun(stage, done, total):
            changes = {"stage": stage, "stage_done": done, "stage_total": total}
        case RunStarted():
            changes = dataclasses.asdict(event) | {
                "started_iteration": event.iteration,
                "started_seconds": event.elapsed_seconds,
            }
        case IterationDone():
            changes = dataclasses.asdict(event) | _remaining(status, event)
        case Evaluated():
            changes = {"val_loss": event.val_loss, "bits_per_byte": event.bits_per_byte}
            if _ends_by_time(status) and _seconds_left(status, event.elapsed_seconds) == 0:
                changes |= {"iterations": event.iteration}
            if event.is_best:
                changes |= {"best_val_loss": event.val_loss, "best_iteration": event.iteration}
        case SelfPlayDone():
            changes = {name: getattr(event, name) for name in ("reward", "reward_breakdown", "looped", "book")}
        case SelfPlayCompared():
            changes = {"compared": event}
        case SampleWritten():
            changes = {"sample": event.prompt + event.text}
        case CheckpointSaved():
            changes = {"checkpoint_iteration": event.iteration}
        case RunMeasured():
            changes = {"measured": event}
        case ModelPublished():
            changes = {"published_iteration": event.iteration}
        case Notice():
            changes = {"notices": (*status.notices, event)[-MOST_NOTICES:]}
        case _:
            changes = {}
    return dataclasses.replace(status, **changes)


def stopped(status: TrainingStatus) -> TrainingStatus:
    """Return the status after the person stopped a training: it was saved where it ended, too late for an event to report it."""
    moved = status.iteration > status.started_iteration
    saved = status.iteration if moved else status.checkpoint_iteration
    return dataclasses.replace(status, state=State.STOPPED, stage=None, eta_seconds=None, checkpoint_iteration=saved)


def _remaining(status: TrainingStatus, event: IterationDone) -> dict[str, float | None]:
    """Estimate the time left from the mean speed of this run, self-play and evaluations included; needs two iterations.

    Where time ends the run, the time left is known, and the last iteration is estimated.
    """
    run_seconds = status.run_seconds + max(0.0, event.elapsed_seconds - status.elapsed_seconds)
    if status.iteration == status.started_iteration:  # the first iteration of a run carries its warm-up
        run_seconds = 0.0
    done = event.iteration - status.started_iteration - 1
    each = run_seconds / done if done > 0 else None
    by_time = _seconds_left(status, event.elapsed_seconds)
    if _ends_by_time(status):
        last = None if each is None or by_time is None else event.iteration + (math.ceil(by_time / each) if each else 0)
        return {"run_seconds": run_seconds, "eta_seconds": by_time, "iterations": last}
    left = None if status.iterations is None else status.iterations - event.iteration
    wholly = None if each is None or left is None else each * left
    known = [seconds for seconds in (wholly, by_time) if seconds is not None]
    return {"run_seconds": run_seconds, "eta_seconds": min(known, default=None)}


def _ends_by_time(status: TrainingStatus) -> bool:
    return status.ends_at_seconds is not None and status.config is not None and status.config.ends_by_time


def _seconds_left(status: TrainingStatus, elapsed_seconds: float) -> float | None:
    return None if status.ends_at_seconds is None else max(0.0, status.ends_at_seconds - elapsed_seconds)


def to_json(event: Event) -> dict[str, Any]:
    """Return the event as a dictionary of plain values, ready for a line of JSON once non-finite numbers are cleaned."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_json(values: Mapping[str, Any]) -> Event:
    """Return the event that `to_json` wrote. Raises KeyError, TypeError and ValueError for anything else."""
    fields = {name: value for name, value in values.items() if name != "event"}
    if values["event"] == "SelfPlayDone":
        fields = upgraded_round(fields)
    return restored(_KINDS[values["event"]], fields)


def restored(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass of `kind` that `dataclasses.asdict` wrote, after its way through JSON. Raises ValueError for anything else."""
    found: T = _adapter(kind).validate_python(dict(values))  # type: ignore[arg-type]  # mypy holds no type variable for hashable
    return found


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def upgraded_round(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a round of self-play from a log, its rollouts included, in the shape in which it is written today.

    Earlier versions wrote the parts of a reward beside the reward itself, and what a policy gradient needed (FORMER).
    """
    upgraded = _upgraded(values, SelfPlayDone)
    if isinstance(rollouts := upgraded.get("rollouts"), list):
        upgraded["rollouts"] = [_upgraded(rollout, Rollout) for rollout in rollouts if isinstance(rollout, Mapping)]
    return upgraded


FORMER = frozenset({"kl", "kl_coef", "entropy", "skipped_share", "advantage"})  # fields that earlier versions wrote


def _upgraded(values: Mapping[str, Any], kind: type[SelfPlayDone | Rollout]) -> dict[str, Any]:
    values = {name: value for name, value in values.items() if name not in FORMER}
    if "reward_breakdown" in values:
        return values
    known = {"event"} | {field.name for field in dataclasses.fields(kind)}
    kept = {name: value for name, value in values.items() if name in known}
    return kept | {"reward_breakdown": {name: value for name, value in values.items() if name not in known}}


_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}
