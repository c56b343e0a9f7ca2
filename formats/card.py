"""The model card, README.md of a model's folder: what the model is, what it read, how well it does, how to load it.

Particular: it is honest about a model trained from scratch on a few books, and its Python lines are run by a test. It
is advisory: what counts stands in azr.json and in the metadata of model.safetensors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from config import ModelConfig
from model import count_parameters
from tokenizer import END_OF_TEXT

_TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A language model of {parameters:,} parameters, trained from scratch with the AZR Model Trainer on the books below and on
nothing else: next-token prediction, and self-play where it was switched on. No other model's weights or texts went in.

| | |
|---|---|
| architecture | {architecture} |
| vocab_size | {vocab_size} ({tokenizer_size}) |
| d_model / num_layers / num_heads / d_ff | {d_model} / {num_layers} / {num_heads} / {d_ff} |
| max_seq_len | {max_seq_len} tokens |
{results}

## Books

{books}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = tokenizer("{end_of_text}" + "Your text", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt)[0], skip_special_tokens=True))
```

In training every book followed a `{end_of_text}`; a prompt does best after one as well. Weights are float32.

## Limits

It continues text in the manner of its books. It knows no facts beyond them, follows no instructions, and may write
passages of the books word for word, so the books' rights concern its output too. The figures above were measured on
held-out ends of the same books; they say nothing about other text. bits_per_byte compares across tokenizers, val_loss
does not.
"""


@dataclass(frozen=True)
class Results:
    """What a training has come to. None is "not measured"."""

    iteration: int
    val_loss: float | None
    bits_per_byte: float | None
    books: tuple[str, ...]


def card(name: str, config: ModelConfig, tokenizer_size: int | None, results: Results | None) -> str:
    """README.md as text; `results` None for a model that was never trained."""
    books = "\n".join(f"- {_plain(book)}" for book in results.books) if results else "None yet: its weights are random."
    return _TEMPLATE.format(
        name=_plain(name),
        parameters=count_parameters(config),
        tokenizer_size="no tokenizer yet" if tokenizer_size is None else f"{tokenizer_size} in use",
        results=_results(results),
        books=books,
        end_of_text=END_OF_TEXT,
        **config.model_dump(exclude={"vocab_size"}),
        vocab_size=config.vocab_size,
    )


def _results(results: Results | None) -> str:
    if results is None:
        return "| trained | not yet |"
    rows = [f"| iterations | {results.iteration} |"]
    rows += [] if results.val_loss is None else [f"| val_loss | {results.val_loss:.4f} nats per token |"]
    rows += [] if results.bits_per_byte is None else [f"| bits_per_byte | {results.bits_per_byte:.4f} |"]
    return "\n".join(rows)


def _plain(text: str) -> str:
    """A person's words on one line of Markdown, with nothing in them taken for markup.

    >>> _plain("War_and_[Peace]")
    'War\\\\_and\\\\_\\\\[Peace\\\\]'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", " ".join(text.split()))
