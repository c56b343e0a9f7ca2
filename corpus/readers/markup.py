"""Turn HTML into lines of text: one line for each paragraph, an empty one around headings, scripts and navigation left out.

Particular: `html.parser` takes every mistake that books are full of, knows the entities (`&nbsp;`) and expands none that a file
declares itself. Footnotes and the marks that lead to them are left out and counted.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from corpus.readers.reading import Found

Attributes = list[tuple[str, str | None]]
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_LEFT_OUT = {
    "script": "scripts", "style": "scripts", "noscript": "scripts", "template": "scripts", "nav": "navigation", "footer": "navigation",
    "button": "navigation", "select": "navigation", "textarea": "navigation", "svg": "pictures", "video": "pictures",
    "audio": "pictures", "object": "pictures", "iframe": "pictures", "canvas": "pictures", "rt": "", "rp": "", "datalist": "",
}  # fmt: skip
_KINDS = {  # epub:type and role
    "toc": "contents", "landmarks": "contents", "page-list": "contents", "index": "contents", "loi": "contents", "lot": "contents",
    "doc-toc": "contents", "doc-index": "contents", "navigation": "navigation", "pagebreak": "page_numbers",
    "doc-pagebreak": "page_numbers", "copyright-page": "licence", "footnote": "notes", "footnotes": "notes", "endnote": "notes",
    "endnotes": "notes", "rearnote": "notes", "rearnotes": "notes", "doc-footnote": "notes", "doc-endnote": "notes",
    "doc-endnotes": "notes",
}  # fmt: skip
_NOTE_CLASSES = {"footnote", "footnotes", "endnote", "endnotes"}
_MARK = re.compile(r"\s*[\[({]?(?:\d{1,4}|[*†‡]{1,3}|[ivxlc]{1,6})[\])}]?\s*")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_FEWEST_LINKS, _MOST_LINKED = 4, 0.8
_CELL, _BREAK = "\x01", "\x02"  # between the cells of a row, and at <br>


class Markup(HTMLParser):
    """Feed it chunks, take lines out with `taken`, and call `close` at the end."""

    def __init__(self, found: Found) -> None:
        super().__init__(convert_charrefs=True)
        self.found = found
        self._lines: list[str] = []
        self._text: list[str] = []  # of the paragraph so far
        self._dropped: tuple[str, int] | None = (
            None  # the element that is left out, and how deep it is nested in itself
        )
        self._links: list[
            int | None
        ] = []  # for each open <a>, where its text begins; None for a link that is no note mark
        self._pre = 0
        self._in_title = False
        self._links_seen = 0
        self._letters = self._linked = 0  # characters of the text, and of its links

    @property
    def is_contents(self) -> bool:
        """Whether a page is nothing but links: the contents of a book that does not mark them as such."""
        return self._links_seen >= _FEWEST_LINKS and self._linked > _MOST_LINKED * self._letters

    def taken(self) -> list[str]:
        """Return the lines that are complete."""
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        super().close()
        self._end_block()

    # ---- what the parser calls -----------------------------------------------------------------------------------------

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        if self._dropped is not None:
            if tag == "body":
                self._dropped = None
            elif tag == self._dropped[0] and tag not in _VOID:
                self._dropped = (tag, self._dropped[1] + 1)
            return
        code = _dropped_as(tag, attrs)
        if code is not None and tag not in _VOID:
            self._drop(tag, code)
            return
        if tag in _BLOCKS:
            self._end_block(before=tag)
        self._inside(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        code = _dropped_as(tag, attrs)
        if self._dropped is None and code is not None:
            self._count(code)
        elif self._dropped is None:
            self.handle_starttag(tag, attrs)
            if tag not in _VOID:
                self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped is not None:
            if tag == self._dropped[0]:
                self._dropped = (tag, self._dropped[1] - 1) if self._dropped[1] > 1 else None
            return
        if tag == "title":
            self._in_title = False
        elif tag == "a":
            self._end_link()
        elif tag in ("td", "th"):
            self._text.append(_CELL)
        if tag in _BLOCKS:
            self._end_block(after=tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.found.title = (self.found.title + data)[:500]
        elif self._dropped is None:
            self._text.append(data)
            self._letters += len(data.strip())
            self._linked += len(data.strip()) if self._links else 0

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA["):
            self.handle_data(data[6:])

    # ---- parts ---------------------------------------------------------------------------------------------------------

    def _inside(self, tag: str, attrs: Attributes) -> None:
        values = dict(attrs)
        if tag == "title":
            self._in_title = not self.found.title
        elif tag == "html":
            self.found.language = self.found.language or values.get("lang") or values.get("xml:lang") or ""
        elif tag == "meta" and (values.get("name") or "").lower() == "author":
            self.found.author = self.found.author or values.get("content") or ""
        elif tag == "br":
            self._text.append(_BREAK)
        elif tag == "img":
            self._count("pictures")
        elif tag == "pre":
            self._pre += 1
        elif tag == "a":
            self._links_seen += "href" in values
            self._links.append(len(self._text) if _may_be_mark(values) else None)

    def _end_link(self) -> None:
        """Leave out the text of a link that is only the mark of a note."""
        start = self._links.pop() if self._links else None
        if start is not None and _MARK.fullmatch("".join(self._text[start:])):
            del self._text[start:]
            self._count("note_marks")

    def _drop(self, tag: str, code: str) -> None:
        self._dropped = (tag, 1)
        self._count(code)

    def _count(self, code: str) -> None:
        if code:
            self.found.leave_out(code)

    def _end_block(self, before: str = "", after: str = "") -> None:
        text = "".join(self._text)
        self._text.clear()
        self._links = [None for _ in self._links]
        if self._pre:
            self._lines += (
                text.strip("\n").replace(_BREAK, "\n").replace(_CELL, "\t").split("\n") if text.strip() else []
            )
        else:
            parts = (" ".join(part.split()) for part in text.split(_BREAK))
            self._lines += [
                part.strip(_CELL).replace(f" {_CELL}", _CELL).replace(f"{_CELL} ", _CELL).replace(_CELL, "\t")
                for part in parts
                if part.strip(f" {_CELL}")
            ]
        if after == "pre" and self._pre:
            self._pre -= 1
        if before in _HEADINGS or after in _HEADINGS or before == "hr":
            self._lines.append("")


def _dropped_as(tag: str, attrs: Attributes) -> str | None:
    """Return what an element is left out as, "" if nobody needs to be told, None if it stays."""
    if tag in ("html", "body"):
        return None
    for name, value in attrs:
        if name in ("epub:type", "role"):
            code = next((_KINDS[kind] for kind in (value or "").lower().split() if kind in _KINDS), None)
            if code is not None:
                return code
        elif name == "class" and _NOTE_CLASSES & set((value or "").lower().split()):
            return "notes" if tag != "a" else None
        elif name == "hidden" or (name == "style" and value and _HIDDEN.search(value)):
            return ""
    return _LEFT_OUT.get(tag)


def _may_be_mark(values: dict[str, str | None]) -> bool:
    return "#" in (values.get("href") or "") or "noteref" in f"{values.get('epub:type')} {values.get('role')}"
