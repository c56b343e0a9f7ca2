"""The processes that train one model together: the rank of this one, and the few exchanges they need.

torchrun starts the processes and gives each its rank; `joined` makes them a group (gloo on CPUs, NCCL between GPUs). A single process
has world_size 1, and every exchange returns its input.

Particular: only rank 0 talks to the person and the disk. The others follow it from iteration to iteration (`go_on`), so stopping
rank 0 stops all of them. Values travel as JSON, never as pickle.

Not here: gradients of the book's batch (DistributedDataParallel sums those), starting processes (runs/launcher.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1  # processes on this machine

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return this process's part of `count` rows; the parts are in order, cover all rows, and differ in length by at most one."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def sum_(self, tensors: list[Tensor]) -> None:
        """Replace tensors of one type and device by their sums over all processes, in place."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def total(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes."""
        sums = torch.tensor(values, dtype=torch.float64)
        self.sum_([sums])
        return [float(value) for value in sums]

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON values of all processes, by rank, on each of them."""
        if self.world_size == 1:
            return [value]
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        longest = max(int(size) for size in sizes)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world_size)]
        dist.all_gather(texts, torch.nn.functional.pad(own, (0, longest - len(own))))
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(texts, sizes, strict=True)]

    def go_on(self, wish: bool = True) -> bool:
        """Return rank 0's `wish` on every process; called before each iteration."""
        if self.world_size == 1:
            return wish
        decision = torch.tensor([int(wish)])
        dist.broadcast(decision, src=0)
        return bool(decision)

    def wait(self) -> None:
        """Wait until every process has called this."""
        self.go_on()


ALONE = Ranks()


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the group that torchrun's environment variables describe; yield ALONE where there are none."""
    if (world_size := _world_size()) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), world_size, int(os.environ["LOCAL_WORLD_SIZE"]))
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process right after this block, with the exit status it would have had, if it belongs to a group.

    A gloo thread may hold the tensors of the last exchange a moment longer. If Python is shutting down when it releases them, it
    can't get the interpreter's lock, and the process aborts (pytorch/pytorch#190489). So the shutdown is skipped. A process without
    a group continues normally.
    """
    if _world_size() == 1:
        yield
        return
    try:
        yield
        status = 0
    except SystemExit as end:
        status = (end.code or 0) if isinstance(end.code, int | None) else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):  # the reader is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
