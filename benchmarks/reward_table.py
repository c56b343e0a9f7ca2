"""What the reward pays five kinds of text, beside the naive mean of distinct-1 and length: the table in `docs/en/self-play.md`.

    python -m benchmarks.reward_table --book FILE [--words 100] [--samples 200] [--seed 0]

Particular: calibrated on what a training reads of the book, the prose taken from the text that it holds out, the vocabulary from
all of it. A word stands for a token, so no tokenizer is needed; "without loop cut" pays a loop's full length.

Not covered: what a trained model does with the reward; the loops that it unlearns.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from config import SelfPlayConfig, TrainConfig
from corpus.dataset import split
from selfplay import rewards
from selfplay.book import Bands, BookGrams, measure_bands

LOOP_WORDS = 5

Sampler = Callable[[], list[str]]


@dataclass(frozen=True)
class Row:
    """The means over the samples of one kind of text."""

    kind: str
    raw: float  # mean of distinct-1 and length, nothing calibrated
    reward: float
    reward_uncut: float  # the same reward if loops were paid their full length
    diversity: float
    length: float
    copied: float


def table(book: str, words_each: int, samples: int, seed: int) -> list[Row]:
    parts, rng = split(book, TrainConfig().val_fraction), random.Random(seed)
    held_out = rewards.words(parts.val[:])
    vocabulary = list(dict.fromkeys(rewards.words(book)))
    bands, grams = measure_bands([parts.train], words_each, rng), BookGrams([parts.train], rng)
    kinds = texts(held_out, vocabulary, words_each, rng)
    return [_row(kind, [sample() for _ in range(samples)], words_each, bands, grams) for kind, sample in kinds.items()]


def texts(book: list[str], vocabulary: list[str], count: int, rng: random.Random) -> dict[str, Sampler]:
    """Return the five kinds of text, `count` words each."""

    def window(of: list[str], size: int = count) -> list[str]:
        start = rng.randrange(max(1, len(of) - size + 1))
        return of[start : start + size]

    return {
        "real prose": lambda: window(book),
        "random words": lambda: rng.choices(vocabulary, k=count),
        "vocabulary in order": lambda: window(vocabulary),
        "shuffled words": lambda: rng.sample(prose := window(book), len(prose)),
        "looped 5-word phrase": lambda: (window(book, LOOP_WORDS) * count)[:count],
    }


def _row(kind: str, samples: Sequence[list[str]], target: int, bands: Bands, grams: BookGrams) -> Row:
    def mean(figure: Callable[[list[str]], float]) -> float:
        return fmean(map(figure, samples))

    def diversity(sample: list[str]) -> float:
        return rewards.diversity_score(rewards.variety(sample), *bands.at(len(sample)))

    def full_length(sample: list[str]) -> float:
        return min(1.0, len(sample) / target)

    def length(sample: list[str]) -> float:
        numbers = {word: number for number, word in enumerate(dict.fromkeys(sample))}
        return rewards.length_score([numbers[word] for word in sample], target)

    pay = SelfPlayConfig()
    weights = pay.diversity_weight, pay.length_weight
    return Row(
        kind,
        raw=mean(lambda sample: (rewards.distinct_n(sample, 1) + full_length(sample)) / 2),
        reward=mean(lambda sample: rewards.reward(diversity(sample), length(sample), *weights)),
        reward_uncut=mean(lambda sample: rewards.reward(diversity(sample), full_length(sample), *weights)),
        diversity=mean(diversity),
        length=mean(length),
        copied=mean(lambda sample: grams.copied(" ".join(sample))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--book", type=Path, required=True)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = table(given.book.read_text(encoding="utf-8"), given.words, given.samples, given.seed)
    sys.stdout.write("| text | raw mean | calibrated | without loop cut | diversity | length | copied |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for row in rows:
        figures = (row.raw, row.reward, row.reward_uncut, row.diversity, row.length, row.copied)
        sys.stdout.write(f"| {row.kind} | {' | '.join(f'{figure:.2f}' for figure in figures)} |\n")


if __name__ == "__main__":
    main()
