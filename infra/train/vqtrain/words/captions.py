"""What people might type for a scene. The right answer to a caption is one scene: each name belongs to one subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from ..scenes.held_out import number
from ..scenes.recolour import COLOURS
from ..scenes.scene import BACKGROUNDS, Scene, Thing
from ..scenes.sprites import OWN
from ..scenes.styles import STYLES
from ..scenes.subjects import Subject
from . import grammar

FIRST_NAME_SHARE = 0.6
"""Of the captions, those that use a subject's first name; the others any of its names."""
SYNONYM_SHARE = 0.15
FILLER_SHARE, BIG_SHARE, SLIP_SHARE, LEAD_IN_SHARE, ARTICLE_SHARE = 0.05, 0.05, 0.02, 0.25, 0.5
SHORTEST_SLIP = 5
"""Letters of a name that is misspelled."""


class Captioner:
    """Draws captions for scenes of `subjects`; `synonyms` are words with the number of what they mean."""

    def __init__(self, subjects: Sequence[Subject], synonyms: dict[str, int]) -> None:
        self.subjects = subjects
        self.synonyms: list[list[str]] = [[] for _ in subjects]
        for word, index in synonyms.items():
            self.synonyms[index].append(word)

    def draw(self, scene: Scene, random: Random) -> str:
        if scene.count > 1:
            text = self._counted(scene, random)
        elif scene.other is not None:
            forms = grammar.BESIDE if scene.relation == "beside" else grammar.ABOVE
            text = random.choice(forms).format(self._one(scene.thing, random), self._one(scene.other, random))
        else:
            text = self._single(scene, random)
        if scene.background:
            text = random.choice(grammar.BACKGROUND).format(text, b=colour_word(scene.background, random))
        if scene.style:
            text = random.choice(grammar.STYLED[scene.style]).format(text)
        return random.choice(grammar.LEAD_INS).format(text) if random.random() < LEAD_IN_SHARE else text

    def plain(self, scene: Scene) -> str:
        """The caption of the measurements: first names, the commonest words."""

        def named(thing: Thing) -> str:
            name = self.subjects[thing.subject].names[0]
            return f"{thing.colour} {name}".strip()

        if scene.count > 1:
            text = f"{grammar.COUNTS[scene.count][0]} {grammar.plural(named(scene.thing))}"
        elif scene.other is not None:
            first, second = grammar.one(named(scene.thing)), grammar.one(named(scene.other))
            text = f"{first} {'next to' if scene.relation == 'beside' else 'above'} {second}"
        else:
            text = grammar.one(f"{'small ' if scene.is_small else ''}{named(scene.thing)}")
        if scene.background:
            text = grammar.BACKGROUND[0].format(text, b=scene.background)
        return grammar.STYLED[scene.style][0].format(text) if scene.style else text

    def every_word(self, *, slips: bool = True) -> Iterator[str]:
        """Texts that together hold every piece a drawn caption can hold, those of misspellings if wanted."""
        for index, subject in enumerate(self.subjects):
            for name in (*subject.names, *self.synonyms[index]):
                yield from (name, grammar.plural(name))
                if slips and len(name) >= SHORTEST_SLIP:
                    yield from (slip(name, 0), slip(name, 1))
        for forms in (grammar.LEAD_INS, grammar.COLOURED, grammar.BESIDE, grammar.ABOVE, grammar.BACKGROUND):
            yield from (form.format("a cat", "an owl", c="red", b="red") for form in forms)
        for style in STYLES:
            yield from (form.format("cat") for form in grammar.STYLED[style])
        yield from (word for words in grammar.COUNTS.values() for word in words)
        yield from (*grammar.FILLERS, *grammar.SMALL, *grammar.BIG, *COLOURS, *BACKGROUNDS, "the")
        yield from (word for words in grammar.COLOUR_WORDS.values() for word in words)

    def _name(self, index: int, random: Random, *, also_synonyms: bool) -> str:
        subject = self.subjects[index]
        if also_synonyms and self.synonyms[index] and random.random() < SYNONYM_SHARE:
            return random.choice(self.synonyms[index])
        name = subject.names[0] if random.random() < FIRST_NAME_SHARE else random.choice(subject.names)
        if len(name) >= SHORTEST_SLIP and random.random() < SLIP_SHARE:
            return slip(name, random.randrange(2))
        return name

    def _noun(
        self, thing: Thing, random: Random, *, also_synonyms: bool, adjective: str = "", many: bool = False
    ) -> str:
        name = self._name(thing.subject, random, also_synonyms=also_synonyms)
        name = grammar.plural(name) if many else name
        if thing.colour != OWN:
            name = random.choice(grammar.COLOURED).format(name, c=colour_word(thing.colour, random))
        return f"{adjective} {name}".strip()

    def _one(self, thing: Thing, random: Random) -> str:
        noun = self._noun(thing, random, also_synonyms=True)
        chance = random.random()
        return grammar.one(noun) if chance < 0.75 else f"the {noun}" if chance < 0.8 else noun

    def _counted(self, scene: Scene, random: Random) -> str:
        noun = self._noun(scene.thing, random, also_synonyms=True, many=True)
        return f"{random.choice(grammar.COUNTS[scene.count])} {noun}".strip()

    def _single(self, scene: Scene, random: Random) -> str:
        adjective, chance = "", random.random()
        if scene.is_small:
            adjective = random.choice(grammar.SMALL)
        elif self.subjects[scene.thing.subject].is_thing and chance < BIG_SHARE + FILLER_SHARE:
            adjective = random.choice(grammar.BIG if chance < BIG_SHARE else grammar.FILLERS)
        noun = self._noun(scene.thing, random, also_synonyms=True, adjective=adjective)
        chance = random.random()
        return grammar.one(noun) if chance < ARTICLE_SHARE else f"the {noun}" if chance < ARTICLE_SHARE + 0.05 else noun


def colour_word(colour: str, random: Random) -> str:
    return random.choice(grammar.COLOUR_WORDS.get(colour, (colour,)))


def slip(name: str, which: int) -> str:
    """One of two misspellings of a name."""
    return grammar.misspelled(name, 2 * (number("slip", name) % 50) + which)
