"""Styles that can be derived from any image: a silhouette, an outline, shades of grey, coarse pixels."""

from __future__ import annotations

import numpy as np

STYLES = ("silhouette", "outline", "grey", "pixel")
INK = 34
"""Grey level of silhouettes and outlines."""
LINE_GAIN = 2.5
"""How soon a step between two colours becomes a full line."""


def apply_style(sprite: np.ndarray, style: str, block: int) -> np.ndarray:
    """An RGBA sprite, uint8 [S, S, 4], in a style of STYLES; `block` pixels are one of the `pixel` style."""
    rgb, alpha = sprite[..., :3].astype(np.float32), sprite[..., 3].astype(np.float32) / 255
    if style == "silhouette":
        return join(np.full_like(rgb, INK), alpha)
    if style == "grey":
        luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        return join(np.repeat(luma[..., None], 3, -1), alpha)
    if style == "pixel":
        return join(coarse(rgb * alpha[..., None], block) / np.maximum(coarse(alpha, block), 1e-3)[..., None],
                    np.where(coarse(alpha, block) >= 0.5, 1.0, 0.0))  # fmt: skip
    if style == "outline":
        image = np.pad(rgb * alpha[..., None] + 255 * (1 - alpha[..., None]), ((1, 1), (1, 1), (0, 0)), mode="edge")
        across, down = image[1:-1, 2:] - image[1:-1, :-2], image[2:, 1:-1] - image[:-2, 1:-1]
        strength = np.sqrt(across**2 + down**2).max(-1) / 255
        return join(np.full_like(rgb, INK), np.clip(strength * LINE_GAIN - 0.2, 0, 1))
    raise ValueError(f"no style {style}")


def coarse(values: np.ndarray, block: int) -> np.ndarray:
    """Means of blocks, at the size of `values` [S, S, ...]; S is a multiple of `block`."""
    side = len(values) // block
    means = values.reshape(side, block, side, block, *values.shape[2:]).mean((1, 3))
    return means.repeat(block, 0).repeat(block, 1)


def join(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, 255 * alpha[..., None]], -1).round().clip(0, 255).astype(np.uint8)
