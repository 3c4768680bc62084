"""CLIP's byte-level BPE (openai/CLIP `simple_tokenizer`), for captions that need no repair of their Unicode."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ..config import REPOSITORY

MERGES = REPOSITORY / "shared" / "tokenizer" / "clip-merges.txt"
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\w\s]|_)+")


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in of every byte, in the order of the vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


class ClipTokenizer:
    """Ids of 49,408 pieces; bos and eos are the last two."""

    def __init__(self, merges: Path = MERGES) -> None:
        lines = merges.read_text(encoding="utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._bytes = byte_alphabet()
        letters = list(self._bytes.values())
        pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in pairs),
                  "<|startoftext|>", "<|endoftext|>"]  # fmt: skip
        self.pieces = pieces
        self.vocabulary = {piece: i for i, piece in enumerate(pieces)}
        self.bos, self.eos = len(pieces) - 2, len(pieces) - 1
        self.word_ids = lru_cache(maxsize=50_000)(self._word_ids)

    def encode(self, text: str, length: int) -> list[int]:
        """Exactly `length` ids: bos, the pieces, eos, padded with eos; a text that is too long is cut."""
        ids = [self.bos, *(i for word in WORDS.findall(text.lower()) for i in self.word_ids(word)), self.eos]
        return (ids + [self.eos] * length)[:length]

    def _word_ids(self, word: str) -> tuple[int, ...]:
        parts = [self._bytes[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:], strict=False))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        return tuple(self.vocabulary[part] for part in parts)
