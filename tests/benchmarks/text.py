"""Text: bits per character of kernels beside an autoregressive transformer, and samplers' quality.

    python tests/benchmarks/text.py DATA bits [--tokenizer bpe:512 --steps 1000 ...] [--nets DIR]
    python tests/benchmarks/text.py DATA samplers [the same options]
    python tests/benchmarks/text.py DATA shipped
    python tests/benchmarks/text.py - memory

DATA is a folder of text in the alphabet of text8, as plugins/text/prepare_sotu.py makes it. Every
network has the same size and is trained for the same number of steps on the same windows of tokens
by the same optimiser. The autoregressive one is transformers' decoder of the same family, trained
by its likelihood, the others by cross-entropy at times that are spread evenly. All layers but the
third see near tokens only. The held-out part is that of the plugin, by document. `bits` prints the
held-out bits per character of each kernel at 1000, 256 and 20 steps, and those of bz2 and xz on the
same part. `samplers` trains the absorbing and the autoregressive network and prints, for each
sampler and number of steps, the evaluations and seconds of CPU a batch took, bits per character of
the samples under the autoregressive network, and the entropy of their letters and of three letters
together. With --nets, networks that lie in that folder are not trained again. `shipped` prints the
bound of the plugin's own bundle on the same part. `memory` prints the peak memory of a process that
makes 4 texts of 1024 tokens from a vocabulary of 50,257, with a small network, and of one training
step.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import math
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import load
from unnoise.compat import without_broken_torchaudio
from unnoise.model import Model
from unnoise.noise import NoiseSource
from unnoise.spaces import tensor
from unnoise.training.optimizers import optimizer_of
from unnoise.training.train import TrainingConfiguration
from unnoise_text import data
from unnoise_text.characters import Characters, Vocabulary
from unnoise_text.configuration import Configuration, Learned
from unnoise_text.domain import Text, objective_of

LETTERS = " abcdefghijklmnopqrstuvwxyz"


def near(depth: int) -> dict[str, Any]:
    """Settings of the attention, for all networks: the third layer sees everything, or the last of
    fewer."""
    kinds = ["sliding_attention"] * depth
    kinds[min(2, depth - 1)] = "full_attention"
    return {"local_attention": 8, "layer_types": kinds}


class Autoregressive(nn.Module):
    """p(x) = prod p(x_i | x_<i) by a decoder of transformers; a token of its own begins."""

    def __init__(self, vocab: int, configuration: Configuration) -> None:
        super().__init__()
        without_broken_torchaudio()
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
                **near(configuration.depth),
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
    loss_of: Callable[[Tensor, int], Tensor],
    windows: data.Windows,
    options: argparse.Namespace,
) -> None:
    """Train, by Muon and AdamW with a linear decay; or read what was trained before."""
    path = options.nets and options.nets / f"{name}.pt"
    if path and path.is_file():
        module.load_state_dict(torch.load(path, weights_only=True))
        return
    chosen = TrainingConfiguration(
        optimizer="muon",
        learning_rate=options.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        decay="linear",
        steps=options.steps,
        batch_size=options.batch_size,
    )
    optimiser = optimizer_of(module, dict(module.named_parameters()), chosen)
    begun, recent = time.process_time(), []
    for step in range(options.steps):
        for group in optimiser.param_groups:
            group["lr"] = chosen.learning_rate_at(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(batches(windows, options, step), step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"# {name} {step + 1}: {sum(recent[-100:]) / 100:.3f} nats", flush=True)
    number = sum(p.numel() for p in module.parameters())
    seconds = time.process_time() - begun
    print(f"# {name}: {number / 1e6:.2f} M parameters, {seconds:.0f} s of CPU", flush=True)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), path)


def configuration_of(options: argparse.Namespace, **asked: Any) -> Configuration:
    own = {name: getattr(options, name) for name in ("width", "depth", "heads", "length")}
    if options.tokenizer == "characters":
        asked["alphabet"] = LETTERS
    settings = {**near(options.depth), "attn_implementation": "eager"}
    closed = {"outside": "fold"}  # the letters of text8 alone
    asked = {"tokenizer": options.tokenizer, "settings": settings, **closed, **own, **asked}
    return data.configure(options.data, asked)


def diffusion(kernel: str, windows: data.Windows, options: argparse.Namespace) -> Model:
    """A trained model of this kernel, by the plugin's own objective."""
    schedule = "information" if kernel == "nearest" else "linear"
    asked = {"kernel": kernel, "schedule": schedule, "goal": "cross_entropy"}
    configuration = configuration_of(options, **asked)
    torch.manual_seed(options.seed)
    domain = Text()
    denoiser = domain.build(configuration).train()
    objective = objective_of(configuration)

    def loss_of(x: Tensor, step: int) -> Tensor:
        first = step * len(x)
        noise = NoiseSource(options.seed, range(first, first + len(x)))
        return objective(denoiser, domain.collate(list(x)), noise).mean()

    optimise(kernel, denoiser, loss_of, windows, options)
    return Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.defaults(configuration),
    )


def autoregressive(
    vocab: int, windows: data.Windows, options: argparse.Namespace
) -> Autoregressive:
    torch.manual_seed(options.seed)
    own = {name: getattr(options, name) for name in ("width", "depth", "heads", "length")}
    network = Autoregressive(vocab, Configuration(**own)).train()
    optimise(
        "autoregressive", network, lambda x, _: network(x).mean() / x.shape[1], windows, options
    )
    return network.eval()


def shown(nats: Tensor, characters: Sequence[int]) -> str:
    """Bits per character of windows, as a ratio of sums, with its standard error."""
    bits = nats.double() / math.log(2)
    number = torch.tensor(characters, dtype=torch.float64)
    ratio = bits.sum() / number.sum()
    error = (bits - ratio * number).std() / math.sqrt(len(bits)) / number.mean()
    return f"{ratio:.3f} +- {error:.3f}"


def parts(options: argparse.Namespace) -> tuple[Vocabulary, data.Windows, data.Windows]:
    plain = configuration_of(options)
    train, held_out = (data.read(options.data, plain, p) for p in ("train", "validation"))
    return plain.vocabulary, train, held_out


def some(
    held_out: data.Windows, number: int, vocabulary: Vocabulary
) -> tuple[list[Tensor], list[int]]:
    """Windows, evenly spread, and the characters of each."""
    number = min(number, len(held_out))
    items = [held_out[i * len(held_out) // number] for i in range(number)]
    return items, [len(vocabulary.decode(item.tolist())) for item in items]


@torch.no_grad()
def bits(options: argparse.Namespace) -> None:
    vocabulary, train, held_out = parts(options)
    items, characters = some(held_out, options.windows, vocabulary)
    text = vocabulary.decode(held_out.tokens.tolist()).encode()
    print(
        f"held out: {len(text)} characters, {len(held_out.tokens)} tokens of {vocabulary.size};"
        f" {len(items)} windows of {options.length} tokens"
    )
    packed = {"bz2": bz2.compress(text), "xz": lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)}
    for name, content in packed.items():
        print(f"{name}: {8 * len(content) / len(text):.3f} bits/char")
    for name in options.networks.split(","):
        if name == "autoregressive":
            with torch.enable_grad():
                network = autoregressive(vocabulary.size, train, options)
            nats = network(torch.stack(items))
            print(f"autoregressive: {shown(nats, characters)} bits/char", flush=True)
            continue
        with torch.enable_grad():
            model = diffusion(name, train, options)
        row = []
        for steps in (1000, 256, 20):
            found = model.bound(items, steps=steps, evaluations=min(options.evaluations, steps))
            row.append(f"{steps} steps {shown(found.total, characters)}")
        print(f"{name}: {', '.join(row)} bits/char", flush=True)


@torch.no_grad()
def shipped(options: argparse.Namespace) -> None:
    model = load("text")
    held_out = data.read(options.data, model.configuration, "validation")
    items, characters = some(held_out, options.windows, model.configuration.vocabulary)
    found = model.bound(items, evaluations=options.evaluations)
    print(f"shipped: {shown(found.total, characters)} bits/char, bound of 1000 steps")


def entropy(texts: Sequence[str], n: int) -> float:
    """Bits of the n-grams of all texts together."""
    counts = Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values())


@torch.no_grad()
def samplers(options: argparse.Namespace) -> None:
    vocabulary, train, held_out = parts(options)
    with torch.enable_grad():
        network = autoregressive(vocabulary.size, train, options)
        model = diffusion("absorbing", train, options)
    real, characters = some(held_out, options.samples, vocabulary)
    texts = [vocabulary.decode(item.tolist()) for item in real]
    number, head = len(real), shown(network(torch.stack(real)), characters)
    print(
        f"held-out text: bits/char {head}, unigram {entropy(texts, 1):.2f},"
        f" trigram {entropy(texts, 3):.2f}"
    )
    print("sampler, steps: evaluations, seconds, bits/char, unigram, trigram (bits)")
    adaptive = [f"entropy-bound(bound={b})" for b in (0.1, 0.3, 1.0, 3.0)]
    adaptive += [f"threshold(probability={p})" for p in (0.9, 0.6)]
    adaptive += ["remdm(eta=0.02)"]
    fixed = ("ancestral", "cached", "first-hitting", "order-agnostic", "confidence")
    for name in options.samplers.split(";") if options.samplers else (*fixed, *adaptive):
        for steps in (8, 32, 128, 512):
            begun = time.process_time()
            out = model.generate(num_samples=number, steps=steps, sampler=name, seed=1)
            seconds = time.process_time() - begun
            x = tensor(out.states)
            lengths = [len(vocabulary.decode(row.tolist())) for row in x]
            print(
                f"{name}, {steps}: {out.provenance['evaluations']}, {seconds:.1f},"
                f" {shown(network(x), lengths)},"
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
    model = Model(
        domain,
        denoiser.eval(),
        configuration,
        domain.defaults(configuration),
    )
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
    parser.add_argument("what", choices=("bits", "samplers", "shipped", "memory"))
    parser.add_argument("--networks", default="autoregressive,absorbing,uniform,nearest")
    parser.add_argument("--tokenizer", default="characters", help="or bpe:SIZE")
    parser.add_argument("--nets", type=Path, help="folder of the trained networks")
    parser.add_argument("--samplers", help="names, ';' between them; default: all of them")
    parser.add_argument("--learning-rate", type=float, default=6e-3)
    for name, default in {
        "steps": 1000, "width": 128, "depth": 4, "heads": 2, "length": 128, "batch-size": 16,
        "windows": 64, "evaluations": 20, "samples": 32, "seed": 0, "threads": 1,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    todo = {"bits": bits, "samplers": samplers, "shipped": shipped, "memory": memory}
    todo[options.what](options)


if __name__ == "__main__":
    main()
