"""How often the encoding of a short Russian text is found, by ours and by charset-normalizer with the same candidates.

    python -m benchmarks.encodings --book FILE [--pieces 200]

Pieces are spread evenly over the book; characters that an encoding lacks are left out of its pieces. A piece counts as right when the
reading gives back exactly its text, whatever the encoding is called.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from corpus.readers.encoding import ENCODINGS, detect
from errors import NotText

SINGLE_BYTE = ("cp1251", "koi8_r", "cp866", "mac_cyrillic", "iso8859_5")
SIZES = (300, 100, 40)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--book", type=Path, required=True)
    options.add_argument("--pieces", type=int, default=200)
    chosen = options.parse_args()
    text = " ".join(chosen.book.read_text(encoding="utf-8").split())
    print("| characters | texts | ours | charset-normalizer |\n|---|---|---|---|")
    for size in SIZES:
        cases = list(encoded(text, size, chosen.pieces))
        print(f"| {size} | {len(cases)} | {right(cases, ours)} | {right(cases, theirs)} |", flush=True)


def encoded(text: str, size: int, pieces: int) -> Iterator[tuple[bytes, str]]:
    """Yield the bytes and the text of every piece in every encoding."""
    for index in range(pieces):
        start = index * (len(text) - size) // pieces
        for encoding in SINGLE_BYTE:
            data = text[start : start + size].encode(encoding, "ignore")
            yield data, data.decode(encoding)


def right(cases: list[tuple[bytes, str]], read: Callable[[bytes], str | None]) -> int:
    return sum(read(data) == text for data, text in cases)


def ours(data: bytes) -> str | None:
    try:
        return data.decode(detect(data))
    except NotText:
        return None


def theirs(data: bytes) -> str | None:
    best = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
    return None if best is None else data.decode(best.encoding)


if __name__ == "__main__":
    main()
