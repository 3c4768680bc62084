"""Stage `tokens`: encodes every sprite with the averaged VQ-VAE, alone; scenes are then composed of latents, at no cost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Config
from ..models.vqvae import VQModel
from ..scenes.draw import backgrounds_of
from ..scenes.scene import BACKGROUNDS, LARGE, MEDIUM, SMALL, WHITE, Scene, placements
from ..scenes.sprites import OWN, Sprites, load_sprites, on, sizes
from ..scenes.styles import STYLES, apply_style
from .flat_areas import FlatAreas, colour_key, flat_colours
from .runstate import load_checkpoint
from .train_vqvae import checkpoint_path, to_float

MARGIN_CELLS = {LARGE: 0, MEDIUM: 3, SMALL: 2}
"""Empty cells around a sprite when it is encoded: with so many its image is as full as a scene of several is."""
BATCH = 16
Key = tuple[int, str, int, str, str]
"""Subject, colour, size, background, style."""


def load_encoder(config: Config) -> VQModel:
    """The VQ-VAE that the latents are made with: the averaged weights of the run's checkpoint."""
    saved = load_checkpoint(checkpoint_path(config))
    if saved is None:
        raise SystemExit(f"no {checkpoint_path(config)}: run the stage `vqvae` first")
    model = VQModel(config.vq)
    model.load_state_dict(saved["average"])
    return model.eval()


def tokens_path(config: Config) -> Path:
    return config.run.run / "tokens.npz"


def wanted(sprites: Sprites) -> list[Key]:
    """All that scenes are composed of; the rest of the order is by size, so that batches are alike."""
    keys: list[Key] = []
    for index, colour in sprites.rows:
        subject = sprites.subjects[index]
        keys.append((index, colour, LARGE, "", ""))
        if not subject.is_everyday:
            continue
        keys.append((index, colour, MEDIUM, "", ""))
        if subject.is_thing:
            keys.append((index, colour, SMALL, "", ""))
        if colour == OWN:
            keys += [(index, OWN, LARGE, "", style) for style in STYLES]
        keys += [(index, colour, LARGE, background, "") for background in backgrounds_of(subject, colour)]
    return sorted(keys, key=lambda key: key[2])


class Encoder:
    """Sprites to rectangles of latents."""

    def __init__(self, config: Config, sprites: Sprites, model: VQModel) -> None:
        self.device, self.factor, self.sizes = config.run.device, config.vq.factor, sizes(config)
        self.sprites, self.model = sprites, model.to(self.device, memory_format=torch.channels_last)

    def canvas(self, key: Key) -> np.ndarray:
        """The sprite amid its background, uint8 [S, S, 3]."""
        index, colour, size, background, style = key
        sprite = self.sprites.pixels[size][self.sprites.row[index, colour]]
        if style:
            sprite = apply_style(sprite, style, self.factor)
        rgb = BACKGROUNDS[background] if background else WHITE
        side = (self.sizes[size].cells + 2 * MARGIN_CELLS[size]) * self.factor
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = rgb
        start = (side - len(sprite)) // 2
        canvas[start : start + len(sprite), start : start + len(sprite)] = on(rgb, sprite)
        return canvas

    @torch.no_grad()
    def encode(self, keys: list[Key]) -> np.ndarray:
        """int16 [N, cells, cells] of keys of one size."""
        margin = MARGIN_CELLS[keys[0][2]]
        images = to_float(np.stack([self.canvas(key) for key in keys])).to(
            self.device, memory_format=torch.channels_last
        )
        with torch.autocast(self.device, torch.bfloat16):
            z = self.model.latents(images).float()
        tokens = self.model.quantize.nearest(z.permute(0, 2, 3, 1).flatten(0, 2)).reshape(len(keys), *z.shape[2:])
        return tokens[:, margin : z.shape[2] - margin, margin : z.shape[3] - margin].cpu().numpy().astype(np.int16)

    def flat_colours(self, key: Key) -> np.ndarray:
        """int32 [cells, cells]: the key of the colour where a cell and all its neighbours have no other, and NOT_FLAT."""
        return flat_colours(self.canvas(key), self.factor, MARGIN_CELLS[key[2]])


def make_tokens(config: Config) -> None:
    """Writes `tokens.npz`: a row of latents for each key of `wanted`, blank grids, and the codebook they refer to."""
    sprites, model = load_sprites(config), load_encoder(config)
    encoder, keys = Encoder(config, sprites, model), wanted(sprites)
    codebook = model.quantize.embedding.weight.detach().cpu().numpy()
    areas, parts = FlatAreas(codebook), []
    for size in (LARGE, MEDIUM, SMALL):
        of_size = [key for key in keys if key[2] == size]
        rows = np.concatenate([encoder.encode(of_size[at : at + BATCH]) for at in range(0, len(of_size), BATCH)])
        colours = np.stack([encoder.flat_colours(key) for key in of_size])
        areas.learn(rows, colours)
        parts.append((rows, colours))
        print(f"{len(of_size)} sprites of size {size}", flush=True)
    by_size = [areas.settle(rows, colours) for rows, colours in parts]
    side = by_size[LARGE].shape[-1]
    grounds = [areas.code[colour_key(np.array(rgb))] for rgb in (WHITE, *BACKGROUNDS.values())]
    blank = np.stack([np.full((side, side), code, np.int16) for code in grounds])
    partial = tokens_path(config).with_suffix(".partial.npz")
    np.savez(partial, blank=blank, codebook=codebook, **{f"size{size}": rows for size, rows in enumerate(by_size)})
    os.replace(partial, tokens_path(config))
    used = len(np.unique(np.concatenate([rows.ravel() for rows in by_size])))
    print({"sprites": len(keys), "codes": used / config.vq.num_codes, "flat": areas.share})


@dataclass
class SceneTokens:
    """Composes scenes of latents."""

    rows: dict[Key, int]
    by_size: list[np.ndarray]
    blank: np.ndarray
    """int16 [1 + backgrounds, side, side]; white first."""
    codebook: Tensor
    """float32 [K, width]."""

    @property
    def side(self) -> int:
        return self.blank.shape[-1]

    def compose(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """Latents, int16 [side * side], and where there is ink, bool [side * side]."""
        ground = self.blank[1 + list(BACKGROUNDS).index(scene.background) if scene.background else 0]
        grid = ground.copy()
        for place in placements(scene, self.side):
            key = (place.thing.subject, place.thing.colour, place.size, scene.background, scene.style)
            cells = self.by_size[place.size][self.rows[key]]
            grid[place.top : place.top + len(cells), place.left : place.left + len(cells)] = cells
        return grid.ravel(), (grid != ground).ravel()


def load_tokens(config: Config, sprites: Sprites) -> SceneTokens:
    if not tokens_path(config).exists():
        raise SystemExit(f"no {tokens_path(config)}: run the stage `tokens` first")
    stored = np.load(tokens_path(config))
    counts, rows = [0, 0, 0], {}
    for key in wanted(sprites):
        rows[key] = counts[key[2]]
        counts[key[2]] += 1
    by_size = [stored[f"size{size}"] for size in (LARGE, MEDIUM, SMALL)]
    if counts != [len(part) for part in by_size]:
        raise SystemExit(f"{tokens_path(config)} was made of other sprites: run the stage `tokens` again")
    return SceneTokens(rows, by_size, stored["blank"], torch.from_numpy(stored["codebook"]))
