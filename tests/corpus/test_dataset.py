"""Held-out text that training never sees, an order that depends on nothing but the seed, and every token counted once."""

from __future__ import annotations

import itertools

import pytest
import torch

from corpus.dataset import Sequences, TokenDataset, evaluation_batches, require_size, split, tokenize, tokens_of_reading
from errors import BookTooSmall
from events import StageBegun
from tests.training_kit import TEXT, finish
from tokenizer import PIECE, Tokenizer

LENGTH = 8
TOKENS = torch.arange(8 * 20 + 5, dtype=torch.int32)  # each token is its own place


def _order(sequences: Sequences, first: int, count: int) -> list[int]:
    return sequences.batch(first, count)[0][:, 0].tolist()


# ---- weights of books -------------------------------------------------------------------------------------------------


def _visits(weights: tuple[float, ...], epoch: int = 0) -> list[int]:
    """How often an epoch visits each of two books, of 80 and 85 tokens."""
    sequences = Sequences(TOKENS, LENGTH, 0, (80, 85), weights)
    starts = _order(sequences, epoch * sequences.per_epoch, sequences.per_epoch)
    return [sum(start < 80 for start in starts), sum(start >= 80 for start in starts)]


def test_book_of_weight_two_is_read_twice_as_often() -> None:
    assert _visits((1.0, 2.0)) == [8, 18]


def test_weight_that_is_no_whole_number_reads_a_random_part() -> None:
    assert _visits((0.5, 1.0)) == [4, 9]
    assert _visits((0.5, 1.0), epoch=3) == [4, 9]
    sequences = Sequences(TOKENS, LENGTH, 0, (80, 85), (0.5, 1.0))
    orders = [_order(sequences, epoch * sequences.per_epoch, sequences.per_epoch) for epoch in range(4)]
    assert len({start for order in orders for start in order if start < 80}) > 4  # another part each time


def test_equal_weights_change_nothing() -> None:
    plain, weighted = Sequences(TOKENS, LENGTH, 0), Sequences(TOKENS, LENGTH, 0, (80, 85), (3.0, 3.0))
    assert _order(plain, 0, 60) == _order(weighted, 0, 60)


@pytest.mark.parametrize(("weights", "tokens"), [((), 165), ((3.0, 3.0), 165), ((1.0, 2.0), 250), ((0.5, 1.0), 125)])
def test_reading_has_as_many_tokens_as_the_weights_say(weights: tuple[float, ...], tokens: int) -> None:
    assert tokens_of_reading(TokenDataset(TOKENS, TOKENS, 0, "", (80, 85)), weights) == tokens


def test_weighted_order_is_the_same_from_any_point() -> None:
    whole = _order(Sequences(TOKENS, LENGTH, 0, (80, 85), (1.0, 2.0)), 0, 60)
    assert _order(Sequences(TOKENS, LENGTH, 0, (80, 85), (1.0, 2.0)), 37, 10) == whole[37:47]


def test_book_shorter_than_a_sequence_is_read_with_its_neighbours() -> None:
    sequences = Sequences(TOKENS, 30, 0, (160, 5), (1.0, 4.0))
    starts = _order(sequences, 0, sequences.per_epoch)
    assert sum(start == len(TOKENS) - 31 for start in starts) == 4


# ---- the split -------------------------------------------------------------------------------------------------------


def test_split_of_a_short_book_holds_out_its_end() -> None:
    book = split("а" * 900 + "б" * 100, 0.1)
    assert (book.train, book.val) == ("а" * 900, "б" * 100)


def test_split_moves_back_to_the_line_end_before_the_cut() -> None:
    book = split("а" * 879 + "\n" + "б" * 120, 0.1)
    assert (book.train, book.val) == ("а" * 879 + "\n", "б" * 120)


def test_split_of_a_book_with_a_title_and_one_long_paragraph_trains_on_the_paragraph() -> None:
    book = split("Глава первая\n" + "а" * 1987, 0.1)
    assert len(book.train) == 1800


def _book(lines: int) -> str:
    return "".join(f"Строка {number} этой книги о море.\n" for number in range(lines))


@pytest.mark.parametrize(("lines", "places"), [(60, 1), (120, 2), (220, 4), (2000, 8), (20_000, 8)])
def test_split_holds_out_places_spread_over_a_long_book(lines: int, places: int) -> None:
    text = _book(lines)
    book = split(text, 0.1)
    train, val = book.train.splitlines(), book.val.splitlines()
    assert sorted(train + val) == sorted(text.splitlines())  # none lost, none in both
    numbers = [int(line.split()[1]) for line in val]
    assert numbers == sorted(numbers)
    assert sum(b - a > 1 for a, b in itertools.pairwise(numbers)) + 1 == places
    assert 0.07 * len(text) < len(book.val) < 0.15 * len(text)
    if places > 1:
        assert max(b - a for a, b in itertools.pairwise([0, *numbers, lines])) < 1.1 * lines / places


def test_split_of_a_book_with_a_licence_at_its_end_holds_out_the_book_too() -> None:
    """The last tenth is another text: it is a part of what is held out, not all of it."""
    prose = "".join(f"Le vieux pêcheur numéro {number} sortit en mer.\n" for number in range(120))
    licence = "".join(f"Section {number}. The terms of this licence apply.\n" for number in range(24))
    val = split(prose + licence, 0.1).val.splitlines()
    share = sum("licence" in line for line in val) / len(val)
    assert 0 < share < 0.4


def test_split_depends_on_the_text_and_the_fraction_alone() -> None:
    assert split(_book(500), 0.1) == split(_book(500), 0.1)
    assert len(split(_book(500), 0.3).val) > 2 * len(split(_book(500), 0.1).val)


def test_split_keeps_held_out_text_out_of_training_and_tokenizer_alike(tokenizer: Tokenizer) -> None:
    """A book whose end is in another script: not one of its tokens stands in the training part."""
    book = split("мама мыла раму " * 60 + "ΑΒΓΔΕ" * 20, 0.1)
    data = finish(tokenize([book], tokenizer))
    own = set(data.val.tolist()) - {tokenizer.end_of_text}
    greek = {t for t in own if tokenizer.token_bytes(t)[:1] in (b"\xce", b"\xcf")}
    assert greek
    assert not greek & set(data.train.tolist())


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_of_each_book_end_with_end_of_text(tokenizer: Tokenizer) -> None:
    data = finish(tokenize([split("мама мыла раму\n" * 10, 0.2), split("рама мыла маму\n" * 10, 0.2)], tokenizer))
    assert data.train.tolist().count(tokenizer.end_of_text) == 2
    assert data.val.tolist().count(tokenizer.end_of_text) == 2
    assert data.val_bytes == len(("мама мыла раму\n" * 2 + "рама мыла маму\n" * 2).encode())


def test_tokenizing_tells_how_far_it_is(tokenizer: Tokenizer) -> None:
    told = list(tokenize([split(TEXT, 0.1)], tokenizer))
    assert all(isinstance(event, StageBegun) for event in told)
    assert (told[0].done, told[-1].done, told[-1].total) == (0, len(TEXT), len(TEXT))


def test_tokenizing_one_long_book_tells_each_piece(tokenizer: Tokenizer) -> None:
    book = split("Мама мыла раму.\n" * (4 * PIECE // 16), 0.1)
    told = [event.done for event in tokenize([book], tokenizer)]
    assert len(told) == len(set(told)) > 4
    assert told == sorted(told)


def test_fingerprint_changes_with_the_books_and_with_the_split(tokenizer: Tokenizer, dataset: TokenDataset) -> None:
    again = finish(tokenize([split(TEXT, 0.1)], tokenizer))
    other_split = finish(tokenize([split(TEXT, 0.2)], tokenizer))
    other_text = finish(tokenize([split(TEXT + "И всё.", 0.1)], tokenizer))
    assert again.fingerprint == dataset.fingerprint
    assert len({dataset.fingerprint, other_split.fingerprint, other_text.fingerprint}) == 3


@pytest.mark.parametrize(("train", "val", "fits"), [(33, 16, True), (32, 16, False), (33, 15, False)])
def test_size_of_one_sequence_and_sixteen_held_out_tokens_is_the_least(train: int, val: int, fits: bool) -> None:
    data = TokenDataset(torch.zeros(train, dtype=torch.int32), torch.zeros(val, dtype=torch.int32), 1, "")
    if fits:
        require_size(data, 32)
        assert Sequences(data.train, 32, 0).batch(0, 3)[0].shape == (3, 32)
        return
    with pytest.raises(BookTooSmall) as error:
        require_size(data, 32)
    assert error.value.field == "books"


# ---- the order -------------------------------------------------------------------------------------------------------


def test_targets_are_the_inputs_one_later() -> None:
    inputs, targets = Sequences(TOKENS, LENGTH, 0).batch(0, 5)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)  # tokens are their own places
    assert not torch.equal(targets, inputs)


def test_epoch_visits_each_of_its_sequences_once() -> None:
    sequences = Sequences(TOKENS, LENGTH, 0)
    for epoch in range(5):
        starts = sorted(_order(sequences, epoch * sequences.per_epoch, sequences.per_epoch))
        assert [b - a for a, b in itertools.pairwise(starts)] == [LENGTH] * (sequences.per_epoch - 1)
        assert 0 <= starts[0] <= LENGTH
    across = _order(sequences, 5, sequences.per_epoch)  # the control: from the middle of one into the next
    assert len({start % LENGTH for start in across}) == 2 or len(set(across)) < len(across)


def test_epochs_shift_the_cut() -> None:
    sequences = Sequences(TOKENS, LENGTH, 0)
    offsets = {_order(sequences, epoch * sequences.per_epoch, 1)[0] % LENGTH for epoch in range(12)}
    assert len(offsets) > 3


@pytest.mark.parametrize("size", range(LENGTH + 1, 4 * LENGTH + 2))
def test_sequences_of_every_small_size_stay_inside(size: int) -> None:
    for seed in range(5):
        inputs, targets = Sequences(TOKENS[:size], LENGTH, seed).batch(0, 6)
        assert inputs.shape == targets.shape == (6, LENGTH)
        assert int(targets.max()) < size


def test_order_depends_on_the_seed_alone() -> None:
    first, again, other = (_order(Sequences(TOKENS, LENGTH, seed), 0, 60) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_order_does_not_depend_on_how_it_is_grouped_or_where_one_begins() -> None:
    whole = _order(Sequences(TOKENS, LENGTH, 0), 0, 60)
    pieces = Sequences(TOKENS, LENGTH, 0)
    assert [start for first in range(0, 60, 4) for start in _order(pieces, first, 4)] == whole
    assert _order(Sequences(TOKENS, LENGTH, 0), 37, 10) == whole[37:47]
    assert _order(Sequences(TOKENS, LENGTH, 0), 36, 10) != whole[37:47]


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 8, 9, 10, 16, 17, 100])
def test_evaluation_counts_each_held_out_target_once(size: int) -> None:
    batches = evaluation_batches(torch.arange(size, dtype=torch.int32), LENGTH, 3, 10**6)
    targets = [int(t) for _, ys in batches for t in ys.flatten() if t >= 0]
    assert sorted(targets) == list(range(1, size))
    for xs, ys in batches:
        counted = ys >= 0
        assert torch.equal(ys[counted], xs[counted] + 1)


def test_evaluation_of_a_large_book_is_spread_over_all_of_it() -> None:
    batches = evaluation_batches(torch.arange(10_000, dtype=torch.int32), LENGTH, 4, 80)
    starts = [int(row[0]) for xs, _ in batches for row in xs]
    assert len(starts) == 10
    assert (starts[0], starts[-1]) == (0, 9992)
    assert max(b - a for a, b in itertools.pairwise(starts)) < 1200
