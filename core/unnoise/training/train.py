"""Training: data and a domain in, a run folder out that is also a bundle.

    out/config.json, model.safetensors    the bundle of the averaged weights, from the first
                                          checkpoint on
    out/checkpoints/                      what `resume=True` continues from
    out/log.jsonl, out/tensorboard/       the curves

The result is a function of data, configuration and seed. A run that was killed and resumed ends
with the same bytes on the CPU; a run on several processes (`accelerate launch`) sees the same
data and the same noise and ends with the same weights up to rounding.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from unnoise.denoise import Denoiser
from unnoise.discovery.domains import trainable_named
from unnoise.domain import Trainable
from unnoise.model import Model
from unnoise.objectives import Objective
from unnoise.storage.bundle import fit_weights, write_bundle
from unnoise.storage.files import disk_errors, writable_folder
from unnoise.training import checkpoint as checkpoints
from unnoise.training.average import Average
from unnoise.training.checkpoint import Checkpoint
from unnoise.training.data import Batches, Shard, mix
from unnoise.training.loop import Loss, Progress, Run, run_steps, seed_generators
from unnoise.training.optimizers import optimizer_of
from unnoise.training.options import TrainingConfiguration
from unnoise.training.record import truncate
from unnoise.training.setup import (
    Data,
    agree,
    describe,
    generators_kept,
    look,
    open_data,
    split_options,
    start_processes,
)
from unnoise.training.validate import Validation

__all__ = ["TrainingConfiguration", "train"]


def train(domain: Trainable | str, data: Any, out: str | Path, **options: Any) -> Model:
    """Train a model of `domain` on `data`, in the folder `out`.

    Parameters
    ----------
    domain
        What the data are: a domain, or the name of an installed one.
    data
        Anything that the domain's `configure` and `dataset` understand, e.g. a folder.
    out
        The folder of the run. It must not contain a run unless `resume=True`.
    **options
        Fields of `TrainingConfiguration`; `objective`, an `unnoise.objectives.Objective`, by
        default the domain's; `initial`, a Model to start from; `defaults`, the steps and sampler
        that the bundle suggests; all others are fields of the domain's configuration.

    Returns
    -------
    Model : the averaged weights, as written to `out`. When `max_minutes` ended the run, its card
        says `finished: false` and `resume=True` continues.

    Raises
    ------
    PluginError : no domain of this name is installed, or it is broken.
    ConfigError : an unknown or impossible option, or one that contradicts the run to resume.
    InputError : no data, a folder that cannot be written, or that already contains a run.
    NonFiniteError : the loss became NaN or infinite; the last checkpoint is good.
    Cancelled : SIGINT or SIGTERM, after a checkpoint; `value` is the signal's name.
    LimitExceeded : the disk is full; the last checkpoint is good.
    """
    folder = Path(out)
    domain = trainable_named(domain) if isinstance(domain, str) else domain
    training, own = split_options(domain, options)
    objective, initial = own.pop("objective", None), own.pop("initial", None)
    defaults = own.pop("defaults", {})
    accelerator = start_processes(training)
    good = look(folder, training)
    accelerator.wait_for_everyone()  # all have looked before the first one writes
    if accelerator.is_main_process:
        writable_folder(folder)
        checkpoints.clean(folder)
    with generators_kept():
        opened = open_data(domain, data, own)
        objective = objective or domain.objective(opened.configuration)
        plan = _Plan(
            domain,
            folder,
            training,
            opened,
            objective,
            initial,
            {**domain.defaults(opened.configuration), **defaults},
            _name(data),
            accelerator,
        )
        return plan.carry_out(good)


@dataclass(frozen=True)
class _Plan:
    """A run before its network exists."""

    domain: Trainable
    folder: Path
    options: TrainingConfiguration
    data: Data
    objective: Objective
    initial: Model | None
    defaults: Mapping[str, Any]
    source: str
    accelerator: Accelerator

    def carry_out(self, good: Checkpoint | None) -> Model:
        identity = self._identity(good)
        if good is not None:
            agree(good, identity, self.options)
        run = self._run(identity)
        progress = Progress(0, 0.0, {})
        if good is not None:
            run.optimizer.optimizer.state.clear()
            checkpoints.restore(good, run.denoiser, run.average.module, run.optimizer.optimizer)
            if run.accelerator.scaler is not None:
                run.accelerator.scaler.load_state_dict(good.state["scaler"])
            progress = Progress(good.step, good.state["seconds"], good.state["validation"])
        if self.accelerator.is_main_process:
            with disk_errors("shortening the log"):
                truncate(self.folder, progress.step)
        progress = run_steps(run, progress)
        card = self._card(identity, progress)
        digest = [self._deliver(run.average, card) if self.accelerator.is_main_process else ""]
        return Model(
            domain=self.domain,
            denoiser=run.average.module,
            configuration=self.data.configuration,
            codec=self.domain.codec(self.data.configuration),
            defaults=self.defaults,
            card=card,
            hash=broadcast_object_list(digest)[0],
        )

    def _run(self, identity: Mapping[str, Any]) -> Run:
        options, accelerator, data = self.options, self.accelerator, self.data
        shard = Shard(options.batch_size, accelerator.process_index, accelerator.num_processes)
        seed_generators(mix(options.seed), accelerator.device)
        denoiser = self.domain.build(data.configuration).train()
        if self.initial is not None:
            weights = self.initial.denoiser.state_dict()
            fit_weights(denoiser, weights, "the weights to start from")
        loss, optimizer = accelerator.prepare(
            Loss(denoiser, self.objective), optimizer_of(denoiser, options)
        )
        average = Average(denoiser, options.ema)
        batches = Batches(self.domain, data.train, data.length, options.seed, shard)
        validation = Validation(
            self.domain,
            data.held_out,
            data.held_out_length,
            self.objective,
            self.domain.data_type(data.configuration),
            options,
            accelerator,
        )
        return Run(
            folder=self.folder,
            options=options,
            accelerator=accelerator,
            loss=loss,
            denoiser=denoiser,
            average=average,
            optimizer=optimizer,
            batches=batches,
            validation=validation if data.held_out_length else None,
            identity=identity,
            deliver=lambda progress: self._deliver(average, self._card(identity, progress)),
        )

    def _identity(self, good: Checkpoint | None) -> dict[str, Any]:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        return {
            "domain": self.domain.name,
            "objective": describe(self.objective),
            "initial": "" if self.initial is None else self.initial.hash,
            "data": {
                "training": self.data.length,
                "held_out": self.data.held_out_length,
                "fingerprint": self.data.fingerprint,
            },
            "configuration": self.data.configuration.model_dump(mode="json"),
            "training": self.options.decisive(),
            "command": command if good is None else good.state["command"],
        }

    def _card(self, identity: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        items = identity["data"]
        return {
            "data": self.source,
            "split": f"{items['training']} for training, {items['held_out']} held out",
            "command": identity["command"],
            **self.options.card,
            "training": {
                **identity["training"],
                "objective": identity["objective"],
                "fingerprint": items["fingerprint"],
                "step": progress.step,
                "finished": progress.step == self.options.steps,
                "seconds": round(progress.seconds, 1),
                "processes": self.accelerator.num_processes,
                "device": self.accelerator.device.type,
            },
            "validation": dict(progress.validation),
        }

    def _deliver(self, average: Average[Denoiser], card: Mapping[str, Any]) -> str:
        return write_bundle(
            self.folder,
            self.domain.name,
            self.data.configuration.model_dump(mode="json"),
            average.module.state_dict(),
            self.defaults,
            card,
        )


def _name(data: object) -> str:
    # A card travels with the model: the name of the data, not where they lie on this machine.
    return Path(data).name if isinstance(data, (str, Path)) else type(data).__name__
