#!/usr/bin/env python3
"""Set the product up and run it.

`python start.py` starts the server, `python start.py cli` is the command line, `python start.py check` runs the static checks and
`python start.py test` the tests.

Needs nothing but a Python: it makes `.venv` beside itself, installs the pinned requirements with the torch build that
fits this machine, and hands over to the Python in `.venv`. What was installed stands in a note, `.venv/azr-setup.json`,
written after each step that succeeded and taken away while pip works. So a start that finds a complete note installs
nothing and asks no network; a changed requirements file differs from the note; and a set-up that was cut off leaves no
note, and `.venv` is made anew, because pip may take a half-written package for an installed one.

Written so that Python 3.6 can still read it and say in a sentence that it is too old. The port, the browser window
and the workspace are server.py's business.
"""
# ruff: noqa: UP022 (capture_output came with Python 3.7)

import contextlib
import ctypes
import enum
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, TextIO, Tuple

ROOT = Path(__file__).resolve().parent
REQUIREMENTS, TEST_REQUIREMENTS = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NOTE = VENV / "azr-setup.json"

# The CPythons for which torch 2.13.0 and every other pin ship wheels: tests/check_wheels.py asks the index.
OLDEST_PYTHON, NEWEST_PYTHON, OLDEST_FREE_THREADED = (3, 11), (3, 14), (3, 14)
WHEEL_PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Windows", "amd64"), ("Darwin", "arm64")}

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
OLD_CUDA_INDEX = "https://download.pytorch.org/whl/cu126"
PLAYWRIGHT_HOST = "https://cdn.playwright.dev"

# Many tests wait for processes; `-n 0` runs them one by one. In the order of collection the slow ones, in the browser, come first.
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]

PROBE_SECONDS = 4.0
NVIDIA_SMI_SECONDS = 10.0
BROWSER_VERSION_SECONDS = 30.0
BROWSER_DOWNLOAD_SECONDS = 600.0


# What a person reads, in English and in Russian.

SENTENCES: Dict[str, Tuple[str, str]] = {
    "help": (
        "python start.py [options]       sets up .venv on the first start, then runs the server\n"
        "python start.py cli [command]   the command line: create, books, train, generate, export and others\n"
        "python start.py check           sets up what the tests need as well, then runs ruff, mypy and the test of the"
        " structure\n"
        "python start.py test [options]  the same set-up, then all tests with pytest\n"
        "The options go to server.py (--host, --port, --workspace, --no-browser) or to pytest.\n"
        "To choose the torch build anew, for example for a new graphics card, delete the folder .venv and start again.",
        "python start.py [параметры]       при первом запуске готовит .venv, затем запускает сервер\n"
        "python start.py cli [команда]     командная строка: create, books, train, generate, export и другие\n"
        "python start.py check             доустанавливает нужное тестам, затем запускает ruff, mypy и тест структуры\n"
        "python start.py test [параметры]  доустанавливает то же, затем запускает все тесты через pytest\n"
        "Параметры передаются server.py (--host, --port, --workspace, --no-browser) или pytest.\n"
        "Чтобы выбрать сборку torch заново, например для новой видеокарты, удалите папку .venv и запустите снова.",
    ),
    "first_start": (
        "Setting up {venv} with torch for {build}. About {download} GB is downloaded, once; this takes some minutes.",
        "Готовлю {venv}, torch для {build}. Один раз загрузится около {download} ГБ; это займёт несколько минут.",
    ),
    "installing": ("Installing {what} ...", "Устанавливаю {what} ..."),
    "repair": (
        "The earlier set-up was cut off or does not start: making .venv anew.",
        "Прошлая установка прервалась или не запускается: создаю .venv заново.",
    ),
    "waiting": (
        "Another start.py is setting up here: waiting for it to finish.",
        "Здесь уже идёт другая установка: жду, пока она закончится.",
    ),
    "other_python": (
        "Python {found} does not suit; taking Python {version} instead: {path}",
        "Python {found} не подходит; беру Python {version}: {path}",
    ),
    "no_torch_from": (
        "torch cannot be had from {index} now: taking it from the default package index (for {build}, about"
        " {download} GB). To try again later, delete the folder .venv and start again.",
        "С {index} сейчас torch не получить: беру из обычного каталога пакетов (для {build}, около {download} ГБ)."
        " Чтобы попробовать позже, удалите папку .venv и запустите снова.",
    ),
    "ready": (
        "Ready: Python {python}, torch {torch} ({device}).",
        "Готово: Python {python}, torch {torch} ({device}).",
    ),
    "cpu": ("CPU, {threads} threads", "процессор, потоков: {threads}"),
    "stopped": ("Stopped. Start again to go on.", "Остановлено. Чтобы продолжить, запустите снова."),
    "unsuitable_version": (
        "This is Python {found}, and Python {oldest} to {newest} is needed. Install Python {newest} from"
        " https://www.python.org/downloads/ and start again with it.",
        "Это Python {found}, а нужен Python от {oldest} до {newest}. Установите Python {newest} с"
        " https://www.python.org/downloads/ и запустите снова уже с ним.",
    ),
    "unsuitable_kind": (
        "This is {kind}, and there is no torch for it. Install the usual 64-bit Python {newest} from"
        " https://www.python.org/downloads/ and start again with it.",
        "Это {kind}, для него нет torch. Установите обычный 64-битный Python {newest} с"
        " https://www.python.org/downloads/ и запустите снова уже с ним.",
    ),
    "unsuitable_machine": (
        "There is no torch for {machine}. Needed is a Python for Windows (64-bit Intel or AMD), for Linux (64-bit"
        " Intel, AMD or ARM) or for a Mac with an Apple chip.",
        "Для {machine} нет torch. Нужен Python для Windows (64-битный Intel или AMD), для Linux (64-битный Intel, AMD"
        " или ARM) или для Mac с чипом Apple.",
    ),
    "no_venv": (
        "This Python {found} lacks venv. Install it (on Debian and Ubuntu: sudo apt install python3-venv) and start"
        " again.",
        "В этом Python {found} нет venv. Установите его (в Debian и Ubuntu: sudo apt install python3-venv) и запустите"
        " снова.",
    ),
    "venv_failed": ("{venv} could not be made: {detail}", "Не удалось создать {venv}: {detail}"),
    "little_space": (
        "{need} GB of free disk space is needed in {folder}, and {free} GB is there. Free some and start again.",
        "В {folder} нужно {need} ГБ свободного места, а есть {free} ГБ. Освободите место и запустите снова.",
    ),
    "disk_full": (
        "The disk with {folder} or the one with temporary files is full. Free some space and start again.",
        "Диск заполнен: с папкой {folder} или с временными файлами. Освободите место и запустите снова.",
    ),
    "no_network": (
        "The package index does not answer. Installing needs the internet: check the connection or the proxy and start"
        " again. What pip has downloaded in full is not downloaded again.",
        "Каталог пакетов не отвечает. Для установки нужен интернет: проверьте соединение или прокси и запустите снова."
        " То, что pip загрузил целиком, заново загружаться не будет.",
    ),
    "pip_failed": (
        "pip could not install {what}; it says why above. Start again; if that does not help, delete {venv} first.",
        "pip не смог установить {what}; причина указана выше. Запустите снова; если не поможет, удалите {venv}.",
    ),
    "torch_broken": (
        "torch is installed but does not start: {detail}. Delete {venv} and start again.",
        "torch установлен, но не запускается: {detail}. Удалите {venv} и запустите снова.",
    ),
    "no_vc_runtime": (
        "torch needs the Microsoft Visual C++ runtime. Install https://aka.ms/vs/17/release/vc_redist.x64.exe and start"
        " again. ({detail})",
        "Для torch нужна библиотека Microsoft Visual C++. Установите https://aka.ms/vs/17/release/vc_redist.x64.exe и"
        " запустите снова. ({detail})",
    ),
    "missing_file": ("{path} is missing. Unpack the project again.", "Нет файла {path}. Распакуйте проект заново."),
    "system_error": (
        "{path}: {reason}. Can this folder be written to, and does no other program use it?",
        "{path}: {reason}. Можно ли писать в эту папку и не занята ли она другой программой?",
    ),
    "checking": ("Checking: {name} ...", "Проверяю: {name} ..."),
    "checks_passed": ("All checks passed.", "Все проверки пройдены."),
    "checks_failed": (
        "Failed: {names}. The reasons are listed above; `ruff check --fix` and `ruff format` fix some of them.",
        "Не пройдено: {names}. Причины указаны выше; часть исправят `ruff check --fix` и `ruff format`.",
    ),
    "getting_browser": (
        "Getting a browser for the tests: {source} ...",
        "Устанавливаю браузер для тестов: {source} ...",
    ),
    "no_browser": (
        "There is no browser for the tests. Install Chrome, Chromium or Edge, or name one in AZR_TEST_BROWSER.",
        "Нет браузера для тестов. Установите Chrome, Chromium или Edge либо укажите путь в AZR_TEST_BROWSER.",
    ),
}


class SetupError(Exception):
    """The set-up cannot continue for a reason that a person can act on; holds the key of a sentence and its values."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key, values)
        self.key, self.values = key, values


def speaks_russian() -> bool:
    """Return whether to speak Russian, by the same rules as i18n.console_language: AZR_LANGUAGE, Windows' language, the locale."""
    wanted = os.environ.get("AZR_LANGUAGE")
    if wanted in ("en", "ru"):
        return wanted == "ru"
    if sys.platform == "win32":
        return bool(ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 0x19)
    values = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return next((value for value in values if value), "").lower().startswith("ru")


def sentence(key: str, **values: object) -> str:
    return SENTENCES[key][speaks_russian()].format(**values)


def say(key: str, **values: object) -> None:
    show(key, values, sys.stdout)


def show(key: str, values: Dict[str, object], stream: TextIO) -> None:
    """Print a sentence and flush it; in English where the stream cannot encode Russian letters."""
    encoding, text = stream.encoding or "ascii", sentence(key, **values)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = SENTENCES[key][0].format(**values).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=stream, flush=True)


# Which Python.

FACTS_SCRIPT = """
import importlib.util, json, platform, sys, sysconfig
print(json.dumps([
    sys.executable,
    sys.version_info[:2],
    platform.python_implementation(),
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    platform.system(),
    sysconfig.get_platform().split("-")[-1] if sys.platform == "win32" else platform.machine(),
    all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
]))
"""


class Python(NamedTuple):
    path: str
    version: Tuple[int, int]
    implementation: str  # "CPython"
    free_threaded: bool
    system: str  # "Linux", "Windows", "Darwin"
    machine: str  # that it was compiled for: "x86_64", "aarch64", "arm64", "amd64", "win32"
    has_venv: bool


def child_environment() -> Dict[str, str]:
    return dict(os.environ, PYTHONUTF8="1", PIP_DISABLE_PIP_VERSION_CHECK="1")


def version_text(version: Tuple[int, int]) -> str:
    return "{}.{}".format(*version)


def look_at(program: str) -> Optional[Python]:
    """Return what this Python is; None when it does not exist or does not start."""
    try:
        command = [program, "-c", FACTS_SCRIPT]
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL, env=child_environment())
        path, version, *rest = json.loads(output.decode("utf-8"))
        return Python(path, tuple(version), *rest)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def objection(python: Python) -> Optional[SetupError]:
    """Return why this Python cannot run the product; None when it can."""
    newest = version_text(NEWEST_PYTHON)
    if not OLDEST_PYTHON <= python.version <= NEWEST_PYTHON:
        oldest, found = version_text(OLDEST_PYTHON), version_text(python.version)
        return SetupError("unsuitable_version", found=found, oldest=oldest, newest=newest)
    if python.implementation != "CPython":
        return SetupError("unsuitable_kind", kind=python.implementation, newest=newest)
    if python.free_threaded and python.version < OLDEST_FREE_THREADED:
        return SetupError("unsuitable_kind", kind=f"free-threaded Python {version_text(python.version)}", newest=newest)
    if python.machine == "win32":
        return SetupError("unsuitable_kind", kind="32-bit Python", newest=newest)
    if (python.system, python.machine) not in WHEEL_PLATFORMS:
        return SetupError("unsuitable_machine", machine=f"{python.system} {python.machine}")
    return None


def find_base_python() -> Python:
    """Return the Python to make .venv with: the running one, else another suitable one that is installed."""
    own = look_at(sys.executable)
    if own is None:
        raise SetupError("venv_failed", venv=VENV, detail=sys.executable)
    error = objection(own)
    if error is None and not own.has_venv:
        error = SetupError("no_venv", found=version_text(own.version))
    if error is None:
        return own
    for program in other_pythons():
        other = look_at(program)
        if other and other.has_venv and objection(other) is None:
            found, version = version_text(own.version), version_text(other.version)
            say("other_python", found=found, version=version, path=other.path)
            return other
    raise error


def other_pythons() -> List[str]:
    """Return programs that may be another Python. On Windows the launcher lists them: asked for one, it may download it."""
    if os.name != "nt":
        return [f"python3.{minor}" for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        listing = subprocess.check_output(["py", "--list-paths"], stderr=subprocess.DEVNULL)
        return re.findall(r"[A-Za-z]:\\.*?\.exe", listing.decode("utf-8", "replace"))
    return []


# Which torch.


class Graphics(enum.Enum):
    NONE = "no NVIDIA card"
    NVIDIA = "an NVIDIA card"
    OLD_NVIDIA = "an NVIDIA card or driver that is too old for CUDA 13 and not for CUDA 12.6"


class TorchBuild(NamedTuple):
    name: str
    index_url: Optional[str]  # None: the index that pip is set up with
    download_gb: float
    disk_gb: float  # for downloads, what is unpacked and the other packages together


DEFAULT_CPU = TorchBuild("CPU", None, 0.3, 2)
DEFAULT_MAC = TorchBuild("Apple", None, 0.2, 2)
DEFAULT_CUDA = TorchBuild("CUDA", None, 2.5, 9)
CPU = TorchBuild("CPU", CPU_INDEX, 0.3, 2)
CUDA = TorchBuild("CUDA", CUDA_INDEX, 2.5, 9)
OLD_CUDA = TorchBuild("CUDA", OLD_CUDA_INDEX, 2.7, 9)


def choose_torch_index(system: str, machine: str, graphics: Graphics) -> Tuple[TorchBuild, TorchBuild]:
    """Return the build to install and the one to fall back on, which is what the default index has for this machine.

    That is a build for CUDA on Linux and for the CPU on Windows. `system` and `machine` are the platform module's.
    """
    if system == "Darwin":
        return DEFAULT_MAC, DEFAULT_MAC
    default = DEFAULT_CPU if system == "Windows" else DEFAULT_CUDA
    if graphics is Graphics.NONE:
        return (default if default is DEFAULT_CPU else CPU), default
    if graphics is Graphics.OLD_NVIDIA and machine.lower() in ("x86_64", "amd64"):
        return OLD_CUDA, default
    return (default if default is DEFAULT_CUDA else CUDA), default


def read_nvidia_smi(answer: str) -> Graphics:
    """Classify nvidia-smi's answer: '8.6, 591.86' -> NVIDIA, '6.1, 572.16' -> OLD_NVIDIA. The best of several cards counts.

    CUDA 13 asks for compute capability 7.5 and driver 580 at least; CUDA 12.6 ends below capability 10.
    """
    cards = [(float(card), float(driver)) for card, driver in re.findall(r"^(\d+\.\d+), *(\d+\.\d+)", answer, re.M)]
    if not cards:
        return Graphics.NVIDIA
    capability, driver = max(cards)
    return Graphics.OLD_NVIDIA if capability < 7.5 or (capability < 10 and driver < 580) else Graphics.NVIDIA


def detect_graphics() -> Graphics:
    on_windows = Path(os.environ.get("SYSTEMROOT", "")) / "System32" / "nvidia-smi.exe"
    program = shutil.which("nvidia-smi") or str(on_windows)
    command = [program, "--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=NVIDIA_SMI_SECONDS)
        return read_nvidia_smi(output.decode("utf-8", "replace"))
    except (OSError, subprocess.SubprocessError):
        return Graphics.NVIDIA if Path("/proc/driver/nvidia/version").exists() else Graphics.NONE


@functools.lru_cache(maxsize=None)
def torch_builds() -> Tuple[TorchBuild, TorchBuild]:
    return choose_torch_index(platform.system(), platform.machine(), detect_graphics())


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the host answers in time. Asks in a thread, because looking up a name has no time limit."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            answered.set()

    probe = threading.Thread(target=ask, daemon=True)
    probe.start()
    probe.join(seconds)
    return answered.is_set()


# The steps of a set-up.


class Step(NamedTuple):
    name: str
    fingerprint: str  # what the note holds once the step is done
    act: Callable[[], None]


def run_shown(command: List[str], seconds: Optional[float] = None) -> Tuple[int, str]:
    """Run a command with its output on the terminal, progress bars too; return its status and its error output.

    The child inherits the open lock file: when start.py is killed, the next one waits for the pip that outlives it.
    """
    errors = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=child_environment(), close_fds=False) as child:
        limit = threading.Timer(seconds or 0, child.kill)
        if seconds:
            limit.start()
        try:
            assert child.stderr is not None
            for line in child.stderr:
                errors.append(line.decode("utf-8", "replace"))
                print(errors[-1], end="", file=sys.stderr, flush=True)
            return child.wait(), "".join(errors)
        except KeyboardInterrupt:
            child.wait()  # Ctrl+C in a terminal reaches it as well
            raise
        finally:
            limit.cancel()


def explain_pip(what: str, errors: str) -> SetupError:
    if re.search(r"No space left on device|Errno 28\b|WinError 112\b|not enough space on the disk", errors):
        return SetupError("disk_full", folder=ROOT)
    if re.search(r"connection broken by|ConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError", errors):
        return SetupError("no_network")
    return SetupError("pip_failed", what=what, venv=VENV)


def pip_install(what: str, *arguments: str) -> None:
    say("installing", what=what)
    status, errors = run_shown([str(VENV_PYTHON), "-m", "pip", "install", *arguments])
    if status:
        raise explain_pip(what, errors)


def install_torch(requirement: str) -> None:
    chosen, default = torch_builds()
    free_gb = shutil.disk_usage(str(ROOT)).free / 1e9
    if free_gb < chosen.disk_gb:
        raise SetupError("little_space", need=chosen.disk_gb, free=round(free_gb, 1), folder=ROOT)
    if chosen.index_url and answers(chosen.index_url + "/torch/"):
        try:
            return pip_install(requirement, requirement, "--index-url", chosen.index_url)
        except SetupError as error:
            if error.key == "disk_full":
                raise
    if chosen.index_url:
        say("no_torch_from", index=chosen.index_url, build=default.name, download=default.download_gb)
    pip_install(requirement, requirement)


DEVICE_SCRIPT = """
import json, platform, torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
device = "CUDA: " + torch.cuda.get_device_name(0) if cuda else "Apple MPS" if mps else None
print(json.dumps([platform.python_version(), torch.__version__, device, torch.get_num_threads()]))
"""


def show_device() -> None:
    """Print the device that torch uses, which also shows whether torch starts at all."""
    command = [str(VENV_PYTHON), "-c", DEVICE_SCRIPT]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment())
    if done.returncode:
        detail = (done.stderr.decode("utf-8", "replace").strip() or str(done.returncode)).splitlines()[-1]
        raise SetupError("no_vc_runtime" if "WinError 126" in detail else "torch_broken", detail=detail, venv=VENV)
    python, torch, device, threads = json.loads(done.stdout.decode("utf-8"))
    say("ready", python=python, torch=torch, device=device or sentence("cpu", threads=threads))


def requirements_step(path: Path) -> Step:
    # The digest is of the text, not of the bytes: line ends differ from checkout to checkout.
    digest = hashlib.sha256(path.read_text(encoding="utf-8").encode("utf-8")).hexdigest()
    return Step(path.name, digest, lambda: pip_install(path.name, "-r", str(path)))


def set_up_steps(testing: bool) -> List[Step]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    torch = next(line for line in lines if line.startswith("torch=="))
    product, tests = requirements_step(REQUIREMENTS), requirements_step(TEST_REQUIREMENTS)
    steps = [
        Step("torch", torch, lambda: install_torch(torch)),
        product,
        Step("device", product.fingerprint, show_device),
    ]
    return [*steps, tests] if testing else steps


# .venv and its note.


def read_note() -> Optional[Dict[str, str]]:
    """Read the note: step -> fingerprint, and "python" -> version; None when .venv cannot be trusted."""
    try:
        note = json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not (VENV / "pyvenv.cfg").is_file():  # without it that Python starts, but finds no packages
        return None
    python = look_at(str(VENV_PYTHON))
    suits = python and objection(python) is None and note.get("python") == version_text(python.version)
    return note if suits else None


def write_note(note: Dict[str, str]) -> None:
    new = NOTE.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(note, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(NOTE)


def make_venv() -> Dict[str, str]:
    base = find_base_python()
    if VENV.exists():
        say("repair")
        shutil.rmtree(str(VENV))
    chosen, _ = torch_builds()
    say("first_start", venv=VENV, build=chosen.name, download=chosen.download_gb)
    command = [base.path, "-m", "venv", str(VENV)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=child_environment())
    if done.returncode:
        output = done.stdout.decode("utf-8", "replace").strip()
        error = explain_pip(".venv", output)
        if error.key == "disk_full":
            raise error
        if "ensurepip is not available" in output:
            raise SetupError("no_venv", found=version_text(base.version))
        raise SetupError("venv_failed", venv=VENV, detail=(output or str(done.returncode)).splitlines()[-1])
    note = {"python": version_text(base.version)}
    write_note(note)
    return note


def carry_out(step: Step, note: Dict[str, str]) -> None:
    """Carry out one step while the note is away; restore the note if pip failed before it touched anything."""
    packages = next(VENV.glob("lib/python*/site-packages"), VENV / "Lib" / "site-packages")
    before = packages.stat().st_mtime_ns
    NOTE.unlink()
    try:
        step.act()
        note[step.name] = step.fingerprint
    finally:
        if note.get(step.name) == step.fingerprint or packages.stat().st_mtime_ns == before:
            write_note(note)


def lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks: better unguarded than not at all
    return True


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of .venv, so that two double clicks do not run two pips in it. A dead process holds no lock."""
    announced = False
    with (ROOT / ".venv.lock").open("a") as file:
        os.set_inheritable(file.fileno(), True)
        while not lock(file.fileno()):
            if not announced:
                say("waiting")
            announced = True
            time.sleep(0.2)
        yield


def set_up(testing: bool) -> None:
    """Bring .venv to what the requirements say; change nothing when it is there already."""
    steps = set_up_steps(testing)

    def pending(note: Dict[str, str]) -> List[Step]:
        return [step for step in steps if note.get(step.name) != step.fingerprint]

    if not pending(read_note() or {}):
        return
    with alone():
        note = read_note() or make_venv()
        for step in pending(note):
            carry_out(step, note)


# A browser for the tests.

BROWSER_NAMES = [
    "google-chrome",
    "google-chrome-stable",
    "chromium",
    "chromium-browser",
    "microsoft-edge",
    "microsoft-edge-stable",
]
MAC_BROWSERS = [
    f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Microsoft Edge")
]
WINDOWS_BROWSERS = [r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe"]
WINDOWS_FOLDERS = ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"]

PLAYWRIGHT_SCRIPT = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)
"""


def browser_starts(browser: str) -> bool:
    """Return whether a browser starts; on Windows, where any call opens a window, whether it exists."""
    if os.name == "nt":
        return Path(browser).is_file()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.check_output([browser, "--version"], stderr=subprocess.DEVNULL, timeout=BROWSER_VERSION_SECONDS)
        return True
    return False


def installed_browser() -> Optional[str]:
    named = [os.environ.get("AZR_TEST_BROWSER")]
    on_path = [shutil.which(name) for name in BROWSER_NAMES]
    folders = [Path(os.environ[name]) for name in WINDOWS_FOLDERS if name in os.environ]
    windows = [str(folder / browser) for browser in WINDOWS_BROWSERS for folder in folders]
    candidates = [*named, *on_path, *(windows if os.name == "nt" else MAC_BROWSERS)]
    return next((browser for browser in candidates if browser and browser_starts(browser)), None)


def playwright_browser() -> Optional[str]:
    command = [str(VENV_PYTHON), "-c", PLAYWRIGHT_SCRIPT]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=child_environment())
    path = done.stdout.decode("utf-8", "replace").strip()
    return path if path and browser_starts(path) else None


def download_playwright_browser() -> Optional[str]:
    host = os.environ.get("PLAYWRIGHT_DOWNLOAD_HOST", PLAYWRIGHT_HOST)
    if not answers(host):
        return None
    say("getting_browser", source=host)
    run_shown([str(VENV_PYTHON), "-m", "playwright", "install", "chromium"], seconds=BROWSER_DOWNLOAD_SECONDS)
    return playwright_browser()


def install_debian_browser() -> Optional[str]:
    apt = shutil.which("apt-get")
    if apt is None or sys.platform == "win32" or os.geteuid() != 0:
        return None
    say("getting_browser", source="apt-get install chromium")
    run_shown([apt, "update"])
    run_shown(["env", "DEBIAN_FRONTEND=noninteractive", apt, "install", "--yes", "chromium", "fonts-dejavu-core"])
    return installed_browser()


# The checks.

CHECKS = [
    ("ruff check", ["-m", "ruff", "check", "."]),
    ("ruff format --check", ["-m", "ruff", "format", "--check", "."]),
    ("mypy", ["-m", "mypy", "."]),
    ("tests/test_structure.py", ["-m", "pytest", "tests/test_structure.py"]),
]


def run_checks() -> int:
    """Run every check, also after one that failed; raise SetupError with the names of those that failed."""
    failed = []
    for name, arguments in CHECKS:
        say("checking", name=name)
        if subprocess.call([str(VENV_PYTHON), *arguments], cwd=str(ROOT), env=child_environment()):
            failed.append(name)
    if failed:
        raise SetupError("checks_failed", names=", ".join(failed))
    say("checks_passed")
    return 0


# The whole.


def hand_over(arguments: List[str]) -> int:
    """Become .venv's Python; on Windows, where no process can become another, run it as a child."""
    command = [str(VENV_PYTHON), *arguments]
    environment = child_environment()
    if os.name != "nt":
        os.execve(command[0], command, environment)
    child = subprocess.Popen(command, env=environment)
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # the child has got it as well, and ends in its own time
            return child.wait()


def run_tests(arguments: List[str]) -> int:
    browser = installed_browser() or playwright_browser() or download_playwright_browser() or install_debian_browser()
    if browser:
        os.environ["AZR_TEST_BROWSER"] = browser
    elif os.environ.get("CI") == "true":
        raise SetupError("no_browser")
    else:
        say("no_browser")
    os.chdir(str(ROOT))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two tests at once with two threads each would wait for one another
    return hand_over(["-m", "pytest", *SIDE_BY_SIDE, *arguments])


def run(arguments: List[str]) -> int:
    command = arguments[0] if arguments else None
    set_up(testing=command in ("check", "test"))
    if command == "check":
        return run_checks()
    if command == "test":
        return run_tests(arguments[1:])
    if command == "cli":
        return hand_over([str(ROOT / "cli.py"), *arguments[1:]])
    return hand_over([str(ROOT / "server.py"), *arguments])


def main(arguments: List[str]) -> int:
    if arguments[:1] in (["--help"], ["-h"]):
        say("help")
        return 0
    try:
        return run(arguments)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except SetupError as refused:
        error = refused
    except FileNotFoundError as missing:
        error = SetupError("missing_file", path=missing.filename)
    except OSError as failed:
        full = failed.errno == errno.ENOSPC or getattr(failed, "winerror", None) == 112
        values = {"path": failed.filename or ROOT, "reason": failed.strerror}
        error = SetupError("disk_full", folder=ROOT) if full else SetupError("system_error", **values)
    show(error.key, error.values, sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
