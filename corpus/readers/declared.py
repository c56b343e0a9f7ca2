"""Find the encoding of a file that declares one (HTML, FictionBook), although declarations lie or are missing.

In order: a byte order mark, valid UTF-8, what the letters of the text show (tags are not counted), and last the declaration, if the
whole file can be read so. Wrong bytes become U+FFFD and are counted, because one of them must not cost a book.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from corpus.readers.encoding import Damage, decoded, detect, sample_of
from corpus.readers.reading import Found
from errors import BookUnreadable, NotText

_DECLARED = re.compile(rb"""(?:encoding|charset)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_TAG = re.compile(rb"<[^<>]*>")
_CHUNK_BYTES = 1 << 18
_FEW = 40  # bytes beyond ASCII: with fewer the letters prove nothing against the declaration
_TEXT_ENCODINGS = frozenset(
    ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u", "cp866", "cp1125", "mac-cyrillic", "gbk", "gb2312", "gb18030", "big5", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949", "cp437", "cp850", "cp852", "cp874", "tis-620"]
) | {f"cp{number}" for number in range(1250, 1259)} | {f"iso8859-{number}" for number in range(1, 17)}  # fmt: skip


def markup_text(file: BinaryIO, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text of a marked-up file in chunks, tags included. Raises NotText, and BookUnreadable for an encoding that was given."""
    if encoding is not None:
        found.encoding = encoding
        yield from decoded(file, encoding, found.damage, field=field)
        return
    found.encoding = _encoding_of(file, field)
    yield from _tolerant(file, found)


def _encoding_of(file: BinaryIO, field: str) -> str:
    file.seek(0)
    head = file.read(4096)
    guess = _detected(sample_of(file), _is_valid(file, "utf_8"), field)
    declared = _declared(head)
    if guess is None and declared is None:
        raise NotText(field=field)
    if declared is None or guess == declared:
        return guess or ""
    if guess is None:
        return declared if _is_valid(file, declared) else _refuse(field)
    is_sure = guess.startswith("utf") or sum(byte >= 0x80 for byte in sample_of(file)) > _FEW
    return guess if is_sure or not _is_valid(file, declared) else declared


def _detected(sample: bytes, is_utf8: bool, field: str) -> str | None:
    """Return the encoding that marks, UTF-8 or letters show; None if they show nothing. Raises NotText for another kind of file."""
    plain = _TAG.sub(b" ", sample)
    try:
        return detect(sample if is_utf8 or b"\0" in sample[:4] else plain)
    except NotText:
        if b"\0" in plain:
            raise NotText(field=field) from None
        return None


def _refuse(field: str) -> str:
    raise NotText(field=field)


def _declared(head: bytes) -> str | None:
    """Return the declared encoding, if it is one of text."""
    found = _DECLARED.search(head.replace(b"\0", b""))
    try:
        name = codecs.lookup(found[1].decode("ascii", "replace")).name if found else ""
    except LookupError:
        return None
    return name.replace("-", "_") if name in _TEXT_ENCODINGS and not name.startswith("utf") else None


def _is_valid(file: BinaryIO, encoding: str) -> bool:
    try:
        for _ in decoded(file, encoding, damage := Damage(), field="file"):
            pass
    except BookUnreadable:
        return False
    return not damage.characters


def _tolerant(file: BinaryIO, found: Found) -> Iterator[str]:
    """Decode the file; count the wrong bytes and the line of the first."""
    decoder = codecs.getincrementaldecoder(found.encoding)("replace")
    file.seek(0)
    line = 1
    while True:
        chunk = file.read(_CHUNK_BYTES)
        text = decoder.decode(chunk, final=not chunk)
        wrong = text.count("\ufffd")
        if wrong and not found.damage.characters:
            found.damage.line = line + text.count("\n", 0, text.index("\ufffd"))
        found.damage.characters += wrong
        line += text.count("\n")
        yield text
        if not chunk:
            return
