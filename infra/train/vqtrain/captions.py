"""
What people might type for a picture: its label or a tag, with or without article, lead-in and style word. Without a style
word the default style is meant: with two pictures for one text, the tokens that a step draws at once would be of both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from .prepare import Subject

LABEL_SHARE = 0.65
"""The rest of the captions name a subject by one of its tags."""
COMMON_TAG = 4
"""Tags of more subjects than this ("face", "animal") say too little to be a caption."""
LEAD_INS = ("{}", "{}", "{}", "{}", "{a} {}", "{a} {}", "the {}", "a picture of {a} {}", "an emoji of {a} {}",
            "{a} {} emoji", "a drawing of {a} {}")  # fmt: skip
WITH_STYLE = ("{}, {style} style", "{}, {style}", "{style} {}", "{} in {style} style")
OF_DEFAULT_STYLE = ("{}", "{}", "{}", *WITH_STYLE)


def with_style(subject: Subject) -> str:
    return f"{subject.label}, {subject.style} style"


class Captioner:
    """Draws captions for subjects; knows which tags are telling, and which style needs no word."""

    def __init__(self, subjects: Sequence[Subject], default_style: str) -> None:
        self.subjects, self.default_style = subjects, default_style
        uses = Counter(tag for _, tag in {(s.hexcode, tag) for s in subjects for tag in s.tags})
        self.tags = [[t for t in subject.tags if uses[t] <= COMMON_TAG] for subject in subjects]

    def draw(self, index: int, random: Random) -> str:
        subject, tags = self.subjects[index], self.tags[index]
        by_label = not tags or random.random() < LABEL_SHARE
        name = subject.label if by_label else random.choice(tags)
        templates = OF_DEFAULT_STYLE if subject.style == self.default_style else WITH_STYLE
        return compose(name, random.choice(LEAD_INS), random.choice(templates), subject.style)

    def plain(self, index: int) -> str:
        """The caption of the measurements."""
        subject = self.subjects[index]
        return subject.label if subject.style == self.default_style else with_style(subject)

    def every_word(self) -> Iterator[str]:
        """Texts that together hold every piece a drawn caption can hold."""
        for subject, tags in zip(self.subjects, self.tags, strict=True):
            yield from (subject.label, *tags)
        for lead_in in LEAD_INS:
            for template in OF_DEFAULT_STYLE:
                for style in sorted({subject.style for subject in self.subjects}):
                    yield from (compose(name, lead_in, template, style) for name in ("apple", "pear"))


def article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def compose(name: str, lead_in: str, template: str, style: str) -> str:
    return template.format(lead_in.format(name, a=article(name)), style=style)
