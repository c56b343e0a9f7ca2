"""The logs of a training: each event in its file, torn lines passed over, charts from a million lines, rounds from the end."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import (
    CheckpointSaved,
    Evaluated,
    Event,
    IterationDone,
    ModelPublished,
    Notice,
    Rollout,
    RunStarted,
    SampleWritten,
    SelfPlayDone,
    Stage,
    StageBegun,
    from_json,
    to_json,
)
from runs import history, run_log
from runs.run_log import RunLog
from tests.store.store_kit import NAME
from web import answers
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent


def iteration_done(iteration: int, loss: float = 4.0) -> IterationDone:
    return IterationDone(iteration, loss, 2e-3, 0.5, 9000.0, iteration * 0.1)


def evaluated(iteration: int, val_loss: float = 5.0) -> Evaluated:
    return Evaluated(iteration, val_loss, 2.0, 4.5, True, iteration * 0.1)


def self_play(iteration: int, number: int, reward: float = 0.5) -> SelfPlayDone:
    rollout = Rollout("Море", "шумело\nи молчало", reward, {"variety": 0.6, "surprise": 0.4}, 0.0, False, 0.25)
    return SelfPlayDone(iteration, number, reward, {"variety": 0.6, "surprise": 0.4}, 0.0, (rollout, rollout), 0.25)


def tell(ws: Workspace, *events: Event) -> None:
    with RunLog(ws, NAME) as log:
        for event in events:
            log.append(event)


def lines(ws: Workspace, file: str) -> list[dict[str, object]]:
    text = (ws.checkpoint_folder(NAME) / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_each_event_goes_where_it_belongs(ws: Workspace) -> None:
    started = RunStarted(NAME, 0, 10, False, True, 100, 100, 10, "CPU", "float32", 2)
    others = [CheckpointSaved(10, 5), ModelPublished(10, 5.0), Notice(10, "resumed", {"iteration": 10})]
    tell(ws, StageBegun(Stage.SUPERVISED), started, iteration_done(10), self_play(10, 1), evaluated(10), *others)
    tell(ws, SampleWritten(10, "Море", " шумело"))
    names = ["RunStarted", "IterationDone", "SelfPlayDone", "Evaluated", "CheckpointSaved", "ModelPublished", "Notice"]
    assert [line["event"] for line in lines(ws, "metrics.jsonl")] == names
    assert "rollouts" not in lines(ws, "metrics.jsonl")[2]
    assert lines(ws, "rollouts.jsonl")[0]["rollouts"][1]["completion"] == "шумело\nи молчало"  # type: ignore[index]
    assert lines(ws, "samples.jsonl") == [
        {"event": "SampleWritten", "iteration": 10, "prompt": "Море", "text": " шумело"}
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_becomes_null(ws: Workspace, value: float) -> None:
    tell(ws, iteration_done(1, value), evaluated(1, value), self_play(1, 1, value))
    assert lines(ws, "metrics.jsonl")[0]["loss"] is None
    assert lines(ws, "rollouts.jsonl")[0]["rollouts"][0]["reward"] is None  # type: ignore[index]
    found = history.history(ws, NAME)
    assert (found["loss"], found["loss_smooth"], found["evaluations"]["val_loss"]) == ([None], [None], [None])
    json.dumps(found, allow_nan=False)


def test_what_was_told_is_there_though_the_process_dies(ws: Workspace) -> None:
    log = RunLog(ws, NAME)
    log.append(iteration_done(1))
    assert [line["iteration"] for line in lines(ws, "metrics.jsonl")] == [1], "not closed yet"
    log.close()
    log.append(iteration_done(2))
    log.close()
    assert [line["iteration"] for line in lines(ws, "metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize(
    "torn", ['{"event": "IterationDone", "iteration": 3, "lo', '{"event": "Evaluated", "iterat', "x"]
)
def test_a_torn_last_line_is_passed_over_and_cut_off(ws: Workspace, torn: str) -> None:
    tell(ws, iteration_done(1), evaluated(1), iteration_done(2))
    path = ws.checkpoint_folder(NAME) / "metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(torn)
    assert history.history(ws, NAME)["iterations"] == [1, 2]
    tell(ws, iteration_done(3))
    assert [line["iteration"] for line in lines(ws, "metrics.jsonl")] == [1, 1, 2, 3]


def test_a_refused_write_leaves_whole_lines(ws: Workspace) -> None:
    from errors import DiskFull
    from tests.store.faults import FAULTS, Faults

    with RunLog(ws, NAME) as log:
        log.append(iteration_done(1))
        log.close()
        with Faults(at=3, fault=FAULTS[0]).installed() as seen, pytest.raises(DiskFull):
            log.append(iteration_done(2))
        assert ("write", "metrics.jsonl") in seen.done
        log.append(iteration_done(3))
    assert [line["iteration"] for line in lines(ws, "metrics.jsonl")] == [1, 3]


def test_rollouts_keep_the_newest(ws: Workspace) -> None:
    with RunLog(ws, NAME, rollouts_limit_bytes=20_000) as log:
        for number in range(1, 301):
            log.append(self_play(number * 10, number))
            assert (ws.checkpoint_folder(NAME) / "rollouts.jsonl").stat().st_size <= 20_000
    rounds = [line["round"] for line in lines(ws, "rollouts.jsonl")]
    assert rounds == list(range(rounds[0], 301)) and len(rounds) > 20  # type: ignore[call-overload]
    assert len(lines(ws, "metrics.jsonl")) == 300


def test_one_round_over_the_limit_is_kept(ws: Workspace) -> None:
    with RunLog(ws, NAME, rollouts_limit_bytes=100) as log:
        log.append(self_play(10, 1))
        log.append(self_play(20, 2))
    assert [line["round"] for line in lines(ws, "rollouts.jsonl")] == [2]


# ---- truncating ------------------------------------------------------------------------------------------------------


def test_what_was_told_after_the_resumed_iteration_is_dropped(ws: Workspace) -> None:
    for iteration in range(1, 8):
        tell(ws, iteration_done(iteration), self_play(iteration, iteration), SampleWritten(iteration, "a", "b"))
    run_log.truncate_after(ws, NAME, 4)
    assert history.history(ws, NAME)["iterations"] == [1, 2, 3, 4]
    assert [line["iteration"] for line in lines(ws, "samples.jsonl")] == [1, 2, 3, 4]
    assert [line["round"] for line in run_log.rollouts(ws, NAME)] == [4, 3, 2, 1]
    run_log.truncate_after(ws, NAME, 4)
    run_log.truncate_after(ws, NAME, 100)
    assert history.history(ws, NAME)["iterations"] == [1, 2, 3, 4]
    run_log.truncate_after(ws, NAME, 0)
    assert history.history(ws, NAME)["iterations"] == [] and run_log.rollouts(ws, NAME) == []


def test_truncating_under_an_open_log_and_going_on(ws: Workspace) -> None:
    with RunLog(ws, NAME) as log:
        for iteration in range(1, 6):
            log.append(iteration_done(iteration))
        run_log.truncate_after(ws, NAME, 3)
        log.append(iteration_done(4, 1.0))
    assert [line["iteration"] for line in lines(ws, "metrics.jsonl")] == [1, 2, 3, 4]
    assert history.history(ws, NAME)["loss"][-1] == 1.0


def test_truncating_nothing_is_no_error(ws: Workspace) -> None:
    run_log.truncate_after(ws, NAME, 5)
    assert history.history(ws, NAME)["iterations"] == []
    assert not list(ws.checkpoints.glob("*/*.jsonl"))


# ---- history ---------------------------------------------------------------------------------------------------------


def test_a_short_history_is_told_exactly(ws: Workspace) -> None:
    tell(ws, iteration_done(1, 8.5), iteration_done(2, 1e-7), evaluated(2, 7.25), self_play(2, 1), iteration_done(3, 8))
    tell(ws, SampleWritten(2, "Море", " шумело"))
    found = history.history(ws, NAME)
    assert (found["model"], found["iterations"], found["loss"]) == (NAME, [1, 2, 3], [8.5, 1e-7, 8.0])
    evaluations = {"iteration": [2], "val_loss": [7.25], "bits_per_byte": [2.0], "train_loss": [4.5]}
    assert found["evaluations"] == evaluations
    assert found["self_play"]["reward"] == [0.5] and found["self_play"]["looped"] == [0.25]
    assert found["self_play"]["reward_breakdown"] == {"variety": [0.6], "surprise": [0.4]}
    assert found["samples"] == [{"iteration": 2, "prompt": "Море", "text": " шумело"}]
    assert found["downsampling"]["iterations_per_point"] == 1


def test_a_long_history_is_told_in_means(ws: Workspace) -> None:
    tell(ws, *(iteration_done(n, float(n)) for n in range(1, 11)), *(evaluated(n, float(n)) for n in range(1, 11)))
    found = history.history(ws, NAME, points=4)
    assert (found["iterations"], found["loss"]) == ([3, 6, 9, 10], [2.0, 5.0, 8.0, 10.0])
    assert found["evaluations"]["iteration"] == [3, 6, 9, 10] and found["evaluations"]["val_loss"] == [
        2.0,
        5.0,
        8.0,
        10.0,
    ]
    assert found["downsampling"] == {"method": "mean", "iterations_per_point": 3, "smoothing": 0.9}


def test_smoothing_starts_at_the_first_value_and_passes_none() -> None:
    assert history.smooth([4.0, None, 2.0], factor=0.5) == [4.0, None, pytest.approx(8 / 3)]
    assert history.smooth([3.0] * 50)[-1] == pytest.approx(3.0)
    assert history.smooth([0.0] * 500 + [1.0])[-1] == pytest.approx(0.1, abs=1e-3)


def test_what_is_told_twice_counts_once(ws: Workspace) -> None:
    """A resumed training evaluates again where its checkpoint stands."""
    tell(ws, evaluated(5, 3.0), SampleWritten(5, "a", "old"), evaluated(5, 2.0), SampleWritten(5, "a", "new"))
    found = history.history(ws, NAME)
    assert found["evaluations"]["val_loss"] == [2.0] and [sample["text"] for sample in found["samples"]] == ["new"]


def test_of_many_samples_some_are_shown_with_first_and_last(ws: Workspace) -> None:
    tell(ws, *(SampleWritten(n, "a", "b") for n in range(1, 1002)))
    shown = [sample["iteration"] for sample in history.history(ws, NAME)["samples"]]
    assert (len(shown), shown[0], shown[-1]) == (200, 1, 1001)


def test_a_model_without_log_has_an_empty_history(ws: Workspace) -> None:
    found = history.history(ws, NAME)
    assert (found["iterations"], found["loss"], found["loss_smooth"], found["samples"]) == ([], [], [], [])
    assert found["evaluations"]["val_loss"] == [] == found["self_play"]["reward"]


def test_texts_that_look_like_lines_are_no_lines(ws: Workspace) -> None:
    trap = '{"event": "IterationDone", "iteration": 7, "loss": 1.0,\n{"event": "Evaluated", "iteration": 7}\n'
    tell(ws, iteration_done(1), Notice(1, "resumed", {"reason": trap}), SampleWritten(1, trap, trap))
    found = history.history(ws, NAME)
    assert found["iterations"] == [1] and found["evaluations"]["iteration"] == []
    assert found["samples"][0]["text"] == trap


def long_log(ws: Workspace, count: int) -> None:
    """Written whole, as by a version that kept no digest: evaluations every hundred iterations, rounds every ten."""
    ws.checkpoint_folder(NAME).mkdir()
    with (ws.checkpoint_folder(NAME) / "metrics.jsonl").open("w", encoding="utf-8") as file:
        done, round_, seen = (line_of(event) for event in (iteration_done(1), self_play(1, 1), evaluated(1)))
        for n in range(1, count + 1):
            lines = done + (round_ if n % 10 == 0 else "") + (seen if n % 100 == 0 else "")
            file.write(
                lines.replace('"iteration": 1,', f'"iteration": {n},').replace('"loss": 4.0', f'"loss": {4 + 1 / n}')
            )


def line_of(event: Event) -> str:
    record = {key: value for key, value in run_log.to_json(event).items() if key != "rollouts"}
    return json.dumps(record, ensure_ascii=False) + "\n"


@pytest.mark.slow
def test_a_million_iterations_open_in_under_a_second(ws: Workspace) -> None:
    """A tenth of them here. The first hundred iterations that are told make the digest of all that it lacks."""
    count, points = 100_000, 1000
    long_log(ws, count)
    raw = history.history(ws, NAME, points)
    tell(ws, *(iteration_done(count + n) for n in range(1, 151)))
    digest = ws.checkpoint_folder(NAME) / "metrics.digest.jsonl"
    assert len(digest.read_bytes().splitlines()) == count // 100 + 1
    started_at = time.process_time()
    found = history.history(ws, NAME, points)
    assert time.process_time() - started_at < 0.1
    assert found["iterations"][-1] == count + 150 and len(found["loss"]) <= points
    assert found["downsampling"]["iterations_per_point"] == 200
    assert found["loss"][1] == pytest.approx((raw["loss"][2] + raw["loss"][3]) / 2, abs=1e-12)
    assert found["evaluations"]["iteration"][-1] == count and found["self_play"]["reward"][7] == pytest.approx(0.5)


def test_the_digest_is_cut_with_the_log_and_goes_on(ws: Workspace) -> None:
    tell(ws, *(event for n in range(1, 1001) for event in (iteration_done(n, n), self_play(n, n, n / 1000))))
    run_log.truncate_after(ws, NAME, 450)
    tell(ws, *(iteration_done(n, -n) for n in range(451, 1101)))
    by_digest = history.history(ws, NAME, points=3)  # more chunks than points: the digest is read
    (ws.checkpoint_folder(NAME) / "metrics.digest.jsonl").unlink()
    by_log = history.history(ws, NAME, points=11)
    assert by_digest["iterations"] == [400, 800, 1100]
    wanted = [
        math.fsum(n if n <= 450 else -n for n in range(first + 1, last + 1)) / (last - first)
        for first, last in ((0, 400), (400, 800), (800, 1100))
    ]
    assert by_digest["loss"] == pytest.approx(wanted)
    assert by_log["loss"][:4] == pytest.approx([50.5, 150.5, 250.5, 350.5]) and by_log["loss"][5] == pytest.approx(
        -550.5
    )


def _round_of_other_parts(n: int) -> SelfPlayDone:
    """As by turns two environments pay it."""
    parts = {"solved": n / 1000} if n % 2 else {"variety": 0.5}
    return dataclasses.replace(self_play(n, n), reward_breakdown=parts, rollouts=())


def test_parts_of_the_reward_are_summed_up_whatever_their_names(ws: Workspace) -> None:
    tell(ws, *(event for n in range(1, 401) for event in (_round_of_other_parts(n), iteration_done(n))))
    by_digest = history.history(ws, NAME, points=2)["self_play"]
    (ws.checkpoint_folder(NAME) / "metrics.digest.jsonl").unlink()
    by_log = history.history(ws, NAME, points=2)["self_play"]
    for found in (by_digest, by_log):
        assert found["iteration"] == [200, 400]
        assert found["reward_breakdown"]["solved"] == pytest.approx([0.1, 0.3])
        assert found["reward_breakdown"]["variety"] == pytest.approx([0.5, 0.5])
    every = history.history(ws, NAME, points=400)["self_play"]["reward_breakdown"]
    assert every["solved"][:3] == [0.001, None, 0.003]


def _as_before(event: SelfPlayDone) -> dict[str, Any]:
    """A round as it was written when its parts stood beside the reward."""

    def flat(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != "reward_breakdown"} | values[
            "reward_breakdown"
        ]

    return flat(to_json(event)) | {"rollouts": [flat(dataclasses.asdict(rollout)) for rollout in event.rollouts]}


def test_rounds_of_an_earlier_version_are_read_as_those_of_today(ws: Workspace) -> None:
    folder = ws.checkpoint_folder(NAME)
    folder.mkdir(parents=True)
    lines = [json.dumps(_as_before(self_play(n, n))) + "\n" for n in (1, 2)]
    assert '"variety": 0.6' in lines[0] and "reward_breakdown" not in lines[0]
    for file in ("metrics.jsonl", "rollouts.jsonl"):
        (folder / file).write_text("".join(lines), encoding="utf-8")
    (newest, _) = run_log.rollouts(ws, NAME)
    assert newest == json.loads(json.dumps(to_json(self_play(2, 2))))
    found = history.history(ws, NAME)["self_play"]
    assert found["reward_breakdown"] == {"variety": [0.6, 0.6], "surprise": [0.4, 0.4]}
    assert from_json(json.loads(lines[1])) == self_play(2, 2)


def test_digest_of_an_earlier_version_keeps_its_parts(ws: Workspace) -> None:
    tell(ws, *(event for n in range(1, 301) for event in (iteration_done(n), self_play(n, n))))
    digest = ws.checkpoint_folder(NAME) / "metrics.digest.jsonl"
    written = digest.read_text(encoding="utf-8")
    digest.write_text(written.replace("reward_breakdown.", ""), encoding="utf-8")
    assert '"reward_breakdown.variety"' in written
    assert history.history(ws, NAME, points=1)["self_play"]["reward_breakdown"]["variety"] == pytest.approx([0.6])


def test_a_digest_of_another_log_is_not_believed(ws: Workspace) -> None:
    tell(ws, *(iteration_done(n) for n in range(1, 501)))
    metrics = ws.checkpoint_folder(NAME) / "metrics.jsonl"
    metrics.write_text("".join(line_of(iteration_done(n, 1.0)) for n in range(1, 41)), encoding="utf-8")
    assert history.history(ws, NAME, points=2)["loss"] == [1.0, 1.0]
    tell(ws, *(iteration_done(n, 1.0) for n in range(41, 221)))
    digest = ws.checkpoint_folder(NAME) / "metrics.digest.jsonl"
    assert [json.loads(line)["iteration"] for line in digest.read_text().splitlines()] == [100]
    assert history.history(ws, NAME, points=1)["loss"] == [1.0]


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b'{"iteration": 300, "end"\n', b"[]\n"])
def test_a_damaged_digest_is_passed_over(ws: Workspace, damage: bytes) -> None:
    tell(ws, *(iteration_done(n, n) for n in range(1, 301)))
    digest = ws.checkpoint_folder(NAME) / "metrics.digest.jsonl"
    whole = digest.read_bytes().splitlines(keepends=True)
    digest.write_bytes(whole[0] + damage + whole[2])
    found = history.history(ws, NAME, points=2)
    assert found["loss"] == [75.5, 225.5] and found["downsampling"]["iterations_per_point"] == 150  # of the log itself


# ---- rollouts --------------------------------------------------------------------------------------------------------


def test_rounds_come_newest_first_page_by_page(ws: Workspace) -> None:
    tell(ws, *(self_play(number * 10, number) for number in range(1, 13)))
    assert [line["round"] for line in run_log.rollouts(ws, NAME)] == [12, 11, 10, 9, 8]
    assert [line["round"] for line in run_log.rollouts(ws, NAME, before=8, limit=3)] == [7, 6, 5]
    assert [line["round"] for line in run_log.rollouts(ws, NAME, before=2)] == [1]
    assert run_log.rollouts(ws, NAME, before=1) == [] == run_log.rollouts(ws, "никто")
    assert run_log.rollouts(ws, NAME, limit=1)[0]["rollouts"][0]["prompt"] == "Море"


def test_the_newest_rounds_are_read_from_the_end(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of the file is no JSON at all, and nothing stumbles over it."""
    tell(ws, *(self_play(number * 10, number) for number in range(1, 50)))
    path = ws.checkpoint_folder(NAME) / "rollouts.jsonl"
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 1000 + b"\n" + content)
    monkeypatch.setattr(run_log, "_BLOCK_BYTES", 600)
    assert [line["round"] for line in run_log.rollouts(ws, NAME, limit=2)] == [49, 48]
    assert len(run_log.rollouts(ws, NAME, limit=100)) == 49


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=12),
    st.binary(max_size=9),
    st.data(),
)
def test_lines_backwards_are_lines_forwards(tmp_path_factory, whole: list[bytes], torn: bytes, data) -> None:
    torn = torn.replace(b"\n", b"")
    path = tmp_path_factory.getbasetemp() / "lines"
    content = b"".join(line + b"\n" for line in whole)
    path.write_bytes(content + torn)
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(run_log, "_BLOCK_BYTES", data.draw(st.integers(1, 40)))
        found = list(run_log._lines_backwards(file))
    assert [line for _, _, line in reversed(found)] == [line + b"\n" for line in whole]
    assert all(content[start:end] == line for start, end, line in found)


# ---- lines that nobody wrote ---------------------------------------------------------------------------------------------

HUGE = b"9" * 5000
ODD_LINES = [
    b"null", b"[]", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b'{"iteration": 1}', b'{"iteration": "x"}',
    b'{"event": "IterationDone"}', b'{"event": "IterationDone", "iteration": 1, "loss": "x"}',
    b'{"event": "IterationDone", "iteration": ' + HUGE + b', "loss": 1.0}',
    b'{"event": "IterationDone", "iteration": 1, "loss": 1e999, "x": 1}',
    b'{"event": "Evaluated"}', b'{"event": "Evaluated", "iteration": 1, "val_loss": [], "bits_per_byte": {}}',
    b'{"event": "Evaluated", "iteration": 1, "val_loss": ' + b"9" * 400 + b"}",
    b'{"event": "Evaluated", "iteration": ' + HUGE + b"}", b'{"event": "Evaluated", "iteration": 1, "event": []}',
    b'{"event": "SelfPlayDone", "iteration": 1, "round": ' + HUGE + b', "rollouts": []}',
    b'{"event": "SelfPlayDone", "iteration": 1, "round": 1}', b'{"event": "SelfPlayDone", "iteration": 1, "round": 1, "rollouts": [1]}', b'{"event": "SampleWritten", "iteration": 1}',
    b'{"event": "SampleWritten", "iteration": 1, "prompt": null, "text": 5}',
    b'{"iteration": 100, "end": "x", "sums": []}', b'{"iteration": 100, "end": 1e999, "sums": {}}',
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_LINES, ids=range(len(ODD_LINES)))
@pytest.mark.parametrize("points", [10, 1000])
def test_an_odd_line_in_any_log_is_passed_over(ws: Workspace, odd: bytes, points: int) -> None:
    told = [iteration_done(number) for number in range(1, 1201)]
    tell(ws, *told, evaluated(1200), SampleWritten(1200, "Море", " шумело"), self_play(1200, 1))
    for name in (run_log.METRICS, run_log.SAMPLES, run_log.ROLLOUTS, run_log.DIGEST):
        path = ws.checkpoint_folder(NAME) / name
        path.write_bytes(odd + b"\n" + path.read_bytes() + odd + b"\n")
    found = history.history(ws, NAME, points)
    answer = json.loads(answers.to_json(found))
    assert answer["iterations"][-1] in (1, 1200) and 4.0 in answer["loss"]
    assert answer["evaluations"]["val_loss"][-1] in (5.0, None) or 5.0 in answer["evaluations"]["val_loss"]
    assert answer["samples"][-1] == {"iteration": 1200, "prompt": "Море", "text": " шумело"}
    assert {round_["round"] for round_ in run_log.rollouts(ws, NAME)} == {1}
    tell(ws, iteration_done(1201), *(iteration_done(number) for number in range(1202, 1402)))
    assert json.loads(answers.to_json(history.history(ws, NAME, points)))["iterations"][-1] == 1401
    run_log.truncate_after(ws, NAME, 1300)


def test_losses_are_found_in_whatever_order_the_fields_stand(ws: Workspace) -> None:
    path = ws.checkpoint_folder(NAME) / run_log.METRICS
    path.parent.mkdir(parents=True)
    record = run_log.to_json(iteration_done(7, loss=3.5))
    names = [name for name in record if name != "event"]
    orders = [names, names[::-1], names[2:] + names[:2]]
    lines = [json.dumps({name: record[name] for name in ("event", *order)}) + "\n" for order in orders]
    path.write_text("".join(lines), encoding="utf-8")
    found = history.history(ws, NAME)
    assert (found["iterations"], found["loss"]) == ([7, 7, 7], [3.5, 3.5, 3.5])


def test_the_log_needs_no_torch() -> None:
    code = "import sys, runs.run_log; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
