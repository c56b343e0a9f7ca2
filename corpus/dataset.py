"""Books as token ids: a training part and a held-out part, cut into sequences in a reproducible order.

Each book is split into a training part and held-out text, which no weight and no token of the vocabulary is ever fitted on. A
book that is long enough gives held-out text at several places, so that a licence, notes or an index at its end cannot decide alone
which weights are best. The order of sequences is a pure function of (seed, number), so a resumed training sees exactly what an
uninterrupted one would have seen, and nothing about the order needs saving.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from corpus.book_text import Span, joined
from errors import BookTooSmall
from events import Stage, StageBegun
from tokenizer import Characters, Tokenizer, cut

MIN_VAL_TOKENS = 16
MOST_FITTED = 10_000_000  # characters that a tokenizer is fitted on; more hardly changes which words are frequent
FITTED_PIECE = 4_000  # characters; the library reads 256 pieces ahead
MOST_CHARACTERS_PER_TOKEN = 8  # in prose; only repetitive text has longer tokens
MOST_PLACES = 8  # held out of one book
CHARACTERS_A_PLACE = 150  # the least in one held-out place
TELLING_SECONDS = 0.5
HASHED = 1_000_000  # ids at a time


@dataclass(frozen=True)
class SplitBook:
    train: Characters  # the rest of the book, in its order
    val: Characters  # the held-out places, in the book's order


def split(text: Characters, val_fraction: float, most_places: int = MOST_PLACES) -> SplitBook:
    """Hold out about `val_fraction` of the characters, in at most `most_places` places that are spread evenly over the book.

    In a book too short for two places the end is held out. A cut moves back to the nearest line end, if one is near.
    """
    places = max(1, min(most_places, int(len(text) * val_fraction) // CHARACTERS_A_PLACE))
    train: list[Span] = []
    val: list[Span] = []
    end = 0
    for place in range(places):
        first, last = len(text) * place // places, len(text) * (place + 1) // places
        held_out = last - first - round((last - first) * (1 - val_fraction))
        wanted = last - held_out if places == 1 else first + (last - first - held_out) // 2
        begin = _line_end_before(text, wanted, held_out)
        train.append((end, begin))
        end = last if places == 1 else _line_end_before(text, wanted + held_out, held_out)
        val.append((begin, end))
    return SplitBook(joined(text, [*train, (end, len(text))]), joined(text, val))


def _line_end_before(text: Characters, cut: int, held_out: int) -> int:
    """Return the last line start before a cut, at most half the held-out text away; the cut itself if there is none."""
    first = max(0, cut - min(2000, held_out // 2))
    found = text[first:cut].rfind("\n")
    return first + found + 1 if found >= 0 and first + found > 0 else cut


@dataclass(frozen=True)
class TokenDataset:
    train: Tensor  # (N,) of an integer type
    val: Tensor  # (M,)
    val_bytes: int  # UTF-8 bytes of the held-out text
    fingerprint: str  # of both parts: equal data, equal fingerprint
    lengths: tuple[int, ...] = ()  # training ids of each book

    @property
    def val_bytes_per_token(self) -> float:
        return self.val_bytes / max(1, len(self.val))


def tokens_of_reading(dataset: TokenDataset, weights: Sequence[float]) -> int:
    """Return how many training tokens one reading of the books has, where each is read as often as its weight says."""
    if len(set(weights)) < 2:  # `Sequences` reads them once then, whatever they weigh
        return len(dataset.train)
    return round(sum(weight * length for weight, length in zip(weights, dataset.lengths, strict=True)))


def fit_tokenizer(books: Iterable[SplitBook], vocab_size: int) -> Generator[StageBegun, None, Tokenizer]:
    """Fit a tokenizer on the training parts, reporting the number of characters read; 0 of 0 during merging.

    Long books are sampled in evenly spread pieces, MOST_FITTED characters in all. When closed early, it stops reading and
    returns at once; merging cannot be interrupted and ends in its own thread.
    """
    texts = [book.train for book in books]
    sample = _Sample(texts, MOST_FITTED)
    fitting: Future[Tokenizer] = Future()
    threading.Thread(target=_fit, args=(fitting, sample, vocab_size), name="fitting", daemon=True).start()
    try:
        while not fitting.done():
            yield StageBegun(Stage.FITTING_TOKENIZER, *sample.progress())
            wait([fitting], TELLING_SECONDS)
    finally:
        sample.closed = True
    return fitting.result()


def _fit(fitting: Future[Tokenizer], sample: Iterable[str], vocab_size: int) -> None:
    """Fit, and put the result into `fitting`. Not in an executor: Python waits for an executor's threads when it exits."""
    try:
        fitting.set_result(Tokenizer.fit(sample, vocab_size))
    except BaseException as error:
        fitting.set_exception(error)


class _Sample:
    """Evenly spread pieces of texts, with a count of the characters yielded so far."""

    def __init__(self, texts: list[Characters], most_characters: int) -> None:
        characters = sum(map(len, texts))
        self._texts, self._share = texts, min(1.0, most_characters / max(1, characters))
        self._done, self._total, self._ended = 0, round(characters * self._share), False
        self.closed = False

    def progress(self) -> tuple[int, int]:
        """Return the characters yielded so far and their total; (0, 0) after the last."""
        return (0, 0) if self._ended else (self._done, self._total)

    def __iter__(self) -> Iterator[str]:
        read = 0
        for piece in (piece for text in self._texts for piece in cut(text, FITTED_PIECE)):
            if self.closed:
                return
            read += len(piece)
            if self._done + len(piece) <= read * self._share:
                self._done += len(piece)
                yield piece
        self._ended = True


@dataclass(frozen=True)
class Encoded:
    """The token ids of one book."""

    train: Tensor  # (N,) of an integer type
    val: Tensor  # (M,)
    val_bytes: int  # UTF-8 bytes of the held-out text


Ids = Sequence[int] | np.ndarray


class Sink(Protocol):
    """Takes the ids of one book, the training part first."""

    def add(self, part: str, ids: Ids) -> None: ...

    def finish(self, val_bytes: int) -> Encoded: ...

    def discard(self) -> None: ...


class InMemory:
    """Keeps the ids in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {"train": [], "val": []}

    def add(self, part: str, ids: Ids) -> None:
        self._parts[part].append(torch.tensor(ids, dtype=torch.int32))

    def finish(self, val_bytes: int) -> Encoded:
        return Encoded(torch.cat(self._parts["train"]), torch.cat(self._parts["val"]), val_bytes)

    def discard(self) -> None:
        self._parts.clear()


def characters_of(book: SplitBook) -> int:
    return len(book.train) + len(book.val)


def encode(
    book: SplitBook, tokenizer: Tokenizer, sink: Sink, done: int, total: int
) -> Generator[StageBegun, None, Encoded]:
    """Encode a book into `sink`, reporting progress in characters: `done` of `total` are those of the books before it."""
    val_bytes = 0
    try:
        for part, text in (("train", book.train), ("val", book.val)):
            for piece, ids in tokenizer.encode_in_pieces(text):
                yield StageBegun(Stage.TOKENIZING, done, total)
                sink.add(part, ids)
                done += len(piece)
                val_bytes += len(piece.encode()) if part == "val" else 0
            sink.add(part, [tokenizer.end_of_text])
        return sink.finish(val_bytes)
    except BaseException:
        sink.discard()
        raise


def dataset_of(parts: Sequence[Encoded]) -> TokenDataset:
    """Join the ids of several books."""
    train, val = (_joined([getattr(part, name) for part in parts]) for name in ("train", "val"))
    digest = hashlib.sha256()
    for number, ids in enumerate((train, val)):
        digest.update(b"|" if number else b"")
        for some in ids.split(HASHED):
            digest.update(some.int().numpy().tobytes())
    return TokenDataset(
        train, val, sum(part.val_bytes for part in parts), digest.hexdigest(), tuple(len(part.train) for part in parts)
    )


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # torch.cat would copy a single one


def tokenize(books: Iterable[SplitBook], tokenizer: Tokenizer) -> Generator[StageBegun, None, TokenDataset]:
    """Encode all books in memory, reporting progress in characters; return the dataset."""
    books, done, parts = list(books), 0, []
    total = sum(map(characters_of, books))
    for book in books:
        parts.append((yield from encode(book, tokenizer, InMemory(), done, total)))
        done += characters_of(book)
    yield StageBegun(Stage.TOKENIZING, total, total)
    return dataset_of(parts)


def tokenized(books: Iterable[SplitBook], tokenizer: Tokenizer) -> TokenDataset:
    """Encode all books without reporting progress; return the dataset."""
    steps = tokenize(books, tokenizer)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            assert isinstance(done.value, TokenDataset)
            return done.value


def require_size(dataset: TokenDataset, max_seq_len: int) -> None:
    """Check that the text holds one training sequence and enough held-out text.

    Raises BookTooSmall, with the reason "held_out" when only the held-out part is too short. Training, forecast and the check
    before either of them all ask here.
    """
    if len(dataset.train) < max_seq_len + 1:
        raise BookTooSmall(field="books", tokens=len(dataset.train), needed=max_seq_len + 1)
    if len(dataset.val) < MIN_VAL_TOKENS:
        raise BookTooSmall(field="books", reason="held_out", tokens=len(dataset.val), needed=MIN_VAL_TOKENS)


def may_be_too_small(characters: int, max_seq_len: int, val_fraction: float) -> bool:
    """Return whether a text of that many characters is short enough for `require_size` to be worth asking beforehand."""
    train, val = (max_seq_len + 1) / (1 - val_fraction), MIN_VAL_TOKENS / val_fraction
    return characters < MOST_CHARACTERS_PER_TOKEN * max(train, val)


class Sequences:
    """The training sequences of `length` + 1 tokens in an endless, reproducible order.

    An epoch shifts the cut by a random offset and visits every sequence once in random order. With `weights` for books of `lengths`,
    it visits the sequences of each book as often as its weight says, a random part of them where that is no whole number.
    """

    def __init__(
        self, tokens: Tensor, length: int, seed: int, lengths: Sequence[int] = (), weights: Sequence[float] = ()
    ) -> None:
        self._tokens, self._length, self._seed = tokens, length, seed
        self._books = list(_weighted(tokens, length, lengths, weights))
        self.per_epoch = max(1, sum(book.visits for book in self._books))
        self._epoch: int | None = None
        self._starts = torch.empty(0, dtype=torch.long)

    def batch(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (count, length) of `count` sequences from number `first` on."""
        rows = torch.stack([self._sequence(number) for number in range(first, first + count)]).long()
        return rows[:, :-1], rows[:, 1:]

    def _sequence(self, number: int) -> Tensor:
        epoch, index = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._enter(epoch)
        start = int(self._starts[index])
        return self._tokens[start : start + self._length + 1]

    def _enter(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed((self._seed << 24) ^ epoch)
        starts = torch.cat([pass_ for book in self._books for pass_ in book.passes(self._length, generator)])
        self._starts = starts if len(self._books) == 1 else starts[torch.randperm(len(starts), generator=generator)]
        self._epoch = epoch


@dataclass(frozen=True)
class _Stretch:
    """The ids from `start` on that are read `visits` / `sequences` times in an epoch."""

    start: int
    size: int
    sequences: int
    visits: int

    def passes(self, length: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield where the sequences of each pass begin, in random order."""
        for first in range(0, self.visits, self.sequences):
            spare = self.size - 1 - self.sequences * length
            offset = int(torch.randint(max(0, min(spare, length)) + 1, (), generator=generator))
            order = torch.randperm(self.sequences, generator=generator)[: self.visits - first]
            yield self.start + order * length + offset


def _weighted(tokens: Tensor, length: int, lengths: Sequence[int], weights: Sequence[float]) -> Iterator[_Stretch]:
    """Yield each book with its weight, or all of them as one where they weigh the same."""
    if len(set(weights)) < 2:
        sequences = max(1, (len(tokens) - 1) // length - 1)
        yield _Stretch(0, len(tokens), sequences, sequences)
        return
    start = 0
    for size, weight in zip(lengths, weights, strict=True):
        sequences = max(1, (size - 1) // length - 1)
        first = max(0, min(start, len(tokens) - length - 1))  # a short book is read with what stands around it
        yield _Stretch(first, size, sequences, max(1, round(weight * sequences)))
        start += size


def evaluation_batches(tokens: Tensor, length: int, batch_size: int, most_tokens: int) -> list[tuple[Tensor, Tensor]]:
    """Cut held-out tokens into (inputs, targets) batches, each (rows, length), always the same ones.

    If there are more than `most_tokens`, evenly spread rows are taken. Targets are -100 beyond the end of a shorter row.
    """
    starts = list(range(0, len(tokens) - 1, length))
    wanted = max(1, most_tokens // length)
    if len(starts) > wanted:
        starts = [starts[round(i * (len(starts) - 1) / max(1, wanted - 1))] for i in range(wanted)]
    inputs = torch.zeros((len(starts), length), dtype=torch.long)
    targets = torch.full((len(starts), length), -100, dtype=torch.long)
    for row, start in enumerate(starts):
        piece = tokens[start : start + length + 1].long()
        inputs[row, : len(piece) - 1], targets[row, : len(piece) - 1] = piece[:-1], piece[1:]
    return list(zip(inputs.split(batch_size), targets.split(batch_size), strict=True))
