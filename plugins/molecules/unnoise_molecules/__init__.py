"""Molecules for unnoise: from SMILES to an ensemble of conformers."""

__version__ = "0.1.0"
