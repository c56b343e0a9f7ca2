"""Optimizers that take part in a training without torch's compiler.

torch.optim.Optimizer imports it as soon as one is made: a second or more of a person's waiting and 75 MB, for nothing where nothing
is compiled (`python -m benchmarks.preparation`). So the frame is written out here; AdamW's arithmetic is torch's own.

Not here: which parameters belong to which group, learning rates, schedules.
"""

from optimizers.adamw import AdamW
from optimizers.frame import Optimizer
from optimizers.muon import Muon, orthogonalised

__all__ = ["AdamW", "Muon", "Optimizer", "orthogonalised"]
