"""Train on a folder of pictures of your own, then generate from what was learnt.

    python examples/train_own_folder.py [FOLDER] [--out runs/own] [--steps 400]

FOLDER holds one folder per class, `FOLDER/cat/*.png`. Without one, two hundred small discs and
squares are drawn, on which 400 steps take about a minute. On pictures of your own give more steps:
`unnoise train images --help` lists everything that can be chosen.
"""

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

import unnoise
from unnoise_images.pictures import grid

SIDE = 16


def draw(folder: Path, count: int = 100) -> Path:
    """`count` discs and `count` squares of random size, place and shade."""
    place = random.Random(0)
    for name in ("disc", "square"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.new("L", (SIDE, SIDE), 0)
            r, shade = place.uniform(3, 6), place.randrange(160, 256)
            x, y = place.uniform(r, SIDE - 1 - r), place.uniform(r, SIDE - 1 - r)
            pen = ImageDraw.Draw(picture)
            shape = pen.ellipse if name == "disc" else pen.rectangle
            shape((x - r, y - r, x + r, y + r), fill=shade)
            picture.save(folder / name / f"{number:03}.png")
    return folder


def main(folder: Path | None, out: Path, steps: int) -> None:
    unnoise.train(
        "images",
        data=folder or draw(out / "pictures"),
        out=out / "run",
        steps=steps,
        batch_size=32,
        learning_rate=2e-3,
        warmup=20,
        ema=0.99,
        widths=(16, 32),  # the network: channels at each resolution, and
        blocks=(1, 1),  # residual blocks there
        resume=True,  # a second call with more steps goes on where the first one stopped
    )
    # The folder of the run is a bundle: this would work in another process too.
    model = unnoise.load(out / "run")
    names = model.configuration.classes
    made = model.generate(label=list(range(len(names))), num_samples=8, steps=50)
    grid(made.samples, columns=8).save(out / "samples.png")
    print(f"rows of {out / 'samples.png'}: {', '.join(names)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="FOLDER/CLASS/*.png")
    parser.add_argument("--out", type=Path, default=Path("runs/own"), help="a folder")
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.out, arguments.steps)
