"""
One code for each flat colour. The encoder, which sees the whole image, gives flat areas of one colour hundreds of different codes that
decode alike: 3.5 nats of noise in two cells of five, which a denoiser would have to learn by heart. Settled, they cost 0.4 dB.
"""

from __future__ import annotations

import numpy as np

NOT_FLAT = -1
LEVELS, STEP = 64, 6
"""Colours that differ by less than STEP of 255 count as one."""
TOLERANCE = 3
"""Of a flat area's values, in each channel."""


def colour_key(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] to int32 [...]."""
    level = rgb.astype(np.int32) // STEP
    return (level[..., 0] * LEVELS + level[..., 1]) * LEVELS + level[..., 2]


def flat_colours(image: np.ndarray, factor: int, margin: int) -> np.ndarray:
    """
    Of an image, uint8 [S, S, 3], without `margin` cells on each side: int32 [cells, cells], keys of the colours of cells that have one
    colour together with their eight neighbours, or NOT_FLAT.
    """
    side = len(image) // factor
    padded = np.pad(image, ((factor, factor), (factor, factor), (0, 0)), mode="edge")
    cells = padded.reshape(side + 2, factor, side + 2, factor, 3)
    least, most = cells.min((1, 3)), cells.max((1, 3))
    around = [(slice(y, y + side), slice(x, x + side)) for y in range(3) for x in range(3)]
    least, most = np.min([least[at] for at in around], 0), np.max([most[at] for at in around], 0)
    keys = np.where((most.astype(int) - least).max(-1) <= TOLERANCE, colour_key(least), NOT_FLAT)
    return keys[margin : side - margin, margin : side - margin].astype(np.int32)


class FlatAreas:
    """Finds the code of each colour: the one nearest to the mean of all that its flat areas were given."""

    def __init__(self, codebook: np.ndarray) -> None:
        self.codebook = codebook
        self._sums: dict[int, np.ndarray] = {}
        self._counts: dict[int, int] = {}
        self._cells = 0

    def learn(self, rows: np.ndarray, colours: np.ndarray) -> None:
        """Codes and keys of colours, [N, cells, cells] both."""
        self._cells += rows.size
        flat = colours != NOT_FLAT
        keys, place = np.unique(colours[flat], return_inverse=True)
        uses = np.zeros((len(keys), len(self.codebook)), np.float32)
        np.add.at(uses, (place, rows[flat]), 1)
        for key, used in zip(keys.tolist(), uses, strict=True):
            self._sums[key] = self._sums.get(key, 0) + used @ self.codebook
            self._counts[key] = self._counts.get(key, 0) + int(used.sum())

    @property
    def code(self) -> dict[int, int]:
        """By the key of the colour."""
        means = {key: total / self._counts[key] for key, total in self._sums.items()}
        return {key: int(((self.codebook - mean) ** 2).sum(1).argmin()) for key, mean in means.items()}

    @property
    def share(self) -> float:
        """Of all cells, those that are flat."""
        return sum(self._counts.values()) / max(self._cells, 1)

    def settle(self, rows: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """The rows with the code of the colour wherever there is a flat one; int16 [N, cells, cells]."""
        code = self.code
        keys, place = np.unique(colours, return_inverse=True)
        codes = np.array([code.get(int(key), NOT_FLAT) for key in keys], np.int16)[place].reshape(rows.shape)
        return np.where(codes == NOT_FLAT, rows, codes)
