"""WordNet's nouns (files of WordNet 3.0, see its wndb(5)): senses of a word, hypernyms of a sense."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = "usr/share/wordnet"
"""Where Debian's package `wordnet-base` has the files."""
ANIMAL, ARTIFACT, BODY, FOOD, PHENOMENON, OBJECT, PERSON, PLANT, SHAPE = 5, 6, 8, 13, 19, 17, 18, 20, 25
"""Numbers of the lexicographer files of concrete nouns, lexnames(5)."""
CONCRETE = frozenset({ANIMAL, ARTIFACT, BODY, FOOD, PHENOMENON, OBJECT, PERSON, PLANT, SHAPE})


@dataclass(frozen=True)
class Synset:
    """A sense: its lexicographer file, words, more general and more special senses (offsets)."""

    file: int
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    hyponyms: tuple[str, ...]


class WordNet:
    """Nouns alone; instances (named things) are no hyponyms here."""

    def __init__(self, folder: Path) -> None:
        self.synsets: dict[str, Synset] = {}
        for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            fields = line.split(" | ")[0].split()
            count = int(fields[3], 16)
            lemmas = tuple(fields[4 + 2 * i].lower().replace("_", " ") for i in range(count))
            pointers = fields[4 + 2 * count :]
            links = [tuple(pointers[1 + 4 * i : 5 + 4 * i]) for i in range(int(pointers[0]))]
            hypernyms = tuple(offset for symbol, offset, kind, _ in links if symbol == "@" and kind == "n")
            hyponyms = tuple(offset for symbol, offset, kind, _ in links if symbol == "~" and kind == "n")
            self.synsets[fields[0]] = Synset(int(fields[1]), lemmas, hypernyms, hyponyms)
        self.senses: dict[str, tuple[str, ...]] = {}
        for line in (folder / "index.noun").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):
                fields = line.split()
                self.senses[fields[0].replace("_", " ")] = tuple(fields[-int(fields[2]) :])


def fetch_wordnet(data: Path) -> Path:
    """Unpacks Debian's `wordnet-base` below `data`, once; returns the folder of its files."""
    folder = data / "wordnet"
    if not folder.exists():
        try:
            data.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", "wordnet-base"], cwd=data, check=True, capture_output=True)
            archive = next(data.glob("wordnet-base_*.deb"))
            partial = folder.with_suffix(".partial")
            subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
            partial.rename(folder)
            archive.unlink()
        except (OSError, subprocess.CalledProcessError) as error:
            files = folder / FOLDER
            raise SystemExit(
                f"cannot fetch Debian's wordnet-base ({error}): put WordNet's data.noun and index.noun in {files}"
            ) from error
    return folder / FOLDER
