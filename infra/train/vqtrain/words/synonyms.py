"""Stage `words`: words that mean a subject without being its name, by WordNet and emojibase's tags, judged by word vectors."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import Config
from ..scenes.held_out import is_held_out
from ..scenes.recolour import COLOURS
from ..scenes.sprites import load_sprites, sprites_folder
from ..scenes.subjects import Subject
from .vectors import WordVectors, load_vectors
from .wordnet import (
    ANIMAL,
    ARTIFACT,
    BODY,
    CONCRETE,
    FOOD,
    OBJECT,
    PERSON,
    PHENOMENON,
    PLANT,
    SHAPE,
    WordNet,
    fetch_wordnet,
)  # fmt: skip

FREQUENT = 40_000
"""Words rarer than so many others are left out."""
LEAST_COSINE = {0: 0.10, 1: 0.22, 2: 0.33, 3: 0.45}
"""Of a word and the subject's first name, by the number of steps from the word's sense up to the subject's."""
LEAST_COSINE_ABOVE = 0.50
"""Where the subject is a kind of what the word means (feline: cat)."""
LEAST_COSINE_OF_TAG = {True: 0.40, False: 0.60}
"""Of a tag and the subject's first name, by whether the tag is a concrete noun."""
GRAMMAR = frozenset({
    *COLOURS, "two", "three", "four", "five", "one", "first", "over", "under", "above", "below", "small", "big", "large",
    "left", "right", "top", "bottom", "next", "side", "where", "got", "look", "not", "see", "west", "east", "north",
    "south", "back", "down", "together", "way", "you",
})  # fmt: skip
"""Words that say something else of a scene, or too little."""
GENERAL = frozenset(
    {"person", "man", "woman", "child", "boy", "girl", "rock", "image", "ribbon", "package", "label", "building"}
)
"""Subjects that much is a kind of, and that show none of it."""
FILES = {
    "animals-nature/animal": {ANIMAL},
    "animals-nature/plant": {PLANT},
    "food-drink": {FOOD, PLANT, ARTIFACT},
    "people-body/person": {PERSON},
    "people-body": {BODY, PERSON},
    "travel-places/sky": {OBJECT, PHENOMENON, SHAPE},
    "travel-places": {ARTIFACT, OBJECT},
    "activities": {ARTIFACT, OBJECT},
    "objects": {ARTIFACT, OBJECT},
    "symbols": {SHAPE, ARTIFACT},
    "game-icons": {ANIMAL, ARTIFACT, OBJECT, PLANT, FOOD, PERSON},
    "smileys": {PERSON},
}
"""Lexicographer files where a subject's sense is looked for, by the beginning of its group."""


def make_words(config: Config) -> None:
    """Writes `words.json`: {"synonyms": {word: number of the subject}, "held_out": the same of words that no caption has}."""
    subjects = load_sprites(config).subjects
    found: dict[str, int] = {}
    if config.data.word_vectors:
        vectors = load_vectors(config.run.data)
        found = synonyms(subjects, WordNet(fetch_wordnet(config.run.data)), vectors)
    held_out = {word: subject for word, subject in found.items() if is_held_out("word", word)}
    content = {"synonyms": {w: s for w, s in found.items() if w not in held_out}, "held_out": held_out}
    words_path(config).write_text(json.dumps(content, indent=0))
    print(f"{len(content['synonyms'])} synonyms, {len(held_out)} more held out")


def words_path(config: Config) -> Path:
    return sprites_folder(config) / "words.json"


def load_words(config: Config) -> tuple[dict[str, int], dict[str, int]]:
    """Synonyms to use, and held-out ones."""
    if not words_path(config).exists():
        raise SystemExit(f"no {words_path(config)}: run the stage `words` first")
    content = json.loads(words_path(config).read_text())
    return content["synonyms"], content["held_out"]


def synonyms(subjects: list[Subject], net: WordNet, vectors: WordVectors) -> dict[str, int]:
    """The subject of each word that has one and is no name."""
    names = {name: index for index, s in reversed(list(enumerate(subjects))) for name in s.names}
    subject_of = senses_of(subjects, net)
    found: dict[str, int] = {}
    for word in vectors.words[:FREQUENT]:
        if word not in names and word.removesuffix("s") not in names and word not in GRAMMAR and len(word) > 2:
            best = nearest(word, subjects, subject_of, net, vectors)
            if best is not None:
                found[word] = best
    for word, index in tagged(subjects, names, net, vectors).items():
        found.setdefault(word, index)
    return found


def senses_of(subjects: list[Subject], net: WordNet) -> dict[str, int]:
    """Subjects by their sense (offset): the first one of the kind that their group shows."""
    found: dict[str, int] = {}
    for position in range(max(len(s.names) for s in subjects)):
        for index, subject in enumerate(subjects):
            if position < len(subject.names):
                files = next(files for start, files in FILES.items() if subject.group.startswith(start))
                senses = net.senses.get(subject.names[position], ())
                sense = next((s for s in senses[:3] if net.synsets[s].file in files), None)
                if sense is not None:
                    found.setdefault(sense, index)
    return found


def nearest(
    word: str, subjects: list[Subject], subject_of: dict[str, int], net: WordNet, vectors: WordVectors
) -> int | None:
    """The subject of a word by its first sense: itself, up to three steps more general, or one step more special."""
    sense = next(iter(net.senses.get(word, ())), None)
    if sense is None or net.synsets[sense].file not in CONCRETE:
        return None
    level, first = [sense], True
    for steps, least in LEAST_COSINE.items():
        for candidate in level:
            if candidate in subject_of:
                index = subject_of[candidate]
                name = subjects[index].names[0]
                near = vectors.cosine(word, name) >= least
                return index if near and (steps == 0 or name not in GENERAL) else None
        level = [above for s in level for above in net.synsets[s].hypernyms]
        if first:
            below = [subject_of[s] for s in net.synsets[sense].hyponyms if s in subject_of]
            first = False
            if below:
                best = max(below, key=lambda i: vectors.cosine(word, subjects[i].names[0]))
                if vectors.cosine(word, subjects[best].names[0]) >= LEAST_COSINE_ABOVE:
                    return best
    return None


def tagged(subjects: list[Subject], names: dict[str, int], net: WordNet, vectors: WordVectors) -> dict[str, int]:
    """Of emojibase's tags those that are near an everyday subject's name; the nearest subject has them."""
    best: dict[str, tuple[float, int]] = {}
    for index, subject in enumerate(subjects):
        for tag in subject.tags:
            if subject.is_everyday and tag in vectors and tag not in names and tag not in GRAMMAR and len(tag) > 2:
                cosine, sense = vectors.cosine(tag, subject.names[0]), next(iter(net.senses.get(tag, ())), None)
                concrete = sense is not None and net.synsets[sense].file in CONCRETE
                if cosine >= LEAST_COSINE_OF_TAG[concrete] and cosine > best.get(tag, (0, 0))[0]:
                    best[tag] = (cosine, index)
    return {tag: index for tag, (_, index) in best.items()}
