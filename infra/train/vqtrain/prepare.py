"""Stage `prepare`: fetches the icon and label packages, renders the pictures, and writes pictures.npz + subjects.json."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .config import REPOSITORY, STYLES, Config, DataConfig

RENDERER = Path(__file__).resolve().parents[1] / "render.ts"


@dataclass(frozen=True)
class Subject:
    """One picture: what people call its subject, and the style that it is drawn in."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    style: str
    held_out: bool
    """From the VQ-VAE."""
    unseen: bool
    """By the denoiser, which knows the subject in another style."""


def prepare(config: Config) -> None:
    """Writes `pictures.npz` (uint8 [N, size, size, 3] on white) and `subjects.json`, in the same order."""
    data = config.run.data
    labels = fetch(config.data.label_package, data)
    subjects, svgs = [], []
    for style in config.data.styles:
        chosen, drawn = select(fetch(STYLES[style], data), labels, style, config.data)
        subjects += chosen
        svgs += drawn
    subjects = keep_apart(subjects, config.data)
    pictures = render(svgs, config.data.resolution)
    folder = dataset_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "pictures.npz", pictures=pictures)
    (folder / "subjects.json").write_text(json.dumps([asdict(s) for s in subjects], indent=0))
    print(f"{len(subjects)} pictures of {config.data.resolution} px in {folder}")


def dataset_folder(config: Config) -> Path:
    subset = f"-{config.data.max_subjects}" if config.data.max_subjects else ""
    return config.run.data / f"{'-'.join(config.data.styles)}-{config.data.resolution}{subset}"


def load_dataset(config: Config) -> tuple[np.ndarray, list[Subject]]:
    """Pictures, uint8 [N, size, size, 3], and their subjects."""
    folder = dataset_folder(config)
    if not (folder / "pictures.npz").exists():
        raise SystemExit(f"no pictures in {folder}: run the stage `prepare` first")
    pictures = np.load(folder / "pictures.npz")["pictures"]
    rows = json.loads((folder / "subjects.json").read_text())
    if "style" not in rows[0]:
        raise SystemExit(f"{folder} was made by an earlier version: run the stage `prepare` again")
    return pictures, [Subject(**{**row, "tags": tuple(row["tags"])}) for row in rows]


def fetch(package: str, data: Path) -> Path:
    """Unpacks an npm package below `data`, once; returns its folder."""
    folder = data / "npm" / package.replace("/", "+")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", package, "--silent"], cwd=folder.parent, check=True, capture_output=True, text=True
        )
        archive = folder.parent / packed.stdout.strip().splitlines()[-1]
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
    return folder / "package"


def select(icons: Path, labels: Path, style: str, config: DataConfig) -> tuple[list[Subject], list[str]]:
    """Subjects that have both a label and an icon, and their SVG texts, in emojibase's order."""
    icon_set = json.loads((icons / "icons.json").read_text())
    names = {plain(code): name for code, name in json.loads((icons / "chars.json").read_text()).items()}
    groups = json.loads((labels / "meta" / "groups.json").read_text())
    subjects, svgs = [], []
    for entry in json.loads((labels / "en" / "data.json").read_text()):
        code = plain(entry["hexcode"])
        group = groups["groups"].get(str(entry.get("group")), "flags")
        if group in ("flags", "component") or code not in names:
            continue
        icon = resolve(icon_set, names[code])
        subjects.append(
            Subject(
                hexcode=code,
                label=entry["label"].lower(),
                tags=tuple(tag.lower() for tag in entry.get("tags", [])),
                group=group,
                subgroup=groups["subgroups"][str(entry["subgroup"])],
                style=style,
                held_out=False,
                unseen=False,
            )
        )
        width, height = icon_set.get("width", 16), icon_set.get("height", 16)
        box = f"0 0 {icon.get('width', width)} {icon.get('height', height)}"
        svgs.append(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>')
    if config.max_subjects:
        subjects, svgs = subjects[: config.max_subjects], svgs[: config.max_subjects]
    return subjects, svgs


def keep_apart(subjects: list[Subject], config: DataConfig) -> list[Subject]:
    """Says which pictures are held out and which are unseen, by hashes of their code points."""
    styles: dict[str, list[str]] = {}
    for subject in subjects:
        styles.setdefault(subject.hexcode, []).append(subject.style)
    held_out = set(sorted(styles, key=lambda code: number(code, 0))[: config.held_out])

    def is_unseen(subject: Subject) -> bool:
        drawn = styles[subject.hexcode]
        chosen = len(drawn) > 1 and number(subject.hexcode, 1) % config.unseen_every == 0
        return chosen and drawn[number(subject.hexcode, 2) % len(drawn)] == subject.style

    return [replace(s, held_out=s.hexcode in held_out, unseen=is_unseen(s)) for s in subjects]


def number(hexcode: str, part: int) -> int:
    """A number that looks random and is always the same; `part` 0 to 2 gives others."""
    digest = hashlib.sha256(hexcode.encode()).digest()
    return int.from_bytes(digest[8 * part : 8 * part + 8])


def plain(hexcode: str) -> str:
    """A code point sequence without the emoji presentation selector, which sets write or leave out."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def resolve(icon_set: dict, name: str) -> dict:
    while name not in icon_set["icons"]:
        name = icon_set["aliases"][name]["parent"]
    return icon_set["icons"][name]


def render(svgs: list[str], size: int) -> np.ndarray:
    """SVG texts to uint8 [N, size, size, 3], drawn on white."""
    node = REPOSITORY / "node_modules" / ".bin" / "node"
    if not node.exists():
        raise SystemExit("rendering needs the repository's packages: run `npm install` in it first")
    lines = "".join(json.dumps(svg) + "\n" for svg in svgs)
    done = subprocess.run([str(node), str(RENDERER), str(size)], input=lines.encode(), check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(len(svgs), size, size, 3)
