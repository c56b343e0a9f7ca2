"""Optimizers that take part in a training without torch's compiler.

torch.optim.Optimizer imports it as soon as one is made: seconds of a person's waiting and 75 MB, for nothing where nothing is
compiled. So the frame is written out here; AdamW's arithmetic is torch's own.

Not here: which parameters belong to which group, learning rates, schedules.
"""

from optimizers.adamw import AdamW
from optimizers.frame import Optimizer
from optimizers.muon import Muon, orthogonalised

__all__ = ["AdamW", "Muon", "Optimizer", "orthogonalised"]
