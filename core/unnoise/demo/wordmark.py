"""The name as a diffusion: x_t = (1 - t) x_0 + t eps on letters of 7 x 5 dots, t falling to 0."""

from __future__ import annotations

import random

_LETTERS = {
    "u": "..... ..... #...# #...# #...# #..## .##.#",
    "n": "..... ..... #.##. ##..# #...# #...# #...#",
    "o": "..... ..... .###. #...# #...# #...# .###.",
    "i": "..#.. ..... .##.. ..#.. ..#.. ..#.. .###.",
    "s": "..... ..... .#### #.... .###. ....# ####.",
    "e": "..... ..... .###. #...# ##### #.... .###.",
}


def wordmark(word: str = "unnoise", first: float = 0.5, seed: int = 4) -> str:
    """SVG in the current colour; each letter is drawn at its own time, from `first` to 0."""
    source = random.Random(seed)
    dots = []
    for k, letter in enumerate(word):
        t = first * (1 - k / (len(word) - 1))
        for y, row in enumerate(_LETTERS[letter].split()):
            for x, dot in enumerate(row):
                value = (1 - t) * (dot == "#") + t * abs(source.gauss(0, 0.75))
                if value > 0.04:
                    dots.append(f'<rect x="{6 * k + x}" y="{y}" opacity="{min(value, 1):.2f}"/>')
    size = f"0 0 {6 * len(word) - 1} 7"
    return f'<svg viewBox="{size}" fill="currentColor" aria-hidden="true">{"".join(dots)}</svg>'
