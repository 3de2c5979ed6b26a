"""Both networks: what rotations, mirrors, translations, orders and neighbours may not change."""

from __future__ import annotations

import math

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch import Tensor

from unnoise.denoise import NetworkDenoiser
from unnoise.kernels import GaussianKernel
from unnoise.noise import NoiseSource
from unnoise.samplers import DDIM, Diffusion, DPMSolverPP, Heun, Sampler, grids
from unnoise.spaces import Layout, ZeroCoM, tensor
from unnoise_molecules.configuration import Configuration
from unnoise_molecules.domain import Molecules
from unnoise_molecules.graph import batched, graph, signed_volumes
from unnoise_molecules.langevin import Langevin
from unnoise_molecules.network_geodiff import DualEncoder, Scores, chain_rule, distances

SMILES = ("C[C@H](N)C(=O)O", "F/C=C/Cl", "O", "C[C@@H]1CCO[C@H](C)C1", "c1ccncc1CCS(C)(=O)=O")
SMALL = {
    "e3": {"layers": 3, "scalars": 16, "vectors": 8, "pair": 16},
    "geodiff": {"hidden": 16},
}
LIMIT = {torch.float32: 1e-5, torch.float64: 1e-10}
networks = pytest.mark.parametrize("network", list(SMALL))
dtypes = pytest.mark.parametrize("dtype", list(LIMIT))


def molecule(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return mol


MOLS = [molecule(smiles) for smiles in SMILES]


def mirrored(mol: Chem.Mol) -> Chem.Mol:
    """The mirror image: opposite tetrahedral tags."""
    other = Chem.Mol(mol)
    for atom in other.GetAtoms():
        atom.InvertChirality()
    return other


def denoiser(network: str, dtype: torch.dtype = torch.float64) -> NetworkDenoiser:
    torch.manual_seed(1)
    built = Molecules().build(Configuration(network=network, **SMALL[network]))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built.to(dtype).eval()


def batch(
    mols: list[Chem.Mol], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Layout, dict[str, Tensor]]:
    layout, condition = batched([graph(mol) for mol in mols])
    layout = Layout.ragged(layout.points.tolist(), (3,), dtype=dtype)
    x = torch.cat([torch.tensor(mol.GetConformer().GetPositions()) for mol in mols]).to(dtype)
    return tensor(ZeroCoM().project(x, layout)), layout, condition


def rotation(dtype: torch.dtype, mirror: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    sign = torch.linalg.det(q).sign()
    return (q * (-sign if mirror else sign)).to(dtype)


def output(model: NetworkDenoiser, x: Tensor, t: float, layout: Layout, condition) -> Tensor:
    with torch.no_grad():
        return tensor(model.output(x, t, layout, condition))


def close(a: Tensor, b: Tensor) -> bool:
    scale = max(1.0, float(b.abs().max()))
    return float((a - b).abs().max()) < LIMIT[a.dtype] * scale


@networks
@dtypes
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_a_rotation_of_the_positions_rotates_the_output(network, dtype, t):
    x, layout, condition = batch(MOLS, dtype)
    model, turn = denoiser(network, dtype), rotation(dtype)
    straight = output(model, x, t, layout, condition)
    assert straight.abs().max() > 1e-3
    assert close(output(model, x @ turn.T, t, layout, condition), straight @ turn.T)


@networks
@dtypes
def test_the_mirror_image_with_mirrored_tags_has_the_mirrored_output(network, dtype):
    x, layout, condition = batch(MOLS, dtype)
    _, _, other = batch([mirrored(mol) for mol in MOLS], dtype)
    assert not torch.equal(condition["stereo_sign"], other["stereo_sign"])
    model, mirror = denoiser(network, dtype), rotation(dtype, mirror=True)
    there = output(model, x, 0.4, layout, condition)
    assert close(output(model, x @ mirror.T, 0.4, layout, other), there @ mirror.T)


def test_the_tags_of_the_smiles_tell_enantiomers_apart():
    x, layout, condition = batch(MOLS[:1])
    _, _, other = batch([mirrored(MOLS[0])])
    model = denoiser("e3")
    apart = output(model, x, 0.4, layout, condition) - output(model, x, 0.4, layout, other)
    assert apart.abs().max() > 1e-3


@networks
@dtypes
def test_a_translation_changes_nothing(network, dtype):
    x, layout, condition = batch(MOLS, dtype)
    model = denoiser(network, dtype)
    label = torch.full((layout.batch,), 0.2, dtype=dtype)
    moved = x + torch.tensor([0.5, -1.0, 0.25], dtype=dtype)
    with torch.no_grad():
        a = model.network(x, label, layout, condition)
        b = model.network(moved, label, layout, condition)
    assert close(b, a)


@networks
@dtypes
def test_the_order_of_the_atoms_is_carried_over(network, dtype):
    mol = MOLS[3]
    order = torch.randperm(mol.GetNumAtoms(), generator=torch.Generator().manual_seed(3)).tolist()
    x, layout, condition = batch([mol], dtype)
    y, _, shuffled = batch([Chem.RenumberAtoms(mol, order)], dtype)
    model = denoiser(network, dtype)
    there = output(model, x, 0.3, layout, condition)
    assert close(output(model, y, 0.3, layout, shuffled), there[order])


@networks
@dtypes
def test_neighbours_in_a_batch_change_nothing(network, dtype):
    model = denoiser(network, dtype)
    mols = [MOLS[k % len(MOLS)] for k in range(40)]  # more than one bucket
    x, layout, condition = batch(mols, dtype)
    together = output(model, x, 0.3, layout, condition).split(layout.points.tolist())
    for k in (0, 1, 2, 3, 4, 38):
        own, single, alone = batch([mols[k]], dtype)
        assert close(output(model, own, 0.3, single, alone), together[k])


@pytest.mark.parametrize("bucket", [1, 3, 1000])
def test_the_size_of_the_buckets_changes_nothing(bucket):
    model = denoiser("e3")
    x, layout, condition = batch([MOLS[k % len(MOLS)] for k in range(11)])
    expected = output(model, x, 0.3, layout, condition)
    model.network.bucket = bucket
    assert close(output(model, x, 0.3, layout, condition), expected)


@pytest.mark.slow
def test_a_compiled_network_is_the_same_for_every_batch():
    plain, fast = denoiser("e3"), denoiser("e3")
    fast.network.compile(dynamic=True)
    for count in (12, 5, 20):
        x, layout, condition = batch([MOLS[k % len(MOLS)] for k in range(count)])
        expected = output(plain, x, 0.3, layout, condition)
        assert close(output(fast, x, 0.3, layout, condition), expected)


@networks
def test_no_pair_is_cut_off_and_none_beyond_the_radius_counts(network):
    model = denoiser(network)
    chain = molecule("C" * 14)
    x, layout, condition = batch([chain])
    x = x * 4  # most pairs lie beyond 10 angstrom
    x.requires_grad_()
    label = torch.full((1,), math.log(0.1) / 4 if network == "e3" else 0.1, dtype=x.dtype)
    out = model.network(x, label, layout, condition)
    assert torch.isfinite(torch.autograd.grad(out.square().sum(), x)[0]).all()
    assert len(condition["pair_index"][0]) == chain.GetNumAtoms() * (chain.GetNumAtoms() - 1) // 2


def test_the_chain_rule_is_the_gradient_of_an_energy_of_distances():
    x, _, condition = batch(MOLS)
    index = condition["pair_index"]
    x.requires_grad_()
    d = distances(x, index)
    energy = 2 * (torch.sin(d) + 0.1 * d**2).sum()  # every pair in both directions
    (gradient,) = torch.autograd.grad(energy, x)
    s = (torch.cos(d) + 0.2 * d).detach()
    assert torch.allclose(chain_rule(s, x.detach(), index), gradient, atol=1e-10)
    assert torch.allclose(Scores(index, s).moves(x.detach()), gradient, atol=1e-10)


def test_the_gradient_of_the_signed_volume():
    x, _, condition = batch(MOLS)
    x.requires_grad_()
    volume, slope = signed_volumes(x, condition["stereo_index"])
    assert torch.equal(volume.sign(), condition["stereo_sign"].double())
    (gradient,) = torch.autograd.grad(volume.sum(), x)
    summed = torch.zeros_like(x).index_add(
        0, condition["stereo_index"].reshape(-1), slope.reshape(-1, 3)
    )
    assert torch.allclose(summed, gradient, atol=1e-10)


def test_the_local_and_the_global_part_share_the_pairs():
    x, layout, condition = batch(MOLS)
    model = denoiser("geodiff")
    assert isinstance(model.network, DualEncoder)
    near, far = model.network.scores(x, layout, condition)
    hops = condition["pair_codes"][:, 2]
    assert near.index.shape[1] == int((hops <= 3).sum())
    assert far.index.shape[1] == int((hops > 3).sum())
    label = torch.full((layout.batch,), 0.6, dtype=x.dtype)
    assert torch.equal(model.network(x, label, layout, condition), near.moves(x))


class Turned(NoiseSource):
    """The same noise, rotated."""

    def __init__(self, seed: int, ids: range, turn: Tensor) -> None:
        super().__init__(seed, ids)
        self.turn = turn

    def normal(self, layout: Layout) -> Tensor:
        return super().normal(layout) @ self.turn.T


@networks
@dtypes
@pytest.mark.parametrize(
    "sampler", [DDIM(), DDIM(eta=1.0), DPMSolverPP(), Heun(), Langevin()], ids=repr
)
def test_a_run_with_rotated_noise_is_the_rotated_run(network, dtype, sampler: Sampler):
    model, turn = denoiser(network, dtype), rotation(dtype)
    if network == "geodiff":  # untrained, its sums over pairs would explode
        with torch.no_grad():
            for score in (model.network.local_score, model.network.global_score):
                score[-1].weight.mul_(1e-4)
                score[-1].bias.mul_(1e-4)
    kernel = model.kernel
    assert isinstance(kernel, GaussianKernel)
    x0, layout, condition = batch(MOLS, dtype)
    start = 1.0 if network == "e3" else 0.24
    grid = grids.uniform(kernel, 8, start)
    straight, turned = NoiseSource(3, range(len(MOLS))), Turned(3, range(len(MOLS)), turn)
    ends = []
    for noise, begin in ((straight, x0), (turned, x0 @ turn.T)):
        x = kernel.prior(layout) if start == 1 else kernel.marginal(begin, start, layout)
        with torch.no_grad():
            *_, last = sampler(Diffusion(model, layout, noise, condition), x.sample(noise), grid)
        ends.append(tensor(last.x))
    assert torch.isfinite(ends[0]).all()
    difference = (ends[1] - ends[0] @ turn.T).abs().max() / ends[0].abs().max().clamp(min=1)
    assert difference < 20 * LIMIT[dtype]
    assert layout.mean_point(ends[0]).abs().max() < 1e-4
