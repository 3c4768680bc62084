"""The forward process of VQ-Diffusion (arXiv 2111.14822, eq. 7-8) and its posterior, as the reference scheduler has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import TransformerConfig

SMALLEST = 1e-30


class MaskAndReplace:
    """Cumulated tables of T + 1 entries (the last stands for t = -1); classes 0 .. K-1, and K is the mask."""

    def __init__(self, config: TransformerConfig, num_codes: int, device: str = "cpu") -> None:
        self.steps, self.mask = config.num_timesteps, num_codes
        ends = ((config.alpha_cum_start, config.alpha_cum_end, 1.0), (config.gamma_cum_start, config.gamma_cum_end, 0.0))
        self.cum_alpha, self.cum_gamma = (
            torch.cat([torch.linspace(first, last, self.steps, dtype=torch.float64), torch.tensor([before]).double()]).to(device)
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

    def posterior(self, probabilities: Tensor, latents: Tensor, t: int) -> Tensor:
        """p(x_{t-1} | x_t) for t >= 1, up to a factor: p(x_0) [B, N, K] and x_t [B, N] -> [B, N, K + 1]."""
        alpha, beta, gamma = (float(table[t]) for table in (self.cum_alpha, self.cum_beta, self.cum_gamma))
        alpha_before, beta_before, gamma_before = (
            float(table[t - 1]) for table in (self.cum_alpha, self.cum_beta, self.cum_gamma)
        )
        masked = (latents == self.mask)[..., None]
        same = F.one_hot(latents, self.mask + 1)[..., : self.mask].bool()
        step_alpha = alpha / alpha_before
        step_gamma = 1 - (1 - gamma) / (1 - gamma_before)
        step_beta = (1 - step_alpha - step_gamma) / self.mask
        reached = torch.where(masked, gamma, torch.where(same, alpha + beta, beta))
        step = torch.where(masked, step_gamma, torch.where(same, step_alpha + step_beta, step_beta))
        q = probabilities / reached
        total = q.sum(-1, keepdim=True)
        to_class = (q * alpha_before + beta_before * total) * step
        to_mask = gamma_before * total * torch.where(masked, 1.0, SMALLEST)
        return torch.cat([to_class, to_mask], -1)
