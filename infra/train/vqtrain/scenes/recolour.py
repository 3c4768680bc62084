"""Moves an icon's dominant colour to another one, in the fills of its SVG: a blue car, a red cat."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass

import numpy as np

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (355, 0.85, 0.50),
    "orange": (28, 0.95, 0.55),
    "yellow": (50, 0.95, 0.58),
    "green": (125, 0.60, 0.42),
    "blue": (215, 0.85, 0.52),
    "purple": (275, 0.60, 0.50),
    "pink": (335, 0.85, 0.74),
    "brown": (22, 0.52, 0.33),
    "black": (0, 0.0, 0.16),
    "white": (0, 0.0, 0.92),
    "grey": (0, 0.0, 0.56),
}
"""Hue in degrees, saturation and lightness of the colour that a dominant fill takes."""
HUE_BINS = 36
HUE_REACH = 45
"""Fills whose hue is at most so many degrees from the dominant one move with it."""
LEAST_SATURATION, LEAST_LIGHTNESS, MOST_LIGHTNESS = 0.2, 0.1, 0.95
"""Beyond these a colour counts as grey."""
SHADING = 0.8
"""How much of a fill's difference in lightness from the dominant fill is kept."""
HEX = re.compile(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b")


@dataclass(frozen=True)
class Dominant:
    """The most frequent colour of an icon's ink: a hue, or grey."""

    hue: float | None
    """Degrees; None where grey prevails."""
    lightness: float
    share: float
    """Of the ink."""


def dominant(pixels: np.ndarray) -> Dominant:
    """Of RGBA pixels [H, W, 4], uint8."""
    flat = pixels.reshape(-1, 4)
    hls = np.array([colorsys.rgb_to_hls(*(row[:3] / 255)) for row in flat[flat[:, 3] >= 128]])
    if not len(hls):
        return Dominant(None, 0.5, 0.0)
    hue, lightness, saturation = hls.T
    grey = (saturation < LEAST_SATURATION) | (lightness < LEAST_LIGHTNESS) | (lightness > MOST_LIGHTNESS)
    bins = np.bincount((hue[~grey] * HUE_BINS).astype(int) % HUE_BINS, minlength=HUE_BINS)
    near = bins + np.roll(bins, 1) + np.roll(bins, -1)
    best = int(near.argmax())
    if near[best] <= 0.35 * grey.sum():
        return Dominant(None, float(lightness[grey].mean()), float(grey.mean()))
    middle = (best + 0.5) / HUE_BINS
    distance = np.abs((hue - middle + 0.5) % 1 - 0.5)
    chosen = ~grey & (distance <= 1.5 / HUE_BINS)
    return Dominant(middle * 360, float(lightness[chosen].mean()), float(near[best] / len(hls)))


def recoloured(svg: str, of: Dominant, colour: str) -> str:
    """The SVG with the fills of its dominant colour moved to `colour` of COLOURS; shading is kept."""
    hue, saturation, lightness = COLOURS[colour]

    def move(match: re.Match[str]) -> str:
        h, l, s = colorsys.rgb_to_hls(*channels(match[0]))  # noqa: E741
        grey = s < LEAST_SATURATION or l < 0.06 or l > 0.97
        far = abs((h * 360 - (of.hue or 0) + 540) % 360 - 180) >= HUE_REACH
        if (s >= LEAST_SATURATION) if of.hue is None else (grey or far):
            return match[0]
        shaded = min(max(lightness + (l - of.lightness) * SHADING, 0.05), 0.97)
        return "#" + "".join(f"{round(255 * v):02x}" for v in colorsys.hls_to_rgb(hue / 360, shaded, saturation))

    return HEX.sub(move, svg)


def channels(text: str) -> tuple[float, ...]:
    """`#rgb` or `#rrggbb` to three numbers in 0 .. 1."""
    digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
    return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
