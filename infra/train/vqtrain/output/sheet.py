"""Stage `sheet`: a file of prompts as one sheet of labelled pictures, every one of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from .picture_source import PictureSource
from .plot import to_bytes

COLUMNS, LABEL_HEIGHT, GAP = 10, 30, 6
LINE = 21
"""Characters of a label's line."""


def make_sheet(source: PictureSource, prompts: Path, output: Path) -> None:
    lines = [line for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
    pictures = to_bytes(source.draw(lines))
    size = pictures.shape[1]
    width, height = max(size, 6 * LINE) + GAP, size + LABEL_HEIGHT + GAP
    rows = -(-len(lines) // COLUMNS)
    image = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(image)
    for index, (line, picture) in enumerate(zip(lines, pictures, strict=True)):
        x, y = index % COLUMNS * width, index // COLUMNS * height
        draw.text((x + 2, y), f"{line[:LINE]}\n{line[LINE : 2 * LINE]}", fill="black")
        image.paste(Image.fromarray(picture), (x + (width - size) // 2, y + LABEL_HEIGHT))
    output.parent.mkdir(parents=True, exist_ok=True)
    image.save(output, optimize=True)
    print(f"{len(lines)} pictures in {output}")
