"""Icon sets as npm has them (Iconify's JSON): fetched once, their icons as SVG texts, rendered by the repository's sharp."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..config import REPOSITORY

RENDERER = Path(__file__).resolve().parents[2] / "render.ts"


def fetch(package: str, data: Path) -> Path:
    """Unpacks an npm package (`name@version`) below `data`, once; returns its folder."""
    folder = data / "npm" / package.replace("/", "+")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", package, "--silent"], cwd=folder.parent, check=True, capture_output=True, text=True
        )
        archive = folder.parent / packed.stdout.strip().splitlines()[-1]
        partial = folder.with_suffix(".partial")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(folder)
        archive.unlink()
    return folder / "package"


class IconSet:
    """An Iconify set: SVG texts by icon name, and by code point where the set has them."""

    def __init__(self, package: Path) -> None:
        self._set = json.loads((package / "icons.json").read_text())
        chars = package / "chars.json"
        codes = json.loads(chars.read_text()) if chars.exists() else {}
        self.name_of = {plain(code): name for code, name in codes.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._set["icons"] or name in self._set.get("aliases", {})

    def svg(self, name: str) -> str:
        """The icon's SVG text; raises KeyError for a name that the set lacks."""
        while name not in self._set["icons"]:
            name = self._set["aliases"][name]["parent"]
        icon = self._set["icons"][name]
        width, height = (icon.get(side, self._set.get(side, 16)) for side in ("width", "height"))
        box = f"0 0 {width} {height}"
        links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return f'<svg {links} viewBox="{box}">{icon["body"]}</svg>'


def plain(hexcode: str) -> str:
    """A code point sequence without the emoji presentation selector, which sets write or leave out."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def render(svgs: Sequence[str], size: int) -> np.ndarray:
    """SVG texts to RGBA, uint8 [N, size, size, 4], not premultiplied."""
    node = REPOSITORY / "node_modules" / ".bin" / "node"
    if not node.exists():
        raise SystemExit("rendering needs the repository's packages: run `npm install` in it first")
    lines = "".join(json.dumps({"svg": svg, "size": size}) + "\n" for svg in svgs)
    done = subprocess.run([str(node), str(RENDERER)], input=lines.encode(), check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(len(svgs), size, size, 4)
