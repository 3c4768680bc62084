"""Small line plots of the training logs and image grids, as PNG, with nothing but Pillow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

WIDTH, HEIGHT, MARGIN = 640, 320, 44
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700")

SEEN = ("plain", "colour", "count", "pair", "colour_pair")
Series = dict[str, list[tuple[float, float]]]


def read_series(log: Path, x: str, names: tuple[str, ...]) -> Series:
    """The points (x, value) of each named field of a JSON-lines log."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {name: [(row[x], row[name]) for row in rows if name in row and x in row] for name in names}


def line_plot(series: Series, title: str, path: Path) -> None:
    """One line per series on common axes, labelled with the extremes."""
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError(f"nothing to plot for {title}")
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = (point[0] - left) / (right - left or 1)
        y = (point[1] - low) / (high - low or 1)
        return MARGIN + x * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN)

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN), outline="#c0c0c0")
    draw.text((MARGIN, 6), title, fill="black")
    for value in (low, high):
        draw.text((4, place((left, value))[1] - 6), f"{value:.3g}", fill="black")
    for value in (left, right):
        draw.text((place((value, low))[0] - 16, HEIGHT - MARGIN + 6), f"{value:.4g}", fill="black")
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        draw.text((MARGIN + 150 * index, 22), name, fill=colour)
        if len(line) > 1:
            draw.line([place(point) for point in line], fill=colour, width=2)
    image.save(path, optimize=True)


def plot_logs(run: Path, folder: Path) -> None:
    """A plot of each measure, from the logs of a run that exist."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = (
        ("vqvae", "images", ("held_out_psnr", "held_out_mean_psnr"), "VQ-VAE: PSNR on held-out images, dB, by images"),
        ("transformer", "samples", SEEN, "Denoiser: nats at full mask by kind of scene, by samples"),
        ("transformer", "samples", tuple(f"held_{kind}" for kind in SEEN if kind != "plain"), "The same of held-out scenes"),
        ("reader", "images", ("subject", "colour", "other"), "Reader: share of right answers, by images"),
    )  # fmt: skip
    for name, x, fields, title in plots:
        log = run / f"{name}.jsonl"
        series = read_series(log, x, fields) if log.exists() else {}
        if any(series.values()):
            held_out = "-held-out" if fields[0].startswith("held_c") else ""
            line_plot(series, title, folder / f"{name}{held_out}.png")


def to_bytes(images: Tensor) -> np.ndarray:
    """Images [N, 3, H, W] in -1 .. 1 to uint8 [N, H, W, 3]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
