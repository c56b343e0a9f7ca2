"""A training in several processes: the same numbers as in one, one writer, and an end that leaves nothing running."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import errors
import workflows
from corpus import library
from errors import BookTooSmall, ProcessLost, TooManyDevices
from events import (
    CheckpointSaved,
    Evaluated,
    Event,
    IterationDone,
    Notice,
    RunMeasured,
    RunStarted,
    SelfPlayDone,
    StageBegun,
    from_json,
    to_json,
)
from machine.processes import ALONE, Ranks
from runs import worker
from runs.rehearsal import Pace
from store import checkpoint_store
from tests.training_kit import MODEL, SELF_PLAY, TEXT, TRAINING, changed, plan
from workspace import Workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="the processes are found by /proc")


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "count_devices", lambda device: 2)


def run(workspace: Workspace, **changes: object) -> list[Event]:
    return list(workflows.train(workspace, plan(workspace, **changes)))


# ---- dividing --------------------------------------------------------------------------------------------------------


@given(count=st.integers(0, 300), world_size=st.integers(1, 20))
def test_share_gives_each_row_to_one_process_and_differs_by_one_at_most(count: int, world_size: int) -> None:
    parts = [Ranks(rank, world_size).share(count) for rank in range(world_size)]
    assert [row for part in parts for row in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_exchanges_nothing() -> None:
    assert (ALONE.total(1.5, 2), ALONE.gather({"a": 1}), ALONE.go_on(), ALONE.go_on(False)) == (
        [1.5, 2.0],
        [{"a": 1}],
        True,
        False,
    )


# ---- the same numbers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> list[list[Event]]:
    """One training with self-play in one process and in two, with uneven parts of its batches, groups and held-out text."""
    return [torchrun(devices, {"batch_size": 5, "grad_accum_steps": 2}) for devices in (1, 2)]


def torchrun(devices: int, changes: dict[str, object]) -> list[Event]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    entry = [str(ROOT / "tests" / "runs" / "rank.py"), json.dumps(changes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *entry], env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return [from_json(json.loads(line)) for line in done.stdout.splitlines()]


def losses(events: list[Event]) -> list[float]:
    told = [event for event in events if isinstance(event, IterationDone | Evaluated)]
    return [event.loss if isinstance(event, IterationDone) else event.val_loss for event in told]


def rounds(events: list[Event]) -> list[SelfPlayDone]:
    return [event for event in events if isinstance(event, SelfPlayDone)]


def test_two_processes_train_like_one_with_the_same_batch(both: list[list[Event]]) -> None:
    one, two = map(losses, both)
    assert len(one) == 6 + 3
    assert two == pytest.approx(one, rel=1e-5)
    assert all(a != pytest.approx(b, rel=1e-5) for a, b in itertools.pairwise(one))  # it tells iterations apart


def test_two_processes_write_and_pay_the_rollouts_of_one(both: list[list[Event]]) -> None:
    one, two = map(rounds, both)
    assert [len(round_.rollouts) for round_ in two] == [9, 9, 9]
    assert [r.completion for round_ in two for r in round_.rollouts] == [
        r.completion for round_ in one for r in round_.rollouts
    ]
    for mine, alone in zip(two, one, strict=True):
        shown = [[getattr(round_, name) for name in ("reward", "looped", "copied")] for round_ in (mine, alone)]
        assert shown[0] == pytest.approx(shown[1], rel=1e-4, abs=1e-6)
    assert one[0].rollouts[0].completion != one[1].rollouts[0].completion


def test_two_processes_tell_events_in_the_order_of_one(both: list[list[Event]]) -> None:
    one, two = ([type(event) for event in events] for events in both)
    assert one == two


def test_events_travel_as_json_unchanged(both: list[list[Event]]) -> None:
    kinds = {type(event) for event in both[0]}
    assert {StageBegun, RunStarted, SelfPlayDone} <= kinds
    for event in both[0]:
        assert from_json(json.loads(json.dumps(to_json(event)))) == event


# ---- stopping, resuming, dying ---------------------------------------------------------------------------------------


@linux
def test_closing_two_processes_saves_and_another_number_goes_on(workspace: Workspace) -> None:
    training = workflows.train(workspace, plan(workspace, devices=2, iterations=None))
    reached = next(event.iteration for event in training if isinstance(event, IterationDone) and event.iteration >= 3)
    training.close()
    (saved,) = checkpoint_store.iterations(workspace, MODEL)
    assert saved >= reached
    assert workers(workspace) == []
    events = run(workspace, devices=1, iterations=saved + 2)
    told = next(event for event in events if isinstance(event, Notice) and event.code == "resumed_not_exact")
    assert "devices: 2 → 1" in str(told.parameters["reason"])
    assert [event.iteration for event in events if isinstance(event, IterationDone)] == [saved + 1, saved + 2]


def test_two_processes_compare_their_time_with_the_forecast_and_tell_no_memory(workspace: Workspace) -> None:
    pace = Pace(
        iteration_seconds=0.5,
        round_seconds=2.0,
        evaluation_seconds=2.0,
        sample_seconds=1.0,
        tokens_per_iteration=100,
        train_tokens=1000,
        reading_tokens=1000,
    )
    wanted = workflows.attach_forecast(
        plan(workspace, devices=2), workflows.forecast(workspace, plan(workspace, devices=2), pace)
    )
    told = list(workflows.train(workspace, wanted))[-1]
    assert isinstance(told, RunMeasured)
    assert (told.iteration, told.expected_seconds, told.peak_bytes) == (6, wanted.expected_seconds, None)
    assert 0 < told.seconds < 60


@linux
def test_killed_process_ends_the_training_and_its_checkpoint_stays(workspace: Workspace) -> None:
    training = workflows.train(workspace, plan(workspace, devices=2, iterations=None, checkpoint_every=2))
    with pytest.raises(ProcessLost):
        for event in training:
            if isinstance(event, CheckpointSaved) and event.iteration == 2:
                os.kill(workers(workspace, rank=1)[0], signal.SIGKILL)
    assert workers(workspace) == []
    assert max(checkpoint_store.iterations(workspace, MODEL)) >= 2


ENDED = "import atexit\nif 'RANK' in __import__('os').environ: atexit.register(print, 'taken down', flush=True)\n"


def test_processes_end_without_taking_python_down(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ENDED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level("INFO", logger="runs.launcher"):
        told = run(workspace, devices=2, iterations=1)
    assert any(isinstance(event, IterationDone) for event in told)
    assert "taken down" not in caplog.text


@pytest.mark.parametrize(
    ("last_line", "world_size", "told", "status"),
    [
        ("pass", 1, "done, taken down", 0),
        ("pass", 2, "done", 0),
        ("sys.exit(3)", 2, "done", 3),
        ("sys.exit()", 2, "done", 0),
        ("sys.exit('no book')", 2, "done", 1),
        ("raise ValueError('no book')", 2, "done", 1),
    ],
)
def test_process_of_a_group_ends_with_the_status_of_its_work(
    last_line: str, world_size: int, told: str, status: int
) -> None:
    lines = [
        "import sys",
        "from machine import processes",
        "with processes.ending_at_once():",
        "    print('done', end='')",
        f"    {last_line}",
    ]
    script = "\n".join(["import atexit", "atexit.register(print, ', taken down', end='')", *lines])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WORLD_SIZE": str(world_size)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, encoding="utf-8")
    assert (ended.stdout, ended.returncode) == (told, status)
    assert ("no book" in ended.stderr) == ("no book" in last_line)


def test_two_processes_tell_a_mistake_like_one(workspace: Workspace) -> None:
    library.add_book(workspace, "строка.txt", io.BytesIO(TEXT[:45].encode()))
    with pytest.raises(BookTooSmall) as told:
        config = changed(TRAINING, devices=2)
        list(workflows.train(workspace, workflows.TrainingPlan(MODEL, ("строка",), config)))
    assert told.value.field == "books"


def workers(workspace: Workspace, rank: int | None = None) -> list[int]:
    """The processes that train in this workspace, by /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(workspace.root).encode() in command and (
            rank is None or f"\0RANK={rank}\0".encode() in b"\0" + environment
        ):
            found.append(int(folder.name))
    return found


# ---- what cannot be divided ------------------------------------------------------------------------------------------


ONE_TEXT = changed(SELF_PLAY, num_prompts=1)


@pytest.mark.parametrize(
    ("changes", "most"),
    [({"devices": 3}, 2), ({"devices": 2, "batch_size": 1}, 1), ({"devices": 2, "self_play": ONE_TEXT}, 1)],
)
def test_more_devices_than_work_are_refused_by_name(
    workspace: Workspace, changes: dict[str, object], most: int
) -> None:
    with pytest.raises(TooManyDevices) as told:
        plan(workspace, **changes)
    assert (told.value.field, told.value.parameters["most"]) == ("devices", most)


def every_error() -> list[type[errors.AZRError]]:
    return sorted(errors._kinds(errors.AZRError), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_error_travels_from_one_process_to_another(kind: type[errors.AZRError]) -> None:
    told = json.loads(worker.error_line(kind(field="books", tokens=3)))["error"]
    arrived = errors.from_code(**told)
    assert (type(arrived), arrived.field, arrived.parameters) == (kind, "books", {"tokens": 3})


def test_unknown_error_of_another_process_is_an_internal_one() -> None:
    assert isinstance(errors.from_code("of_another_version", None, {}), errors.InternalError)
