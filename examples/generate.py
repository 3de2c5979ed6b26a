"""Generate digits from the model that ships with unnoise-images, and paint into one of them.

    python examples/generate.py [--out runs/generate] [--steps 25]

Writes numbers.png (each digit asked for by its label), guidance.png (the same noise, the label
followed more and more strongly), painting.png (the upper half of a digit, and ways to complete it)
and the folder `sevens` with single pictures and the record of how they were made.
"""

import argparse
from pathlib import Path

from PIL import Image

import unnoise
from unnoise_images.pictures import grid


def save(pictures: list[Image.Image], columns: int, path: Path) -> None:
    sheet = grid(pictures, columns)
    sheet.resize((3 * sheet.width, 3 * sheet.height), Image.Resampling.NEAREST).save(path)


def main(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    # One request, ten labels, three samples of each. A seed and a number fix a sample: the same
    # request tomorrow, or only a part of it, or in other batches, gives the same pictures.
    numbers = unnoise.generate("images", label=list(range(10)), num_samples=3, steps=steps, seed=1)
    by_row = [digit[row] for row in range(3) for digit in numbers.groups()]
    save(by_row, 10, folder / "numbers.png")

    # Guidance: 0 ignores the label, 1 follows it as trained, more exaggerates it.
    rows = []
    for scale in (0.0, 1.0, 4.0):
        out = unnoise.generate(
            "images", label=7, num_samples=8, guidance_scale=scale, steps=steps, seed=2
        )
        rows += out.samples
    save(rows, 8, folder / "guidance.png")
    out.save(folder / "sevens")
    print(f"{len(out.samples)} sevens, {out.provenance['evaluations']} network calls each")

    # Painting: what is black in the mask is kept, what is white is made up.
    known = numbers.groups()[3][0]
    mask = Image.new("L", known.size, 0)
    mask.paste(255, (0, known.height // 2, known.width, known.height))
    out = unnoise.generate("images", image=known, mask=mask, num_samples=7, steps=steps, seed=3)
    kept = Image.composite(Image.new("L", known.size, 96), known, mask)
    save([kept, *out.samples], 8, folder / "painting.png")
    print(f"open {folder / 'numbers.png'}, guidance.png and painting.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/generate"), help="a folder")
    parser.add_argument("--steps", type=int, default=25, help="fewer is faster, more is better")
    arguments = parser.parse_args()
    main(arguments.out, arguments.steps)
