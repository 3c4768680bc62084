"""The subjects: what each is called, where its image comes from, and how often it is shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..config import EMOJI_LABELS, FLAT, GAME_ICONS, NOTO, DataConfig
from .icons import IconSet, fetch, plain
from .recolour import COLOURS

WORDS = Path(__file__).resolve().parents[2] / "words"
EVERYDAY, OTHER = 1.0, 0.35
"""Weights of the subjects that words/ lists, and of those that only an emoji set has."""
LEFT_OUT_GROUPS = ("flags", "component")
LEFT_OUT = re.compile(
    r"facing right|-thirty$|o’clock$|^Japanese “|^family:|^kiss:|^couple with heart:|^keycap: [#*]"
    r"|^(orange|yellow|green|blue|purple|brown|black|white) (circle|square)|(medium|small|large) (square|diamond)|medium-small"
    r"|^(pink|orange|yellow|green|blue|light blue|purple|brown|black|grey|white) heart$|^(green|blue|orange) book$"
    r"|square button|hands?,? .*holding hands|^(wo)?m[ae]n (holding hands|and man)|gesturing|^oncoming |^heart suit$"
)
"""Labels of images that others show as well, in another colour or direction; subjects that words/ lists stay."""
TWINS = ("person-gesture", "person-activity", "person-sport", "person-fantasy", "person-role")
"""Subgroups where a person's, a man's and a woman's image differ little."""
THINGS = ("animals-nature/", "food-drink/", "travel-places/transport", "travel-places/place-building", "travel-places/hotel",
          "activities/", "objects/", "people-body/person-role", "people-body/person-fantasy", "people-body/body-parts")  # fmt: skip
"""Groups whose subjects have names that can be counted."""
GAME_ICON_COLOUR = "#3a3a3a"


@dataclass(frozen=True)
class Subject:
    """Something that can be asked for. `names[0]` is the one used first; a name belongs to one subject alone."""

    key: str
    """The code point of an emoji, or `game:` and the icon's name; hashes of what is held out begin with it."""
    names: tuple[str, ...]
    tags: tuple[str, ...]
    """emojibase's, weaker than names: several subjects may share one."""
    group: str
    """emojibase's group and subgroup, `animals-nature/animal-bird`."""
    source: str
    """FLAT, NOTO or GAME_ICONS."""
    has_colours: bool
    weight: float

    @property
    def is_everyday(self) -> bool:
        return self.weight == EVERYDAY

    @property
    def is_thing(self) -> bool:
        """Can be counted, and stand beside another."""
        return self.is_everyday and (self.has_colours or self.group.startswith(THINGS))


def choose(config: DataConfig, data: Path) -> tuple[list[Subject], list[str]]:
    """All subjects and their SVG texts, everyday ones first; fetches what it needs below `data`."""
    emoji, game = _emoji(data), _game_icons(data)
    taken = {name for subject, _ in [*emoji, *game] if subject.is_everyday for name in subject.names}
    rows = sorted(
        ((s, svg) for s, svg in [*emoji, *game] if s.is_everyday or not taken & set(s.names)),
        key=lambda row: -row[0].weight,
    )
    if config.max_subjects:
        rows = rows[:: len(rows) // config.max_subjects][: config.max_subjects]
    return [s for s, _ in rows], [svg for _, svg in rows]


def listed(path: Path) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Of a file in words/: names and whether there is a star, by label."""
    entries = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            label, _, names = line.partition("=")
            star = label.strip().endswith("*")
            label = label.strip().removesuffix("*").strip()
            entries[label] = (tuple(n.strip().lower() for n in names.split(",")) if names else (label.lower(),), star)
    return entries


def core_names() -> list[frozenset[str]]:
    """The names that words/core.txt lists, by paragraph."""
    text = (WORDS / "core.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [frozenset(" ".join(paragraph.split()).split(", ")) for paragraph in "\n".join(lines).split("\n\n")]


def _emoji(data: Path) -> list[tuple[Subject, str]]:
    sets = {FLAT: IconSet(fetch(FLAT, data)), NOTO: IconSet(fetch(NOTO, data))}
    labels = fetch(EMOJI_LABELS, data)
    groups = json.loads((labels / "meta" / "groups.json").read_text())
    everyday = listed(WORDS / "subjects.txt")
    rows = []
    entries = json.loads((labels / "en" / "data.json").read_text())
    known = {entry["label"] for entry in entries}
    if unknown := everyday.keys() - known:
        raise SystemExit(f"words/subjects.txt: {EMOJI_LABELS} has no {min(unknown)}")
    for entry in entries:
        code, label = plain(entry["hexcode"]), entry["label"]
        group = groups["groups"].get(str(entry.get("group")), "flags")
        source = next((name for name, icons in sets.items() if code in icons.name_of), None)
        if group in LEFT_OUT_GROUPS or source is None:
            continue
        subgroup = groups["subgroups"][str(entry["subgroup"])]
        names, star = everyday.get(label, ((spoken(label),), False))
        if star:
            names = tuple(name for name in names if name.split()[0] not in COLOURS) or names
        if label not in everyday and (LEFT_OUT.search(label) or is_twin(label, subgroup, known)):
            continue
        tags = tuple(tag.lower() for tag in entry.get("tags", []))
        weight = EVERYDAY if label in everyday else OTHER
        subject = Subject(code, names, tags, f"{group}/{subgroup}", source, star and source == FLAT, weight)
        rows.append((subject, sets[source].svg(sets[source].name_of[code])))
    return rows


def _game_icons(data: Path) -> list[tuple[Subject, str]]:
    icons = IconSet(fetch(GAME_ICONS, data))
    rows = []
    for icon, (names, _) in listed(WORDS / "game-icons.txt").items():
        if icon not in icons:
            raise SystemExit(f"words/game-icons.txt: {GAME_ICONS} has no {icon}")
        subject = Subject(f"game:{icon}", names, (), "game-icons/", GAME_ICONS, True, EVERYDAY)
        rows.append((subject, icons.svg(icon).replace("currentColor", GAME_ICON_COLOUR)))
    return rows


def is_twin(label: str, subgroup: str, known: set[str]) -> bool:
    """A man's or woman's image beside the same one of a person."""
    role = re.sub(r"^(wo)?m[ae]n ", "", label)
    return subgroup in TWINS and role != label and bool({role, f"person {role}", f"people {role}"} & known)


def spoken(label: str) -> str:
    """A label as a person would type it: no marks, lower case."""
    return re.sub(r"\s+", " ", re.sub(r"[:“”()]", " ", label)).strip().lower()
