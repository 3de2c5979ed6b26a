"""Draw twenty prompts, one picture each of seed 0, none chosen by its looks, as one sheet.

    python plugins/text2image/draw_prompts.py --data emoji --out plugins/text2image/docs/prompts.png

Five are common words. The others are names of the folder that `prepare_emoji.py` writes, five each
of what was trained on, of held-out names and of held-out compositions, evenly spaced in the order
of its table. Held-out prompts are framed and marked with a star.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

import unnoise

COMMON: Final = ("red apple", "red heart", "cat face", "flag of France", "grinning face")
SPLITS: Final = ("train", "names", "compositions")
EACH: Final = 5
CELL, PICTURE, GAP = 132, 128, 34


def prompts(data: Path) -> list[tuple[str, bool]]:
    """What is drawn, and whether it was held out."""
    rows = [json.loads(line) for line in (data / "captions.jsonl").read_text("utf-8").splitlines()]
    found = [(name, False) for name in COMMON]
    for split in SPLITS:
        names = list(dict.fromkeys(row["captions"][0] for row in rows if row["split"] == split))
        found += [(names[k * len(names) // EACH], split != "train") for k in range(EACH)]
    return found


def sheet(pictures: list[Image.Image], asked: list[tuple[str, bool]]) -> Image.Image:
    """The pictures with their prompts, a kind in each row."""
    paper = Image.new("RGB", (EACH * CELL, len(asked) // EACH * (CELL + GAP)), "white")
    pen = ImageDraw.Draw(paper)
    for k, (picture, (prompt, held_out)) in enumerate(zip(pictures, asked, strict=True)):
        x, y = k % EACH * CELL, k // EACH * (CELL + GAP)
        if held_out:
            pen.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline="crimson", width=2)
        shown = picture.resize((PICTURE, PICTURE), Image.Resampling.NEAREST)
        paper.paste(shown, (x + (CELL - PICTURE) // 2, y + (CELL - PICTURE) // 2))
        words = "\n".join(textwrap.wrap(f"{'* ' if held_out else ''}{prompt}", 21)[:3])
        pen.multiline_text((x + 2, y + CELL), words, "crimson" if held_out else "black", spacing=0)
    return paper


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", help="another one than that of the package")
    chosen = parser.parse_args()
    asked = prompts(chosen.data)
    out = unnoise.generate(
        "text2image", model=chosen.model, prompt=[prompt for prompt, _ in asked], num_samples=1
    )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(out.samples, asked).save(chosen.out)


if __name__ == "__main__":
    main()
