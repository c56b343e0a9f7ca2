"""Self-play on the person's books: the model continues prompts and passages of the book, and is rewarded for being as varied as
the book and for length without loops (`rewards.py`).

Particular: book prefixes are drawn once into a pool, so a training keeps no book in memory. If the person gave prompts, they are
half of all. Measurements on the book depend on `seed` alone.

Not covered: meaning. Words in an impossible order score like prose; only the KL penalty prevents it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from config import SelfPlayConfig
from selfplay import rewards
from selfplay.book import BookGrams, excerpts, measure_bands
from selfplay.environment import Prompt, Score

BOOK_PREFIX_TOKENS = 24
POOL_SIZE = 8192  # book prefixes
POOL_CHARACTERS = 300  # in each; more than 24 tokens in all common scripts
OWN_PROMPT_SHARE = 0.5

Encode = Callable[[str], list[int]]
Decode = Callable[[list[int]], str]


class TextEnvironment:
    """Proposes prompts from `book_texts`, the training parts of the books, and scores their continuations.

    `max_prompt_tokens` is the model's window minus the new tokens.
    """

    def __init__(
        self,
        book_texts: Sequence[str],
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
        self._max_prompt_tokens = max_prompt_tokens
        self._own = [self._own_prompt(text) for text in prompts]
        # As bytes, because a string that a tokenizer has read keeps a second copy of itself in UTF-8.
        self._pool = [piece.encode() for piece in excerpts(texts, POOL_CHARACTERS, POOL_SIZE, rng)]
        self._bands = measure_bands(texts, config.max_new_tokens, rng)
        self._grams = BookGrams(texts, rng)

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
        return Score(
            reward=rewards.reward(diversity, length, self._config.diversity_weight, self._config.length_weight),
            breakdown={"diversity": diversity, "length": length},
            copied=self._grams.copied(text),
            copied_in_book=self._grams.repeated,
        )

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
