"""Training: data and a domain in, a run folder out that is also a bundle.

    out/config.json, model.safetensors    the bundle of the averaged weights, from the first
                                          checkpoint on
    out/checkpoints/                      what `resume=True` continues from
    out/log.jsonl, out/tensorboard/       the curves
    out/samples/                          what the model makes on its way

The result is a function of data, configuration and seed. A run that was killed and resumed ends
with the same bytes on the CPU; a run on several processes (`accelerate launch`) sees the same
data and the same noise and ends with the same weights up to rounding.
"""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from unnoise.compat import torch_as_usual
from unnoise.discovery.domains import built, codec_of, defaults_of, objective_of, trainable_named
from unnoise.domain import Trainable
from unnoise.engine.threads import fitting, threads
from unnoise.errors import BundleError, ConfigError
from unnoise.fields import check_read
from unnoise.model import Model
from unnoise.objectives import Elapsed, Networks, Objective, Turn
from unnoise.storage.bundle import OTHERS, write_bundle
from unnoise.storage.files import as_path, disk_errors, removed_unused, writable_folder
from unnoise.storage.lock import locked
from unnoise.storage.tensors import fit_weights
from unnoise.training import checkpoint as checkpoints
from unnoise.training import samples
from unnoise.training.average import Average, rebound
from unnoise.training.checkpoint import Checkpoint
from unnoise.training.continued import continued, planned, source_of
from unnoise.training.data import Batches, Shard, mix
from unnoise.training.loop import run_steps
from unnoise.training.options import TrainingConfiguration
from unnoise.training.record import truncate
from unnoise.training.samples import Samples
from unnoise.training.setup import (
    Data,
    agree,
    checkpoint_in,
    describe,
    generators_kept,
    open_data,
    split_options,
    start_processes,
)
from unnoise.training.step import Run, Standing, seed_generators
from unnoise.training.turns import Loss, Optimised, described, optimised
from unnoise.training.validate import Validation

__all__ = ["TrainingConfiguration", "train"]


def train(domain: Trainable | str, data: Any, out: str | Path, **options: Any) -> Model:
    """Train a model of `domain` on `data`, in the folder `out`.

    Parameters
    ----------
    domain
        What the data are: a domain, or the name of an installed one.
    data
        Anything that the domain's `configure` and `dataset` understand, e.g. a folder. None for the
        folder of the run that is resumed.
    out
        The folder of the run. It must not contain a run unless `resume=True`.
    **options
        Fields of `TrainingConfiguration`; `objective`, an `unnoise.objectives.Objective`, by
        default the domain's; `initial`, a Model to start from, which also says what is not given
        (`Trainable.carried`); `defaults`, the steps and sampler that the bundle suggests; all
        others are fields of the domain's configuration. A run that is resumed remembers its data
        and options but `max_minutes`; those given must be the same, but `steps` may be more than
        were planned: the learning rate goes on where a run of so many steps would be.

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
    domain = domain if isinstance(domain, Trainable) else trainable_named(domain)
    return train_as(domain, data, as_path(out, "out"), options, options)


@torch_as_usual()
def train_as(
    domain: Trainable,
    data: Any,
    folder: Path,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Model:
    """As `train`, with all `options` of which somebody has `given` a part: what that names and the
    run does not read is refused."""
    data, options = continued(domain, folder, data, options)
    training, own = split_options(domain, options)
    check_read(training, given)
    with _one_at_a_time, torch.enable_grad():
        return _trained(domain, data, folder, training, own, given)


_one_at_a_time = threading.RLock()
"""Training draws from the process's generators, seeded at each step: a second training in another
thread waits for the first, or both would get other weights than they promise."""


def _trained(
    domain: Trainable,
    data: Any,
    folder: Path,
    training: TrainingConfiguration,
    own: dict[str, Any],
    given: Mapping[str, Any],
) -> Model:
    objective, initial = own.pop("objective", None), own.pop("initial", None)
    defaults = own.pop("defaults", {})
    accelerator = start_processes(training)
    with ExitStack() as stack:
        good = checkpoint_in(folder, training)
        accelerator.wait_for_everyone()  # all have seen it before the first one writes
        if accelerator.is_main_process:
            stack.enter_context(removed_unused(folder))
            writable_folder(folder)
            stack.enter_context(locked(folder, "training into"))
            good = checkpoint_in(folder, training)  # nobody has written since
            checkpoints.clean(folder)
        stack.enter_context(generators_kept())
        opened = open_data(domain, data, own, given)
        if objective is None:
            seed_generators(mix(training.seed, 0), accelerator.device)  # it may have weights
            objective = objective_of(domain, opened.configuration)
        undertaking = _Undertaking(
            domain,
            folder,
            training,
            opened,
            objective,
            initial,
            {**defaults_of(domain, opened.configuration), **defaults},
            data,
            accelerator,
        )
        return undertaking.carry_out(good)


@dataclass(frozen=True)
class _Undertaking:
    """A run before its networks exist."""

    domain: Trainable
    folder: Path
    options: TrainingConfiguration
    data: Data
    objective: Objective
    initial: Model | None
    defaults: Mapping[str, Any]
    source: Any
    accelerator: Accelerator

    def carry_out(self, good: Checkpoint | None) -> Model:
        if good is None:
            self.domain.check_start(self.data.configuration, self.initial)
        run = self._run(good)
        if good is not None:
            agree(good, run.identity, self.options)
        standing = Standing(0, 0.0, {})
        if good is not None:
            optimizers = [(turn.parameters, turn.optimizer.optimizer) for turn in run.turns]
            checkpoints.restore(good, run.networks, run.average.module, optimizers)
            if run.accelerator.scaler is not None:
                run.accelerator.scaler.load_state_dict(good.state["scaler"])
            standing = Standing(good.step, good.state["seconds"], good.state["validation"])
        if self.accelerator.is_main_process:
            with disk_errors("shortening the log"):
                truncate(self.folder, standing.step)
        with threads(self.options.threads or self._fitting(run)):
            standing = run_steps(run, standing)
        card = self._card(run.identity, standing)
        networks = run.average.module
        digest = [self._deliver(networks, card) if self.accelerator.is_main_process else ""]
        return Model(
            domain=self.domain,
            denoiser=networks.denoiser,
            configuration=self.data.configuration,
            codec=networks.codec,
            defaults=self.defaults,
            card=card,
            hash=broadcast_object_list(digest)[0],
            others=networks.others.state_dict(),
        )

    def _run(self, good: Checkpoint | None) -> Run:
        options, accelerator, data = self.options, self.accelerator, self.data
        networks = self._networks()
        own = self.objective.turns(networks)
        turns = optimised(networks, own, options)
        loss, *optimizers = accelerator.prepare(
            Loss(networks, own), *(turn.optimizer for turn in turns)
        )
        turns = [replace(t, optimizer=o) for t, o in zip(turns, optimizers, strict=True)]
        average = Average(networks, options.ema)
        identity = self._identity(good, own)
        return Run(
            folder=self.folder,
            options=options,
            accelerator=accelerator,
            loss=loss,
            networks=networks,
            average=average,
            turns=turns,
            parts=self._parts(),
            validation=self._validation(turns, average.module) if data.held_out_length else None,
            samples=self._samples(average.module),
            identity=identity,
            deliver=lambda at: self._deliver(average.module, self._card(identity, at)),
        )

    def _fitting(self, run: Run) -> int | None:
        """The number of threads, a function of the networks and of the run's first batch."""
        if self.accelerator.device.type != "cpu" or torch.get_num_threads() == 1:
            return None
        return fitting(run.networks, run.parts[0][0].x0)

    def _parts(self) -> tuple[Batches, ...]:
        """This process's share of each batch, cut into those that are worked on one by one."""
        data, options = self.data, self.options
        size, count = options.batch_size, options.accumulate
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        shards = [Shard(size, rank * count + k, processes * count) for k in range(count)]
        return tuple(
            Batches(self.domain, data.train, data.length, options.seed, shard) for shard in shards
        )

    def _networks(self) -> Networks:
        """All that learns, with fresh weights or those to start from."""
        seed_generators(mix(self.options.seed), self.accelerator.device)
        configuration = self.data.configuration
        denoiser = built(self.domain, configuration)
        networks = Networks(denoiser, codec_of(self.domain, configuration), self.objective.others())
        if self.initial is not None:
            theirs = {key.partition(".")[0] for key in self.initial.others}
            fresh = {
                f"{OTHERS}{name}.{key}": value
                for name, module in networks.others.items()
                if name not in theirs
                for key, value in module.state_dict().items()
            }
            known = {
                f"{OTHERS}{key}": value
                for key, value in self.initial.others.items()
                if key.partition(".")[0] in networks.others
            }
            own = Networks(self.initial.denoiser, self.initial.codec).state_dict()
            start = self.domain.inherited(configuration, self.initial, {**own, **known})
            try:
                fit_weights(networks, {**fresh, **start}, "the weights to start from")
            except BundleError as error:
                if not (changed := self._changed(configuration)):
                    raise
                fix = f"leave out what makes another network of it: {', '.join(changed)}"
                raise ConfigError(error.message, fix=fix) from error
        return networks

    def _changed(self, configuration: Any) -> list[str]:
        """Options in which the run differs from the model that it starts from."""
        assert self.initial is not None
        kept = self.domain.carried(self.initial.configuration)
        return sorted(n for n, value in kept.items() if getattr(configuration, n, value) != value)

    def _validation(self, turns: Sequence[Optimised], average: Networks) -> Validation:
        objective = rebound(self.objective, self.objective.others(), average.others)
        labels = [turn.label for turn in turns]
        return Validation(
            self.domain,
            self.data.held_out,
            self.data.held_out_length,
            list(zip(labels, objective.turns(average), strict=True)),
            self.domain.data_type(self.data.configuration),
            self.options,
            self.accelerator,
        )

    def _samples(self, average: Networks) -> Samples:
        model = Model(
            self.domain,
            average.denoiser,
            self.data.configuration,
            self.defaults,
            codec=average.codec,
        )
        return Samples(
            samples.folder_of(self.folder),
            model,
            self.data.held_out,
            str(self.accelerator.device),
            self.options.samples_every,
        )

    def _identity(self, good: Checkpoint | None, turns: Sequence[Turn]) -> dict[str, Any]:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        return {
            "domain": self.domain.name,
            "objective": describe(self.objective),
            "turns": [described(turn) for turn in turns],
            "initial": self._origin(good),
            "data": {
                "training": self.data.length,
                "held_out": self.data.held_out_length,
                "fingerprint": self.data.fingerprint,
            },
            "configuration": self.data.configuration.model_dump(mode="json"),
            "training": self.options.decisive(),
            "command": command if good is None else good.state["command"],
            "plans": planned(good, self.options),
            "source": source_of(self.source),
            "options": self.options.model_dump(mode="json", exclude={"resume", "max_minutes"}),
            "defaults": dict(self.defaults),
        }

    def _origin(self, good: Checkpoint | None) -> str:
        """The hash of the weights that the run began with, if it began with any."""
        if self.initial is not None:
            return self.initial.hash
        return "" if good is None else str(good.state["initial"])

    def _card(self, identity: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
        items = identity["data"]
        return {
            "data": _name(self.source),
            "split": f"{items['training']} for training, {items['held_out']} held out",
            "command": identity["command"],
            **self.options.card,
            "training": {
                **identity["training"],
                "objective": identity["objective"],
                "fingerprint": items["fingerprint"],
                "step": standing.step,
                "finished": standing.step == self.options.steps,
                "progress": round(float(self._progress(standing)), 4),
                "seconds": round(standing.seconds, 1),
                **({"plans": identity["plans"]} if len(identity["plans"]) > 1 else {}),
                **({"initial": identity["initial"]} if identity["initial"] else {}),
                "processes": self.accelerator.num_processes,
                "device": self.accelerator.device.type,
            },
            "validation": dict(standing.validation),
        }

    def _progress(self, standing: Standing) -> Elapsed:
        return self.options.elapsed(standing.step, self.options.time_used(standing.seconds))

    def _deliver(self, average: Networks, card: Mapping[str, Any]) -> str:
        return write_bundle(
            self.folder,
            self.domain.name,
            self.data.configuration.model_dump(mode="json"),
            average.state_dict(),
            self.defaults,
            card,
        )


def _name(data: object) -> str:
    # A card travels with the model: the name of the data, not where they lie on this machine.
    return Path(data).name if isinstance(data, (str, Path)) else type(data).__name__
