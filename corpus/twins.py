"""Find the book on the shelf that a new one is most like.

It is found when a book is added and stands in its record; books of earlier versions have no fingerprint and are not found.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from corpus import shelf
from corpus.likeness import likeness
from corpus.shelf import BookInfo
from workspace import Workspace, read_json

MIN_SHARE = 0.5  # of the shorter book


def with_twin(ws: Workspace, book: BookInfo) -> BookInfo:
    """Return the record of a book with the name and title of the one that it is most like, if it shares enough with any."""
    names = [name for name in shelf.recorded_names(ws) if name != book.name and ws.book_text(name).is_file()]
    shares = ((likeness(book.fingerprint, _stated(ws, name, "fingerprint")), name) for name in names)
    share, name = max(shares, default=(0.0, ""))
    if share < MIN_SHARE:
        return _without_twin(book)
    title = _stated(ws, name, "title") or name
    return dataclasses.replace(book, similar_to=name, similar_title=title, similar_share=round(100 * share))


def if_still_there(ws: Workspace, book: BookInfo) -> BookInfo:
    """Return the record of a book without its twin, if that was deleted."""
    if not book.similar_to or ws.book_text(book.similar_to).is_file():
        return book
    return _without_twin(book)


def _without_twin(book: BookInfo) -> BookInfo:
    return dataclasses.replace(book, similar_to="", similar_title="", similar_share=0)


def _stated(ws: Workspace, name: str, key: str) -> str:
    record = ws.book_record(name)
    return _recorded(record, record.stat().st_mtime_ns, key)


@functools.lru_cache(maxsize=4096)
def _recorded(record: Path, changed_ns: int, key: str) -> str:
    try:
        return str(read_json(record)[key])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""  # of an earlier version, or damaged
