"""The job runner: states, the log of events, stopping. The jobs are generators that do what the test tells them to."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Generator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from errors import DiskFull, Diverged, NothingToStop, Overloaded, TrainingRuns
from events import (
    ACTIVE_STATES,
    Event,
    IterationDone,
    Rollout,
    SelfPlayDone,
    Stage,
    StageBegun,
    State,
    TrainingStatus,
    advance,
)
from runs.jobs import JobRunner

SECONDS = 10.0


class Puppet:
    """A training that yields what it is given, and says when it came back for more (so its event was recorded)."""

    def __init__(self) -> None:
        self.commands: queue.Queue[Event | Exception | None] = queue.Queue()
        self.waits = threading.Semaphore(0)
        self.saved = threading.Event()
        self.fails_to_save: Exception | None = None

    def run(self) -> Generator[Event, None, None]:
        while True:
            self.waits.release()
            command = self.commands.get()
            if command is None:
                return
            if isinstance(command, Exception):
                raise command
            try:
                yield command
            except GeneratorExit:
                if self.fails_to_save:
                    raise self.fails_to_save from None
                self.saved.set()
                raise

    def started(self) -> None:
        assert self.waits.acquire(timeout=SECONDS)

    def tell(self, event: Event) -> None:
        self.commands.put(event)
        assert self.waits.acquire(timeout=SECONDS)


def iteration(number: int, loss: float = 2.0) -> IterationDone:
    return IterationDone(number, loss, 1e-3, 1.0, 100.0, float(number))


@pytest.fixture
def runner() -> Generator[JobRunner, None, None]:
    made = JobRunner()
    yield made
    made.close(SECONDS)


def submit(runner: JobRunner, puppet: Puppet, model: str = "poet") -> str:
    job_id = runner.submit(model, ("book",), puppet.run)
    puppet.started()
    return job_id


def end(runner: JobRunner, puppet: Puppet) -> None:
    puppet.commands.put(None)
    assert runner.wait(SECONDS)


def test_runner_is_idle_before_the_first_job(runner: JobRunner) -> None:
    assert runner.status() == TrainingStatus()
    with pytest.raises(NothingToStop):
        runner.stop()


def test_job_that_comes_to_its_end_is_done(runner: JobRunner) -> None:
    puppet = Puppet()
    job_id = submit(runner, puppet)
    puppet.tell(iteration(1, loss=3.5))
    assert runner.status().state == State.RUNNING
    end(runner, puppet)
    status = runner.status()
    assert (status.state, status.job_id, status.model, status.books) == (State.DONE, job_id, "poet", ("book",))
    assert (status.iteration, status.loss) == (1, 3.5)


def test_second_job_is_refused_with_the_name_of_the_first(runner: JobRunner) -> None:
    puppet = Puppet()
    submit(runner, puppet, "poet")
    with pytest.raises(TrainingRuns) as caught:
        runner.submit("novelist", (), Puppet().run)
    assert caught.value.parameters == {"model": "poet"}
    end(runner, puppet)
    second = Puppet()
    submit(runner, second, "novelist")
    assert runner.status().iteration == 0
    end(runner, second)


def test_stop_closes_the_generator_in_the_worker_thread_after_the_next_event(runner: JobRunner) -> None:
    puppet = Puppet()
    submit(runner, puppet)
    runner.stop()
    runner.stop()
    assert runner.status().state == State.STOPPING
    assert not puppet.saved.is_set()
    puppet.commands.put(iteration(1))
    assert runner.wait(SECONDS)
    assert puppet.saved.is_set()
    assert (runner.status().state, runner.status().iteration) == (State.STOPPED, 1)


def test_stop_whose_saving_fails_is_a_failure(runner: JobRunner) -> None:
    puppet = Puppet()
    puppet.fails_to_save = DiskFull(path="models")
    submit(runner, puppet)
    runner.stop()
    puppet.commands.put(iteration(1))
    assert runner.wait(SECONDS)
    assert runner.status().state == State.FAILED
    assert runner.status().error == {"code": "disk_full", "parameters": {"path": "models"}, "field": None}


def test_error_for_people_is_kept_with_code_and_parameters(runner: JobRunner) -> None:
    puppet = Puppet()
    submit(runner, puppet)
    puppet.commands.put(Diverged(field="learning_rate", iteration=7, times=3))
    assert runner.wait(SECONDS)
    assert runner.status().state == State.FAILED
    assert runner.status().error == {
        "code": "diverged",
        "parameters": {"iteration": 7, "times": 3},
        "field": "learning_rate",
    }


def test_mistake_of_ours_is_logged_under_the_reference_that_is_shown(
    runner: JobRunner, caplog: pytest.LogCaptureFixture
) -> None:
    puppet = Puppet()
    submit(runner, puppet)
    with caplog.at_level(logging.ERROR, "runs.jobs"):
        puppet.commands.put(ZeroDivisionError("ours"))
        assert runner.wait(SECONDS)
    error = runner.status().error
    assert error is not None
    assert error["code"] == "internal_error"
    assert error["parameters"]["reference"] in caplog.text
    assert "ZeroDivisionError: ours" in caplog.text


def test_failure_before_the_first_event_is_a_failure_too(runner: JobRunner) -> None:
    def run() -> Generator[Event, None, None]:
        raise DiskFull(path="x")

    runner.submit("poet", (), run)
    assert runner.wait(SECONDS)
    assert runner.status().state == State.FAILED


def test_worker_survives_a_failed_job(runner: JobRunner) -> None:
    puppet = Puppet()
    submit(runner, puppet)
    puppet.commands.put(MemoryError())
    assert runner.wait(SECONDS)
    second = Puppet()
    submit(runner, second)
    end(runner, second)
    assert runner.status().state == State.DONE
    assert runner.status().error is None


def test_log_gives_what_came_after_an_id() -> None:
    runner = JobRunner(first_id=100)
    puppet = Puppet()
    submit(runner, puppet)
    for number in (1, 2, 3):
        puppet.tell(iteration(number))
    assert runner.events_after(100) == ([(101, iteration(2)), (102, iteration(3))], True)
    assert runner.events_after(102) == ([], True)
    end(runner, puppet)
    runner.close(SECONDS)


def test_log_says_when_it_lost_events_or_never_gave_the_id() -> None:
    runner = JobRunner(log_size=2, first_id=100)
    puppet = Puppet()
    submit(runner, puppet)
    assert runner.events_after(99) == ([], True)
    for number in (1, 2, 3):
        puppet.tell(iteration(number))
    assert runner.events_after(100) == ([(101, iteration(2)), (102, iteration(3))], True)
    assert runner.events_after(99) == ([(101, iteration(2)), (102, iteration(3))], False)
    assert runner.events_after(5)[1] is False
    assert runner.events_after(103) == ([], False)
    end(runner, puppet)
    runner.close(SECONDS)


def test_log_keeps_rounds_of_self_play_without_their_texts_and_no_stages(runner: JobRunner) -> None:
    puppet = Puppet()
    submit(runner, puppet)
    rollout = Rollout("p", "c" * 10_000, 0.5, {"diversity": 0.5, "length": 0.5}, 0.0)
    puppet.tell(StageBegun(Stage.REWARD))
    puppet.tell(SelfPlayDone(1, 1, 0.6, {"diversity": 0.7, "length": 0.5}, 0.0, (rollout,)))
    assert runner.status().stage == Stage.REWARD
    assert runner.status().reward == 0.6
    ((_, kept),) = runner.events_after(0)[0]
    assert isinstance(kept, SelfPlayDone)
    assert (kept.reward, kept.rollouts) == (0.6, ())
    end(runner, puppet)


def test_restored_run_that_nobody_runs_any_more_is_interrupted(runner: JobRunner) -> None:
    runner.restore(TrainingStatus(state=State.RUNNING, model="poet", iteration=40))
    assert (runner.status().state, runner.status().iteration) == (State.INTERRUPTED, 40)
    runner.restore(TrainingStatus(state=State.DONE, model="poet"))
    assert runner.status().state == State.DONE


def test_close_saves_the_running_job_and_takes_no_more() -> None:
    runner, puppet = JobRunner(), Puppet()
    submit(runner, puppet)
    assert runner.close(0) is False
    puppet.commands.put(iteration(1))
    assert runner.close(SECONDS) is True
    assert puppet.saved.is_set()
    with pytest.raises(Overloaded):
        runner.submit("poet", (), puppet.run)


class JobStates(RuleBasedStateMachine):
    """Whatever is asked in whatever order, the runner's state is the one that this model says."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = JobRunner(log_size=5)
        self.puppet: Puppet | None = None
        self.expected = TrainingStatus()
        self.recorded: list[Event] = []
        self.stopping = False

    def teardown(self) -> None:
        if self.puppet is not None:
            self.puppet.commands.put(None)
        assert self.runner.close(SECONDS)

    def _over(self, state: State) -> None:
        assert self.runner.wait(SECONDS)
        self.puppet = None
        assert self.runner.status().state == state

    @rule(model=st.sampled_from(["a", "b"]))
    def submit(self, model: str) -> None:
        if self.puppet is not None:
            with pytest.raises(TrainingRuns) as caught:
                self.runner.submit(model, (), Puppet().run)
            assert caught.value.parameters["model"] == self.expected.model
            return
        self.puppet = Puppet()
        submit(self.runner, self.puppet, model)
        self.expected, self.stopping = TrainingStatus(model=model), False
        assert self.runner.status().state == State.RUNNING

    @precondition(lambda self: self.puppet is not None)
    @rule(loss=st.floats(allow_nan=False))
    def train_an_iteration(self, loss: float) -> None:
        assert self.puppet is not None
        event = iteration(self.expected.iteration + 1, loss)
        self.expected = advance(self.expected, event)
        self.recorded.append(event)
        if self.stopping:
            self.puppet.commands.put(event)
            puppet = self.puppet
            self._over(State.STOPPED)
            assert puppet.saved.is_set()
        else:
            self.puppet.tell(event)

    @rule()
    def stop(self) -> None:
        if self.puppet is None:
            with pytest.raises(NothingToStop):
                self.runner.stop()
            return
        self.runner.stop()
        self.stopping = True
        assert self.runner.status().state == State.STOPPING

    @precondition(lambda self: self.puppet is not None)
    @rule(error=st.sampled_from([None, DiskFull(path="x"), RuntimeError("ours")]))
    def come_to_an_end(self, error: Exception | None) -> None:
        assert self.puppet is not None
        self.puppet.commands.put(error)
        self._over(State.DONE if error is None else State.FAILED)

    @invariant()
    def active_exactly_while_a_job_is_there(self) -> None:
        assert (self.runner.status().state in ACTIVE_STATES) == (self.puppet is not None)

    @invariant()
    def status_is_folded_from_the_events(self) -> None:
        status = self.runner.status()
        assert (status.model, status.iteration, status.loss) == (
            self.expected.model,
            self.expected.iteration,
            self.expected.loss,
        )

    @invariant()
    def log_is_the_newest_events_in_order(self) -> None:
        log, complete = self.runner.events_after(0)
        assert [event for _, event in log] == self.recorded[-5:]
        assert [number for number, _ in log] == list(range(len(self.recorded) - len(log) + 1, len(self.recorded) + 1))
        assert complete == (len(self.recorded) <= 5)


JobStates.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestJobStates = JobStates.TestCase
