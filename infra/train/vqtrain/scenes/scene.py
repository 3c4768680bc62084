"""What an image shows, where it stands on the grid of latents, and how it is painted in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import Config
from .sprites import OWN, Sprites, on, sizes
from .styles import apply_style

WHITE = (255, 255, 255)
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (224, 82, 94),
    "orange": (247, 160, 84),
    "yellow": (251, 224, 120),
    "green": (124, 194, 128),
    "blue": (124, 172, 240),
    "purple": (164, 122, 208),
    "pink": (248, 196, 214),
    "brown": (150, 104, 72),
    "black": (31, 31, 31),
    "grey": (184, 184, 184),
}
"""RGB of the backgrounds that can be asked for; no word means white."""
LARGE, MEDIUM, SMALL = 0, 1, 2
"""Indices of sizes."""


@dataclass(frozen=True)
class Thing:
    """A subject (its number) in a colour (OWN or one of COLOURS)."""

    subject: int
    colour: str = OWN


@dataclass(frozen=True)
class Scene:
    """One thing, `count` of the same, or two in a relation."""

    kind: str
    """For shares and figures: plain, small, colour, background, style, count, pair, colour pair."""
    thing: Thing
    count: int = 1
    other: Thing | None = None
    relation: str = ""
    """`beside`: thing is left of other; `above`: thing is above other."""
    is_small: bool = False
    background: str = ""
    style: str = ""

    @property
    def things(self) -> tuple[Thing, ...]:
        return (self.thing,) if self.other is None else (self.thing, self.other)


@dataclass(frozen=True)
class Placement:
    thing: Thing
    size: int
    """LARGE, MEDIUM or SMALL."""
    top: int
    left: int
    """In cells of the grid of latents."""


def placements(scene: Scene, side: int) -> list[Placement]:
    """Where the things stand on a grid of `side` x `side` cells; a multiple of 12."""
    half, quarter, third = side // 2, side // 4, side // 3
    if scene.other is not None:
        first, second = (
            ((quarter, 0), (quarter, half)) if scene.relation == "beside" else ((0, quarter), (half, quarter))
        )
        return [Placement(scene.thing, MEDIUM, *first), Placement(scene.other, MEDIUM, *second)]
    if scene.count == 1:
        return [
            Placement(scene.thing, MEDIUM, quarter, quarter) if scene.is_small else Placement(scene.thing, LARGE, 0, 0)
        ]
    corners = [(0, 0), (0, 2 * third), (third, third), (2 * third, 0), (2 * third, 2 * third)]
    slots = {
        2: [(quarter, 0), (quarter, half)],
        3: [(0, quarter), (half, 0), (half, half)],
        4: [(0, 0), (0, half), (half, 0), (half, half)],
        5: corners,
    }[scene.count]
    return [Placement(scene.thing, SMALL if scene.count == 5 else MEDIUM, *slot) for slot in slots]


class Painter:
    """Scenes as pixels: what the VQ-VAE and the reader learn from."""

    def __init__(self, config: Config, sprites: Sprites) -> None:
        self.sprites, self.sizes = sprites, sizes(config)
        self.resolution, self.factor = config.data.resolution, config.vq.factor

    def paint(self, scene: Scene) -> np.ndarray:
        """uint8 [resolution, resolution, 3]."""
        background = BACKGROUNDS[scene.background] if scene.background else WHITE
        image = np.empty((self.resolution, self.resolution, 3), np.uint8)
        image[:] = background
        for place in placements(scene, self.resolution // self.factor):
            sprite = self.sprite(place.thing, place.size)
            if scene.style:
                sprite = apply_style(sprite, scene.style, self.factor)
            margin = (self.sizes[place.size].cells * self.factor - len(sprite)) // 2
            top, left = (place.top * self.factor + margin, place.left * self.factor + margin)
            image[top : top + len(sprite), left : left + len(sprite)] = on(background, sprite)
        return image

    def sprite(self, thing: Thing, size: int) -> np.ndarray:
        return self.sprites.pixels[size][self.sprites.row[thing.subject, thing.colour]]
