"""Who may reach the server: the names it answers to, its port, and the token that callers from the network must know."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # what this machine calls itself
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
TOKEN_GROUPS, GROUP_LETTERS = 4, 5  # together 99 bits
LONGEST_TOKEN = 200


@dataclass(frozen=True)
class Access:
    """The names and the port under which the server answers, and the token that a caller must know.

    `token` is None for callers on this machine: they need none.
    """

    port: int = 8000
    names: tuple[str, ...] = LOOPBACK
    token: str | None = field(default=None, repr=False)

    @property
    def hosts(self) -> frozenset[str]:
        """Every `Host` that means this server; the port may be left out only where browsers leave it out.

        >>> sorted(Access(8000).hosts)
        ['127.0.0.1:8000', '[::1]:8000', 'localhost:8000']
        """
        names = {f"[{name}]" if ":" in name else name for name in self.names}
        return frozenset(f"{name}:{self.port}" for name in names) | (names if self.port == 80 else frozenset())

    @property
    def origins(self) -> frozenset[str]:
        """Every `Origin` of a page that this server sent."""
        return frozenset(f"http://{host}" for host in self.hosts)

    def knows(self, given: str) -> bool:
        """Compare a token with the right one, in a time that tells nothing about it.

        >>> Access(token="k7m2p-qr9st").knows(" K7M2P QR9ST ")
        True
        """
        return self.token is not None and hmac.compare_digest(_letters(self.token), _letters(given))


LOCAL = Access()


def new_token() -> str:
    """Return a random token that a person can also type: k7m2p-qr9st-4uvwx-ab3cd."""
    groups = ("".join(secrets.choice(LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(TOKEN_GROUPS))
    return "-".join(groups)


def _letters(token: str) -> bytes:
    """Return a token as it is compared: without the hyphens, spaces and capitals that a person may type."""
    return "".join(token[:LONGEST_TOKEN].replace("-", " ").split()).lower().encode("utf-8", "replace")
