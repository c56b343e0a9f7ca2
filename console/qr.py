"""Draw a QR code in a terminal, with half blocks: two rows of modules in one line of text."""

from __future__ import annotations

import sys
from typing import TextIO

BLACK_ON_WHITE, USUAL = "\x1b[30;107m", "\x1b[0m"
HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}  # (upper, lower) module -> letter


def in_terminal(text: str, stream: TextIO) -> str:
    """Return the lines of a QR code; none where the stream is no terminal, cannot show blocks, or segno is missing."""
    try:
        import segno

        "".join(HALVES.values()).encode(stream.encoding or "ascii")
    except (ImportError, UnicodeEncodeError):
        return ""
    if not stream.isatty() or sys.platform == "win32":  # an old Windows console shows the colours as text
        return ""
    rows = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=2)]
    rows += [[0] * len(rows[0])] if len(rows) % 2 else []
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(HALVES[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in pairs)
    return "".join(f"{BLACK_ON_WHITE}{line}{USUAL}\n" for line in lines)
