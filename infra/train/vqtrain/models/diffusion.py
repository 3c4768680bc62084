"""The forward process of VQ-Diffusion (arXiv 2111.14822, eq. 7-8), as the reference scheduler has it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import TransformerConfig


class MaskAndReplace:
    """Cumulated tables of T + 1 entries (the last stands for t = -1); classes 0 .. K-1, and K is the mask."""

    def __init__(self, config: TransformerConfig, num_codes: int, device: str = "cpu") -> None:
        self.steps, self.mask = config.num_timesteps, num_codes
        ends = (
            (config.alpha_cum_start, config.alpha_cum_end, 1.0),
            (config.gamma_cum_start, config.gamma_cum_end, 0.0),
        )
        self.cum_alpha, self.cum_gamma = (
            torch.cat(
                [torch.linspace(first, last, self.steps, dtype=torch.float64), torch.tensor([before]).double()]
            ).to(device)
            for first, last, before in ends
        )
        self.cum_beta = (1 - self.cum_alpha - self.cum_gamma) / num_codes

    def add_noise(self, latents: Tensor, t: Tensor) -> Tensor:
        """x_0 [B, N] at t [B] -> x_t: kept, masked, or replaced by a class at random."""
        u = torch.rand(latents.shape, device=latents.device)
        gamma = self.cum_gamma[t].float()[:, None]
        kept = self.cum_alpha[t].float()[:, None]
        others = torch.randint(self.mask, latents.shape, device=latents.device)
        noisy = torch.where(u < gamma + kept, latents, others)
        return torch.where(u < gamma, self.mask, noisy)
