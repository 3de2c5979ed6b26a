"""Decoders of the shipped text model: evaluations, and bits per character under another model.

    python tests/benchmarks/text_decoding.py DATA [--samples 32] [--length 128]

DATA is a folder of text in the alphabet of text8, as plugins/text/prepare_sotu.py makes it. The
judge is not a network: letters given the five before them, Witten-Bell smoothed,

    p(w | h) = (c(h w) + n(h) p(w | h')) / (c(h) + n(h)),    n(h) = letters seen after h,

h' the context without its first letter, counted in the training part. Decoders that draw the surest
tokens first write likelier text than the model's law by saying less: the entropy of three letters
together is printed beside. An evaluation is one call for one text: those of `first-hitting` are as
many as tokens, and of the others the mean over texts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from unnoise import load
from unnoise_text import data

LETTERS = " abcdefghijklmnopqrstuvwxyz"
ORDER = 5


def numbers(text: str) -> np.ndarray:
    codes = np.zeros(128, dtype=np.int64)
    codes[[ord(c) for c in LETTERS]] = np.arange(27)
    return codes[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]


def grams(x: np.ndarray, n: int) -> np.ndarray:
    """The number of each n letters in a row, the last ones of which are the low digits."""
    found = np.zeros(max(0, len(x) - n + 1), dtype=np.int64)
    for k in range(n):
        found = found * 27 + x[k : len(x) - n + 1 + k]
    return found


class Judge:
    """Letters given the ones before."""

    def __init__(self, text: str) -> None:
        x = numbers(text)
        self.whole = [np.unique(grams(x, n), return_counts=True) for n in range(1, ORDER + 2)]
        self.contexts = []
        for grown, counts in self.whole:
            context, start = np.unique(grown // 27, return_index=True)
            kinds = np.diff(np.append(start, len(grown)))
            self.contexts.append((context, np.add.reduceat(counts, start), kinds))

    @staticmethod
    def _of(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
        at = np.searchsorted(keys, asked).clip(0, len(keys) - 1)
        return np.where(keys[at] == asked, values[at], 0)

    def bits(self, text: str) -> float:
        """Of a text, but for its first letters, which have no context."""
        x = numbers(text)
        last = grams(x, ORDER + 1)
        p = np.full(len(last), 1 / 27)
        for n in range(1, ORDER + 2):
            own = last % 27**n
            seen = self._of(*self.whole[n - 1], own)
            context, total, kinds = self.contexts[n - 1]
            c, k = (self._of(context, v, own // 27) for v in (total, kinds))
            p = np.where(c > 0, (seen + k * p) / np.maximum(c + k, 1), p)
        return float(-np.log2(p).sum())


def entropy(texts: Sequence[str], n: int) -> float:
    counts = Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values())


def row(judge: Judge, texts: Sequence[str]) -> str:
    found = np.array([judge.bits(text) for text in texts])
    sizes = np.array([len(text) - ORDER for text in texts])
    ratio = found.sum() / sizes.sum()
    error = (found - ratio * sizes).std(ddof=1) / math.sqrt(len(texts)) / sizes.mean()
    return f"{ratio:.3f} +- {error:.3f} bits/char, trigram {entropy(texts, 3):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--samplers", nargs="+", default=[
        "first-hitting", "ancestral", "entropy-bound(bound=0.3)", "entropy-bound(bound=1)",
        "entropy-bound(bound=3)", "threshold(probability=0.9)", "threshold(probability=0.6)",
        "remdm(eta=0.02)",
    ])  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load("text")
    vocabulary = model.configuration.vocabulary
    train, held_out = (
        data.read(options.data, model.configuration, part) for part in ("train", "validation")
    )
    judge = Judge(vocabulary.decode(train.tokens.tolist()))
    real = [
        vocabulary.decode(held_out[i * len(held_out) // options.samples].tolist())
        for i in range(options.samples)
    ]
    print(f"held-out text: {row(judge, real)}", flush=True)
    for sampler in options.samplers:
        steps = options.length
        begun, calls, texts = time.process_time(), [], []
        for seed in range(options.samples):
            out = model.generate(seed=seed, length=options.length, steps=steps, sampler=sampler)
            calls.append(out.provenance["evaluations"])
            texts += out.samples
        seconds = (time.process_time() - begun) / options.samples
        print(
            f"{sampler}: {sum(calls) / len(calls):.1f} evaluations, {seconds:.2f} s a text,"
            f" {row(judge, texts)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
