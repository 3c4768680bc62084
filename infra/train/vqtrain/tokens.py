"""Stage `tokens`: encodes every picture with the averaged VQ-VAE; what the transformer learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .config import Config
from .prepare import load_dataset
from .runstate import load_checkpoint
from .train_vqvae import checkpoint_path, evaluate_vqvae, to_float
from .vqvae import VQModel


def load_vqvae(config: Config) -> VQModel:
    """The averaged weights of the run's checkpoint."""
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None:
        raise SystemExit(f"no {checkpoint_path(config)}: run the stage `vqvae` first")
    model = VQModel(config.vq)
    model.load_state_dict(saved["average"])
    return model.eval()


def tokens_path(config: Config) -> Path:
    return config.run.run / "tokens.npz"


@torch.no_grad()
def make_tokens(config: Config) -> None:
    """Writes `tokens.npz`: int16 [N, h * w] in the order of the pictures, and the codebook they refer to."""
    pictures, subjects = load_dataset(config)
    model = load_vqvae(config)
    tokens = torch.cat([model.encode(to_float(part)).flatten(1) for part in np.array_split(pictures, len(pictures) // 8)])
    codebook = model.quantize.embedding.weight.numpy()
    np.savez(tokens_path(config), tokens=tokens.numpy().astype(np.int16), codebook=codebook)
    held_out = to_float(pictures[[s.held_out for s in subjects]])
    figures = evaluate_vqvae(model, held_out)
    print({**figures, "codes": tokens.unique().numel() / config.vq.num_codes})


def load_codebook(config: Config) -> torch.Tensor:
    """float32 [K, width], the one that the tokens refer to."""
    return torch.from_numpy(np.load(tokens_path(config))["codebook"])


def load_tokens(config: Config) -> torch.Tensor:
    """int64 [N, h * w]."""
    if not tokens_path(config).exists():
        raise SystemExit(f"no {tokens_path(config)}: run the stage `tokens` first")
    return torch.from_numpy(np.load(tokens_path(config))["tokens"].astype(np.int64))
