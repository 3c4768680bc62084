"""What people might type for a picture: its label or a tag, with or without article, lead-in and style word."""

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
STYLES = ("{}", "{}", "{}", "{}, {style} style", "{}, {style}", "{style} {}", "{} in {style} style")


def plain_caption(subject: Subject, *, with_style: bool = False) -> str:
    """The template of the measurements."""
    return f"{subject.label}, {subject.style} style" if with_style else subject.label


class Captioner:
    """Draws captions for subjects; knows which tags are telling."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.styles = [subject.style for subject in subjects]
        uses = Counter(tag for _, tag in {(s.hexcode, tag) for s in subjects for tag in s.tags})
        self.tags = [[t for t in subject.tags if uses[t] <= COMMON_TAG] for subject in subjects]
        self.labels = [subject.label for subject in subjects]

    def draw(self, index: int, random: Random) -> str:
        tags = self.tags[index]
        by_label = not tags or random.random() < LABEL_SHARE
        name = self.labels[index] if by_label else random.choice(tags)
        return compose(name, random.choice(LEAD_INS), random.choice(STYLES), self.styles[index])

    def every_word(self) -> Iterator[str]:
        """Texts that together hold every piece a drawn caption can hold."""
        for tags, label in zip(self.tags, self.labels, strict=True):
            yield from (label, *tags)
        for lead_in in LEAD_INS:
            for template in STYLES:
                for style in sorted(set(self.styles)):
                    yield from (compose(name, lead_in, template, style) for name in ("apple", "pear"))


def compose(name: str, lead_in: str, template: str, style: str) -> str:
    article = "an" if name[0] in "aeiou" else "a"
    return template.format(lead_in.format(name, a=article), style=style)
