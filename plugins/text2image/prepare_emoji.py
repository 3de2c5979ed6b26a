"""Write named emoji of two sets as a folder of 64 x 64 pictures with captions, split four ways.

    npm pack emoji-datasource-twitter@16.0.0
    apt-get download fonts-noto-color-emoji && dpkg-deb -x fonts-noto-color-emoji_*.deb noto
    pip download --no-deps emoji==2.16.0
    python plugins/text2image/prepare_emoji.py emoji-datasource-twitter-16.0.0.tgz \\
        noto/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf emoji-2.16.0-py3-none-any.whl emoji

makes `emoji/noto/*.png`, `emoji/twitter/*.png`, on white, and `emoji/captions.jsonl`, of which a
line has `path`, `captions` (the name first), `split` and `name`, the name without a skin tone. It
needs fontTools. Splits are functions of names alone, and a name is in one split for both sets:

    train
    validation      1 name in 50, all its skin tones
    names           1 name in 25, all its skin tones: things that are never seen
    compositions    a whole whose parts are seen: "woman firefighter" where "man firefighter" and
                    other women are, a skin tone of some person, a flag whose words are all seen

Held-out pictures that look like one of the training set (the flag of Norway is that of Svalbard)
are in no split; they are counted. Compositions with a skin tone stay, since all tones are alike.
The Noto pictures are Apache-2.0 or OFL-1.1, those of Twitter CC-BY-4.0.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image

SIDE = 64
ALIKE = 4.0
"""Mean difference of levels, at 16 x 16, below which two pictures are one."""
TONE = re.compile(r"\b(medium-light|medium-dark|light|medium|dark) skin tone\b")
HELD_OUT = ("validation", "names", "compositions")
Glyphs = tuple[str, ...]


@dataclass(frozen=True)
class Named:
    """An emoji: its code points without variation selectors, its name and other names."""

    points: tuple[int, ...]
    name: str
    synonyms: tuple[str, ...]

    @property
    def base(self) -> str:
        """The name without a skin tone."""
        return re.sub(r"\s+", " ", TONE.sub("", self.name)).strip(" ,")

    @property
    def tone(self) -> str:
        return ", ".join(m[0] for m in TONE.finditer(self.name))

    @property
    def stem(self) -> str:
        return "-".join(f"{point:x}" for point in self.points)


def words(text: str) -> str:
    """`:red_apple:` as `red apple`."""
    return re.sub(r"\s+", " ", text.strip(":").replace("_", " ").replace("’", "'")).strip()


def names(wheel: Path) -> dict[tuple[int, ...], Named]:
    """The emoji that the package `emoji` names in English."""
    sys.path.insert(0, str(wheel))
    import emoji

    found: dict[tuple[int, ...], Named] = {}
    for text, entry in emoji.EMOJI_DATA.items():
        points = plain(ord(c) for c in text)
        name = words(entry["en"])
        if len(points) == 2 and all(0x1F1E6 <= point <= 0x1F1FF for point in points):
            name = f"flag of {name}"
        synonyms = tuple(words(alias) for alias in entry.get("alias", ()))
        found.setdefault(points, Named(points, name, synonyms))
    return found


def plain(points: Any) -> tuple[int, ...]:
    return tuple(point for point in points if point != 0xFE0F)


def twitter(archive: Path) -> Iterator[tuple[tuple[int, ...], Image.Image, str, tuple[str, ...]]]:
    """Code points, picture, category and short names of the npm package."""
    with tarfile.open(archive) as package:
        files = {member.name: member for member in package.getmembers()}

        def content(name: str) -> bytes:
            member = package.extractfile(files[name])
            assert member is not None
            return member.read()

        for entry in json.loads(content("package/emoji.json")):
            short = tuple(words(name) for name in entry["short_names"])
            kinds = [entry, *entry.get("skin_variations", {}).values()]
            for kind in kinds:
                place = f"package/img/twitter/64/{kind['image']}"
                if place in files:
                    picture = Image.open(io.BytesIO(content(place)))
                    points = plain(int(part, 16) for part in kind["unified"].split("-"))
                    category = entry["subcategory"].replace("-", " ")
                    yield points, picture, category, short if kind is entry else ()


def ligatures(font: TTFont) -> dict[Glyphs, str]:
    """What sequences of glyphs become, after the font's substitution table."""
    found: dict[Glyphs, str] = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, sets in getattr(table, "ligatures", {}).items():
                for one in sets:
                    found.setdefault((first, *one.Component), one.LigGlyph)
    return found


def noto(font_file: Path, wanted: Mapping[tuple[int, ...], Named]) -> Iterator[tuple[Any, Any]]:
    """Code points and picture of what the font has one glyph for."""
    font = TTFont(font_file)
    glyphs, joined = font.getBestCmap(), ligatures(font)
    bitmaps = font["CBDT"].strikeData[0]
    for points in wanted:
        row = tuple(glyphs.get(point, "") for point in points)
        if "" in row:
            continue
        name = row[0] if len(row) == 1 else joined.get(row, "")
        if name in bitmaps and getattr(bitmaps[name], "imageData", b""):
            yield points, Image.open(io.BytesIO(bitmaps[name].imageData))


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, square, `SIDE` pixels wide."""
    shown = picture.convert("RGBA")
    side = max(shown.size)
    sheet = Image.new("RGBA", (side, side), "white")
    sheet.alpha_composite(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    return sheet.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def one_in(count: int, *key: str) -> bool:
    """Whether a name is among those that one in `count` is."""
    digest = hashlib.sha256("\n".join(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == 0


def splits(found: Mapping[tuple[int, ...], Named]) -> dict[tuple[int, ...], str]:
    """The split of each emoji."""
    bases = {one.base for one in found.values()}
    tones = Counter(one.base for one in found.values() if one.tone)
    chosen = {}
    for points, one in found.items():
        gender = re.match(r"(wo)?man (.+)", one.base)
        partner = gender and f"{'man' if gender[1] else 'woman'} {gender[2]}"
        if one_in(25, "names", one.base):
            chosen[points] = "names"
        elif one_in(50, "validation", one.base):
            chosen[points] = "validation"
        elif (partner in bases and not _elsewhere(partner) and one_in(6, "whole", one.base)) or (
            one.tone and tones[one.base] > 2 and one_in(12, "tone", one.name)
        ):
            chosen[points] = "compositions"
        else:
            chosen[points] = "train"
    seen = Counter(
        word
        for points, one in found.items()
        if chosen[points] == "train"
        for word in set(one.base.lower().split())
    )
    for points, one in found.items():
        parts = one.base.lower().split()
        flag = one.base.startswith("flag of ") and all(seen[word] > 1 for word in parts)
        if chosen[points] == "train" and flag and one_in(2, "flag", one.base):
            chosen[points] = "compositions"
    return chosen


def _elsewhere(base: str) -> bool:
    """Whether a name is held out itself, so that it is no part that is seen."""
    return one_in(25, "names", base) or one_in(50, "validation", base) or one_in(6, "whole", base)


def captions(one: Named, short: tuple[str, ...], category: str, style: str) -> list[str]:
    """The name, other names, and the name with its kind and its set."""
    tone = f", {one.tone}" if one.tone else ""
    others = [name if one.tone in name else f"{name}{tone}" for name in (*one.synonyms, *short)]
    kinds = [f"{one.name}, {category}"] if category else []
    listed = [one.name, *others, *kinds, f"{one.name}, {style} emoji"]
    return list(dict.fromkeys(re.sub(r"\s+", " ", text) for text in listed))


@dataclass(frozen=True)
class Row:
    style: str
    one: Named
    picture: Image.Image
    captions: list[str]
    split: str

    @property
    def small(self) -> np.ndarray:
        return np.asarray(self.picture.resize((16, 16), Image.Resampling.BOX), dtype=np.float32)


def rows_of(archive: Path, font: Path, wheel: Path) -> list[Row]:
    """All pictures that have a name."""
    known = names(wheel)
    package = list(twitter(archive))
    kinds = {points: (category, short) for points, _, category, short in package}
    drawn = [("twitter", points, picture) for points, picture, _, _ in package]
    drawn += [("noto", points, picture) for points, picture in noto(font, known)]
    there = {points: known[points] for _, points, _ in drawn if points in known}
    split = splits(there)
    return [
        Row(
            style,
            one,
            on_white(picture),
            captions(one, *reversed(kinds.get(points, ("", ()))), style),
            split[points],
        )
        for style, points, picture in drawn
        if (one := there.get(points)) is not None
    ]


def without_doubles(rows: list[Row]) -> tuple[list[Row], Counter[str]]:
    """The rows without held-out pictures that look like one of the training set, of the same set or
    the other, and how many there were."""
    small = [row.small for row in rows if row.split == "train"]
    train = np.stack(small).reshape(len(small), -1)
    left, gone = [], Counter[str]()
    for row in rows:
        if row.split != "train":
            nearest = np.abs(train - row.small.reshape(1, -1)).mean(1).min()
            neighbour = row.split == "compositions" and bool(row.one.tone)
            if nearest < ALIKE and not neighbour:
                gone[row.split] += 1
                continue
        left.append(row)
    return left, gone


def report(rows: list[Row], gone: Counter[str]) -> Iterator[str]:
    """Sizes, and what says that nothing has leaked."""
    counts = Counter((row.split, row.style) for row in rows)
    train = {row.one.name for row in rows if row.split == "train"}
    bases = {row.one.base for row in rows if row.split == "train"}
    seen = {word for name in train for word in re.findall(r"[\w'-]+", name.lower())}
    for split in ("train", *HELD_OUT):
        own = [row for row in rows if row.split == split]
        number = len({row.one.name for row in own})
        sets = f"{counts[split, 'noto']} noto, {counts[split, 'twitter']} twitter"
        yield f"{split}: {sets}, {number} names"
        if split == "train":
            continue
        both = len({row.one.name for row in own} & train)
        shared = len({row.one.base for row in own} & bases)
        unseen = {w for row in own for w in re.findall(r"[\w'-]+", row.one.name.lower())} - seen
        yield f"  names that are also in train: {both}; without skin tones: {shared}"
        yield f"  words that are in no name of train: {len(unseen)}"
        yield f"  left out, since they look like a picture of train: {gone[split]}"


def prepare(archive: Path, font: Path, wheel: Path, target: Path) -> Iterator[str]:
    """Write the folder `target`, which must not exist; yields what there is to say of it."""
    target.mkdir(parents=True)
    rows, gone = without_doubles(rows_of(archive, font, wheel))
    with open(target / "captions.jsonl", "w", encoding="utf-8") as table:
        for row in sorted(rows, key=lambda row: (row.style, row.one.points)):
            path = target / row.style / f"{row.one.stem}.png"
            path.parent.mkdir(exist_ok=True)
            row.picture.save(path)
            line = {
                "path": f"{row.style}/{path.name}",
                "captions": row.captions,
                "split": row.split,
                "name": row.one.base,
            }
            table.write(json.dumps(line, ensure_ascii=False) + "\n")
    yield from report(rows, gone)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    for said in prepare(*map(Path, sys.argv[1:])):
        sys.stdout.write(said + "\n")
