"""Test that every benchmark starts, what the comparisons with peers and with a control compute, and how a peer's output is read."""

from __future__ import annotations

import json
import math
import os
import runpy
import sys
from pathlib import Path

import pytest

import config
from benchmarks import self_play_text
from benchmarks.alone import alone
from benchmarks.command import run
from benchmarks.course import Course
from benchmarks.curve import Training
from benchmarks.pair import CONTROL, DEFAULT, GREEDY, WAYS, Trial, Written
from benchmarks.texts import Band, Measures, at_equal_variety, band, measured, seq_rep_4
from benchmarks.verdict import goals, over_seeds
from corpus.dataset import SplitBook
from events import Evaluated, IterationDone, SelfPlayDone
from selfplay import gate
from tests.training_kit import SHAPE, prose

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = [
    path.stem
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
PARTS = SplitBook("Старик чинил лодку.\n", "Лодка плыла.\n")
PEER = """
import sys
train, val = (open(name, encoding="utf-8", newline="").read() for name in sys.argv[1:3])
print("step 1 of", sys.argv[3])
print(len(train), 3.5)
print(len(val), 2.5)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_benchmark_names_its_options_and_measures_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)  # another benchmark may have imported it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_peers_command_reads_both_parts_and_tells_its_curve(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(PEER, encoding="utf-8")
    told = list(run(f"'{sys.executable}' '{script}' {{train}} {{val}} {{seconds}}", PARTS, seconds=9.7))
    assert told == [(len(PARTS.train), 3.5), (len(PARTS.val), 2.5)]


@pytest.mark.parametrize("code", ["print('nothing')", "print('1 2'); raise SystemExit(3)"])
def test_peers_command_that_fails_or_tells_nothing_ends_the_comparison(code: str) -> None:
    with pytest.raises(SystemExit, match="exit status"):
        list(run(f"'{sys.executable}' -c \"{code}\"", PARTS, seconds=1))


@pytest.mark.parametrize(("wanted", "seconds"), [(3.0, 10.0), (2.5, 15.0), (2.0, 20.0), (1.9, 25.0), (1.0, math.inf)])
def test_curve_tells_when_it_first_reaches_a_loss(wanted: float, seconds: float) -> None:
    curve = Training("ours", 0, seconds=[10.0, 20.0, 30.0], bits_per_byte=[3.0, 2.0, 1.8])
    assert curve.seconds_to(wanted) == pytest.approx(seconds)


# ---- self-play against its control -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "share"),
    [([1, 2, 3, 4, 5], 0.0), ([1, 2, 1, 2, 1, 2, 1], 0.5), ([7] * 13, 0.9), ([1, 1, 1], 0.0), ([], 0.0)],
)
def test_repetition_is_the_share_of_4_grams_that_stood_before(tokens: list[int], share: float) -> None:
    assert seq_rep_4(tokens) == pytest.approx(share)


def test_variety_is_counted_over_words_in_lower_case_and_length_over_tokens() -> None:
    found = measured([5, 6, 7], "Лодка плыла, лодка плыла: тихо", 0.25)
    assert found == Measures(seq_rep_4=0.0, distinct_1=3 / 5, distinct_2=3 / 4, length=3, reward=0.25)


def test_band_holds_the_middle_80_percent() -> None:
    found = band([Measures(0.0, 0.0, 0.0, length, 0.0) for length in range(11)])
    assert (found.low.length, found.mean.length, found.high.length) == pytest.approx((1, 5, 9))


def test_curves_are_compared_at_equal_variety() -> None:
    control, own = [(0.5, 1.0), (1.0, 2.0)], [(0.9, 1.71), (0.6, 1.32), (0.4, 9.0)]
    found = {point.distinct_2: point.difference for point in at_equal_variety(control, own)}
    assert list(found) == pytest.approx([0.5, 0.6, 0.9])  # each curve's own points and the end of the shared part
    assert found[0.6] == pytest.approx(0.10)
    assert found[0.9] == pytest.approx(-0.05)


def test_curves_without_a_common_variety_are_not_compared() -> None:
    assert at_equal_variety([(0.1, 1.0), (0.2, 2.0)], [(0.3, 1.0), (0.4, 1.0)]) == []


def test_time_counts_iterations_and_rounds_but_no_evaluations() -> None:
    course = Course()
    for iteration, seconds in (
        (0, 5.0),
        (1, 7.0),
        (2, 10.0),
    ):  # two iterations of 2 and 3 seconds, then 9 of evaluation
        if iteration:
            course.add(IterationDone(iteration, 1.0, 0.1, 1.0, 50.0, seconds), tokens=100)
        else:
            course.add(Evaluated(0, 5.0, 2.0, 5.0, False, seconds), tokens=100)
    course.add(SelfPlayDone(2, 1, 0.5, {}, 0.0, ()), tokens=100)
    course.add(Evaluated(2, 5.0, 2.0, 5.0, False, 19.0), tokens=100)
    course.add(IterationDone(3, 1.0, 0.1, 1.0, 50.0, 21.0), tokens=100)
    assert (course.iterations, course.seconds) == (3, 7.0)
    assert (course.play_seconds, course.seconds_before_play) == (1.0, 2.0)
    assert course.rewards == [0.5]


BAND = Band(*(Measures(0.0, variety, variety, 100, 0.9) for variety in (0.7, 0.8, 0.9)))


def trial(
    arm: str, *, repeated: float, variety: float, val_loss: float = 4.0, nats: float = 2.0, seed: int = 0
) -> Trial:
    """A trial whose texts vary more with each way of writing, from `variety` on."""
    written = {
        way: Written(Measures(repeated, variety + number / 100, variety + number / 100, 100, 0.5), nats + number, "")
        for number, way in enumerate(WAYS)
    }
    course = Course(300, seconds=50.0, play_seconds=8.0, seconds_before_play=10.0, rewards=[0.4] * 5 + [0.6] * 5)
    return Trial(arm, seed, course, val_loss, 1.5, written)


def test_goals_are_reached_by_what_loops_less_and_varies_like_the_book() -> None:
    control = [trial(CONTROL, repeated=0.6, variety=0.5)]
    own = [trial("self-play", repeated=0.1, variety=0.52, val_loss=4.02, nats=3.9)]  # 0.1 below the control's curve
    assert {goal.name: goal.found for goal in goals(control, own, BAND) if not goal.reached} == {}


def test_goals_are_missed_by_what_loops_as_before_and_loses_quality() -> None:
    control = [trial(CONTROL, repeated=0.6, variety=0.5)]
    own = [trial("self-play", repeated=0.6, variety=0.48, val_loss=4.1, nats=2.0)]
    missed = [goal.name for goal in goals(control, own, BAND) if not goal.reached]
    assert missed[:2] == ["greedy: seq-rep-4 / control's", "defaults: seq-rep-4 / control's"]
    assert {"greedy: distinct-1, distance from the book's band", "val_loss"} <= set(missed)
    assert {"judge, nats at equal distinct-2", "judge, between both arms at the defaults"} <= set(missed)


def test_figures_are_means_over_seeds_with_their_standard_error() -> None:
    trials = [trial(CONTROL, repeated=0.1, variety=0.5, val_loss=loss) for loss in (3.0, 4.0, 5.0)]
    found = over_seeds(trials, lambda one: one.val_loss)
    assert (found.mean, found.error) == pytest.approx((4.0, 1 / math.sqrt(3)))
    assert math.isnan(over_seeds(trials[:1], lambda one: one.val_loss).error)
    nothing = over_seeds(trials, lambda one: math.nan)  # the rewards of a control
    assert math.isnan(nothing.mean) and math.isnan(nothing.error)


@pytest.mark.slow
def test_work_alone_is_done_in_a_process_of_its_own() -> None:
    assert alone(os.getpid) != os.getpid()


@pytest.mark.slow
def test_self_play_is_compared_with_its_control_from_book_to_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    book = tmp_path / "book.txt"
    book.write_text(prose(1500), encoding="utf-8")
    monkeypatch.setitem(config.PRESETS, "small", SHAPE)
    monkeypatch.setattr(gate, "MIN_ITERATIONS", 0)
    monkeypatch.setattr(gate, "MIN_FALL", 0.0)
    monkeypatch.setattr(
        self_play_text, "alone", lambda work, *arguments: work(*arguments)
    )  # they would not know of the two
    command = [
        "self_play_text",
        "--book",
        str(book),
        "--iterations",
        "30",
        "--passages",
        "4",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--arm", "every=5"])
    self_play_text.main()
    told = capsys.readouterr().out
    assert "| control | every=5 |" in told
    assert "| iterations | 30 | 30 | – |" in told
    assert "| goal for every=5 | wanted | found | reached |" in told
    kept = json.loads((tmp_path / "curves.json").read_text(encoding="utf-8"))
    control, played = kept["trials"]
    assert list(control["written"]) == [GREEDY, *WAYS[1:]] and DEFAULT in WAYS
    assert [len(one["course"]["rewards"]) for one in (control, played)] == [0, 6]
    assert control["course"]["play_seconds"] < played["course"]["play_seconds"]
    assert "distinct-2" in (tmp_path / "curves.svg").read_text(encoding="utf-8")
    assert (tmp_path / "rewards.svg").is_file()
