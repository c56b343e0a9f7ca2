"""Read Rich Text Format (.rtf): text, title and author; pictures, headers, footers and footnotes are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.reading import Found
from errors import BookRefused

_MOST_BYTES = 256 << 20
_CODE_PAGE = re.compile(r"\\ansicpg(\d{3,5})")
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
    named = _CODE_PAGE.search(data[:4096].decode("ascii", "replace"))
    page = f"cp{named[1]}" if named else "cp1252"
    try:
        text = data.decode(page, "replace")
    except LookupError:
        text = data.decode("cp1252", "replace")
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
    yield _whole(rtf_to_text(text, errors="replace"))  # type: ignore[no-untyped-call]


def _whole(text: str) -> str:
    """Join the halves of characters beyond U+FFFF, which RTF writes as two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
