"""Curves of bits per byte over seconds, and their comparison."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass, field


@dataclass
class Training:
    name: str
    seed: int
    seconds: list[float] = field(default_factory=list)
    bits_per_byte: list[float] = field(default_factory=list)
    tokens_per_second: float = 0.0
    gflops: float = 0.0
    peak_rss_mb: float = 0.0

    @property
    def best(self) -> float:
        return min(self.bits_per_byte)

    def seconds_to(self, wanted: float) -> float:
        """Return the second at which the curve first reaches `wanted` bits per byte, interpolated linearly."""
        points = list(zip(self.seconds, self.bits_per_byte, strict=True))
        for (t0, b0), (t1, b1) in itertools.pairwise(points):
            if b1 <= wanted:
                return t0 + (t1 - t0) * (b0 - wanted) / (b0 - b1) if b0 > wanted else t0
        return math.inf


def compare(trainings: list[Training]) -> None:
    peers = [t for t in trainings if t.name.startswith("peer")]
    if not peers:
        summarise(trainings)
        return
    best, needed = best_of(peers)
    print(f"\nThe peer's best, {best.best:.3f} bits per byte, takes it {needed:.0f} s ({best.name}).")
    for name in dict.fromkeys(t.name for t in trainings if t not in peers):
        share = statistics.median(t.seconds_to(best.best) / needed for t in trainings if t.name == name)
        print(f"{name}: {share:.3f} of that time" if share < math.inf else f"{name}: not reached")


def best_of(peers: list[Training]) -> tuple[Training, float]:
    """Return the peer with the least loss and the seconds it took to reach it."""
    best = min(peers, key=lambda t: t.best)
    return best, best.seconds_to(best.best)


def summarise(trainings: list[Training]) -> None:
    """Print each arm's last figure over its seeds."""
    print("\n| training | mean last bits/byte | of seeds |\n|---|---|---|")
    for name in dict.fromkeys(t.name for t in trainings):
        lasts = [t.bits_per_byte[-1] for t in trainings if t.name == name]
        print(f"| {name} | {statistics.mean(lasts):.4f} | {', '.join(f'{last:.4f}' for last in lasts)} |")
