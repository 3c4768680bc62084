"""Stage `reader`: trains the judge on painted scenes, blurred and shifted a little, those that are held out included."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config
from ..models.reader import Reader, answers
from ..scenes.draw import SceneSource
from ..scenes.scene import Painter, Scene
from ..scenes.sprites import load_sprites
from .runstate import Clock, Log, learning_rate_factor, load_checkpoint, save_checkpoint
from .train_vqvae import to_float

NOISE, SHIFT = 0.08, 2
"""Standard deviation of noise in the -1 .. 1 range; pixels."""
FINAL_FACTOR = 0.02


def train_reader(config: Config) -> None:
    """Trains until `reader.max_renders` or `run.max_seconds`."""
    settings = config.reader
    torch.manual_seed(config.run.seed)
    scenes = ReaderScenes(config, config.run.seed)
    model = Reader(len(scenes.source.subjects)).to(config.run.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.02)
    seen, clock, saved = 0, Clock(), load_checkpoint(reader_path(config))
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        seen, clock = saved["seen"], Clock(saved["seconds"])
        scenes = ReaderScenes(config, config.run.seed + seen)

    def save() -> None:
        save_checkpoint(reader_path(config), {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "seen": seen, "seconds": clock.tick(),
            "num_subjects": model.num_subjects,
        })  # fmt: skip

    log = Log(config.run.run / "reader.jsonl")
    first_second = saved_at = clock.tick()
    steps, recent = 0, []
    while seen < settings.max_renders and clock.seconds - first_second < config.run.max_seconds:
        factor = learning_rate_factor(seen, settings.warmup_renders, settings.max_renders, FINAL_FACTOR)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        images, wanted = scenes.batch(settings.batch_size)
        images, wanted = spoil(images).to(config.run.device), wanted.to(config.run.device)
        with torch.autocast(config.run.device, torch.bfloat16):
            given = model(images.contiguous(memory_format=torch.channels_last))
        loss = sum(F.cross_entropy(answer.float(), wanted[:, i]) for i, answer in enumerate(given))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seen, steps, now = seen + len(images), steps + 1, clock.tick()
        recent.append([(a.argmax(-1) == wanted[:, i]).float().mean().item() for i, a in enumerate(given)])
        if steps % config.run.log_steps == 0:
            subject, colour, other, *_ = np.mean(recent, 0).tolist()
            log.write(images=seen, seconds=now, loss=loss.item(), subject=subject, colour=colour, other=other)
            recent = []
        if now - saved_at > config.run.checkpoint_seconds:
            save()
            saved_at = now
    save()


class ReaderScenes:
    """Painted scenes with the right answers."""

    def __init__(self, config: Config, seed: int) -> None:
        sprites = load_sprites(config)
        self.painter, self.random = Painter(config, sprites), Random(seed)
        self.source = SceneSource(sprites.subjects, config.scenes, also_held_out=True)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] and answers [B, 8]."""
        scenes = [self.source.draw(self.random) for _ in range(count)]
        return self.paint(scenes), torch.tensor([answers(scene, len(self.source.subjects)) for scene in scenes])

    def paint(self, scenes: list[Scene]) -> Tensor:
        return to_float(np.stack([self.painter.paint(scene) for scene in scenes]))


def spoil(images: Tensor) -> Tensor:
    """What a decoder does to images, roughly: half of them blurred, all noisy, shifted by up to SHIFT pixels."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    images = images.roll((down, right), (2, 3))
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    chosen = (torch.rand(len(images)) < 0.5)[:, None, None, None]
    return torch.where(chosen, blurred, images) + NOISE * torch.randn_like(images) * torch.rand(
        len(images), 1, 1, 1
    )


def reader_path(config: Config) -> Path:
    return config.run.run / "reader.pt"


def load_reader(config: Config) -> Reader:
    saved = load_checkpoint(reader_path(config))
    if saved is None:
        raise SystemExit(f"no {reader_path(config)}: run the stage `reader` first")
    model = Reader(saved["num_subjects"])
    model.load_state_dict(saved["model"])
    return model.eval()
