"""What a model of text is: vocabulary, noise, network, objective. Stored in the bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unnoise.errors import BundleError, ConfigError
from unnoise.specs import FromData, Only
from unnoise_text.characters import Characters, Outside
from unnoise_text.vocabulary import Subwords

CALLER: Final = "(handed in)"
"""The architecture of a network that the caller has built."""

KernelName: TypeAlias = Literal["absorbing", "uniform", "nearest", "matrix"]
ScheduleName: TypeAlias = Literal["linear", "cosine", "information"]
Goal: TypeAlias = Literal[
    "bound", "hybrid", "masked", "order_agnostic", "score_entropy", "cross_entropy"
]

CHARACTERS: Final = Only("tokenizer", ("characters",))
NEAREST: Final = Only("kernel", ("nearest",))
BUILT: Final = Only("built", because="the network was there before")


class Learned(BaseModel):
    """What the data and the files told, so that a bundle needs neither of them.

    Attributes
    ----------
    alphabet : the characters of a character model.
    tokenizer : tokenizer.json of any other.
    mask, unknown, end : numbers of its special tokens.
    hash : SHA-256 of the vocabulary; a bundle whose vocabulary was changed is refused.
    vocab : number of tokens of the network, the mask included.
    padding : whether the network was seen to read a text beside padding as it does alone; unknown
        until one with weights that were there before is probed.
    ends : whether the model has learned that the token `end` ends a text.
    frame : tokens that the network expects before and after a text.
    adjacency : of the letter graph, as rows of weights.
    transitions : one-step matrices, (1 or T, K, K).
    survival : alpha at i / n of a schedule that depends on the data.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    alphabet: str | None = None
    tokenizer: str | None = None
    mask: int | None = None
    unknown: int | None = None
    end: int | None = None
    ends: bool = False
    padding: bool | None = None
    hash: str
    vocab: int = Field(ge=2)
    frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    adjacency: tuple[tuple[float, ...], ...] | None = None
    transitions: tuple[tuple[tuple[float, ...], ...], ...] | None = None
    survival: tuple[float, ...] | None = None


class Configuration(BaseModel):
    """Options of `unnoise train text`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tokenizer: str = Field(
        "characters",
        description="characters; bpe:SIZE learns byte pairs from the training part, beginning with"
        " all bytes, or with those of that part where outside is not error; or a tokenizer.json, or"
        " a folder of transformers with one",
    )
    alphabet: Annotated[str | None, CHARACTERS] = Field(
        None, description="the characters of a character model; default: those of the data"
    )
    outside: Outside = Field(
        "error",
        description="characters that the vocabulary lacks: stop, or fold them (case, accents,"
        " digits as words) and make of the rest a space, nothing (drop) or replacement (map; a"
        " tokenizer's unknown token)",
    )
    replacement: Annotated[str, CHARACTERS, Only("outside", ("map",))] = Field(
        " ", description="what outside='map' writes, for characters"
    )
    field: str | None = Field(
        None, description="of jsonl, parquet and data sets; default: text, content or document"
    )
    held_out: int | None = Field(
        None,
        ge=0,
        description="documents kept for validation, evenly spaced over the data; default: a tenth,"
        " at most 1000; of a single document its last tenth",
    )
    length: int = Field(128, ge=2, le=1 << 16, description="tokens that the network sees at once")

    kernel: KernelName = Field(
        "absorbing",
        description="tokens become a mask, any other token, a neighbour in a graph, or what"
        " transitions says",
    )
    graph: Annotated[str, NEAREST] = Field(
        "contexts",
        description="of the nearest kernel: contexts (tokens with like neighbours in the data),"
        " alphabet (order of the vocabulary), or a .npy file of embeddings (K, d)",
    )
    neighbours: Annotated[int, NEAREST] = Field(
        4, ge=1, le=4096, description="of each token in that graph"
    )
    transitions: str | None = Field(
        None, description="of the matrix kernel: a .npy file (K, K) or (T, K, K), rows = from"
    )
    schedule: Annotated[ScheduleName, Only("kernel", ("absorbing", "uniform", "nearest"))] = Field(
        "linear", description="survival of a token: linear (1/(T-t+1)), cosine, or information"
    )
    chain: int | None = Field(
        None, ge=1, le=10_000, description="T of a discrete process; default: continuous time"
    )
    posterior: Literal["mixture", "joint"] = Field(
        "mixture", description="the exact posterior, or the normalised joint of D3PM"
    )
    goal: Goal | None = Field(
        None,
        description="what is minimised: bound, hybrid (bound and cross-entropy), masked (MDLM),"
        " order_agnostic (ARDM), score_entropy (SEDD, with ratios as its parametrization), or"
        " cross_entropy alone; default: masked for the absorbing kernel, else hybrid",
    )
    hybrid: Annotated[float, Only("aim", ("hybrid",), "it is a weight in the goal hybrid")] = Field(
        0.01, ge=0, le=1e6, description="weight of the cross-entropy in hybrid"
    )

    architecture: Annotated[str, BUILT] = Field(
        "modernbert", description="any masked language model of transformers, by its model_type"
    )
    width: Annotated[int, BUILT] = Field(256, ge=8, le=16_384, description="of the hidden states")
    depth: Annotated[int, BUILT] = Field(6, ge=1, le=512, description="layers")
    heads: Annotated[int, BUILT] = Field(4, ge=1, le=1024, description="of attention")
    inner: Annotated[int | None, BUILT] = Field(
        None, ge=1, le=65_536, description="width inside a layer; default: 1.5 width"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="more entries of the transformers configuration"
    )

    temperature: float = Field(
        1.0, gt=0, le=10, description="of generated text, where a request names none"
    )

    learned: Annotated[Learned | None, FromData()] = None

    @field_validator("settings", mode="after")
    @classmethod
    def _read(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Numbers and truths that came as words of a command line."""
        return {name: _value(value) for name, value in values.items()}

    @model_validator(mode="after")
    def _fits(self) -> Configuration:
        if self.width % self.heads:
            raise ValueError("width is a multiple of heads")
        if self.goal in ("masked", "order_agnostic") and self.kernel != "absorbing":
            raise ValueError(f"the goal {self.goal} belongs to the absorbing kernel")
        clocked = self.chain is not None or self.schedule == "information"
        if self.goal == "score_entropy" and (
            clocked or self.kernel not in ("absorbing", "uniform")
        ):
            raise ValueError(
                "score_entropy needs continuous time, and the absorbing or the uniform kernel"
            )
        if (self.kernel == "matrix") != (self.transitions is not None):
            raise ValueError("the matrix kernel and transitions belong together")
        return self

    @property
    def aim(self) -> Goal:
        """What is minimised: the goal, or the usual one of the kernel."""
        return self.goal or ("masked" if self.kernel == "absorbing" else "hybrid")

    @property
    def built(self) -> bool:
        """Whether the network is made here, and was not there before."""
        return self.architecture != CALLER and "vocab_size" not in self.settings

    @property
    def known(self) -> Learned:
        """What the data told, of a completed configuration."""
        if self.learned is None:
            raise ConfigError(
                "the configuration has no vocabulary", fix="complete it with Text().configure(data)"
            )
        return self.learned

    @property
    def vocabulary(self) -> Characters | Subwords:
        """The vocabulary. BundleError when it is not the one that the model was made with."""
        return _vocabulary(self)

    def reading(self, outside: Outside) -> Configuration:
        """This, with another way to read what the vocabulary lacks: for one request."""
        own = self.vocabulary
        changed = replace(own, outside=outside)  # which checks the replacement
        known = self.known.model_copy(update={"hash": changed.hash})
        return self.model_copy(update={"outside": outside, "learned": known})


def _value(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


@lru_cache(maxsize=4)  # reading a tokenizer takes as long as some steps of a small network
def _subwords(
    content: str, mask: int | None, unknown: int | None, end: int | None, outside: Outside
) -> Subwords:
    return Subwords(content, mask, unknown, end, outside)


def _vocabulary(configuration: Configuration) -> Characters | Subwords:
    known, outside = configuration.known, configuration.outside
    found: Characters | Subwords
    if known.alphabet is not None:
        found = Characters(known.alphabet, outside, configuration.replacement)
    elif known.tokenizer is not None:
        found = _subwords(known.tokenizer, known.mask, known.unknown, known.end, outside)
    else:
        raise ConfigError("the configuration has neither an alphabet nor a tokenizer")
    if found.hash != known.hash:
        raise BundleError(
            "the vocabulary is not the one that this model was made with",
            value=found.hash[:16],
            limit=known.hash[:16],
            fix="take the bundle as it was written",
        )
    if found.size > known.vocab:
        raise BundleError(
            "the vocabulary is larger than the network's", value=found.size, limit=known.vocab
        )
    return found
