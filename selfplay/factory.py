"""Create the environment of self-play that `config.environment` names.

Not here: what an environment is (environment.py) and does (text.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config import ModelConfig, SelfPlayConfig
from selfplay.environment import Environment
from selfplay.loops import Gram
from selfplay.text import BOOK_PREFIX_TOKENS, Decode, Encode, TextEnvironment
from tokenizer import Characters


def rollout_tokens(config: SelfPlayConfig, model: ModelConfig) -> int:
    """Return the most tokens of a rollout: `max_new_tokens`, but at most three quarters of the model's window.

    The rest is for the prompt.
    """
    return min(config.max_new_tokens, model.max_seq_len * 3 // 4)


def repetition_window(config: SelfPlayConfig, model: ModelConfig) -> int:
    """Return how many tokens of a book are compared with a rollout: a prompt out of the book and the rollout itself."""
    return BOOK_PREFIX_TOKENS + rollout_tokens(config, model)


def make_environment(
    config: SelfPlayConfig,
    model: ModelConfig,
    book_texts: Sequence[Characters],
    repeated: Mapping[Gram, int],
    encode: Encode,
    decode: Decode,
    seed: int,
) -> Environment:
    """Return the environment that `config.environment` names, for a model of this shape.

    `book_texts` are the training parts of the books, `repeated` what they repeat within `repetition_window` tokens
    (corpus/repetition.py); `encode` and `decode` are the model's tokenizer.
    """
    tokens = rollout_tokens(config, model)
    config = config.model_copy(update={"max_new_tokens": tokens})
    match config.environment:
        case "text":
            return TextEnvironment(
                book_texts,
                repeated,
                config.prompts,
                config,
                encode,
                decode,
                seed,
                max_prompt_tokens=model.max_seq_len - tokens,
            )
