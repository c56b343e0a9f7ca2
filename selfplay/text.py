"""Self-play on the person's books: the model continues prompts and passages of the book, and is rewarded for being as varied as
the book and for length without loops (`rewards.py`). Its faults are the tokens with which it loops (`loops.py`).

Particular: book prefixes are drawn once into a pool, so a training keeps no book in memory. If the person gave prompts, they are
half of all. Passages of the book are scored in the same way once, so that people see what the book itself earns.
Measurements on the book depend on `seed` alone.

Not covered: meaning. Words in an impossible order score like prose; only learning from the book keeps them in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from config import SelfPlayConfig
from selfplay import rewards
from selfplay.book import BookGrams, excerpts, measure_bands
from selfplay.environment import Band, Prompt, Score
from selfplay.loops import Gram, loop_places
from tokenizer import Characters

BOOK_PREFIX_TOKENS = 24
POOL_SIZE = 8192  # book prefixes
POOL_CHARACTERS = 300  # in each; more than 24 tokens in all common scripts
OWN_PROMPT_SHARE = 0.5
SCORED_PASSAGES = 64  # of the book, for its own band
CHARACTERS_PER_TOKEN = 8  # in prose at most
BAND = (0.1, 0.9)  # its ends: a tenth of the passages lies outside on either side

Encode = Callable[[str], list[int]]
Decode = Callable[[list[int]], str]


class TextEnvironment:
    """Proposes prompts from `book_texts`, the training parts of the books, and scores their continuations.

    `max_prompt_tokens` is the model's window minus the new tokens.
    """

    def __init__(
        self,
        book_texts: Sequence[Characters],
        repeated: Mapping[Gram, int],
        prompts: Sequence[str],
        config: SelfPlayConfig,
        encode: Encode,
        decode: Decode,
        seed: int,
        *,
        max_prompt_tokens: int = BOOK_PREFIX_TOKENS,
    ) -> None:
        rng, texts = random.Random(seed), [text for text in book_texts if text]
        assert texts, "self-play needs a book"
        assert max_prompt_tokens > 0, "the window must leave room for a prompt"
        self._config, self._encode, self._decode = config, encode, decode
        self._repeated = repeated
        self._max_prompt_tokens = max_prompt_tokens
        self._own = [self._own_prompt(text) for text in prompts]
        # As bytes, because a string that a tokenizer has read keeps a second copy of itself in UTF-8.
        self._pool = [piece.encode() for piece in excerpts(texts, POOL_CHARACTERS, POOL_SIZE, rng)]
        self._bands = measure_bands(texts, config.max_new_tokens, rng)
        self._grams = BookGrams(texts, rng)
        self._book = self._measured(texts, rng)

    @property
    def book(self) -> Mapping[str, Band]:
        return self._book

    def propose(self, rng: random.Random) -> Prompt:
        if self._own and rng.random() < OWN_PROMPT_SHARE:
            return rng.choice(self._own)
        tokens = self._encode(rng.choice(self._pool).decode())[: min(BOOK_PREFIX_TOKENS, self._max_prompt_tokens)]
        return Prompt(self._shown(tokens), tuple(tokens))

    def score(self, prompt: Prompt, completion_tokens: Sequence[int], finished: bool) -> Score:
        tokens = list(completion_tokens[:-1] if finished else completion_tokens)
        text = self._decode(tokens)
        diversity = self._diversity(text)
        length = rewards.length_score(tokens, self._config.max_new_tokens)
        start = len(prompt.tokens)
        places = loop_places([*prompt.tokens, *tokens], start, self._repeated)
        return Score(
            reward=rewards.reward(diversity, length, self._config.diversity_weight, self._config.length_weight),
            breakdown={"diversity": diversity, "length": length},
            faults=tuple(place - start for place in places),
            repeats=tuple(place - start for place in places.values()),
            copied=self._grams.copied(text),
            copies=self._grams.copies(text),
        )

    def _measured(self, texts: Sequence[Characters], rng: random.Random) -> dict[str, Band]:
        """Score passages of the book as if the model had written them; empty if the book has none that is long enough."""
        longest = self._config.max_new_tokens
        characters = (BOOK_PREFIX_TOKENS + longest) * CHARACTERS_PER_TOKEN
        passages = (self._encode(text) for text in excerpts(texts, characters, SCORED_PASSAGES, rng))
        figures: dict[str, list[float]] = {}
        for tokens in passages:
            completion = tokens[BOOK_PREFIX_TOKENS : BOOK_PREFIX_TOKENS + longest]
            if len(completion) == longest:
                score = self.score(Prompt("", tuple(tokens[:BOOK_PREFIX_TOKENS])), completion, finished=False)
                parts = {"reward": score.reward, "looped": len(score.faults) / longest, **score.breakdown}
                for name, value in parts.items():
                    figures.setdefault(name, []).append(value)
        return {name: _band(values) for name, values in figures.items()}

    def _diversity(self, text: str) -> float:
        found = rewards.words(text)
        return rewards.diversity_score(rewards.variety(found), *self._bands.at(len(found))) if found else 0.0

    def _own_prompt(self, text: str) -> Prompt:
        """Return the person's prompt; of one that is too long only the end is kept."""
        tokens = self._encode(text)
        if len(tokens) <= self._max_prompt_tokens:
            return Prompt(text, tuple(tokens))
        kept = tokens[-self._max_prompt_tokens :]
        return Prompt(self._shown(kept), tuple(kept))

    def _shown(self, tokens: list[int]) -> str:
        """Return the text of tokens without incomplete characters at its ends."""
        return self._decode(tokens).strip("\ufffd")


def _band(values: list[float]) -> Band:
    """Return the values at the ends of BAND and the mean between them."""
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in BAND)
    return low, sum(values) / len(values), high
