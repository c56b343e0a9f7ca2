"""What the first page of an empty workspace shows: the example book's title, and samples of a real training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from web.templating import STATIC


@dataclass(frozen=True)
class SampleStep:
    """What the model wrote after `iteration` iterations."""

    iteration: int
    text: str


@dataclass(frozen=True)
class BeforeAfter:
    """Samples of one training, with the book that it read; `python -m benchmarks.before_after` writes them."""

    title: str
    author: str
    prompt: str
    steps: tuple[SampleStep, ...]


@dataclass(frozen=True)
class FirstPage:
    """`example_names` are the books that the program brought; `encodings` are for a book whose encoding could not be found."""

    samples: BeforeAfter | None
    example_title: str
    example_names: tuple[str, ...]
    book_endings: tuple[str, ...]
    upload_limit_bytes: int
    encodings: dict[str, str]


@cache
def samples_in(language: str) -> BeforeAfter | None:
    """Return the samples of a book in a language, None if there are none."""
    found = json.loads((STATIC / "samples.json").read_text(encoding="utf-8")).get(language)
    if found is None:
        return None
    steps = tuple(SampleStep(step["iteration"], step["text"].strip("\n")) for step in found["steps"])
    return BeforeAfter(found["title"], found["author"], found["prompt"], steps)
