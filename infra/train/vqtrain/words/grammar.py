"""How people word a scene: articles, plurals, lead-ins, relations, backgrounds, styles."""

from __future__ import annotations

LEAD_INS = (
    "a picture of {}", "a drawing of {}", "an image of {}", "draw {}", "draw me {}", "please draw {}", "please draw me {}",
    "can you draw {}", "could you draw me {} please", "i want {}", "i would like {}", "show me {}", "make {}", "paint {}",
    "{} please", "{} icon", "{} emoji", "an icon of {}", "an emoji of {}", "just {}", "there is {}", "this is {}",
)  # fmt: skip
FILLERS = (
    "cute",
    "nice",
    "beautiful",
    "pretty",
    "funny",
    "lovely",
    "sweet",
    "simple",
    "happy",
    "cool",
    "old",
    "new",
    "little old",
)
"""Adjectives that change nothing."""
SMALL = ("small", "tiny", "little", "mini")
BIG = ("big", "large", "huge", "giant")
COUNTS = {
    2: ("two", "2", "a couple of", "a pair of"),
    3: ("three", "three", "3", ""),
    4: ("four", "4"),
    5: ("five", "5"),
}
"""A bare plural is three."""
COLOUR_WORDS = {
    "grey": ("grey", "gray"),
    "purple": ("purple", "purple", "violet"),
    "yellow": ("yellow", "yellow", "golden"),
}
"""Other words for a colour; the colour's own where there are none."""
COLOURED = ("{c} {}", "{c} {}", "{c} {}", "{c} {}", "{c} {}", "{c} coloured {}", "{} in {c}", "{} that is {c}")
BESIDE = (
    "{0} and {1}", "{0} and {1}", "{0} and {1}", "{0} next to {1}", "{0} beside {1}", "{0} with {1}", "{0}, {1}",
    "{0} to the left of {1}", "{0} left of {1}", "{1} to the right of {0}", "{1} right of {0}",
    "{0} on the left and {1} on the right", "{1} on the right and {0} on the left",
)  # fmt: skip
ABOVE = (
    "{0} above {1}", "{0} above {1}", "{0} on {1}", "{0} on top of {1}", "{0} over {1}",
    "{1} below {0}", "{1} under {0}", "{1} beneath {0}", "{0} at the top and {1} at the bottom",
)  # fmt: skip
BACKGROUND = (
    "{} on a {b} background", "{} on a {b} background", "{} on {b} background", "{}, {b} background", "{} with a {b} background",
    "{} on {b}", "{} in front of a {b} background", "{b} background with {}",
)  # fmt: skip
STYLED = {
    "silhouette": ("silhouette of {}", "{} silhouette", "{}, silhouette", "{} as a silhouette", "shadow of {}"),
    "outline": (
        "outline of {}",
        "{} outline",
        "line drawing of {}",
        "{}, line art",
        "coloring page of {}",
        "sketch of {}",
    ),
    "grey": (
        "{} in black and white",
        "{} in greyscale",
        "{}, black and white",
        "black and white picture of {}",
        "grayscale {}",
    ),
    "pixel": ("pixel art of {}", "pixel art {}", "{}, pixel art", "pixelated {}", "{} in pixel style", "8 bit {}"),
}
IRREGULAR = {
    "man": "men", "woman": "women", "mouse": "mice", "goose": "geese", "foot": "feet", "tooth": "teeth", "child": "children",
    "person": "people", "ox": "oxen", "knife": "knives", "leaf": "leaves", "wolf": "wolves", "scarf": "scarves", "loaf": "loaves",
    "elf": "elves", "thief": "thieves", "shelf": "shelves", "fireman": "firemen", "snowman": "snowmen", "policeman": "policemen",
    "octopus": "octopuses", "cactus": "cacti", "die": "dice", "baby": "babies", "kimono": "kimonos", "piano": "pianos",
    "t-rex": "t-rexes", "dodo": "dodos", "kangaroo": "kangaroos", "radio": "radios", "flamingo": "flamingos", "avocado": "avocados",
    "taco": "tacos", "burrito": "burritos", "banjo": "banjos", "yo-yo": "yo-yos", "ufo": "ufos", "kiwi": "kiwis", "photo": "photos",
}  # fmt: skip
SAME = ("fish", "sheep", "deer", "shrimp", "squid", "salmon", "trout", "bison", "moose", "dice", "series")
"""Words whose plural is the word."""
ALREADY = (
    "glasses", "scissors", "jeans", "pants", "trousers", "shorts", "chopsticks", "fries", "binoculars", "headphones",
    "socks", "gloves", "skis", "bagpipes", "nails", "earrings", "slippers", "sunglasses", "grapes", "peanuts",
)  # fmt: skip
"""Plurals already, and no article before them."""


def article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def one(name: str) -> str:
    """A name with its article, where it takes one."""
    return name if name.split()[-1] in ALREADY else f"{article(name)} {name}"


def plural(name: str) -> str:
    """`slice of cake` to `slices of cake`, `red wolf` to `red wolves`."""
    head, of, rest = name.partition(" of ")
    *before, noun = head.split(" ")
    return " ".join([*before, _plural_of_word(noun)]) + of + rest


def _plural_of_word(noun: str) -> str:
    if noun in SAME or noun in ALREADY:
        return noun
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "sh", "ch", "x", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("o") and noun[-2:-1] not in "aeiou":
        return noun + "es"
    return noun + "s"


def misspelled(name: str, which: int) -> str:
    """A slip of the fingers, the same for the same `which`: two letters swapped, or one left out."""
    at = 1 + which // 2 % max(len(name) - 2, 1)
    swapped = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
    return swapped if which % 2 else name[:at] + name[at + 1 :]
