"""Stage `transformer`: trains denoiser, text encoder and empty-text embedding together, resumably."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config, TransformerConfig
from ..models.diffusion import MaskAndReplace
from ..models.textmodel import NOT_TOLD, TextToLatents, attribute_sizes
from .batches import Batch, Batches, stream
from .conditioning import measure_conditioning
from .corpus import checkpoint_path, load_corpus
from .runstate import (
    Clock,
    Log,
    WeightAverage,
    learning_rate_factor,
    load_checkpoint,
    save_checkpoint,
)
from .team import Team
from .warm_start import adopt, state_from

GRADIENT_CLIP = 1.0
ATTRIBUTE_WEIGHT = 0.05
"""Of the auxiliary loss, text to what the scene shows."""


def train_transformer(config: Config, warm_start: Path | None = None, team: Team | None = None) -> None:
    """
    Trains until `max_samples` or `run.max_seconds`; logs the cross-entropy at full mask by kind of scene. `warm_start` is a
    checkpoint folder, used when the run has none yet. Each process of `team` has a batch of its own.
    """
    team = team or Team()
    seed = config.run.seed + time.time_ns() % 100_000 + team.rank
    torch.manual_seed(seed)
    device, corpus, settings = config.run.device, load_corpus(config), config.transformer
    process = MaskAndReplace(settings, config.vq.num_codes)
    model = corpus.model()
    saved = load_checkpoint(checkpoint_path(config))
    if saved:
        adopt(model, saved["model"], saved["used_ids"])
    elif warm_start is not None:
        adopt(model, *state_from(warm_start, model, corpus.tokens.codebook))
    team.begin_alike(model)
    model = model.to(device)
    average = WeightAverage(model, settings.weight_ema_samples)
    optimizers = make_optimizers(model, settings)
    seen, clock = 0, Clock()
    if saved:
        adopt(average.model, saved["average"], saved["used_ids"])
        seen, clock = saved["seen"], Clock(saved["seconds"])
        # A restored snapshot has the weights alone; other words have other rows.
        if "optimizers" in saved and saved["used_ids"] == corpus.used_ids:
            for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)

    def save() -> None:
        save_checkpoint(checkpoint_path(config), {
            "model": model.state_dict(), "average": average.model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers], "seen": seen, "seconds": clock.tick(),
            "used_ids": corpus.used_ids,
        })  # fmt: skip

    def measure() -> None:
        figures = measure_conditioning(average.model, corpus, process, device)
        log.write(samples=seen, seconds=clock.tick(), **figures)

    log = Log(config.run.run / "transformer.jsonl", silent=not team.leads)
    log.write(
        samples=seen, subjects=corpus.num_subjects, sprites=len(corpus.sprites.rows), token_rows=len(corpus.used_ids)
    )
    forward = torch.compile(losses) if config.run.compile else losses
    first_second = saved_at = measured_at = clock.tick()
    steps, recent, shown = 0, [], None
    stop = seen >= config.run.samples_in_all(seen, clock.seconds, settings.max_samples)
    while not stop:
        total = config.run.samples_in_all(seen, clock.seconds, settings.max_samples)
        factor = learning_rate_factor(seen, settings.warmup_samples, total, settings.final_factor)
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            group["lr"] = group["first_lr"] * factor
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        if shown != (now_shown := settings.shown(corpus.tokens.side**2, seen / total)):
            shown = now_shown
            batches = stream(Batches(corpus, process, settings, shown, seed), config.run.workers)
        own_draws = settings.own_draws if settings.is_whole(seen / total) else 0
        parts = next(batches).parts(settings.part_size(shown))
        for part in parts:
            part = with_own_draws(model, part.to(device), own_draws, process.mask)
            loss, figures = forward(model, part, settings.kept_weight, corpus.num_subjects)
            (loss / len(parts)).backward()
            recent.append(figures.tolist())
        seen, steps = seen + settings.batch_size * team.size, steps + 1
        is_over = seen >= total or clock.seconds - first_second >= config.run.max_seconds
        stop = team.average_gradients(model, stop=is_over)
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        for optimizer in optimizers:
            optimizer.step()
        now = clock.tick()
        if not team.leads:
            recent = []
            continue
        average.update(model, settings.batch_size * team.size, seen)
        if steps % config.run.log_steps == 0:
            masked, replaced, told = np.mean(recent, 0).tolist()
            log.write(samples=seen, seconds=now, masked=masked, replaced=replaced, told=told, factor=factor)
            recent = []
        if now - measured_at > config.run.evaluate_seconds:
            measure()
            measured_at = clock.tick()
        if now - saved_at > config.run.checkpoint_seconds:
            save()
            saved_at = clock.tick()
    if team.leads:
        save()
        measure()


def make_optimizers(model: TextToLatents, settings: TransformerConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest; the text side learns faster."""
    matrices, others, text = [], [], []
    for name, parameter in model.named_parameters():
        inner = "attn" in name or ".ff." in name or ".mlp." in name
        if inner and parameter.ndim == 2:
            matrices.append(parameter)
        elif name.startswith("transformer."):
            others.append(parameter)
        else:
            text.append(parameter)
    muon = torch.optim.Muon(
        matrices, settings.muon_learning_rate, weight_decay=settings.weight_decay, ns_steps=4,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    adamw = torch.optim.AdamW(
        [{"params": others, "lr": settings.learning_rate}, {"params": text, "lr": settings.text_learning_rate}],
        betas=(0.9, 0.98), weight_decay=settings.weight_decay,
    )  # fmt: skip
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["first_lr"] = group["lr"]
    return [muon, adamw]


@torch.no_grad()
def with_own_draws(model: TextToLatents, batch: Batch, share: float, mask: int) -> Batch:
    """
    The batch with a share of its samples taken some steps on by the model itself: some of their masked latents are drawn from
    p(x_0 | x_t), errors included, and t falls with the number of those that stay masked, as it does in a run.
    """
    own = torch.rand(len(batch.t), device=batch.t.device) < share
    if not own.any():
        return batch
    with torch.autocast(batch.noisy.device.type, torch.bfloat16):
        logits, _ = model(batch.noisy, batch.ids, batch.t, batch.empty, batch.places, batch.vectors_alone)
    drawn = torch.distributions.Categorical(logits=logits.float()).sample()
    unmasked = torch.rand(len(own), device=own.device) * own
    chosen = (batch.noisy == mask) & (torch.rand_like(batch.noisy, dtype=torch.float) < unmasked[:, None])
    return replace(
        batch, noisy=torch.where(chosen, drawn, batch.noisy), t=((1 - unmasked) * batch.t).round().to(batch.t.dtype)
    )


def losses(model: TextToLatents, batch: Batch, kept_weight: float, num_subjects: int) -> tuple[Tensor, Tensor]:
    """The whole loss, and [3]: cross-entropy on masked and on replaced latents, and of the attributes that are told."""
    with torch.autocast(batch.noisy.device.type, torch.bfloat16):
        logits, told = model(batch.noisy, batch.ids, batch.t, batch.empty, batch.places, batch.vectors_alone)
    each = F.cross_entropy(logits.float().flatten(0, 1), batch.latents.flatten(), reduction="none").view_as(
        batch.latents
    )
    masked = (batch.noisy == logits.shape[-1]).float()
    kept = (batch.noisy == batch.latents).float()
    replaced = 1 - masked - kept
    weights = 1 - (1 - kept_weight) * kept
    wanted = torch.where(batch.empty[:, None], NOT_TOLD, batch.attributes)
    parts = told.float().split(attribute_sizes(num_subjects), -1)
    attribute = sum(
        F.cross_entropy(part, wanted[:, i], reduction="sum", ignore_index=NOT_TOLD) for i, part in enumerate(parts)
    ) / len(wanted)
    figures = torch.stack([mean(each, masked), mean(each, replaced), attribute]).detach()
    return (each * weights).mean() + ATTRIBUTE_WEIGHT * attribute, figures


def mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
