"""Train the model that ships with the plugin: 90 minutes of one core, 16,347 steps, in two parts,
each to the end of its fall of the learning rate.

    python plugins/audio/train_shipped.py --data speech/train --out runs/speech --minutes 42
    python plugins/audio/train_shipped.py --data speech/train --out runs/speech --minutes 90 \\
        --resume

`--data` is made by prepare_speech.py, from two Debian packages.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import unnoise

OPTIONS: Final[dict[str, Any]] = {
    "crop": 80,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "betas": (0.9, 0.99),
    "ema": 0.999,
    "bound_samples": 0,
    "validate_every": 2000,
    "checkpoint_every": 500,
    "threads": 1,
}
CARD: Final = {
    "data": "two voices at 16 kHz: 596 Russian sentences of one man (Debian festvox-ru 0.5) and 520"
    " English prompts of one woman (Debian asterisk-core-sounds-en-g722 1.6.1), 119 minutes in all",
    "licence": "data BSD-like (festvox-ru) and CC-BY-SA-3.0 (asterisk-core-sounds-en);"
    " weights CC-BY-SA-3.0",
    "split": "by file: crc32 of the name mod 20 = 1 is the test part; of the rest 5 % by crc32 are"
    " the validation part",
    "command": "python plugins/audio/train_shipped.py --data speech/train --out runs/speech"
    " --minutes 42; again with --minutes 90 --resume",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--minutes", type=float, default=None, help="the run's time at most")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    more: dict[str, Any] = {} if chosen.minutes is None else {"max_minutes": chosen.minutes}
    model = unnoise.train(
        "audio",
        chosen.data,
        chosen.out,
        steps=chosen.steps,
        resume=chosen.resume,
        **more,
        **OPTIONS,
    )
    model = replace(model, card={**model.card, **CARD})
    model.save(chosen.out / "bundle")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


if __name__ == "__main__":
    main()
