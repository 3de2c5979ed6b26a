"""Train both stages on the folder that `prepare_emoji.py` writes, and join them to one bundle.

    python plugins/text2image/train_shipped.py --data emoji --out runs/emoji --minutes 70 60

writes the base in three runs, runs/emoji/base-start, base and base-end, and the upsampler in two,
runs/emoji/upsampler-start and upsampler, each run going on from the one before, and then the bundle
runs/emoji/bundle, in float16. `--resume` continues after a kill, bit for bit, and takes what was
trained elsewhere with the same options from its folder; so the stages may be trained side by side.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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
STEADY: Final[dict[str, Any]] = {
    "steps": 4000,
    "learning_rate": 5e-4,
    "warmup": 1000,
    "decay": "none",
}
TIMED: Final[dict[str, Any]] = {"steps": 100_000, "learning_rate": 8e-4, "warmup": 200}
"""The learning rate falls by the clock to 0: the minutes end these runs, long before the steps."""
LAST: Final[dict[str, Any]] = {"steps": 2600, "learning_rate": 6e-4, "warmup": 30, "ema": 0.998}
"""To the end of the fall of its learning rate, which the clock cut short in the run before."""
AGAIN: Final[dict[str, Any]] = {**TIMED, "learning_rate": 1e-3, "warmup": 50, "ema": 0.995}
GUIDANCE: Final = 3.0
"""By eye."""
CARD: Final = {
    "data": "Noto emoji (Debian fonts-noto-color-emoji 2.042) and Twitter emoji (npm"
    " emoji-datasource-twitter 16.0.0), names of PyPI emoji 2.16.0, by prepare_emoji.py",
    "licence": "Noto: OFL-1.1 or Apache-2.0; Twitter: CC-BY-4.0",
    "split": "by name: 6503 pictures for training, 144 for validation, 275 of held-out names and"
    " 625 of held-out compositions never seen; see prepare_emoji.py",
    "quality": "trained for minutes of a shared core: colours and outlines of common things, few"
    " details; see the README",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes",
        type=float,
        nargs=2,
        required=True,
        help="of the base after its first steps, and of the upsampler",
    )
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()

    def trained(name: str, **own: Any) -> unnoise.Model:
        return unnoise.train(
            "text2image",
            chosen.data,
            chosen.out / name,
            resume=chosen.resume,
            **{**OPTIONS, **own},
        )

    first, second = chosen.minutes
    runs = {"base-start": trained("base-start", stage="base", **STEADY)}
    runs["base"] = trained(
        "base", stage="base", initial=runs["base-start"], max_minutes=first, **TIMED
    )
    runs["base-end"] = trained("base-end", stage="base", initial=runs["base"], **LAST)
    runs["upsampler-start"] = trained(
        "upsampler-start", stage="upsampler", max_minutes=0.77 * second, **TIMED
    )
    runs["upsampler"] = trained(
        "upsampler",
        stage="upsampler",
        initial=runs["upsampler-start"],
        max_minutes=0.23 * second,
        **AGAIN,
    )
    command = (
        "python plugins/text2image/train_shipped.py --data emoji --out runs/emoji"
        f" --minutes {first:g} {second:g}"
    )
    shipped(runs, command).save(chosen.out / "bundle", precision="float16")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


def shipped(runs: Mapping[str, unnoise.Model], command: str) -> unnoise.Model:
    """The cascade with its card."""
    model = joined(runs["base-end"], runs["upsampler"])
    configuration = model.configuration.model_copy(update={"guidance_scale": GUIDANCE})
    steps = ", ".join(f"{name} {run.card['training']['step']}" for name, run in runs.items())
    card = {k: v for k, v in model.card.items() if k != "upsampler"}
    card |= {**CARD, "steps": f"of 16 pictures each: {steps}", "command": command}
    return replace(model, configuration=configuration, card=card)


if __name__ == "__main__":
    main()
