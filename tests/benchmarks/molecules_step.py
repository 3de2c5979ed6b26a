"""A training step of the molecules networks: 64 molecules of 20 heavy atoms.

    python tests/benchmarks/molecules_step.py
    python tests/benchmarks/molecules_step.py --network geodiff --compile

prints ms of forward and backward (median), ms of what is done about pairs (the ragged batch of
graphs, pairs within the radius, their places in the padded matrices, distances and directions)
and the peak memory of the process. `--compile` adds the same network under torch.compile, in turns
with the plain one, as machines are noisy.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from e3nn import o3
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from unnoise.spaces import ZeroCoM, tensor
from unnoise_molecules.buckets import padded
from unnoise_molecules.configuration import Configuration
from unnoise_molecules.domain import Molecules
from unnoise_molecules.graph import batched, graph
from unnoise_molecules.network_geodiff import distances

SMILES = (
    "CC(=O)Nc1ccc(cc1)C(=O)NCCN(CC)CC",
    "Cc1ccccc1C(OCCN(C)C)c1ccccc1",
    "CNCCC=C1c2ccccc2CCc2ccccc21",
    "CCCN1CCCCC1C(=O)Nc1c(C)cccc1C",
)


def timed(run: Callable[[], object], repeats: int) -> float:
    """Median ms."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", choices=("e3", "geodiff"), default="e3")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    chosen = parser.parse_args()

    mols = [Chem.AddHs(Chem.MolFromSmiles(smiles)) for smiles in SMILES] * 16
    assert all(mol.GetNumHeavyAtoms() == 20 for mol in mols)
    for mol in mols[: len(SMILES)]:
        rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    graphs = [graph(mol) for mol in mols[: len(SMILES)]] * 16
    places = [torch.tensor(m.GetConformer().GetPositions()).float() for m in mols[: len(SMILES)]]
    layout, condition = batched(graphs)
    x = tensor(ZeroCoM().project(torch.cat(places * 16), layout))
    x = tensor(ZeroCoM().project(x + 0.3 * torch.randn_like(x), layout))

    torch.manual_seed(0)
    configuration = Configuration(network=chosen.network)
    network = Molecules().build(configuration).network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    label = torch.full((layout.batch,), -0.3 if chosen.network == "e3" else 0.3)

    def step(call: torch.nn.Module = network) -> None:
        call(x, label, layout, condition).square().sum().backward()
        call.zero_grad()

    def pairs() -> None:
        _, found = batched(graphs)
        index, codes = found["pair_index"], found["pair_codes"]
        if chosen.network == "e3":
            _, index, _ = padded(layout, index, codes, x, network.radius, network.bucket)
        distances(x, index)
        o3.spherical_harmonics("1o", x[index[0]] - x[index[1]], normalize=True)

    before = peak()
    begun = time.perf_counter()
    step()
    first = time.perf_counter() - begun
    step()
    whole, part = timed(step, chosen.repeats), timed(pairs, chosen.repeats)
    name = chosen.network
    atoms, edges = len(x), condition["pair_index"].shape[1]
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{name}: {parameters} parameters, {atoms} atoms, {edges} pairs")
    print(f"step {whole:.0f} ms (the first {first:.1f} s)")
    print(f"pairs {part:.1f} ms, {part / (whole + part):.1%} of a step with its batch")
    print(f"peak memory {peak():.0f} MiB, {peak() - before:.0f} MiB above the start")
    if chosen.compile:
        other = copy.deepcopy(network)
        other.compile(dynamic=True)
        begun = time.perf_counter()
        step(other)
        first = time.perf_counter() - begun
        turns = [
            [timed(partial(step, each), 1) for each in (network, other)]
            for _ in range(chosen.repeats)
        ]
        plain, fast = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"step {plain:.0f} ms, compiled {fast:.0f} ms, {plain / fast:.2f} times faster")
        print(f"compiling the step took {first:.0f} s; peak memory {peak():.0f} MiB")


if __name__ == "__main__":
    main()
