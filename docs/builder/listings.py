"""Lists of what is installed: domains, samplers, kernels' parts, as their specs say it."""

from __future__ import annotations

from unnoise.discovery import registry

WHAT = {
    "audio": "speech from a mel spectrogram",
    "images": "pictures, pixel by pixel",
    "latent": "pictures through a learned code",
    "molecules": "3D structures of molecules",
    "purify": "pictures freed of noise and attacks",
    "text": "text, with gaps and patterns",
    "text2image": "pictures from words",
    "timeseries": "tables with holes, filled",
}
"""In four words, by domain; others are shown by their own summary."""


def domains() -> str:
    """A table of the installed domains that are this project's: name, what, where to begin."""
    lines = ["| domain | makes | begin | all of it |", "|---|---|---|---|"]
    for name, info in sorted(registry.domains().items()):
        if name in WHAT:
            lines.append(
                f"| `{name}` | {info.summary} | [five minutes](/start/{name}.md) "
                f"| [{name}](/domains/{name}.md) |"
            )
    return "\n".join(lines)
