"""Write texts that are asked for at about the same time together, with the C code: a run of steps of all of them is one call.

A run ends early when a text comes or is left, so nobody waits for more than the token that is being computed.

Shapes: B rows, N steps of a run, V ids.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque

import torch
from torch import Tensor

from engine.batch import MOST_ROWS, Batch, Row
from engine.decoder import NativeDecoder
from engine.handover import PAUSE_SECONDS
from engine.stream import NonFiniteLogits, Token
from kernels.decode import NO_NUMBER, Choices

MOST_STEPS = 16


class NativeBatch(Batch):
    """The texts that one model writes at once, with the C code. It tells no logprobs, and knows no penalty but that for repetition."""

    def __init__(
        self, decoder: NativeDecoder, size: int, end_of_text: int, threads: int, most_rows: int = MOST_ROWS
    ) -> None:
        super().__init__(decoder, end_of_text, threads, most_rows)
        self._native, self._size = decoder, size
        self._stop = torch.zeros(1, dtype=torch.int32)
        self._step_seconds = PAUSE_SECONDS
        self._ahead: defaultdict[Row, deque[float]] = defaultdict(deque)  # drawn for a text, but not used yet
        self._chosen_for: list[tuple[Row, int]] = []  # whom `_choices` are for
        self._choices = Choices(torch.empty(0), torch.empty(0), end_of_text)

    def _interrupt(self) -> None:
        self._stop[0] = 1

    def _give_up(self) -> None:
        super()._give_up()
        self._chosen_for = []

    def _step(self) -> None:
        """Write a run of tokens of each text."""
        for row, tokens in zip(self._rows, self._run_of_steps(), strict=True):
            for _ in tokens:
                self._ahead[row].popleft()
            good = tokens[:-1] if tokens[-1] == NO_NUMBER else tokens
            if good:
                row.take([Token(token) for token in good], self._end_of_text)
            if len(good) < len(tokens):
                row.take(NonFiniteLogits(), self._end_of_text)
        self._tidy()
        for row in self._ahead.keys() - set(self._rows):
            del self._ahead[row]

    def _run_of_steps(self) -> list[list[int]]:
        steps = self._steps()
        tokens = torch.tensor([row.context[-1] for row in self._rows])
        places = torch.tensor([len(row.context) - 1 for row in self._rows])
        chances = torch.tensor([self._chances(row, steps) for row in self._rows], dtype=torch.float64)
        threads = self._threads[len(self._rows).bit_length()]
        torch.set_num_threads(threads.now)
        began_at = time.perf_counter()
        written = self._native.run(tokens, places, self._choices_now(), chances, self._stop)
        self._step_seconds = (time.perf_counter() - began_at) / len(written[0])
        threads.took(self._step_seconds)
        return written

    def _steps(self) -> int:
        """Return how many tokens may be written before anything has to be done, in less time than a reader notices."""
        self._stop[0] = 0
        if self._waiting or any(row.left or row.is_new for row in self._rows):
            return 1
        room = min(min(row.to_write, self._decoder.window + 1 - len(row.context)) for row in self._rows)
        return max(1, min(room, MOST_STEPS, int(PAUSE_SECONDS / self._step_seconds)))

    def _chances(self, row: Row, steps: int) -> list[float]:
        ahead = self._ahead[row]
        ahead.extend(row.chances.random() for _ in range(steps - len(ahead)))
        return [ahead[step] for step in range(steps)]

    def _choices_now(self) -> Choices:
        wanted = [(row, row.shortened) for row in self._rows]
        if wanted != self._chosen_for:
            settings = torch.tensor([_settings(row) for row in self._rows], dtype=torch.float64)
            self._choices = Choices(settings, self._seen(), self._end_of_text)
            self._chosen_for = wanted
        return self._choices

    def _seen(self) -> Tensor:
        seen = torch.zeros(len(self._rows), self._size, dtype=torch.uint8)
        for number, row in enumerate(self._rows):
            seen[number, [token for token in row.context if token < self._size]] = 1
        return seen


def _settings(row: Row) -> tuple[float, ...]:
    s = row.sampling
    return s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty
