"""The parts that turn a prompt into latents, as they are trained together, saved and loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .captions import Captioner
from .config import Config
from .prepare import Subject, load_dataset
from .runstate import load_checkpoint
from .text_encoder import TextEncoder
from .tokenizer import ClipTokenizer
from .tokens import load_tokens
from .transformer import Transformer


class TextToLatents(nn.Module):
    """Text encoder, denoiser, and the learned embedding of no text (used as stored, here and in the pipeline)."""

    def __init__(self, config: Config, used_ids: list[int], side: int, num_subjects: int) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(config.text, used_ids)
        self.transformer = Transformer(config.transformer, config.text, config.vq.num_codes, side)
        empty = torch.randn(config.text.positions, config.text.width)
        self.empty = nn.Parameter(empty / empty.norm(dim=-1, keepdim=True))
        self.subject_head = nn.Linear(config.text.width, num_subjects)
        """For training only: the subject from the text's last position (an auxiliary loss)."""

    def text(self, ids: Tensor, empty: Tensor) -> Tensor:
        """Ids [B, L] -> embeddings [B, L, width]; the learned empty ones where `empty` [B] is true."""
        return torch.where(empty[:, None, None], self.empty, self.text_encoder(ids))

    def forward(
        self, latents: Tensor, ids: Tensor, t: Tensor, empty: Tensor, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of x_0 [B, N, K], and of the subject [B, subjects]."""
        text = self.text(ids, empty)
        subject = self.subject_head(text[:, -1] * math.sqrt(text.shape[-1]))
        return self.transformer(latents, text, t, places), subject


@dataclass
class Corpus:
    """The chosen subjects with their latents, and what draws and encodes their captions."""

    subjects: list[Subject]
    indices: list[int]
    """Of the subjects in the data set."""
    latents: Tensor
    targets: Tensor
    """Number of each picture's subject, the same in all styles."""
    captioner: Captioner
    tokenizer: ClipTokenizer
    positions: int

    @property
    def num_subjects(self) -> int:
        return int(self.targets.max()) + 1

    @property
    def side(self) -> int:
        return math.isqrt(self.latents.shape[1])

    def ids(self, captions: list[str]) -> Tensor:
        ids = [self.tokenizer.encode(text, self.positions) for text in captions]
        return torch.tensor(ids, device=self.latents.device)

    def used_ids(self) -> list[int]:
        texts = self.captioner.every_word()
        return sorted({i for text in texts for i in self.tokenizer.encode(text, self.positions)})


def load_corpus(config: Config) -> Corpus:
    _, everything = load_dataset(config)
    chosen, wanted = [], config.transformer
    for index, subject in enumerate(everything):
        if wanted.trains_on(subject.group, subject.subgroup) and not subject.unseen:
            chosen.append(index)
    subjects = [everything[i] for i in chosen]
    numbers = {hexcode: i for i, hexcode in enumerate(dict.fromkeys(s.hexcode for s in subjects))}
    targets = torch.tensor([numbers[s.hexcode] for s in subjects], device=config.run.device)
    latents = load_tokens(config)[chosen].to(config.run.device)
    captioner = Captioner(subjects, config.data.default_style)
    return Corpus(subjects, chosen, latents, targets, captioner, ClipTokenizer(), config.text.positions)


def checkpoint_path(config: Config) -> Path:
    return config.run.run / "transformer.pt"


def load_averaged(config: Config, corpus: Corpus) -> TextToLatents:
    """The averaged weights of the run's checkpoint."""
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None:
        raise SystemExit(f"no {checkpoint_path(config)}: run the stage `transformer` first")
    model = TextToLatents(config, saved["used_ids"], corpus.side, saved["num_subjects"])
    model.load_state_dict(saved["average"])
    return model.eval()
