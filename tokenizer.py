"""Byte-level BPE, fitted on the person's books: text <-> token ids.

Particular: the text is first split by the Llama-3 pattern and then mapped to bytes, so every text has tokens and no character
is ever unknown. Other programs know this combination by name and give the same tokens; some of them silently replace a GPT-2
pattern. Id 0 is `<|endoftext|>`. A small book may yield fewer tokens than `vocab_size`.

    >>> tokenizer = Tokenizer.fit(["мама мыла раму"], vocab_size=300)
    >>> tokenizer.decode(tokenizer.encode("мама"))
    'мама'

Not here: files. A tokenizer is stored by `to_json` and `from_json`; `workspace` writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Protocol

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"

# Llama-3's pattern: contractions, words with at most one leading mark, up to three digits, punctuation, line ends, blanks.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

PIECE = 50_000  # characters
PIECES_AT_ONCE = 16  # for all cores
CHUNKS_AT_ONCE = 400  # new chunks that one core encodes together
REMEMBERED = 1_000  # words in the library's cache; its default of 10,000 grows to 10 MB over some hours
REMEMBERED_OF_BOOKS = 1_000_000  # characters of chunks while a book is encoded; about 25 MB

REACH = (
    1_000  # characters in which a cut looks for a place between two tokens; a longer run without one is cut anywhere
)
FITTED_PIECE = 1_000  # characters handed to the library at a time while fitting; its time grows with their square
_FITTED_REACH = 500

# Places that no token of the pattern spans: between a line end and a character that is not white space; between a letter or digit
# and a space, a line end or a common punctuation mark. The pattern has no look-behind, and its only look-ahead is for white space,
# so the text before such a place and the text after it get the same tokens as in the whole.
_AFTER_SEAM = r"[ \n!-/:-@\[-^`{-~\u00ab\u00bb\u2013-\u2026\u3001\u3002\uff01\uff0c]"
_SEAM = re.compile(rf"(?<=\n)(?=\S)|(?<=[^\W_])(?={_AFTER_SEAM})")

# A chunk ends at the first such place behind a letter or digit: "Мама мыла раму." -> "Мама", " мыла", " раму", "."
_CHUNK = re.compile(rf"(?:[\W_]*+[^\W_]++)+?(?={_AFTER_SEAM}|\Z)|[\s\S]+")


class Characters(Protocol):
    """A text that may be too long for memory: a string, or an object whose slices are strings."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> str: ...


class Tokenizer:
    """An immutable pair of encode and decode."""

    def __init__(self, engine: tokenizers.Tokenizer) -> None:
        self._engine = engine
        self._engine.encode_special_tokens = True
        self._engine.model._resize_cache(REMEMBERED)
        self.size: int = engine.get_vocab_size()
        end_of_text = engine.token_to_id(END_OF_TEXT)
        assert end_of_text is not None
        self.end_of_text: int = end_of_text

    @classmethod
    def fit(cls, texts: Iterable[Characters], vocab_size: int) -> Tokenizer:
        """Learn at most `vocab_size` tokens (256 bytes and one special token among them) from texts of any length, in linear time."""
        engine = _engine(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            show_progress=False,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        engine.train_from_iterator(
            (piece for text in texts for piece in cut(text, FITTED_PIECE, _FITTED_REACH)), trainer
        )
        return cls(engine)

    @classmethod
    def of(cls, tokens: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Tokenizer:
        """Return the tokenizer of these tokens and merges. Raises ValueError if they are not whole: 256 bytes, one special token."""
        alphabet = set(pre_tokenizers.ByteLevel.alphabet())
        if not alphabet | {END_OF_TEXT} <= tokens.keys() or sorted(tokens.values()) != list(range(len(tokens))):
            raise ValueError("tokens")
        if any(not set(token) <= alphabet for token in tokens if token != END_OF_TEXT):
            raise ValueError("tokens")
        if any(part not in tokens for left, right in merges for part in (left, right, left + right)):
            raise ValueError("merges")
        engine = _engine(models.BPE(vocab=dict(tokens), merges=list(merges)))
        engine.add_special_tokens([END_OF_TEXT])
        return cls(engine)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Return the tokenizer that `to_json` wrote."""
        return cls(tokenizers.Tokenizer.from_str(text))

    def to_json(self) -> str:
        """Return the tokenizer as the content of a tokenizer.json."""
        return str(self._engine.to_str(pretty=False))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; what looks like a special token is read as ordinary text."""
        pieces = (self._engine.encode(piece, add_special_tokens=False) for piece in cut(text, PIECE))
        return [token for piece in pieces for token in piece.ids]

    def encode_in_pieces(self, text: Characters, characters: int = PIECE) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the pieces of a long text with their ids, computed on all cores; the ids joined equal `encode(text)`."""
        pieces, chunks = cut(text, characters), _Chunks(self._engine)
        while some := list(islice(pieces, PIECES_AT_ONCE)):
            yield from zip(some, chunks.encode(some), strict=True)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD, special tokens are left out."""
        return str(self._engine.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id (b"" for special tokens), for text that grows token by token.

        >>> b"".join(tokenizer.token_bytes(i) for i in tokenizer.encode("мама")).decode()
        'мама'
        """
        piece = self._engine.id_to_token(token)
        if piece is None or piece == END_OF_TEXT:
            return b""
        return bytes(_BYTE_OF[character] for character in piece)


class _Chunks:
    """Encodes the chunks of a text that have not been seen before, and remembers their ids: most chunks of a book are repeated."""

    def __init__(self, engine: tokenizers.Tokenizer) -> None:
        self._engine = engine
        self._known: dict[str, bytes] = {}  # chunk -> its ids
        self._characters = 0  # of all that are known
        tokens = (engine.id_to_token(token) or "" for token in range(engine.get_vocab_size()))
        self._bytes_of_token = np.array([len(token) for token in tokens])  # one character stands for a byte

    def encode(self, pieces: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the ids of each piece."""
        if self._characters > REMEMBERED_OF_BOOKS:
            self._known.clear()
            self._characters = 0
        chunked = [_CHUNK.findall(piece) for piece in pieces]
        for chunk in {chunk for chunks in chunked for chunk in (chunks[0], chunks[-1])} - self._known.keys():
            self._remember([chunk], self._ids([chunk]))
        inner = {chunk for chunks in chunked for chunk in chunks[1:-1]} - self._known.keys()
        if inner:
            self._remember(list(inner), self._ids(list(inner)))
        for chunks in chunked:
            yield np.frombuffer(b"".join(map(self._known.__getitem__, chunks)), np.int32)

    def _ids(self, chunks: list[str]) -> np.ndarray:
        """Return the ids of chunks one after the other. Where they meet is a place between two tokens."""
        texts = ["".join(chunks[first : first + CHUNKS_AT_ONCE]) for first in range(0, len(chunks), CHUNKS_AT_ONCE)]
        encodings = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return np.concatenate([np.array(encoding.ids, np.int32) for encoding in encodings])

    def _remember(self, chunks: list[str], ids: np.ndarray) -> None:
        ends = np.cumsum([len(chunk.encode("utf-8")) for chunk in chunks])
        token_ends = np.cumsum(self._bytes_of_token[ids])
        places = [0, *(ids.itemsize * (np.searchsorted(token_ends, ends) + 1)).tolist()]
        data = ids.tobytes()
        self._known.update(zip(chunks, (data[first:end] for first, end in pairwise(places)), strict=True))
        self._characters += sum(map(len, chunks))


def _engine(model: models.BPE) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    return engine


def cut(text: Characters, characters: int, reach: int = REACH) -> Iterator[str]:
    """Yield a text in pieces of about `characters` characters, cut between two tokens.

    A run without such a place within `reach` characters is cut anywhere, so its tokens depend on the pieces.
    """
    start, size = 0, len(text)
    while start < size:
        stretch = text[start : min(size, start + characters + reach)]
        end = len(stretch)
        if start + characters < size:
            seam = _SEAM.search(stretch, characters)
            end = seam.start() if seam else end
        yield stretch[:end]
        start += end


def _byte_of() -> dict[str, int]:
    """Return the byte of each of GPT-2's stand-in characters: printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _byte_of()
