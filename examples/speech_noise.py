"""Take noise out of speech by purification over a vocoder, beside what needs no diffusion.

    python examples/speech_noise.py [--snr 5] [--strength 0.3] [--steps 6] [--rounds 16]
        [--out runs/denoised]

The sentence that ships with the audio plugin gets white noise. The vocoder is told a mel, and the
mel of the noisy sound would ask for the noise again. So the mel is cleaned first, by spectral
subtraction with the noise's power, of which two seconds before the sentence are heard. Then the
noisy waveform is purified under that mel, and its magnitudes brought to the mel. Writes a wav each.

What it shows and what it does not, in the rows that it prints: almost all of the noise goes by the
subtraction and the rounds of projection. Purification alone brings the spectrum nearer to the clean
one, the more the stronger, but it draws phases anew, so that the SNR falls below that of the noisy
sound. This small model is told the mel and knows little of speech besides: as a denoiser it adds
nothing to what the mel says.
"""

import argparse
from pathlib import Path

import torch

import unnoise
from unnoise.noise import NoiseSource
from unnoise.spaces import Layout
from unnoise_audio import EXAMPLE, Audio
from unnoise_audio.inputs import mel_of
from unnoise_audio.mel import mapped, unmapped
from unnoise_audio.metrics import log_mel
from unnoise_audio.projection import projected
from unnoise_purify import Purifier

OVER, FLOOR = 2.0, 1e-3
"""Spectral subtraction (Berouti 1979): how much of the noise's power is taken off, and how much of
it is always left."""


def cleaned_mel(noisy, noise, own):
    """The mel (frames, mels) of a noisy sound less what noise alone has in each band."""
    power = unmapped(mel_of(noise, own), own).square().mean(0)
    left = unmapped(mel_of(noisy, own), own).square() - OVER * power
    return mapped(left.clamp(min=FLOOR * power).sqrt(), own)


def subtracted(noisy, noise, own):
    """The same of the waveform, bin by bin; phases are kept."""
    told = (own.fft, own.hop, own.window, torch.hann_window(own.window))
    seen, alone = (torch.stft(x, *told, return_complex=True) for x in (noisy, noise))
    power = alone.abs().square().mean()  # white: the same in all bins
    gain = (1 - OVER * power / seen.abs().square()).clamp(min=FLOOR).sqrt()
    return torch.istft(seen * gain, *told, length=len(noisy))


def purified(noisy, mel, purifier):
    """The waveform purified, in blocks of one hop as the model takes it."""
    hop = purifier.model.configuration.mel.hop
    blocks = torch.nn.functional.pad(noisy, (0, len(mel) * hop - len(noisy))).view(1, -1, hop)
    layout, told = Layout.dense(1, blocks.shape[1:]), {"mel": mel[None]}
    with torch.no_grad():
        found = purifier(blocks, layout, told, noise=NoiseSource(0, range(1)))
    return found.flatten()[: len(noisy)]


def main(snr, strength, steps, rounds, folder):
    model = unnoise.load("audio")
    own = model.configuration.mel
    clean = Audio.load(EXAMPLE).mono(own.sample_rate)
    clean = clean[: len(clean) // own.hop * own.hop]
    heard = NoiseSource(1, range(1)).normal(Layout.dense(1, (len(clean) + 2 * own.sample_rate,)))
    heard = heard[0] * clean.square().mean().sqrt() * 10 ** (-snr / 20)
    noise, noisy = heard[: 2 * own.sample_rate], clean + heard[2 * own.sample_rate :]

    mel = cleaned_mel(noisy, noise, own)
    walked = purified(noisy, mel, Purifier(model, strength, steps=steps))
    rows = {"noisy": noisy, "subtracted": subtracted(noisy, noise, own), "purified": walked}
    rows["projected"] = projected(noisy, mel, own, rounds)
    rows["purified, projected"] = projected(walked, mel, own, rounds)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{'':20} SNR dB  log-mel error")
    for name, wave in rows.items():
        ratio = 10 * torch.log10(clean.square().sum() / (wave - clean).square().sum())
        print(f"{name:20} {float(ratio):6.2f}  {log_mel(wave, clean, own):.3f}")
        Audio.of(wave, own.sample_rate).save(folder / f"{name.replace(', ', '-')}.wav")
    print(f"listen to {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snr", type=float, default=5.0, help="dB, of the noisy sound")
    parser.add_argument("--strength", type=float, default=0.3, help="sigma of the noise added")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=16, help="of projection")
    parser.add_argument("--out", type=Path, default=Path("runs/denoised"), help="a folder")
    chosen = parser.parse_args()
    main(chosen.snr, chosen.strength, chosen.steps, chosen.rounds, chosen.out)
