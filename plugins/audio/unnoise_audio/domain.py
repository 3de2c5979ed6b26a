"""The audio domain: x_0 is sound in blocks of one hop, told by its mel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import BaseModel

from unnoise.codecs import Codec
from unnoise.denoise import NetworkDenoiser, V
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import InputError
from unnoise.kernels import GaussianKernel, VPCosine
from unnoise.model import Metric
from unnoise.objectives import Absolute, Objective, Simple
from unnoise.spaces import Euclidean
from unnoise_audio import EXAMPLE, data, files
from unnoise_audio.codec import codec_of
from unnoise_audio.configuration import Configuration
from unnoise_audio.display import Sounds
from unnoise_audio.evaluation import Speech
from unnoise_audio.inputs import Prepared, inputs_of
from unnoise_audio.levels import LevelNoise, Levels
from unnoise_audio.network import PatchNet
from unnoise_audio.request import Request
from unnoise_audio.sound import Audio, joined
from unnoise_audio.streaming import Chunking, chunking, speak
from unnoise_audio.wavegrad import WaveGrad

_SENTENCES, _SECONDS = 3, 6.0  # that are heard of a model in training


@final
@dataclass(frozen=True, eq=False)
class Told:
    """An input, and how the request is cut into chunks."""

    prepared: Prepared
    how: Chunking


@final
class Vocoder(Trainable):
    """Sound from its mel spectrogram; samples are `unnoise_audio.Audio`."""

    name: ClassVar[str] = "audio"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    display: ClassVar[Display[Trained]] = Sounds()
    metrics: ClassVar[Mapping[str, type[Metric]]] = {"speech": Speech}
    demo: ClassVar[Mapping[str, Any]] = {"source": str(EXAMPLE)}

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        if configuration.method == "wavegrad":
            # of the exact denoiser of a resonance it loses a twentieth of what DDIM does, and comes
            # near the grid that `optimised`, which fits for the same sampler, finds in seconds
            return {"steps": 6, "sampler": "unipc", "grid": "log-snr"}
        return {"steps": 6, "sampler": "ddim", "grid": "uniform"}

    def objective(self, configuration: Configuration) -> Objective:
        """WaveGrad's mean absolute error, or the squares."""
        return Simple(Absolute()) if configuration.method == "wavegrad" else Simple()

    def configure(self, source: Any, options: Mapping[str, Any]) -> Configuration:
        """What the sound in the folder `source` says of itself."""
        return data.configure(source, options)

    def trial(self, configuration: Configuration, held_out: data.Crops) -> Mapping[str, Any]:
        """Sentences of the validation part, by the network alone."""
        told = held_out.sentences(_SENTENCES, _SECONDS)
        return {"source": told, "project": 0} if told else {**self.demo, "project": 0}

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        if configuration.method == "wavegrad":
            noisy = GaussianKernel(Euclidean(), Levels())
            return NetworkDenoiser(WaveGrad(configuration), noisy, LevelNoise())
        kernel = GaussianKernel(Euclidean(), VPCosine())
        return NetworkDenoiser(PatchNet(configuration), kernel, V())

    def codec(self, configuration: Configuration) -> Codec:
        return codec_of(configuration)

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Crops:
        return data.dataset(source, configuration, part)

    def collate(self, items: Sequence[data.Item]) -> Batch:
        return data.collate(items)

    def prepare(self, request: Request, model: Trained, options: Options) -> list[Told]:
        """The mel of each source, read once, or the given mels."""
        mel = model.configuration.mel
        how = chunking(model, options, request.chunk, request.project)
        found = inputs_of(request, mel)
        for one in found:
            if request.project and one.samples <= mel.fft // 2:
                raise InputError(
                    "the sound is too short to be projected",
                    value=f"{one.samples} samples",
                    limit=f"> {mel.fft // 2}",
                    fix="pass project=0",
                )
        return [Told(one, how) for one in found]

    def plan(self, inputs: Sequence[Told], model: Trained, draws: Sequence[Draw]) -> Plan:
        own = [inputs[draw.input].prepared for draw in draws]
        return speak(own, model, inputs[0].how)

    def alike(self, prepared: Told, model: Trained) -> Hashable | None:
        """Sounds may be any; where a chunk does not see as far as the network, it is cut by the
        number of sounds."""
        return prepared.how if prepared.how.exact else None

    def join(self, parts: Sequence[Audio]) -> Audio:
        return joined(parts)

    def counts(self, samples: Sequence[Audio]) -> Mapping[str, int]:
        """How many samples each note is about."""
        notes = [note for sample in samples if sample is not None for note in sample.notes]
        return {note: notes.count(note) for note in dict.fromkeys(notes)}

    def write(self, sample: Audio, folder: Path, stem: str) -> Path:
        """STEM.wav, and STEM.png: the spectrogram of what it was made after above its own."""
        return files.write(sample, folder, stem)
