"""Train both stages on the folder that `prepare_emoji.py` writes, and join them to one bundle.

    python plugins/text2image/train_shipped.py --data emoji --out runs/emoji --minutes 60

writes runs/emoji/start, the first steps of the base, runs/emoji/base, which goes on from them,
runs/emoji/upsampler and, when all have come to their end, the bundle runs/emoji/bundle, in float16.
`--resume` continues after a kill, bit for bit, and takes what was trained elsewhere with the same
options from its folder; so the stages may be trained side by side.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import unnoise
from unnoise_text2image.cascade import joined

OPTIONS: Final[dict[str, Any]] = {
    "batch_size": 16,
    "betas": (0.9, 0.99),
    "ema": 0.9995,
    "checkpoint_every": 500,
    "validate_every": 2000,
    "validation_batches": 8,
    "threads": 1,
}
START: Final[dict[str, Any]] = {
    "steps": 4000,
    "learning_rate": 5e-4,
    "warmup": 1000,
    "decay": "none",
}
TIMED: Final[dict[str, Any]] = {"steps": 100_000, "learning_rate": 8e-4, "warmup": 200}
"""The learning rate falls by the clock to 0: `--minutes` ends these runs, long before the steps."""
CARD: Final = {
    "data": "Noto emoji (Debian fonts-noto-color-emoji 2.042) and Twitter emoji (npm"
    " emoji-datasource-twitter 16.0.0), names of PyPI emoji 2.16.0, by prepare_emoji.py",
    "licence": "Noto: OFL-1.1 or Apache-2.0; Twitter: CC-BY-4.0",
    "split": "by name: 6503 pictures for training, 144 for validation, 275 of held-out names and"
    " 625 of held-out compositions never seen; see prepare_emoji.py",
    "quality": "small and trained for little more than an hour of a core: common things are"
    " recognisable, details are not; see the README",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, required=True, help="of the base after its start, of the upsampler"
    )
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()

    def trained(name: str, **own: Any) -> unnoise.Model:
        return unnoise.train(
            "text2image", chosen.data, chosen.out / name, resume=chosen.resume, **own, **OPTIONS
        )

    timed = {**TIMED, "max_minutes": chosen.minutes}
    start = trained("start", stage="base", **START)
    base = trained("base", stage="base", initial=start, **timed)
    upsampler = trained("upsampler", stage="upsampler", **timed)
    command = (
        "python plugins/text2image/train_shipped.py --data emoji --out runs/emoji"
        f" --minutes {chosen.minutes:g}"
    )
    model = joined(base, upsampler)
    model = replace(model, card={**model.card, **CARD, "command": command})
    model.save(chosen.out / "bundle", precision="float16")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


if __name__ == "__main__":
    main()
