"""A small convolutional network that says what an image shows. It judges; nothing that it judges has learned from it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..scenes.recolour import COLOURS
from ..scenes.scene import BACKGROUNDS, Scene
from ..scenes.sprites import OWN
from ..scenes.styles import STYLES

WIDTHS = (32, 64, 128, 192)
GROUPS = 8
POOLED = 3
"""Side of the grid of features that the answer is made from: enough to tell left from right."""
HIDDEN = 512
RELATIONS = ("", "beside", "above")
MOST = 5


def sizes_of_answers(num_subjects: int) -> list[int]:
    """Classes: subject, colour, other's subject (the last: none), other's colour, count, relation, background, style."""
    colours = 1 + len(COLOURS)
    return [
        num_subjects,
        colours,
        num_subjects + 1,
        colours,
        MOST,
        len(RELATIONS),
        1 + len(BACKGROUNDS),
        1 + len(STYLES),
    ]


def answers(scene: Scene, num_subjects: int) -> list[int]:
    """The right ones."""
    colours = [OWN, *COLOURS]
    first, other = scene.thing, scene.other
    pair = [other.subject, colours.index(other.colour)] if other else [num_subjects, 0]
    return [
        first.subject, colours.index(first.colour), *pair, scene.count - 1, RELATIONS.index(scene.relation),
        ["", *BACKGROUNDS].index(scene.background), ["", *STYLES].index(scene.style),
    ]  # fmt: skip


class Block(nn.Module):
    """Halves height and width: [B, C, H, W] -> [B, D, H / 2, W / 2]."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width_in, width, 3, stride=2, padding=1)
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.down(x)))
        return F.relu(x + self.norm2(self.conv(x)))


class Reader(nn.Module):
    """Images [B, 3, H, W] in -1 .. 1 -> logits of each answer, a list of [B, classes]."""

    def __init__(self, num_subjects: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip((3, *WIDTHS), WIDTHS, strict=False)))
        self.hidden = nn.Linear(WIDTHS[-1] * POOLED**2, HIDDEN)
        self.answer = nn.Linear(HIDDEN, sum(sizes_of_answers(num_subjects)))
        self.num_subjects = num_subjects

    def forward(self, images: Tensor) -> list[Tensor]:
        features = F.adaptive_avg_pool2d(self.blocks(images), POOLED).flatten(1)
        return list(self.answer(F.relu(self.hidden(features))).split(sizes_of_answers(self.num_subjects), -1))

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """The likeliest answers, [B, 8]."""
        return torch.cat([torch.stack([a.argmax(-1) for a in self(part)], 1) for part in images.split(32)])
