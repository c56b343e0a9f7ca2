"""What start.py, start.bat and the requirements promise.

start.py runs for real, in a folder whose name has a space and Cyrillic letters, with its real child processes and a
real (pip-less) venv. Only what would take minutes or need a network is a stand-in: a `pip` and a `venv` module found
through PYTHONPATH, of which `pip` writes down its calls and does what the test tells it. Not covered: a real
installation, which each CI run is, and Windows, beyond what can be read off start.bat.
"""

import ast
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import string
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow  # most tests start Python several times
posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and exec as on POSIX")

FAKE_VENV = """
import sys
sys.path.remove(FOLDER)
import venv
venv.EnvBuilder(with_pip=False, symlinks=True).create(sys.argv[1])
"""

FAKE_PIP = """
import json, pathlib, sys, sysconfig, time
folder, arguments = pathlib.Path(FOLDER), sys.argv[1:]
packages = pathlib.Path(sysconfig.get_path("purelib"))
with open(folder / "calls.jsonl", "a", encoding="utf-8") as file:
    print(json.dumps(arguments), file=file)
exec((folder / "behaviour.py").read_text(encoding="utf-8"))
(packages / f"package{len(list(packages.iterdir()))}.dist-info").mkdir()
"""

FAKE_TORCH = """
class cuda: is_available = staticmethod(lambda: False)
class backends:
    class mps: is_available = staticmethod(lambda: False)
def get_num_threads(): return 2
__version__ = "2.13.0+cpu"
"""

SERVER = """
import os, sys
print("server", *sys.argv[1:], os.environ["PYTHONUTF8"], sys.prefix, sep="|")
sys.exit(7)
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("start", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Project:
    """A copy of start.py among stand-ins, and what it did."""

    def __init__(self, folder: Path, stand_ins: Path) -> None:
        self.folder, self.stand_ins = folder, stand_ins
        folder.mkdir()
        stand_ins.mkdir()
        shutil.copy(PROJECT / "start.py", folder)
        self.write("requirements.txt", "torch==2.13.0\nfastapi==1.0\n")
        self.write("requirements-dev.txt", "-r requirements.txt\npytest==1.0\n")
        self.write("server.py", SERVER)
        for name, text in {"venv": FAKE_VENV, "pip": FAKE_PIP, "ensurepip": "", "torch": FAKE_TORCH}.items():
            (stand_ins / f"{name}.py").write_text(text.replace("FOLDER", repr(str(stand_ins))), encoding="utf-8")
        self.pip_does("")
        self.command = [sys.executable, str(folder / "start.py")]
        self.start = load(folder / "start.py")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def pip_does(self, code: str) -> None:
        (self.stand_ins / "behaviour.py").write_text(code, encoding="utf-8")

    def pip_calls(self) -> list[list[str]]:
        """What pip was asked to install since the last question."""
        log = self.stand_ins / "calls.jsonl"
        log.touch()
        calls = [json.loads(line)[1:] for line in log.read_text(encoding="utf-8").splitlines()]
        log.unlink()
        return calls

    def install_product(self) -> list[str]:
        return ["-r", str(self.folder / "requirements.txt")]

    def set_up(self, testing: bool = False) -> list[list[str]]:
        self.start.set_up(testing)
        return self.pip_calls()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    stand_ins = tmp_path / "stand-ins"
    project = Project(tmp_path / "Мой проект", stand_ins)
    monkeypatch.setenv("PYTHONPATH", str(stand_ins))
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # so that no probe leaves this machine
    monkeypatch.setattr(project.start, "detect_graphics", lambda: project.start.Graphics.NONE)
    monkeypatch.setattr(project.start, "answers", lambda url: False)
    monkeypatch.setattr(project.start, "hand_over", lambda arguments: 0)  # would replace this process
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    return project


@pytest.fixture(scope="module")
def start() -> ModuleType:
    return load(PROJECT / "start.py")


# Which torch.


@pytest.mark.parametrize(
    ("system", "machine", "graphics", "index", "fallback"),
    [
        ("Windows", "AMD64", "NONE", None, "CPU"),
        ("Windows", "AMD64", "NVIDIA", "https://download.pytorch.org/whl/cu130", "CPU"),
        ("Windows", "AMD64", "OLD_NVIDIA", "https://download.pytorch.org/whl/cu126", "CPU"),
        ("Linux", "x86_64", "NONE", "https://download.pytorch.org/whl/cpu", "CUDA"),
        ("Linux", "x86_64", "NVIDIA", None, "CUDA"),
        ("Linux", "x86_64", "OLD_NVIDIA", "https://download.pytorch.org/whl/cu126", "CUDA"),
        ("Linux", "aarch64", "NONE", "https://download.pytorch.org/whl/cpu", "CUDA"),
        ("Linux", "aarch64", "NVIDIA", None, "CUDA"),
        ("Linux", "aarch64", "OLD_NVIDIA", None, "CUDA"),
        ("Darwin", "arm64", "NONE", None, "Apple"),
    ],
)
def test_torch_index_fits_the_machine(
    start: ModuleType, system: str, machine: str, graphics: str, index: str | None, fallback: str
) -> None:
    chosen, default = start.choose_torch_index(system, machine, start.Graphics[graphics])
    assert (chosen.index_url, default.index_url, default.name) == (index, None, fallback)


@pytest.mark.parametrize(
    ("answer", "graphics"),
    [
        ("8.6, 591.86\n", "NVIDIA"),
        ("7.5, 580.65.06\n", "NVIDIA"),
        ("6.1, 591.86\n", "OLD_NVIDIA"),  # GTX 10: CUDA 13 does not know it
        ("8.6, 572.16\n", "OLD_NVIDIA"),  # a driver from before CUDA 13
        ("12.0, 572.16\n", "NVIDIA"),  # RTX 50: CUDA 12.6 does not know it, so only a new driver helps
        ("6.1, 591.86\n8.9, 591.86\n", "NVIDIA"),
        ("[N/A], [N/A]\n", "NVIDIA"),
    ],
)
def test_graphics_card_is_old_when_cuda_13_does_not_serve_it(start: ModuleType, answer: str, graphics: str) -> None:
    assert start.read_nvidia_smi(answer) is start.Graphics[graphics]


@posix_only
@pytest.mark.parametrize(("script", "graphics"), [("echo 6.1, 500.10", "OLD_NVIDIA"), ("exit 9", "NONE")])
def test_graphics_card_is_asked_of_nvidia_smi(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, graphics: str
) -> None:
    if graphics == "NONE" and Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver")
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert start.detect_graphics() is start.Graphics[graphics]


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def answering_address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/torch/"
        server.shutdown()
        thread.join()


def test_probe_takes_any_answer(start: ModuleType, answering_address: str) -> None:
    assert start.answers(answering_address, seconds=5)


def test_probe_of_a_refusing_host_ends_at_once(start: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    assert not start.answers(f"http://127.0.0.1:{port}/", seconds=5)
    assert time.monotonic() - began < 2


def test_probe_of_a_silent_host_ends_in_time(start: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not start.answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
        assert time.monotonic() - began < 2


def test_probe_ends_in_time_while_a_name_is_looked_up(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: looked_up.wait(5) and [])
    began = time.monotonic()
    assert not start.answers("http://name.invalid/", seconds=0.3)
    looked_up.set()
    assert time.monotonic() - began < 2


# Which Python.


def python(start: ModuleType, **changes: Any) -> Any:
    suitable = start.Python("/usr/bin/python3", (3, 12), "CPython", False, "Linux", "x86_64", True)
    return suitable._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({}, None),
        ({"version": (3, 11)}, None),
        ({"version": (3, 14), "free_threaded": True}, None),
        ({"system": "Windows", "machine": "amd64"}, None),
        ({"system": "Darwin", "machine": "arm64"}, None),
        ({"version": (3, 10)}, "unsuitable_version"),
        ({"version": (3, 15)}, "unsuitable_version"),
        ({"version": (2, 7)}, "unsuitable_version"),
        ({"version": (3, 13), "free_threaded": True}, "unsuitable_kind"),
        ({"implementation": "PyPy"}, "unsuitable_kind"),
        ({"system": "Windows", "machine": "win32"}, "unsuitable_kind"),
        ({"system": "Windows", "machine": "arm64"}, "unsuitable_machine"),
        ({"system": "Darwin", "machine": "x86_64"}, "unsuitable_machine"),
    ],
)
def test_python_is_refused_where_wheels_are_missing(
    start: ModuleType, changes: dict[str, Any], objection: str | None
) -> None:
    refused = start.objection(python(start, **changes))
    assert (refused and refused.key) == objection
    assert refused is None or start.sentence(refused.key, **refused.values)


def test_python_of_this_test_run_is_looked_at_truly(start: ModuleType) -> None:
    seen = start.look_at(sys.executable)
    assert (seen.version, seen.implementation, seen.has_venv) == (sys.version_info[:2], "CPython", True)
    assert start.look_at("no-such-python") is None


def test_unsuitable_python_gives_way_to_another_installed_one(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    installed = {sys.executable: python(start, version=(3, 8)), "python3.13": python(start, path="/p", version=(3, 13))}
    monkeypatch.setattr(start, "look_at", installed.get)
    assert start.find_base_python().version == (3, 13)
    assert capsys.readouterr().out == "Python 3.8 does not suit; taking Python 3.13 instead: /p\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": (3, 8)}, "This is Python 3.8, and Python 3.11 to 3.14 is needed. Install Python 3.14 from"),
        ({"has_venv": False}, "sudo apt install python3-venv"),
    ],
)
def test_unsuitable_python_alone_is_told_the_remedy(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr(project.start, "look_at", {sys.executable: python(project.start, **changes)}.get)
    assert project.start.main([]) == 1
    assert words in capsys.readouterr().err
    assert not (project.folder / ".venv").exists()


def test_file_is_readable_to_python_3_6() -> None:
    text = (PROJECT / "start.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 6))
    with pytest.raises(SyntaxError):
        ast.parse(text + "\nif (n := 1): pass\n", feature_version=(3, 6))


# Setting up.


@posix_only
def test_first_start_installs_torch_then_the_rest_and_becomes_the_server(project: Project) -> None:
    arguments = ["--port", "8001", "с пробелом"]
    done = subprocess.run(
        [*project.command, *arguments], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    *_, ready, server = done.stdout.splitlines()
    version = ".".join(str(part) for part in sys.version_info[:3])
    assert ready == f"Ready: Python {version}, torch 2.13.0+cpu (CPU, 2 threads)."
    assert server == f"server|--port|8001|с пробелом|1|{project.folder / '.venv'}"
    assert done.returncode == 7
    *_, torch, product = project.pip_calls()
    assert (torch[0], product) == ("torch==2.13.0", project.install_product())

    again = subprocess.run(project.command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert again.stdout.splitlines() == [f"server|1|{project.folder / '.venv'}"]
    assert project.pip_calls() == []


def test_later_start_asks_nothing_of_the_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.set_up() == [["torch==2.13.0"], project.install_product()]

    def never(*arguments: object) -> None:
        raise AssertionError("set up again")

    for name in ("alone", "answers", "detect_graphics", "run_shown", "make_venv"):
        monkeypatch.setattr(project.start, name, never)
    assert project.set_up() == []


def test_changed_requirement_is_installed(project: Project) -> None:
    project.set_up()
    project.write("requirements.txt", "torch==2.13.0\nfastapi==1.1\n")
    assert project.set_up() == [project.install_product()]
    assert project.set_up() == []


def test_changed_torch_pin_is_installed_as_torch(project: Project) -> None:
    project.set_up()
    project.write("requirements.txt", "torch==2.14.0\nfastapi==1.0\n")
    assert project.set_up() == [["torch==2.14.0"], project.install_product()]


def test_line_ends_are_no_change(project: Project) -> None:
    project.set_up()
    (project.folder / "requirements.txt").write_bytes(b"torch==2.13.0\r\nfastapi==1.0\r\n")
    assert project.set_up() == []


def test_tests_need_their_requirements_and_the_server_does_not(project: Project) -> None:
    project.set_up()
    assert project.set_up(testing=True) == [["-r", str(project.folder / "requirements-dev.txt")]]
    project.write("requirements-dev.txt", "-r requirements.txt\npytest==1.1\n")
    assert project.set_up() == []


def test_chosen_index_that_answers_gives_torch(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.start, "answers", lambda url: url == "https://download.pytorch.org/whl/cpu/torch/")
    assert project.set_up()[0] == ["torch==2.13.0", "--index-url", "https://download.pytorch.org/whl/cpu"]


def test_silent_index_is_left_for_the_default_one(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.set_up()[0] == ["torch==2.13.0"]
    assert "torch cannot be had from https://download.pytorch.org/whl/cpu now" in capsys.readouterr().out


def test_index_without_this_torch_is_left_for_the_default_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.start, "answers", lambda url: True)
    project.pip_does("if '--index-url' in arguments: sys.exit('ERROR: No matching distribution found')")
    assert project.set_up()[:2] == [
        ["torch==2.13.0", "--index-url", "https://download.pytorch.org/whl/cpu"],
        ["torch==2.13.0"],
    ]


# What goes wrong.

OFFLINE = "sys.exit(\"WARNING: Retrying after connection broken by 'ProtocolError'\\nERROR: No matching\")"
HALF_DONE = "(packages / 'half').mkdir()"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (OFFLINE, "Installing needs the internet: check the connection or the proxy"),
        (
            "sys.exit('ERROR: ReadTimeoutError: Read timed out.')",
            "Installing needs the internet: check the connection or the proxy",
        ),
        ("sys.exit('ERROR: Could not install: [Errno 28] No space left on device')", "temporary files is full"),
        ("sys.exit('ERROR: resolution impossible')", "pip could not install torch==2.13.0; it says why above."),
    ],
)
def test_failure_of_pip_becomes_a_sentence(
    project: Project, capsys: pytest.CaptureFixture[str], behaviour: str, words: str
) -> None:
    project.pip_does(behaviour)
    assert project.start.main([]) == 1
    errors = capsys.readouterr().err
    assert words in errors
    assert "ERROR" in errors
    assert "Traceback" not in errors


def test_full_disk_is_not_tried_again_from_another_index(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.start, "answers", lambda url: True)
    project.pip_does("sys.exit('ERROR: [Errno 28] No space left on device')")
    assert project.start.main([]) == 1
    assert len(project.pip_calls()) == 1


def test_little_disk_space_is_told_before_anything_is_downloaded(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert project.start.main([]) == 1
    assert f"2 GB of free disk space is needed in {project.folder}, and 1.0 GB is there" in capsys.readouterr().err
    assert project.pip_calls() == []


@posix_only
def test_disk_that_fills_up_under_start_itself_becomes_a_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(note: dict[str, str]) -> None:
        raise OSError(28, "No space left on device", "azr-setup.new")

    monkeypatch.setattr(project.start, "write_note", full)
    assert project.start.main([]) == 1
    assert capsys.readouterr().err.startswith("The disk with ")


def test_missing_requirements_file_is_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / "requirements.txt").unlink()
    assert project.start.main([]) == 1
    assert f"{project.folder / 'requirements.txt'} is missing" in capsys.readouterr().err


def test_set_up_goes_on_after_the_network_failed(project: Project) -> None:
    project.pip_does(f"if '-r' in arguments: {OFFLINE}")
    assert project.start.main([]) == 1
    project.pip_calls()
    project.pip_does("")
    assert project.set_up() == [project.install_product()]


def test_venv_is_made_anew_after_pip_broke_off_half_way(project: Project) -> None:
    project.pip_does(f"if '-r' in arguments: {HALF_DONE}; {OFFLINE}")
    assert project.start.main([]) == 1
    project.pip_calls()
    project.pip_does("")
    assert project.set_up() == [["torch==2.13.0"], project.install_product()]
    assert not list((project.folder / ".venv").rglob("half"))


@posix_only
def test_killed_set_up_is_repaired_once_its_pip_is_gone(project: Project) -> None:
    project.pip_does(f"{HALF_DONE}; print('half done', flush=True); time.sleep(1); (folder / 'ended').touch()")
    with subprocess.Popen(project.command, stdout=subprocess.PIPE, encoding="utf-8") as killed:
        assert killed.stdout
        assert any("half done" in line for line in killed.stdout)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        project.pip_calls()
        project.pip_does("assert (folder / 'ended').exists(), 'two pips at once'")
        assert project.set_up() == [["torch==2.13.0"], project.install_product()]
    assert not list((project.folder / ".venv").rglob("half"))


def test_venv_whose_python_is_gone_is_made_anew(project: Project) -> None:
    project.set_up()
    project.start.VENV_PYTHON.unlink()
    assert project.set_up() == [["torch==2.13.0"], project.install_product()]


def test_venv_whose_python_finds_no_packages_any_more_is_made_anew(project: Project) -> None:
    project.set_up()
    (project.folder / ".venv" / "pyvenv.cfg").unlink()
    assert project.set_up() == [["torch==2.13.0"], project.install_product()]


def test_venv_of_another_python_version_is_made_anew(project: Project) -> None:
    project.set_up()
    note = json.loads(project.start.NOTE.read_text(encoding="utf-8"))
    project.start.NOTE.write_text(json.dumps(dict(note, python="3.1")), encoding="utf-8")
    assert project.set_up() == [["torch==2.13.0"], project.install_product()]


def test_torch_that_does_not_start_is_told_and_tried_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = project.stand_ins / "torch.py"
    torch.write_text("raise OSError('[WinError 126] Error loading c10.dll')")
    assert project.start.main([]) == 1
    assert "https://aka.ms/vs/17/release/vc_redist.x64.exe" in capsys.readouterr().err
    project.pip_calls()
    torch.write_text(FAKE_TORCH)
    assert project.set_up() == []
    assert "Ready: " in capsys.readouterr().out


SLOW_TO_STOP = """
try:
    print("working", flush=True)
    time.sleep(20)
except KeyboardInterrupt:
    time.sleep(0.5)
    sys.exit(print("pip has ended"))
"""


@posix_only
def test_ctrl_c_ends_pip_and_start_without_a_traceback(project: Project) -> None:
    project.pip_does(SLOW_TO_STOP)
    with subprocess.Popen(
        project.command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a background shell ignores Ctrl+C
    ) as child:
        assert child.stdout and child.stderr
        assert any(line == "working\n" for line in child.stdout)
        os.killpg(child.pid, signal.SIGINT)
        assert child.stdout.read() == "pip has ended\nStopped. Start again to go on.\n"
        assert child.wait() == 130
        assert "Traceback" not in child.stderr.read()
    project.pip_does("")
    assert project.set_up() == [["torch==2.13.0"], ["torch==2.13.0"], project.install_product()]


# The checks.

TOOL = """
import sys
print("tool|" + NAME, *sys.argv[1:], sep="|", flush=True)
sys.exit(NAME == FAILS)
"""


def check(project: Project, fails: str = "") -> subprocess.CompletedProcess[str]:
    """Run `start.py check` among tools that only say how they were called; the one called `fails` fails."""
    for name in ("ruff", "mypy", "pytest"):
        text = TOOL.replace("NAME", repr(name)).replace("FAILS", repr(fails))
        (project.stand_ins / f"{name}.py").write_text(text, encoding="utf-8")
    command = [*project.command, "check"]
    return subprocess.run(command, cwd="/", capture_output=True, encoding="utf-8", timeout=60, check=False)


@posix_only
def test_check_sets_up_the_tools_and_runs_each_by_its_name(project: Project) -> None:
    done = check(project)
    assert project.pip_calls()[-1] == ["-r", str(project.folder / "requirements-dev.txt")]
    lines = done.stdout.splitlines()
    assert lines[-9:] == [
        "Checking: ruff check ...",
        "tool|ruff|check|.",
        "Checking: ruff format --check ...",
        "tool|ruff|format|--check|.",
        "Checking: mypy ...",
        "tool|mypy|.",
        "Checking: tests/test_structure.py ...",
        "tool|pytest|tests/test_structure.py",
        "All checks passed.",
    ]
    assert done.returncode == 0


@posix_only
@pytest.mark.parametrize(
    ("fails", "names"),
    [("ruff", "ruff check, ruff format --check"), ("mypy", "mypy"), ("pytest", "tests/test_structure.py")],
)
def test_check_that_fails_is_named_after_all_have_run(project: Project, fails: str, names: str) -> None:
    done = check(project, fails)
    assert done.returncode == 1
    assert done.stdout.count("tool|") == 4
    assert done.stderr.startswith(f"Failed: {names}. ")
    assert "All checks passed" not in done.stdout


# Tests and their browser.


@pytest.fixture
def no_browser(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("installed_browser", "playwright_browser", "download_playwright_browser", "install_debian_browser"):
        monkeypatch.setattr(start, name, lambda: None)
    monkeypatch.setattr(start, "hand_over", lambda arguments: 5)


def test_ci_refuses_to_test_without_a_browser(
    start: ModuleType, no_browser: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(start.SetupError, match="no_browser"):
        start.run_tests([])


def test_person_may_test_without_a_browser(
    start: ModuleType, no_browser: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert start.run_tests([]) == 5
    assert "AZR_TEST_BROWSER" in capsys.readouterr().out


def test_tests_are_told_the_browser_and_their_arguments(
    start: ModuleType, no_browser: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[list[str]] = []

    def hand_over(arguments: list[str]) -> int:
        handed_over.append(arguments)
        return 3

    monkeypatch.setenv("AZR_TEST_BROWSER", "")
    monkeypatch.setattr(start, "install_debian_browser", lambda: "/usr/bin/chromium")
    monkeypatch.setattr(start, "hand_over", hand_over)
    assert start.run_tests(["-k", "web"]) == 3
    assert (handed_over, os.environ["AZR_TEST_BROWSER"]) == (
        [["-m", "pytest", *start.SIDE_BY_SIDE, "-k", "web"]],
        "/usr/bin/chromium",
    )


@posix_only
def test_browser_that_does_not_start_is_passed_over(
    start: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in {"google-chrome": "exit 1", "chromium": "echo Chromium 156"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AZR_TEST_BROWSER", str(tmp_path / "gone"))
    assert start.installed_browser() == str(tmp_path / "chromium")


# What a person reads.


def test_sentences_are_filled_in_alike_in_both_languages(start: ModuleType) -> None:
    def fields(text: str) -> set[str | None]:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    differing = [key for key, (english, russian) in start.SENTENCES.items() if fields(english) != fields(russian)]
    assert differing == []


def test_every_sentence_is_used_and_every_used_one_exists(start: ModuleType) -> None:
    text = (PROJECT / "start.py").read_text(encoding="utf-8")
    code = text[text.index("class SetupError") :]
    used = set(re.findall(r'(?:say|sentence|SetupError)\(\s*"(\w+)"', code))
    used |= set(re.findall(r'SetupError\("(\w+)" if .*? else "(\w+)"', code)[0])
    assert used == set(start.SENTENCES)


@posix_only
@pytest.mark.parametrize(
    ("variables", "russian"),
    [
        ({"LANG": "ru_RU.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ru_RU.UTF-8"}, True),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, False),
        ({}, False),
    ],
)
def test_language_is_that_of_the_locale(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], russian: bool
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, variables.get(name, ""))
    assert start.speaks_russian() is russian


@pytest.mark.parametrize(("encoding", "words"), [("utf-8", "Остановлено"), ("cp1252", "Stopped")])
def test_terminal_without_russian_letters_gets_english(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, encoding: str, words: str
) -> None:
    monkeypatch.setattr(start, "speaks_russian", lambda: True)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    start.show("stopped", {}, stream)
    stream.seek(0)
    assert stream.read().startswith(words)


def test_path_that_the_terminal_cannot_show_is_no_error(start: ModuleType) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    start.show("missing_file", {"path": "C:\\книги"}, stream)
    stream.seek(0)
    assert "\\u043a" in stream.read()


def test_help_names_every_command(start: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert start.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "python start.py [" in said
    assert "python start.py check" in said
    assert "python start.py test [" in said


# The files beside it.


def pins(name: str) -> dict[str, tuple[int, ...]]:
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith(("#", "-r "))]
    kept = [line.partition("; ")[0] for line in kept]  # without the platforms that a package has wheels for
    assert all(re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", line) for line in kept), "every line is an exact pin"
    return {line.split("==")[0]: tuple(int(part) for part in line.split("==")[1].split(".")) for line in kept}


@pytest.mark.parametrize(
    ("package", "oldest_safe"),
    [("starlette", (1, 3, 0)), ("python-multipart", (0, 0, 27)), ("torch", (2, 10)), ("safetensors", (0, 8))],
)
def test_pins_are_not_older_than_their_last_security_fix(package: str, oldest_safe: tuple[int, ...]) -> None:
    assert pins("requirements.txt")[package] >= oldest_safe


def test_no_package_is_pinned_twice() -> None:
    assert not pins("requirements.txt").keys() & pins("requirements-dev.txt").keys()


STATUSES = """
import sys
status = {"check": CHECK, "test": TEST}[" ".join(sys.argv[1:])]
print(f"{sys.argv[1]} ends with {status}")
sys.exit(status)
"""


def test_tools_check_for_the_oldest_python_that_start_accepts(start: ModuleType) -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest = start.version_text(start.OLDEST_PYTHON)
    assert settings["project"]["requires-python"] == f">={oldest}"
    assert settings["tool"]["mypy"]["python_version"] == oldest
    assert "target-version" not in settings["tool"]["ruff"]  # ruff takes requires-python


@posix_only
@pytest.mark.parametrize(("checked", "tested", "status"), [(0, 0, 0), (0, 3, 3), (1, 0, 1), (1, 3, 1)])
def test_ci_runs_checks_and_tests_and_fails_with_either(tmp_path: Path, checked: int, tested: int, status: int) -> None:
    shutil.copytree(PROJECT / ".ci", tmp_path / ".ci")
    text = STATUSES.replace("CHECK", str(checked)).replace("TEST", str(tested))
    (tmp_path / "start.py").write_text(text, encoding="utf-8")
    done = subprocess.run([tmp_path / ".ci" / "run"], cwd="/", capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.splitlines() == [f"check ends with {checked}", f"test ends with {tested}"]
    assert done.returncode == status


@pytest.fixture(scope="module")
def batch() -> str:
    return (PROJECT / "start.bat").read_bytes().decode("utf-8")


def test_batch_file_has_windows_line_ends(batch: str) -> None:
    assert batch.count("\n") == batch.count("\r\n") > 10
    assert "*.bat text eol=crlf" in (PROJECT / ".gitattributes").read_text(encoding="utf-8").splitlines()


def test_batch_file_quotes_its_folder(batch: str) -> None:
    assert re.findall(r".?%~dp0[\w.]*.", batch) == ['"%~dp0"', '"%~dp0start.py"']


def test_batch_file_switches_to_utf_8_before_any_russian_letter(batch: str) -> None:
    assert batch.index("chcp 65001") < batch.index("PYTHONUTF8=1") < re.search("[а-яё]", batch).start()  # type: ignore[union-attr]


def test_batch_file_asks_nothing_of_cmd_after_a_russian_letter(batch: str) -> None:
    """cmd counts bytes to find its next line or label, and miscounts after letters of several bytes."""
    before, block = batch.rsplit("\r\n(\r\n", 1)
    assert before.isascii()
    assert re.fullmatch(r"(echo [^()]*\r\n)+pause\r\nexit /b 1\r\n\)\r\n", block)


def test_batch_file_tries_the_launcher_then_python_and_runs_either(batch: str) -> None:
    launcher, python = re.findall(r'(?:^|PYTHON )(py|python) -?3? ?-c "', batch, re.M)
    assert (launcher, python) == ("py", "python")
    assert '%PYTHON% "%~dp0start.py" %*' in batch.splitlines()


def test_batch_file_pauses_on_any_failure_and_passes_it_on(batch: str) -> None:
    tail = batch[batch.index("%*") :].splitlines()[1:4]
    assert tail == ['set "STATUS=%ERRORLEVEL%"', 'if not "%STATUS%"=="0" pause', "exit /b %STATUS%"]


def test_cli_is_handed_over_with_its_arguments(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    handed_over: list[list[str]] = []
    monkeypatch.setattr(start, "set_up", lambda testing: None)
    monkeypatch.setattr(start, "hand_over", lambda arguments: handed_over.append(arguments) or 7)
    assert start.run(["cli", "books", "list"]) == 7
    assert handed_over == [[str(start.ROOT / "cli.py"), "books", "list"]]
