"""Stage `vqvae`: trains the VQ-VAE on scenes, resumably."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config, VQConfig
from ..models.codebook import CodebookLearner
from ..models.vqvae import VQModel
from ..output import tensorfile
from ..scenes.draw import KINDS, SceneSource
from ..scenes.held_out import number
from ..scenes.scene import Painter
from ..scenes.sprites import load_sprites
from .runstate import (
    Clock,
    Log,
    WeightAverage,
    learning_rate_factor,
    load_checkpoint,
    save_checkpoint,
)

TEST_IMAGES = 16
"""Of each kind of scene, for the figures on subjects that are held out."""
KMEANS_BATCHES = 24
GRADIENT_CLIP = 1.0


def checkpoint_path(config: Config) -> Path:
    return config.run.run / "vqvae.pt"


def train_vqvae(config: Config, *, warm_start: Path | None = None) -> None:
    """
    Trains until `max_images` or `run.max_seconds`. `warm_start` is a VQModel's safetensors file, used when there is
    no checkpoint yet.
    """
    seed = config.run.seed + time.time_ns() % 100_000
    torch.manual_seed(seed)
    device = config.run.device
    images = Images(config, seed)
    test = {kind: rows.to(device) for kind, rows in images.held_out().items()}

    settings = config.vq
    # Channels last is quicker on a CPU by a twentieth.
    model = VQModel(settings).to(device, memory_format=torch.channels_last)
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None and warm_start is not None:
        tensors = tensorfile.load(warm_start)
        tensorfile.require_fit(warm_start, tensors, model.state_dict())
        model.load_state_dict(tensors)
    learner = CodebookLearner(model.quantize.embedding, settings.codebook_decay, settings.dead_below).to(device)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], settings.learning_rate, (0.9, 0.99), weight_decay=0.0
    )
    average = WeightAverage(model, settings.weight_ema_images)
    seen, clock = 0, Clock()
    if saved:
        model.load_state_dict(saved["model"])
        average.model.load_state_dict(saved["average"])
        learner.follow(model.quantize.embedding)
        seen, clock = saved["seen"], Clock(saved["seconds"])
        # A restored snapshot has the weights alone.
        if "learner" in saved:
            learner.load_state_dict(saved["learner"])
            optimizer.load_state_dict(saved["optimizer"])
    elif warm_start is None:
        learner.start(model.quantize.embedding, sample_latents(model, images))

    def save() -> None:
        save_checkpoint(checkpoint_path(config), {
            "model": model.state_dict(), "learner": learner.state_dict(), "average": average.model.state_dict(),
            "optimizer": optimizer.state_dict(), "seen": seen, "seconds": clock.tick(),
        })  # fmt: skip

    log = Log(config.run.run / "vqvae.jsonl")
    first_second = clock.tick()
    saved_at = evaluated_at = first_second
    if seen == 0:
        log.write(images=0, **evaluate_vqvae(model, test))
    final = settings.final_learning_rate / settings.learning_rate
    while seen < (total := config.run.samples_in_all(seen, clock.seconds, settings.max_images)):
        if clock.seconds - first_second >= config.run.max_seconds:
            break
        factor = learning_rate_factor(seen, settings.warmup_images, total, final)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        batch = images.batch()
        step = losses(model, batch, settings)
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
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


def losses(model: VQModel, images: Tensor, settings: VQConfig) -> Step:
    """Reconstruction and commitment on images [B, 3, H, W]; straight-through quantization."""
    with torch.autocast(images.device.type, torch.bfloat16):
        z = model.latents(images).float()
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)
        nearest = model.quantize.nearest(rows.detach())
        codes = model.quantize.embedding(nearest).reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        decoded = model.decode_latents(z + (codes - z).detach()).float()
    commitment = F.mse_loss(z, codes)
    loss = reconstruction_loss(decoded, images, settings) + settings.commitment_weight * commitment
    return Step(loss, F.mse_loss(decoded, images).detach(), commitment.detach(), rows.detach(), nearest)


def reconstruction_loss(decoded: Tensor, images: Tensor, settings: VQConfig) -> Tensor:
    """L2, L1, and L1 of the gradients, on images [B, 3, H, W] in -1 .. 1."""
    edges = sum(F.l1_loss(decoded.diff(dim=d), images.diff(dim=d)) for d in (2, 3))
    return (
        settings.l2_weight * F.mse_loss(decoded, images)
        + settings.l1_weight * F.l1_loss(decoded, images)
        + settings.gradient_weight * edges
    )


class Images:
    """Painted scenes: batches of subjects that are trained on, and fixed ones of subjects that are held out."""

    def __init__(self, config: Config, seed: int) -> None:
        self.settings, self.device, self.random = config.vq, config.run.device, Random(seed)
        sprites = load_sprites(config)
        self.painter = Painter(config, sprites)
        order = sorted(range(len(sprites.subjects)), key=lambda i: number("vqvae", sprites.subjects[i].key))
        held_out = set(order[: config.data.held_out])
        scenes = replace(config.scenes, shares=config.vq.scene_shares)
        self.train = SceneSource(sprites.subjects, scenes, lambda index: index not in held_out)
        self.test = SceneSource(sprites.subjects, scenes, lambda index: index in held_out)

    def batch(self) -> Tensor:
        """[B, 3, H, W] in -1 .. 1, some of them augmented."""
        count = self.settings.batch_size
        batch = to_float(np.stack([self.painter.paint(self.train.draw(self.random)) for _ in range(count)])).to(
            self.device
        )
        chosen = torch.rand(count) < self.settings.augmented
        batch[chosen] = augment(batch[chosen], self.settings.shift_pixels)
        return batch.contiguous(memory_format=torch.channels_last)

    def held_out(self) -> dict[str, Tensor]:
        """The same images in every run, by kind of scene."""
        random = Random(0)
        return {
            kind: to_float(np.stack([self.painter.paint(self.test.draw(random, kind)) for _ in range(TEST_IMAGES)]))
            for kind in KINDS
        }


def to_float(images: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] to float [N, 3, H, W] in -1 .. 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(batch: Tensor, shift: int) -> Tensor:
    """Images [B, 3, H, W], each flipped, zoomed and shifted at random; its top left colour comes in at the borders."""
    count, size, device = len(batch), batch.shape[-1], batch.device
    if not count:
        return batch
    zoom = torch.empty(count).uniform_(0.95, 1.1)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    move = torch.randint(-shift, shift + 1, (count, 2)).float() * 2 / size
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = zoom * flip, zoom, move
    grid = F.affine_grid(affine.to(device), list(batch.shape), align_corners=False)
    corner = batch[:, :, :1, :1]
    return F.grid_sample(batch - corner, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + corner


@torch.no_grad()
def sample_latents(model: VQModel, images: Images) -> Tensor:
    """Encoder outputs [N, width] of some batches, for the codebook's start."""
    return torch.cat([model.latents(images.batch()).permute(0, 2, 3, 1).flatten(0, 2) for _ in range(KMEANS_BATCHES)])


def psnr(mean_square: float) -> float:
    """dB, for a mean square error in the -1 .. 1 range (peak to peak 2)."""
    return 10 * np.log10(4 / mean_square)


def mean_psnr(errors: Tensor) -> float:
    """Mean over images of the PSNR (dB) of their mean square errors [N]."""
    return float(np.mean([psnr(error) for error in errors.tolist()]))


@torch.no_grad()
def evaluate_vqvae(model: VQModel, images: dict[str, Tensor]) -> dict[str, float]:
    """
    Float32 figures on images [N, 3, H, W] by kind: PSNR of the mean error and mean of the PSNRs over all, mean PSNR by kind, and
    the share of codes used.
    """
    by_kind, used = {}, []
    for kind, rows in images.items():
        errors = []
        for batch in rows.split(16):
            tokens = model.encode(batch)
            errors.append(((model.decode(tokens).clamp(-1, 1) - batch) ** 2).mean(dim=(1, 2, 3)))
            used.append(tokens.flatten())
        by_kind[kind] = torch.cat(errors)
    error = torch.cat(list(by_kind.values()))

    return {
        "held_out_psnr": psnr(error.mean().item()),
        "held_out_mean_psnr": mean_psnr(error),
        **{f"psnr_{kind.replace(' ', '_')}": mean_psnr(errors) for kind, errors in by_kind.items()},
        "held_out_codes": torch.cat(used).unique().numel() / model.quantize.embedding.num_embeddings,
    }
