"""The molecules domain: x_0 is the positions of the atoms of a molecule, in angstrom, centred."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import BaseModel
from rdkit import Chem
from torch import Tensor

from unnoise.denoise import NetworkDenoiser, Preconditioned
from unnoise.display import Display
from unnoise.domain import Batch, Draw, Plan, Refused, Task, Trainable, Trained
from unnoise.engine.options import Options
from unnoise.errors import Cancelled, InputError, UnnoiseError
from unnoise.kernels import VE, GaussianKernel
from unnoise.model import Metric
from unnoise.objectives import Objective
from unnoise.samplers import Restart, Start, time_at
from unnoise.spaces import ZeroCoM, tensor
from unnoise.trajectory import Frame
from unnoise_molecules import data
from unnoise_molecules.begin import start_of, started
from unnoise_molecules.check import check
from unnoise_molecules.configuration import Configuration
from unnoise_molecules.energies import relaxed, require, with_energy
from unnoise_molecules.ensemble import ensemble, write_sdf
from unnoise_molecules.evaluation import Conformers, bare
from unnoise_molecules.flexibility import enough
from unnoise_molecules.graph import batched, graph
from unnoise_molecules.isomers import Isomer, Isomers, open_isomers
from unnoise_molecules.langevin import STEPS, geodiff
from unnoise_molecules.molecules import is_file, items, molecule, sample
from unnoise_molecules.network_e3 import E3Network
from unnoise_molecules.network_geodiff import Displacement, DualEncoder
from unnoise_molecules.objectives import Concentrated, DualDistance
from unnoise_molecules.request import Request
from unnoise_molecules.scaffold import Scaffold, find, observed, read_scaffold
from unnoise_molecules.view import along, gather_and_show, preview, ways

RETRIES = 5
"""How often a conformer that fails its check is drawn again."""
MOST_ENOUGH = 1000
"""Samples of one input, with all its stereoisomers, that `num_samples="auto"` makes at most."""
ROUNDS = 2
"""Rounds of the e3 network, when neither model nor request says."""


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """A molecule of a request and where it stood, the moment of the deadline, and whether a
    molecule without conformers ends the request."""

    request: Request
    where: str
    seed: int
    isomers: Isomers
    until: float
    strict: bool
    scaffold: Scaffold | None = None

    def isomer(self, draw: Draw) -> Isomer | Refused:
        """Open stereochemistry is drawn by the sample's number."""
        if time.monotonic() > self.until:
            raise Cancelled(
                f"the deadline passed before {self.where} was embedded",
                fix="allow more time; finished batches come from generate_iter",
            )
        try:
            return self.isomers[draw.repeat]
        except InputError as error:
            if self.strict:
                raise
            return Refused(self.where, str(error))


@final
class Conformations(Display[Trained]):
    """Molecules in 3D on a page, and one SDF file for each."""

    look: ClassVar[str] = (
        "Eight conformers of one molecule, laid over each other: the same bonds and the same "
        "hand, other angles."
    )

    def gather(self, groups: Sequence[Sequence[Path]], folder: Path) -> list[Path]:
        """For each molecule one SDF file, its picture, and all in 3D on one page."""
        return gather_and_show(groups, folder)

    def preview(self, samples: Sequence[Chem.Mol]) -> str:
        return preview([mol for mol in samples if mol.GetNumConformers()])

    def moments(
        self, frames: Sequence[Frame], rows: Sequence[int], model: Trained
    ) -> list[list[str]]:
        """The atoms of each sample with the bonds that they are to have."""
        return [ways(along(frames, k)) for k in rows]


@final
class Molecules(Trainable):
    """Conformers of molecules given as graphs."""

    name: ClassVar[str] = "molecules"
    Request: ClassVar[type[BaseModel]] = Request
    Configuration: ClassVar[type[BaseModel]] = Configuration
    display: ClassVar[Display[Trained]] = Conformations()
    bundle: ClassVar[Path | None] = Path(__file__).parent / "bundle"
    metrics: ClassVar[Mapping[str, type[Metric]]] = {"conformers": Conformers}
    demo: ClassVar[Mapping[str, Any]] = {
        "smiles": "C[C@H](N)C(=O)O",
        "num_samples": 8,
        "begin": "noise",
        "steps": 20,
    }

    def defaults(self, configuration: Configuration) -> Mapping[str, Any]:
        if configuration.network == "geodiff":
            return {"steps": STEPS, "sampler": "langevin"}
        return {"steps": 5, "sampler": "ddim"}

    def build(self, configuration: Configuration) -> NetworkDenoiser:
        if configuration.network == "geodiff":
            dual = DualEncoder(configuration.hidden, configuration.radius)
            return NetworkDenoiser(dual, GaussianKernel(ZeroCoM(), geodiff()), Displacement())
        network = E3Network(
            scalars=configuration.scalars,
            pseudoscalars=configuration.pseudoscalars,
            vectors=configuration.vectors,
            axial=configuration.axial,
            pair=configuration.pair,
            heads=configuration.heads,
            layers=configuration.layers,
            sigma_data=configuration.sigma_data,
            radius=configuration.radius,
        )
        kernel = GaussianKernel(ZeroCoM(), VE(configuration.sigma_min, configuration.sigma_max))
        return NetworkDenoiser(network, kernel, Preconditioned(configuration.sigma_data))

    def trial(self, configuration: Configuration, held_out: data.Conformers) -> Mapping[str, Any]:
        """Conformers of a molecule of the validation part; of the demo's where there is none."""
        known = held_out.ensembles
        if not known:
            return {**self.demo, "num_samples": 4}
        return {"mols": [bare(known[len(known) // 2])], "num_samples": 4}

    def objective(self, configuration: Configuration) -> Objective:
        if configuration.network == "geodiff":
            return DualDistance()
        low, high = configuration.sigma_min, configuration.sigma_max
        split = math.log(configuration.focus / low) / math.log(high / low)
        level = configuration.begin_level if configuration.embeddings else None
        return Concentrated(split, level=level)

    def dataset(
        self, source: Any, configuration: Configuration, part: Literal["train", "validation"]
    ) -> data.Conformers:
        return data.dataset(source, part, configuration.embeddings)

    def collate(self, items: Sequence[data.Item]) -> Batch:
        """Triples (graph, positions (n, 3), error of an embedding (n, 3)) of `data.Conformers`."""
        layout, condition = batched([item[0] for item in items])
        x0 = tensor(ZeroCoM().project(torch.cat([item[1] for item in items]), layout))
        return Batch(x0, layout, {**condition, "error": torch.cat([item[2] for item in items])})

    def prepare(
        self, request: Request, model: Trained, options: Options
    ) -> list[Prepared | Refused]:
        """The molecules, read once; nothing is embedded before a sample needs it."""
        configuration: Configuration = model.configuration
        until = math.inf if options.deadline is None else time.monotonic() + options.deadline
        source = next(
            s for s in (request.smiles, request.smiles_file, request.mols) if s is not None
        )
        skip = request.unreadable == "skip" or (request.unreadable is None and is_file(source))
        core = None if request.scaffold is None else read_scaffold(request.scaffold)
        found: list[Prepared | Refused] = []
        for record in items(source, request.column):
            try:
                mol = molecule(
                    record,
                    elements=frozenset(configuration.elements),
                    most_atoms=configuration.most_atoms,
                    salts=request.salts,
                )
                if request.level is not None:
                    require(mol, request.level, record.where)
                fixed = None if core is None else find(core, mol, record.where)
            except UnnoiseError as error:
                if not skip:
                    raise
                found.append(Refused(record.where, str(error)))
                continue
            found.append(
                Prepared(request, record.where, options.seed, Isomers(mol), until, not skip, fixed)
            )
        if not found:
            raise InputError("there is no molecule", value=str(source))
        return found

    def plan(self, inputs: Sequence[Prepared], model: Trained, draws: Sequence[Draw]) -> Plan:
        configuration: Configuration = model.configuration
        first = inputs[draws[0].input]
        request, whose = first.request, [inputs[draw.input].seed for draw in draws]
        chosen = [inputs[draw.input].isomer(draw) for draw in draws]
        kernel = model.denoiser.kernel
        assert isinstance(kernel, GaussianKernel)
        level = request.begin_level or configuration.begin_level
        rounds = request.rounds or _rounds(configuration, request.begin)
        found: list[Any] = list(chosen)  # what is refused stays
        drawn = {k: isomer for k, isomer in enumerate(chosen) if isinstance(isomer, Isomer)}
        graphs = {isomer: graph(isomer.told) for isomer in dict.fromkeys(drawn.values())}
        fixed = [inputs[draw.input].scaffold for draw in draws]
        left = list(drawn)
        for attempt in range(1 + (RETRIES if request.check == "retry" else 0)):
            if not left:
                break
            layout, condition = batched([graphs[drawn[k]] for k in left])
            begin = known = None
            if request.begin == "embedding":
                seeds = [(whose[k], draws[k].number, attempt) for k in left]
                own = [fixed[k] for k in left]
                embeddings = started([drawn[k].told for k in left], seeds, own)
                begin = start_of(embeddings, layout, kernel, level)
                known = observed(own, embeddings, layout)
            more = rounds - 1
            if begin is None:
                state = yield Task(layout, condition, rows=left)
                if more:
                    begin, more = Start(state, time_at(kernel, level)), more - 1
            if begin is not None:
                rest = partial(Restart, intervals=((0.0, begin.t, more),)) if more else None
                state = yield Task(
                    layout, condition, start=begin, rows=left, around=rest, observation=known
                )
            assert isinstance(state, Tensor)
            again = []
            for k, x in zip(left, state.split(layout.points.tolist()), strict=True):
                facts = {"sample": draws[k].number, "seed": whose[k], "begin": request.begin}
                places, stay = x.double().numpy(), fixed[k]
                if stay is not None:
                    places = stay.kept(places)
                made = sample(drawn[k].mol, places, {**facts, "attempts": attempt + 1})
                if request.relax and request.level is not None:
                    made = relaxed(made, request.level, () if stay is None else stay.atoms)
                seen = check(made)
                if not seen.passed:
                    again.append(k)
                for name, value in seen.properties().items():
                    made.SetProp(name, value)
                found[k] = made
            left = again
        for k in drawn:
            if request.energy is not None:
                found[k] = with_energy(found[k], request.energy)
            for name, value in request.selection.items():
                found[k].SetDoubleProp(name, value)
        for k in left if request.check == "drop" else ():
            found[k].RemoveAllConformers()
        return found

    def alike(self, prepared: Prepared, model: Trained) -> Hashable | None:
        """Molecules may be any; a part that keeps its place is one's own."""
        if prepared.scaffold is not None:
            return None
        return repr(prepared.request.model_dump(exclude={"smiles", "smiles_file", "mols"}))

    def enough(self, prepared: Prepared) -> int:
        """By flexibility, for each stereoisomer that the input leaves open on paper."""
        mol = prepared.isomers.mol
        return min(MOST_ENOUGH, enough(mol) * len(open_isomers(mol)))

    def counts(self, samples: Sequence[Chem.Mol]) -> dict[str, int]:
        """How many passed, failed on what, were drawn again and dropped."""
        found = Counter(dict.fromkeys(("passed", "stereo", "bonds", "clashes"), 0))
        for mol in samples:
            said = mol.GetProp("check")
            found["passed"] += said == "passed"
            found.update(name for name in ("stereo", "bonds", "clashes") if name in said)
            found["retried"] += mol.GetIntProp("attempts") > 1
            found["dropped"] += mol.GetNumConformers() == 0
        return dict(found)

    def write(self, sample: Chem.Mol, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.sdf"
        if not sample.GetNumConformers():  # dropped: no record in the file of its molecule
            path.write_text("")
            return path
        return write_sdf(ensemble([sample]), path)


def _rounds(configuration: Configuration, begin: str) -> int:
    if begin == "noise":
        return 1
    return configuration.rounds or (1 if configuration.network == "geodiff" else ROUNDS)
