"""What a command says and returns when its output cannot be written: a full disk, a closed stream, a reader that has left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from console.progress import show
from console.streams import ReaderGone, guarded_output
from errors import OutputUnwritable
from events import Evaluated, Event

ROOT = Path(__file__).resolve().parent.parent.parent
FULL = Path("/dev/full")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/full and no shell that closes a stream")
has_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
COMMANDS = [["parameters"], ["books", "--help"], ["books", "list"], ["serve", "--port", "0", "--no-browser"]]


def ended(
    program: str, *arguments: str, output: str, workspace: Path, language: str = "en", **variables: str
) -> tuple[int, list[str]]:
    """Exit code and the lines on standard error of a program whose output a shell directs elsewhere."""
    command = ["sh", "-c", f'exec "$@" {output}', "sh", sys.executable, str(ROOT / program), *arguments]
    environment = os.environ | {"AZR_WORKSPACE": str(workspace), "AZR_LANGUAGE": language} | variables
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", timeout=120, check=False)
    return done.returncode, done.stderr.splitlines()


@has_full
@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_on_a_full_disk_fails_with_one_sentence(tmp_path: Path, command: list[str], unbuffered: str) -> None:
    code, said = ended("cli.py", *command, output=">/dev/full", workspace=tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (code, len(said)) == (2 if command[0] == "serve" else 1, 1), said
    assert said[0].startswith("The output cannot be written: the disk is full")


@posix
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_closed_output_is_refused_with_one_sentence_before_anything_is_done(tmp_path: Path, command: list[str]) -> None:
    code, said = ended("cli.py", *command, output=">&-", workspace=tmp_path, language="ru")
    assert (code, len(said)) == (1, 1), said
    assert said[0].startswith("Не удалось записать вывод команды: стандартный вывод закрыт")
    assert list(tmp_path.iterdir()) == []


@has_full
@pytest.mark.slow
@pytest.mark.parametrize(("output", "named"), [(">/dev/full", "disk is full"), (">&-", "is closed")])
def test_server_without_output_fails_with_one_sentence(tmp_path: Path, output: str, named: str) -> None:
    code, said = ended("server.py", "--port", "0", "--no-browser", output=output, workspace=tmp_path)
    assert (code, len(said)) == (2, 1), said
    assert named in said[0]


@has_full
def test_output_and_errors_on_a_full_disk_end_without_a_traceback(tmp_path: Path) -> None:
    assert ended("cli.py", "parameters", output=">/dev/full 2>/dev/full", workspace=tmp_path) == (1, [])


@posix
@pytest.mark.parametrize("command", [["parameters"], ["create", "--help"]], ids=" ".join)
def test_reader_that_has_left_ends_a_command_silently_as_sigpipe_would(tmp_path: Path, command: list[str]) -> None:
    script = f"(\"$@\"; echo $? >'{tmp_path / 'code'}') | true"
    environment = os.environ | {"AZR_WORKSPACE": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", script, "sh", sys.executable, str(ROOT / "cli.py"), *command],
        env=environment,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    assert ((tmp_path / "code").read_text(encoding="utf-8").strip(), done.stderr) == ("141", b"")


@has_full
def test_what_was_printed_last_is_written_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with FULL.open("w", encoding="utf-8") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        with pytest.raises(OutputUnwritable) as failed, guarded_output():
            sys.stdout.write("not flushed")
        assert sys.stdout is full
    assert failed.value.parameters == {"reason": "full"}


class NobodyReads:
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise OSError


def test_training_whose_output_nobody_reads_is_closed_and_so_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def run() -> Generator[Event, None, None]:
        try:
            yield Evaluated(1, 2.0, 1.0, 2.0, is_best=True, elapsed_seconds=3.0)
            told.append("went on")
        finally:
            told.append("saved")

    training = run()  # held here, so that only an explicit end can close it
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "stdout", NobodyReads())
    with pytest.raises(ReaderGone), guarded_output():
        show(training, anywhere=True)
    assert told == ["saved"]
