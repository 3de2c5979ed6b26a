"""Does a picture show what its prompt says? Retrieval by an independent contrastive model.

    python tests/benchmarks/text2image.py --data emoji --guidance 0 1 2 3 5 --prompts 100

on the folder of plugins/text2image/prepare_emoji.py. A contrastive model (a small CNN beside a bag
of words and of their trigrams; Radford 2021) is trained on the training part alone, apart from the
generator and by another loss, and stopped where it is best on the validation part. It then picks
the caption of a picture among 100: the true one and 99 other names that were held out. Rows, for
held-out names and for held-out compositions: the real pictures (the ceiling), training pictures
under wrong captions (chance as measured; 1 % by counting), and what the model draws of as many
prompts at each guidance scale. Frechet distances are of the model's unit features of the pictures
to the real ones of the same split; those of the training pictures are the floor. They are too large
for few pictures: compare rows of one number.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import unnoise
from unnoise.distributions import frechet
from unnoise.storage.tensors import read_tensors, tensor_bytes

BUCKETS: Final = 1 << 14
WIDTH: Final = 64
SPLITS: Final = ("names", "compositions")
SIDE: Final = 64


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in [0, 1], and texts, to unit vectors of one space."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((3, 32), (32, 64), (64, 96), (96, 128)):
            layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.picture = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, WIDTH)
        )
        self.words = nn.EmbeddingBag(BUCKETS, 128, mode="mean")
        self.text = nn.Sequential(nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, WIDTH))
        self.scale = nn.Parameter(torch.tensor(2.7))

    def see(self, x: Tensor) -> Tensor:
        return F.normalize(self.picture(2 * x - 1), dim=1)

    def read(self, texts: list[str]) -> Tensor:
        bags = [places(text) for text in texts]
        starts = torch.tensor([0, *map(len, bags)])[:-1].cumsum(0)
        return F.normalize(self.text(self.words(torch.cat(bags), starts)), dim=1)


def places(text: str) -> Tensor:
    """Buckets of the words of a text and of the trigrams of each."""
    found = []
    for word in re.findall(r"\w+|[^\w\s]", text.lower()) or [""]:
        found += [f"<{word}>", *(f"<{word}>"[k : k + 3] for k in range(len(word)))]
    # a hash that is the same in every process
    return torch.tensor([hash_of(part) % BUCKETS for part in found])


def hash_of(part: str) -> int:
    value = 2166136261
    for byte in part.encode():
        value = (value ^ byte) * 16777619 % (1 << 32)
    return value


def pictures(data: Path, rows: list[dict[str, Any]]) -> Tensor:
    """(n, 3, 64, 64) in [0, 1], on white."""
    return torch.stack([opened(Image.open(data / row["path"])) for row in rows])


def opened(picture: Image.Image) -> Tensor:
    shown = picture.convert("RGBA")
    paper = Image.new("RGBA", shown.size, "white")
    paper.alpha_composite(shown)
    small = paper.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255


def loss_of(judge: Judge, x: Tensor, texts: list[str]) -> Tensor:
    logits = judge.scale.exp() * judge.see(x) @ judge.read(texts).T
    # of equal captions in a batch each is right
    same = torch.tensor([[a == b for b in texts] for a in texts]).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def trained(
    judge: Judge, x: Tensor, rows: list[dict[str, Any]], check: Any, seconds: float
) -> None:
    """For processor seconds; the weights that are best on the validation part are kept."""
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    begun, best, kept, step = time.process_time(), -1.0, judge.state_dict(), 0
    while (spent := time.process_time() - begun) < seconds:
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - spent / seconds) + 1e-5
        chosen = draw.integers(len(rows), size=128)
        texts = [rows[k]["captions"][draw.integers(len(rows[k]["captions"]))] for k in chosen]
        seen = x[torch.from_numpy(chosen)]
        shift = draw.integers(-3, 4, size=2)
        seen = torch.roll(seen, tuple(shift), (2, 3)) * (0.9 + 0.1 * draw.random())
        loss = loss_of(judge.train(), seen, texts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0 and (found := check()) > best:
            best, kept = found, {k: v.clone() for k, v in judge.state_dict().items()}
            print(f"step {step}  loss {loss:.3f}  validation {found:.3f}", flush=True)
    judge.load_state_dict(kept)


@torch.no_grad()
def retrieval(judge: Judge, x: Tensor, names: list[str], pool: list[str]) -> tuple[float, float]:
    """How often the caption is the first, and among the first five, of 100."""
    judge.eval()
    draw = np.random.default_rng(1)
    said = dict(zip(pool, judge.read(pool), strict=True))
    ranks = []
    for picture, name in zip(judge.see(x), names, strict=True):
        others = [other for other in pool if other != name]
        chosen = draw.choice(len(others), size=min(99, len(others)), replace=False)
        scores = torch.stack([said[others[k]] @ picture for k in chosen])
        ranks.append(int((scores >= said[name] @ picture).sum()))
    return float(np.mean([r == 0 for r in ranks])), float(np.mean([r < 5 for r in ranks]))


@torch.no_grad()
def features(judge: Judge, x: Tensor) -> Tensor:
    return torch.cat([judge.eval().see(part) for part in x.split(256)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="another one than that of the package")
    parser.add_argument("--guidance", type=float, nargs="+", default=[0.0, 1.0, 2.0, 3.0, 5.0])
    parser.add_argument("--prompts", type=int, default=100, help="of each split")
    parser.add_argument("--seconds", type=float, default=300, help="of training the judge")
    parser.add_argument("--judge", type=Path, help="file that keeps the judge between runs")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = (chosen.data / "captions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    of = {split: [row for row in rows if row["split"] == split] for split in
          ("train", "validation", *SPLITS)}  # fmt: skip
    pool = sorted({row["captions"][0] for split in ("validation", *SPLITS) for row in of[split]})
    train = pictures(chosen.data, of["train"])
    judge = Judge()
    if chosen.judge is not None and chosen.judge.exists():
        judge.load_state_dict(read_tensors(chosen.judge))
    else:
        held, names = pictures(chosen.data, of["validation"]), first(of["validation"])

        def check() -> float:
            return retrieval(judge, held, names, pool)[1]

        trained(judge, train, of["train"], check, chosen.seconds)
        if chosen.judge is not None:
            chosen.judge.write_bytes(tensor_bytes(judge.state_dict()))
    print("\n| split | pictures | | first of 100 | of the first five | Frechet |")
    print("|---|---|---|---|---|---|")
    for split in SPLITS:
        real, names = pictures(chosen.data, of[split]), first(of[split])
        target = features(judge, real)
        spaced = [k * len(train) // len(real) for k in range(len(real))]
        report(judge, split, "real", real, names, pool, None)
        other = train[spaced]
        report(judge, split, "training part, other captions", other, names, pool, target)
        distinct = list(dict.fromkeys(names))
        count = min(chosen.prompts, len(distinct))
        asked = [distinct[k * len(distinct) // count] for k in range(count)]
        for scale in chosen.guidance:
            out = unnoise.generate(
                "text2image", model=chosen.model, prompt=asked, num_samples=1,
                guidance_scale=scale, seed=0, batch_size=32,
            )  # fmt: skip
            made = torch.stack([opened(sample) for sample in out.samples])
            report(judge, split, f"guidance {scale:g}", made, asked, pool, target)


def first(rows: list[dict[str, Any]]) -> list[str]:
    return [row["captions"][0] for row in rows]


def report(
    judge: Judge, split: str, what: str, x: Tensor, names: list[str], pool: list[str],
    target: Tensor | None,
) -> None:  # fmt: skip
    one, five = retrieval(judge, x, names, pool)
    distance = "" if target is None else f"{frechet(features(judge, x), target):.4f}"
    print(f"| {split} | {len(x)} | {what} | {one:.1%} | {five:.1%} | {distance} |", flush=True)


if __name__ == "__main__":
    main()
