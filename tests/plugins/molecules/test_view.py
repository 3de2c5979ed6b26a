"""Pictures and pages of ensembles: they show what they are given, and need nothing from outside."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.demo.section import check_fragment
from unnoise.errors import InputError
from unnoise_molecules.drawing import draw, turntable
from unnoise_molecules.ensemble import ensemble, ensembles, write_sdf
from unnoise_molecules.evaluation import with_conformers
from unnoise_molecules.molecules import positions, read, sample
from unnoise_molecules.view import View, cell, gather_and_show, preview, write_png

ALANINE = "C[C@H](N)C(=O)O"


def samples(smiles=ALANINE, count=3):
    (mol,) = read(smiles)
    many = Chem.Mol(mol)
    rdDistGeom.EmbedMultipleConfs(many, count, randomSeed=7)
    return [
        sample(mol, positions(many, c.GetId()), {"number": k})
        for k, c in enumerate(many.GetConformers())
    ]


def pictures(fragment):
    found = re.findall(r"data:image/(\w+);base64,([^\"]+)", fragment)
    return [(kind, Image.open(io.BytesIO(base64.b64decode(data)))) for kind, data in found]


def painted(picture):
    return np.asarray(picture)[..., 3] > 128


def test_a_drawing_has_the_colours_of_its_elements():
    pixels = np.asarray(draw(ensemble(samples()))).reshape(-1, 4).astype(int)
    seen = pixels[pixels[:, 3] > 250, :3]
    red = (seen[:, 0] > 150) & (seen[:, 1:] < 90).all(1)
    blue = (seen[:, 2] > 150) & (seen[:, 0] < 90)
    assert min(red.sum(), blue.sum()) > 100
    none = np.asarray(draw(ensemble(samples("CCCC")))).reshape(-1, 4).astype(int)
    none = none[none[:, 3] > 250, :3]
    assert np.ptp(none, axis=1).max() < 60  # greys alone


def test_a_drawing_stays_inside_and_fills_the_picture():
    for smiles in (ALANINE, "CCCCCCCCCC", "[H][H]", "CC(C)(C)C", "C#C"):
        frames = [draw(ensemble(samples(smiles, 2)), (200, 150))]
        frames += turntable(ensemble(samples(smiles, 2)), (200, 150), [0, 45, 90, 180])
        for k, picture in enumerate(frames):
            shown = painted(picture)
            assert shown.any()
            rim = [shown[0], shown[-1], shown[:, 0], shown[:, -1]]
            assert not np.concatenate(rim).any()
            if k == 0:
                assert max(shown.any(0).mean(), shown.any(1).mean()) > 0.7


def test_conformers_are_superposed_not_scattered():
    (one,) = samples(count=1)
    far = with_conformers(one, [positions(one), positions(one) @ np.diag([-1, -1, 1.0]) + 30])
    alone, both = (painted(draw(mol)).mean() for mol in (ensemble([one]), far))
    assert both == pytest.approx(alone, rel=0.05)


def test_mirror_images_are_drawn_as_mirror_images():
    """What is drawn is the molecule that is given: never turned inside out to fit."""
    (one,) = samples(count=1)
    other = with_conformers(one, [positions(one) * [1, 1, -1]])
    a, b = (painted(draw(mol, turn=30)) for mol in (one, other))
    assert (a != b).mean() > 0.01


def test_half_a_turn_is_the_picture_from_behind():
    front, back = turntable(ensemble(samples()), (200, 150), [0, 180])
    mirrored = painted(front)[:, ::-1]
    assert (mirrored != painted(back)).mean() < 0.02


def test_a_preview_is_a_moving_picture_per_molecule():
    fragment = preview([*samples(), *samples("CCO", 2)])
    assert check_fragment(fragment, "preview") == fragment
    assert "<script" not in fragment
    assert not re.findall(r"(?:src|href|srcset)=\"(?!data:)", fragment)
    assert "C[C@H](N)C(=O)O: 3 conformers" in fragment
    assert "CCO: 2 conformers" in fragment
    found = pictures(fragment)
    assert [kind for kind, _ in found] == ["png", "webp"] * 2
    assert all(picture.n_frames == 30 for kind, picture in found if kind == "webp")


def test_names_are_escaped():
    (one,) = samples("CCO", 1)
    one.SetProp("input", '</figure><b a="')
    assert "<b " not in preview([one])
    one.SetProp("input", "</script><script>alert(1)</script>")
    assert "<script>alert" not in View.of([one]).page()
    assert "<script" not in View.of([one])._repr_html_().split("srcdoc")[1].split('"')[1]


def test_stereoisomers_and_dropped_samples_are_kept_apart():
    left, right = samples(count=2), samples("C[C@@H](N)C(=O)O", 1)
    nothing = Chem.Mol(left[0])
    nothing.RemoveAllConformers()
    assert [mol.GetNumConformers() for mol in ensembles([left[0], right[0], nothing, left[1]])] == [
        2,
        1,
    ]
    assert preview([nothing]).count("<figure") == 0


def test_a_cell_is_one_picture():
    fragment = cell(samples(count=1)[0])
    assert check_fragment(fragment, "cell") == fragment
    ((kind, picture),) = pictures(fragment)
    assert (kind, picture.size) == ("png", (320, 240))


def test_the_page_holds_every_conformer_and_3dmol_and_no_address(tmp_path):
    page = View.of([*samples(), *samples("CCO", 2)]).save(tmp_path / "view.html").read_text()
    data = json.loads(re.search(r"const ensembles = (.*);", page).group(1))
    assert [(each["name"], len(each["records"])) for each in data] == [(ALANINE, 3), ("CCO", 2)]
    found = Chem.MolFromMolBlock(data[0]["records"][1], removeHs=False)
    assert found.GetNumAtoms() == 13
    assert len(page) > 500_000
    assert "$3Dmol" in page
    outside = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
    assert not outside
    assert "connect-src 'none'" in page


def test_nothing_to_see_is_an_error():
    (mol,) = read("CCO")
    for nothing in ([], mol, [mol]):
        with pytest.raises(InputError, match="no conformers"):
            View.of(nothing)
    with pytest.raises(InputError, match="no conformer to draw"):
        draw(mol)


def test_a_finished_request_has_files_to_look_at(tmp_path):
    groups = [
        [
            write_sdf(ensemble([each]), tmp_path / f"{k}{smiles[:1]}.sdf")
            for k, each in enumerate(row)
        ]
        for smiles, row in (("A", samples(count=3)), ("B", samples("CCO", 2)))
    ]
    found = gather_and_show(groups, tmp_path)
    assert [path.name for path in found] == ["conformers-0.sdf", "conformers-1.sdf"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "conformers-0.png", "conformers-0.sdf", "conformers-1.png", "conformers-1.sdf",
        "conformers.html",
    ]  # fmt: skip
    assert Image.open(tmp_path / "conformers-0.png").size == (960, 720)


def test_a_request_of_which_all_was_dropped_is_an_empty_file(tmp_path):
    (tmp_path / "00000.sdf").write_text("")
    assert [path.name for path in gather_and_show([[tmp_path / "00000.sdf"]], tmp_path)] == [
        "conformers.sdf"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["conformers.sdf"]


def test_png(tmp_path):
    path = write_png(ensemble(samples()), tmp_path / "a.png", (120, 90))
    assert Image.open(path).size == (120, 90)
