"""Read Rich Text Format (.rtf): text, title and author; pictures, headers, footers and footnotes are left out.

Particular: a file that names no code page, or Western letters, may be Russian all the same; then its letters decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.encoding import detect
from corpus.readers.reading import Found
from errors import BookRefused, NotText

_MOST_BYTES = 256 << 20
_CODE_PAGE = re.compile(r"\\ansicpg(\d{3,5})")
_CHARSET = re.compile(rb"\\fcharset(\d+)")
_BYTE, _CONTROL = re.compile(rb"\\'([0-9a-fA-F]{2})"), re.compile(rb"\\[a-z]+-?\d* ?|[{}]")
_WESTERN = re.compile(r"\\fcharset[01](?!\d)")
_UNNAMED = {b"0", b"1", b"2"}  # sets of letters that say nothing: Western, any, signs
_LOOKED_AT, _RUSSIAN = 1 << 18, ("cp1251", "cp866")
_CELL = re.compile(r"\\(?:nest)?cell(?![a-z])")
_PICTURE = re.compile(r"\{\\\*?\\?pict[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_COUNTED = ((re.compile(r"\\(?:header|footer)[lrf]?(?![a-z])"), "headers"), (re.compile(r"\{\\footnote"), "notes"))
_INFO = re.compile(r"\{\\(title|author) ((?:[^{}\\]|\\'[0-9a-f]{2}|\\u-?\d+ ?\??|\\.)*)\}")


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises BookRefused."""
    from striprtf.striprtf import rtf_to_text

    data = source.read_bytes() if source.stat().st_size <= _MOST_BYTES else b""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise BookRefused(field=field, reason="mislabelled" if data else "bomb", format="RTF")
    page = _code_page(data)
    try:
        text = _WESTERN.sub("", _CODE_PAGE.sub("", data.decode(page, "replace"), count=1))
    except LookupError:
        text, page = data.decode("cp1252", "replace"), "cp1252"
    del data
    text, pictures = _PICTURE.subn("", text)
    found.left_out["pictures"] += pictures
    for pattern, code in _COUNTED:
        found.left_out[code] += len(pattern.findall(text))
    found.is_cut_off = not text.rstrip("\0\r\n\t ").endswith("}")
    for name, value in _INFO.findall(text[: 1 << 16]):
        plain = rtf_to_text(f"{{\\rtf1\\ansi\\ansicpg{page[2:]} {value}}}", errors="replace")  # type: ignore[no-untyped-call]
        setattr(found, name, _whole(plain))
    text = _CELL.sub(r"\\tab ", text.replace("HYPERLINK", ""))
    yield _whole(rtf_to_text(text, page, errors="replace"))  # type: ignore[no-untyped-call]


def _code_page(data: bytes) -> str:
    """Return the code page of the letters: the one that is named, unless it is a Western one or none and the letters are Russian.

    A font that names its set of letters is believed.
    """
    named = _CODE_PAGE.search(data[:4096].decode("ascii", "replace"))
    page = f"cp{named[1]}" if named else "cp1252"
    if page != "cp1252" or set(_CHARSET.findall(data[:_LOOKED_AT])) - _UNNAMED:
        return page
    letters = _CONTROL.sub(b" ", _BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), data[:_LOOKED_AT]))
    try:
        found = detect(letters)
    except NotText:
        return page
    return found if found in _RUSSIAN else page


def _whole(text: str) -> str:
    """Join the halves of characters beyond U+FFFF, which RTF writes as two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
