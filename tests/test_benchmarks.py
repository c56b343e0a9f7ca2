"""Test that every benchmark starts, what the comparison with peers computes, and how it reads a peer's output."""

from __future__ import annotations

import math
import runpy
import sys
from pathlib import Path

import pytest

from benchmarks.command import run
from benchmarks.curve import Training
from corpus.dataset import SplitBook

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = [
    path.stem
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
PARTS = SplitBook("Старик чинил лодку.\n", "Лодка плыла.\n")
PEER = """
import sys
train, val = (open(name, encoding="utf-8", newline="").read() for name in sys.argv[1:3])
print("step 1 of", sys.argv[3])
print(len(train), 3.5)
print(len(val), 2.5)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_benchmark_names_its_options_and_measures_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)  # another benchmark may have imported it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_peers_command_reads_both_parts_and_tells_its_curve(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(PEER, encoding="utf-8")
    told = list(run(f"'{sys.executable}' '{script}' {{train}} {{val}} {{seconds}}", PARTS, seconds=9.7))
    assert told == [(len(PARTS.train), 3.5), (len(PARTS.val), 2.5)]


@pytest.mark.parametrize("code", ["print('nothing')", "print('1 2'); raise SystemExit(3)"])
def test_peers_command_that_fails_or_tells_nothing_ends_the_comparison(code: str) -> None:
    with pytest.raises(SystemExit, match="exit status"):
        list(run(f"'{sys.executable}' -c \"{code}\"", PARTS, seconds=1))


@pytest.mark.parametrize(("wanted", "seconds"), [(3.0, 10.0), (2.5, 15.0), (2.0, 20.0), (1.9, 25.0), (1.0, math.inf)])
def test_curve_tells_when_it_first_reaches_a_loss(wanted: float, seconds: float) -> None:
    curve = Training("ours", 0, seconds=[10.0, 20.0, 30.0], bits_per_byte=[3.0, 2.0, 1.8])
    assert curve.seconds_to(wanted) == pytest.approx(seconds)
