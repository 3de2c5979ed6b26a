"""Pickles as data: what a record needs is read, and nothing that one names is run."""

import builtins
import collections
import pickle
import pickletools

import numpy as np
import pytest
from rdkit import Chem

from unnoise.errors import InputError
from unnoise_molecules.pickled import read

MOL = Chem.MolFromSmiles("C[C@H](N)O")
RECORD = {
    "smiles": "C[C@H](N)O",
    "conformers": [{"rd_mol": MOL, "boltzmannweight": 0.25, "set": {1, 2}}, (1, -2, 2**70, None)],
    "numbers": [np.float64(0.5), np.float32(0.25), np.int64(-3), np.bool_(True), 1e300],
    "same": [MOL, MOL],
    b"bytes": b"\x00\xff",
    "ordered": collections.OrderedDict(a=True),
    "array": np.arange(3.0),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_of_every_protocol(protocol):
    record = dict(RECORD)
    if protocol < 4:  # sets are named there
        record["conformers"] = [{**RECORD["conformers"][0], "set": [1, 2]}, RECORD["conformers"][1]]
    found = read(pickle.dumps(record, protocol))
    assert list(found) == list(RECORD)
    row = found["conformers"][0]
    assert Chem.MolToSmiles(row["rd_mol"]) == Chem.MolToSmiles(MOL)
    assert (row["boltzmannweight"], sorted(row["set"])) == (0.25, [1, 2])
    assert found["conformers"][1] == (1, -2, 2**70, None)
    assert found["numbers"] == [0.5, 0.25, -3, True, 1e300]
    assert found["same"][0] is found["same"][1]
    assert (found[b"bytes"], found["ordered"], found["array"]) == (b"\x00\xff", {"a": True}, None)


class Calls:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    "evil",
    [
        Calls(print, ("this has run",)),
        Calls(eval, ("print('this has run')",)),
        Calls(getattr, (MOL, "Debug")),
        Calls(np.dtype, ("f8", False), {}, iter([1])),
        Calls(builtins.__import__, ("os",)),
        Calls(collections.OrderedDict.fromkeys, ([1],)),
        Calls(np.lib.format.open_memmap, ("a.npy",)),
    ],
    ids=range(7),
)
def test_nothing_that_a_pickle_names_is_run(evil, capsys):
    try:
        data = pickle.dumps({"a": evil})
    except pickle.PicklingError:
        pytest.skip("cannot be written")
    try:
        found = read(data)
    except (InputError, AttributeError):
        pass
    else:
        assert found == {"a": None}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02Pmy id\n.",
        b"\x80\x02\x82\x01.",
        b"crdkit.Chem.rdchem\nMol\n}S'GetConformer'\nNsb}b(lR.",
    ],
)
def test_other_instructions_are_refused(program):
    with pytest.raises(InputError):
        read(program)


def test_classes_stay_as_they_are():
    """Python's machine would set attributes of a class that it is told to build."""
    before = dict(vars(Chem.Mol))
    program = b"\x80\x02crdkit.Chem.rdchem\nMol\nN}X\x05\x00\x00\x00Debugq\x00Ns\x86b."
    read(program)
    assert dict(vars(Chem.Mol)) == before


def test_a_type_whose_numbers_are_addresses_is_nothing():
    """A type of 8 raw bytes with an object inside, which numpy then takes for no object."""
    kind = Calls(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (1, 0)}, 8, 1, 0))
    array = Calls(np.ndarray, ((1,), kind, b"\x01" * 8))
    assert read(pickle.dumps([array])) == [None]


def test_what_is_damaged_ends():
    data = pickletools.optimize(pickle.dumps(RECORD))
    for cut in range(0, len(data), 7):
        with pytest.raises((InputError, ValueError, IndexError, KeyError, TypeError, RuntimeError)):
            read(data[:cut])


def test_keys_that_take_for_ever_to_hash():
    program = b")" + b"2\x86" * 60  # (), ((), ()), each of two of the one before
    with pytest.raises(InputError, match="keys"):
        read(b"\x80\x02}" + program + b"K\x01s.")
