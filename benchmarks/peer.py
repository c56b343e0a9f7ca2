"""The peer that training is measured against: stock `transformers` GPT-2, trained as nanoGPT trains it.

AdamW (betas 0.9, 0.99; weight decay 0.1 on matrices), 100 iterations of warm-up, cosine to a tenth, gradients clipped at 1.0,
tied embeddings, no dropout, 2,048 tokens an iteration.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from config import ModelConfig
from corpus.dataset import Sequences, TokenDataset

CPU = torch.device("cpu")
TOKENS_PER_ITERATION = 2048
WARMUP_ITERATIONS = 100


class Peer:
    def __init__(
        self,
        shape: ModelConfig,
        dataset: TokenDataset,
        *,
        bf16: bool,
        learning_rate: float,
        seed: int,
        device: torch.device = CPU,
        batch_size: int | None = None,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=shape.vocab_size,
                n_positions=shape.max_seq_len,
                n_embd=shape.d_model,
                n_layer=shape.num_layers,
                n_head=shape.num_heads,
                n_inner=shape.d_ff,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.model = model
        self.model.to(device)  # type: ignore[arg-type]
        self.device, self.batch_size = device, batch_size or TOKENS_PER_ITERATION // shape.max_seq_len
        self._bf16, self._learning_rate = bf16, learning_rate
        self._logits = torch.compile(self.model, dynamic=False) if compiled else self.model
        self._sequences = Sequences(dataset.train, shape.max_seq_len, seed)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), fused=True)

    def train(self, iterations: int) -> Iterator[float]:
        """Yield the seconds of each iteration."""
        self.model.train()
        for iteration in range(iterations):
            started_at = time.perf_counter()
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate(iteration, iterations)
            inputs, targets = self._sequences.batch(iteration * self.batch_size, self.batch_size)
            self._optimizer.zero_grad(set_to_none=True)
            self.loss(inputs, targets).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            yield time.perf_counter() - started_at

    def _rate(self, iteration: int, iterations: int) -> float:
        warmup = min(WARMUP_ITERATIONS, iterations // 5)
        if iteration < warmup:
            return self._learning_rate * (iteration + 1) / warmup
        done = (iteration - warmup) / max(1, iterations - warmup)
        return self._learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            logits = self._logits(inputs.to(self.device)).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.to(self.device).flatten())

    @torch.no_grad()
    def validate(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """Return the mean loss in nats per token."""
        self.model.eval()  # type: ignore[no-untyped-call]
        total, count = 0.0, 0
        for inputs, targets in batches:
            tokens = int((targets >= 0).sum())
            total, count = total + self.loss(inputs, targets).item() * tokens, count + tokens
        self.model.train()
        return total / count
