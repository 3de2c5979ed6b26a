"""COV and MAT made by hand, distances with closed forms, energies against their definitions."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolAlign, rdMolTransforms
from scipy.spatial.transform import Rotation

from unnoise.errors import InputError
from unnoise_molecules import metrics
from unnoise_molecules.evaluation import with_conformers
from unnoise_molecules.molecules import positions


def embedded(smiles, count=4, seed=3):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=seed)
    return mol


def line(*lengths):
    """N2 at these bond lengths: the RMSD of two of them is half the difference."""
    mol = Chem.MolFromSmiles("N#N")
    return with_conformers(mol, [np.array([[0, 0, 0], [x, 0, 0]]) for x in lengths])


def test_coverage_by_hand():
    # RMSDs: |a - b| / 2. References at 1, 2, 4; samples at 1.2, 1.4, 2.1, 8.
    found = metrics.coverage([(line(1.2, 1.4, 2.1, 8), line(1, 2, 4))], threshold=0.12)
    assert found.cov_r == pytest.approx(2 / 3)
    assert found.mat_r == pytest.approx((0.1 + 0.05 + 0.95) / 3)
    assert found.cov_p == pytest.approx(2 / 4)
    assert found.mat_p == pytest.approx((0.1 + 0.2 + 0.05 + 2) / 4)
    assert (found.molecules, found.references, found.samples, found.missing) == (1, 3, 4, 0)
    assert "COV at 0.12 A" in found.protocol


def test_coverage_is_a_mean_over_molecules_not_conformers():
    good, bad = (line(1), line(1)), (line(5, 5, 5), line(1, 1))
    found = metrics.coverage([good, bad], threshold=0.5)
    assert (found.cov_r, found.cov_p) == (0.5, 0.5)
    assert (found.mat_r, found.mat_p) == (1, 1)
    assert found.medians == (0.5, 1, 0.5, 1)


def test_a_molecule_without_samples_is_not_forgotten():
    found = metrics.coverage([(line(1), line(1)), (line(), line(1))], threshold=0.5)
    assert (found.cov_r, found.cov_p, found.mat_r, found.missing) == (0.5, 0.5, 0, 1)


def test_coverage_refuses_what_means_nothing():
    with pytest.raises(InputError, match="no references"):
        metrics.coverage([(line(1), line())], threshold=0.5)
    with pytest.raises(InputError, match="positive"):
        metrics.coverage([(line(1), line(1))], threshold=0)
    with pytest.raises(InputError, match="at least one"):
        metrics.coverage([], threshold=0.5)
    with pytest.raises(InputError, match="different molecules"):
        metrics.rmsd(embedded("CCO"), embedded("CCN"))


@pytest.mark.parametrize("smiles", ["CC(C)(C)CO", "OC(=O)c1ccc(F)cc1", "C[C@H](N)C(=O)O"])
def test_rmsd_is_that_of_rdkit_pair_by_pair(smiles):
    a, b = embedded(smiles, 3, seed=1), embedded(smiles, 2, seed=2)
    found = metrics.rmsd(a, b)
    heavy = Chem.RemoveHs(a), Chem.RemoveHs(b)
    for i in range(2):
        for j in range(3):
            expected = rdMolAlign.GetBestRMS(Chem.Mol(heavy[0]), heavy[1], j, i)
            assert found[i, j] == pytest.approx(expected, abs=1e-6)


def test_rmsd_knows_motions_symmetry_and_order_but_not_mirrors():
    mol = embedded("CC(C)CO", 1)
    places = positions(mol)
    turned = places @ Rotation.random(random_state=1).as_matrix().T + [1, -2, 3]
    swapped = turned.copy()
    swapped[[0, 2]] = swapped[[2, 0]]  # the two methyl carbons
    again = with_conformers(mol, [turned, swapped, places * [-1, 1, 1]])
    d = metrics.rmsd(again, mol)[0]
    assert d[:2] == pytest.approx([0, 0], abs=1e-5)
    assert d[2] > 0.05
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    assert metrics.rmsd(Chem.RenumberAtoms(mol, order), mol)[0, 0] < 1e-5


def test_hydrogens_do_not_count():
    mol = embedded("CCO", 1)
    places = positions(mol)
    places[3:] += 0.5
    assert metrics.rmsd(with_conformers(mol, [places]), mol)[0, 0] < 1e-6


def test_wasserstein_of_a_shift_is_the_shift():
    one, other = line(1.0, 1.1), line(1.25, 1.35)
    found = metrics.wasserstein([metrics.bond_lengths(one)], [metrics.bond_lengths(other)])
    assert found == pytest.approx(0.25)


def test_kinds_are_weighted_by_the_references():
    ours = {"C-C": np.array([1.0]), "C-H": np.array([1.0]), "only": np.array([9.0])}
    theirs = {"C-C": np.array([1.1]), "C-H": np.array([1.3, 1.3, 1.3])}
    assert metrics.wasserstein([ours], [theirs]) == pytest.approx((0.1 + 3 * 0.3) / 4)


def test_angles_of_a_tetrahedron():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    mol = with_conformers(
        Chem.AddHs(Chem.MolFromSmiles("C")), [np.concatenate([np.zeros((1, 3)), corners])]
    )
    ((kind, values),) = metrics.angles(mol).items()
    assert kind == "H-CSP3-H"
    assert values == pytest.approx(np.full(6, np.degrees(np.arccos(-1 / 3))))
    assert metrics.bond_lengths(mol)["C-H"] == pytest.approx(np.full(4, 0.63 * 3**0.5))


def test_mmff_strain_is_the_way_down():
    mol = embedded("CCCO", 2)
    found = metrics.mmff_strain(mol)
    relaxed = Chem.Mol(mol)
    rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(relaxed, maxIters=2000, mmffVariant="MMFF94s")
    assert (found > 1).all()
    assert metrics.mmff_strain(relaxed) == pytest.approx([0, 0], abs=1e-3)
    assert np.isnan(metrics.mmff_strain(embedded("CB(C)C", 1))).all()


def test_stereo_agreement_counts():
    mol = embedded("C[C@H](N)C(=O)O", 3)
    places = [positions(mol, k) for k in range(3)]
    places[1] = places[1] * [1, -1, 1]
    assert metrics.stereo_agreement(with_conformers(mol, places)) == pytest.approx(2 / 3)


def test_posebusters_passes_embeddings_and_fails_rubble():
    pytest.importorskip("posebusters")
    good = embedded("c1ccccc1CCO", 1)
    bad = with_conformers(good, [positions(good) * 0.6])
    found = metrics.posebusters([good, bad])
    assert found["all"] == 0.5
    assert found["bond_lengths"] == 0.5


def test_rotamers_of_an_acid_are_one_and_the_protocol_says_so():
    """Salicylic acid with its C-O-H on either side of the ring: the oxygens change places."""
    first = embedded("OC(=O)c1ccccc1O", 1)
    second = Chem.Mol(first)
    turned = rdMolTransforms.GetDihedralDeg(first.GetConformer(), 0, 1, 3, 4) + 180
    rdMolTransforms.SetDihedralDeg(second.GetConformer(), 0, 1, 3, 4, turned)
    assert metrics.rmsd(second, first)[0, 0] < 0.2
    assert "oxygens of COOH alike" in metrics.coverage([(second, first)], 0.5).protocol
