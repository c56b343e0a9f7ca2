"""Killed in the middle of anything, a training goes on from its newest checkpoint to the very bits that it would have reached."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import workflows
from events import State
from store import checkpoint_store, model_store
from store.checkpoint_store import Checkpoint
from tests.training_kit import BOOK, MODEL, fill, plan, same
from workspace import Workspace

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 20

TRAINER_PROCESS = """
import sys
import azr_trainer, workflows
from runs import forecast
from tests.training_kit import plan
from workspace import Workspace
azr_trainer.SAMPLE_TOKENS = 6
forecast.available_bytes = lambda device: 8 * 10**9
ws = Workspace(sys.argv[1])
for event in workflows.train(ws, plan(ws, iterations=None, eval_every=3, checkpoint_every=1)):
    if type(event).__name__ == "CheckpointSaved":
        print(event.iteration, flush=True)
"""

TRAININGS = """
import os, random, signal, sys, time
import azr_trainer, selfplay.gate, workflows
from runs import forecast
from store import checkpoint_store
from tests.training_kit import MODEL, SELF_PLAY, changed, plan
from workspace import Workspace
azr_trainer.SAMPLE_TOKENS = 6
selfplay.gate.MIN_ITERATIONS, selfplay.gate.MIN_FALL = 0, 0.0
forecast.available_bytes = lambda device: 8 * 10**9
ws, kills, rng = Workspace(sys.argv[1]), int(sys.argv[2]), random.Random(5)

def train():  # in a child, which inherits all that is imported
    try:
        for _ in workflows.train(ws, plan(ws, iterations=400, eval_every=20, checkpoint_every=7, self_play=changed(SELF_PLAY, every=8), weight_decay=0.1)):
            pass
    finally:
        os._exit(0)

def kept():
    return max(checkpoint_store.iterations(ws, MODEL), default=0)

for number in range(1, kills + 2):
    child = os.fork()
    if child == 0:
        train()
    if number <= kills:
        while kept() < 18 * number:  # 40 iterations before the end at the last one: time enough to be killed
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(kept(), flush=True)
"""


def _run(source: str, workspace: Workspace, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, str(workspace.root), *arguments],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _checkpoint(workspace: Workspace) -> Checkpoint:
    checkpoint, damaged = checkpoint_store.latest(workspace, MODEL)
    assert checkpoint is not None
    assert not damaged
    return checkpoint


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked, so that twenty of them start in no time")
def test_twenty_kills_in_four_hundred_iterations_end_in_the_same_bits(workspace: Workspace, tmp_path: Path) -> None:
    straight = Workspace(tmp_path / "without kills")
    fill(straight)
    reached: dict[Workspace, list[int]] = {}
    for ws, kills in ((straight, 0), (workspace, KILLS)):
        reached[ws] = [int(line) for line in _run(TRAININGS, ws, str(kills)).communicate()[0].split()]
    assert reached[straight] == [400]
    assert len(reached[workspace]) == KILLS + 1
    assert len(set(reached[workspace])) == KILLS + 1  # each got further than the one before
    one, other = _checkpoint(workspace), _checkpoint(straight)
    assert one.iteration == other.iteration == 400
    assert same(one.weights, other.weights)
    assert same(one.optimizer, other.optimizer)
    assert _timeless(one.state["trainer"]) == _timeless(other.state["trainer"])
    assert other.state["trainer"]["self_play"]["round"] == 50
    published = [dict(model_store.load(ws, MODEL).model.state_dict()) for ws in (workspace, straight)]
    assert same(*published)
    told = [workflows.history(ws, MODEL) for ws in (workspace, straight)]
    assert told[0]["iterations"] == told[1]["iterations"] == [*range(1, 401)]
    assert told[0]["loss"] == told[1]["loss"]


def _timeless(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "elapsed_seconds"}


def test_killed_training_shows_interrupted_and_goes_on(workspace: Workspace) -> None:
    rng, reached = random.Random(3), 0
    for _ in range(3):
        process = _run(TRAINER_PROCESS, workspace)
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(3)]
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        assert told[0] == reached + 1  # it went on where the one before was killed
        workspace.prepare()
        assert not list(workspace.root.rglob(".tmp-*"))
        status = workflows.last_run(workspace)
        assert (status.state, status.model, status.books) == (State.INTERRUPTED, MODEL, (BOOK,))
        assert plan(workspace).resumed
        reached = _checkpoint(workspace).iteration
        assert reached >= told[-1]
    lines = (workspace.checkpoint_folder(MODEL) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[:-1]
    assert all(json.loads(line) for line in lines)
    assert torch.isfinite(_checkpoint(workspace).weights["lm_head.weight"]).all()
