"""Stage `sheet`: a file of prompts as one sheet of labelled images, every one of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from .image_source import ImageSource
from .plot import to_bytes

COLUMNS, LABEL_HEIGHT, GAP = 10, 30, 6
LINE = 21
"""Characters of a label's line."""


def make_sheet(source: ImageSource, prompts: Path, output: Path) -> None:
    lines = [line for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
    images = to_bytes(source.draw(lines))
    size = images.shape[1]
    width, height = max(size, 6 * LINE) + GAP, size + LABEL_HEIGHT + GAP
    rows = -(-len(lines) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (line, image) in enumerate(zip(lines, images, strict=True)):
        x, y = index % COLUMNS * width, index // COLUMNS * height
        draw.text((x + 2, y), f"{line[:LINE]}\n{line[LINE : 2 * LINE]}", fill="black")
        sheet.paste(Image.fromarray(image), (x + (width - size) // 2, y + LABEL_HEIGHT))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, optimize=True)
    print(f"{len(lines)} images in {output}")
