"""Read an e-book (.epub): the chapters in the order of its spine, title, author and language from its package.

Particular: the order of the files in the archive says nothing. A chapter that is damaged or missing is told and the others are
read. Contents, covers and copyright pages are left out where the book marks them as such.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from corpus.readers import zipped
from corpus.readers.declared import markup_text
from corpus.readers.licences import without_licences
from corpus.readers.markup import Markup
from corpus.readers.reading import Found
from errors import BookRefused, NotText

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # veils fonts only
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_GUIDE = {
    "toc": "contents",
    "copyright-page": "licence",
    "cover": "",
    "index": "contents",
    "loi": "contents",
    "lot": "contents",
}


@dataclass(frozen=True)
class _Chapter:
    name: str  # of its entry in the archive
    left_out: str | None  # as what, None for a chapter of the text


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text; the encodings of the chapters are their own. Raises BookRefused."""
    with zipped.opened(source, "EPUB", field=field) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        chapters = _spine(archive, entries, found, field)
        lines = (line for chapter in chapters for line in _lines(archive, entries, chapter, found, field))
        for line in without_licences(lines, found):
            yield f"{line}\n"
    if chapters and found.lost_parts == sum(chapter.left_out is None for chapter in chapters):
        raise BookRefused(field=field, reason="damaged", format="EPUB")


def _lines(
    archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], chapter: _Chapter, found: Found, field: str
) -> Iterator[str]:
    if chapter.left_out is not None:
        if chapter.left_out:
            found.leave_out(chapter.left_out)
        return
    own = Found(left_out=found.left_out)  # title and language of a chapter are not those of the book
    try:
        data = zipped.content(archive, entries[chapter.name], field=field)
        markup = Markup(own)
        for text in markup_text(io.BytesIO(data), None, own, field=field):
            markup.feed(text)
        markup.close()
    except (KeyError, NotText, *zipped.BROKEN) as error:
        if isinstance(error, BookRefused):
            raise
        found.lose(chapter.name)
        return
    found.damage.characters += own.damage.characters
    found.damage.line = found.damage.line or own.damage.line
    if markup.is_contents:
        found.leave_out("contents")
        return
    yield from markup.taken()
    yield ""


def _spine(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], found: Found, field: str) -> list[_Chapter]:
    """Return the chapters in their order, and note what the package says about the book."""
    if "word/document.xml" in entries:
        raise BookRefused(field=field, reason="mislabelled", format="EPUB")
    _refuse_protected(archive, entries, field)
    package_name = _package_name(archive, entries, field)
    package = _tree(archive, entries, package_name, field)
    _describe(package, found)
    folder = posixpath.dirname(package_name)
    items = {item.get("id", ""): item for item in _all(package, "item")}
    left_out = _guide(package, folder)
    chapters = []
    for reference in _all(package, "itemref"):
        item = items.get(reference.get("idref", ""))
        if item is None or item.get("media-type", _PAGES[0]) not in _PAGES:
            continue
        name = _entry_name(folder, item.get("href", ""), entries)
        is_contents = "nav" in (item.get("properties") or "").split()
        chapters.append(_Chapter(name, "contents" if is_contents else left_out.get(name)))
    if not chapters:
        raise BookRefused(field=field, reason="damaged", format="EPUB")
    return chapters


def _package_name(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], field: str) -> str:
    if _CONTAINER in entries:
        roots = _all(_tree(archive, entries, _CONTAINER, field), "rootfile")
        named = next((root.get("full-path", "") for root in roots), "")
        if named in entries:
            return named
    found = next((name for name in entries if name.lower().endswith(".opf")), None)
    if found is None:
        raise BookRefused(field=field, reason="mislabelled" if _CONTAINER not in entries else "damaged", format="EPUB")
    return found


def _refuse_protected(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], field: str) -> None:
    if _ENCRYPTION not in entries:
        return
    methods = [
        method.get("Algorithm", "") for method in _all(_tree(archive, entries, _ENCRYPTION, field), "EncryptionMethod")
    ]
    if any(method not in _FONTS for method in methods):
        raise BookRefused(field=field, reason="encrypted", format="EPUB")


def _tree(archive: zipped.Archive, entries: dict[str, zipfile.ZipInfo], name: str, field: str) -> Element:
    try:
        tree: Element = ElementTree.fromstring(zipped.content(archive, entries[name], field=field))
    except DefusedXmlException:
        raise BookRefused(field=field, reason="entities") from None
    except (ElementTree.ParseError, *zipped.BROKEN) as error:
        if isinstance(error, BookRefused):
            raise
        raise BookRefused(field=field, reason="damaged", format="EPUB") from None
    return tree


def _describe(package: Element, found: Found) -> None:
    def first(tag: str) -> str:
        return next(("".join(element.itertext()).strip() for element in _all(package, tag)), "")

    creators = [element for element in _all(package, "creator") if _attribute(element, "role") in ("", "aut")]
    found.title, found.language = first("title"), first("language")
    found.author = ", ".join(filter(None, ("".join(element.itertext()).strip() for element in creators[:3])))


def _guide(package: Element, folder: str) -> dict[str, str]:
    """Return what the guide of an older book says about its chapters: entry name -> as what it is left out."""
    references = (
        (reference.get("type", "").lower(), reference.get("href", "")) for reference in _all(package, "reference")
    )
    return {_joined(folder, href): _GUIDE[kind] for kind, href in references if kind in _GUIDE}


def _entry_name(folder: str, href: str, entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return the name of the entry that an address means; archives differ in case and in %20."""
    name = _joined(folder, href)
    if name in entries:
        return name
    return next((each for each in entries if each.casefold() == name.casefold()), name)


def _joined(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href.split("#")[0])))


def _all(tree: Element, tag: str) -> list[Element]:
    """Return the elements of a name, in whatever namespace."""
    return [
        element for element in tree.iter() if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == tag
    ]


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
