"""What is kept from training, by hashes, so that it is the same everywhere and always."""

from __future__ import annotations

import hashlib

from .scene import Scene, Thing
from .sprites import OWN
from .subjects import Subject

ONE_IN = 10


def is_held_out(*key: object) -> bool:
    """For one key in ten."""
    return number(*key) % ONE_IN == 0


def number(*key: object) -> int:
    """A number that looks random and is always the same."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8])


def reasons(scene: Scene, subjects: list[Subject]) -> set[str]:
    """Which combinations of a scene the denoiser never sees: of colour, count, pair and background; empty if it sees them all."""

    def key(thing: Thing) -> str:
        return subjects[thing.subject].key

    found = set()
    for thing in scene.things:
        if thing.colour != OWN and is_held_out("colour", key(thing), thing.colour):
            found.add("colour")
    if scene.count > 1 and is_held_out("count", key(scene.thing), scene.count):
        found.add("count")
    if scene.other is not None and is_held_out("pair", key(scene.thing), key(scene.other), scene.relation):
        found.add("pair")
    if scene.background and is_held_out("background", key(scene.thing), scene.background):
        found.add("background")
    return found
