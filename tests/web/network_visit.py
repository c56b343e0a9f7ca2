"""What a phone in the local network meets, played in a network of its own: `unshare -n python -m tests.web.network_visit`.

The network holds this machine's address alone and leads nowhere. A connection to that address also comes from it, so the
server takes it for one from the network. Called with the server's options; prints what it saw as one line of JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = "192.168.77.5"
NETWORK = ("link set lo up", f"address add {ADDRESS}/24 dev lo", f"route add default dev lo src {ADDRESS}")


def call(host: str, port: int, method: str, path: str, token: str | None = None) -> tuple[int, bytes] | str:
    """Status and body; or what became of the connection."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = b"{}" if method == "POST" else None
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=20)) as connection:
        try:
            connection.request(method, path, body, headers | ({"Content-Type": "application/json"} if body else {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected) as error:
            return type(error).__name__


def visit(process: subprocess.Popen[str], printed_link: bool) -> dict[str, Any]:
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    printed = process.stdout.readline() if printed_link else ""
    seen: dict[str, Any] = {"printed": f"http://{ADDRESS}:{port}/sign_in?token=" in printed}
    seen["before"] = call(ADDRESS, port, "GET", "/healthz", printed.rsplit("=", 1)[-1].strip() or None)
    opened = call("127.0.0.1", port, "POST", "/network")
    token = json.loads(opened[1])["token"]
    seen["with_token"] = call(ADDRESS, port, "GET", "/healthz", token)
    seen["without"] = call(ADDRESS, port, "GET", "/healthz")
    stream = http.client.HTTPConnection(ADDRESS, port, timeout=20)
    stream.request("GET", "/training_events", headers={"Authorization": f"Bearer {token}"})
    events = stream.getresponse()
    seen["stream"] = events.status
    call("127.0.0.1", port, "DELETE", "/network")
    with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
        events.read()  # to its end, which comes with the closing
    seen["closed"] = call(ADDRESS, port, "GET", "/healthz", token)
    seen["here"] = call("127.0.0.1", port, "GET", "/healthz")
    again = json.loads(call("127.0.0.1", port, "POST", "/network")[1])["token"]
    seen["again"] = call(ADDRESS, port, "GET", "/healthz", again)
    process.terminate()
    rest, errors = process.communicate(timeout=60)
    seen |= {"code": process.returncode, "told": token in rest + errors or again in rest + errors, "errors": errors}
    return seen


def main(options: list[str]) -> None:
    for command in NETWORK:
        subprocess.run(["ip", *command.split()], check=True)
    command = [sys.executable, str(ROOT / "server.py"), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=ROOT
    )
    try:
        print(json.dumps(visit(process, "--host" in options), default=bytes.decode))
    finally:
        process.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
