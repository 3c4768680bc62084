"""Stage `prepare`: renders every subject in its own and in its other colours at the sizes that scenes use, on nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..config import Config
from .icons import render
from .recolour import COLOURS, dominant, recoloured
from .subjects import Subject, choose

OWN = ""
"""The colour of a subject as its set has it."""
JUDGED_AT = 48
"""Pixels that the dominant colour is read from."""


@dataclass(frozen=True)
class Size:
    """Side of the square of latents that a sprite takes, and of the image in its middle."""

    cells: int
    pixels: int


def sizes(config: Config) -> tuple[Size, Size, Size]:
    """Large, medium, small: the whole image, half and a third of its side, the latter two with a margin."""
    side, factor = config.data.resolution // config.vq.factor, config.vq.factor
    return Size(side, side * factor), Size(side // 2, side // 2 * factor - 4), Size(side // 3, side // 3 * factor - 4)


@dataclass(frozen=True)
class Sprites:
    """Subjects with their images, uint8 RGBA [N, pixels, pixels, 4] a size; row `row[subject, colour]` of each."""

    subjects: list[Subject]
    rows: list[tuple[int, str]]
    """Number of the subject, and colour: OWN or one of COLOURS."""
    pixels: list[np.ndarray]
    """By size, largest first."""

    @cached_property
    def row(self) -> dict[tuple[int, str], int]:
        return {key: row for row, key in enumerate(self.rows)}


def prepare(config: Config) -> None:
    """Writes `sprites-<pixels>.npy` and `subjects.json`; what is there already is made anew."""
    subjects, svgs = choose(config.data, config.run.data)
    rows, drawn = [], []
    colours = [dominant(image) for image in render(svgs, JUDGED_AT)]
    for index, (subject, svg, colour) in enumerate(zip(subjects, svgs, colours, strict=True)):
        rows.append((index, OWN))
        drawn.append(svg)
        if subject.has_colours:
            rows += [(index, name) for name in COLOURS]
            drawn += [recoloured(svg, colour, name) for name in COLOURS]
    folder = sprites_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes(config):
        # Replaced, not written over: a run that is under way has the old file mapped.
        partial = folder / "partial.npy"
        np.save(partial, render(drawn, size.pixels))
        partial.replace(folder / f"sprites-{size.pixels}.npy")
    content = {"subjects": [asdict(s) for s in subjects], "rows": rows}
    (folder / "subjects.json").write_text(json.dumps(content))
    print(f"{len(subjects)} subjects, {len(rows)} sprites of {[s.pixels for s in sizes(config)]} px in {folder}")


def sprites_folder(config: Config) -> Path:
    subset = f"-{config.data.max_subjects}" if config.data.max_subjects else ""
    return config.run.data / f"sprites-{config.data.resolution}{subset}"


def load_sprites(config: Config) -> Sprites:
    folder = sprites_folder(config)
    if not (folder / "subjects.json").exists():
        raise SystemExit(f"no sprites in {folder}: run the stage `prepare` first")
    content = json.loads((folder / "subjects.json").read_text())
    subjects = [Subject(**{**s, "names": tuple(s["names"]), "tags": tuple(s["tags"])}) for s in content["subjects"]]
    pixels = [np.load(folder / f"sprites-{size.pixels}.npy", mmap_mode="r") for size in sizes(config)]
    return Sprites(subjects, [(index, colour) for index, colour in content["rows"]], pixels)


def on(background: tuple[int, int, int], sprite: np.ndarray) -> np.ndarray:
    """A sprite, uint8 [..., 4], on a colour: uint8 [..., 3]."""
    alpha = sprite[..., 3:].astype(np.float32) / 255
    return (sprite[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha) + 0.5).astype(np.uint8)
