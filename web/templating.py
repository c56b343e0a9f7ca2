"""Templates: the Jinja environment, what the frame of every page needs, and static addresses that change with their file.

A template sees `t` (the translator), `_` (its gettext), `static(path)`, `frame` and `page`: the frozen dataclass that
`web/pages.py` documents for it. Everything is escaped by default.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse

import workflows
from config import Config, Parameter, parameters
from events import ACTIVE_STATES
from i18n import Translator
from web.drawings import cover, sparkline
from web.export_sentences import verdict_sentence
from web.network import is_here
from web.services import Services, translator_of

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "static"
TABS = (
    ("create", "/"),
    ("training", "/training"),
    ("generation", "/generation"),
    ("library", "/library"),
    ("help", "/help"),
)
BARE_STYLES = ("tokens", "base", "frame", "forms", "parts", "sign_in")  # what anybody may load
SCRIPT_MESSAGES = ("js.", "state.", "stage.", "unit.", "encoding.", "reward.")  # keys that scripts may show


@dataclass(frozen=True)
class Frame:
    """The variables of the frame around every page."""

    page: str  # first, create, training, generation, library, books, compare, book, help, docs or error
    address: str  # path and query, to come back to after a change of language
    active: bool  # a training runs: the tab shows how far it is
    messages: dict[str, str | tuple[str, ...]]  # sentences for scripts, by key
    phone: bool  # this page may open the server to the local network
    phone_open: bool  # it is open
    tabs: tuple[tuple[str, str], ...] = TABS

    @property
    def tab(self) -> str:
        return {"book": "library", "books": "library", "compare": "library", "first": "create"}.get(
            self.page, self.page
        )


@dataclass(frozen=True)
class ErrorPage:
    """`message` is in the person's language, `code` what the API calls the error."""

    status: int
    code: str
    message: str

    @property
    def heading(self) -> str:
        """Return the first sentence, without its full stop: what has happened."""
        return re.split(r"(?<=[^.])\. (?=[^\W\d_])", self.message)[0].removesuffix(".")

    @property
    def remedy(self) -> str:
        """Return the other sentences: what can be done."""
        return self.message[len(self.heading) :].lstrip(". ")


@dataclass(frozen=True)
class BarePage:
    """A page for somebody who may see nothing yet: a message, and the form for the token if it can help."""

    message: str | None
    asks_token: bool = False
    styles: tuple[str, ...] = BARE_STYLES


def render(connection: HTTPConnection, name: str, page: Any, *, status: int = 200) -> HTMLResponse:
    """Render the template `<name>.html` with its variables, in the language of the request."""
    translator = translator_of(connection)
    frame = _frame(connection, name, translator)
    template = environment().get_template(f"{name}.html")
    headers = {"Content-Language": translator.language, "Vary": "Cookie, Accept-Language"}
    return HTMLResponse(template.render(page=page, frame=frame, t=translator, _=translator.gettext), status, headers)


def error_page(connection: HTTPConnection, *, status: int, code: str, message: str) -> HTMLResponse:
    """Render an error as a page, for browsers that followed a link."""
    return render(connection, "error", ErrorPage(status, code, message), status=status)


def bare_page(
    connection: HTTPConnection, page: BarePage, *, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Render the page for callers who are not trusted: it shows nothing of the models, the books or the training."""
    translator = translator_of(connection)
    named = {"Content-Language": translator.language, "Vary": "Cookie, Accept-Language", **(headers or {})}
    template = environment().get_template("sign_in.html")
    return HTMLResponse(template.render(page=page, t=translator, _=translator.gettext), status, named)


def _frame(connection: HTTPConnection, name: str, translator: Translator) -> Frame:
    query = connection.url.query
    services: Services = connection.app.state.services
    return Frame(
        page=name,
        address="/" if name == "error" else connection.url.path + (f"?{query}" if query else ""),
        active=services.runner.status().state in ACTIVE_STATES,
        messages=translator.messages(*SCRIPT_MESSAGES),
        phone=services.network.listener is not None and is_here(connection.scope),
        phone_open=services.network.outside is not None,
    )


@cache
def environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_address
    environment.filters.update(plain=plain, anchor=anchor, shown=shown, config_parameters=_parameters_of)
    environment.filters.update(verdict_sentence=verdict_sentence, cover=cover, sparkline=sparkline)
    environment.filters.update(book_notices=workflows.book_notices, book_prompt=_prompt_of)
    return environment


def static_address(path: str) -> str:
    """Return `/static/<path>?v=<hash>`: browsers may cache it for ever and still notice every change."""
    return f"/static/{path}?v={_content_hash(path, (STATIC / path).stat().st_mtime_ns)}"


@cache
def _content_hash(path: str, changed_ns: int) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


# ---- filters ---------------------------------------------------------------------------------------------------------


def plain(value: float) -> str:
    """Return a number as an input element expects it: with a point, without separators or exponent."""
    return format(Decimal(repr(value)).normalize(), "f")


def anchor(name: str) -> str:
    """Return a name as an HTML id, which must not contain spaces."""
    return re.sub(r"\s", "_", name)


def shown(value: Any, translator: Translator) -> str:
    if isinstance(value, bool):
        return translator.gettext("page.value.yes" if value else "page.value.no")
    return translator.number(value) if isinstance(value, int | float) else str(value)


def _prompt_of(book: workflows.BookInfo) -> str:
    return workflows.sample_prompt([book]) or ""


def _parameters_of(config: Config) -> list[Parameter]:
    return parameters(type(config))
