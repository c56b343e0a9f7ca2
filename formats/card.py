"""Write the model card, README.md of a model's folder: what the model is, what it read, how well it does, how to load it.

The card is honest about a model trained from scratch on a few books, and a test runs its Python lines. It is for reading
only: the program uses azr.json and the metadata of model.safetensors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from config import ModelConfig
from formats.lineage import Lineage, TrainingSummary, books_of
from model import count_parameters
from tokenizer import END_OF_TEXT

_TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A language model of {parameters:,} parameters, {origin}

| | |
|---|---|
| architecture | {architecture} |
| vocab_size | {vocab_size} ({tokenizer_size}) |
| d_model / num_layers / num_heads / d_ff | {d_model} / {num_layers} / {num_heads} / {d_ff} |
| max_seq_len | {max_seq_len} tokens |
{results}

## Books

{books}

## Trainings

{trainings}

## Checked

{checked}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = tokenizer("{end_of_text}" + "Your text", split_special_tokens=False, return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt)[0], skip_special_tokens=True))
```

In training every book followed a `{end_of_text}`; a prompt does best after one as well. Inside the books the same characters
were read as ordinary text, so the tokenizer does not treat them as the end mark unless it is asked to
(`split_special_tokens=False`). Weights are float32.

## Limits

It continues text in the manner of its books. It knows no facts beyond them, follows no instructions, and may write
passages of the books word for word, so the books' rights concern its output too. The figures above were measured on
held-out parts of the books of each training; they say nothing about other text, and later trainings may have worn down
what earlier books had taught. bits_per_byte compares across tokenizers, val_loss
does not.
"""


@dataclass(frozen=True)
class Checked:
    """What the test of one export found."""

    export: str
    passed: bool
    difference: float | None  # the largest between a weight and its copy in the file; None where it could not be read
    tokens_equal: int
    tokens: int | None  # None where no other program could read them
    text: bool | None  # None where no other program wrote one


_MADE_HERE = """\
trained from scratch with the AZR Model Trainer on the books below and on
nothing else: next-token prediction, and self-play where it was switched on. No other model's weights or texts went in."""
_MADE_ELSEWHERE = """\
made elsewhere and imported into the AZR Model Trainer. What it read before is not known here;
the books below came afterwards."""


def card(
    name: str,
    config: ModelConfig,
    tokenizer_size: int | None,
    lineage: Lineage,
    checked: tuple[Checked, ...] = (),
) -> str:
    """Return README.md as text; the lineage of a model that was never trained is empty."""
    return _TEMPLATE.format(
        name=_plain(name),
        parameters=count_parameters(config),
        origin=_MADE_ELSEWHERE if lineage and lineage[0].is_arrival else _MADE_HERE,
        tokenizer_size="no tokenizer yet" if tokenizer_size is None else f"{tokenizer_size} in use",
        results=_results(lineage),
        books="\n".join(f"- {_plain(book)}" for book in books_of(lineage)) or _no_books(lineage),
        trainings=_trainings(lineage),
        checked=_checked(checked),
        end_of_text=END_OF_TEXT,
        **config.model_dump(exclude={"vocab_size"}),
        vocab_size=config.vocab_size,
    )


def _no_books(lineage: Lineage) -> str:
    return "None here." if lineage else "None yet: its weights are random."


def _results(lineage: Lineage) -> str:
    if not lineage:
        return "| trained | not yet |"
    last = lineage[-1]
    rows = [f"| iterations | {last.iteration} |"]
    rows += [] if last.val_loss is None else [f"| val_loss | {last.val_loss:.4f} nats per token |"]
    rows += [] if last.bits_per_byte is None else [f"| bits_per_byte | {last.bits_per_byte:.4f} |"]
    return "\n".join(rows)


def _trainings(lineage: Lineage) -> str:
    """Return a table with a row for each training, the first one first."""
    if not lineage:
        return "None yet."
    head = ["| | books | iterations | val_loss | bits_per_byte | last published |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [_row(number, training) for number, training in enumerate(lineage, 1)])


def _checked(found: tuple[Checked, ...]) -> str:
    """Return a table of the exports that were tested, with what was compared."""
    if not found:
        return "No export of these weights was tested yet."
    head = [
        "Each export is read back and compared before it is offered: its weights, the tokens of a book, a greedy text.",
        "",
        "| export | passed | largest difference of a weight | tokens equal | greedy text by llama.cpp |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(head + [_checked_row(each) for each in found])


def _checked_row(each: Checked) -> str:
    tokens = "not compared" if each.tokens is None else f"{each.tokens_equal} of {each.tokens}"
    difference = "not readable" if each.difference is None else f"{each.difference:.2g}"
    text = {True: "as ours", False: "differs", None: "not compared"}[each.text]
    return f"| {each.export} | {'yes' if each.passed else 'NO'} | {difference} | {tokens} | {text} |"


def _row(number: int, training: TrainingSummary) -> str:
    books = "not known: imported" if training.is_arrival else ", ".join(_plain(book) for book in training.books)
    figures = ("–" if figure is None else f"{figure:.4f}" for figure in (training.val_loss, training.bits_per_byte))
    cells = (
        str(number),
        books,
        "–" if training.is_arrival else f"{training.from_iteration + 1}–{training.iteration}",
        *figures,
        training.trained_at[:10],
    )
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return a person's text on one line, escaped for Markdown.

    >>> _plain("War_and_[Peace]")
    'War\\\\_and\\\\_\\\\[Peace\\\\]'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", " ".join(text.split()))
