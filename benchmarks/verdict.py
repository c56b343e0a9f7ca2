"""Say what self-play reached: means over seeds, the arms at equal variety, and the goals that a comparison with a control decides.

Particular: "nearer to the book" is the distance of a mean from the band in which the middle 80 % of the book's passages lie; inside
it is 0. A distance counts as larger only beyond TOLERANCE of the book's mean, which is less than seeds differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.pair import DEFAULT, GREEDY, WAYS, Trial
from benchmarks.texts import AtEqualVariety, Band, Point, at_equal_variety

NEARER = ("distinct_1", "distinct_2", "length")
TOLERANCE = 0.01
ROUNDS = 5  # at the start and at the end, whose rewards are compared
MOST_GREEDY, MOST_DEFAULT = 1 / 3, 1 / 2  # of the control's repetition
MOST_WORSE, MOST_TIME, LEAST_RISE = 0.01, 0.25, 0.05


@dataclass(frozen=True)
class Figure:
    mean: float
    error: float  # standard error over seeds; nan for a single one


@dataclass(frozen=True)
class Goal:
    name: str
    wanted: str
    found: str
    reached: bool


def over_seeds(trials: Sequence[Trial], value: Callable[[Trial], float]) -> Figure:
    values = [value(trial) for trial in trials]
    if not all(map(math.isfinite, values)):  # such as rewards without self-play; `stdev` does not take nan
        return Figure(math.nan, math.nan)
    return Figure(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


def text_figure(trials: Sequence[Trial], way: str, name: str) -> Figure:
    return over_seeds(trials, lambda trial: getattr(trial.written[way].measures, name))


def curve(trials: Sequence[Trial]) -> list[Point]:
    """Return distinct-2 and nats per token under the judge for each way of writing, as means over seeds."""
    return [
        (text_figure(trials, way, "distinct_2").mean, fmean(trial.written[way].nats for trial in trials))
        for way in WAYS
    ]


def first_rewards(trial: Trial) -> float:
    return _mean(trial.course.rewards[:ROUNDS])


def last_rewards(trial: Trial) -> float:
    return _mean(trial.course.rewards[-ROUNDS:])


def time_share(trial: Trial) -> float:
    """Return the share of the time that self-play took since its first round."""
    return trial.course.play_seconds / ((trial.course.seconds - trial.course.seconds_before_play) or 1.0)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


# ---- goals -----------------------------------------------------------------------------------------------------------


def goals(control: Sequence[Trial], own: Sequence[Trial], book: Band) -> list[Goal]:
    """Return the goals for an arm; a comparison with nan is not reached."""
    found = [_repetition(control, own, GREEDY, MOST_GREEDY), _repetition(control, own, DEFAULT, MOST_DEFAULT)]
    found += [_nearer(control, own, book, way, name) for way in (GREEDY, DEFAULT) for name in NEARER]
    worse = over_seeds(own, lambda t: t.val_loss).mean / over_seeds(control, lambda t: t.val_loss).mean - 1
    share = over_seeds(own, time_share).mean
    first, last = (over_seeds(own, value).mean for value in (first_rewards, last_rewards))
    return [
        *found,
        Goal("val_loss", f"at most {MOST_WORSE:+.0%}", f"{worse:+.2%}", worse <= MOST_WORSE),
        Goal("time in self-play, since it began", f"at most {MOST_TIME:.0%}", f"{share:.0%}", share <= MOST_TIME),
        Goal(
            f"reward, first and last {ROUNDS} rounds",
            f"rises by {LEAST_RISE} or more",
            f"{first:.2f} → {last:.2f}",
            last - first >= LEAST_RISE,
        ),
        *_judged(control, own),
    ]


def _repetition(control: Sequence[Trial], own: Sequence[Trial], way: str, most: float) -> Goal:
    before, now = (text_figure(trials, way, "seq_rep_4").mean for trials in (control, own))
    found = f"{now / before:.2f}" if before else "the control has none"
    return Goal(f"{way_name(way)}: seq-rep-4 / control's", f"at most {most:.2f}", found, now <= most * before)


def _nearer(control: Sequence[Trial], own: Sequence[Trial], book: Band, way: str, name: str) -> Goal:
    before, now = (distance(text_figure(trials, way, name).mean, book, name) for trials in (control, own))
    slack = TOLERANCE * getattr(book.mean, name)
    reached = now < before or now <= slack
    return Goal(
        f"{way_name(way)}: {name.replace('_', '-')}, distance from the book's band",
        "less than the control's",
        f"{before:.3f} → {now:.3f}",
        reached,
    )


def distance(value: float, book: Band, name: str) -> float:
    """Return how far a value lies outside the book's band."""
    low, high = (float(getattr(end, name)) for end in (book.low, book.high))
    return max(0.0, low - value, value - high)


def _judged(control: Sequence[Trial], own: Sequence[Trial]) -> list[Goal]:
    before, now = curve(control), curve(own)
    points = at_equal_variety(before, now)
    worst = max((point.difference for point in points), default=math.nan)
    default = around_default(points, before[WAYS.index(DEFAULT)][0], now[WAYS.index(DEFAULT)][0])
    return [
        Goal(
            "judge, nats at equal distinct-2", f"nowhere above {MOST_WORSE:+.0%}", f"{worst:+.1%}", worst <= MOST_WORSE
        ),
        Goal("judge, between both arms at the defaults", "below 0%", f"{default:+.1%}", default < 0),
    ]


def around_default(points: Sequence[AtEqualVariety], one: float, other: float) -> float:
    """Return the mean difference between the distinct-2 that the two arms have at the defaults; nan if no point is there."""
    return _mean([point.difference for point in points if min(one, other) <= point.distinct_2 <= max(one, other)])


def way_name(way: str) -> str:
    """
    >>> way_name("greedy"), way_name("0.7"), way_name("1.1")
    ('greedy', 'defaults', 'T 1.1')
    """
    return {GREEDY: GREEDY, DEFAULT: "defaults"}.get(way, f"T {way}")
