"""Stage `transformer`: trains denoiser, text encoder and empty-text embedding together, resumably."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Config, TransformerConfig
from .diffusion import MaskAndReplace
from .runstate import Clock, Log, WeightAverage, learning_rate_factor, load_checkpoint, save_checkpoint
from .textmodel import Corpus, TextToLatents, checkpoint_path, load_corpus
from .tokens import load_codebook
from .warm_start import state_from

GRADIENT_CLIP = 1.0
SUBJECT_WEIGHT = 0.05
"""Of the auxiliary loss, text to subject; several subjects share tags, so it does not reach zero."""
MEASURED = 96
"""Subjects of the conditioning measurement."""


def train_transformer(config: Config, *, warm_start: Path | None = None) -> None:
    """
    Trains until `max_samples` or `run.max_seconds`; logs the cross-entropy at full mask by text. `warm_start` is a
    checkpoint folder, used when the run has none yet.
    """
    seed = config.run.seed + time.time_ns() % 100_000
    torch.manual_seed(seed)
    random = Random(seed)
    device, corpus, settings = config.run.device, load_corpus(config), config.transformer
    process = MaskAndReplace(settings, config.vq.num_codes, device)
    model = TextToLatents(config, corpus.used_ids(), corpus.side, corpus.num_subjects).to(device)
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None and warm_start is not None:
        adopt(model, *state_from(warm_start, model, load_codebook(config)))
    average = WeightAverage(model, settings.weight_ema_samples)
    optimizers = make_optimizers(model, settings)
    seen, clock = 0, Clock()
    if saved:
        same = saved["used_ids"] == model.text_encoder.used_ids and saved["num_subjects"] == corpus.num_subjects
        adopt(model, saved["model"], saved["used_ids"])
        adopt(average.model, saved["average"], saved["used_ids"])
        seen, clock = saved["seen"], Clock(saved["seconds"])
        if same:
            for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)

    def save() -> None:
        save_checkpoint(checkpoint_path(config), {
            "model": model.state_dict(), "average": average.model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers], "seen": seen, "seconds": clock.tick(),
            "used_ids": model.text_encoder.used_ids, "num_subjects": corpus.num_subjects,
        })  # fmt: skip

    log = Log(config.run.run / "transformer.jsonl")
    log.write(samples=seen, pictures=len(corpus.subjects), subjects=corpus.num_subjects, token_rows=len(model.text_encoder.used_ids))
    forward = torch.compile(losses) if config.run.compile else losses
    first_second = clock.tick()
    saved_at = evaluated_at = first_second
    steps, order, recent = 0, [], []
    while seen < settings.max_samples and clock.seconds - first_second < config.run.max_seconds:
        factor = learning_rate_factor(seen, settings.warmup_samples, settings.max_samples, settings.final_factor)
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            group["lr"] = group["first_lr"] * factor
        if len(order) < settings.batch_size:
            order = torch.randperm(len(corpus.subjects)).tolist()
        batch = make_batch([order.pop() for _ in range(settings.batch_size)], corpus, process, settings, random)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        shown = settings.shown(corpus.latents.shape[1], seen)
        parts = list(zip(*(values.split(settings.part_size(shown)) for values in batch), strict=True))
        for part in parts:
            loss, masked, subject = forward(model, *part, settings.unmasked_weight, some_places(corpus, shown))
            (loss / len(parts)).backward()
            recent.append((masked.item(), subject.item()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        for optimizer in optimizers:
            optimizer.step()
        seen, steps = seen + settings.batch_size, steps + 1
        average.update(model, settings.batch_size, seen)
        now = clock.tick()
        if steps % config.run.log_steps == 0:
            masked_mean, subject_mean = (sum(column) / len(recent) for column in zip(*recent, strict=True))
            log.write(samples=seen, seconds=now, masked=masked_mean, subject=subject_mean, factor=factor)
            recent = []
        if now - evaluated_at > config.run.evaluate_seconds:
            log.write(samples=seen, seconds=now, **measure_conditioning(average.model, corpus, process))
            evaluated_at = now
        if now - saved_at > config.run.checkpoint_seconds:
            save()
            saved_at = now
    save()
    log.write(samples=seen, seconds=clock.tick(), **measure_conditioning(average.model, corpus, process))


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


def make_batch(
    chosen: list[int], corpus: Corpus, process: MaskAndReplace, settings: TransformerConfig, random: Random
) -> tuple[Tensor, ...]:
    """x_t [B, N], ids [B, L], t [B], empty [B], x_0 [B, N], subjects [B]."""
    count, device = len(chosen), corpus.latents.device
    latents = corpus.latents[chosen]
    t = (torch.rand(count, device=device) ** settings.noise_power * settings.num_timesteps).long()
    noisy = process.add_noise(latents, t)
    # A run starts from the mask alone, at t = n - 1 for any number of steps n.
    full = torch.rand(count, device=device) < settings.full_mask
    noisy[full] = process.mask
    t[full] = torch.randint(settings.num_timesteps, (count,), device=device)[full]
    ids = corpus.ids([corpus.captioner.draw(i, random) for i in chosen])
    empty = torch.rand(count, device=device) < settings.empty_text
    return noisy, ids, t, empty, latents, corpus.targets[chosen]


def some_places(corpus: Corpus, shown: int) -> Tensor | None:
    """`shown` pixels of the grid at random; None for all."""
    count = corpus.latents.shape[1]
    return None if shown == count else torch.randperm(count)[:shown].to(corpus.latents.device)


def losses(
    model: TextToLatents, noisy: Tensor, ids: Tensor, t: Tensor, empty: Tensor, latents: Tensor, subjects: Tensor,
    unmasked_weight: float, places: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The whole loss, and its parts: cross-entropy on masked latents, and of the subject; of the pixels `places` alone."""
    if places is not None:
        noisy, latents = noisy[:, places], latents[:, places]
    with torch.autocast(noisy.device.type, torch.bfloat16):
        logits, subject_logits = model(noisy, ids, t, empty, places)
    each = F.cross_entropy(logits.float().transpose(1, 2), latents, reduction="none")
    is_masked = (noisy == logits.shape[-1]).float()
    weights = is_masked + unmasked_weight * (1 - is_masked)
    masked = (each * is_masked).sum() / is_masked.sum().clamp(min=1)
    told = (~empty).float()
    subject = F.cross_entropy(subject_logits.float(), subjects, reduction="none")
    subject = (subject * told).sum() / told.sum().clamp(min=1)
    return (each * weights).mean() + SUBJECT_WEIGHT * subject, masked.detach(), subject.detach()


@torch.no_grad()
def measure_conditioning(model: TextToLatents, corpus: Corpus, process: MaskAndReplace) -> dict[str, float]:
    """Cross-entropy (nats per latent) of x_0 at full mask, t = T - 1, with the right, no, and another subject's text."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(corpus.subjects), generator=generator)[:MEASURED]
    latents = corpus.latents[chosen]
    ids = corpus.ids([corpus.captioner.plain(i) for i in chosen.tolist()])
    texts = {"right": ids, "empty": ids, "shuffled": ids.roll(1, 0)}
    figures = {}
    for name, text in texts.items():
        total = 0.0
        for part in torch.arange(len(chosen)).split(16):
            masked = torch.full_like(latents[part], process.mask)
            t = torch.full((len(part),), process.steps - 1, device=latents.device)
            with torch.autocast(latents.device.type, torch.bfloat16):
                logits, _ = model(masked, text[part], t, torch.full_like(t, name == "empty", dtype=torch.bool))
            total += F.cross_entropy(logits.float().transpose(1, 2), latents[part], reduction="sum").item()
        figures[f"full_mask_{name}"] = total / latents.numel()
    return figures


def adopt(model: TextToLatents, state: dict[str, Tensor], used_ids: list[int]) -> None:
    """Loads a state whose captions or subjects may differ: token rows go by id, a subject head of another size is left."""
    state = dict(state)
    rows = "text_encoder.token_embedding.weight"
    table = model.text_encoder.token_embedding.weight.detach().clone()
    common = [i for i in used_ids if i in set(model.text_encoder.used_ids)]
    old = {token: row for row, token in enumerate(used_ids, start=1)}
    table[model.text_encoder.row_of_id[common]] = state[rows][[old[i] for i in common]]
    state[rows] = table
    if len(state["subject_head.bias"]) != model.subject_head.out_features:
        state |= {f"subject_head.{k}": v for k, v in model.subject_head.state_dict().items()}
    model.load_state_dict(state)
