"""Asks the package index for which Pythons and platforms every requirement has a wheel; run by hand, some minutes.

    .venv/bin/python tests/check_wheels.py

Prints a line for each pair and ends with status 1 when start.py's constants say otherwise. Nothing is installed. torch
is looked up by its list of versions, because resolving it would download it; everything else is resolved with all it
depends on, as pip would do on that platform. Not covered: pip reads conditions such as `platform_system == "Windows"`
with the values of the machine it runs on, so a package that is needed on Windows alone is not asked for.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import start  # noqa: E402

PLATFORMS = {
    ("Linux", "x86_64"): ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    ("Linux", "aarch64"): ["manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"],
    ("Windows", "amd64"): ["win_amd64"],
    ("Windows", "arm64"): ["win_arm64"],
    ("Darwin", "arm64"): ["macosx_14_0_arm64"],
    ("Darwin", "x86_64"): ["macosx_14_0_x86_64"],
}
PYTHONS = [((3, minor), False) for minor in range(10, 16)] + [((3, 13), True), ((3, 14), True)]


def pip(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, encoding="utf-8", check=False)
    return done.stdout if done.returncode == 0 else ""


def ship_wheels(version: tuple[int, int], free_threaded: bool, platforms: list[str]) -> bool:
    lines = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    torch = next(line for line in lines if line.startswith("torch==")).split("==")[1]
    target = ["--only-binary=:all:", "--python-version", start.version_text(version)]
    target += [option for platform in platforms for option in ("--platform", platform)]
    target += ["--abi", f"cp{version[0]}{version[1]}t"] if free_threaded else []
    if torch not in pip("index", "versions", "torch", *target).replace(",", " ").split():
        return False
    with tempfile.TemporaryDirectory() as folder:
        others = Path(folder) / "requirements.txt"
        others.write_text("\n".join(line for line in lines if not line.startswith("torch==")), encoding="utf-8")
        options = ["--dry-run", "--ignore-installed", "--target", folder]
        return "Would install" in pip("install", *options, *target, "-r", str(others))


def main() -> int:
    wrong = 0
    for (system, machine), platforms in PLATFORMS.items():
        for version, free_threaded in PYTHONS:
            python = start.Python("", version, "CPython", free_threaded, system, machine, True)
            promised = start.objection(python) is None
            found = ship_wheels(version, free_threaded, platforms)
            wrong += found != promised
            name = f"{system} {machine}, Python {start.version_text(version)}{'t' * free_threaded}"
            verdict = "wheels" if found else "no wheels"
            print(name, verdict, "" if found == promised else "- start.py says otherwise", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
