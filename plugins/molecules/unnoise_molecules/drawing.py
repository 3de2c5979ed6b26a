"""Pictures of conformers laid over each other: sticks in the colours of the elements, by Pillow.

Conformers are superposed on their heavy atoms, seen along the axis in which they are thinnest, and
painted from back to front. Backgrounds are transparent, and colours are seen on light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from unnoise.errors import InputError
from unnoise_molecules.molecules import positions

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Colour: TypeAlias = "tuple[int, int, int]"

MOST: Final = 50
"""Conformers in one picture; more of them hide each other."""

_FINE: Final = 3  # pictures are painted larger and scaled down
_MARGIN: Final = 0.03
_SHOWN: Final = 0.2  # angstrom around the outermost atoms
_COLOURS: Final[dict[str, Colour]] = {
    "H": (222, 226, 232),
    "C": (134, 142, 156),
    "N": (58, 104, 226),
    "O": (222, 48, 44),
    "F": (126, 196, 70),
    "Cl": (46, 164, 60),
    "Br": (158, 66, 36),
    "I": (132, 44, 158),
    "S": (224, 182, 40),
    "P": (236, 130, 36),
    "B": (236, 160, 150),
}
_OTHER: Final[Colour] = (206, 84, 176)
_THICK, _THIN = 0.11, 0.06  # radii of sticks in angstrom, between heavy atoms and to hydrogens


def draw(mol: Chem.Mol, size: tuple[int, int] = (480, 360), turn: float = 0.0) -> Image.Image:
    """All conformers of `mol` (at most `MOST`) in one RGBA picture of `size` (width, height).

    `turn` is an angle in degrees about the vertical axis. Raises InputError without conformers.
    """
    return turntable(mol, size, [turn])[0]


def one_by_one(mol: Chem.Mol, size: tuple[int, int]) -> list[Image.Image]:
    """Each conformer (at most `MOST`) in a picture of its own and at a scale of its own, all
    superposed on the last one. Raises InputError without a conformer."""
    if mol.GetNumConformers() == 0:
        raise InputError("the molecule has no conformer to draw")
    turned = Chem.Mol(mol)
    turned.RemoveAllConformers()
    for conformer in reversed(list(mol.GetConformers())):  # superposed on the first, seen along it
        turned.AddConformer(Chem.Conformer(conformer), assignId=True)
    pictures = []
    for places in _placed(turned)[::-1]:
        places = places - (places.max(0) + places.min(0)) / 2
        reach = np.abs(places).max(0) + _SHOWN
        scale = (0.5 - _MARGIN) * min(size[0] / reach[0], size[1] / reach[1])
        pictures.append(_painted(mol, places[None], size, scale, _FINE))
    return pictures


def turntable(mol: Chem.Mol, size: tuple[int, int], turns: Sequence[float]) -> list[Image.Image]:
    """`draw` at each of these angles, at one scale."""
    if mol.GetNumConformers() == 0:
        raise InputError("the molecule has no conformer to draw")
    places = _placed(mol)
    width, height = size
    around = np.abs(places)
    # Whatever the angle, nothing leaves the picture.
    across = (
        np.hypot(around[..., 0], around[..., 2]).max() if len(turns) > 1 else around[..., 0].max()
    )
    scale = min(
        width * (0.5 - _MARGIN) / (across + _SHOWN),
        height * (0.5 - _MARGIN) / (around[..., 1].max() + _SHOWN),
    )
    fine = _FINE if len(turns) == 1 else 2
    return [
        _painted(mol, places @ _about_y(np.radians(turn)).T, size, scale, fine) for turn in turns
    ]


def _placed(mol: Chem.Mol) -> Floats:
    """(conformers, atoms, 3): superposed, centred, longest axis along x, thinnest along z."""
    copy = Chem.Mol(mol)
    for conformer in list(copy.GetConformers())[MOST:]:
        copy.RemoveConformer(conformer.GetId())
    heavy = [a.GetIdx() for a in copy.GetAtoms() if a.GetAtomicNum() > 1]
    heavy = heavy if len(heavy) > 1 else list(range(copy.GetNumAtoms()))
    rdMolAlign.AlignMolConformers(copy, atomIds=heavy)
    places = np.stack([positions(copy, c.GetId()) for c in copy.GetConformers()])
    centre = places[:, heavy].reshape(-1, 3)
    axes = np.linalg.svd(centre - centre.mean(0), full_matrices=True)[2]
    axes[2] *= np.sign(np.linalg.det(axes))  # a turn, never a mirror
    turned = (places - centre.mean(0)) @ axes.T
    low, high = turned.reshape(-1, 3).min(0), turned.reshape(-1, 3).max(0)
    return np.asarray(turned - (low + high) / 2)


def _about_y(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _painted(
    mol: Chem.Mol, places: Floats, size: tuple[int, int], scale: float, fine: int
) -> Image.Image:
    width, height = size[0] * fine, size[1] * fine
    scale *= fine
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    flat = places * [scale, -scale, 1] + [width / 2, height / 2, 0]
    near, far = places[..., 2].max(), places[..., 2].min()
    for depth, thin, start, end, symbol in sorted(_sticks(mol, flat), key=lambda s: s[0]):
        light = 0.62 + 0.38 * (depth - far) / (near - far + 1e-9)
        radius = scale * (_THIN if thin else _THICK)
        colour = _COLOURS.get(symbol, _OTHER)
        _stick(pen, start, end, radius + fine * 0.6, _dimmed(colour, 0.45 * light))
        _stick(pen, start, end, radius, _dimmed(colour, light))
        if radius > 2 * fine:
            shine = np.array([-0.3, -0.3]) * radius
            _stick(pen, start + shine, end + shine, radius * 0.3, _lit(colour, light))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _sticks(mol: Chem.Mol, flat: Floats) -> Iterator[tuple[float, bool, Floats, Floats, str]]:
    """(depth, thin, start, end, element): bonds, halved where their ends have other colours."""
    for bond in mol.GetBonds():
        ends = bond.GetBeginAtom(), bond.GetEndAtom()
        thin = 1 in (ends[0].GetAtomicNum(), ends[1].GetAtomicNum())
        symbols = [atom.GetSymbol() for atom in ends]
        for places in flat:
            a, b = (places[atom.GetIdx()] for atom in ends)
            middle = (a + b) / 2
            if symbols[0] == symbols[1]:
                yield middle[2], thin, a[:2], b[:2], symbols[0]
                continue
            yield (a[2] + middle[2]) / 2, thin, a[:2], middle[:2], symbols[0]
            yield (b[2] + middle[2]) / 2, thin, b[:2], middle[:2], symbols[1]


def _stick(
    pen: ImageDraw.ImageDraw, start: Floats, end: Floats, radius: float, colour: Colour
) -> None:
    pen.line([*start.tolist(), *end.tolist()], fill=colour, width=max(1, round(2 * radius)))
    for x, y in (start.tolist(), end.tolist()):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _dimmed(colour: Colour, light: float) -> Colour:
    r, g, b = (round(c * light) for c in colour)
    return r, g, b


def _lit(colour: Colour, light: float) -> Colour:
    r, g, b = (round((c + (255 - c) * 0.45) * light) for c in colour)
    return r, g, b
