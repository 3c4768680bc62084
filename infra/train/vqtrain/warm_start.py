"""What the stage `transformer` can take over from a finished checkpoint, although codes, grid and captions may be others."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import tensorfile
from .pipeline import Pipeline
from .textmodel import TextToLatents

ADAPTED = ("latent_image_embedding.", "out.", "token_embedding.weight")
"""Names of tensors that may have another shape than before: those of grid, codes and words."""
SAME_CODES = 0.01
"""Codebooks that differ by no more are one, stored in float16."""


def state_from(folder: Path, model: TextToLatents, codebook: Tensor) -> tuple[dict[str, Tensor], list[int]]:
    """
    A state for `model` from a checkpoint of the same widths and depths, and the token ids of its text encoder. The grid's
    embeddings are stretched to the new side. What speaks of codes is kept as `model` has it where `codebook` [K, width] is
    another one: there the latents' embedding starts as a random projection of the codes, so that similar ones begin alike.
    """
    start = Pipeline(folder)
    tensorfile.require_fit(folder / "transformer", start.transformer.state_dict(), model.transformer.state_dict(), but=ADAPTED)
    tensorfile.require_fit(folder / "text_encoder", start.text.state_dict(), model.text_encoder.state_dict(), but=ADAPTED)
    state = model.state_dict()
    side = model.transformer.latent_image_embedding.height_emb.num_embeddings
    codes = start.vq.quantize.embedding.weight
    same = codes.shape == codebook.shape and torch.allclose(codes, codebook, atol=SAME_CODES)
    for name, value in start.transformer.state_dict().items():
        key = f"transformer.{name}"
        if name.endswith(("height_emb.weight", "width_emb.weight")):
            state[key] = F.interpolate(value.T[None], size=side, mode="linear")[0].T
        elif same or not name.startswith(("out.", "latent_image_embedding.emb.")):
            state[key] = value
        elif name == "latent_image_embedding.emb.weight":
            state[key] = torch.cat([projected(codebook, value.shape[1], like=value[:-1]), value[-1:]])
    state |= {f"text_encoder.{name}": value for name, value in start.text.state_dict().items()}
    state["empty"] = start.empty_text
    return state, start.text.used_ids


def projected(codebook: Tensor, width: int, *, like: Tensor) -> Tensor:
    """Codes [K, w] to [K, width] at random, with the mean and spread of `like`."""
    centred = (codebook - codebook.mean(0)) @ torch.randn(codebook.shape[1], width)
    return like.mean(0) + centred * (like.std() / centred.std())
