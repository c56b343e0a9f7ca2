"""The operations that training spends most of its time on, arranged to be fast on a CPU.

Each equals the plain torch operation named in its test, up to rounding; `python -m benchmarks.kernels` times both.
Where a special form is no faster (on a GPU, without a gradient), torch's own operation is used.

Not here: anything that knows a model.
"""

from kernels.attention import causal_attention, rotate
from kernels.blocks import Dropout, RMSNorm, compute, linear
from kernels.gate import silu_gate
from kernels.head import linear_cross_entropy, logprobs, weighted_nll

__all__ = [
    "Dropout",
    "RMSNorm",
    "causal_attention",
    "compute",
    "linear",
    "linear_cross_entropy",
    "logprobs",
    "rotate",
    "silu_gate",
    "weighted_nll",
]
