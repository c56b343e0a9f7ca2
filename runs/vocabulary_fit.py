"""Check whether a model's vocabulary, fitted on its first books, suits other books.

A token should cover about as many bytes of the new books as of the first ones. If it covers far fewer, as after a change of
language, the model spells words out: it learns slowly and its window holds little text.
"""

from __future__ import annotations

from collections.abc import Sequence

from corpus import library
from errors import BookNotFound
from tokenizer import Characters, Tokenizer
from workspace import Workspace

SAMPLE_CHARACTERS = 20_000  # of each book
LEAST_SHARE = 0.5  # of the bytes per token in the first books


def misfit(
    workspace: Workspace, tokenizer: Tokenizer, first_books: Sequence[str], texts: Sequence[Characters]
) -> dict[str, str | int | float] | None:
    """Return the bytes per token of `texts` and of the first books if the vocabulary hardly fits `texts`, else None.

    Also returns None if all of the first books were deleted.
    """
    known = bytes_per_token(tokenizer, _texts_there(workspace, first_books))
    now = bytes_per_token(tokenizer, texts)
    if known is None or now is None or now >= LEAST_SHARE * known:
        return None
    return {"bytes_per_token": round(now, 1), "first": round(known, 1)}


def bytes_per_token(tokenizer: Tokenizer, texts: Sequence[Characters]) -> float | None:
    """Return the mean bytes per token in the beginnings of `texts`, or None if they are empty."""
    samples = [text[:SAMPLE_CHARACTERS] for text in texts]
    tokens = sum(len(tokenizer.encode(sample)) for sample in samples)
    return sum(len(sample.encode()) for sample in samples) / tokens if tokens else None


def _texts_there(workspace: Workspace, books: Sequence[str]) -> list[Characters]:
    texts: list[Characters] = []
    for book in books:
        try:
            texts.append(library.open_text(workspace, book))
        except BookNotFound:
            continue
    return texts
