"""What a training of a new model would bring, for sizes that were not measured: how long it takes and how often it reads the books.

One preset is rehearsed on this machine; the pace of other sizes follows from the work of a token in them. On graphics cards, where
small models leave most of the card idle, every size is rehearsed itself (forecast_cache.py).

Not here: the rehearsal (rehearsal.py), a model that exists (forecast.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from config import ModelConfig, TrainConfig
from model import count_parameters
from runs.forecast import Estimate
from runs.rehearsal import Pace
from runs.suggestion import evaluations_apart, iterations_within, suggested_iterations, tokens_per_iteration

FLOPS_OF_AN_ELEMENT = 270  # the time of one element outside of matrices, fitted to "Speed" in docs/en/benchmarks.md


@dataclass(frozen=True)
class Outlook:
    """A training of one size on the chosen books. `iterations` are those suggested, or as many as the time allows."""

    parameters: int
    training_bytes: int
    fits: bool  # into the memory there is, or into that which was named
    in_time: bool  # the suggested iterations are done in the time that was named
    iterations: int
    eval_every: int
    seconds: float
    epochs: float  # how often the books are read


def outlook(
    found: Estimate, pace: Pace, config: TrainConfig, seconds: float | None = None, memory_bytes: int | None = None
) -> Outlook:
    """Return what a training of this pace brings in this time and memory; None is no limit but the machine's own."""
    suggested = suggested_iterations(pace.train_tokens, found.parameters, pace.tokens_per_iteration)
    within = suggested if seconds is None else iterations_within(seconds, lambda last: pace.seconds(config, 0, last))
    iterations = min(suggested, within)
    return Outlook(
        parameters=found.parameters,
        training_bytes=found.training_bytes,
        fits=found.fits and (memory_bytes is None or found.training_bytes <= memory_bytes),
        in_time=within >= suggested,
        iterations=iterations,
        eval_every=evaluations_apart(iterations),
        seconds=pace.seconds(config, 0, iterations),
        epochs=iterations * pace.tokens_per_iteration / pace.train_tokens,
    )


def best_of(outlooks: Mapping[str, Outlook]) -> str | None:
    """Return the name of the largest that fits and is done in time, else of the smallest that fits; None where nothing fits."""
    fitting = sorted((each.parameters, name) for name, each in outlooks.items() if each.fits)
    done = [name for _, name in fitting if outlooks[name].in_time]
    return done[-1] if done else fitting[0][1] if fitting else None


def scaled(pace: Pace, measured: ModelConfig, wanted: ModelConfig, config: TrainConfig) -> Pace:
    """Return the pace of a model of other sizes than those that were measured."""
    ratio = work_of_a_token(wanted) / work_of_a_token(measured)
    tokens = tokens_per_iteration(config, wanted.max_seq_len)
    return dataclasses.replace(
        pace,
        iteration_seconds=pace.iteration_seconds * ratio * tokens / pace.tokens_per_iteration,
        round_seconds=pace.round_seconds * ratio,
        evaluation_seconds=pace.evaluation_seconds * ratio,
        sample_seconds=pace.sample_seconds * ratio,
        tokens_per_iteration=tokens,
    )


def work_of_a_token(config: ModelConfig) -> float:
    """Return the work of one token in an iteration, in floating-point operations: matrices, attention and what stands between."""
    matrices = count_parameters(config) - config.vocab_size * config.d_model
    attention = config.num_layers * config.max_seq_len * config.d_model
    widths = 14 * config.d_model + 4 * config.d_ff + config.num_heads * config.max_seq_len
    elements = config.num_layers * widths + 3 * config.vocab_size
    return 6.0 * (matrices + attention) + FLOPS_OF_AN_ELEMENT * elements
