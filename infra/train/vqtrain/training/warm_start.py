"""What the stage `transformer` can take over from a finished checkpoint, although codes, grid and captions may be others."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.textmodel import TextToLatents
from ..output import tensorfile
from ..output.pipeline import Pipeline

ADAPTED = ("latent_image_embedding.", "out.", "token_embedding.weight", "vector")
"""Names of tensors that may have another shape than before, or be new: those of grid, codes and words."""
SAME_CODES = 0.8
"""A codebook of which so many codes are nearest to themselves in another has been trained on from it: codes mean what they did."""
RIDGE = 1.0
"""Of the map from word vectors to token rows, against as many words as there are."""


def state_from(folder: Path, model: TextToLatents, codebook: Tensor) -> tuple[dict[str, Tensor], list[int]]:
    """
    A state for `model` from a checkpoint of the same widths and depths, and the token ids of its text encoder. The grid's
    embeddings are stretched to the new side. What speaks of codes is kept as `model` has it where `codebook` [K, width] is
    another one: there the latents' embedding starts as a random projection of the codes, so that similar ones begin alike.
    """
    start = Pipeline(folder)
    tensorfile.require_fit(
        folder / "transformer", start.transformer.state_dict(), model.transformer.state_dict(), but=ADAPTED
    )
    tensorfile.require_fit(
        folder / "text_encoder", start.text.state_dict(), model.text_encoder.state_dict(), but=ADAPTED
    )
    state = model.state_dict()
    side = model.transformer.latent_image_embedding.height_emb.num_embeddings
    codes = start.vq.quantize.embedding.weight
    same = codes.shape == codebook.shape and share_kept(codes, codebook) >= SAME_CODES
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


def share_kept(old: Tensor, new: Tensor) -> float:
    """Of codes [K, width]: how many of the new ones are nearer to their own predecessor than to any other code."""
    return (torch.cdist(new, old).argmin(1) == torch.arange(len(new))).float().mean().item()


@torch.no_grad()
def adopt(model: TextToLatents, state: dict[str, Tensor], used_ids: list[int]) -> None:
    """
    Loads a state whose words or subjects may differ: token rows go by id, a head of another size is left. Where `state` has no map
    from word vectors, the best one for its rows is made, and the rows become differences from it.
    """
    state, encoder = dict(state), model.text_encoder
    rows, map_name = "text_encoder.token_embedding.weight", "text_encoder.vector_map.weight"
    table = encoder.token_embedding.weight.detach().clone()
    here = set(encoder.used_ids)
    common = [i for i in used_ids if i in here]
    old = {token: row for row, token in enumerate(used_ids, start=1)}
    places = encoder.row_of_id[common]
    table[places] = state[rows][[old[i] for i in common]].to(table.device)
    if encoder.vectors is not None and map_name not in state:
        known = places[encoder.vectors[places].any(-1)]
        vectors, wanted = encoder.vectors[known], table[known]
        normal = vectors.T @ vectors + RIDGE * torch.eye(vectors.shape[1])
        state[map_name] = torch.linalg.solve(normal, vectors.T @ wanted).T
        table[known] -= vectors @ state[map_name].T
    state[rows] = table
    mine = model.state_dict()
    for name in [name for name in state if name.startswith(("attribute_head.", "subject_head."))]:
        if name not in mine or mine[name].shape != state[name].shape:
            del state[name]
    model.load_state_dict({**mine, **state})


def projected(codebook: Tensor, width: int, *, like: Tensor) -> Tensor:
    """Codes [K, w] to [K, width] at random, with the mean and spread of `like`."""
    centred = (codebook - codebook.mean(0)) @ torch.randn(codebook.shape[1], width)
    return like.mean(0) + centred * (like.std() / centred.std())
