"""Read tokenizers made elsewhere into ours: a tokenizer.json, or the lists of a GGUF file.

Only what our tokenizer can hold without a difference is taken: byte-level BPE with the Llama-3 pattern and `<|endoftext|>` as its one
special token. It is built anew from its tokens and merges, so nothing else in the file has an effect. Everything else is refused with
what stands in the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from errors import ModelRefused
from tokenizer import END_OF_TEXT, SPLIT_PATTERN, Tokenizer

PRE_TOKENIZER = "pre_tokenizer"
_OFF = (None, "", False, 0)
_BPE_SETTINGS = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")


def read_tokenizer_json(text: str) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json. Raises ModelRefused with the part that our tokenizer cannot hold."""
    try:
        values = json.loads(text)
        model = values["model"]
        if model.get("type", "BPE") != "BPE":
            raise _refused(f"model.type = {model.get('type')}")
        _require_ours(values, model)
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        return _built(_with_added(model["vocab"], values.get("added_tokens") or []), merges)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ModelRefused):
            raise
        raise _refused("tokenizer.json") from error


def tokenizer_of_lists(tokens: list[str], merges: list[str]) -> Tokenizer:
    """Return the tokenizer of a GGUF file's lists. Raises ModelRefused."""
    numbered = {token: number for number, token in enumerate(tokens)}
    if len(numbered) != len(tokens):
        raise _refused("tokenizer.ggml.tokens")
    return _built(numbered, [tuple(merge.split(" ")) for merge in merges])


def _require_ours(values: dict[str, Any], model: dict[str, Any]) -> None:
    if values.get("normalizer") is not None:
        raise _refused("normalizer")
    if not _splits_like_ours(values.get(PRE_TOKENIZER)):
        raise _refused(PRE_TOKENIZER)
    for setting in _BPE_SETTINGS:
        if model.get(setting) not in _OFF:
            raise _refused(f"model.{setting}")


def _splits_like_ours(splitter: Any) -> bool:
    """Tell whether a pre_tokenizer is the Llama-3 pattern followed by bytes."""
    steps = splitter["pretokenizers"] if splitter and splitter.get("type") == "Sequence" else []
    if [step.get("type") for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, to_bytes = steps
    pattern = {"pattern": split.get("pattern"), "behavior": split.get("behavior"), "invert": split.get("invert", False)}
    plain = not to_bytes.get("add_prefix_space", True) and not to_bytes.get("use_regex", True)
    return plain and pattern == {"pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Isolated", "invert": False}


def _with_added(tokens: dict[str, int], added: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = dict(tokens)
    for token in added:
        if token["content"] != END_OF_TEXT:
            raise _refused(f"added_tokens: {str(token['content'])[:40]}")
        found[END_OF_TEXT] = token["id"]
    return found


def _built(tokens: dict[str, int], merges: list[Any]) -> Tokenizer:
    if END_OF_TEXT not in tokens:
        raise _refused(f"{END_OF_TEXT}: –")
    if any(len(merge) != 2 or not all(isinstance(part, str) for part in merge) for merge in merges):
        raise _refused("merges")
    if any(not isinstance(token, str) or type(number) is not int for token, number in tokens.items()):
        raise _refused("vocab")
    try:
        return Tokenizer.of(tokens, merges)
    except Exception as error:  # the library raises plain Exception
        raise _refused("vocab, merges") from error


def _refused(found: str) -> ModelRefused:
    return ModelRefused(field="file", reason="tokenizer", found=found)
