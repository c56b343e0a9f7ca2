"""`python server.py`: start the server, for one person: on this computer alone, unless --host says otherwise.

    AZR Model Trainer: http://localhost:8000        the first line on standard output, once the server answers

It listens on 127.0.0.1 and, where there is IPv6, on ::1, because `localhost` may mean either; with --host 0.0.0.0, or when a
page asks for it, in the local network as well, for those who know a token (`web/network.py`). If the port is in use, the next
free one is taken and printed. The workspace is locked for as long as the process lives; a second
server on it ends with code 2 and prints the address of the first. SIGTERM and Ctrl+C close the open streams, let the
training save, and exit with 0. Every option can also be an environment variable: AZR_PORT for --port and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import uvicorn

import i18n
from console.arguments import Parser, WrongCall
from console.qr import in_terminal
from console.streams import READER_GONE, ReaderGone, guarded_output
from errors import AZRError, InvalidInput, NotThisMachine, WorkspaceLocked
from web.access import LOOPBACK, Access
from web.connections import Connection, Quiet, close_late
from web.listening import (
    EVERY_ADDRESS,
    MOST_PORT,
    best_known_as,
    listen,
    listen_in_network,
    local_addresses,
    network_names,
)
from web.network import Network, Opened, is_this_machine
from workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

ROOT = Path(__file__).resolve().parent
EXAMPLE_BOOK = ROOT / "books" / "example_book.txt"
CONNECTIONS = 4000  # streams stay open, so this is far above what a page needs
DESCRIPTORS = 16_384
OTHER_DESCRIPTORS = 112  # kept free for files, pipes and connections on their way
ACCEPTED_AT_ONCE, QUEUED = 8, 2048  # more connections wait in the system's queue, where they take no descriptor
TICKS_PER_SECOND = 10  # of uvicorn's main loop
GRACE_SECONDS = 4  # for answers under way when the server goes down
REFUSED = 2


@dataclass(frozen=True)
class Options:
    host: str
    port: int
    workspace: Path
    browser: bool
    upload_limit_bytes: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    for number in _ending_signals():
        signal.signal(number, _leave)
    translator = i18n.translator(i18n.console_language())
    options = None
    try:
        with guarded_output():
            options = parse(arguments)
            serve(options, translator)
    except ReaderGone:
        return READER_GONE
    except WrongCall as error:
        more = translator.gettext("cli.usage.more", command="python server.py --help")
        _print_error(f"{translator.gettext(error.key, **error.values)}\n{more}")
        return REFUSED
    except WorkspaceLocked as error:
        _print_error(translator.error(error))
        holder = str(error.parameters["holder"])
        if options is not None and options.browser and holder.startswith("http://localhost:"):
            webbrowser.open(holder)
        return REFUSED
    except AZRError as error:
        _print_error(translator.error(error))
        return REFUSED
    return 0


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the options from the command line, else from AZR_*. Raises WrongCall, InvalidInput and NotThisMachine."""
    parser = Parser(prog="server.py", description="AZR Model Trainer: books in, your own language model out.")
    add = parser.add_argument
    add("--host", default=_environment("HOST", "127.0.0.1"), help="0.0.0.0: the local network too, with a token")
    add("--port", default=_environment("PORT", "8000"), help="the next free one is used when it is taken")
    add(
        "--workspace",
        type=Path,
        default=_environment("WORKSPACE", str(ROOT)),
        help="the folder of books, models, checkpoints",
    )
    add(
        "--no-browser",
        action="store_true",
        default=_environment("NO_BROWSER", "0") not in ("", "0"),
        help="open no browser",
    )
    add("--upload-limit-mb", default=_environment("UPLOAD_LIMIT_MB", None), help="the largest book")
    given = parser.parse_args(arguments)
    host = _address("--host", given.host)
    port = _whole_number("--port", given.port, 0, MOST_PORT)
    limit = given.upload_limit_mb
    limit_bytes = None if limit is None else _whole_number("--upload-limit-mb", limit, 1) * 1_000_000
    return Options(host, port, given.workspace, not given.no_browser, limit_bytes)


def serve(options: Options, translator: i18n.Translator) -> None:
    """Serve until a signal arrives.

    Raises NoFreePort, NotThisMachine, WorkspaceLocked, AccessDenied, DiskFull and FolderUnusable.
    """
    workspace = Workspace(options.workspace)
    with contextlib.ExitStack() as held:
        sockets = listen(options.port, options.host)
        for listening in sockets:
            held.enter_context(listening)
        port = int(sockets[0].getsockname()[1])
        address = f"http://localhost:{port}"
        held.enter_context(workspace.lock(address))
        if options.port not in (0, port):
            _print_error(translator.gettext("server.port_taken", port=str(options.port), address=address))
        _prepare_process(workspace)
        network, opened = Network(Access(port=port)), _place_in_network(options.host, port)
        app = _make_app(workspace, options, network)

        def ready() -> None:
            _announce(address, options.browser)
            if opened is not None:
                _announce_link(network.let_in(opened), translator)

        _run(app, sockets, network, opened, ready)


def _place_in_network(host: str, port: int) -> Opened | None:
    """Return where --host lets others reach this machine; None for this machine only."""
    if host in LOOPBACK:
        return None
    address = best_known_as() if host in EVERY_ADDRESS else host
    return Opened(address, port, (*network_names(), address))


# ---- running ---------------------------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn's server; it also reports when it is ready, closes late connections, ends event streams on shutdown, and
    opens and closes the way in from the local network.

    `opened` is where it listens in the network from its start; that socket stays, and a closed network is not answered on it.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        network: Network,
        opened: Opened | None,
        on_ready: Callable[[], None],
        on_closing: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.network, self.opened = network, opened
        self.on_ready, self.on_closing = on_ready, on_closing
        self.second: asyncio.Server | None = None  # the listener in the local network that a page asked for
        network.listener = self

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(QUEUED)  # asyncio has made the queue as short as its batch
        try:
            self.on_ready()
        except BaseException:  # the address cannot be printed
            await self.shutdown(sockets)
            raise

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            close_late(self.server_state.connections)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_closing()
        await super().shutdown(sockets)

    async def open_network(self, address: str | None) -> Opened:
        if self.opened is not None:
            return self.opened
        known = local_addresses()
        address = address or known[0]
        if address not in known:
            raise NotThisMachine(field="address", address=address)
        listening = listen_in_network(self.network.here.port, address)
        port = int(listening.getsockname()[1])
        loop = asyncio.get_running_loop()
        self.second = await loop.create_server(self._connection, sock=listening, backlog=self.config.backlog)
        listening.listen(QUEUED)
        self.servers.append(self.second)
        return Opened(address, port, (*network_names(), address))

    async def close_network(self) -> None:
        if self.second is not None:
            self.second.close()
            self.servers.remove(self.second)
            self.second = None
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and not is_this_machine(connection.address):
                connection.transport.abort()

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )  # type: ignore[call-arg]
        return made


def _make_app(workspace: Workspace, options: Options, network: Network) -> FastAPI:
    from web.app import create_app  # torch comes with it: a refusal need not wait for that
    from workflows import DEFAULT_LIMIT_BYTES

    limit_bytes = options.upload_limit_bytes or DEFAULT_LIMIT_BYTES
    return create_app(workspace, network=network, upload_limit_bytes=limit_bytes, example_book=EXAMPLE_BOOK)


def _run(
    app: FastAPI,
    sockets: list[socket.socket],
    network: Network,
    opened: Opened | None,
    on_ready: Callable[[], None],
) -> None:
    from web.app import begin_closing

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=functools.partial(Connection, admits=network.admits),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=ACCEPTED_AT_ONCE,
        limit_concurrency=_connection_limit(),
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    Server(config, network, opened, on_ready, lambda: begin_closing(app)).run(sockets)


def _prepare_process(workspace: Workspace) -> None:
    from workflows import use_one_heap  # torch comes with it

    use_one_heap()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("python_multipart", "asyncio"):  # they warn of each broken form and of each client that went away
        logging.getLogger(chatty).setLevel(logging.ERROR)
    workspace.prepare()
    tempfile.tempdir = str(workspace.books)  # uploads arrive there: elsewhere may be memory, or another disk
    for noisy in ("asyncio", "uvicorn.error"):  # a client can make them repeat a line thousands of times
        logging.getLogger(noisy).addFilter(Quiet())


def _connection_limit() -> int:
    """Raise the process's limit of descriptors and return how many connections it leaves room for."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if 0 <= soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return CONNECTIONS if soft < 0 else min(CONNECTIONS, max(soft - OTHER_DESCRIPTORS, soft // 4))


def _announce(address: str, browser: bool) -> None:
    sys.stdout.write(f"AZR Model Trainer: {address}\n")
    sys.stdout.flush()
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _announce_link(link: str, translator: i18n.Translator) -> None:
    """Print the link with the token, and its QR code where a terminal shows it. It is told this once, and in no log."""
    sys.stdout.write(translator.gettext("server.network_link", link=link) + "\n" + in_terminal(link, sys.stdout))
    sys.stdout.flush()


# ---- the process -----------------------------------------------------------------------------------------------------


def _ending_signals() -> list[int]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


def _leave(*_: object) -> None:
    """Exit on a signal before uvicorn runs, and after it: it raises the signal again once everything is closed."""
    raise SystemExit(0)


def _print_error(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _environment(name: str, default: str | None) -> str | None:
    return os.environ.get(f"AZR_{name}", default)


def _address(option: str, text: str) -> str:
    """Return the address that an option was given. Raises NotThisMachine for what is no address."""
    try:
        return text if text in LOOPBACK else str(ipaddress.ip_address(text))
    except ValueError:
        raise NotThisMachine(field=option, address=text) from None


def _whole_number(option: str, text: str, least: int, most: int | None = None) -> int:
    """Return the number that an option was given. Raises InvalidInput."""
    try:
        number = int(text)
    except ValueError:
        raise InvalidInput(field=option, reason="int_parsing", value=text) from None
    if number < least:
        raise InvalidInput(field=option, reason="greater_than_equal", value=text, ge=str(least))
    if most is not None and number > most:
        raise InvalidInput(field=option, reason="less_than_equal", value=text, le=str(most))
    return number


def _process() -> NoReturn:
    """Run `main` and end the process at once.

    Everything is closed and saved by then. Shutting down the interpreter takes seconds with torch, and would crash a
    training thread that has not ended in time.
    """
    try:
        code = main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before this process began
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _process()
