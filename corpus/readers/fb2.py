"""Read FictionBook (.fb2): text in order, title, author and language from the description; notes and pictures are left out.

Particular: it is read with `html.parser`, not as XML, because many of these files are no XML: HTML entities, a bare "&", tags
that are never closed. Entities that a file declares itself are refused; there is no honest use for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from corpus.readers.declared import markup_text
from corpus.readers.licences import without_licences
from corpus.readers.markup import Attributes
from corpus.readers.reading import Found
from errors import BookRefused

_PARAGRAPHS = frozenset(("p", "v", "text-author", "date", "subtitle", "tr"))
_GAPS = frozenset(("title", "subtitle", "empty-line", "stanza", "epigraph", "cite", "poem", "section"))
_TOP = frozenset(("description", "body", "binary"))
_INSIDE = frozenset(("title-info", "document-info", "publish-info", "custom-info", "annotation", "author"))
_NAMES = ("first-name", "middle-name", "last-name", "nickname")
_NOTES = ("notes", "comments", "footnotes", "сноски", "примечания")


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, BookUnreadable, and BookRefused for a file that is no FictionBook or declares entities."""
    for line in without_licences(_lines(source, encoding, found, field), found):
        yield f"{line}\n"


def _lines(source: Path, encoding: str | None, found: Found, field: str) -> Iterator[str]:
    parser = _FictionBook(found, field)
    with source.open("rb") as file:
        for text in markup_text(file, encoding, found, field=field):
            parser.feed(text)
            yield from parser.taken()
    parser.close()
    yield from parser.taken()
    if not parser.is_fiction_book:
        raise BookRefused(field=field, reason="mislabelled", format="FB2")
    found.is_cut_off = not parser.is_closed


class _FictionBook(HTMLParser):
    def __init__(self, found: Found, field: str) -> None:
        super().__init__(convert_charrefs=True)
        self.is_fiction_book = self.is_closed = False
        self._found, self._field = found, field
        self._lines: list[str] = []
        self._text: list[str] = []
        self._open: list[str] = []  # elements around the current place, as far as they matter
        self._name: dict[str, str] = {}  # of the first author
        self._in_notes = False
        self._mark = False  # inside the mark of a note

    def taken(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        super().close()
        if self._is_text():  # the file ends inside a paragraph
            self._end_paragraph(gap=False)

    def set_cdata_mode(self, *_: object, **__: object) -> None:
        """Let every element hold tags: <style> and <title> do so here, unlike in HTML."""

    def handle_decl(self, decl: str) -> None:
        if "!ENTITY" in decl.upper():
            raise BookRefused(field=self._field, reason="entities")

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA["):
            self.handle_data(data[6:])

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        tag = tag.rpartition(":")[2]
        values = {name.rpartition(":")[2]: value or "" for name, value in attrs}
        if tag == "fictionbook":
            self.is_fiction_book = True
        elif tag in _TOP or (tag in _INSIDE and "body" not in self._open):
            self._open.append(tag)
            if tag == "body":
                self._in_notes = values.get("name", "").strip().lower() in _NOTES
        elif tag == "section" and self._in_notes:
            self._found.leave_out("notes")
        elif tag == "image" and self._is_text():
            self._found.leave_out("pictures")
        elif tag == "a" and values.get("type") == "note":
            self._mark = True
            self._found.leave_out("note_marks")
        if self._is_text() and tag in _GAPS | _PARAGRAPHS:
            self._end_paragraph(gap=tag in _GAPS)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "fictionbook":
            self.is_closed = True
        elif tag == "a":
            self._mark = False
        elif tag in ("td", "th"):
            self._text.append("\t")
        if self._is_text() and tag in _GAPS | _PARAGRAPHS | {"body"}:  # a body ends a paragraph that was never closed
            self._end_paragraph(gap=tag in _GAPS)
        elif "title-info" in self._open:
            self._describe(tag, " ".join("".join(self._text).split()))
        if tag in self._open:  # what was never closed inside it ends as well
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]
        if tag in ("title-info", "description"):
            self._text.clear()

    def handle_data(self, data: str) -> None:
        if not self._mark and (self._is_text() or "title-info" in self._open):
            self._text.append(data)

    def _is_text(self) -> bool:
        return bool(self._open) and self._open[-1] == "body" and not self._in_notes

    def _end_paragraph(self, *, gap: bool) -> None:
        text = "\t".join(
            " ".join(cell.split()) for cell in "".join(self._text).strip("\n ").rstrip("\t").split("\t")
        ).strip()
        self._text.clear()
        self._mark = False  # a mark that was never closed
        if text:
            self._lines.append(text)
        if gap:
            self._lines.append("")

    def _describe(self, tag: str, text: str) -> None:
        """Take title, language and the name of the first author from the description."""
        self._text.clear()
        if tag == "book-title":
            self._found.title = self._found.title or text
        elif tag == "lang":
            self._found.language = self._found.language or text
        elif tag in _NAMES and "author" in self._open and not self._found.author:
            self._name[tag] = text
        elif tag == "author" and not self._found.author:
            self._found.author = " ".join(
                filter(None, (self._name.get(name) for name in _NAMES[:3]))
            ) or self._name.get("nickname", "")
        elif tag == "annotation":
            self._found.leave_out("about")
