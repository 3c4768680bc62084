"""Word vectors for the pieces of CLIP's vocabulary: a word's own, or such that the pieces of a word sum to its vector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .tokenizer import WORDS, ClipTokenizer
from .vectors import WIDTH, WordVectors

RIDGE = 0.5
"""Pull of a piece's vector to nothing, against one word's error."""


def piece_vectors(ids: Iterable[int], texts: Iterable[str], tokenizer: ClipTokenizer, vectors: WordVectors) -> Tensor:
    """float32 [ids, WIDTH] for sorted `ids`; `texts` hold the words that pieces are fitted to. Nothing known: zeros."""
    ids = sorted(ids)
    place = {piece: row for row, piece in enumerate(ids)}
    found = np.zeros((len(ids), WIDTH), np.float32)
    is_word = np.zeros(len(ids), bool)
    for piece, row in place.items():
        text = tokenizer.pieces[piece]
        word = text.removesuffix("</w>")
        if text.endswith("</w>") and word in vectors:
            found[row], is_word[row] = vectors[word], True
    words = {word for text in texts for word in WORDS.findall(text.lower()) if word in vectors}
    split = {word: tokenizer.word_ids(word) for word in words}
    several = sorted(word for word, pieces in split.items() if len(pieces) > 1 and all(p in place for p in pieces))
    open_rows = sorted({place[p] for word in several for p in split[word] if not is_word[place[p]]})
    column = {row: i for i, row in enumerate(open_rows)}
    system = np.zeros((len(several), len(open_rows)), np.float32)
    rest = np.zeros((len(several), WIDTH), np.float32)
    for i, word in enumerate(several):
        rest[i] = vectors[word]
        for piece in split[word]:
            row = place[piece]
            if is_word[row]:
                rest[i] -= found[row]
            else:
                system[i, column[row]] += 1
    if open_rows:
        normal = system.T @ system + RIDGE * np.eye(len(open_rows), dtype=np.float32)
        found[open_rows] = np.linalg.solve(normal, system.T @ rest)
    return torch.from_numpy(found)
