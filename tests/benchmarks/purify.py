"""The purify plugin: robust accuracy by budget, attack, strength and effort; certified; damage.

    python tests/benchmarks/purify.py --data mnist --out runs/purify [--device cuda]
    python tests/benchmarks/purify_tables.py runs/purify

What was measured so far is in tests/benchmarks/kept/purify, and goes on with that as --out.

`mnist` is the folder that plugins/images/prepare_mnist.py writes; the pictures are those of the
validation part, evenly spaced, which neither the model nor a classifier was trained on. It does its
jobs in order of importance, in `--workers` processes, and writes a line of rows.jsonl for
each that is done; it begins none after `--minutes`, and one that is run again goes on. A job that
fails leaves its error in its line, and the others go on. `purify_tables.py` prints what there is.

table      the purifier in four budgets (l_inf .1, .2, .3 and l_2 1.5): PGD of 40 steps with 10
           draws through the full gradient, that of unclamped predictions, a surrogate, BPDA; low
           frequencies, the margin, the doubt; the best of several ascents (adaptive); a random
           search, a transfer, noise. One answer, and ten with the control.
plain      the classifier without purifier, and `reference`, the same network trained on attacked
           pictures: the training part alone.
strength   strengths from .2 to .9, clean, and in l_inf .2.
effort     the full gradient in l_inf .2 by steps and by draws.
certified  randomised smoothing at two strengths, and what PGD leaves of it.
damage     Gaussian, shot and impulse noise, blur, occlusion, with and without purification.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import unnoise
from unnoise_purify.attacks import (
    PGD,
    Adaptive,
    Attack,
    Doubt,
    LowFrequency,
    Margin,
    RandomNoise,
    Square,
    Transfer,
    norm_named,
)
from unnoise_purify.classifiers import load_classifier
from unnoise_purify.digits import DigitsNet
from unnoise_purify.evaluation import Certified, Corruptions, Defended, Robustness
from unnoise_purify.gradients import Full, Identity, Surrogate, Unclamped
from unnoise_purify.robustness import measured
from unnoise_purify.scoring import Repeated

BUDGETS = {
    "linf-0.2": ("l_inf", 0.2),
    "linf-0.3": ("l_inf", 0.3),
    "linf-0.1": ("l_inf", 0.1),
    "l2-1.5": ("l_2", 1.5),
}
MIDDLE = "linf-0.2"
STRENGTHS = (0.3, 0.7, 0.2, 0.4, 0.6, 0.8, 0.9)
PLAIN = ("full", "margin", "adaptive")
TRAINING = Path(__file__).parents[2] / "plugins/purify/train_classifier.py"


@dataclass(frozen=True)
class Job:
    """One measurement. `strength`, `steps` and `eot` None are those of the command line."""

    what: str
    budget: str = ""
    attack: str = ""
    strength: float | None = None
    steps: int | None = None
    eot: int | None = None

    @property
    def key(self) -> str:
        given = (self.what, self.budget, self.attack, self.strength, self.steps, self.eot)
        return "/".join(str(part) for part in given if part not in ("", None))


def jobs() -> Iterator[Job]:
    """All of them, the most important first."""
    yield Job("table")
    yield from (Job("table", budget, "full") for budget in BUDGETS)
    yield Job("reference", strength=0.3)
    yield Job("plain")
    yield Job("table", MIDDLE, "adaptive")
    for attack in ("bpda", "surrogate", "unclamped"):
        yield from (Job("table", budget, attack) for budget in BUDGETS)
    yield Job("certified", strength=0.5)
    yield from (Job("table", budget, "adaptive") for budget in BUDGETS if budget != MIDDLE)
    for strength in STRENGTHS:
        yield Job("strength", strength=strength)
        yield Job("strength", MIDDLE, "full", strength)
    yield Job("damage")
    yield from (Job("effort", MIDDLE, "full", steps=steps) for steps in (10, 20, 80))
    yield from (Job("effort", MIDDLE, "full", eot=eot) for eot in (1, 4, 20))
    for attack in ("doubt", "low", "margin", "noise", "transfer"):
        yield from (Job("table", budget, attack) for budget in BUDGETS)
    yield from (Job("table", budget, "square") for budget in BUDGETS if budget.startswith("linf"))
    yield Job("reference", strength=0.2)
    yield Job("certified", strength=0.7)
    yield from (Job("strength", MIDDLE, "adaptive", strength) for strength in STRENGTHS)
    yield Job("effort", MIDDLE, "full", steps=160)
    yield Job("effort", MIDDLE, "full", eot=40)


@dataclass(eq=False)
class Bench:
    """What a process holds."""

    told: argparse.Namespace

    @cached_property
    def model(self) -> Any:
        return unnoise.load("images")

    def setting(self, **own: Any) -> dict[str, Any]:
        return {
            "strength": self.told.strength,
            "purify_steps": self.told.purify_steps,
            "num_samples": self.told.pictures,
            "batch_size": self.told.batch,
            "at_once": self.told.at_once,
            "device": self.told.device,
            **own,
        }

    @cached_property
    def pictures(self) -> tuple[torch.Tensor, torch.Tensor]:
        return Robustness(**self.setting()).pictures(self.model, self.told.data)

    def done(self, job: Job) -> dict[str, Any]:
        """The rows of a job."""
        if job.what in ("certified", "damage"):
            return {"found": self._metric(job)}
        if job.what == "plain":
            return {"rows": self._bare(load_classifier("digits"))}
        if job.what == "reference":
            assert job.strength is not None
            network, card = self._trained(job.strength)
            return {"rows": self._bare(network), "card": card}
        own = {} if job.strength is None else {"strength": job.strength}
        defence = Robustness(**self.setting(**own)).defence(self.model)
        attack = self._attack(job.budget, job.attack, job.steps, job.eot) if job.attack else None
        return {"rows": [self._row(defence, attack)], "evaluations": defence.purifier.evaluations}

    def _row(self, defence: torch.nn.Module, attack: Attack | None) -> dict[str, Any]:
        row = measured(
            defence,
            *self.pictures,
            attack,
            scoring=Repeated(),
            batch_size=self.told.batch,
            at_once=self.told.at_once,
            seed=self.told.seed,
        )
        right = ["".join(str(int(answer)) for answer in answers) for answers in row.right]
        return {**row.json(), "losses": row.trace.loss, "right": right}

    def _attack(
        self, budget: str, name: str, steps: int | None = None, eot: int | None = None
    ) -> Attack:
        norm, eps = BUDGETS[budget]
        ball, told = norm_named(norm), self.told
        effort = (steps or told.steps, eot or told.eot)
        own = PGD(ball, eps, Full(), *effort, at_once=told.at_once)
        found: dict[str, Attack] = {
            "full": own,
            "unclamped": replace(own, gradient=Unclamped()),
            "surrogate": replace(own, gradient=Surrogate(max(1, told.purify_steps // 4))),
            "bpda": replace(own, gradient=Identity()),
            "doubt": replace(own, loss=Doubt(), momentum=0.5),
            "low": replace(own, subspace=LowFrequency()),
            "margin": replace(own, loss=Margin()),
            "adaptive": Adaptive(ball, eps, Full(), *effort, at_once=told.at_once),
            "noise": RandomNoise(ball, eps),
            "transfer": Transfer(ball, eps, effort[0]),
            "square": Square(eps, told.queries),
        }
        return found[name]

    def _bare(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        """A classifier without purifier: clean, and in every budget."""
        network = network.to(self.pictures[0].device)
        rows = [self._row(network, None)]
        for budget in BUDGETS:
            for name in PLAIN:
                row = self._row(network, self._attack(budget, name, eot=1))
                rows.append({"budget": budget, **row})
        return rows

    def _trained(self, eps: float) -> tuple[torch.nn.Module, dict[str, Any]]:
        """The network trained on attacked pictures, and its card."""
        device = "cpu" if self.told.device is None else self.told.device
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, str(TRAINING), "--data", str(self.told.data), "--out", folder]
            words += ["--epochs", str(self.told.epochs), "--adversarial", str(eps)]
            subprocess.run([*words, "--device", device], check=True, capture_output=True)
            card = json.loads((Path(folder) / "card.json").read_text())
            network = load_classifier(Path(folder) / "model.safetensors", DigitsNet)
        return network.requires_grad_(False), card

    def _metric(self, job: Job) -> dict[str, Any]:
        metric: Defended
        if job.what == "damage":
            metric = Corruptions(**self.setting())
        else:
            effort = {"attack_steps": self.told.steps, "eot": self.told.eot}
            setting = self.setting(strength=job.strength)
            metric = Certified(**setting, **effort, draws=self.told.draws)
        return {**metric.measure(self.model, self.told.data, lambda what, share: None)}


_bench: Bench


def begin(told: argparse.Namespace) -> None:
    """A process begins."""
    global _bench
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # float32 as on a processor
    _bench = Bench(told)


def work(job: Job) -> dict[str, Any] | None:
    """The line of a job; None when it is too late to begin it."""
    told = _bench.told
    if time.time() > told.until:
        return None
    started, at_once, batch = time.time(), told.at_once, told.batch
    while True:
        try:
            found = _bench.done(job)
            break
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            told.at_once, told.batch = max(1, told.at_once // 2), max(1, told.batch // 2)
            if told.at_once == told.batch == 1:
                found = {"error": traceback.format_exc()}
                break
        except Exception:
            found = {"error": traceback.format_exc()}
            break
    used = {"at_once": told.at_once, "batch": told.batch, "steps": told.steps, "eot": told.eot}
    told.at_once, told.batch = at_once, batch
    cuda = torch.cuda.is_available() and told.device != "cpu"
    return {
        "job": job.key,
        **used,
        "seed": told.seed,
        "strength": told.strength if job.strength is None else job.strength,
        "seconds": round(time.time() - started, 2),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
        "torch": torch.__version__,
        **found,
    }


def read(out: Path) -> dict[str, dict[str, Any]]:
    """The lines of rows.jsonl that are whole, by job; of two the later."""
    path, found = out / "rows.jsonl", {}
    for text in path.read_text().split("\n")[:-1] if path.exists() else []:
        line = json.loads(text)
        if "error" not in line:
            found[line["job"]] = line
    return found


def measure(told: argparse.Namespace) -> None:
    told.out.mkdir(parents=True, exist_ok=True)
    have = read(told.out)
    left = [job for job in jobs() if job.key not in have and told.only in job.key]
    told.until = time.time() + 60 * told.minutes
    pool = multiprocessing.get_context("spawn").Pool(told.workers, begin, (told,))
    with pool, open(told.out / "rows.jsonl", "a") as file:
        lines = pool.imap_unordered(work, left)
        for _ in left:
            try:
                line = lines.next(max(0.1, told.until + told.grace - time.time()))
            except multiprocessing.TimeoutError:
                break
            if line is not None:
                file.write(json.dumps(line) + "\n")
                file.flush()
                last = line.get("error", "").strip().split("\n")[-1]
                print(f"{line['job']}: {line['seconds']} s {last}", flush=True)
        pool.terminate()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--device", help="cpu, cuda; by default a GPU when there is one")
    words.add_argument("--workers", type=int, default=1)
    words.add_argument("--minutes", type=float, default=600.0)
    words.add_argument("--grace", type=float, default=20.0, help="seconds for what was begun")
    words.add_argument("--only", default="", help="jobs whose name holds this")
    words.add_argument("--pictures", type=int, default=128)
    words.add_argument("--batch", type=int, default=16)
    words.add_argument("--at-once", type=int, default=1)
    words.add_argument("--strength", type=float, default=0.5)
    words.add_argument("--purify-steps", type=int, default=10)
    words.add_argument("--steps", type=int, default=40)
    words.add_argument("--eot", type=int, default=10)
    words.add_argument("--queries", type=int, default=500)
    words.add_argument("--draws", type=int, default=1000)
    words.add_argument("--epochs", type=int, default=16)
    words.add_argument("--seed", type=int, default=0)
    measure(words.parse_args())


if __name__ == "__main__":
    main()
