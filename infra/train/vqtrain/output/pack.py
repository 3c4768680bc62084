"""Stage `pack`: the sprites and words of a home as one archive, to train from on a machine that can fetch nothing."""

from __future__ import annotations

import tarfile
from pathlib import Path

from ..config import Config
from ..scenes.sprites import sprites_folder

LEFT_OUT = "partial.npy"


def pack(config: Config, archive: Path) -> None:
    """Writes what `prepare` and `words` made, below `data/`; unpack it in a home. Prints its size."""
    folder, vectors = sprites_folder(config), config.run.data / "vectors.npz"
    if not (folder / "words.json").exists():
        raise SystemExit(f"no {folder / 'words.json'}: run the stages `prepare` and `words` first")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz", preset=1) as tar:
        for file in sorted(folder.iterdir()):
            if file.name != LEFT_OUT:
                tar.add(file, f"data/{folder.name}/{file.name}")
        if vectors.exists():
            tar.add(vectors, f"data/{vectors.name}")
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB")
