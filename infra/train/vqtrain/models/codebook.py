"""
Learns the codebook by exponential moving averages (VQ-VAE-2, arXiv 1906.00446), with a k-means start and restarts of
dead codes at rows that are served badly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KMEANS_ROUNDS = 12
SMALLEST = 1e-12
"""Keeps the choice of rows defined when every row is a code."""


class CodebookLearner(nn.Module):
    """Running counts and sums of the encoder outputs that each code is nearest to."""

    def __init__(self, codes: nn.Embedding, decay: float, dead_below: float) -> None:
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("counts", torch.ones(codes.num_embeddings))
        self.register_buffer("sums", codes.weight.detach().clone())

    @torch.no_grad()
    def follow(self, codes: nn.Embedding) -> None:
        """Begins anew with the codes as they are."""
        self.counts.fill_(1)
        self.sums.copy_(codes.weight)

    @torch.no_grad()
    def start(self, codes: nn.Embedding, rows: Tensor) -> None:
        """k-means on encoder outputs, [N, width] with N well above the number of codes."""
        centres = rows[torch.randperm(len(rows))[: codes.num_embeddings]].clone()
        for _ in range(KMEANS_ROUNDS):
            nearest = ((centres**2).sum(1) - 2 * rows @ centres.T).argmin(1)
            counts = torch.bincount(nearest, minlength=len(centres)).float()
            sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
            lonely = counts == 0
            centres = sums / counts.clamp(min=1)[:, None]
            centres[lonely] = rows[torch.randint(len(rows), (int(lonely.sum()),))]
        codes.weight.copy_(centres)
        self.follow(codes)

    @torch.no_grad()
    def update(self, codes: nn.Embedding, rows: Tensor, nearest: Tensor) -> int:
        """Moves the codes towards `rows` [N, width] assigned to them; returns how many dead codes restarted."""
        counts = torch.bincount(nearest, minlength=codes.num_embeddings).float()
        sums = torch.zeros_like(self.sums).index_add_(0, nearest, rows)
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        least = self.dead_below * len(rows)
        dead = (self.counts < least).nonzero().flatten()
        if len(dead):
            # By squared distance, as k-means++ chooses its centres: rows at random would mostly be background, which has its codes.
            errors = (rows - codes.weight[nearest]).square().sum(1)
            self.counts[dead] = max(1.0, 2 * least)
            self.sums[dead] = self.counts[dead, None] * rows[torch.multinomial(errors + SMALLEST, len(dead))]
        codes.weight.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])
        return len(dead)
