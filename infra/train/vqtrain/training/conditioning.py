"""Does the text say what the image will be? Cross-entropy at full mask, by kind of scene, seen and held out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.diffusion import MaskAndReplace
from ..models.textmodel import TextToLatents
from ..scenes.draw import HELD_OUT_IN, KINDS
from .corpus import Corpus

SCENES = 24
"""Of each kind."""
SHOWN = 192
"""Places of each, as the denoiser is trained: with all of them it sees more masks than it is used to."""


@torch.no_grad()
def measure_conditioning(
    model: TextToLatents, corpus: Corpus, process: MaskAndReplace, device: str
) -> dict[str, float]:
    """
    Nats per latent with ink at t = T - 1, with the right text, by kind; `held_...` of scenes that are held out; `empty` and
    `another` of plain scenes with no text and with another scene's; and the share of right first choices, `right_...`.
    """
    figures = {}
    for kind in KINDS:
        for held_out in (False, True) if kind in HELD_OUT_IN else (False,):
            scenes = corpus.fixed_scenes(kind, SCENES, held_out=held_out)
            latents, ink = corpus.compose(scenes)
            ids = corpus.ids([corpus.captioner.plain(scene) for scene in scenes])
            name = f"{'held_' if held_out else ''}{kind.replace(' ', '_')}"
            figures[name], figures[f"right_{name}"] = full_mask(model, latents, ink, ids, process, device)
            if kind == "plain":
                figures["empty"], _ = full_mask(model, latents, ink, ids, process, device, empty=True)
                figures["another"], _ = full_mask(model, latents, ink, ids.roll(1, 0), process, device)
    return figures


def full_mask(
    model: TextToLatents, latents: Tensor, ink: np.ndarray, ids: Tensor, process: MaskAndReplace, device: str,
    *, empty: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """Cross-entropy and share of right first choices on places with ink of `latents` [B, N], from the mask alone."""
    count = latents.shape[1]
    shown = min(SHOWN, count)
    places = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:shown]
    total, right, inked = 0.0, 0, 0
    for part in torch.arange(len(latents)).split(8):
        true = latents[part][:, places].to(device)
        masked = torch.full_like(true, process.mask)
        t = torch.full((len(part),), process.steps - 1, device=device)
        with torch.autocast(device, torch.bfloat16):
            logits, _ = model(
                masked, ids[part].to(device), t, torch.full_like(t, empty, dtype=torch.bool), places.to(device)
            )
        where = torch.from_numpy(ink[part.numpy()][:, places.numpy()]).to(device)
        total += F.cross_entropy(logits[where].float(), true[where], reduction="sum").item()
        right += int((logits.argmax(-1) == true)[where].sum())
        inked += int(where.sum())
    return total / max(inked, 1), right / max(inked, 1)
