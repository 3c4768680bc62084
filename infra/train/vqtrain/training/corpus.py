"""What the denoiser learns from: scenes without end, as latents and captions; and the model that fits them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from ..config import Config
from ..models.textmodel import TextToLatents
from ..scenes.draw import SceneSource
from ..scenes.scene import Scene
from ..scenes.sprites import Sprites, load_sprites
from ..words.captions import Captioner
from ..words.pieces import piece_vectors
from ..words.synonyms import load_words
from ..words.tokenizer import ClipTokenizer
from ..words.vectors import load_vectors
from .runstate import load_checkpoint
from .tokens import SceneTokens, load_tokens


@dataclass
class Corpus:
    """Scenes without end: their latents, and what draws and encodes their captions."""

    sprites: Sprites
    tokens: SceneTokens
    source: SceneSource
    captioner: Captioner
    tokenizer: ClipTokenizer
    positions: int
    config: Config

    @property
    def num_subjects(self) -> int:
        return len(self.sprites.subjects)

    def ids(self, captions: list[str]) -> Tensor:
        """int64 [B, positions]."""
        return torch.tensor([self.tokenizer.encode(text, self.positions) for text in captions])

    def compose(self, scenes: list[Scene]) -> tuple[Tensor, np.ndarray]:
        """Latents, int64 [B, N], and where there is ink, bool [B, N]."""
        grids, inks = zip(*(self.tokens.compose(scene) for scene in scenes), strict=True)
        return torch.from_numpy(np.stack(grids).astype(np.int64)), np.stack(inks)

    @cached_property
    def used_ids(self) -> list[int]:
        texts = self.captioner.every_word()
        return sorted({i for text in texts for i in self.tokenizer.encode(text, self.positions)})

    @cached_property
    def vectors(self) -> Tensor | None:
        """Word vectors of `used_ids`, [rows, WIDTH]; None where the settings want none."""
        if not self.config.data.word_vectors:
            return None
        known = load_vectors(self.config.run.data)
        return piece_vectors(self.used_ids, self.captioner.every_word(), self.tokenizer, known)

    def model(self) -> TextToLatents:
        """With weights at random."""
        return TextToLatents(self.config, self.used_ids, self.tokens.side, self.num_subjects, self.vectors)

    def fixed_scenes(self, kind: str, count: int, *, held_out: bool) -> list[Scene]:
        """The same in every run."""
        random = Random(f"{kind} {held_out}")
        return [self.source.draw(random, kind, held_out=held_out) for _ in range(count)]


def load_corpus(config: Config) -> Corpus:
    sprites = load_sprites(config)
    synonyms, _ = load_words(config)
    return Corpus(
        sprites=sprites,
        tokens=load_tokens(config, sprites),
        source=SceneSource(sprites.subjects, config.scenes),
        captioner=Captioner(sprites.subjects, synonyms),
        tokenizer=ClipTokenizer(),
        positions=config.text.positions,
        config=config,
    )


def checkpoint_path(config: Config) -> Path:
    return config.run.run / "transformer.pt"


def load_averaged(config: Config, corpus: Corpus) -> TextToLatents:
    """The averaged weights of the run's checkpoint."""
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None:
        raise SystemExit(f"no {checkpoint_path(config)}: run the stage `transformer` first")
    model = corpus.model()
    if saved["used_ids"] != corpus.used_ids:
        raise SystemExit(
            f"{checkpoint_path(config)} was trained on other words: run the stage `transformer` again, for a moment"
        )
    model.load_state_dict(saved["average"])
    return model.eval()
