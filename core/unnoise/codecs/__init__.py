"""Codecs: states and data are two things."""

from unnoise.codecs.affine import Affine, LocationScale, Moments, Whitening
from unnoise.codecs.autoencoder import (
    Autoencoder,
    DiagonalGaussian,
    Downsampled,
    Features,
    FixedGaussian,
    Geometry,
    Head,
    Logits,
    Point,
)
from unnoise.codecs.base import Chain, Codec, Encoded, Identity, ProductCodec
from unnoise.codecs.tied import Tied

__all__ = [
    "Affine",
    "Autoencoder",
    "Chain",
    "Codec",
    "DiagonalGaussian",
    "Downsampled",
    "Encoded",
    "Features",
    "FixedGaussian",
    "Geometry",
    "Head",
    "Identity",
    "LocationScale",
    "Logits",
    "Moments",
    "Point",
    "ProductCodec",
    "Tied",
    "Whitening",
]
