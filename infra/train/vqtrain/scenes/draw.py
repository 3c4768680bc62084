"""Draws scenes at random: kinds by their shares, subjects by their weights, nothing that is held out unless it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from random import Random

from ..config import SceneConfig
from .held_out import number, reasons
from .recolour import COLOURS
from .scene import BACKGROUNDS, Scene, Thing
from .sprites import OWN
from .styles import STYLES
from .subjects import Subject, core_names

KINDS = ("plain", "small", "colour", "background", "style", "count", "pair", "colour pair")
HELD_OUT_IN = {"colour": "colour", "background": "background", "count": "count", "pair": "pair", "colour pair": "pair"}
"""What is held out of a kind."""
RELATIONS = ("beside", "above")
OWN_BACKGROUNDS, COLOURED_BACKGROUNDS = 4, 3
"""A subject in its own colours has so many backgrounds; in a named colour one in so many has one."""
BACKGROUND_STRIDE = 3
"""Coprime to the number of backgrounds, so that a subject's differ."""


def backgrounds_of(subject: Subject, colour: str) -> list[str]:
    """The backgrounds that a sprite is shown on: some, for each needs latents of its own. Named colours: one or none."""
    names = list(BACKGROUNDS)
    first = number("background of", subject.key, colour)
    count = OWN_BACKGROUNDS if colour == OWN else first % COLOURED_BACKGROUNDS == 0
    return [names[(first // 64 + i * BACKGROUND_STRIDE) % len(names)] for i in range(count)]


class Urn:
    """Draws of `members`, by their weights."""

    def __init__(self, members: list[int], weights: list[float]) -> None:
        self.members, self.cumulative = members, list(accumulate(weights))

    def draw(self, random: Random) -> int:
        return random.choices(self.members, cum_weights=self.cumulative)[0]


class SceneSource:
    """Scenes of `subjects`, all that `admit` admits (by the subject's number); with `also_held_out` nothing is left out."""

    def __init__(
        self,
        subjects: list[Subject],
        config: SceneConfig,
        admit: Callable[[int], bool] = lambda _: True,
        *,
        also_held_out: bool = False,
    ) -> None:
        self.also_held_out = also_held_out
        admitted = [i for i in range(len(subjects)) if admit(i)]
        tiers = list(zip(core_names(), config.core_weights, strict=True))

        def weight(subject: Subject) -> float:
            factor = next((often for names, often in tiers if names.intersection(subject.names)), 1)
            return subject.weight * factor

        def urn(members: list[int]) -> Urn:
            return Urn(members, [weight(subjects[i]) for i in members])

        self.subjects, self.config = subjects, config
        self.everything = urn(admitted)
        self.everyday = urn([i for i in admitted if subjects[i].is_everyday])
        self.things = urn([i for i in admitted if subjects[i].is_thing])
        self.with_colours = urn([i for i in admitted if subjects[i].has_colours])

    def draw(self, random: Random, kind: str | None = None, *, held_out: bool = False) -> Scene:
        """
        A scene, of `kind` if given. With `held_out` it is held out in what its kind is about (HELD_OUT_IN) and in nothing else.
        """
        kind = kind or random.choices(KINDS, self.config.shares)[0]
        wanted = {HELD_OUT_IN[kind]} if held_out else set()
        while True:
            scene = self._propose(random, kind)
            if self.also_held_out or reasons(scene, self.subjects) == wanted:
                return scene

    def _propose(self, random: Random, kind: str) -> Scene:
        share = self.config.coloured_share

        def coloured(subject: int, probability: float) -> Thing:
            has = self.subjects[subject].has_colours and random.random() < probability
            return Thing(subject, random.choice(list(COLOURS)) if has else OWN)

        match kind:
            case "plain":
                return Scene(kind, Thing(self.everything.draw(random)))
            case "small":
                return Scene(kind, coloured(self.everyday.draw(random), share), is_small=True)
            case "colour":
                return Scene(kind, coloured(self.with_colours.draw(random), 1))
            case "background":
                thing = coloured(self.everyday.draw(random), share)
                offered = backgrounds_of(self.subjects[thing.subject], thing.colour)
                return Scene(kind, thing, background=random.choice(offered)) if offered else self._propose(random, kind)
            case "style":
                return Scene(kind, Thing(self.everyday.draw(random)), style=random.choice(STYLES))
            case "count":
                return Scene(kind, coloured(self.things.draw(random), share), count=random.randint(2, 5))
            case _:
                is_coloured = kind == "colour pair"
                urn = self.with_colours if is_coloured else self.things
                first = second = urn.draw(random)
                while second == first:
                    second = urn.draw(random)
                return Scene(
                    kind,
                    coloured(first, is_coloured),
                    other=coloured(second, is_coloured),
                    relation=random.choice(RELATIONS),
                )
