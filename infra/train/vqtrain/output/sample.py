"""Sampling in the order of confidence (MaskGIT, arXiv 2202.04200): what the recipe looks at its own images with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TEMPERATURE, ORDER_NOISE = 0.5, 1.0
"""Of the draws; and of the Gumbel noise on the order, which fades to none."""

Predict = Callable[[Tensor, int, bool], Tensor]
"""(latents [B, N], timestep, with text?) -> log p(x_0) [B, N, K]."""


@torch.no_grad()
def sample(
    predict: Predict,
    *,
    shape: tuple[int, int],
    mask: int,
    timesteps: int,
    most_masked: float,
    steps: int,
    guidance_scale: float,
    generator: torch.Generator,
) -> Tensor:
    """
    Latents [B, N] for `shape` = (B, N). Each step draws all masked latents and keeps the surest, so many that the masked share
    follows a cosine. The timestep told is the one whose expected share of masks, up to `most_masked`, is the current one.
    """
    latents = torch.full(shape, mask)
    for step in range(steps):
        share = math.cos(math.pi / 2 * step / steps)
        timestep = min(round(share / most_masked * timesteps), timesteps) - 1
        log_p = (guided(predict, latents, max(timestep, 0), guidance_scale) / TEMPERATURE).log_softmax(-1)
        drawn = torch.multinomial(log_p.exp().flatten(0, 1), 1, generator=generator).reshape(shape)
        sureness = log_p.gather(-1, drawn[..., None])[..., 0]
        noise = -torch.empty(shape).exponential_(generator=generator).log()
        sureness += ORDER_NOISE * (1 - step / steps) * noise
        known = latents != mask
        drawn = torch.where(known, latents, drawn)
        left = int(math.cos(math.pi / 2 * (step + 1) / steps) * shape[1] + 1e-6)
        unsure = sureness.masked_fill(known, math.inf).argsort(1)[:, :left]
        latents = drawn.scatter(1, unsure, mask)
    return latents


def guided(predict: Predict, latents: Tensor, timestep: int, guidance_scale: float) -> Tensor:
    """Classifier-free guidance on log-probabilities, normalised again; one prediction where the scale is 1."""
    with_text = predict(latents, timestep, True)
    if guidance_scale <= 1:
        return with_text
    without_text = predict(latents, timestep, False)
    return (without_text + guidance_scale * (with_text - without_text)).log_softmax(-1)
