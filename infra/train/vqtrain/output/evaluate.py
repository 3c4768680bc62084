"""Stage `evaluate`: what a checkpoint's images show, as the reader reads them, beside what it reads of the true ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from ..config import Config
from ..models.reader import answers
from ..scenes.draw import HELD_OUT_IN, KINDS
from ..scenes.scene import Scene, Thing
from ..training.corpus import Corpus, load_corpus
from ..training.train_reader import ReaderScenes, load_reader
from ..training.train_vqvae import psnr
from ..words.synonyms import load_words
from .image_source import ImageSource

SUBJECT, COLOUR, OTHER, OTHER_COLOUR, COUNT, RELATION, BACKGROUND, STYLE = range(8)
"""Columns of the reader's answers."""
JUDGED: dict[str, tuple[int, ...]] = {
    "plain": (SUBJECT,),
    "small": (SUBJECT,),
    "colour": (SUBJECT, COLOUR),
    "background": (SUBJECT, BACKGROUND),
    "style": (SUBJECT, STYLE),
    "count": (SUBJECT, COUNT),
    "pair": (SUBJECT, OTHER, RELATION),
    "colour pair": (SUBJECT, COLOUR, OTHER, OTHER_COLOUR, RELATION),
}
"""The answers that must all be right for an image of a kind to count as right."""
NAMES = ("subject", "colour", "other", "other_colour", "count", "relation", "background", "style")


def evaluate(config: Config, source: ImageSource, output: Path, *, scenes: int) -> None:
    """Writes `output`.json, and prints it: shares of right images by kind, with their ceilings."""
    evaluation = Evaluation(config, source)
    figures: dict[str, object] = {"settings": source.settings(), "scenes": scenes}
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in evaluation.measures(scenes).items():
        figures[name] = measure()
        output.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps({name: figures[name]}), flush=True)


class Evaluation:
    """One checkpoint beside the corpus that it was trained on."""

    def __init__(self, config: Config, source: ImageSource) -> None:
        self.source, self.reader = source, load_reader(config)
        self.corpus: Corpus = load_corpus(config)
        self.painter = ReaderScenes(config, 0)
        _, self.unseen_words = load_words(config)

    def measures(self, count: int) -> dict[str, Callable[[], dict[str, float]]]:
        """By name; each makes and judges its images when it is called."""
        found: dict[str, Callable[[], dict[str, float]]] = {}
        for kind in KINDS:
            for held_out in (False, True) if kind in HELD_OUT_IN else (False,):
                rows = self.corpus.fixed_scenes(kind, count, held_out=held_out)
                prompts = [self.corpus.captioner.plain(scene) for scene in rows]
                name = f"{kind}, held out" if held_out else kind
                found[name] = lambda rows=rows, prompts=prompts: self.judge(rows, prompts, ceilings=True)
        words = sorted(self.unseen_words)
        Random(0).shuffle(words)
        if words:
            meant = [Scene("plain", Thing(self.unseen_words[word])) for word in words[:count]]
            found["words that no caption has"] = lambda: self.judge(meant, words[:count], ceilings=False)
        return found

    def judge(self, scenes: list[Scene], prompts: list[str], *, ceilings: bool) -> dict[str, float]:
        """
        Share of images that are right, and of each answer; `painted` and `decoded`: the same of the true images, and of the true
        latents; PSNR (dB, mean error) to the true image.
        """
        images = self.source.draw(prompts)
        true = self.painter.paint(scenes)
        figures = self.shares(images, scenes)
        figures["psnr"] = psnr(((images - true) ** 2).mean().item())
        if ceilings:
            latents, _ = self.corpus.compose(scenes)
            decoded = torch.cat([self.source.pipeline.decode(part) for part in latents.split(12)])
            figures["painted"] = self.shares(true, scenes)["right"]
            figures["decoded"] = self.shares(decoded, scenes)["right"]
            figures["psnr_decoded"] = psnr(((decoded - true) ** 2).mean().item())
        return figures

    def shares(self, images: Tensor, scenes: list[Scene]) -> dict[str, float]:
        judged = JUDGED[scenes[0].kind]
        wanted = torch.tensor([answers(scene, self.corpus.num_subjects) for scene in scenes])
        hits = (self.reader.read(images) == wanted)[:, list(judged)]
        by_name = {NAMES[column]: hits[:, i].float().mean().item() for i, column in enumerate(judged)}
        return {"right": hits.all(1).float().mean().item(), **by_name}
