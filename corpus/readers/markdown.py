"""Read Markdown: the text without its signs, links without their addresses, code as it stands.

Not covered: indented code, which cannot be told from an indented paragraph, and tables, which stay as they are typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from corpus.readers.licences import without_licences
from corpus.readers.plain_text import decoded_text, lines
from corpus.readers.reading import Found

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})[ \t]*$")  # of a heading, or a rule
_DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:[ \t]*\S+")
_NOTE = re.compile(r" {0,3}\[\^[^\]]+\]:")
_NOTE_MARK = re.compile(r"\[\^[^\]\s]{1,40}\]")
_IMAGE = re.compile(r"!\[([^\[\]]{0,500})\]\([^()\s]{0,2000}(?:[ \t]+\"[^\"]{0,500}\")?\)")
_LINK = re.compile(r"\[([^\[\]]{1,500})\](?:\([^()\s]{0,2000}(?:[ \t]+\"[^\"]{0,500}\")?\)|\[[^\[\]]{0,200}\])")
_ADDRESS = re.compile(r"<(?:https?|mailto):[^<>\s]{1,2000}>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|<!--.{0,2000}?-->")
_BOLD = re.compile(r"(\*\*|__)(?=\S)([^*_\n]{1,2000}?)(?<=\S)\1")
_ITALIC = re.compile(r"(?<![\w*_\\])([*_])(?=[^\s*_])([^*_\n]{1,2000}?)(?<=[^\s*_])\1(?![\w*_])")
_CODE = re.compile(r"(`{1,2})([^`\n]{1,2000})\1")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!~>|])")
_QUOTE = re.compile(r"^ {0,3}(?:> ?)+")
_FRONT = re.compile(r"^(title|author|lang(?:uage)?)\s*:\s*[\"']?(.+?)[\"']?\s*$", re.IGNORECASE)


def pieces(source: Path, encoding: str | None, found: Found, *, field: str) -> Iterator[str]:
    """Yield the text. Raises NotText, TwoEncodings and BookUnreadable."""
    with source.open("rb") as file:
        text = lines(decoded_text(file, encoding, found, field=field))
        for line in without_licences(_plain(_after_front(text, found), found), found):
            yield f"{line}\n"


def _after_front(text: Iterator[str], found: Found) -> Iterator[str]:
    """Yield the lines behind the block of properties that a file may begin with; take title and author from it."""
    first = next(text, "").lstrip("\ufeff")
    if first.strip() != "---":
        yield first
        yield from text
        return
    held = [first]
    for line in text:
        held.append(line)
        if line.strip() in ("---", "..."):
            break
        if len(held) > 100 or (":" not in line and not line.startswith((" ", "-", "#"))):
            yield from held
            held = []
            break
    for line in held:
        if property := _FRONT.match(line):
            name = {"title": "title", "author": "author"}.get(property[1].lower(), "language")
            setattr(found, name, property[2])
    if held:
        found.leave_out("about")
    yield from text


def _plain(text: Iterator[str], found: Found) -> Iterator[str]:
    fence = ""
    is_note = False
    for line in text:
        line = line.rstrip("\n")
        opened = _FENCE.match(line)
        if fence or opened:
            if opened and (not fence or (line.strip().startswith(fence) and not line.strip().strip(fence[0]))):
                fence = "" if fence else opened[1]
            else:
                yield line
            continue
        is_note = bool(_NOTE.match(line)) or (is_note and line.startswith(("  ", "\t")))
        if is_note or _DEFINITION.match(line):
            found.leave_out("notes" if is_note else "links")
        elif heading := _HEADING.match(line):
            found.title = found.title or (_inline(heading[1], found) if line.lstrip().startswith("# ") else "")
            yield from ("", _inline(heading[1], found), "")
        elif not _UNDERLINE.match(line):
            yield _inline(_QUOTE.sub("", line), found)


def _inline(text: str, found: Found) -> str:
    """Return a line without the signs of links, pictures, emphasis and code.

    >>> _inline("See **this** [page](http://a.b) and `f(x)`.[^1]", Found())
    'See this page and f(x).'
    """
    for pattern, code in ((_IMAGE, "pictures"), (_NOTE_MARK, "note_marks"), (_ADDRESS, "links")):
        text, count = pattern.subn("", text)
        found.left_out[code] += count
    text, count = _LINK.subn(r"\1", text)
    found.left_out["links"] += count
    text = _TAG.sub("", text)
    for pattern in (_BOLD, _ITALIC, _CODE):
        text = pattern.sub(r"\2", text)
    return _ESCAPED.sub(r"\1", text)
