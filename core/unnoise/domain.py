"""What a plugin implements: a domain, and the tasks that it hands to the engine.

A request is prepared once, into one prepared input each; a plan then makes the samples of a batch,
each of which is one `Draw`: sample number n belongs to input n // num_samples, of which it is
repeat n % num_samples. A domain that knows how many samples an input needs says so in `enough`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, cast, final

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.utils.data import Dataset

from unnoise.codecs import Codec, Identity
from unnoise.conditioning import Potential
from unnoise.denoise import Condition, Denoiser
from unnoise.display import Display, Listed
from unnoise.engine.options import Options
from unnoise.errors import InputError, PluginError
from unnoise.noise import Window
from unnoise.objectives import Batch, Continuous, DataType, Objective, Simple
from unnoise.samplers import Grid, Observation, Sampler, Start
from unnoise.spaces import Layout, State

__all__ = [
    "Batch",
    "Domain",
    "Draw",
    "Partial",
    "Plan",
    "Refused",
    "Task",
    "Trainable",
    "Trained",
    "Window",
    "inputs_of",
]


@final
@dataclass(frozen=True)
class Draw:
    """One sample of a request.

    Attributes
    ----------
    number : of the sample in the request; what its noise is a function of.
    input : place of its prepared input.
    repeat : which of the input's samples it is.
    """

    number: int
    input: int
    repeat: int


@final
@dataclass(frozen=True, eq=False)
class Task:
    """One diffusion to run.

    Attributes
    ----------
    layout : of the batch; any device, the engine moves it.
    condition : tensors with one leading row per sample.
    observation : a known part of the result.
    start : a state to start from instead of the prior.
    denoiser : when it is not the model's own: with guidance around it, or another network.
    sampler : when what is asked for needs one of its own; a request may not name another then.
    steps, grid : of this diffusion, as in `Options`; by default those of the request or the model.
    rows : places in the batch of the samples that it is about, by default all: those that are
        drawn again.
    potential : what the samples shall obey, by particles; that of the request is obeyed, too.
    around : what is put around the sampler, whoever named it: `Restart`, for instance.
    evaluations : of a network that the plan itself has made for this task; they are counted too.
    window : the piece of a long signal that it is about: its noise is what the whole signal, the
        task with `Window()`, draws there. Tasks about overlapping pieces agree where they overlap.
    """

    layout: Layout
    condition: Condition = None
    observation: Observation | None = None
    start: Start | None = None
    denoiser: Denoiser | None = None
    sampler: Sampler | None = None
    steps: int | Sequence[float] | None = None
    grid: str | Grid | None = None
    rows: Sequence[int] | None = None
    evaluations: int = 0
    potential: Potential | None = None
    around: Callable[[Sampler], Sampler] | None = None
    window: Window | None = None


@final
@dataclass(frozen=True, eq=False)
class Partial:
    """Native objects that are finished while the rest of a batch is not.

    Each belongs to the place in the batch that `rows` names, by default to all in order. A place
    may be finished in several parts, one after the other: `Domain.join` makes a sample of them.
    The engine hands them out at once and keeps nothing.
    """

    samples: Sequence[Any]
    rows: Sequence[int] | None = None


@final
@dataclass(frozen=True)
class Refused:
    """An input that cannot be used where the others of its request can: one of the list that
    `prepare` returns, or what a plan returns in place of a sample. It has no samples, the numbers
    of all others stay, and it is on record.

    Attributes
    ----------
    where : its place, a file and a line for instance.
    reason : in a sentence.
    """

    where: str
    reason: str


Plan: TypeAlias = "Generator[Task | Partial, State, list[Any]]"
"""Yields tasks, is sent their final states (on the CPU), returns native objects, one per draw: None
for one that was handed out in a `Partial` and has nothing more."""


def inputs_of(**fields: Any) -> list[dict[str, Any]]:
    """The inputs of a request whose `fields` each take one value for all inputs, or a list with one
    for each: a dict of single values for each input.

    Raises InputError for lists of other lengths, or of none.
    """
    sizes = {name: len(value) for name, value in fields.items() if isinstance(value, list)}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise InputError(
            "lists of a request have one length",
            value=sizes,
            limit=">= 1",
            fix="a single value, or a list with as many as the others",
        )
    return [
        {n: value[i] if isinstance(value, list) else value for n, value in fields.items()}
        for i in range(next(iter(sizes.values()), 1))
    ]


class Domain(ABC):
    """A modality: how requests become diffusions, and their final states native objects.

    Attributes
    ----------
    name : as registered.
    Request : pydantic model of what a user may ask for; unknown fields forbidden.
    demo : the arguments of `generate` that show the shipped model at its best, in seconds; what a
        command line can say: numbers, words and lists of them.
    display : what it shows of samples.
    adopt : names of the domains whose models it runs on, when it has none of its own; the shipped
        model of the first serves a request that names none.
    metrics : what `unnoise evaluate` can measure, by name, beside the likelihoods of a domain that
        has models of its own: subclasses of `unnoise.model.Metric`.

    The methods that are not abstract may be replaced where the default does not fit.
    """

    name: ClassVar[str]
    Request: ClassVar[type[BaseModel]]
    demo: ClassVar[Mapping[str, Any]] = {"num_samples": 8}
    display: ClassVar[Display[Trained]] = Listed()
    adopt: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[Mapping[str, type[BaseModel]]] = {}

    def prepare(self, request: Any, model: Trained, options: Options) -> Sequence[Any]:
        """The inputs of a request, each as its samples need it: files are read, texts encoded,
        wrong values refused here, once and before any work. By default the request is its only
        input. `Refused` stands for an input that is left out."""
        return [request]

    @abstractmethod
    def plan(self, inputs: Sequence[Any], model: Trained, draws: Sequence[Draw]) -> Plan:
        """Generate the samples `draws` of a request whose prepared inputs are `inputs`.

        A generator: it yields a Task with len(draws) samples, receives the final state, and returns
        a list of len(draws) native objects, `Refused` for what turned out to be impossible. It may
        yield several tasks, one after the other, and hand out in a `Partial` what is finished
        before the rest.
        """

    @abstractmethod
    def write(self, sample: Any, folder: Path, stem: str) -> Path:
        """Write one native object into `folder` as a file called `stem`, and return its path."""

    def enough(self, prepared: Any) -> int:
        """How many samples a prepared input needs, for requests that leave that to the domain."""
        raise InputError(
            f"the domain {self.name!r} does not know how many samples are enough",
            value="num_samples='auto'",
            fix="pass a number",
        )

    def join(self, parts: Sequence[Any]) -> Any:
        """One sample from the parts in which a plan handed it out."""
        if len(parts) != 1:
            raise PluginError(
                f"the domain {self.name!r} hands out samples in parts and cannot join them",
                value=len(parts),
                fix="its author implements Domain.join",
            )
        return parts[0]

    def alike(self, prepared: Any, model: Trained) -> Hashable | None:
        """What prepared inputs of different requests have in common that one plan may make samples
        of: `unnoise serve` puts those into one batch. None, the default, for an input that shares
        no batch with strangers: where a plan reads anything but its own draws' inputs."""
        return None

    def notes(self, inputs: Sequence[Any]) -> Sequence[str]:
        """What whoever reads the result should know of how its prepared inputs were taken, in a
        sentence each: parts that the model does not see, for instance."""
        return []

    def counts(self, samples: Sequence[Any]) -> Mapping[str, int]:
        """What a record should say of finished samples, in numbers that add up over batches: how
        many failed a check, were drawn again or dropped."""
        return {}


class Trainable(Domain):
    """A domain with models of its own.

    Attributes
    ----------
    Configuration : pydantic model of everything that `build` needs; saved in the bundle.
    bundle : folder of the trained model that ships with the plugin.
    variants : folders of further ones, by name: `unnoise.load("DOMAIN/NAME")`.
    """

    Configuration: ClassVar[type[BaseModel]]
    bundle: ClassVar[Path | None] = None
    variants: ClassVar[Mapping[str, Path]] = {}

    @abstractmethod
    def build(self, configuration: Any) -> Denoiser:
        """A denoiser with fresh weights."""

    def foreign(self, folder: Path) -> Trained | None:
        """The model that another library has written into `folder`, as one of this domain, for
        `unnoise.load` and `--model`; None where it is none that this domain reads. Errors of ours
        where it is one, and cannot be used."""
        return None

    def check_start(self, configuration: Any, initial: Trained | None) -> None:
        """ConfigError for a configuration that a new run cannot train from the weights of
        `initial`, None for fresh ones."""
        return

    def carried(self, configuration: Any) -> Mapping[str, Any]:
        """The options of a run that starts from a model of this configuration, where they are not
        given: all of them, by default. A domain leaves out what is about the data alone."""
        return dict(configuration)

    def inherited(
        self, configuration: Any, initial: Trained, weights: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The weights with which a run of this configuration starts from `initial`, whose own are
        `weights`: the same by default, which must fit. A domain whose networks depend on the data,
        e.g. on the number of classes, makes them fit where that has a meaning."""
        return weights

    def check_save(self, model: Trained) -> None:
        """ConfigError for a model that no bundle could make again: what is saved can be loaded."""
        return

    def codec(self, configuration: Any) -> Codec:
        """What makes states of the data, with fresh weights where it learns; by default they are
        the same. `collate` makes batches of data, and a plan decodes the final states that it
        receives, `Trained.decode`."""
        return Identity()

    @abstractmethod
    def dataset(
        self, source: Any, configuration: Any, part: Literal["train", "validation"]
    ) -> Dataset[Any]:
        """The examples of one part of `source`; the split is the domain's.

        Augmentation is drawn from torch's default generator, which is seeded before each item is
        made, and from nothing else.
        """

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Batch:
        """Examples to a batch of clean data."""

    def configure(self, source: Any, options: Mapping[str, Any]) -> Any:
        """A configuration from the user's options, completed by what the data tell."""
        return self.Configuration(**options)

    def defaults(self, configuration: Any) -> Mapping[str, Any]:
        """ "steps", "grid" and "sampler" for models of this configuration, written into the bundle;
        what is left out is chosen by the engine."""
        return {}

    def trial(self, configuration: Any, held_out: Dataset[Any]) -> Mapping[str, Any] | None:
        """The arguments of `generate` that show, in seconds, how far a model of this configuration
        is while it is trained; `held_out` is the validation part of its data, which may be empty.
        By default the demo, which is made for the shipped model; None where nothing is shown."""
        return self.demo

    def objective(self, configuration: Any) -> Objective:
        """What to train on when the user does not say."""
        return Simple()

    def data_type(self, configuration: Any) -> DataType:
        """What the numbers of the clean data are: what a likelihood of them means."""
        return Continuous()

    def units(self, configuration: Any, items: Sequence[Any]) -> Mapping[str, int]:
        """Units of data items other than the dimension, by name, and how many of each they are:
        an evaluation gives bits for them, too."""
        return {}

    def things(self, source: Any, configuration: Any) -> Sequence[tuple[str, Any]]:
        """All examples in `source`, each with a name for people: what `unnoise unusual` looks at.
        By default those of both parts of the dataset, by their places; a domain whose dataset
        augments the training part, or knows where an example is from, says it better."""
        found: list[tuple[str, Any]] = []
        for part in ("train", "validation"):
            data: Any = self.dataset(source, configuration, cast(Any, part))
            found += [(f"{part} {place}", data[place]) for place in range(len(data))]
        return found

    def teacher(self, model: Trained) -> tuple[Denoiser, Any]:
        """What a student of `model` is distilled from, and the student's configuration. A domain
        with guidance returns the guided denoiser, and a configuration that needs none."""
        return model.denoiser, model.configuration


@dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """A trained model as plain data: what plans and the engine see. `unnoise.model.Model` is one
    that can generate.

    Attributes
    ----------
    domain, denoiser, configuration : what was trained.
    defaults : "steps", "grid", "sampler" when a request does not say.
    card : data, licence, split, command, numbers.
    hash : identifies weights and configuration.
    codec : between the data and the states of the denoiser, by default the domain's for this
        configuration.
    others : weights of what was trained beside, by name, which generating does not need: a run that
        starts from this model starts with them.
    """

    domain: Trainable
    denoiser: Denoiser
    configuration: Any
    defaults: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""
    codec: Codec = field(default=cast(Codec, None))  # until the domain is asked
    others: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if cast(Any, self.codec) is None:
            object.__setattr__(self, "codec", self.domain.codec(self.configuration).eval())

    def __repr__(self) -> str:
        numbers = sum(p.numel() for p in self.denoiser.parameters())
        name = f", hash {self.hash[:12]}" if self.hash else ""
        what = f"{numbers:,} parameters, {type(self.denoiser.kernel).__name__}{name}"
        return f"{type(self).__name__}({self.domain.name!r}, {what})"

    @torch.no_grad()
    def decode(self, state: State, layout: Layout, condition: Condition = None) -> State:
        """The data behind final states with this layout: the most probable ones, on the CPU."""
        where = next((p.device for p in self.codec.parameters()), torch.device("cpu"))
        told = condition and {name: value.to(where) for name, value in condition.items()}
        found = self.codec.decode(_to(state, where), layout.to(where), told).mode
        return _to(found, torch.device("cpu"))


def _to(x: State, device: torch.device) -> State:
    return x.to(device) if isinstance(x, Tensor) else {n: v.to(device) for n, v in x.items()}
