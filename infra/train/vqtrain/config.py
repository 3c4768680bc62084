"""Every setting of the recipe, as dataclasses; `smoke()` gives the tiny settings that run end to end in minutes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


STYLES = {
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "noto": "@iconify-json/noto@1.2.9",
}
"""Icon sets by the word that asks for them in a caption."""


@dataclass(frozen=True)
class DataConfig:
    """What is rendered. Subjects with skin tones and flags are always left out."""

    styles: tuple[str, ...] = ("flat", "noto")
    """
    Of STYLES, the default one first: it is what a caption without a style word means. With several, each subject has a
    picture in each of them that knows it.
    """
    label_package: str = "emojibase-data@17.0.0"
    resolution: int = 96
    held_out: int = 64
    """Subjects whose pictures the VQ-VAE never sees, chosen by a hash of the code point."""
    unseen_every: int = 10
    """With several styles, one in so many subjects is kept from the denoiser in one of them: can it put the two together?"""
    max_subjects: int | None = None

    @property
    def default_style(self) -> str:
        return self.styles[0]


@dataclass(frozen=True)
class VQConfig:
    """The VQ-VAE: f = 2^(number of channels - 1). Defaults are those of the bundled model."""

    channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: int = 1
    norm_groups: int = 16
    num_codes: int = 1024
    code_width: int = 64

    batch_size: int = 8
    max_images: int = 28_000
    learning_rate: float = 4e-4
    final_learning_rate: float = 2e-5
    warmup_images: int = 800
    l1_weight: float = 0.25
    l2_weight: float = 4.0
    gradient_weight: float = 0.5
    """L1 of the horizontal and vertical differences, which keeps edges sharp."""
    commitment_weight: float = 0.25
    codebook_decay: float = 0.99
    dead_below: float = 1e-4
    """A code whose share of the latents (EMA) falls below this restarts at an encoder output that is served badly."""
    weight_ema_images: int = 8_000
    """Time constant, in images, of the weight average that is evaluated and exported."""
    shift_pixels: int = 6
    """Augmentation: random shift up to this many pixels, horizontal flip, and zoom by up to 10 %."""


@dataclass(frozen=True)
class TextConfig:
    """CLIP's text transformer, small."""

    vocab_size: int = 49408
    width: int = 192
    layers: int = 3
    heads: int = 4
    positions: int = 32


@dataclass(frozen=True)
class TransformerConfig:
    """The denoiser, and how it and the text encoder are trained."""

    layers: int = 8
    heads: int = 8
    head_width: int = 32
    num_timesteps: int = 100
    alpha_cum_start: float = 0.99999
    alpha_cum_end: float = 9e-6
    gamma_cum_start: float = 9e-6
    gamma_cum_end: float = 0.9
    """As in the paper: a tenth of the latents is replaced, not masked, at the last step, so errors can be undone."""

    groups: tuple[str, ...] = ("animals-nature",)
    subgroups: tuple[str, ...] = (
        "face-smiling", "face-affection", "face-negative", "face-costume", "cat-face", "heart",
        "food-fruit", "food-vegetable", "food-prepared", "food-sweet", "drink",
        "transport-ground", "transport-water", "transport-air", "place-building",
    )  # fmt: skip
    """Subjects trained on: all of these groups, and these subgroups of the others."""

    def shown(self, latents: int, seen: int) -> int:
        """Of `latents`, those that the denoiser sees of a picture after `seen` samples."""
        is_whole = seen >= self.max_samples * (1 - self.whole_samples)
        return latents if is_whole else round(latents * self.token_share)

    def part_size(self, latents: int) -> int:
        """Samples of a part: a divisor of `batch_size`."""
        divisors = (size for size in range(self.batch_size, 0, -1) if self.batch_size % size == 0)
        return next((size for size in divisors if size * latents <= self.part_latents), 1)

    def trains_on(self, group: str, subgroup: str) -> bool:
        return group in self.groups or subgroup in self.subgroups

    batch_size: int = 16
    part_latents: int = 2_560
    """A batch goes through the network in parts of about so many latents: what a layer makes of them fits a CPU's caches."""
    max_samples: int = 90_000
    token_share: float = 0.5
    """
    Share of the latents that the denoiser sees and predicts, others for each part of a batch. Half of them take far less than
    half of the time (arXiv 2306.09305 drops as many).
    """
    whole_samples: float = 0.15
    """The last samples of a run, as a share of `max_samples`, have all latents, as the pipeline has them."""
    learning_rate: float = 6e-4
    text_learning_rate: float = 2e-3
    muon_learning_rate: float = 0.01
    """For the matrices of both networks, which Muon updates; the rest is AdamW's."""
    final_factor: float = 0.05
    """The learning rate at `max_samples`, as a share of the first (cosine)."""
    warmup_samples: int = 2_000
    weight_decay: float = 0.01
    empty_text: float = 0.1
    """Share of samples whose text is the learned unconditional embedding (classifier-free guidance)."""
    full_mask: float = 0.35
    """Share of samples where every latent is masked, as at the first step of a run, with any t."""
    noise_power: float = 0.6
    """t of the other samples is T * u^power: below 1 leans towards high noise."""
    unmasked_weight: float = 0.1
    """Weight of the loss on latents that are not masked (some of them replaced by noise)."""
    cross_gain: float = 13.9
    """Initial `attn2.to_k/to_v` are this much larger: text embeddings have unit norm, not sqrt(width)."""
    weight_ema_samples: int = 4_000


@dataclass(frozen=True)
class RunConfig:
    """Where things are, and how often a run writes."""

    home: Path = field(default_factory=lambda: Path(os.environ.get("VQD_TRAIN_HOME", "vqd-train")))
    name: str = "first"
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    """Of torch: `cpu` or `cuda`. The recipe is made for a CPU; a GPU only makes it quicker."""
    compile: bool = True
    checkpoint_seconds: float = 240
    log_steps: int = 50
    evaluate_seconds: float = 600
    max_seconds: float = float("inf")

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def run(self) -> Path:
        return self.home / "runs" / self.name


@dataclass(frozen=True)
class Config:
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    vq: VQConfig = VQConfig()
    text: TextConfig = TextConfig()
    transformer: TransformerConfig = TransformerConfig()

    def smoke(self) -> Config:
        """Tiny everything: shows that the chain works, not that it learns."""
        return replace(
            self,
            run=replace(self.run, name="smoke", compile=False, log_steps=5),
            data=replace(self.data, resolution=32, held_out=8, max_subjects=48),
            vq=replace(self.vq, channels=(16, 16, 32), norm_groups=8, num_codes=64, code_width=16,
                       max_images=1_600, warmup_images=80, weight_ema_images=400, shift_pixels=1),
            text=replace(self.text, width=32, layers=1, heads=2, positions=16),
            transformer=replace(self.transformer, layers=2, heads=2, head_width=16, num_timesteps=20,
                                max_samples=1_600, warmup_samples=160, weight_ema_samples=400,
                                cross_gain=5.7),
        )  # fmt: skip
