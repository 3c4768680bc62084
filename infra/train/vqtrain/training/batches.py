"""Batches for the denoiser: scenes, captions, noise, and the places that are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..config import TransformerConfig
from ..models.diffusion import MaskAndReplace
from ..models.textmodel import attributes
from .corpus import Corpus


@dataclass(frozen=True)
class Batch:
    """Of the places shown, [B, n] all: x_t, x_0 and numbers of the places; of the samples, [B]: t, no text, vectors alone."""

    noisy: Tensor
    latents: Tensor
    places: Tensor
    ids: Tensor
    """[B, positions]."""
    attributes: Tensor
    """[B, 7], see `attributes`."""
    t: Tensor
    empty: Tensor
    vectors_alone: Tensor

    def parts(self, size: int) -> list[Batch]:
        columns = [getattr(self, field.name).split(size) for field in fields(self)]
        return [Batch(*rows) for rows in zip(*columns, strict=True)]

    def to(self, device: str) -> Batch:
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


class Batches(IterableDataset):
    """Batches without end, of which each sample shows `shown` places."""

    def __init__(
        self, corpus: Corpus, process: MaskAndReplace, settings: TransformerConfig, shown: int, seed: int
    ) -> None:
        self.corpus, self.process, self.settings, self.shown, self.seed = corpus, process, settings, shown, seed
        self.random, self.numbers = Random(), np.random.default_rng()

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = self.seed + (1000 * (1 + worker.id) if worker else 0)
        self.random, self.numbers = Random(seed), np.random.default_rng(seed)
        while True:
            yield self.draw()

    def draw(self) -> Batch:
        settings, count = self.settings, self.settings.batch_size
        scenes = [self.corpus.source.draw(self.random) for _ in range(count)]
        latents, _ = self.corpus.compose(scenes)
        t = (torch.rand(count) ** settings.noise_power * settings.num_timesteps).long()
        noisy = self.process.add_noise(latents, t)
        # A run starts from the mask alone, at t = n - 1 for any number of steps n.
        full = torch.rand(count) < settings.full_mask
        noisy[full] = self.process.mask
        t[full] = torch.randint(settings.num_timesteps, (count,))[full]
        places = self._places(*latents.shape)
        captions = [self.corpus.captioner.draw(scene, self.random) for scene in scenes]
        return Batch(
            noisy=noisy.gather(1, places),
            latents=latents.gather(1, places),
            places=places,
            ids=self.corpus.ids(captions),
            attributes=torch.tensor([attributes(scene) for scene in scenes]),
            t=t,
            empty=torch.rand(count) < settings.empty_text,
            vectors_alone=torch.rand(count) < settings.vectors_alone,
        )

    def _places(self, count: int, latents: int) -> Tensor:
        """
        Numbers of places, [count, shown], drawn alike from all. Not by what is there: the network would learn from the choice
        where a scene has something, rather than from its text.
        """
        if self.shown == latents:
            return torch.arange(latents).expand(count, -1)
        return torch.from_numpy(self.numbers.random((count, latents)).argpartition(self.shown, 1)[:, : self.shown].copy())


def stream(batches: Batches, workers: int) -> Iterator[Batch]:
    """The batches, drawn by so many processes beside this one; by this one where there are none."""
    return iter(DataLoader(batches, batch_size=None, num_workers=workers) if workers else batches)
