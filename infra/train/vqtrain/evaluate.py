"""Stage `evaluate`: the figures of a checkpoint folder, ours or any other of the same architecture (see README.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .captions import article, with_style
from .config import Config
from .nearest import feature, ranking
from .pipeline import Pipeline
from .plot import grid
from .prepare import Subject, load_dataset
from .service import Service
from .train_vqvae import evaluate_vqvae, to_float

BATCH = 12
STEPS, GUIDANCE_SCALE = 25, 1.0
SERVICE_DEFAULT = "the service's default"
TOP = 5
GRID_COLUMNS = 8


@dataclass(frozen=True)
class Sampling:
    """How pictures are made for the measurements: by this recipe's own sampler, or by a running service."""

    steps: int | None = STEPS
    """None: the service's default."""
    guidance_scale: float | None = GUIDANCE_SCALE
    """None: the service's default."""
    seed: int = 0
    service: Service | None = None


WORDINGS: dict[str, Callable[[Subject, Random], str]] = {
    "label": lambda subject, random: subject.label,
    "tag": lambda subject, random: random.choice(subject.tags or (subject.label,)),
    "article": lambda subject, random: f"{article(subject.label)} {subject.label}",
    "the": lambda subject, random: f"the {subject.label}",
    "upper case": lambda subject, random: subject.label.upper(),
    "style behind": lambda subject, random: with_style(subject),
    "style in front": lambda subject, random: f"{subject.style} {subject.label}",
    "unseen": lambda subject, random: with_style(subject),
}
"""What a person might type for the same subject, by kind; `unseen`: in a style that the denoiser never saw it in."""
STYLE_NAMED = ("style behind", "style in front")
"""Kinds that name the style; the others, but for `unseen`, mean the default one."""


class Evaluation:
    """The pictures of the data set beside one checkpoint."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.pipeline = Pipeline(folder)
        pictures, subjects = load_dataset(config)
        wanted = config.transformer
        chosen = [i for i, s in enumerate(subjects) if wanted.trains_on(s.group, s.subgroup)]
        self.chosen = [i for i in chosen if not subjects[i].unseen]
        self.unseen = [i for i in chosen if subjects[i].unseen]
        self.pictures, self.subjects, self.default_style = pictures, subjects, config.data.default_style
        names = {s.hexcode: number for number, s in enumerate(subjects)}
        self.subject_of = torch.tensor([names[s.hexcode] for s in subjects])
        self.style_of = torch.tensor([config.data.styles.index(s.style) for s in subjects])
        self.references = torch.cat([feature(to_float(part)) for part in np.array_split(pictures, len(pictures) // 8)])

    def draw(self, count: int, wording: str) -> list[int]:
        """The same subjects for every checkpoint, of the training set but for `unseen`, in styles that the wording can ask for."""
        if wording == "unseen":
            return self.unseen[:count]
        order = [i for i in self.chosen if wording in STYLE_NAMED or self.subjects[i].style == self.default_style]
        Random(0).shuffle(order)
        return order[:count]

    def vqvae(self) -> dict[str, float]:
        held_out = [i for i, subject in enumerate(self.subjects) if subject.held_out]
        return evaluate_vqvae(self.pipeline.vq, to_float(self.pictures[held_out]))

    def tokens(self, indices: list[int]) -> Tensor:
        """x_0 [B, N] of pictures, by the checkpoint's own encoder."""
        parts = torch.tensor(indices).split(BATCH)
        return torch.cat([self.pipeline.vq.encode(to_float(self.pictures[part])).flatten(1) for part in parts])

    @torch.no_grad()
    def conditioning(self, indices: list[int], prompts: list[str]) -> dict[str, float]:
        """Cross-entropy (nats a latent) at full mask, t = T - 1: right text, learned empty text, another's text."""
        latents, process = self.tokens(indices), self.pipeline.process
        right = self.pipeline.encode(prompts)
        texts = {"right": right, "empty": self.pipeline.empty_text.expand_as(right), "shuffled": right.roll(1, 0)}
        figures = {}
        for name, text in texts.items():
            total = 0.0
            for part in torch.arange(len(indices)).split(BATCH):
                masked = torch.full_like(latents[part], process.mask)
                last = torch.full((len(part),), process.steps - 1)
                log_p = self.pipeline.log_probabilities(masked, text[part], last)
                total += F.nll_loss(log_p.transpose(1, 2), latents[part], reduction="sum").item()
            figures[name] = total / latents.numel()
        return figures

    def prompts(self, indices: list[int], wording: str) -> list[str]:
        random = Random(0)
        return [WORDINGS[wording](self.subjects[i], random) for i in indices]

    def generate(self, prompts: list[str], sampling: Sampling) -> Tensor:
        source, size = (sampling.service, Service.BATCH) if sampling.service else (self.pipeline, BATCH)
        parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
        return torch.cat([
            source.generate(
                part, steps=sampling.steps, guidance_scale=sampling.guidance_scale, seed=sampling.seed + index
            )
            for index, part in enumerate(parts)
        ])  # fmt: skip

    def nearest(self, pictures: Tensor, indices: list[int]) -> dict[str, float]:
        """
        Shares of pictures: those whose nearest (one of the five nearest) among all of the style asked for shows the subject
        asked for, and, with several styles, those whose nearest of all is in the style asked for.
        """
        order = ranking(feature(pictures), self.references)
        style = self.style_of[indices][:, None]
        # Stable, so that those of the style come first and stay in their order.
        of_style = (self.style_of[order] != style).byte().argsort(dim=1, stable=True)[:, :TOP]
        hits = self.subject_of[order.gather(1, of_style)] == self.subject_of[indices][:, None]
        shares = {"top1": hits[:, 0].float().mean().item(), "top5": hits.any(1).float().mean().item()}
        if self.style_of.unique().numel() > 1:
            shares["style"] = (self.style_of[order[:, :1]] == style).float().mean().item()
        return shares

    def ceiling(self, indices: list[int]) -> dict[str, float]:
        """The same measure on the true latents, decoded: what a perfect transformer would reach."""
        parts = torch.tensor(indices).split(BATCH)
        decoded = torch.cat([self.pipeline.decode(self.tokens(part.tolist())) for part in parts])
        return self.nearest(decoded, indices)


def evaluate(
    config: Config,
    folder: Path,
    output: Path,
    *,
    subjects: int,
    kinds: tuple[str, ...],
    sampling: Sampling,
) -> None:
    """Writes `output`.json and a picture grid per kind of prompt, `output`-<kind>.png; prints the figures."""
    evaluation = Evaluation(config, folder)
    indices = evaluation.draw(subjects, "label")
    figures: dict[str, object] = {
        "checkpoint": folder.name,
        "subjects": len(indices),
        "steps": sampling.steps or SERVICE_DEFAULT,
        "guidance_scale": sampling.guidance_scale or SERVICE_DEFAULT,
        "vqvae": evaluation.vqvae(),
        "nearest_of_true_latents": evaluation.ceiling(indices),
    }
    output.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        output.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures), flush=True)

    for kind in kinds:
        indices = evaluation.draw(subjects, kind)
        if not indices:
            continue
        prompts = evaluation.prompts(indices, kind)
        figures[f"full mask, {kind}"] = evaluation.conditioning(indices, prompts)
        pictures = evaluation.generate(prompts, sampling)
        figures[f"nearest, {kind}"] = evaluation.nearest(pictures, indices)
        name = kind.replace(" ", "-")
        grid(pictures[: GRID_COLUMNS**2], GRID_COLUMNS, output.with_name(f"{output.name}-{name}.png"))
        save()
