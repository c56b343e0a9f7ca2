"""Open the server to the local network and close it again; only a browser or program on this machine may."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from errors import NetworkClosed, NoLocalNetwork, OnlyHere
from web.answers import JSONAnswer
from web.bodies import ERROR_ANSWERS, JSON_BODY
from web.listening import local_addresses
from web.network import is_here
from web.services import ServicesDep


class OpenNetwork(BaseModel):
    """`address` is one of those that GET /network names; without it, the first."""

    address: Annotated[str, Field(max_length=100)] | None = None


async def _only_here(request: Request) -> None:
    if not is_here(request.scope):
        raise OnlyHere


router = APIRouter(tags=["server"], responses=ERROR_ANSWERS)
ONLY_HERE = Depends(_only_here)


@router.get("/network", summary="Is the server open to the local network?", dependencies=[ONLY_HERE])
def network_state(services: ServicesDep) -> Response:
    """`address` is where others reach it now; `addresses` are this machine's, and `possible` says whether it can be opened."""
    network = services.network
    try:
        addresses = local_addresses()
    except NoLocalNetwork:
        addresses = ()
    state = {"open": network.outside is not None, "address": network.address, "addresses": addresses}
    return JSONAnswer(state | {"possible": network.listener is not None})


@router.post("/network", summary="Open the server to the local network", dependencies=[ONLY_HERE, JSON_BODY])
async def open_network(services: ServicesDep, body: OpenNetwork) -> Response:
    """Make a token and return it once: as a link, and as an SVG picture of a QR code where that can be drawn.

    Tokens from before no longer count.
    """
    if services.network.listener is None:
        raise NetworkClosed
    link = await services.network.open(body.address)
    token = parse_qs(urlsplit(link).query)["token"][0]
    return JSONAnswer({"open": True, "link": link, "token": token, "qr": qr_picture(link)})


@router.delete("/network", status_code=204, summary="Close the server to the local network", dependencies=[ONLY_HERE])
async def close_network(services: ServicesDep) -> Response:
    await services.network.close()
    return Response(status_code=204)


def qr_picture(link: str) -> str | None:
    """Return a QR code as the address of an SVG picture, for `<img src>`; None where segno is not installed."""
    try:
        import segno
    except ImportError:
        return None
    return str(segno.make(link, micro=False).svg_data_uri(border=3, dark="#000", light="#fff", scale=4))
