"""Callers from the local network: without the token they read nothing; with it they may do what this machine may."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from starlette.testclient import TestClient

from console.qr import in_terminal
from errors import NoLocalNetwork
from tests.web.web_client import (
    BOOK_NAME,
    HERE,
    MODEL,
    PORT,
    UPLOAD_LIMIT_BYTES,
    assert_error,
    create,
    events_of,
    every_call,
    expect,
    status_when,
    train,
    upload,
)
from web import listening
from web.access import LETTERS, Access, new_token
from web.app import create_app
from web.network import FREE_TOKENS, LONGEST_WAIT_SECONDS, Network, Opened, WrongTokens
from web.sign_in import PUBLIC_PATHS
from workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS, PHONE = "192.168.1.5", ("192.168.1.77", 40_000)
BASE = f"http://{ADDRESS}:{PORT}"
WRONG = "aaaaa-aaaaa-aaaaa-aaaaa"
SECRET = "секретная"  # a model that nobody without the token may hear of


class Door:
    """Stands in for the server's listener: no port is opened, and what was asked for is kept."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def open_network(self, address: str | None) -> Opened:
        self.asked.append(address)
        return Opened(ADDRESS, PORT, ("my-computer", "my-computer.local", ADDRESS))

    async def close_network(self) -> None:
        self.asked.append("closed")


class Machine:
    """A running application, as this machine and as others in the network see it."""

    def __init__(self, workspace: Workspace) -> None:
        self.network = Network(Access(PORT))
        self.door = Door()
        self.network.listener = self.door
        self.app = create_app(workspace, network=self.network, upload_limit_bytes=UPLOAD_LIMIT_BYTES)

    def caller(self, client: tuple[str, int] = PHONE, base: str = BASE, **headers: str) -> TestClient:
        return TestClient(self.app, base, raise_server_exceptions=False, client=client, headers=headers)

    def open(self) -> str:
        """Open as the page does; the token."""
        return str(expect(self.here.post("/network", json={}), 200)["token"])

    @property
    def here(self) -> TestClient:
        return self.caller(HERE, f"http://localhost:{PORT}")


@pytest.fixture
def machine(workspace: Workspace) -> Iterator[Machine]:
    made = Machine(workspace)
    with made.here as client:  # starts and ends the application
        create(client, SECRET)
        yield made


# ---- without the token -----------------------------------------------------------------------------------------------


def test_closed_server_answers_nobody_from_the_network(machine: Machine) -> None:
    for call in every_call(machine.app):
        assert machine.caller().request(call.method, call.path).status_code == 403, call
    assert_error(machine.caller().get("/models"), 403, "network_closed")
    page = machine.caller().get("/library", headers={"Accept": "text/html"})
    assert (page.status_code, SECRET in page.text) == (403, False)
    assert machine.caller().get("/static/css/base.css").status_code == 403
    assert machine.here.get("/models").status_code == 200


def test_without_the_token_the_network_reads_only_the_sign_in_page_and_its_files(machine: Machine) -> None:
    machine.open()
    phone = machine.caller(Accept="text/html")
    for call in every_call(machine.app):
        answer = phone.request(call.method, call.path, follow_redirects=False)
        assert SECRET not in answer.text
        if call.path in PUBLIC_PATHS:
            assert answer.status_code in (200, 303, 401), call
        else:
            assert answer.status_code == 401, call
    for path in (ROOT / "static").rglob("*.*"):
        address = f"/{path.relative_to(ROOT).as_posix()}"
        assert phone.get(address).status_code == (200 if address in PUBLIC_PATHS else 401), address
    assert phone.get("/no_such_page").status_code == 401


def test_sign_in_page_loads_only_files_that_anybody_may_have(machine: Machine) -> None:
    machine.open()
    page = machine.caller().get("/sign_in").text
    wanted = re.findall(r'(?:href|src)="(/static/[^"?]+)', page)
    assert len(wanted) > 5
    assert set(wanted) <= PUBLIC_PATHS
    assert all(machine.caller().get(path).status_code == 200 for path in wanted)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {WRONG}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic Og=="},
        {"Cookie": f"azr_token_{PORT}={WRONG}"},
        {"Cookie": "azr_token_0=None"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Host": f"localhost:{PORT}"},
        {"Host": "evil.example"},
    ],
    ids=str,
)
def test_nothing_but_the_right_token_lets_a_caller_in(machine: Machine, headers: dict[str, str]) -> None:
    machine.open()
    for accept in ("application/json", "text/html"):
        answer = machine.caller().get("/models", headers={"Accept": accept, **headers})
        assert answer.status_code in (401, 421)
        assert SECRET not in answer.text


def test_caller_of_unknown_address_counts_as_one_from_the_network(machine: Machine) -> None:
    assert machine.caller(("", 0)).get("/models").status_code == 403
    assert machine.caller(("testclient", 1)).get("/models").status_code == 403
    assert machine.caller(("::ffff:192.168.1.77", 1)).get("/models").status_code == 403


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_token(machine: Machine, address: str) -> None:
    machine.open()
    assert machine.caller((address, 1), f"http://localhost:{PORT}").get("/models").status_code == 200


def test_errors_before_sign_in_show_nothing_of_the_program(machine: Machine) -> None:
    machine.open()
    page = machine.caller(Accept="text/html").get("/", headers={"Host": "evil.example"})
    assert page.status_code == 421
    assert 'class="tabs"' not in page.text
    assert 'class="tabs"' in machine.here.get("/nope", headers={"Accept": "text/html"}).text


# ---- signing in ------------------------------------------------------------------------------------------------------


def test_link_becomes_a_cookie_and_an_address_without_the_token(machine: Machine) -> None:
    link = expect(machine.here.post("/network", json={}), 200)["link"]
    assert link.startswith(f"{BASE}/sign_in?token=")
    phone = machine.caller(Accept="text/html")
    first = phone.get(link, follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert first.headers["cache-control"] == "no-store"
    library = phone.get("/library")
    assert library.status_code == 200
    assert SECRET in library.text
    assert urlsplit(link).query.partition("=")[2] not in library.text


def test_token_can_be_typed_into_the_form(machine: Machine) -> None:
    token = machine.open()
    phone = machine.caller(Accept="text/html", Origin=BASE)
    wrong = phone.post("/sign_in", data={"token": WRONG}, headers={"Accept-Language": "ru"})
    assert wrong.status_code == 401
    assert "Токен не подходит" in wrong.text
    assert phone.post("/sign_in", data={"token": token.upper().replace("-", " ")}).status_code == 200
    assert SECRET in phone.get("/models").text


def test_wrong_link_is_answered_with_the_form(machine: Machine) -> None:
    machine.open()
    answer = machine.caller(Accept="text/html").get(f"/sign_in?token={WRONG}")
    assert answer.status_code == 401
    assert 'name="token"' in answer.text
    assert "set-cookie" not in answer.headers


def test_new_link_and_closing_shut_out_who_was_let_in_before(machine: Machine) -> None:
    first = machine.open()
    assert machine.caller(Authorization=f"Bearer {first}").get("/models").status_code == 200
    second = machine.open()
    assert machine.caller(Authorization=f"Bearer {first}").get("/models").status_code == 401
    assert machine.caller(Authorization=f"Bearer {second}").get("/models").status_code == 200
    assert machine.here.delete("/network").status_code == 204
    assert machine.caller(Authorization=f"Bearer {second}").get("/models").status_code == 403
    assert machine.door.asked == ["closed", None, "closed", None, "closed"]


def test_nothing_is_open_after_a_start(workspace: Workspace, machine: Machine) -> None:
    machine.open()
    assert Machine(workspace).network.outside is None


# ---- with the token --------------------------------------------------------------------------------------------------


def test_program_with_the_token_may_do_everything_but_open_and_close(machine: Machine) -> None:
    phone = machine.caller(Authorization=f"Bearer {machine.open()}")
    create(phone, MODEL)
    upload(phone, BOOK_NAME)
    train(phone, iterations=3)
    with phone.stream("GET", "/training_events?last_event_id=0") as stream:
        assert next(events_of(stream.iter_lines())).event == "status"
    assert status_when(phone, lambda status: status["state"] == "done")
    assert phone.get(f"/download_model?model={MODEL}&format=hf").content.startswith(b"PK")
    for answer in (phone.get("/network"), phone.post("/network", json={}), phone.delete("/network")):
        assert_error(answer, 403, "only_here")


def test_openai_client_uses_the_token_as_its_key(machine: Machine) -> None:
    token = machine.open()
    right, wrong = (
        openai.OpenAI(base_url=f"{BASE}/v1", api_key=key, http_client=machine.caller(), max_retries=0)  # type: ignore[arg-type]
        for key in (token, WRONG)
    )
    assert right.models.list().data == []  # nothing is trained yet
    with pytest.raises(openai.AuthenticationError, match="token"):
        wrong.models.list()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"http://localhost:{PORT}", "http://192.168.1.5"])
def test_pages_of_other_origins_change_nothing_with_a_signed_in_phone(machine: Machine, origin: str) -> None:
    phone = machine.caller(Authorization=f"Bearer {machine.open()}", Origin=origin)
    assert_error(phone.delete(f"/models/{SECRET}"), 403, "origin_refused")


@pytest.mark.parametrize("host", [ADDRESS, "my-computer", "my-computer.local"])
def test_server_answers_the_network_under_its_names_there(machine: Machine, host: str) -> None:
    token = machine.open()
    headers = {"Authorization": f"Bearer {token}", "Host": f"{host}:{PORT}", "Origin": f"http://{host}:{PORT}"}
    assert machine.caller().delete(f"/models/{SECRET}", headers=headers).status_code == 204


@pytest.mark.parametrize("host", [ADDRESS, "my-computer"])
def test_this_machine_is_not_called_by_its_names_in_the_network(machine: Machine, host: str) -> None:
    machine.open()
    assert_error(machine.here.get("/models", headers={"Host": f"{host}:{PORT}"}), 421, "host_refused")


def test_state_of_the_network_never_tells_the_token(machine: Machine) -> None:
    token = machine.open()
    state = machine.here.get("/network")
    assert expect(state, 200)["address"] == ADDRESS
    assert token not in state.text
    assert token not in repr(machine.network.outside)
    assert token not in machine.here.get("/library").text


def test_server_without_a_listener_of_its_own_cannot_be_opened(machine: Machine) -> None:
    machine.network.listener = None
    assert_error(machine.here.post("/network", json={}), 403, "network_closed")
    assert 'id="phone-button"' not in machine.here.get("/").text


def test_code_for_the_camera_is_drawn_here_and_only_on_a_terminal(machine: Machine) -> None:
    pytest.importorskip("segno")
    opened = expect(machine.here.post("/network", json={}), 200)
    assert opened["qr"].startswith("data:image/svg+xml")
    assert "http://" not in opened["qr"].replace("http://www.w3.org/2000/svg", "")
    assert in_terminal(opened["link"], io.StringIO()) == ""
    assert in_terminal(opened["link"], Terminal()).count("█") > 50


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


# ---- wrong tokens ----------------------------------------------------------------------------------------------------


def guess(caller: TestClient, number: int) -> int:
    return caller.get("/models", headers={"Authorization": f"Bearer wrong-{number}"}).status_code


def test_wrong_tokens_are_slowed_down_for_their_address_alone(machine: Machine) -> None:
    token = machine.open()
    assert [guess(machine.caller(), n) for n in range(FREE_TOKENS + 1)] == [401] * FREE_TOKENS + [429]
    refused = machine.caller(Authorization=f"Bearer {token}").get("/models")
    assert_error(refused, 429, "too_many_tokens")
    assert refused.headers["retry-after"] == "1"
    page = machine.caller(Accept="text/html").get(f"/sign_in?token={token}")
    assert (page.status_code, "set-cookie" in page.headers) == (429, False)
    other = machine.caller(("192.168.1.78", 1), Authorization=f"Bearer {token}")
    assert other.get("/models").status_code == 200


def test_page_left_open_with_an_old_token_does_not_shut_its_phone_out(machine: Machine) -> None:
    old, token = machine.open(), machine.open()
    stale = machine.caller(Cookie=f"azr_token_{PORT}={old}")
    assert {stale.get("/training_status").status_code for _ in range(3 * FREE_TOKENS)} == {401}
    assert machine.caller(Authorization=f"Bearer {token}").get("/models").status_code == 200


def test_wait_grows_to_a_minute_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("web.network.time.monotonic", lambda: now)
    wrong, waits = WrongTokens(), []
    for number in range(FREE_TOKENS + 8):
        wrong.note(PHONE[0], str(number))
        waits.append(wrong.wait_seconds(PHONE[0]))
    assert waits == [0] * (FREE_TOKENS - 1) + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    now += LONGEST_WAIT_SECONDS + 1
    assert wrong.wait_seconds(PHONE[0]) == 0
    now += 1000
    wrong.note(PHONE[0], "once more")
    assert wrong.wait_seconds(PHONE[0]) == 0


def test_neighbours_in_one_network_of_ipv6_wait_together() -> None:
    wrong = WrongTokens()
    for number in range(FREE_TOKENS):
        wrong.note(f"2001:db8::{number + 1}", str(number))
    assert wrong.wait_seconds("2001:db8::ffff") == 1
    assert wrong.wait_seconds("2001:db8:1::1") == 0


# ---- the real process, in a network of its own ------------------------------------------------------------------------


def has_networks() -> bool:
    """Whether this process may make a network that leads nowhere."""
    tools = all(map(shutil.which, ("unshare", "ip")))
    return tools and subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_networks(), reason="no network of its own can be made here")
@pytest.mark.parametrize("host", [(), ("--host", "0.0.0.0")], ids=["switched-on-by-the-page", "from-the-start"])
def test_process_opens_to_a_phone_and_closes_again(tmp_path: Path, host: tuple[str, ...]) -> None:
    program = ["unshare", "--net", sys.executable, "-m", "tests.web.network_visit"]
    options = ["--workspace", str(tmp_path), "--port", "0", "--no-browser", *host]
    done = subprocess.run([*program, *options], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    fine = [200, '{"status":"ok"}']
    assert seen["printed"] is bool(host)
    assert seen["before"] == (fine if host else "ConnectionRefusedError")
    assert seen["without"][0] == 401
    assert seen["closed"] == ("ConnectionResetError" if host else "ConnectionRefusedError")
    assert (seen["with_token"], seen["stream"], seen["here"], seen["again"]) == (fine, 200, fine, fine)
    assert (seen["code"], seen["told"], seen["errors"]) == (0, False, "")


# ---- tokens and addresses --------------------------------------------------------------------------------------------


def test_tokens_differ_and_hold_enough_chance() -> None:
    tokens = {new_token() for _ in range(200)}
    assert len(tokens) == 200
    assert len(LETTERS) ** len(tokens.pop().replace("-", "")) > 2**96


@pytest.mark.parametrize("given", ["", " ", "-", "k7m2p", "k7m2p-qr9st-x", "K7M2P-QR9SТ", "\ud800"])
def test_other_tokens_are_not_known(given: str) -> None:
    assert not Access(token="k7m2p-qr9st").knows(given)
    assert not Access(token=None).knows(given)


def test_only_addresses_of_local_networks_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["8.8.8.8", "169.254.1.1", "192.168.1.5", "10.0.0.9", "100.101.1.1"]
    monkeypatch.setattr(listening, "_addresses", lambda: addresses)
    assert listening.local_addresses() == ("192.168.1.5", "10.0.0.9", "100.101.1.1")
    assert listening.best_known_as() == "192.168.1.5"
    monkeypatch.setattr(listening, "_addresses", lambda: addresses[:2])
    with pytest.raises(NoLocalNetwork):
        listening.local_addresses()
    assert listening.best_known_as() == "8.8.8.8"
