"""The wordmark walks from noise to letters."""

from __future__ import annotations

import re

from unnoise.demo.wordmark import wordmark


def test_the_wordmark_walks_from_noise_to_letters():
    dots = re.findall(r'x="(\d+)" y="\d" opacity="([\d.]+)"', wordmark())
    doubtful = [int(x) // 6 for x, opacity in dots if float(opacity) < 0.9]
    assert doubtful.count(0) > 15
    assert doubtful.count(6) == 0
    assert sum(int(x) // 6 == 6 for x, _ in dots) == 3 + 2 + 5 + 1 + 3
