"""What a server costs that nobody uses: seconds until it answers, memory at rest, seconds until it has stopped.

    python -m benchmarks.footprint [--times 3]

So many servers on empty workspaces, one after the other; the median of each figure. Reads /proc, so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path

from tests.server_process import serving

REST_SECONDS = 5


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--times", type=int, default=3)
    figures = [measure() for _ in range(options.parse_args().times)]
    names = ("seconds to the first answer", "MB of memory at rest", "seconds to stop")
    for name, values in zip(names, zip(*figures, strict=True), strict=True):
        print(f"{name}: {statistics.median(values):.1f}   ({', '.join(f'{value:.1f}' for value in values)})")


def measure() -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        begun_at = time.perf_counter()
        with serving(Path(folder) / "workspace") as server:
            server.get("/training_status")
            started = time.perf_counter() - begun_at
            time.sleep(REST_SECONDS)
            megabytes = resident_bytes(server.pid) / 1e6
            stopping_at = time.perf_counter()
        return started, megabytes, time.perf_counter() - stopping_at


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
