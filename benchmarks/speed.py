"""Tokens a second at equal shapes: our iteration and the peer's, in turns, each in a process of its own.

    python -m benchmarks.speed [--preset small --preset medium --preset large] [--rows 16] [--rounds 8] [--arm llama --arm "peer bf16" ...]

Everything that an iteration does: the batch, both passes, clipping, the optimizer's step, the average of the weights; random tokens, no
dropout. `llama` is what a new model is by default, whose gated block multiplies 16 to 20 % more for a token than the peer's; `gpt2` has the peer's own
matrices. The two peers are stock transformers (benchmarks/peer.py). Prints medians, their ratio to the quicker peer, and GFLOP/s as a
share of the quickest product of 2048 x 2048 matrices among those that were taken in turns with them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks.alone import peak_bytes
from benchmarks.peak import operations_per_token, peak_gflops
from benchmarks.peer import Peer
from config import PRESETS, TrainConfig
from corpus.dataset import Sequences, TokenDataset
from learning.learner import Learner
from learning.schedules import WeightDecay
from machine.memory import memory_kept, use_one_heap
from model import Transformer

ARMS = ("llama", "gpt2", "peer bf16", "peer float32")
WARM = 2  # rounds that are thrown away
PRODUCTS = 3  # of a round
TOKENS = 200_000  # random ones

_iterations: Iterator[float]  # of the arm whose process this is


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--preset", choices=sorted(PRESETS), action="append")
    options.add_argument("--rows", type=int, default=TrainConfig().batch_size)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument(
        "--arm", choices=ARMS, action="append", help="all unless given; each holds its memory while the others run"
    )
    chosen = options.parse_args()
    arms = chosen.arm or list(ARMS)
    print(f"{torch.get_num_threads()} threads, {chosen.rows} rows\n")
    print(
        "| preset | arm | tokens/s | to the peer | GFLOP/s | peak | of it | peak RSS MB |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for preset in chosen.preset or ("small", "medium", "large"):
        seconds, megabytes, peak = measure(arms, preset, chosen.rows, chosen.rounds)
        peer = min((seconds[arm] for arm in arms if arm.startswith("peer")), default=math.nan)
        for arm in arms:
            tokens = chosen.rows * PRESETS[preset].max_seq_len / seconds[arm]
            gflops = tokens * operations_per_token(PRESETS[preset], gated=arm == "llama") / 1e9
            cells = [preset, arm, f"{tokens:,.0f}", f"{peer / seconds[arm]:.2f}", f"{gflops:.0f}"]
            cells += [f"{peak:.0f}", f"{gflops / peak:.0%}", str(megabytes[arm])]
            print("| " + " | ".join(cells) + " |", flush=True)


def measure(arms: list[str], preset: str, rows: int, rounds: int) -> tuple[dict[str, float], dict[str, int], float]:
    """Return each arm's median seconds per iteration and the MB of its process, and the machine's GFLOP/s."""
    context = multiprocessing.get_context("spawn")
    pools = {arm: ProcessPoolExecutor(1, mp_context=context) for arm in arms}
    for arm, pool in pools.items():
        pool.submit(prepare, arm, preset, rows).result()
    taken, peak = [], 0.0
    for _ in range(WARM + rounds):
        peak = max(peak, peak_gflops(times=PRODUCTS))
        taken.append({arm: pool.submit(iterate).result() for arm, pool in pools.items()})
    megabytes = {arm: pool.submit(peak_bytes).result() // 1_000_000 for arm, pool in pools.items()}
    for pool in pools.values():
        pool.shutdown()
    return {arm: statistics.median(one[arm] for one in taken[WARM:]) for arm in arms}, megabytes, peak


# ---- in the process of an arm ----------------------------------------------------------------------------------------


def prepare(arm: str, preset: str, rows: int) -> None:
    global _iterations
    _iterations = peer(arm, preset, rows) if arm.startswith("peer") else ours(arm, preset, rows)


def iterate() -> float:
    return next(_iterations)


def peer(arm: str, preset: str, rows: int) -> Iterator[float]:
    shape = PRESETS[preset]
    tokens = torch.randint(shape.vocab_size, (TOKENS,), dtype=torch.int32)
    dataset = TokenDataset(tokens, tokens, TOKENS, "")
    return Peer(shape, dataset, bf16=arm == "peer bf16", learning_rate=2e-3, seed=0, batch_size=rows).train(10**6)


def ours(arm: str, preset: str, rows: int) -> Iterator[float]:
    use_one_heap()
    shape = PRESETS[preset].model_copy(update={"architecture": arm})
    config = TrainConfig()
    model = Transformer(shape)
    model.initialise(0)
    learner = Learner(model, config)
    sequences = Sequences(torch.randint(shape.vocab_size, (TOKENS,), dtype=torch.int32), shape.max_seq_len, seed=0)
    with memory_kept():
        for number in range(10**6):
            started_at = time.perf_counter()
            inputs, targets = sequences.batch(number * rows, rows)
            learner.compute_gradient(inputs, targets, rows, 1, dropout=0.0)
            learner.clip_gradient()
            learner.take_step(config.learning_rate, 0.0, WeightDecay(0.1), number + 1)
            yield time.perf_counter() - started_at


if __name__ == "__main__":
    main()
