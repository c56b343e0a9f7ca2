"""Write texts that are asked for at about the same time together, with our own loop: a step of all of them costs little more than one's.

A text joins at any step and leaves its row when it ends, so nobody waits for the longest one. Beyond the rows there are, texts wait.
The parameters of each text are its own. What is written is what stream.py writes, but for the rounding of larger products. How to write
with the C code says native_batch.py.

Particular: one thread computes while there are texts, and ends with them. The process waits for it: Python would end a daemon in the middle
of torch's C++, which aborts. The last row of the decoder takes the place of one that ends; it grows to the next power of two when rows
join, and is given up at the end.

Shapes: B rows, V ids.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from config import SamplingConfig
from engine.decoder import Decoder
from engine.handover import Handover
from engine.sampling import candidates, draw
from engine.stream import PLAIN, Extras, NonFiniteLogits, Token, chances_of, next_token
from engine.threads import ThreadChoice

MOST_ROWS = 32
FEW_ROWS = 4  # up to so many are always computed by one thread


class Batch:
    """The texts that one model writes at once, with `decoder`. Computes with up to `threads` threads."""

    def __init__(self, decoder: Decoder, end_of_text: int, threads: int, most_rows: int = MOST_ROWS) -> None:
        self._decoder, self._end_of_text, self._most_rows = decoder, end_of_text, most_rows
        self._threads = [ThreadChoice(threads) for _ in range(most_rows.bit_length() + 1)]  # for 1, 2-3, 4-7 ... rows
        self._lock = threading.Lock()
        self._waiting: list[Row] = []
        self._rows: list[Row] = []
        self._runs = False

    @property
    def writing(self) -> int:
        """Return how many texts are being written, or wait."""
        with self._lock:
            return len(self._rows) + len(self._waiting)

    def stream(self, prompt: list[int], sampling: SamplingConfig, extras: Extras = PLAIN) -> Iterator[list[Token]]:
        """Yield the tokens after `prompt`, as engine.stream.stream does, but in groups. Raises NonFiniteLogits and what else stops the computing."""
        row = Row(prompt[-self._decoder.window :], sampling, extras)
        with self._lock:
            self._waiting.append(row)
            self._interrupt()
            if not self._runs:
                threading.Thread(target=self._run, name="batch").start()
                self._runs = True
        try:
            yield from row.found
        finally:
            row.left = True
            self._interrupt()

    def _interrupt(self) -> None:
        """Called when a text comes or is left."""

    # ---- in the computing thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._join():
                self._step()
        except BaseException as error:
            with self._lock:
                failed, self._rows, self._waiting = self._rows + self._waiting, [], []
                self._give_up()
            for row in failed:
                row.found.end(error)

    def _join(self) -> bool:
        """Let waiting texts take free rows. Returns False when there are none left, and the thread ends."""
        with self._lock:
            room = self._most_rows - len(self._rows)
            joining, self._waiting = self._waiting[:room], self._waiting[room:]
            if not (self._rows or joining):
                self._give_up()
                return False
        try:
            torch.set_num_threads(1)
            self._grow(len(self._rows) + len(joining))
            for _, alike in groupby(sorted(joining, key=_length), _length):
                first = len(self._rows)
                self._rows += alike
                self._read(first, len(self._rows))
        except BaseException:
            with self._lock:  # `_run` tells all that wait, those that came too
                self._waiting += [row for row in joining if row not in self._rows]
            raise
        return True

    def _give_up(self) -> None:
        self._decoder.drop()
        self._runs = False

    def _grow(self, rows: int) -> None:
        if rows > self._decoder.room:
            self._decoder.grow(min(self._most_rows, 1 << (rows - 1).bit_length()))

    @torch.inference_mode()
    def _read(self, first: int, end: int) -> None:
        """Read the contexts of rows, equally long, but their last tokens, which the next step of all rows reads."""
        before = [row.context[:-1] for row in self._rows[first:end]]
        if before[0]:
            self._decoder.read_rows(first, before)

    def _step(self) -> None:
        """Write one token of each text."""
        logits = self._timed_logits()
        finite = torch.isfinite(logits).all(-1).tolist()
        for index, token in enumerate(self._chosen(logits)):
            self._rows[index].take([token] if finite[index] else NonFiniteLogits(), self._end_of_text)
        self._tidy()

    def _tidy(self) -> None:
        """Free the rows of texts that have ended, and shorten contexts that are full."""
        for index in reversed(range(len(self._rows))):
            if self._rows[index].left:
                self._free(index)
        for index, row in enumerate(self._rows):
            if row.shorten(self._decoder.window):
                self._read(index, index + 1)

    def _timed_logits(self) -> Tensor:
        if len(self._rows) <= FEW_ROWS:
            torch.set_num_threads(1)
            return self._logits()
        threads = self._threads[len(self._rows).bit_length()]
        torch.set_num_threads(threads.now)
        began_at = time.perf_counter()
        logits = self._logits()
        threads.took(time.perf_counter() - began_at)
        return logits

    @torch.inference_mode()
    def _logits(self) -> Tensor:
        """Return the logits (B, V) after the last token of each row."""
        tokens = torch.tensor([row.context[-1] for row in self._rows])
        places = torch.tensor([len(row.context) - 1 for row in self._rows])
        return self._decoder.step(tokens, places).float().cpu()

    def _chosen(self, logits: Tensor) -> list[Token]:
        """Choose for rows with the same plain settings together, and for the others one by one."""
        found: dict[int, Token] = {}
        alike: defaultdict[tuple[float, ...], list[int]] = defaultdict(list)
        for index, row in enumerate(self._rows):
            if row.is_plain:
                s = row.sampling
                alike[s.temperature, s.top_k, s.top_p, s.min_p].append(index)
            else:
                found[index] = next_token(
                    logits[index], row.sampling, row.context, row.written, row.extras, row.chances.random()
                )
        for indices in alike.values():
            ids = self._drawn(logits[indices], [self._rows[index] for index in indices])
            found |= {index: Token(token) for index, token in zip(indices, ids, strict=True)}
        return [found[index] for index in range(len(self._rows))]

    def _drawn(self, logits: Tensor, rows: Sequence[Row]) -> list[int]:
        ids, p = candidates(logits, rows[0].sampling)
        chance = torch.tensor([[row.chances.random()] for row in rows], dtype=torch.float64)
        return [int(token) for token in ids.gather(1, draw(p, chance)[:, None])[:, 0].tolist()]

    def _free(self, index: int) -> None:
        """Take a row out; the last one takes its place."""
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last
            self._decoder.move(len(self._rows), index)


def _length(row: Row) -> int:
    return len(row.context)


class Row:
    """One text. The computing thread gives its tokens, the thread that asked for it reads them."""

    def __init__(self, context: list[int], sampling: SamplingConfig, extras: Extras) -> None:
        self.context, self.sampling, self.extras = context, sampling, extras
        self.chances, self.written = chances_of(sampling), Counter[int]()
        self.is_plain = sampling.repetition_penalty == 1.0 and extras == PLAIN
        self.left = False  # ended, failed, or nobody reads it any more
        self.found: Handover[Token] = Handover()
        self.to_write = sampling.max_new_tokens
        self.shortened = 0  # how many times

    @property
    def is_new(self) -> bool:
        return self.to_write == self.sampling.max_new_tokens

    def take(self, tokens: Sequence[Token] | NonFiniteLogits, end_of_text: int) -> None:
        """Hand over at least one token, of which only the last one may end the text; or what is wrong."""
        if isinstance(tokens, NonFiniteLogits):
            self.left = True
            self.found.end(tokens)
            return
        ids = [token.id for token in tokens]
        self.context += ids
        self.written.update(ids)
        self.to_write -= len(ids)
        self.found.give(*tokens)
        if ids[-1] == end_of_text or not self.to_write:
            self.left = True
            self.found.end()

    def shorten(self, window: int) -> bool:
        """Keep the later half of a full context, and the token behind it. Returns whether it was full."""
        if len(self.context) <= window:
            return False
        self.context = self.context[window // 2 :]
        self.shortened += 1
        return True
