"""Text: bits per character of kernels beside an autoregressive transformer, and samplers' quality.

    python tests/benchmarks/text.py DATA bits [--steps 1000 --width 128 ...]
    python tests/benchmarks/text.py DATA samplers [the same options]
    python tests/benchmarks/text.py - memory

DATA is a folder of text in the alphabet of text8, as plugins/text/prepare_sotu.py makes it. Every
network has the same size and is trained for the same number of steps on the same windows of
characters; the autoregressive one is transformers' decoder of the same family. The held-out part is
that of the plugin, by document. `bits` prints the held-out bits per character of each kernel at
1000, 256 and 20 steps, and those of bz2 and xz on the same part. `samplers` trains the absorbing
and the autoregressive network and prints, for each sampler and number of steps, the evaluations and
seconds a batch took, bits per character of the samples under the autoregressive network, and their
unigram and trigram entropy. `memory` prints the peak memory of a process that makes 4 texts of 1024
tokens from a vocabulary of 50,257, with a small network, and of one training step.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import math
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.domain import Model
from unnoise.noise import NoiseSource
from unnoise_text import data
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.domain import Text, objective_of
from unnoise_text.vocabulary import Characters

LETTERS = " abcdefghijklmnopqrstuvwxyz"


class Autoregressive(nn.Module):
    """p(x) = prod p(x_i | x_<i) by a decoder of transformers; a token of its own begins."""

    def __init__(self, vocab: int, configuration: Configuration) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForCausalLM

        special = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        self.start = vocab
        self.model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                "modernbert-decoder",
                vocab_size=vocab + 2,
                hidden_size=configuration.width,
                num_hidden_layers=configuration.depth,
                num_attention_heads=configuration.heads,
                intermediate_size=3 * configuration.width // 2,
                max_position_embeddings=configuration.length + 1,
                global_attn_every_n_layers=1,
                initializer_range=configuration.width**-0.5,
                **dict.fromkeys(special, vocab + 1),
            ),
            attn_implementation="sdpa",
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L) tokens to (B,) nats, -log p."""
        begin = torch.full_like(x[:, :1], self.start)
        logits = self.model(input_ids=torch.cat([begin, x[:, :-1]], 1), use_cache=False).logits
        return F.cross_entropy(logits.mT, x, reduction="none").sum(1)


def batches(windows: data.Windows, options: argparse.Namespace, step: int) -> Tensor:
    """The batch of one step: the same for every network."""
    generator = torch.Generator().manual_seed(step)
    last = len(windows.tokens) - options.length
    starts = torch.randint(last, (options.batch_size,), generator=generator)
    return torch.stack([windows.tokens[i : i + options.length].long() for i in starts.tolist()])


def optimise(
    name: str,
    module: nn.Module,
    loss_of: object,
    windows: data.Windows,
    options: argparse.Namespace,
) -> float:
    """Train; returns the seconds it took."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, betas=(0.9, 0.98))
    begun, recent = time.monotonic(), []
    for step in range(options.steps):
        rise, fall = (step + 1) / 50, math.cos(math.pi * step / options.steps / 2)
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * min(1.0, rise) * fall
        loss = loss_of(batches(windows, options, step), step)  # type: ignore[operator]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"# {name} {step + 1}: {sum(recent[-100:]) / 100:.3f} nats", flush=True)
    return time.monotonic() - begun


def diffusion(kernel: str, windows: data.Windows, options: argparse.Namespace) -> Model:
    """A trained model of this kernel, by the plugin's own objective."""
    own = {name: getattr(options, name) for name in ("width", "depth", "heads", "length")}
    asked = {"alphabet": LETTERS, "kernel": kernel, "hybrid": 0.01, **own}
    configuration = data.configure(options.data, asked)
    torch.manual_seed(options.seed)
    domain = Text()
    denoiser = domain.build(configuration).train()
    objective = objective_of(configuration)

    def loss_of(x: Tensor, step: int) -> Tensor:
        first = step * len(x)
        noise = NoiseSource(options.seed, range(first, first + len(x)))
        return objective(denoiser, domain.collate(list(x)), noise).mean()

    seconds = optimise(kernel, denoiser, loss_of, windows, options)
    number = sum(p.numel() for p in denoiser.parameters())
    print(f"# {kernel}: {number / 1e6:.2f} M parameters, {seconds:.0f} s", flush=True)
    return Model(domain, denoiser.eval(), configuration, domain.defaults(configuration))


def autoregressive(windows: data.Windows, options: argparse.Namespace) -> Autoregressive:
    torch.manual_seed(options.seed)
    network = Autoregressive(len(LETTERS), Configuration(**{
        name: getattr(options, name) for name in ("width", "depth", "heads", "length")
    })).train()  # fmt: skip
    seconds = optimise(
        "autoregressive", network, lambda x, _: network(x).mean() / x.shape[1], windows, options
    )
    number = sum(p.numel() for p in network.parameters())
    print(f"# autoregressive: {number / 1e6:.2f} M parameters, {seconds:.0f} s", flush=True)
    return network.eval()


def shown(values: Tensor, length: int) -> str:
    """Mean and standard error of nats of windows, as bits per character."""
    bits = values.double() / length / math.log(2)
    return f"{bits.mean():.3f} +- {bits.std() / math.sqrt(len(bits)):.3f}"


@torch.no_grad()
def bits(options: argparse.Namespace) -> None:
    plain = data.configure(options.data, {"alphabet": LETTERS, "length": options.length})
    train, held_out = (data.read(options.data, plain, p) for p in ("train", "validation"))
    number = min(options.windows, len(held_out))
    items = [held_out[i * len(held_out) // number] for i in range(number)]
    text = plain.vocabulary.decode(held_out.tokens.tolist()).encode()
    print(f"held out: {len(text)} characters, {number} windows of {options.length}")
    packed = {"bz2": bz2.compress(text), "xz": lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)}
    for name, content in packed.items():
        print(f"{name}: {8 * len(content) / len(text):.3f} bits/char")
    with torch.enable_grad():
        network = autoregressive(train, options)
    print(f"autoregressive: {shown(network(torch.stack(items)), options.length)} bits/char")
    for kernel in options.kernels.split(","):
        with torch.enable_grad():
            model = diffusion(kernel, train, options)
        row = []
        for steps in (1000, 256, 20):
            found = model.bound(items, steps=steps, evaluations=min(options.evaluations, steps))
            row.append(f"{steps} steps {shown(found.total, options.length)}")
        print(f"{kernel}: {', '.join(row)} bits/char", flush=True)


def entropy(texts: Sequence[str], n: int) -> float:
    """Bits of the n-grams of all texts together."""
    counts = Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values())


@torch.no_grad()
def samplers(options: argparse.Namespace) -> None:
    plain = data.configure(options.data, {"alphabet": LETTERS, "length": options.length})
    train, held_out = (data.read(options.data, plain, p) for p in ("train", "validation"))
    with torch.enable_grad():
        network = autoregressive(train, options)
        model = diffusion("absorbing", train, options)
    vocabulary = plain.vocabulary
    number = min(options.samples, len(held_out))
    real = [held_out[i * len(held_out) // number] for i in range(number)]
    texts = [vocabulary.decode(item.tolist()) for item in real]
    head = f"bits/char {shown(network(torch.stack(real)), options.length)}"
    print(
        f"held-out text: {head}, unigram {entropy(texts, 1):.2f}, trigram {entropy(texts, 3):.2f}"
    )
    print("sampler, steps: evaluations, seconds, bits/char, unigram, trigram (bits)")
    for name in ("ancestral", "cached", "first-hitting", "order-agnostic", "confidence"):
        for steps in (8, 32, 128, 512):
            begun = time.monotonic()
            out = model.generate(num_samples=number, steps=steps, sampler=name, seed=1)
            seconds = time.monotonic() - begun
            x = torch.tensor([vocabulary.encode(text) for text in out.samples])
            print(
                f"{name}, {steps}: {out.provenance['evaluations']}, {seconds:.1f},"
                f" {shown(network(x), options.length)},"
                f" {entropy(out.samples, 1):.2f}, {entropy(out.samples, 3):.2f}",
                flush=True,
            )


def memory(options: argparse.Namespace) -> None:
    alphabet = "".join(map(chr, range(0x100, 0x100 + 50_256 + 0x800)))
    alphabet = "".join(c for c in alphabet if not 0xD800 <= ord(c) < 0xE000)[:50_256]
    learned = Learned(alphabet=alphabet, hash=Characters(alphabet).hash, vocab=50_257)
    own = {"width": 64, "depth": 1, "heads": 1, "length": 1024}
    domain, configuration = Text(), Configuration(learned=learned, **own)
    denoiser = domain.build(configuration)
    print(f"model built: {peak():.2f} GiB")
    model = Model(domain, denoiser.eval(), configuration, domain.defaults(configuration))
    for name in ("first-hitting", "ancestral"):
        model.generate(num_samples=4, steps=3, sampler=name)
        print(f"4 x 1024 tokens by {name}: {peak():.2f} GiB")
    batch = domain.collate(list(torch.randint(50_256, (4, 1024))))
    loss = objective_of(configuration)(denoiser, batch, NoiseSource(0, range(4)))
    loss.mean().backward()
    print(f"and a training step: {peak():.2f} GiB", flush=True)


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("what", choices=("bits", "samplers", "memory"))
    parser.add_argument("--kernels", default="absorbing,nearest,uniform")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    for name, default in {
        "steps": 1000, "width": 128, "depth": 2, "heads": 2, "length": 128, "batch-size": 16,
        "windows": 64, "evaluations": 20, "samples": 32, "seed": 0, "threads": 1,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    {"bits": bits, "samplers": samplers, "memory": memory}[options.what](options)


if __name__ == "__main__":
    main()
