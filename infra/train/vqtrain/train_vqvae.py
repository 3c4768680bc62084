"""Stage `vqvae`: trains the VQ-VAE on the rendered pictures, resumably."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import tensorfile
from .codebook import CodebookLearner
from .config import Config, VQConfig
from .prepare import load_dataset
from .runstate import Clock, Log, WeightAverage, learning_rate_factor, load_checkpoint, save_checkpoint
from .vqvae import VQModel

KMEANS_BATCHES = 24
GRADIENT_CLIP = 1.0


def checkpoint_path(config: Config) -> Path:
    return config.run.run / "vqvae.pt"


def train_vqvae(config: Config, *, warm_start: Path | None = None, decoder_only: bool = False) -> None:
    """
    Trains until `max_images` or `run.max_seconds`. `warm_start` is a VQModel's safetensors file, used when there is
    no checkpoint yet. `decoder_only` keeps encoder and codebook, so that tokens already made stay valid.
    """
    torch.manual_seed(config.run.seed + time.time_ns() % 100_000)
    pictures, subjects = load_dataset(config)
    held_out = np.array([s.held_out for s in subjects])
    device = config.run.device
    train, test = pictures[~held_out], to_float(pictures[held_out]).to(device)

    settings = config.vq
    model = VQModel(settings).to(device)
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None and warm_start is not None:
        tensors = tensorfile.load(warm_start)
        tensorfile.require_fit(warm_start, tensors, model.state_dict())
        model.load_state_dict(tensors)
    learner = CodebookLearner(model.quantize.embedding, settings.codebook_decay, settings.dead_below).to(device)
    trained = model.decoder if decoder_only else model
    optimizer = torch.optim.AdamW(
        [p for p in trained.parameters() if p.requires_grad], settings.learning_rate, (0.9, 0.99), weight_decay=0.0
    )
    average = WeightAverage(model, settings.weight_ema_images)
    seen, clock, was_decoder_only = 0, Clock(), False
    if saved:
        model.load_state_dict(saved["model"])
        learner.load_state_dict(saved["learner"])
        average.model.load_state_dict(saved["average"])
        seen, clock, was_decoder_only = saved["seen"], Clock(saved["seconds"]), saved["decoder_only"]
        if was_decoder_only == decoder_only:
            optimizer.load_state_dict(saved["optimizer"])
        elif decoder_only:
            # Tokens are made with the averaged encoder, so that is the one to keep.
            model.load_state_dict(saved["average"])
    elif warm_start is None:
        learner.start(model.quantize.embedding, sample_latents(model, train, settings, device))

    def save() -> None:
        save_checkpoint(checkpoint_path(config), {
            "model": model.state_dict(), "learner": learner.state_dict(), "average": average.model.state_dict(),
            "optimizer": optimizer.state_dict(), "seen": seen, "seconds": clock.tick(), "decoder_only": decoder_only,
        })  # fmt: skip

    log = Log(config.run.run / "vqvae.jsonl")
    first_second = clock.tick()
    saved_at = evaluated_at = first_second
    if seen == 0:
        log.write(images=0, **evaluate_vqvae(model, test))
    while seen < settings.max_images and clock.seconds - first_second < config.run.max_seconds:
        factor = learning_rate_factor(
            seen, settings.warmup_images, settings.max_images, settings.final_learning_rate / settings.learning_rate
        )
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        batch = augment(train[np.random.randint(len(train), size=settings.batch_size)], settings.shift_pixels, device)
        step = losses(model, batch, settings, decoder_only)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), GRADIENT_CLIP)
        optimizer.step()
        restarted = 0
        if not decoder_only:
            restarted = learner.update(model.quantize.embedding, step.rows, step.nearest)
        seen += settings.batch_size
        average.update(model, settings.batch_size, seen)
        now = clock.tick()
        if seen // settings.batch_size % config.run.log_steps == 0:
            log.write(images=seen, seconds=now, loss=step.loss.item(), psnr=psnr(step.error.item()),
                      commitment=step.commitment.item(), restarted=restarted, factor=factor)  # fmt: skip
        if now - evaluated_at > config.run.evaluate_seconds:
            log.write(images=seen, seconds=now, **evaluate_vqvae(average.model, test))
            evaluated_at = now
        if now - saved_at > config.run.checkpoint_seconds:
            save()
            saved_at = now
    save()
    log.write(images=seen, seconds=clock.tick(), **evaluate_vqvae(average.model, test))


@dataclass
class Step:
    """One batch's losses, and the encoder rows [N, width] (float32, detached) with their codes [N]."""

    loss: Tensor
    error: Tensor
    commitment: Tensor
    rows: Tensor
    nearest: Tensor


def losses(model: VQModel, pictures: Tensor, settings: VQConfig, decoder_only: bool) -> Step:
    """Reconstruction (L1, L2, gradients) and commitment on pictures [B, 3, H, W]; straight-through quantization."""
    with torch.autocast(pictures.device.type, torch.bfloat16):
        with torch.set_grad_enabled(not decoder_only):
            z = model.latents(pictures).float()
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)
        nearest = model.quantize.nearest(rows.detach())
        codes = model.quantize.embedding(nearest).reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        decoded = model.decode_latents(z + (codes - z).detach()).float()
    error = F.mse_loss(decoded, pictures)
    edges = sum(F.l1_loss(decoded.diff(dim=d), pictures.diff(dim=d)) for d in (2, 3))
    commitment = F.mse_loss(z, codes)
    loss = (
        settings.l2_weight * error
        + settings.l1_weight * F.l1_loss(decoded, pictures)
        + settings.gradient_weight * edges
        + settings.commitment_weight * commitment
    )
    return Step(loss, error.detach(), commitment.detach(), rows.detach(), nearest)


def to_float(pictures: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] to float [N, 3, H, W] in -1 .. 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(pictures: np.ndarray, shift: int, device: str = "cpu") -> Tensor:
    """A batch as floats, each picture flipped, zoomed and shifted at random; white comes in at the borders."""
    batch = to_float(pictures).to(device)
    count, size = len(batch), batch.shape[-1]
    zoom = torch.empty(count).uniform_(0.95, 1.1)
    zoom[torch.rand(count) < 0.5] = 1.0
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    move = torch.randint(-shift, shift + 1, (count, 2)).float() * 2 / size
    move[torch.rand(count) < 0.25] = 0
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = zoom * flip, zoom, move
    grid = F.affine_grid(affine.to(device), list(batch.shape), align_corners=False)
    moved = F.grid_sample(batch - 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + 1
    return moved


@torch.no_grad()
def sample_latents(model: VQModel, pictures: np.ndarray, settings: VQConfig, device: str) -> Tensor:
    """Encoder outputs [N, width] of some random batches, for the codebook's start."""
    rows = []
    for _ in range(KMEANS_BATCHES):
        batch = augment(pictures[np.random.randint(len(pictures), size=settings.batch_size)], settings.shift_pixels, device)
        rows.append(model.latents(batch).permute(0, 2, 3, 1).flatten(0, 2))
    return torch.cat(rows)


def psnr(mean_square: float) -> float:
    """dB, for a mean square error in the -1 .. 1 range (peak to peak 2)."""
    return 10 * np.log10(4 / mean_square)


@torch.no_grad()
def evaluate_vqvae(model: VQModel, pictures: Tensor) -> dict[str, float]:
    """Float32 figures on pictures [N, 3, H, W]: PSNR of the mean error, mean of the PSNRs, codes used (share)."""
    errors, used = [], []
    for batch in pictures.split(16):
        tokens = model.encode(batch)
        decoded = model.decode(tokens).clamp(-1, 1)
        errors.append(((decoded - batch) ** 2).mean(dim=(1, 2, 3)))
        used.append(tokens.flatten())
    error = torch.cat(errors)
    codes = torch.cat(used).unique().numel() / model.quantize.embedding.num_embeddings
    return {
        "held_out_psnr": psnr(error.mean().item()),
        "held_out_mean_psnr": float(np.mean([psnr(e) for e in error.tolist()])),
        "held_out_codes": codes,
    }
