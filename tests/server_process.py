"""A real server process on a free port, with a workspace of its own, for tests and for the README's screenshots."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ServerProcess:
    workspace: Path
    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{quote(path, safe='/?&=%')}", timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + quote(path), json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def delete(self, path: str) -> None:
        urllib.request.urlopen(urllib.request.Request(self.address + quote(path), method="DELETE"), timeout=30).close()


@contextlib.contextmanager
def serving(workspace: Path) -> Iterator[ServerProcess]:
    """Fails with what the server wrote to its standard error when it does not come up."""
    workspace.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "server.py"), "--workspace", str(workspace), "--port", "0", "--no-browser"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AZR_")}
    with (workspace / "server.err").open("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, env=kept, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        )
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            assert first_line.startswith("AZR Model Trainer: http://localhost:"), _said(errors)
            yield ServerProcess(workspace, int(first_line.rsplit(":", 1)[1]), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()


def _said(errors: Any) -> str:
    errors.seek(0)
    return str(errors.read())
