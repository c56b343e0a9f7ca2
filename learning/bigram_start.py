"""Start a new model from the token pairs of its training text: embeddings and head are computed from their counts.

An untrained model spends its first hundreds of iterations on learning pairs of tokens batch by batch, although they can be counted
at once. The matrix log(1 + n_ij / (k q_j)) states how much likelier j is after i than elsewhere (n_ij counts, q_j the share of j,
k pseudo-counts of chance). Its truncated singular value decomposition, with rows and columns weighted by their frequency, gives
the embeddings (tokens with similar successors get similar ones) and the head: word vectors as a factorised matrix of counts
(Levy & Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization").

Because an untrained block adds nothing, the model predicts those pairs from its first iteration on. docs/en/defaults.md shows the
gain. The start depends on the text alone, not on the seed of the model.

The rank is low so that the model starts with what many tokens have in common and not with rare pairs memorised. A higher rank is a
little better at first, and permanently worse after four passes over a small book.

Not here: when a training begins this way (runs/preparation.py).
Shapes: V vocab_size, C d_model, N tokens, P pairs, R rank.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from model import EMBEDDING_STD, Transformer

CHANCE = 100.0  # k: the pseudo-counts of a pair, in occurrences of its first token
ROW_POWER, COLUMN_POWER = 0.4, 0.5  # weights of the decomposition: the frequency of a token to these powers
CONSTANT = 0.5  # size of the component that all embeddings share, from which the head reads the frequency of a token
MOST_TOKENS = 5_000_000  # counted; more text hardly changes the frequent pairs
MOST_RANK = 40  # of the decomposition; the other dimensions start empty
OVERSAMPLING, POWER_ITERATIONS = 20, 2  # of the randomised decomposition (Halko et al. 2011, arXiv 0909.4061)


def is_untrained(model: Transformer) -> bool:
    """Return whether the head is still as `Transformer.initialise` leaves it: zero."""
    return not bool(model.lm_head.weight.any())


@torch.no_grad()
def start_from_bigrams(model: Transformer, tokens: Tensor) -> None:
    """Replace the embeddings and the head of `model` by those computed from the pairs of neighbours in `tokens` (N,)."""
    vocab_size, d_model = model.lm_head.weight.shape
    tokens = tokens[:MOST_TOKENS].long()
    counts = torch.bincount(tokens, minlength=vocab_size) + 0.5  # (V,): no token is impossible
    share = counts / counts.sum()
    rank = min(d_model - 3, vocab_size // 2, MOST_RANK)
    before, after = _factors(_excess(tokens, share), counts.pow(ROW_POWER), share.pow(COLUMN_POWER), rank)
    embeddings, head = _of_equal_norm(before, after, share.log())
    rms = float(embeddings[0].norm()) / math.sqrt(d_model)  # the final norm divides by it
    model.embed_tokens.weight.copy_(_spread(embeddings * (EMBEDDING_STD / rms), d_model))
    model.lm_head.weight.copy_(_spread(head * rms, d_model))


def _excess(tokens: Tensor, share: Tensor) -> Tensor:
    """Return log(1 + n_ij / (k q_j)) of all pairs that occur, as a sparse (V, V)."""
    vocab_size = len(share)
    pairs, counts = _counted(torch.add(tokens[1:], tokens[:-1], alpha=vocab_size).numpy())
    places = np.empty((2, len(pairs)), np.int64)
    np.divmod(pairs, vocab_size, out=(places[0], places[1]))
    indices = torch.from_numpy(places)
    values = torch.log1p(torch.from_numpy(counts) / (CHANCE * share[indices[1]]))
    return torch.sparse_coo_tensor(indices, values, (vocab_size, vocab_size), is_coalesced=True, check_invariants=False)


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different values (P,), in order, and how often each occurs. Sorts in place: torch.unique takes several copies."""
    values.sort()
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[first], np.diff(first, append=len(values))


def _factors(excess: Tensor, row_weights: Tensor, column_weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Decompose `excess` (V, V) into factors for a token and its successor, (V, R) each: before @ after.T is about `excess`."""
    rows, columns = excess.indices()
    values = excess.values() * row_weights[rows] * column_weights[columns]
    weighted = torch.sparse_coo_tensor(
        excess.indices(), values, excess.shape, is_coalesced=True, check_invariants=False
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(weighted, q=rank + OVERSAMPLING, niter=POWER_ITERATIONS)
    scale = s[:rank].sqrt()
    return u[:, :rank] * scale / row_weights[:, None], v[:, :rank] * scale / column_weights[:, None]


def _of_equal_norm(before: Tensor, after: Tensor, log_share: Tensor) -> tuple[Tensor, Tensor]:
    """Add the frequencies to both factors, (V, R + 2) each, and give every row of the first the same norm.

    The final norm then divides all rows by the same number.
    """
    norms = before.norm(dim=1, keepdim=True)
    most = norms[norms > 0].quantile(0.99)
    before = before * (most / norms.clamp(min=1e-9)).clamp(max=1.0)
    missing = (most.square() - before.square().sum(1, keepdim=True)).clamp(min=0.0).sqrt()
    common = torch.full_like(missing, float(CONSTANT * most))
    frequency = (log_share - log_share.mean())[:, None] / (CONSTANT * most)
    return torch.cat((common, before, missing), dim=1), torch.cat((frequency, after, torch.zeros_like(missing)), dim=1)


def _spread(rows: Tensor, d_model: int) -> Tensor:
    """Return rows (V, C) rotated to mean zero, so that LayerNorm keeps them: a Householder reflection with an empty last column."""
    rows = torch.nn.functional.pad(rows, (0, d_model - rows.shape[1]))
    mirror = torch.full((d_model,), -1 / math.sqrt(d_model))
    mirror[-1] += 1
    mirror /= mirror.norm()
    return rows - 2 * (rows @ mirror)[:, None] * mirror
