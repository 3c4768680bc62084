"""Sampling as the reference pipeline does it: from all masks, one posterior draw a step, with guidance and truncation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .diffusion import MaskAndReplace

LOWEST_LOG_PROBABILITY = -70.0

Predict = Callable[[Tensor, int, bool], Tensor]
"""(latents [B, N], timestep, with text?) -> log p(x_0) [B, N, K]."""


@torch.no_grad()
def sample(
    predict: Predict,
    process: MaskAndReplace,
    shape: tuple[int, int],
    *,
    steps: int,
    guidance_scale: float,
    truncation_rate: float,
    generator: torch.Generator,
) -> Tensor:
    """
    Latents [B, N] for `shape` = (B, N). The timesteps are steps - 1 ... 0, with no respacing, as in diffusers: with
    fewer steps than the process has, the run starts from all masks at a low timestep.
    """
    latents = torch.full(shape, process.mask)
    for timestep in range(steps - 1, -1, -1):
        log_p = guided(predict, latents, timestep, guidance_scale)
        probabilities = truncate(log_p, truncation_rate).clamp(min=LOWEST_LOG_PROBABILITY).exp()
        if timestep > 0:
            probabilities = process.posterior(probabilities, latents, timestep)
        latents = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).reshape(shape)
    return latents


def guided(predict: Predict, latents: Tensor, timestep: int, guidance_scale: float) -> Tensor:
    """Classifier-free guidance on log-probabilities, normalised again; one prediction where the scale is 1."""
    with_text = predict(latents, timestep, True)
    if guidance_scale <= 1:
        return with_text
    without_text = predict(latents, timestep, False)
    return (without_text + guidance_scale * (with_text - without_text)).log_softmax(-1)


def truncate(log_p: Tensor, rate: float) -> Tensor:
    """Keeps the likeliest classes up to a total probability of `rate`, the one that crosses it included."""
    if rate >= 1:
        return log_p
    ordered, order = log_p.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    ordered = ordered.masked_fill(before >= rate, LOWEST_LOG_PROBABILITY)
    return torch.empty_like(log_p).scatter_(-1, order, ordered)
