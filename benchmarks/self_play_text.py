"""What self-play does to the texts of a model: trainings with and without it, the same in everything else.

    python -m benchmarks.self_play_text --book FILE --minutes 3 --seeds 3 --out DIR
    python -m benchmarks.self_play_text --book FILE --iterations 600 --seeds 3 --arm "" --arm every=5,greedy_share=1
    python -m benchmarks.self_play_text --book FILE --quick

For each seed a control without self-play and one training for each --arm (settings of self-play; the defaults unless given) have the
same seed, tokenizer, split, order of batches and time, or with --iterations as many iterations, which other work on the machine
cannot disturb. Then all continue the same held-out passages, greedily and sampled at several temperatures, with the averaged
weights. A judge, trained for as long on the whole book and on every --judge-book, says how likely the texts are.

Prints tables in Markdown: the texts beside the book's own passages, variety against the judge, and which goals are reached. --out
keeps curves.json, curves.svg (variety against the judge) and rewards.svg. Figures are means over seeds ± their standard error.

Particular: a single seed is noisy, most of all the repetition at the defaults, which is a few 4-grams in a thousand; let three seeds
decide. Self-play begins after 200 iterations at the earliest, so --quick shows that it works and little of what it does. With
--minutes nothing else should run on the machine; beside other work several threads wait for each other (--threads 1). A judge
that has read one book knows its style and not the language: compare the arms with each other, not with the book.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.first_experiment import parse
from benchmarks.pair import CONTROL, Budget, Pair
from benchmarks.plot import picture
from benchmarks.self_play_tables import Arms, by_arm, tables
from benchmarks.texts import Band, band
from benchmarks.verdict import curve
from config import PRESETS

QUICK_ITERATIONS, QUICK_PASSAGES, PASSAGES = 300, 48, 128


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--preset", choices=sorted(PRESETS), default="small")
    length = options.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=3.0, help="of each training")
    length.add_argument("--iterations", type=int, help="of each training, instead of minutes")
    length.add_argument("--quick", action="store_true", help=f"{QUICK_ITERATIONS} iterations and few passages")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--passages", type=int, help="held-out passages to continue")
    options.add_argument("--arm", action="append", help="name=value,name=value of self-play; give it once for each arm")
    options.add_argument("--judge-book", type=Path, action="append", default=[], help="another book for the judge")
    options.add_argument("--threads", type=int, help="of each training; all cores unless given")
    options.add_argument("--out", type=Path, help="a folder for curves.json, curves.svg and rewards.svg")
    chosen = options.parse_args()
    iterations = QUICK_ITERATIONS if chosen.quick else chosen.iterations
    seconds = math.inf if iterations else chosen.minutes * 60
    budget = Budget(iterations, seconds, chosen.threads)
    passages = chosen.passages or (QUICK_PASSAGES if chosen.quick else PASSAGES)
    pair = Pair(chosen.book, PRESETS[chosen.preset], budget, passages, chosen.judge_book)
    judge, judged = alone(pair.judge)
    arms, book = run(pair, chosen.seeds, chosen.arm or [""], judge), band(pair.book())
    if chosen.out:
        keep(chosen.out, arms, book, judged)
    print(tables(arms, book, judged))


def run(pair: Pair, seeds: int, arms: list[str], judge: bytes) -> Arms:
    """Train the control and every arm with each seed, each in a process of its own."""
    settings = {CONTROL: {"enabled": False}} | {arm or "self-play": parse(arm) for arm in arms}
    trials = []
    for seed, (name, values) in itertools.product(range(seeds), settings.items()):
        trials.append(alone(pair.trial, name, values, seed, judge))
        done = trials[-1].course
        print(f"{name}, seed {seed}: {done.iterations} iterations, {done.seconds:.0f} s", file=sys.stderr, flush=True)
    return by_arm(trials)


def keep(folder: Path, arms: Arms, book: Band, judged: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "trials": [asdict(trial) for trials in arms.values() for trial in trials],
        "book": asdict(book),
        "nats_of_book": judged,
    }
    (folder / "curves.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    curves = {name: sorted(curve(trials)) for name, trials in arms.items()}
    drawn = picture(curves, "distinct-2", "nats per token under the judge")
    (folder / "curves.svg").write_text(drawn, encoding="utf-8")
    played = [trial for trials in arms.values() for trial in trials if trial.course.rewards]
    rewards: dict[str, list[tuple[float, float]]] = {
        f"{trial.arm} {trial.seed}": list(enumerate(trial.course.rewards, 1)) for trial in played
    }
    if rewards:
        (folder / "rewards.svg").write_text(picture(rewards, "round", "reward"), encoding="utf-8")


if __name__ == "__main__":
    main()
