"""Read a page saved from the web: text, title, author and language; scripts, navigation and footnotes are left out.

A chat that Telegram exported is such a page too; `telegram_page` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from corpus.readers import telegram_page
from corpus.readers.declared import markup_text
from corpus.readers.licences import without_licences
from corpus.readers.markup import Markup
from corpus.readers.reading import Found

_HEAD_BYTES = 4096


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText and BookUnreadable."""
    with source.open("rb") as file:
        is_chat = telegram_page.is_chat(file.read(_HEAD_BYTES))
    if is_chat:
        yield from telegram_page.pieces(source, encoding, found, field=field)
        return
    for line in without_licences(_lines(source, encoding, found, field), found):
        yield f"{line}\n"


def _lines(source: Path, encoding: str | None, found: Found, field: str) -> Iterator[str]:
    markup = Markup(found)
    with source.open("rb") as file:
        for text in markup_text(file, encoding, found, field=field):
            markup.feed(text)
            yield from markup.taken()
    markup.close()
    yield from markup.taken()
