"""Read a Word document (.docx): its paragraphs, tables and text boxes as they read in the end.

Left out and counted: deleted text that tracked changes keep, headers and footers, footnotes, comments, the table of contents. The
document is read as a stream, so memory does not grow with it. Not covered: the older .doc.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from corpus.readers import zipped
from corpus.readers.reading import Found
from errors import BookRefused

_DOCUMENT, _STYLES, _PROPERTIES = "word/document.xml", "word/styles.xml", "docProps/core.xml"
_OTHERS = (
    ("word/footnotes.xml", "footnote", "notes"),
    ("word/endnotes.xml", "endnote", "notes"),
    ("word/comments.xml", "comment", "comments"),
)
_OLD_WORD = b"\xd0\xcf\x11\xe0"  # .doc, and a .docx with a password
_HIDDEN = {
    "del": "deleted",
    "moveFrom": "deleted",
    "Fallback": "",
    "instrText": "",
    "delText": "",
    "delInstrText": "",
    "pPrChange": "",
    "rPrChange": "",
    "tabs": "",
}
_SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises BookRefused."""
    with source.open("rb") as file:
        if file.read(4) == _OLD_WORD:
            raise BookRefused(field=field, reason="old_word")
    with zipped.opened(source, "DOCX", field=field) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if _DOCUMENT not in entries:
            raise BookRefused(field=field, reason="mislabelled", format="DOCX")
        _describe(archive, entries, found, field)
        document = _Document(found, _contents_styles(archive, entries, field))
        for event, element in _events(archive, entries[_DOCUMENT], field):
            yield from document.take(event, element)


def _describe(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], found: Found, field: str) -> None:
    """Note title and author, and count what stands beside the text."""
    if _PROPERTIES in entries:
        for _, element in _events(archive, entries[_PROPERTIES], field):
            tag = _name(element)
            if tag == "title":
                found.title = element.text or found.title
            elif tag == "creator":
                found.author = element.text or found.author
    for entry_name, tag, code in _OTHERS:
        if entry_name in entries:
            ends = [
                e for event, e in _events(archive, entries[entry_name], field) if event == "end" and _name(e) == tag
            ]
            found.left_out[code] += sum(_attribute(element, "type") in ("", "normal") for element in ends)
    headers = sum(name.startswith(("word/header", "word/footer")) for name in entries)
    found.left_out["headers"] += headers


def _contents_styles(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], field: str) -> frozenset[str]:
    """Return the ids of the paragraph styles of a table of contents; they differ with the language of Word, their names do not."""
    ids, name = {f"TOC{level}" for level in range(1, 10)}, ""
    if _STYLES in entries:
        for event, element in _events(archive, entries[_STYLES], field):
            if event == "end" and _name(element) == "name":
                name = _attribute(element, "val").lower()
            elif event == "end" and _name(element) == "style" and name.startswith("toc "):
                ids.add(_attribute(element, "styleId"))
    return frozenset(ids)


def _events(archive: zipped.Archive, entry: zipfile.ZipInfo, field: str) -> Iterator[tuple[str, Element]]:
    try:
        with zipped.stream(archive, entry, field=field) as file:
            yield from ElementTree.iterparse(file, events=("start", "end"), forbid_dtd=True)
    except DefusedXmlException:
        raise BookRefused(field=field, reason="entities") from None
    except (ElementTree.ParseError, *zipped.BROKEN) as error:
        if isinstance(error, BookRefused):
            raise
        raise BookRefused(field=field, reason="damaged", format="DOCX") from None


class _Document:
    """Takes the starts and ends of elements and gives lines."""

    def __init__(self, found: Found, contents_styles: frozenset[str]) -> None:
        self._found = found
        self._contents_styles = contents_styles
        self._hidden = 0  # how many elements around this place hide it
        self._texts: list[list[str]] = []  # of the open paragraphs: a text box stands inside a paragraph
        self._contents: list[bool] = []  # whether each open paragraph is one of the table of contents
        self._rows: list[list[list[str]]] = []  # of the open table rows, the texts of their cells
        self._runs: list[bool] = []  # whether each open run is hidden text, which Word shows on request only

    def take(self, event: str, element: Element) -> Iterator[str]:
        tag = _name(element)
        if event == "start":
            self._start(tag, element)
            return
        if tag in _HIDDEN:
            self._hidden -= 1
        elif not self._hidden:
            yield from self._end(tag, element)
        if tag in ("p", "tbl", "sectPr"):
            element.clear()

    def _start(self, tag: str, element: Element) -> None:
        if tag in _HIDDEN:
            if _HIDDEN[tag] and not self._hidden:
                self._found.leave_out(_HIDDEN[tag])
            self._hidden += 1
        elif self._hidden:
            return
        elif tag == "p":
            self._texts.append([])
            self._contents.append(False)
        elif tag == "r":
            self._runs.append(False)
        elif tag == "tr":
            self._rows.append([])
        elif tag == "tc" and self._rows:
            self._rows[-1].append([])

    def _end(self, tag: str, element: Element) -> Iterator[str]:
        if tag == "t" and self._texts:
            self._texts[-1].append("" if any(self._runs) else element.text or "")
        elif tag == "r" and self._runs:
            self._runs.pop()
        elif tag == "vanish" and self._runs:
            self._runs[-1] = _attribute(element, "val") not in ("0", "false", "off")
        elif tag in _SIGNS and self._texts:
            self._texts[-1].append(_SIGNS[tag])
        elif tag == "pStyle" and self._contents:
            self._contents[-1] = _attribute(element, "val") in self._contents_styles
        elif tag in ("drawing", "pict"):
            self._found.leave_out("pictures", sum(_name(e) in ("blip", "imagedata") for e in element.iter()))
        elif tag == "p" and self._texts:
            yield from self._end_paragraph()
        elif tag == "tr" and self._rows:
            row = "\t".join(" ".join(cell) for cell in self._rows.pop())
            if self._rows and self._rows[-1]:  # a table inside a cell
                self._rows[-1][-1].append(row)
            else:
                yield f"{row}\n"

    def _end_paragraph(self) -> Iterator[str]:
        text = "".join(self._texts.pop()).strip("\n")
        if self._contents.pop():
            self._found.leave_out("contents")
        elif self._rows and self._rows[-1]:
            self._rows[-1][-1] += [" ".join(text.split())] if text.strip() else []
        else:
            yield f"{text}\n"


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
