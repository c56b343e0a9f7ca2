"""Read the documents of `docs/`, render their Markdown and list what a search looks through.

A document is `docs/<language>/<name>.md`, or `docs/<name>.md` where a language has none of its own. HTML inside a document is
shown as text, except for the comments that mark its generated parts, which are left out. A link to another document leads to
its page, a picture to `/help/img`, and a link to any other file of the program becomes plain text.
"""

from __future__ import annotations

import html
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

DOCS = Path(__file__).resolve().parent.parent / "docs"
ENGLISH = "en"  # of the documents that stand in docs/ itself
START = "start-here"
GROUPS = {  # in the order of reading; a document that stands in none of them is listed under "more"
    "begin": (START, "quick-start", "examples", "troubleshooting"),
    "use": ("features", "cheat-sheet", "parameters", "formats"),
    "understand": ("overview", "architecture", "self-play", "defaults", "benchmarks", "scaling"),
}
COMMENT = re.compile(r"<!-- /?[\w.-]+ -->\n?")
EMPTY_HEADER = re.compile(r"<th([^>]*)></th>")  # the corner of a table, which names nothing
SHORT_CHARACTERS = 24
DEEPEST_HEADING = 3  # that the table of contents lists


@dataclass(frozen=True)
class Heading:
    """A heading. `anchor` is its id, made as GitHub makes it."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Section:
    """What stands between two headings, as plain text."""

    heading: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    html: str
    headings: tuple[Heading, ...]
    sections: tuple[Section, ...]

    @property
    def contents(self) -> tuple[Heading, ...]:
        """Return the headings below the title that are worth a line in the table of contents."""
        return tuple(heading for heading in self.headings if 1 < heading.level <= DEEPEST_HEADING)


# ---- which there are -------------------------------------------------------------------------------------------------


def names(language: str, folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of the documents in a language by group, each group in the order of reading."""
    found = {path.stem for path in [*folder.glob("*.md"), *(folder / language).glob("*.md")]}
    groups = {group: tuple(name for name in listed if name in found) for group, listed in GROUPS.items()}
    groups["more"] = tuple(sorted(found - {name for listed in groups.values() for name in listed}))
    return {group: listed for group, listed in groups.items() if listed}


def load(language: str, name: str, folder: Path) -> Document | None:
    """Return a document, or None if there is none of this name. Only names that `names` lists are looked for."""
    if not any(name in listed for listed in names(language, folder).values()):
        return None
    own = folder / language / f"{name}.md"
    path = own if own.is_file() else folder / f"{name}.md"
    return _rendered(path, path.stat().st_mtime_ns, folder)


def load_all(language: str, folder: Path) -> dict[str, tuple[Document, ...]]:
    """Return all documents in a language by group."""
    loaded = {
        group: tuple(load(language, name, folder) for name in listed)
        for group, listed in names(language, folder).items()
    }
    return {group: tuple(filter(None, documents)) for group, documents in loaded.items()}


@lru_cache(maxsize=64)
def _rendered(path: Path, changed_ns: int, folder: Path) -> Document:
    return render(path.read_text(encoding="utf-8"), path.relative_to(folder))


# ---- Markdown --------------------------------------------------------------------------------------------------------


def render(text: str, path: Path) -> Document:
    """Render the Markdown of a document whose path inside the folder is given; relative links start there."""
    markdown = _markdown()
    tokens = markdown.parse(COMMENT.sub("", text))
    headings = tuple(_number_headings(tokens))
    place = path.parent.as_posix()
    for token in _all(tokens):
        if token.type == "link_open":
            _lead_inside(token, place)
        elif token.type == "image":
            token.attrs["src"] = _picture(str(token.attrs["src"]), place)
            token.attrs["loading"] = "lazy"
    body = EMPTY_HEADER.sub(r"<td\1></td>", markdown.renderer.render(tokens, markdown.options, {}))
    title = headings[0].text if headings else path.stem
    return Document(path.stem, title, body, headings, tuple(_sections(tokens, headings)))


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _code)
    markdown.add_render_rule("code_inline", _words_of_code)
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("table_open", lambda *_: '<div class="table-frame" tabindex="0"><table>')
    markdown.add_render_rule("table_close", lambda *_: "</table></div>")
    return markdown


def _code(renderer: Any, tokens: list[Token], at: int, *_: Any) -> str:
    """Render a block of code that the keyboard can scroll."""
    language = html.escape(tokens[at].info.strip())
    return f'<pre tabindex="0" data-language="{language}"><code>{html.escape(tokens[at].content)}</code></pre>\n'


def _image(renderer: Any, tokens: list[Token], at: int, *others: Any) -> str:
    """Render a picture; of an animation, which is heavy and moves, its last picture with a link to it."""
    address = str(tokens[at].attrs["src"])
    if not address.endswith(".gif"):
        return str(renderer.image(tokens, at, *others))
    tokens[at].attrs["src"] = address.removesuffix(".gif") + ".png"
    return f'<a href="{html.escape(address)}">{renderer.image(tokens, at, *others)}</a>'


def _words_of_code(renderer: Any, tokens: list[Token], at: int, *_: Any) -> str:
    """Render code inside a sentence; what is short is kept on one line, so that `--port` is not torn."""
    content = tokens[at].content
    kept = ' class="short"' if len(content) <= SHORT_CHARACTERS else ""
    return f"<code{kept}>{html.escape(content)}</code>"


def _all(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or ())


def _number_headings(tokens: list[Token]) -> Iterator[Heading]:
    """Give each heading its id and yield it; a second heading of the same words gets `-1`."""
    seen: dict[str, int] = {}
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            text = _words([inline])
            anchor = anchor_of(text)
            seen[anchor] = seen.get(anchor, -1) + 1
            anchor += f"-{seen[anchor]}" if seen[anchor] else ""
            opening.attrs["id"] = anchor
            yield Heading(int(opening.tag[1]), text, anchor)


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives a heading.

    >>> anchor_of("What is written in C?")
    'what-is-written-in-c'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _words(tokens: Iterable[Token]) -> str:
    """Return the text of tokens without any marks."""
    parts = (
        "\n" if token.type in ("softbreak", "hardbreak", "tr_close") else "" if token.children else token.content
        for token in _all(tokens)
    )
    return "".join(parts)


def _sections(tokens: list[Token], headings: tuple[Heading, ...]) -> Iterator[Section]:
    """Yield the text under each heading; what stands before the first heading belongs to no section."""
    at = [i for i, token in enumerate(tokens) if token.type == "heading_open"] + [len(tokens)]
    for heading, (start, end) in zip(headings, itertools.pairwise(at), strict=True):
        blocks = (_words([token]) for token in tokens[start + 3 : end])
        yield Section(heading.text, heading.anchor, re.sub(r"\s+", " ", " ".join(blocks)).strip())


# ---- links -----------------------------------------------------------------------------------------------------------


def _lead_inside(link: Token, place: str) -> None:
    """Let a link to another document lead to its page, and one to a file that has no page lead nowhere."""
    address, _, anchor = str(link.attrs["href"]).partition("#")
    if not address:
        return
    if re.match(r"https?://", address):
        link.attrs["rel"] = "noopener noreferrer"
        return
    target = posixpath.normpath(posixpath.join(place, address))
    attributes: dict[str, Any] = link.attrs
    if target.endswith(".md") and not target.startswith(".."):
        language = posixpath.dirname(target) or ENGLISH
        other = "" if language == (place.strip(".") or ENGLISH) else f"?language={language}"
        attributes["href"] = f"/help/{posixpath.basename(target)[:-3]}{other}" + (f"#{anchor}" if anchor else "")
    elif target.startswith("img/"):
        attributes["href"] = f"/help/{target}"
    else:
        del attributes["href"]


def _picture(address: str, place: str) -> str:
    return "/help/" + posixpath.normpath(posixpath.join(place, address))
