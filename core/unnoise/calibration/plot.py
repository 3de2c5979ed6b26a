"""Coverage as a picture: what intervals cover over what they should, in their band."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from unnoise.calibration.coverage import Coverage
from unnoise.calibration.ranks import Floats

_SIZE, _EDGE = 220, 36


def svg(found: Mapping[str, Coverage]) -> str:
    """One panel for each number: the band in grey, the diagonal, and what was found, in red where
    it leaves the band."""
    panels = [_panel(name, one, k) for k, (name, one) in enumerate(found.items())]
    width, height = (_SIZE + _EDGE) * max(1, len(panels)) + _EDGE, _SIZE + 2 * _EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(name: str, found: Coverage, number: int) -> str:
    left, top = _EDGE + number * (_SIZE + _EDGE), _EDGE

    def points(x: Floats, y: Floats) -> list[str]:
        pairs: Iterable[tuple[float, float]] = zip(x.tolist(), y.tolist(), strict=True)
        return [f"{left + _SIZE * a:.1f},{top + _SIZE * (1 - b):.1f}" for a, b in pairs]

    low, high = points(found.nominal, found.low), points(found.nominal, found.high)
    colour = "#2563eb" if found.inside else "#dc2626"
    ends = f'x1="{left}" y1="{top + _SIZE}" x2="{left + _SIZE}" y2="{top}"'
    return (
        f'<text x="{left}" y="{top - 8}">{escape(name)}</text>'
        f'<rect x="{left}" y="{top}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="#888"/>'
        f'<polygon points="{" ".join([*low, *reversed(high)])}" fill="#ddd"/>'
        f'<line {ends} stroke="#888"/>'
        f'<polyline points="{" ".join(points(found.nominal, found.found))}" fill="none"'
        f' stroke="{colour}" stroke-width="2"/>'
        f'<text x="{left}" y="{top + _SIZE + 14}">0</text>'
        f'<text x="{left + _SIZE - 130}" y="{top + _SIZE + 14}">should cover (found: up) 1</text>'
    )
