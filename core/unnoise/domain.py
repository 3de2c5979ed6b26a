"""What a plugin implements: a domain, and the tasks that it hands to the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, final

from pydantic import BaseModel
from torch.utils.data import Dataset

from unnoise.codecs import Codec, Identity
from unnoise.denoise import Condition, Denoiser
from unnoise.objectives import Batch, Continuous, DataType, Objective, Simple
from unnoise.samplers import Observation, Sampler, Start
from unnoise.spaces import Layout, State
from unnoise.trajectory import Frame

__all__ = ["Batch", "Domain", "Plan", "Task", "Trained"]


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
    denoiser : when it is not the model's own, e.g. with guidance around it.
    sampler : when what is asked for needs one of its own; a request may not name another then.
    rows : places in the batch of the samples that it is about, by default all: those that are
        drawn again.
    evaluations : of a network that the plan itself has made for this task; they are counted too.
    """

    layout: Layout
    condition: Condition = None
    observation: Observation | None = None
    start: Start | None = None
    denoiser: Denoiser | None = None
    sampler: Sampler | None = None
    rows: Sequence[int] | None = None
    evaluations: int = 0


Plan: TypeAlias = "Generator[Task, State, list[Any]]"
"""Yields tasks, is sent their final states (on the CPU), returns native objects, one per sample."""


class Domain(ABC):
    """A modality: how requests become diffusions, and their final states native objects.

    Attributes
    ----------
    name : as registered.
    Request : pydantic model of what a user may ask for; unknown fields forbidden.
    Configuration : pydantic model of everything that `build` needs; saved in the bundle.
    bundle : folder of the trained model that ships with the plugin.
    demo : the arguments of `generate` that show the shipped model at its best, in seconds; what a
        command line can say: numbers, words and lists of them.
    metrics : what `unnoise evaluate` can measure beside likelihoods, by name: subclasses of
        `unnoise.model.Metric`.
    strip : how the demo page lays out a trajectory: moments side by side, or one below the other.

    The methods that are not abstract may be replaced where the default does not fit.
    """

    name: ClassVar[str]
    Request: ClassVar[type[BaseModel]]
    Configuration: ClassVar[type[BaseModel]]
    bundle: ClassVar[Path | None] = None
    demo: ClassVar[Mapping[str, Any]] = {"num_samples": 8}
    metrics: ClassVar[Mapping[str, type[BaseModel]]] = {}
    strip: ClassVar[Literal["across", "down"]] = "across"

    @abstractmethod
    def build(self, configuration: Any) -> Denoiser:
        """A denoiser with fresh weights."""

    def codec(self, configuration: Any) -> Codec:
        """What makes states of the data, with fresh weights where it learns; by default they are
        the same. `collate` makes batches of data, and `plan` receives final states."""
        return Identity()

    def defaults(self, configuration: Any) -> Mapping[str, Any]:
        """ "steps", "grid" and "sampler" for models of this configuration, written into the bundle;
        what is left out is chosen by the engine."""
        return {}

    @abstractmethod
    def plan(self, request: Any, model: Trained, ids: Sequence[int]) -> Plan:
        """Generate the samples numbered `ids`.

        A generator: it yields a Task with len(ids) samples, receives the final state, and returns
        a list of len(ids) native objects. It may yield several tasks, one after the other.
        """

    @abstractmethod
    def dataset(
        self, source: Any, configuration: Any, part: Literal["train", "validation"]
    ) -> Dataset[Any]:
        """The examples of one part of `source`; the split is the domain's."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Batch:
        """Examples to a batch of clean data."""

    @abstractmethod
    def write(self, sample: Any, folder: Path, stem: str) -> Path:
        """Write one native object into `folder` as a file called `stem`, and return its path."""

    @abstractmethod
    def preview(self, samples: Sequence[Any]) -> str:
        """A self-contained HTML fragment that shows the samples: no scripts, no addresses except
        `data:`, text escaped, every element closed, and no colours that need a light page."""

    def gather(self, groups: Sequence[Sequence[Path]], folder: Path) -> Sequence[Path]:
        """What is done with the files of a finished request, one list for each of its inputs, in
        order: a domain may put files in `folder` that belong together into one, and return
        that. By default they stay as they are."""
        return [path for group in groups for path in group]

    def preview_trajectory(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> Sequence[Sequence[str]]:
        """HTML fragments of a few moments on the way from noise to data: for each sample whose
        place in the batch is in `rows`, one fragment per frame. Nothing when there is none.

        The page writes the time beside each moment; fragments fill the width they are given.
        """
        return []

    def terminal(self, state: State, model: Trained) -> str:
        """The first sample of a batch of states as text, for those who watch it in a terminal;
        empty where there is nothing to see."""
        return ""

    def configure(self, source: Any, options: Mapping[str, Any]) -> Any:
        """A configuration from the user's options, completed by what the data tell."""
        return self.Configuration(**options)

    def objective(self, configuration: Any) -> Objective:
        """What to train on when the user does not say."""
        return Simple()

    def teacher(self, model: Trained) -> tuple[Denoiser, Any]:
        """What a student of `model` is distilled from, and the student's configuration. A domain
        with guidance returns the guided denoiser, and a configuration that needs none."""
        return model.denoiser, model.configuration

    def data_type(self, configuration: Any) -> DataType:
        """What the numbers of the clean data are: what a likelihood of them means."""
        return Continuous()

    def counts(self, samples: Sequence[Any]) -> Mapping[str, int]:
        """What a record should say of finished samples, in numbers that add up over batches: how
        many failed a check, were drawn again or dropped."""
        return {}

    def units(self, configuration: Any, items: Sequence[Any]) -> Mapping[str, int]:
        """Units of data items other than the dimension, by name, and how many of each they are:
        an evaluation gives bits for them, too."""
        return {}

    def inputs(self, request: Any) -> int:
        """How many inputs a request holds; each gets `num_samples` samples, in order."""
        return 1

    def input_of(self, request: Any, number: int, num_samples: int) -> int:
        """Which input the sample with this number belongs to."""
        return number // num_samples


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model as plain data: what plans and the engine see. `unnoise.model.Model` is one
    that can generate.

    Attributes
    ----------
    domain, denoiser, configuration : what was trained.
    codec : between the data and the states of the denoiser.
    defaults : "steps", "grid", "sampler" when a request does not say.
    card : data, licence, split, command, numbers.
    hash : identifies weights and configuration.
    """

    domain: Domain
    denoiser: Denoiser
    configuration: Any
    codec: Codec = field(default_factory=Identity)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""
