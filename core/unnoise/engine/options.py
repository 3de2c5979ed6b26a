"""What every request may say, whatever the domain: one model, from which the signature of
`generate`, the flags of the command line and the JSON schema come."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, final

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema

from unnoise.conditioning import Potential
from unnoise.errors import InputError
from unnoise.fields import requested
from unnoise.samplers import Grid, Observation, Sampler, Start
from unnoise.samplers.grids import MAX_STEPS

R = TypeVar("R", bound=BaseModel)


def _whole(value: Any) -> Any:
    """numpy's and torch's whole numbers are whole numbers, too; words and 1.5 are not."""
    try:
        return operator.index(value)
    except TypeError:
        return value


def _times(value: Any) -> Any:
    """A number of steps, or the times of a grid from any sequence or tensor."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return _whole(value)
    return tuple(float(t) if isinstance(t, torch.Tensor) else t for t in value)


def _device(value: Any) -> Any:
    return str(value) if isinstance(value, torch.device) else value


def _called(value: Any) -> Any:
    """A callback that can be called with one argument, as far as its signature tells."""
    if value is None or not callable(value):
        return value
    try:
        inspect.signature(value).bind(None)
    except ValueError:  # it has none to look at
        pass
    except TypeError as error:
        raise ValueError(f"it is called with one argument, a Progress: {error}") from error
    return value


def _precision(value: Any) -> Any:
    """torch.float16 is float16, too."""
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


Whole = Annotated[int, BeforeValidator(_whole)]
Steps = Annotated[
    Annotated[int, Field(ge=1, le=MAX_STEPS)] | tuple[float, ...], BeforeValidator(_times)
]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1)] | Literal["auto"]
Named = Annotated[str | Sampler, WithJsonSchema({"type": "string"})]
Spread = Annotated[str | Grid, WithJsonSchema({"type": "string"})]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], BeforeValidator(_precision)]


@final
class Options(BaseModel):
    """The arguments of `generate` that all domains share. They are checked before any work.

    Those without a JSON schema are for Python alone.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )

    num_samples: Count = Field(
        1,
        description="samples for each input, >= 1, or auto: as many as the domain says",
    )
    steps: Steps | None = Field(
        None, description="steps from noise to data, or the decreasing times; default: the model's"
    )
    grid: Spread | None = Field(
        None,
        description="how steps are spread: uniform, quadratic, linspace, karras or log-snr;"
        " default: the model's own",
    )
    sampler: Named | None = Field(
        None, description="see `unnoise samplers`; default: the model's own"
    )
    seed: Whole = Field(
        0, ge=0, lt=2**64, description="sample i of a seed is the same at any batch size and order"
    )
    device: Annotated[str | None, BeforeValidator(_device)] = Field(
        None, description="cpu, cuda, ...; default: a GPU when there is one"
    )
    dtype: Precision = Field(
        "float32", description="precision in which the network computes; states stay as they are"
    )
    batch_size: Whole | None = Field(
        None, ge=1, description="samples that run at once; changes no sample; default: 64"
    )
    threads: Whole | None = Field(
        None,
        ge=1,
        le=4096,  # far more end the process in the library of threads
        description="processor threads of a network's operations; default: 1 for small networks,"
        " else as set",
    )
    exact: bool = Field(
        False,
        description="the same bytes whatever else is generated: each sample is computed by itself,"
        " on one processor thread where threads does not say otherwise",
    )
    observation: SkipJsonSchema[Observation | None] = Field(
        None, description="an `Observation`, the known part of the states"
    )
    potential: SkipJsonSchema[Potential | None] = Field(
        None,
        description="a `Potential` that samples obey, by particles; its numbers are for the states",
    )
    start: SkipJsonSchema[Start | None] = Field(
        None, description="a `Start`, a state to begin with"
    )
    callback: SkipJsonSchema[Annotated[Callable[..., Any] | None, BeforeValidator(_called)]] = (
        Field(
            None,
            description="called with a `Progress` after each step; what it raises ends the run",
        )
    )
    return_trajectory: SkipJsonSchema[bool] = Field(False, description="keep every state")
    deadline: float | None = Field(None, gt=0, description="seconds after which the run is stopped")
    ids: SkipJsonSchema[Any] = Field(
        None, description="sample numbers to generate, of all `num_samples`; all by default"
    )
    finished: SkipJsonSchema[Any] = Field(
        None, description="sample numbers to leave out: those that an earlier run has made"
    )

    @property
    def settled(self) -> Options:
        """What `exact` means: products of matrices round differently in other batches and on other
        numbers of threads."""
        if not self.exact:
            return self
        return self.model_copy(update={"batch_size": 1, "threads": self.threads or 1})

    @property
    def each(self) -> int:
        """Samples of each input, for a domain that cannot do without a number. Raises InputError
        where the request leaves that to the domain."""
        if self.num_samples == "auto":
            raise InputError(
                "this domain does not decide how many samples there are",
                value="num_samples='auto'",
                fix="pass a number",
            )
        return self.num_samples


OPTIONS: Final = tuple(Options.model_fields)
"""Their names."""
SPOKEN: Final = tuple(Options.model_json_schema()["properties"])
"""Those that a command line or JSON can say."""


def split(kind: type[R], request: Mapping[str, Any]) -> tuple[Options, R]:
    """The options that all domains share, and the domain's own request."""
    shared = {name: value for name, value in request.items() if name in OPTIONS}
    own = {name: value for name, value in request.items() if name not in OPTIONS}
    return requested(Options, shared), requested(kind, own, OPTIONS)


def signature(function: Callable[..., Any]) -> inspect.Signature:
    """That of `function(..., **request)` with every option by name, for help and editors."""
    found = inspect.signature(function)
    own = list(found.parameters.values())
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.annotation,
        )
        for name, field in Options.model_fields.items()
    ]
    return found.replace(parameters=[*own[:-1], *options, own[-1]])


def described() -> str:
    """The options as lines of a docstring."""
    return "\n".join(f"    {name} : {f.description}" for name, f in Options.model_fields.items())
