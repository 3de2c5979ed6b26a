"""The sound files that the shipped model is trained on, from two Debian packages.

    apt-get download festvox-ru asterisk-core-sounds-en-g722
    dpkg -x festvox-ru_*.deb ru && dpkg -x asterisk-core-sounds-en-g722_*.deb en
    python plugins/audio/prepare_speech.py --ru ru --en en --out speech

makes speech/train (of which `held_out` is the validation part) and speech/test, one folder for each
voice, as 16-bit flac at 16 kHz. The test part is every file with crc32(name) mod 20 = 1. G.722 is
decoded by PyAV (`pip install av`).
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile

NO_SPEECH = re.compile(r"silence|beep|confbridge-join|confbridge-leave|tt-monkeys")
RATE = 16_000


def russian(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The sentences of festvox-ru."""
    for path in sorted(root.rglob("wav/*.wav")):
        samples, rate = soundfile.read(path, dtype="int16")
        if rate != RATE or samples.ndim != 1:
            raise ValueError(f"{path}: {rate} Hz, {samples.ndim} axes")
        yield path.stem, samples


def english(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The prompts of asterisk-core-sounds-en."""
    for path in sorted(root.rglob("*.g722")):
        if NO_SPEECH.search(str(path)):
            continue
        with av.open(str(path), format="g722") as container:
            frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        name = "-".join(path.with_suffix("").parts[-2:]).replace("en_US_f_Allison-", "")
        yield name, np.concatenate(frames).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("ru", "en", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    chosen = parser.parse_args()
    for voice, found in (("ru", russian(chosen.ru)), ("en", english(chosen.en))):
        for name, samples in found:
            test = zlib.crc32(f"{voice}-{name}".encode()) % 20 == 1
            folder = chosen.out / ("test" if test else "train") / voice
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
