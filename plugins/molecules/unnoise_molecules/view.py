"""Ensembles to look at: fragments for pages without scripts, and 3D that can be turned by hand.

`preview` is a turntable as an animated picture, which needs nothing but an `img`; `View` is
3Dmol.js, which is inside this package, in a page that needs no network.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, final

from PIL import Image
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from unnoise.errors import InputError
from unnoise.spaces import tensor
from unnoise.storage.files import disk_errors, replace_file
from unnoise.trajectory import Frame
from unnoise_molecules.drawing import MOST, draw, one_by_one, turntable
from unnoise_molecules.ensemble import ensembles, gather, sdf
from unnoise_molecules.graph import drawable
from unnoise_molecules.ranking import select

SIZE: Final = (320, 240)
_TURNS: Final = 30
_PER_TURN: Final = 120  # milliseconds of one picture of the turntable
_MOST_ENSEMBLES: Final = 24
_MOST_PICTURES: Final = 8
_GATHERED: Final = re.compile(r"conformers(-\d+)?(-isomer-\d+)?\.(sdf|png|html|csv)")


def preview(samples: Sequence[Chem.Mol]) -> str:
    """An HTML fragment: each ensemble turning, its name below. No scripts, nothing from outside."""
    figures = [_figure(mol) for mol in ensembles(samples)[:_MOST_ENSEMBLES]]
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(figures)}</div>'


def cell(mol: Chem.Mol, size: tuple[int, int] = (160, 120)) -> str:
    """An `img` of the conformers of `mol` that fills the width it is given."""
    picture = draw(mol, (2 * size[0], 2 * size[1]))
    return f'<img style="width:100%;display:block" alt="conformer" src="{_png(picture)}">'


def along(frames: Sequence[Frame], k: int) -> Chem.Mol:
    """Sample `k` of a trajectory: a molecule with a conformer for each frame, in order."""
    part, place = frames[-1].located(k)
    first = int(part.layout.points[:place].sum())
    rows = range(first, first + int(part.layout.points[place]))
    mol = drawable(part.condition or {}, rows)
    for frame in frames:
        conformer = Chem.Conformer(len(rows))
        conformer.SetPositions(tensor(frame.sample(k)).double().numpy())
        mol.AddConformer(conformer, assignId=True)
    return mol


def ways(mol: Chem.Mol) -> list[str]:
    """Conformers one by one, seen from one side at one scale: an `img` of each."""
    width, height = 160, 120
    return [
        f'<img style="width:100%;display:block" alt="" src="{_png(picture)}">'
        for picture in one_by_one(mol, (2 * width, 2 * height))
    ]


def write_png(mol: Chem.Mol, path: Path, size: tuple[int, int] = (960, 720)) -> Path:
    """The overlaid conformers as a PNG file."""
    stream = io.BytesIO()
    draw(mol, size).save(stream, "PNG")
    with disk_errors(f"writing {str(path)!r}"):
        replace_file(path, stream.getvalue())
    return path


def gather_and_show(groups: Sequence[Sequence[Path]], folder: Path) -> list[Path]:
    """`ensemble.gather`, and beside the SDF files a PNG of each of the first few, and one page
    in 3D; where energies or a selection were asked for, the files hold what is ranked, and a table
    has a row for each conformer. Returns the SDF files."""
    paths = gather(groups, folder)
    shown, made = list[Chem.Mol](), set(paths)
    if (rows := select(paths)) is not None:
        made.add(folder / "conformers.csv")
        with disk_errors("writing 'conformers.csv'"):
            replace_file(folder / "conformers.csv", rows.encode())
    for path in paths[:_MOST_ENSEMBLES]:
        if not path.stat().st_size:  # every sample was dropped
            continue
        with Chem.SDMolSupplier(str(path), removeHs=False) as records:
            drawn = [mol for mol in records if mol is not None and mol.GetConformer().Is3D()]
        found = ensembles(drawn[:MOST])
        shown += found
        if len(paths) <= _MOST_PICTURES:
            for k, mol in enumerate(found):
                name = path.stem if len(found) == 1 else f"{path.stem}-isomer-{k}"
                made.add(write_png(mol, folder / f"{name}.png"))
    if shown:
        made.add(View(tuple(shown)).save(folder / "conformers.html"))
    for path in folder.iterdir():  # of an earlier request
        if path not in made and _GATHERED.fullmatch(path.name):
            path.unlink()
    return paths


@final
@dataclass(frozen=True, eq=False)
class View:
    """Ensembles in 3D: the last line of a notebook's cell shows it, `save` writes a page.

    One conformer at a time, or all of them overlaid; drag turns, the wheel zooms.
    """

    ensembles: tuple[Chem.Mol, ...]

    @classmethod
    def of(cls, samples: Chem.Mol | Sequence[Chem.Mol]) -> View:
        """Of an ensemble, or of samples, which are merged by molecule.

        Raises InputError when there is nothing to see.
        """
        mols = [samples] if isinstance(samples, Chem.Mol) else ensembles(samples)
        if not mols or any(mol.GetNumConformers() == 0 for mol in mols):
            raise InputError("there are no conformers to see")
        return cls(tuple(mols))

    def page(self) -> str:
        """The whole document."""
        shown = [
            {"name": _name(mol), "records": sdf(_superposed(mol)).split("$$$$\n")[:-1]}
            for mol in self.ensembles[:_MOST_ENSEMBLES]
        ]
        data = json.dumps(shown).replace("<", "\\u003c")  # a name cannot close the script
        files = resources.files("unnoise_molecules")
        script = files.joinpath("vendor", "3Dmol-min.js").read_text(encoding="utf-8")
        frame = files.joinpath("view.html").read_text(encoding="utf-8")
        return frame.replace("/*DATA*/", data, 1).replace("/*3DMOL*/", script, 1)

    def save(self, path: str | Path) -> Path:
        """Write the page as one HTML file, which needs no network."""
        target = Path(path)
        with disk_errors(f"writing {str(target)!r}"):
            replace_file(target, self.page().encode())
        return target

    def _repr_html_(self) -> str:
        page = html.escape(self.page(), quote=True)
        style = "width:100%;height:460px;border:0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


def _figure(mol: Chem.Mol) -> str:
    frames = turntable(mol, SIZE, [360 * k / _TURNS for k in range(_TURNS)])
    moving = io.BytesIO()
    frames[0].save(
        moving,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=_PER_TURN,
        loop=0,
        quality=70,
        method=3,
    )
    count = min(mol.GetNumConformers(), MOST)
    said = f"{html.escape(_name(mol))}: {count} conformer{'s' * (count != 1)}"
    media = "(prefers-reduced-motion: reduce)"
    still = f'<source media="{media}" srcset="{_png(frames[0])}">'
    style = f"width:{SIZE[0]}px;max-width:100%;display:block"
    picture = f'<img style="{style}" alt="{said}" src="{_address(moving.getvalue(), "webp")}">'
    caption = f'<figcaption style="font-size:.85em;overflow-wrap:anywhere">{said}</figcaption>'
    frame = f"margin:0;max-width:{SIZE[0]}px"
    return f'<figure style="{frame}"><picture>{still}{picture}</picture>{caption}</figure>'


def _superposed(mol: Chem.Mol) -> Chem.Mol:
    copy = Chem.Mol(mol)
    heavy = [a.GetIdx() for a in copy.GetAtoms() if a.GetAtomicNum() > 1]
    if len(heavy) > 1:
        rdMolAlign.AlignMolConformers(copy, atomIds=heavy)
    return copy


def _name(mol: Chem.Mol) -> str:
    for name in ("stereoisomer", "input", "_Name"):
        if mol.HasProp(name) and mol.GetProp(name):
            return str(mol.GetProp(name))
    return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def _png(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return _address(stream.getvalue(), "png")


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
