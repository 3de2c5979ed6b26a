"""The audio domain: x_0 is sound in blocks of one hop, told by its mel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import BaseModel, ConfigDict

from unnoise.codecs import Codec
from unnoise.denoise import NetworkDenoiser, V
from unnoise.domain import Batch, Draw, Plan, Trainable, Trained
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.spaces import Euclidean
from unnoise_audio import data
from unnoise_audio.codec import codec_of
from unnoise_audio.configuration import Configuration
from unnoise_audio.network import FrameNet


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    mel: Any = None


@final
class Audio(Trainable):
    """A vocoder."""

    name: ClassVar[str] = "audio"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        return {"steps": 6, "sampler": "ddim", "grid": "uniform"}

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        return data.configure(source, options)

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        kernel = GaussianKernel(Euclidean(), VPCosine())
        return NetworkDenoiser(FrameNet(configuration), kernel, V())

    def codec(self, configuration: Configuration) -> Codec:
        return codec_of(configuration)

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Crops:
        return data.dataset(source, configuration, part)

    def collate(self, items: Sequence[data.Item]) -> Batch:
        return data.collate(items)

    def plan(self, inputs: Sequence[Any], model: Trained, draws: Sequence[Draw]) -> Plan:
        raise NotImplementedError
        yield

    def write(self, sample: Any, folder: Path, stem: str) -> Path:
        raise NotImplementedError
