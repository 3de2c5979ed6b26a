"""Train both stages on the folder that `prepare_emoji.py` writes, and join them to one bundle.

    python plugins/text2image/train_shipped.py --data emoji --out runs/emoji --minutes 480

writes runs/emoji/base, runs/emoji/upsampler and, when both have come to their end, the bundle
runs/emoji/bundle, in float16. `--resume` continues after a kill, bit for bit, and takes a stage
that was trained elsewhere with the same options from its folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import unnoise
from unnoise_text2image.cascade import joined

SHARES: Final = {"base": 0.7, "upsampler": 0.3}
"""Of the minutes."""
OPTIONS: Final[dict[str, Any]] = {
    "steps": 100_000,
    "batch_size": 16,
    "learning_rate": 5e-4,
    "betas": (0.9, 0.99),
    "warmup": 1000,
    "ema": 0.9995,
    "checkpoint_every": 500,
    "validate_every": 2000,
    "validation_batches": 8,
    "samples_every": 2000,
    "threads": 1,
}
CARD: Final = {
    "data": "Noto emoji (Debian fonts-noto-color-emoji) and Twitter emoji (npm"
    " emoji-datasource-twitter 16.0.0), names of PyPI emoji 2.16.0, by prepare_emoji.py",
    "licence": "Noto: OFL-1.1 or Apache-2.0; Twitter: CC-BY-4.0",
    "split": "by name: train, validation, names, compositions; see prepare_emoji.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of both stages together")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    base, upsampler = (
        unnoise.train(
            "text2image",
            chosen.data,
            chosen.out / stage,
            stage=stage,
            max_minutes=chosen.minutes * share,
            resume=chosen.resume,
            **OPTIONS,
        )
        for stage, share in SHARES.items()
    )
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
