"""Who may reach the server: one value that the guards, the application and the server's start share."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # what `--host` may say


@dataclass(frozen=True)
class Access:
    """The names and the port under which the server answers, and the token that a caller must know.

    `token` is None as long as the server listens on this machine only; nothing asks for it yet.
    """

    port: int = 8000
    names: tuple[str, ...] = LOOPBACK
    token: str | None = None

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


LOCAL = Access()
