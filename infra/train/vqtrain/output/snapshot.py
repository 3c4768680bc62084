"""Stages `snapshot` and `restore`: a run's averaged weights in small files, to go on from on another machine."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ..config import Config
from ..training.corpus import checkpoint_path as denoiser_path
from ..training.runstate import load_checkpoint, save_checkpoint
from ..training.train_decoder import load_vqvae
from ..training.train_vqvae import checkpoint_path as vqvae_path
from . import tensorfile

LARGEST = 15 * 2**20
"""Bytes of a file."""
ABOUT = "snapshot.json"


VQVAE_BITS = 11
"""All of float16: the restored encoder must make nearly the latents that the denoiser was trained on."""


def snapshot(config: Config, folder: Path) -> None:
    """Writes the averages as float16, the denoiser's of few significant bits; optimizers are left behind. Prints the size."""
    vqvae, denoiser = load_checkpoint(vqvae_path(config)), load_checkpoint(denoiser_path(config))
    if vqvae is None:
        raise SystemExit(f"no {vqvae_path(config)}: there is nothing to keep yet")
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "vqvae": {
            "seen": vqvae["seen"],
            "seconds": vqvae["seconds"],
            "files": write(folder, "vqvae", load_vqvae(config).state_dict(), VQVAE_BITS),
        }
    }
    if denoiser is not None:
        files = write(folder, "denoiser", denoiser["average"], config.run.weight_bits)
        about["denoiser"] = {name: denoiser[name] for name in ("seen", "seconds", "used_ids")} | {"files": files}
    (folder / ABOUT).write_text(json.dumps(about))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB in {len(list(folder.iterdir()))} files")


def restore(config: Config, folder: Path) -> None:
    """Makes a run's checkpoints of a snapshot; refuses where the run has one already."""
    about = json.loads((folder / ABOUT).read_text())
    for path in (vqvae_path(config), denoiser_path(config)):
        if path.exists():
            raise SystemExit(f"{path} is there already: give the run another name, or remove it")
    kept = {name: read(folder, entry["files"]) for name, entry in about.items()}
    for name, path in (("vqvae", vqvae_path(config)), ("denoiser", denoiser_path(config))):
        if name in kept:
            entry = {key: value for key, value in about[name].items() if key != "files"}
            save_checkpoint(path, {**entry, "model": kept[name], "average": kept[name]})
            print(f"{path}: {entry['seen']} samples")


def write(folder: Path, name: str, tensors: dict[str, Tensor], bits: int) -> list[str]:
    """Tensors in files of at most LARGEST bytes; returns their names."""
    parts: list[dict[str, Tensor]] = [{}]
    room = LARGEST
    for key in sorted(tensors):
        size = 2 * tensors[key].numel()
        if size > room and parts[-1]:
            parts.append({})
            room = LARGEST
        parts[-1][key] = tensors[key]
        room -= size
    files = [f"{name}-{number}.safetensors" for number in range(1, len(parts) + 1)]
    for file, part in zip(files, parts, strict=True):
        tensorfile.save_half(folder / file, part, bits=bits)
    return files


def read(folder: Path, files: list[str]) -> dict[str, torch.Tensor]:
    return {key: value for file in files for key, value in tensorfile.load(folder / file).items()}
