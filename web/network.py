"""The way in from the local network: closed, or open to those who know the token.

A caller on this machine needs no token. It is told from others by its own address, which a remote sender cannot choose: the
answer would not reach it. Each opening makes a new token, so closing and opening shuts out everybody who was let in before.
What is open is kept in memory alone: a server that starts again is closed, unless it was told to listen.

Wrong tokens are slowed down for each address. The same wrong token again is a page that was left open, not a guess.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from errors import AZRError, NetworkClosed, TokenMissing, TokenWrong, TooManyTokens
from web.access import LOCAL, Access, new_token

FREE_TOKENS = 5  # wrong ones, before the first wait
LONGEST_WAIT_SECONDS = 60.0
FORGOTTEN_SECONDS = 900.0  # after the last wrong token
MOST_ADDRESSES = 1000

Scope = Mapping[str, Any]


class Listener(Protocol):
    """What opens and closes the port for the local network: the server process."""

    async def open_network(self, address: str | None) -> Opened:
        """Listen at one of this machine's addresses. Raises NoLocalNetwork, NotThisMachine and NoFreePort."""

    async def close_network(self) -> None:
        """Stop listening and cut every connection from the local network."""


@dataclass(frozen=True)
class Opened:
    """Where the server listens: the address for links, its port, and every name that `Host` may have."""

    address: str
    port: int
    names: tuple[str, ...]


class Network:
    """Who may call: this machine always, others while it is open."""

    def __init__(self, here: Access = LOCAL) -> None:
        self.here = here
        self.outside: Access | None = None
        self.address: str | None = None  # for links, while it is open
        self.listener: Listener | None = None  # None: nobody can open it, as in tests and under another server
        self.wrong = WrongTokens()
        self._change = asyncio.Lock()

    async def open(self, address: str | None) -> str:
        """Let others in and return the link for them, which holds the token; earlier ones no longer count."""
        assert self.listener is not None
        async with self._change:
            self._shut()
            await self.listener.close_network()
            return self.let_in(await self.listener.open_network(address))

    async def close(self) -> None:
        async with self._change:
            self._shut()
            if self.listener is not None:
                await self.listener.close_network()

    def let_in(self, opened: Opened) -> str:
        """Let others in where the server listens already; return the link for them."""
        token = new_token()
        self.outside, self.address = Access(opened.port, opened.names, token), opened.address
        host = f"[{opened.address}]" if ":" in opened.address else opened.address
        return f"http://{host}:{opened.port}/sign_in?token={token}"

    def _shut(self) -> None:
        self.outside = self.address = None

    def admits(self, client: str | None) -> bool:
        """Tell whether a connection from this address is to be heard at all."""
        return self.outside is not None or is_this_machine(client)

    def access_of(self, scope: Scope) -> Access | None:
        """Return what applies to a request; None for one that comes from the network while it is closed."""
        if is_here(scope):
            return self.here
        if self.outside is None:
            return None
        reached = str((scope.get("server") or ("",))[0])  # the address of ours to which the connection was made
        return replace(self.outside, names=(*self.outside.names, reached))

    def objection(self, scope: Scope, token: str | None) -> AZRError | None:
        """Return why a request from the network is not served; None if its token is right."""
        if self.outside is None:
            return NetworkClosed()
        if token is None:
            return TokenMissing()
        address = str((scope.get("client") or ("",))[0])
        if seconds := self.wrong.wait_seconds(address):
            return TooManyTokens(seconds=seconds)
        if self.outside.knows(token):
            return None
        self.wrong.note(address, token)
        return TokenWrong()


def is_here(scope: Scope) -> bool:
    """Tell whether a request comes from this machine; one of unknown origin does not."""
    client = scope.get("client")
    return client is not None and is_this_machine(client[0])


def is_this_machine(address: str | None) -> bool:
    """Tell whether an address is a loopback one.

    >>> is_this_machine("127.0.0.1"), is_this_machine("192.168.1.7"), is_this_machine(None)
    (True, False, False)
    """
    if address in ("127.0.0.1", "::1"):
        return True
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def trust(scope: MutableMapping[str, Any]) -> None:
    """Note that the caller may see everything: pages of errors may then show the frame of all pages."""
    scope["azr_trusted"] = True


def is_trusted(scope: Scope) -> bool:
    return scope.get("azr_trusted") is True


# ---- wrong tokens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tries:
    count: int
    last: bytes  # digest of the last wrong token
    at: float  # seconds of the monotonic clock

    @property
    def wait_seconds(self) -> float:
        beyond = self.count - FREE_TOKENS
        return min(2.0**beyond, LONGEST_WAIT_SECONDS) if beyond >= 0 else 0.0


class WrongTokens:
    """Remember the wrong tokens of each address: after FREE_TOKENS of them it waits 1 s, 2 s, 4 s ... a minute."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Return for how long an address is not heard; 0 if it is."""
        tries = self._tries.get(_neighbourhood(address))
        return 0 if tries is None else max(0, math.ceil(tries.at + tries.wait_seconds - time.monotonic()))

    def note(self, address: str, token: str) -> None:
        key, now = _neighbourhood(address), time.monotonic()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        before = self._tries.pop(key, None)
        if before is None or now - before.at > FORGOTTEN_SECONDS:
            before = _Tries(0, b"", now)
        self._tries[key] = before if digest == before.last else _Tries(before.count + 1, digest, now)
        while len(self._tries) > MOST_ADDRESSES:
            self._tries.popitem(last=False)


def _neighbourhood(address: str) -> str:
    """Return the address; of IPv6 its network, since one machine may choose any address in it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.IPv6Network((int(found), 64), strict=False)) if found.version == 6 else str(found)
