"""The words that an exported model knows: those of its captions, and others that word vectors place near a subject."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..config import Config
from ..training.corpus import Corpus
from .pieces import piece_vectors
from .synonyms import load_words
from .tokenizer import WORDS
from .vectors import WordVectors, load_vectors, unit

FREQUENT = 30_000
NEAR = 0.55
"""Least cosine between a word that no caption has and the nearest name of a subject."""


class Vocabulary:
    """Needs no more than the corpus and the word vectors."""

    def __init__(self, config: Config, corpus: Corpus) -> None:
        self.corpus = corpus
        self.taught = {
            w for text in corpus.captioner.every_word(slips=False) for w in WORDS.findall(text.lower()) if w.isalpha()
        }
        self.vectors: WordVectors | None = load_vectors(config.run.data) if config.data.word_vectors else None
        _, unseen = load_words(config)
        self.near = self._near() | set(unseen)

    def known(self) -> list[str]:
        """In alphabetical order."""
        return sorted(self.taught | self.near)

    def vectors_of_others(self) -> dict[int, Tensor]:
        """Word vectors by token id, of pieces that the known words have and captions have not."""
        if self.vectors is None:
            return {}
        used, tokenizer = set(self.corpus.used_ids), self.corpus.tokenizer
        others = sorted({piece for word in self.near for piece in tokenizer.word_ids(word)} - used)
        rows = piece_vectors(others, self.near, tokenizer, self.vectors)
        return {piece: row for piece, row in zip(others, rows, strict=True) if row.any()}

    def _near(self) -> set[str]:
        """Frequent words near the first name of a subject that is one word."""
        if self.vectors is None:
            return set()
        names = [s.names[0] for s in self.corpus.sprites.subjects if s.is_everyday and s.names[0] in self.vectors]
        targets = unit(np.stack([self.vectors[name] for name in names]))
        words = [w for w in self.vectors.words[:FREQUENT] if w not in self.taught and len(w) > 2]
        nearness = (np.stack([self.vectors[w] for w in words]) @ targets.T).max(1)
        return {word for word, value in zip(words, nearness, strict=True) if value >= NEAR}
