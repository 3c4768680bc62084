"""Stage `decoder`: trains the decoder alone on composed latents, some of them wrong; encoder, codebook and so the latents stay."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from ..config import Config, VQConfig
from ..models.vqvae import VQModel
from ..scenes.draw import KINDS, SceneSource
from ..scenes.scene import Painter, Scene
from ..scenes.sprites import load_sprites
from .runstate import (
    Clock,
    Log,
    WeightAverage,
    learning_rate_factor,
    load_checkpoint,
    save_checkpoint,
)
from .tokens import load_encoder, load_tokens
from .train_vqvae import (
    GRADIENT_CLIP,
    TEST_IMAGES,
    mean_psnr,
    reconstruction_loss,
    to_float,
)


def decoder_path(config: Config) -> Path:
    return config.run.run / "decoder.pt"


def train_decoder(config: Config) -> None:
    """Trains until `decoder_images` or `run.max_seconds`; `export` takes what is there."""
    settings, device = config.vq, config.run.device
    seed = config.run.seed + time.time_ns() % 100_000
    torch.manual_seed(seed)
    pairs = Pairs(config, seed)
    test = {kind: pairs.of(scenes) for kind, scenes in pairs.fixed().items()}
    model = load_encoder(config).train().to(device, memory_format=torch.channels_last)
    trained = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(trained, settings.decoder_learning_rate, (0.9, 0.99), weight_decay=0.0)
    average = WeightAverage(model, settings.weight_ema_images)
    seen, clock, saved = 0, Clock(), load_checkpoint(decoder_path(config))
    if saved:
        model.load_state_dict(saved["model"])
        average.model.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        seen, clock = saved["seen"], Clock(saved["seconds"])

    def save() -> None:
        save_checkpoint(decoder_path(config), {
            "model": model.state_dict(), "average": average.model.state_dict(), "optimizer": optimizer.state_dict(),
            "seen": seen, "seconds": clock.tick(),
        })  # fmt: skip

    log = Log(config.run.run / "decoder.jsonl")
    first_second = saved_at = measured_at = clock.tick()
    log.write(images=seen, **measure(average.model, test))
    while seen < (total := config.run.samples_in_all(seen, clock.seconds, settings.decoder_images)):
        if clock.seconds - first_second >= config.run.max_seconds:
            break
        factor = learning_rate_factor(seen, settings.warmup_images, total, settings.decoder_final_factor)
        for group in optimizer.param_groups:
            group["lr"] = settings.decoder_learning_rate * factor
        images, codes = (values.to(device) for values in pairs.draw(settings.batch_size))
        codes = corrupted(codes, settings)
        with torch.autocast(device, torch.bfloat16):
            decoded = model.decode(codes).float()
        loss = reconstruction_loss(decoded, images, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, GRADIENT_CLIP)
        optimizer.step()
        seen += settings.batch_size
        average.update(model, settings.batch_size, seen)
        now = clock.tick()
        if seen // settings.batch_size % config.run.log_steps == 0:
            log.write(images=seen, seconds=now, loss=loss.item(), factor=factor)
        if now - measured_at > config.run.evaluate_seconds:
            log.write(images=seen, seconds=now, **measure(average.model, test))
            measured_at = clock.tick()
        if now - saved_at > config.run.checkpoint_seconds:
            save()
            saved_at = clock.tick()
    save()
    log.write(images=seen, seconds=clock.tick(), **measure(average.model, test))


def load_vqvae(config: Config) -> VQModel:
    """The VQ-VAE to export: with the averaged decoder of this stage, where there is one."""
    model, saved = load_encoder(config), load_checkpoint(decoder_path(config))
    if saved:
        model.load_state_dict(saved["average"])
    return model


class Pairs:
    """Scenes as images [B, 3, H, W] in -1 .. 1 and as composed codes [B, h, w]."""

    def __init__(self, config: Config, seed: int) -> None:
        sprites = load_sprites(config)
        self.tokens, self.painter, self.random = load_tokens(config, sprites), Painter(config, sprites), Random(seed)
        self.source = SceneSource(sprites.subjects, config.scenes)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        return self.of([self.source.draw(self.random) for _ in range(count)])

    def fixed(self) -> dict[str, list[Scene]]:
        """The same in every run, by kind."""
        random = Random(0)
        return {kind: [self.source.draw(random, kind) for _ in range(TEST_IMAGES)] for kind in KINDS}

    def of(self, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
        images = to_float(np.stack([self.painter.paint(scene) for scene in scenes]))
        codes = np.stack([self.tokens.compose(scene)[0] for scene in scenes]).astype(np.int64)
        return images, torch.from_numpy(codes).unflatten(1, (self.tokens.side, self.tokens.side))


def corrupted(codes: Tensor, settings: VQConfig) -> Tensor:
    """
    Codes [B, h, w] of which up to a share of `corrupted` in each image are replaced at random: a decoder that has seen wrong ones does
    not show them as specks (RobusTok, arXiv 2503.08354).
    """
    shares = settings.corrupted * torch.rand(len(codes), 1, 1, device=codes.device)
    wrong = torch.rand(codes.shape, device=codes.device) < shares
    return torch.where(wrong, torch.randint_like(codes, settings.num_codes), codes)


@torch.no_grad()
def measure(model: VQModel, test: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Mean PSNR in dB of the right codes decoded, by kind of scene."""
    device = next(model.parameters()).device
    figures = {}
    for kind, (images, codes) in test.items():
        decoded = model.decode(codes.to(device)).clamp(-1, 1).cpu()
        figures[f"psnr_{kind.replace(' ', '_')}"] = mean_psnr(((decoded - images) ** 2).mean(dim=(1, 2, 3)))
    return figures
