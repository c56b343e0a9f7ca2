"""Read a chat that Telegram exported as pages (messages.html): "Name: message" lines, as `telegram` makes them of result.json.

It is an HTML file, so it is known by its beginning (`is_chat`). What is forwarded counts as said by who forwards it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from corpus.readers.declared import markup_text
from corpus.readers.markup import Attributes
from corpus.readers.reading import Found

_PAGE = (b"<title>Exported Data</title>", b'class="page_wrap"')


def is_chat(head: bytes) -> bool:
    """Return whether a page begins as an exported chat."""
    return all(part in head for part in _PAGE)


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText and BookUnreadable."""
    chat = _Chat(found)
    with source.open("rb") as file:
        for text in markup_text(file, encoding, found, field=field):
            chat.feed(text)
            yield "".join(chat.said)
            chat.said.clear()


class _Chat(HTMLParser):
    """Feed it chunks and take lines out of `said`. A message without a name is of the one before it."""

    def __init__(self, found: Found) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self._found = found
        self._author = ""
        self._open: list[frozenset[str]] = []  # the classes of each <div> around
        self._taken: list[str] | None = None  # of a title, a name or a message
        self._taken_in = 0  # how many <div> are around it
        self._spans = 0

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        if tag == "div":
            self._enter(frozenset((dict(attrs).get("class") or "").split()))
        elif tag == "br" and self._taken is not None:
            self._taken.append("\n")
        elif tag == "span":
            self._spans += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._spans = max(0, self._spans - 1)
        elif tag == "div" and self._open:
            if self._taken is not None and self._taken_in == len(self._open):
                self._leave(self._open[-1], "".join(self._taken).strip())
                self._taken = None
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._taken is not None and not (self._spans and "from_name" in self._open[-1]):  # there it is a date
            self._taken.append(data)

    def _enter(self, classes: frozenset[str]) -> None:
        self._open.append(classes)
        if "message" in classes:
            self._found.leave_out("service" if "service" in classes else "times")
        elif "media_wrap" in classes:
            self._found.leave_out("media")
        elif self._taken is None and ("text" in classes or ("from_name" in classes and not self._is_forwarded())):
            self._taken, self._taken_in = [], len(self._open)

    def _leave(self, classes: frozenset[str], text: str) -> None:
        if "from_name" in classes:
            self._author = text
        elif any("page_header" in around for around in self._open):
            self._found.title = text
        elif text:
            self.said.append(f"{self._author}: {text}\n" if self._author else f"{text}\n")

    def _is_forwarded(self) -> bool:
        return any("forwarded" in around for around in self._open)
