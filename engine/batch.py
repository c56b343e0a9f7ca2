"""Write texts that are asked for at about the same time together, with our own loop: a step of all of them costs little more than one's.

A text joins at any step and leaves its row when it ends, so nobody waits for the longest one. Beyond the rows there are, texts wait.
The parameters of each text are its own. What is written is what stream.py writes, but for the rounding of larger products.

Particular: one thread computes while there are texts, and ends with them. The keys and values of all rows lie in one cache, in which the
last row takes the place of one that ends; it grows to the next power of two when rows join, and is given up at the end.

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
from engine.handover import Handover
from engine.sampling import candidates, draw
from engine.stream import PLAIN, Extras, NonFiniteLogits, Token, chances_of, next_token
from engine.threads import ThreadChoice
from model import KVCache, Transformer

MOST_ROWS = 32
FEW_ROWS = 4  # up to so many are always computed by one thread


class Batch:
    """The texts that one model writes at once. Chooses among the first `size` ids; computes with up to `threads` threads."""

    def __init__(
        self, model: Transformer, size: int, end_of_text: int, threads: int, most_rows: int = MOST_ROWS
    ) -> None:
        self._model, self._size, self._end_of_text = model, size, end_of_text
        self._most_rows = most_rows
        self._threads = [ThreadChoice(threads) for _ in range(most_rows.bit_length() + 1)]  # for 1, 2-3, 4-7 ... rows
        self._lock = threading.Lock()
        self._waiting: list[_Row] = []
        self._rows: list[_Row] = []
        self._cache: KVCache | None = None
        self._runs = False

    def stream(self, prompt: list[int], sampling: SamplingConfig, extras: Extras = PLAIN) -> Iterator[list[Token]]:
        """Yield the tokens after `prompt`, as engine.stream.stream does, but in groups. Raises NonFiniteLogits and what else stops the computing."""
        row = _Row(prompt[-self._model.config.max_seq_len :], sampling, extras)
        with self._lock:
            self._waiting.append(row)
            if not self._runs:
                threading.Thread(target=self._run, name="batch", daemon=True).start()
                self._runs = True
        try:
            yield from row.found
        finally:
            row.left = True

    # ---- in the computing thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._join():
                self._step()
        except BaseException as error:
            with self._lock:
                failed, self._rows, self._waiting = self._rows + self._waiting, [], []
                self._cache, self._runs = None, False
            for row in failed:
                row.found.end(error)

    def _join(self) -> bool:
        """Let waiting texts take free rows. Returns False when there are none left, and the thread ends."""
        with self._lock:
            room = self._most_rows - len(self._rows)
            joining, self._waiting = self._waiting[:room], self._waiting[room:]
            if not (self._rows or joining):
                self._cache, self._runs = None, False
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

    def _grow(self, rows: int) -> None:
        old, have = self._cache, 0 if self._cache is None else self._cache.keys.shape[1]
        if rows <= have:
            return
        device, dtype = self._model.lm_head.weight.device, self._model.lm_head.weight.dtype
        places = min(self._most_rows, 1 << (rows - 1).bit_length())
        new = KVCache(self._model.config, places, device=device, dtype=dtype)
        if old is not None:
            new.keys[:, :have], new.values[:, :have] = old.keys, old.values
        self._cache = new

    @torch.inference_mode()
    def _read(self, first: int, end: int) -> None:
        """Read the contexts of rows, equally long, but their last tokens, which the next step of all rows reads."""
        before = [row.context[:-1] for row in self._rows[first:end]]
        if before[0]:
            assert self._cache is not None
            device = self._model.lm_head.weight.device
            self._model.hidden(torch.tensor(before, device=device), self._cache.rows(first, end))

    def _step(self) -> None:
        """Write one token of each text."""
        logits = self._timed_logits()
        finite = torch.isfinite(logits).all(-1).tolist()
        for index, token in enumerate(self._chosen(logits)):
            self._rows[index].take(token if finite[index] else NonFiniteLogits(), self._end_of_text)
        for index in reversed(range(len(self._rows))):
            if self._rows[index].left:
                self._free(index)
        for index, row in enumerate(self._rows):
            if row.shorten(self._model.config.max_seq_len):
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
        assert self._cache is not None
        device = self._model.lm_head.weight.device
        tokens = torch.tensor([[row.context[-1]] for row in self._rows], device=device)  # (B, 1)
        places = torch.tensor([[len(row.context) - 1] for row in self._rows], device=device)
        alike = bool((places == places[0]).all())
        cache = self._cache.rows(0, len(self._rows))
        hidden = self._model.hidden(tokens, cache, places[0] if alike else places)
        return self._model.lm_head(hidden[:, -1])[:, : self._size].float().cpu()

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

    def _drawn(self, logits: Tensor, rows: Sequence[_Row]) -> list[int]:
        ids, p = candidates(logits, rows[0].sampling)
        chance = torch.tensor([[row.chances.random()] for row in rows], dtype=torch.float64)
        return [int(token) for token in ids.gather(1, draw(p, chance)[:, None])[:, 0].tolist()]

    def _free(self, index: int) -> None:
        """Take a row out; the last one takes its place."""
        last = self._rows.pop()
        if index < len(self._rows):
            assert self._cache is not None
            end = len(self._rows)
            self._rows[index] = last
            self._cache.keys[:, index], self._cache.values[:, index] = (
                self._cache.keys[:, end],
                self._cache.values[:, end],
            )


def _length(row: _Row) -> int:
    return len(row.context)


class _Row:
    """One text. The computing thread gives its tokens, the thread that asked for it reads them."""

    def __init__(self, context: list[int], sampling: SamplingConfig, extras: Extras) -> None:
        self.context, self.sampling, self.extras = context, sampling, extras
        self.chances, self.written = chances_of(sampling), Counter[int]()
        self.is_plain = sampling.repetition_penalty == 1.0 and extras == PLAIN
        self.left = False  # ended, failed, or nobody reads it any more
        self.found: Handover[Token] = Handover()
        self._to_write = sampling.max_new_tokens

    def take(self, token: Token | NonFiniteLogits, end_of_text: int) -> None:
        if isinstance(token, NonFiniteLogits):
            self.left = True
            self.found.end(token)
            return
        self.context.append(token.id)
        self.written[token.id] += 1
        self._to_write -= 1
        self.found.give(token)
        if token.id == end_of_text or not self._to_write:
            self.left = True
            self.found.end()

    def shorten(self, window: int) -> bool:
        """Keep the later half of a full context, and the token behind it. Returns whether it was full."""
        if len(self.context) <= window:
            return False
        self.context = self.context[window // 2 :]
        return True
