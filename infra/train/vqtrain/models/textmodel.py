"""The parts that turn a prompt into latents, as they are trained together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import Config
from ..scenes.recolour import COLOURS
from ..scenes.scene import BACKGROUNDS, Scene
from ..scenes.sprites import OWN
from ..scenes.styles import STYLES
from .text_encoder import TextEncoder
from .transformer import Transformer

NOT_TOLD = -100
"""An attribute that a caption says nothing of."""
MOST = 5
"""Things of a kind in a scene."""


def attribute_sizes(num_subjects: int) -> list[int]:
    """Classes of each attribute that the text's last position is asked for: see `attributes`."""
    colours = 1 + len(COLOURS)
    return [num_subjects, colours, num_subjects, colours, MOST, 1 + len(BACKGROUNDS), 1 + len(STYLES)]


def attributes(scene: Scene) -> list[int]:
    """Subject and colour of the thing and of the other, count, background, style, as class numbers or NOT_TOLD."""
    colours = [OWN, *COLOURS]
    first, other = scene.thing, scene.other
    pair = [other.subject, colours.index(other.colour)] if other else [NOT_TOLD, NOT_TOLD]
    return [
        first.subject, colours.index(first.colour), *pair, scene.count - 1,
        ["", *BACKGROUNDS].index(scene.background), ["", *STYLES].index(scene.style),
    ]  # fmt: skip


class TextToLatents(nn.Module):
    """Text encoder, denoiser, and the learned embedding of no text (used as stored, here and in the pipeline)."""

    def __init__(
        self, config: Config, used_ids: list[int], side: int, num_subjects: int, vectors: Tensor | None
    ) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(config.text, used_ids, vectors)
        self.transformer = Transformer(config.transformer, config.text, config.vq.num_codes, side)
        empty = torch.randn(config.text.positions, config.text.width)
        self.empty = nn.Parameter(empty / empty.norm(dim=-1, keepdim=True))
        self.attribute_head = nn.Linear(config.text.width, sum(attribute_sizes(num_subjects)))
        """For training only: what the scene shows from the text's last position (an auxiliary loss)."""

    def text(self, ids: Tensor, empty: Tensor, vectors_alone: Tensor | None = None) -> Tensor:
        """Ids [B, L] -> embeddings [B, L, width]; the learned empty ones where `empty` [B] is true."""
        return torch.where(empty[:, None, None], self.empty, self.text_encoder(ids, vectors_alone))

    def forward(
        self, latents: Tensor, ids: Tensor, t: Tensor, empty: Tensor, places: Tensor | None = None,
        vectors_alone: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Logits of x_0 [B, N, K], and of the attributes [B, sum of their classes]."""
        text = self.text(ids, empty, vectors_alone)
        told = self.attribute_head(text[:, -1] * math.sqrt(text.shape[-1]))
        return self.transformer(latents, text, t, places), told
