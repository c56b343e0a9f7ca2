"""Open the sockets that the server listens on: for this machine always, and in the local network when asked.

`localhost` may mean 127.0.0.1 or ::1, so both are opened. If the port is in use, the next free one is taken.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from collections.abc import Callable

from errors import NoFreePort, NoLocalNetwork, NotThisMachine
from web.access import LOOPBACK

MOST_PORT = 65_535
PORTS_TRIED = 21  # the requested one and twenty more
EVERY_ADDRESS = ("0.0.0.0", "::")
IN_USE = (errno.EADDRINUSE, errno.EACCES)  # Windows says the second of a port that is held exclusively
_NEVER_REACHED = ("192.0.2.1", "192.168.255.254", "10.255.255.254", "172.31.255.254", "100.127.255.254")


def listen(port: int, host: str = "127.0.0.1") -> list[socket.socket]:
    """Open listening sockets for this machine and for `host`, on `port` or the first free one after it; 0 is any port.

    They listen at once: a socket that is merely bound keeps no other server from the port. The first is always one that
    this machine reaches as 127.0.0.1. Raises NoFreePort, and NotThisMachine about `host`.
    """
    return _on_a_free_port(port, lambda candidate: _listen_on(candidate, host))


def listen_in_network(port: int, address: str) -> socket.socket:
    """Open one more socket, at an address in the local network. Raises NoFreePort, and NotThisMachine."""
    return _on_a_free_port(port, lambda candidate: _open_all((address,), candidate))[0]


def local_addresses() -> tuple[str, ...]:
    """Return this machine's addresses in local networks, the one that leads outwards first. Raises NoLocalNetwork."""
    local = tuple(filter(_is_local, _addresses()))
    if not local:
        raise NoLocalNetwork
    return local


def best_known_as() -> str:
    """Return the address or name by which others most likely reach a server that listens at every address."""
    return next(iter(sorted(_addresses(), key=_is_local, reverse=True)), socket.gethostname().lower() or "localhost")


def network_names() -> tuple[str, ...]:
    """Return the names under which other machines may know this one."""
    name = socket.gethostname().lower()
    return tuple(dict.fromkeys((name, f"{name.partition('.')[0]}.local"))) if name else ()


# ---- addresses -------------------------------------------------------------------------------------------------------


def _addresses() -> list[str]:
    """Return this machine's IPv4 addresses beyond its own loopback."""
    found = [address for target in _NEVER_REACHED if (address := _address_towards(target))]
    found += [str(info[4][0]) for info in _named_addresses()]
    return [address for address in dict.fromkeys(found) if not ipaddress.ip_address(address).is_loopback]


def _address_towards(target: str) -> str | None:
    """Return the address from which the system would send to a target; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((target, 9))
        except OSError:
            return None
        return str(asking.getsockname()[0])


def _named_addresses() -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    try:
        return list(socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET))
    except OSError:
        return []


def _is_local(address: str) -> bool:
    """Tell an address of a home or office network from public ones."""
    found = ipaddress.ip_address(address)
    return not (found.is_global or found.is_link_local or found.is_unspecified)


# ---- sockets ---------------------------------------------------------------------------------------------------------


def _on_a_free_port(port: int, opened: Callable[[int], list[socket.socket]]) -> list[socket.socket]:
    candidates = range(port, min(port + PORTS_TRIED, MOST_PORT + 1)) if port else range(1)
    for candidate in candidates:
        if sockets := opened(candidate):
            return sockets
    raise NoFreePort(first=str(candidates[0]), last=str(candidates[-1]))


def _listen_on(port: int, host: str) -> list[socket.socket]:
    """Open the sockets on `port`; return none if it is in use on any of the addresses, as `localhost` may mean each."""
    if host in EVERY_ADDRESS:
        return _open_all(EVERY_ADDRESS, port)
    return _open_all(("127.0.0.1", "::1", *(() if host in LOOPBACK else (host,))), port)


def _open_all(addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    """Open a socket for each address; none where the port is in use. IPv6 may be missing. Raises NotThisMachine."""
    opened: list[socket.socket] = []
    for address in addresses:
        try:
            opened.append(_socket(address, opened[0].getsockname()[1] if opened else port))
        except OSError as error:
            if address in ("::1", "::") and error.errno not in IN_USE:
                continue  # no IPv6 here
            for made in opened:
                made.close()
            if error.errno not in IN_USE and address not in ("127.0.0.1", "0.0.0.0"):
                raise NotThisMachine(field="host", address=address) from None
            return []
    return opened


def _socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio ends Nagle only where TCP is named
    try:
        if sys.platform == "win32":  # there SO_REUSEADDR lets two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(2048)
    except BaseException:
        made.close()
        raise
    return made
