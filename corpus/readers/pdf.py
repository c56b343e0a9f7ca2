"""Read a PDF: the text of its pages made into paragraphs (`pdf_lines`), title and author where its properties state them.

Refused: a scan without text and one that needs a password, each with what helps. Told: damaged pages, pages without text, words
that fall apart into letters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.readers.licences import without_licences
from corpus.readers.pdf_lines import letters_apart, paragraphs
from corpus.readers.reading import Found
from errors import BookRefused

if TYPE_CHECKING:
    from pypdf import PdfReader

_NOBODY = r"\(?(?:anonymous|unspecified|unknown)\)?"  # what programs write where a person wrote nothing
_NO_TITLE = re.compile(
    rf"^(?:{_NOBODY}|microsoft word\b.*|untitled.*|без имени.*|.*\.(?:docx?|indd|qxd|pdf|tex|dvi|odt|rtf|p65))$|^.{{0,2}}$",
    re.IGNORECASE,
)
_NO_AUTHOR = re.compile(rf"^{_NOBODY}$", re.IGNORECASE)
_FEWEST_LETTERS = 10  # a page, on average
_UNREADABLE = re.compile("[\ue000-\uf8ff\ufffd\x00-\x08\x0e-\x1f]|\\(cid:\\d+\\)")
_MOST_UNREADABLE = 0.3


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises BookRefused."""
    with source.open("rb") as file:
        if b"%PDF-" not in file.read(1024):
            raise BookRefused(field=field, reason="mislabelled", format="PDF")
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)
        pages: list[str] = []
        for page in _pages(_opened(file, field), found, field):
            pages.append(page)
            yield ""  # the reader goes on
    text = "\n".join(pages)
    _require_letters(text, len(pages), field)
    found.letters_apart = letters_apart(text)
    for line in without_licences(paragraphs(pages, found), found):
        yield f"{line}\n"


def _opened(file: object, field: str) -> PdfReader:
    from pypdf import PdfReader

    try:
        reader = PdfReader(file)  # type: ignore[arg-type]
        is_open = not reader.is_encrypted or bool(reader.decrypt(""))
    except MemoryError:
        raise
    except Exception as error:  # pypdf raises whatever its parser meets
        reason = "encrypted" if "Dependency" in type(error).__name__ else "damaged"
        raise BookRefused(field=field, reason=reason, format="PDF") from None
    if not is_open:
        raise BookRefused(field=field, reason="encrypted", format="PDF")
    return reader


def _pages(reader: PdfReader, found: Found, field: str) -> Iterator[str]:
    """Yield the text of each page; "" for one without text and for one that is damaged, which is told."""
    empty = 0
    try:
        _describe(reader, found)
        count = len(reader.pages)
    except MemoryError:
        raise
    except Exception:
        raise BookRefused(field=field, reason="damaged", format="PDF") from None
    for number in range(count):
        text = ""
        try:
            text = reader.pages[number].extract_text()
            empty += not text.strip()
        except MemoryError:
            raise
        except Exception:
            found.lose(str(number + 1))
        yield text
    if found.lost_parts == count:
        raise BookRefused(field=field, reason="damaged", format="PDF")
    found.left_out["empty_pages"] = empty


def _describe(reader: PdfReader, found: Found) -> None:
    properties = reader.metadata
    title, author = (properties.title, properties.author) if properties else (None, None)
    found.title = title if isinstance(title, str) and not _NO_TITLE.match(title.strip()) else ""
    found.author = author if isinstance(author, str) and not _NO_AUTHOR.match(author.strip()) else ""


def _require_letters(text: str, pages: int, field: str) -> None:
    if (sum(map(str.isalpha, text)) < _FEWEST_LETTERS * pages and pages > 1) or not text.strip():
        raise BookRefused(field=field, reason="scanned", pages=pages)
    if sum(len(found) for found in _UNREADABLE.findall(text)) > _MOST_UNREADABLE * len("".join(text.split())):
        raise BookRefused(field=field, reason="glyphs")
