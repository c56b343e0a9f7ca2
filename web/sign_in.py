"""Signing in from the local network: the link with the token, the form for it, and the cookie it goes into.

The address with the token is left at once for one without it, so it stays in no history and no page of ours. A program
sends the token as `Authorization: Bearer`, as OpenAI's clients do with their key.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from errors import AZRError, NetworkClosed, TokenMissing
from web.errors import headers_of
from web.network import Network, is_here
from web.services import ServicesDep, translator_of
from web.templating import BARE_STYLES, BarePage, bare_page

COOKIE_SECONDS = 30 * 24 * 3600
PUBLIC_PATHS = frozenset(
    {"/sign_in", "/language/ru", "/language/en", "/static/favicon.svg", "/static/js/theme.js"}
    | {f"/static/css/{sheet}.css" for sheet in BARE_STYLES}
)
router = APIRouter(include_in_schema=False)


def token_of(connection: HTTPConnection, network: Network) -> str | None:
    """Return the token that a request brings: in its Authorization, else in the cookie of this server's port."""
    given = connection.headers.getlist("authorization")
    if given:
        kind, _, token = given[0].partition(" ")
        return token.strip() if kind.lower() == "bearer" and len(given) == 1 else ""
    return connection.cookies.get(_cookie(network))


def sign_in_page(connection: HTTPConnection, error: AZRError | None = None) -> Response:
    """Return the page that asks for the token; it says what was wrong with the one that was given."""
    wrong = error is not None and type(error) is not TokenMissing
    message = translator_of(connection).error(error) if error is not None and wrong else None
    page = BarePage(message, asks_token=not isinstance(error, NetworkClosed))
    return bare_page(
        connection, page, status=error.status if error else 200, headers=headers_of(error) if error else None
    )


@router.get("/sign_in")
async def sign_in(request: Request, services: ServicesDep, token: str | None = None) -> Response:
    if token is None and not is_here(request.scope):
        return sign_in_page(request)
    return _enter(request, services.network, token or "")


@router.post("/sign_in")
async def sign_in_with_form(request: Request, services: ServicesDep, token: Annotated[str, Form()] = "") -> Response:
    return _enter(request, services.network, token)


def _enter(request: Request, network: Network, token: str) -> Response:
    """Let a caller in and keep the token in a cookie that scripts cannot read; on this machine none is needed."""
    response = RedirectResponse("/", 303)
    if is_here(request.scope):
        return response
    if error := network.objection(request.scope, token):
        return sign_in_page(request, error)
    assert network.outside is not None
    name, value = _cookie(network), network.outside.token or ""
    response.set_cookie(name, value, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="lax")
    return response


def _cookie(network: Network) -> str:
    """Name the cookie after the port: another server on the same machine has a token of its own."""
    return f"azr_token_{network.outside.port if network.outside else 0}"
