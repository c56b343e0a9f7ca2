"""The real process: its first line, ports, the lock, options, slow and rude clients, and how it goes down."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import server
from errors import NotThisMachine
from tests.web.web_client import BOOK, BOOK_NAME, TINY_MODEL, TINY_TRAINING

pytestmark = pytest.mark.slow  # seconds of processor time

ROOT = Path(__file__).resolve().parent.parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")


@dataclass
class Process:
    """A server process and what it said."""

    popen: subprocess.Popen[str]
    first_line: str

    @property
    def port(self) -> int:
        return int(self.first_line.rsplit(":", 1)[1])

    def connect(self, host: str = "127.0.0.1") -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host, self.port, timeout=20)

    def call(
        self, method: str, path: str, body: Any = None, host: str = "127.0.0.1", **headers: str
    ) -> tuple[int, Any]:
        if not isinstance(body, bytes | None):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        with contextlib.closing(self.connect(host)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")

    def end(self, number: int = signal.SIGTERM, seconds: float = 60) -> tuple[int, str]:
        """Exit code and standard error."""
        self.popen.send_signal(number)
        _, errors = self.popen.communicate(timeout=seconds)
        return self.popen.returncode, errors


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZR_", "LC_", "LANG"))}
    return {**kept, "PYTHONUNBUFFERED": "", **changes}


@contextlib.contextmanager
def serving(
    workspace: Path,
    *options: str,
    prepare: Callable[[], None] | None = None,
    command: list[str] | None = None,
    **variables: str,
) -> Iterator[Process]:
    """A running server; `prepare` is called in its process before it starts."""
    command = command or [sys.executable, str(ROOT / "server.py"), "--workspace", str(workspace), *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    pipes["preexec_fn"] = prepare
    popen = subprocess.Popen(
        command, cwd=ROOT, env=environment(**{"AZR_NO_BROWSER": "1", "AZR_PORT": "0", **variables}), **pipes
    )  # type: ignore[call-overload]
    try:
        first_line = popen.stdout.readline().strip()
        assert first_line.startswith("AZR Model Trainer: http://localhost:"), popen.communicate()
        yield Process(popen, first_line)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()


def refused(workspace: Path, *options: str, **variables: str) -> tuple[int, str, str]:
    command = [sys.executable, str(ROOT / "server.py"), "--workspace", str(workspace), "--no-browser", *options]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, env=environment(**variables), check=False
    )
    return done.returncode, done.stdout, done.stderr


@dataclass(frozen=True)
class Shared:
    process: Process
    workspace: Path
    opened: Path  # what a browser was asked to open, a line each

    @property
    def address(self) -> str:
        return self.process.first_line.split(": ")[1]

    @property
    def browser(self) -> str:
        return str(self.opened.with_name("browser"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One server for the tests that leave it as it is. It was started with a browser."""
    folder = tmp_path_factory.mktemp("shared")
    browser, opened = folder / "browser", folder / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{opened}"\n')
    browser.chmod(0o755)
    with serving(folder / "ws", BROWSER=str(browser), AZR_NO_BROWSER="0", AZR_UPLOAD_LIMIT_MB="1") as process:
        yield Shared(process, folder / "ws", opened)


def prepare_training(process: Process) -> None:
    assert process.call("POST", "/create_model", {"name": "poet", **TINY_MODEL})[0] == 201
    text = BOOK.encode("utf-8")
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{BOOK_NAME}.txt"\r\n\r\n'.encode()
    form = head + text + b"\r\n--b--\r\n"
    status, book = process.call("POST", "/upload_book", form, **{"Content-Type": "multipart/form-data; boundary=b"})
    assert (status, book["name"]) == (201, BOOK_NAME)


def start_training(process: Process) -> None:
    body = {"model": "poet", "books": [BOOK_NAME], **TINY_TRAINING, "iterations": None}
    assert process.call("POST", "/train", body)[0] == 202
    deadline = time.monotonic() + 60
    while process.call("GET", "/training_status")[1]["iteration"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@posix
def test_server_with_fifty_streams_saves_when_it_is_terminated_and_knows_when_it_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "рабочая папка", "--port", "0") as process:
        prepare_training(process)
        start_training(process)
        streams = [process.connect() for _ in range(50)]
        for stream in streams:
            stream.request("GET", "/training_events")
        answers = [stream.getresponse() for stream in streams]
        assert all(answer.readline() for answer in answers)
        iteration = process.call("GET", "/training_status")[1]["iteration"]
        begun = time.monotonic()
        code, errors = process.end()
        seconds = time.monotonic() - begun
        assert (code, errors) == (0, "")
        assert seconds < 10
        for stream, answer in zip(streams, answers, strict=True):
            answer.read()  # ended, not reset
            stream.close()
    with serving(tmp_path / "рабочая папка") as again:
        status = again.call("GET", "/training_status")[1]
        assert (status["state"], status["model"]) == ("stopped", "poet")
        start_training(again)
        status = again.call("GET", "/training_status")[1]
        assert status["resumed"] is True
        assert status["started_iteration"] >= iteration
        again.end(signal.SIGKILL)
    with serving(tmp_path / "рабочая папка") as third:
        assert third.call("GET", "/training_status")[1]["state"] == "interrupted"
        assert third.end(signal.SIGINT) == (0, "")


@pytest.mark.slow
def test_second_server_on_a_workspace_names_the_first(shared: Shared) -> None:
    code, out, errors = refused(shared.workspace, "--port", "0")
    assert (code, out) == (2, "")
    assert len(errors.strip().splitlines()) == 1
    assert shared.address in errors
    assert shared.process.call("GET", "/healthz") == (200, {"status": "ok"})


@pytest.mark.slow
@posix
def test_browser_opens_at_the_start_and_again_when_it_is_already_running(shared: Shared) -> None:
    wait_for_text(shared.opened, f"{shared.address}\n")
    command = [sys.executable, str(ROOT / "server.py"), "--workspace", str(shared.workspace)]
    done = subprocess.run(
        command, capture_output=True, timeout=60, env=environment(BROWSER=shared.browser), check=False
    )
    assert done.returncode == 2
    wait_for_text(shared.opened, f"{shared.address}\n{shared.address}\n")


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or path.read_text() != text:
        assert time.monotonic() < deadline, path.read_text() if path.exists() else None
        time.sleep(0.05)


def test_server_answers_under_both_meanings_of_localhost_and_nothing_else(shared: Shared) -> None:
    for host in ("127.0.0.1", "localhost", *(["::1"] if has_ipv6() else [])):
        assert shared.process.call("GET", "/healthz", host=host)[0] == 200
    assert shared.process.call("GET", "/healthz", Host="evil.example")[0] == 421
    for address in other_addresses():
        with pytest.raises(OSError, match="refused"):
            shared.process.connect(address).connect()


def other_addresses() -> set[str]:
    found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return {str(address) for address in found if not str(address).startswith("127.")}


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return True
    return False


def test_upload_over_the_limit_gets_the_answer_and_not_a_reset(shared: Shared) -> None:
    port = shared.process.port
    with socket.create_connection(("127.0.0.1", port), 20) as raw:
        head = f"POST /upload_book HTTP/1.1\r\nHost: localhost:{port}\r\nTransfer-Encoding: chunked\r\n"
        raw.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
        raw.sendall(f"{len(form):x}\r\n".encode() + form + b"\r\n")
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        sent = 0
        while sent < 2000 and not select.select([raw], [], [], 0)[0]:
            raw.sendall(chunk)
            sent += 1
        for _ in range(20):  # a client that does not look up while it sends
            raw.sendall(chunk)
        raw.sendall(b"0\r\n\r\n")
        answer = b""
        while received := raw.recv(65536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"book_too_large"' in answer
    assert sent < 1000  # 65 MB; the limit is 1 MB, the rest is what the system holds in between
    assert [book["name"] for book in shared.process.call("GET", "/books")[1]["books"]] == [
        "example_book",
        "example_book_en",
    ]


def test_healthy_client_is_answered_beside_hundreds_of_slow_ones(shared: Shared) -> None:
    with contextlib.ExitStack() as slow:
        for _ in range(300):
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", shared.process.port), 20))
            connection.sendall(b"POST /train HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        begun = time.monotonic()
        assert shared.process.call("GET", "/training_status")[0] == 200
        assert time.monotonic() - begun < 1


BUSY = """
import sys, time, workflows
from pathlib import Path

begun = Path(sys.argv.pop())

def busy(*arguments, **named):
    begun.write_text("busy")
    time.sleep(100)
    yield

workflows.train = busy
workflows.list_models = lambda *_: list(busy())
import server
server._process()
"""


@pytest.mark.slow
@posix
@pytest.mark.parametrize("work", ["training", "request"])
def test_server_ends_soon_during_work_that_hears_no_signal_and_has_nothing_to_save(tmp_path: Path, work: str) -> None:
    begun = tmp_path / "busy"
    command = [sys.executable, "-c", BUSY, "--workspace", str(tmp_path / "ws"), str(begun)]
    with serving(tmp_path / "ws", command=command) as process, contextlib.closing(process.connect()) as other:
        if work == "training":
            prepare_training(process)
            assert process.call("POST", "/train", {"model": "poet", "books": [BOOK_NAME], **TINY_TRAINING})[0] == 202
        else:
            other.request("GET", "/models")
        wait_for_text(begun, "busy")
        started = time.monotonic()
        code, _ = process.end()
        assert code == 0
        assert time.monotonic() - started < 12


def few_descriptors() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def upload_slowly(process: Process, pieces: int) -> Iterator[None]:
    """Upload a book, a piece for each step, and look at the answer after the last."""
    text = BOOK.encode("utf-8")
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="slow.txt"\r\n\r\n'
    form = head + text * pieces + b"\r\n--b--\r\n"
    with contextlib.closing(process.connect()) as connection:
        connection.putrequest("POST", "/upload_book")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", str(len(form)))
        connection.endheaders()
        size = -(-len(form) // pieces)
        for begin in range(0, len(form), size):
            connection.send(form[begin : begin + size])
            yield
        assert connection.getresponse().status == 201


@posix
def test_slow_clients_beyond_the_descriptors_keep_nobody_out(tmp_path: Path) -> None:
    beginnings = (b"", b"POST /train HTTP/1.1\r\nHost: localhost\r\nContent-Le", b"GET / HTTP/1.1\r\n")
    with serving(tmp_path, prepare=few_descriptors) as process, contextlib.ExitStack() as slow:
        stream = process.connect()
        stream.request("GET", "/training_events")
        events = stream.getresponse()
        assert events.readline()
        upload = upload_slowly(process, pieces=40)
        next(upload)
        for number in range(400):
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", process.port), 20))
            with contextlib.suppress(ConnectionError):
                connection.sendall(beginnings[number % 3])
        for _ in upload:
            begun = time.monotonic()
            assert process.call("GET", "/training_status")[0] == 200
            assert time.monotonic() - begun < 1
        code, errors = process.end()
        assert code == 0
        assert len(errors) < 5000, errors[:2000]
        assert events.read().startswith(b"\n")  # it lived to the end, and was ended in order
        stream.close()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_books_that_are_no_folder_are_named_at_the_start(tmp_path: Path, kind: str) -> None:
    books = tmp_path / "books"
    books.symlink_to("nowhere") if kind == "link" else books.write_text("", encoding="utf-8")
    code, _, errors = refused(tmp_path, "--port", "0")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert str(books) in errors


# ---- options and ports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["example.com", "192.168.0", "", "0.0.0.0:80"])
def test_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(NotThisMachine):
        server.parse(["--host", host])


def test_address_of_another_machine_is_refused_in_one_sentence_in_the_consoles_language(tmp_path: Path) -> None:
    code, out, errors = refused(tmp_path, "--host", "198.51.100.7", "--port", "0", LANG="ru_RU.UTF-8")
    assert (code, out) == (2, "")
    assert "у этого компьютера нет адреса 198.51.100.7" in errors
    assert len(errors.splitlines()) == 1


def test_options_come_from_the_environment_and_the_command_line_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOST", "PORT", "WORKSPACE", "NO_BROWSER", "UPLOAD_LIMIT_MB"):
        monkeypatch.delenv(f"AZR_{name}", raising=False)
    assert server.parse([]) == server.Options("127.0.0.1", 8000, server.ROOT, True, None)
    monkeypatch.setenv("AZR_PORT", "9000")
    monkeypatch.setenv("AZR_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("AZR_NO_BROWSER", "1")
    monkeypatch.setenv("AZR_UPLOAD_LIMIT_MB", "5")
    assert server.parse([]) == server.Options("127.0.0.1", 9000, tmp_path, False, 5_000_000)
    assert server.parse(["--port", "9001"]).port == 9001


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "-1"], "-1"),
        (["--port", "99999"], "99999"),
        (["--port", "abc"], "abc"),
        (["--port"], "--port"),
        (["--upload-limit-mb", "0"], "--upload-limit-mb"),
        (["--no-browser=yes"], "--no-browser"),
        (["--what"], "--what"),
        (["what"], "what"),
        (["--h", "x"], "--host"),
    ],
)
def test_senseless_options_end_with_code_two_and_are_named_in_the_consoles_language(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
    language: str,
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("AZR_LANGUAGE", language)
    assert server.main(arguments) == 2
    told = capsys.readouterr().err
    assert named in told
    for english in ("invalid", "expected", "argument", "unrecognized", "ambiguous", "usage:"):
        assert english not in told
    assert bool(set(told) & set("абвгде")) == (language == "ru")


def closing(sockets: list[socket.socket]) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    for each in sockets:
        stack.enter_context(each)
    return stack


def free_port() -> int:
    with closing(server.listen(0)) as _, socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def test_taken_port_is_passed_over_and_the_one_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    used: list[int] = []
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(server, "_prepare_process", lambda _: None)
    monkeypatch.setattr(server, "_make_app", lambda workspace, options, network: used.append(network.here.port))
    monkeypatch.setattr(server, "_run", lambda app, sockets, network, opened, on_ready: on_ready())
    port = free_port()
    with closing(server.listen(port)):
        assert server.main(["--workspace", str(tmp_path), "--port", str(port), "--no-browser"]) == 0
    said = capsys.readouterr()
    assert port < used[0] <= port + 20
    assert said.out == f"AZR Model Trainer: http://localhost:{used[0]}\n"
    assert str(port) in said.err
    assert str(used[0]) in said.err


def test_answers_do_not_wait_for_nagle() -> None:
    """Head and body are written one after the other; without TCP named, each answer took 40 ms."""
    sockets = server.listen(0)
    with closing(sockets):
        assert {each.proto for each in sockets} == {socket.IPPROTO_TCP}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_port_whose_other_half_is_taken_is_passed_over() -> None:
    port = free_port()
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", port))
        other.listen()
        sockets = server.listen(port)
        with closing(sockets):
            assert sockets[0].getsockname()[1] > port


def test_no_free_port_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("web.listening._listen_on", lambda port, host: [])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert server.main(["--workspace", str(tmp_path), "--port", "8000", "--no-browser"]) == 2
    told = capsys.readouterr().err
    assert "8000" in told
    assert "8020" in told


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_workspace_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, errors = refused(tmp_path / "inside")
    assert code == 2
    assert len(errors.splitlines()) == 1


def test_workspace_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, errors = refused(tmp_path / "file" / "inside")
    assert code == 2
    assert len(errors.splitlines()) == 1


def test_refusals_do_not_wait_for_torch() -> None:
    heavy = "import sys, server; sys.exit(any(name in sys.modules for name in ('torch', 'fastapi', 'starlette', 'web.app')))"
    assert subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, check=False).returncode == 0
